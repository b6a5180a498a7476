import numpy as np
import pytest
import tensorflow as tf
from dms_search import DISTRIBUTIONS, SETTINGS

from larq_nas import supernet, training
from larq_nas.methods import bars, bnas, dms
from larq_nas.supernet import estimates


def _supernet(method):
    tf.keras.utils.set_random_seed(0)
    shape = (8, 8, 3)
    if method == "dms":
        base = dms.space(bars.space(4, cells_per_stage=1).sample(1))
        strategy = dms.Strategy(DISTRIBUTIONS, base, shape, 4)
        filters = strategy.begin(np.full(len(base.stages), 0.4, np.float32), 0.3)
        model = dms.WidthSupernet(strategy, dms.room(base, filters))
    elif method == "bars":
        space = bars.space(4, cells_per_stage=1)
        strategy = bars.Strategy(warmup_epochs=3, budget=1e9, counted=(space, shape, 4))
        model = supernet.Supernet(strategy, space, shape, 4)
    else:
        model = supernet.Supernet(bnas.Strategy(), bnas.space(3, 2), shape, 4)
    training.compile_supernet(model, 0.1, SETTINGS)
    return model


def _batches(method):
    random = np.random.default_rng(0)
    half = random.normal(size=(12, 8, 8, 3)).astype(np.float32), random.integers(0, 4, 12)
    batches = tf.data.Dataset.from_tensor_slices(half).batch(8)
    return batches if method == "dms" else tf.data.Dataset.zip((batches, batches))


def _state(model):
    optimizers = model.optimizer.variables, model.architecture_optimizer.variables
    variables = [*model.weights, *model.logits.values(), model.epoch, model.random.state, *sum(optimizers, [])]
    return [np.array(getattr(variable, "latent_variable", variable)) for variable in variables]


@pytest.mark.parametrize("method", ["bnas", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bars", "dms"))])
def test_a_supernet_is_as_before_it_was_measured_and_is_not_traced_again(method):
    model = _supernet(method)
    before = _state(model)
    expected = estimates.measure(model, _batches(method), 8)
    for a, b in zip(before, _state(model), strict=True):
        np.testing.assert_array_equal(a, b)
    weights = sum(np.prod(w.shape) for w in model.network.trainable_weights)
    assert expected.parameters == weights and expected.seconds_per_step > 0 and expected.bytes > 1e8
    traced = model.train_function.experimental_get_tracing_count()
    model.fit(_batches(method), verbose=0)
    # Tracing takes most of the time before the first step.
    assert model.train_function.experimental_get_tracing_count() == traced
    assert any(not np.array_equal(a, b) for a, b in zip(before, _state(model), strict=True))


def test_nothing_is_timed_when_nothing_is_left():
    # A model would be needed.
    assert estimates.announce(None, None, 8, 10, 0) is None


def test_the_line_counts_the_steps_of_an_epoch_and_its_validation():
    estimate = estimates.Estimate(parameters=1_234_567, bytes=1_234_000_000, seconds_per_step=0.5)
    assert (
        estimate.line(10) == "supernet of 1,234,567 parameters: about 1.2 GB of memory and 5.0 s per epoch of 10 steps"
    )
    assert "56 s per epoch of 100 steps" in estimate.line(100, 60)
    assert estimate.line(10, units=15, network="network").endswith("5.0 s per epoch of 10 steps, 75 s for 15 epochs")
    assert estimate.line(10, units=90).endswith(", 8 min for 90 epochs")
    assert estimate.line(10, units=7200, unit="round").endswith(", 10.0 h for 7,200 rounds")
    assert estimate.line(10, unit="round").endswith("5.0 s per round of 10 steps")
    slow = estimates.Estimate(parameters=1, bytes=0, seconds_per_step=0.5, seconds_to_begin=10.0)
    assert slow.line(10, units=6, unit="round", rebuilt=0.5).endswith("5.0 s per round of 10 steps, 60 s for 6 rounds")
    then = estimates.Afterwards(finalists=2, seconds=50.0, candidates=10, batches=10)
    # A validation batch takes a fifth of the time of a step.
    after = "10 genotypes are evaluated with shared weights and 2 genotypes are trained for a short time, 60 s"
    assert estimate.line(10, then=then).endswith(f" of 10 steps; then {after}")
    assert estimate.line(10, then=estimates.Afterwards()).endswith(" of 10 steps")
    unknown = estimates.Estimate(parameters=1, bytes=0, seconds_per_step=0.5)
    assert unknown.line(1) == "supernet of 1 parameters: about 0.5 s per epoch of 1 steps"
