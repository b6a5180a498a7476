import json
import math

import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import quantizers
from larq_nas.training import optimizers

STEPS = 8


def rise_and_fall(low, high):
    """A schedule of `STEPS` steps, and the values that it takes."""
    schedule = optimizers.PiecewiseLinear([0, STEPS // 2, STEPS], [low, high, low])
    return schedule, [low + (high - low) * (1 - abs(step - STEPS // 2) / (STEPS // 2)) for step in range(STEPS)]


RATES = {"fixed": (0.1, [0.1] * STEPS), "moving": rise_and_fall(0.01, 0.2)}
MOMENTA = {"none": (0.0, [0.0] * STEPS), "fixed": (0.9, [0.9] * STEPS), "moving": rise_and_fall(0.95, 0.5)}


def problem(shapes=((3, 4), (5,))):
    """Initial weights and a gradient per step."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=shape) for shape in shapes]
    return weights, [[generator.normal(size=shape) for shape in shapes] for _ in range(STEPS)]


def descend(optimizer, weights, gradients, compiled=False):
    """Weights after every step."""
    variables = [tf.Variable(w, dtype=tf.float32) for w in weights]
    optimizer.build(variables)

    def step(values):
        optimizer.apply_gradients(zip(values, variables, strict=True))

    step = tf.function(step) if compiled else step
    trace = []
    for values in gradients:
        step([tf.constant(g, tf.float32) for g in values])
        trace.append([variable.numpy() for variable in variables])
    return trace


def torch_sgd(weights, gradients, rates, momenta, l2):
    velocities = [np.zeros_like(w) for w in weights]
    trace = []
    for values, rate, momentum in zip(gradients, rates, momenta, strict=True):
        velocities = [momentum * v + g + l2 * w for v, g, w in zip(velocities, values, weights, strict=True)]
        weights = [w - rate * v for w, v in zip(weights, velocities, strict=True)]
        trace.append(weights)
    return trace


def torch_adam(weights, gradients, rate, beta_1, beta_2, epsilon, l2):
    first, second = [0 * w for w in weights], [0 * w for w in weights]
    trace = []
    for step, values in enumerate(gradients, start=1):
        values = [g + l2 * w for g, w in zip(values, weights, strict=True)]
        first = [beta_1 * m + (1 - beta_1) * g for m, g in zip(first, values, strict=True)]
        second = [beta_2 * v + (1 - beta_2) * g * g for v, g in zip(second, values, strict=True)]
        moved = []
        for weight, m, v in zip(weights, first, second, strict=True):
            denominator = np.sqrt(v / (1 - beta_2**step)) + epsilon
            moved.append(weight - rate * m / (1 - beta_1**step) / denominator)
        weights = moved
        trace.append(weights)
    return trace


def assert_equal_traces(trace, expected, **tolerance):
    for step, values in zip(trace, expected, strict=True):
        for value, wanted in zip(step, values, strict=True):
            np.testing.assert_allclose(value, wanted, **tolerance)


# --- schedules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step, value", [(0, 1), (1, 1.5), (2, 2), (4, 3), (5, 2), (6, 1), (8, 0.5), (10, 0), (11, 0), (10**6, 0)]
)
def test_piecewise_linear_runs_from_point_to_point_and_stays_at_the_last(step, value):
    schedule = optimizers.PiecewiseLinear([0, 4, 6, 10], [1, 3, 1, 0])
    assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(value)
    assert float(tf.function(schedule)(tf.constant(step, tf.int64))) == pytest.approx(value)


def test_piecewise_linear_waits_for_its_first_point():
    assert float(optimizers.PiecewiseLinear([5, 10], [2, 4])(0)) == 2


@pytest.mark.parametrize("steps_per_epoch", [1, 391])
@pytest.mark.parametrize("epoch, rate", [(0, 0.0249763), (1, 0.0249054), (24, 0.013), (49, 0.001)])
def test_epoch_cosine_takes_the_rates_of_the_bnas_search(epoch, rate, steps_per_epoch):
    schedule = optimizers.EpochCosine(0.025, 0.001, 50, steps_per_epoch)
    for step in (0, steps_per_epoch - 1):
        value = schedule(tf.constant(epoch * steps_per_epoch + step, tf.int64))
        assert float(value) == pytest.approx(rate, abs=1e-7)


def test_epoch_cosine_stays_at_its_final_rate():
    assert float(optimizers.EpochCosine(0.025, 0.001, 50, 10)(10_000)) == pytest.approx(0.001)


@pytest.mark.parametrize(
    "schedule",
    [optimizers.PiecewiseLinear([0, 3, 9], [1, 0.5, 0]), optimizers.EpochCosine(0.1, 0.01, 4, 3)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_schedules_survive_json(schedule):
    config = json.loads(json.dumps(tf.keras.optimizers.schedules.serialize(schedule)))
    again = tf.keras.optimizers.schedules.deserialize(config)
    assert type(again) is type(schedule)
    assert [float(again(step)) for step in range(12)] == [float(schedule(step)) for step in range(12)]


# --- SGD -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("rate", RATES)
def test_sgd_is_that_of_torch(rate, momentum, l2, compiled):
    weights, gradients = problem()
    optimizer = optimizers.SGD(RATES[rate][0], MOMENTA[momentum][0], l2=l2)
    expected = torch_sgd(weights, gradients, RATES[rate][1], MOMENTA[momentum][1], l2)
    assert_equal_traces(descend(optimizer, weights, gradients, compiled), expected, rtol=1e-5, atol=1e-6)


def test_sgd_is_that_of_keras_only_while_the_learning_rate_stands_still():
    # This difference is why the class exists.
    weights, gradients = problem()

    def distance(rate):
        ours = descend(optimizers.SGD(rate, 0.9), weights, gradients)[-1]
        theirs = descend(tf.keras.optimizers.SGD(rate, 0.9), weights, gradients)[-1]
        return max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True))

    assert distance(RATES["fixed"][0]) < 1e-5
    assert distance(RATES["moving"][0]) > 0.1


def test_sgd_takes_sparse_gradients_like_dense_ones():
    weights, _ = problem([(4, 2)])
    dense = np.array([[0, 0], [3, 4], [0, 0], [1, 1]])
    # A row that stands twice adds up.
    sparse = tf.IndexedSlices(tf.constant([[1.0, 1], [2, 3], [1, 1]]), tf.constant([1, 1, 3]), tf.constant([4, 2]))
    expected = descend(optimizers.SGD(0.1, 0.9, l2=0.1), weights, [[dense]] * 2)[-1][0]
    variable, optimizer = tf.Variable(weights[0], dtype=tf.float32), optimizers.SGD(0.1, 0.9, l2=0.1)
    for _ in range(2):
        optimizer.apply_gradients([(sparse, variable)])
    np.testing.assert_allclose(variable, expected, rtol=1e-6)


def test_sgd_counts_a_step_per_call_and_its_rate_may_be_set():
    weights, gradients = problem()
    optimizer = optimizers.SGD(0.1)
    descend(optimizer, weights, gradients)
    assert int(optimizer.iterations) == STEPS
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == 0.5


# --- Adam ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_adam_is_that_of_torch(l2, compiled):
    weights, gradients = problem()
    optimizer = optimizers.Adam(0.01, beta_1=0.5, epsilon=1e-8, l2=l2)
    expected = torch_adam(weights, gradients, 0.01, 0.5, 0.999, 1e-8, l2)
    assert_equal_traces(descend(optimizer, weights, gradients, compiled), expected, rtol=1e-4, atol=1e-6)


def test_adam_decays_weights_differently_from_keras():
    weights, gradients = problem()
    ours = descend(optimizers.Adam(0.01, l2=0.3), weights, gradients)[-1][0]
    theirs = descend(tf.keras.optimizers.Adam(0.01, weight_decay=0.3), weights, gradients)[-1][0]
    assert np.abs(ours - theirs).max() > 1e-3


# --- both ----------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1, 0.8, l2=0.2),
    "sgd_schedules": lambda: optimizers.SGD(RATES["moving"][0], MOMENTA["moving"][0], l2=0.2),
    "sgd_keras_schedule": lambda: optimizers.SGD(tf.keras.optimizers.schedules.CosineDecay(0.1, STEPS), 0.8),
    "adam": lambda: optimizers.Adam(0.02, beta_1=0.5, epsilon=1e-8, l2=0.2),
    "adam_schedule": lambda: optimizers.Adam(optimizers.EpochCosine(0.1, 0.01, 4, 2), l2=0.2),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_constraints_act_after_the_update(make):
    constraint = quantizers.CentredClip()
    kernel = np.random.default_rng(1).normal(size=(1, 1, 4, 2))
    free, held = (tf.Variable(kernel, dtype=tf.float32, constraint=c) for c in (None, constraint))
    gradient = tf.fill(kernel.shape, 3.0)
    for variable in (free, held):
        make().apply_gradients([(gradient, variable)])
    assert np.abs(np.mean(free, axis=2)).max() > 0.01
    np.testing.assert_allclose(held, constraint(free), atol=1e-6)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers_survive_json(make):
    optimizer = make()
    config = json.loads(json.dumps(tf.keras.optimizers.serialize(optimizer)))
    again = tf.keras.optimizers.deserialize(config)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    problems = problem()
    assert_equal_traces(descend(again, *problems), descend(optimizer, *problems), rtol=0)


@pytest.mark.parametrize("made", ["before", "after"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_restored_optimizer_goes_on_as_if_it_had_not_stopped(tmp_path, make, made):
    weights, gradients = problem()
    whole = descend(make(), weights, gradients)[-1]

    def run(variables, optimizer, part):
        for values in part:
            values = [tf.constant(g, tf.float32) for g in values]
            optimizer.apply_gradients(zip(values, variables, strict=True))

    variables, optimizer = [tf.Variable(w, dtype=tf.float32) for w in weights], make()
    run(variables, optimizer, gradients[:3])
    path = tf.train.Checkpoint(variables=variables, optimizer=optimizer).save(tmp_path / "checkpoint")

    variables, optimizer = [tf.Variable(tf.zeros_like(v)) for v in variables], make()
    # Keras restores a model whose optimizer may or may not have its variables yet.
    if made == "before":
        optimizer.build(variables)
    status = tf.train.Checkpoint(variables=variables, optimizer=optimizer).restore(path)
    run(variables, optimizer, gradients[3:])
    status.assert_consumed()
    for variable, expected in zip(variables, whole, strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_a_model_with_these_optimizers_survives_saving(tmp_path):
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
    model.compile(OPTIMIZERS["sgd_schedules"](), "mse")
    images, targets = tf.ones([4, 3]), tf.ones([4, 2])
    model.fit(images, targets, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(images, targets, epochs=2, verbose=0)
    assert math.isfinite(model.evaluate(images, targets, verbose=0))
    for variable, expected in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_scheduled_momentum_follows_the_steps_in_every_trace(jit_compile):
    # As on a GPU, where Keras compiles the update; the second trace is that of the partial batch.
    schedule = optimizers.PiecewiseLinear([0, 10], [0.0, 1.0])
    optimizer = optimizers.SGD(0.1, schedule, jit_compile=jit_compile)
    model = tf.keras.Sequential([tf.keras.layers.Input((1,)), tf.keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer, "mse")
    weight, velocity = float(model.get_weights()[0][0, 0]), 0.0
    model.fit(np.ones((5, 1)), np.zeros((5, 1)), batch_size=2, epochs=2, verbose=0)
    for step in range(6):
        velocity = 0.1 * step * velocity + 2 * weight
        weight -= 0.1 * velocity
    np.testing.assert_allclose(model.get_weights()[0], [[weight]], rtol=1e-4)


def test_rates_follow_the_batch_and_by_its_root_for_adam():
    assert optimizers.scaled_rate("sgd", 0.1, 32, 64) == pytest.approx(0.05)
    assert optimizers.scaled_rate("adam", 0.1, 256, 64) == pytest.approx(0.2)
    assert optimizers.scaled_rate("adam", 0.1, 256, None) == 0.1
