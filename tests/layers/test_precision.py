import numpy as np
import pytest
import tensorflow as tf

from larq_nas import names, networks, supernet, training, zoo
from larq_nas.layers import precision
from larq_nas.methods import bnas
from larq_nas.methods.bnas import OPERATIONS, mixed_edges
from larq_nas.training import optimizers, recipes

pytestmark = pytest.mark.onednn

HALF = ("mixed_bfloat16", "mixed_float16")


def _images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _genotype():
    return bnas.scale(zoo.genotype("bnas_a"), filters=4, layers=3)


@pytest.mark.parametrize("name", names.PRECISIONS)
def test_the_policy_holds_inside_only(name):
    before = tf.keras.mixed_precision.global_policy().name
    with pytest.raises(KeyError), precision.policy(name):
        assert tf.keras.mixed_precision.global_policy().name == name
        raise KeyError
    assert tf.keras.mixed_precision.global_policy().name == before


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(precision.PrecisionError, match="'float8'.*mixed_bfloat16"), precision.policy("float8"):
        pass


@pytest.mark.parametrize("name", HALF)
def test_mixed_edges_compute_in_16_bits_what_they_compute_in_32(name):
    x, choice = _images(4, 8, 8, 4), tf.constant(np.random.default_rng(1).dirichlet(np.ones(7), 3), tf.float32)
    outputs = []
    for policy in ("float32", name):
        tf.keras.utils.set_random_seed(0)
        with precision.policy(policy):
            layer = mixed_edges.MixedEdges(4, OPERATIONS, 3)
        outputs.append(layer([tf.constant(x), choice], training=True))
        assert {weight.dtype for weight in layer.weights} == {tf.float32}
    for exact, half in zip(*outputs, strict=True):
        assert half.dtype == tf.as_dtype(name.removeprefix("mixed_"))
        # Signs near 0 may differ, since the state itself is rounded; most do not.
        difference = np.abs(exact.numpy() - tf.cast(half, tf.float32).numpy())
        assert np.median(difference) < 0.01 * np.std(exact)


@pytest.mark.parametrize("name", [HALF[0], *(pytest.param(name, marks=pytest.mark.slow) for name in HALF[1:])])
def test_a_supernet_searches_in_16_bits(name):
    with precision.policy(name):
        model = supernet.Supernet(bnas.Strategy(), bnas.space(3, 2), input_shape=(8, 8, 1), num_classes=4)
        model.compile(
            optimizer=optimizers.SGD(0.01),
            architecture_optimizer=optimizers.Adam(3e-3),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        )
    kernel = model.network.get_layer("cell00_state0").kernel
    before = {name: value.numpy() for name, value in model.logits.items()}, kernel.numpy()
    batches = tf.data.Dataset.from_tensors((_images(4, 8, 8, 1), np.arange(4))).repeat(8)
    history = model.fit(tf.data.Dataset.zip((batches, batches)), verbose=0).history
    assert np.isfinite(history["loss"][0]) and kernel.dtype == tf.float32
    assert not np.array_equal(kernel.numpy(), before[1])
    assert all(not np.array_equal(model.logits[name].numpy(), value) for name, value in before[0].items())
    assert isinstance(model.optimizer, tf.keras.mixed_precision.LossScaleOptimizer) == (name == "mixed_float16")


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("clip_norm", [0.0, 5.0])
def test_a_network_trains_in_16_bits(name, clip_norm):
    recipe = recipes.Recipe(epochs=1, steps_per_epoch=8, clip_norm=clip_norm)
    with precision.policy(name):
        model = networks.build(_genotype(), (8, 8, 1), 4)
        if clip_norm:
            model = training.TrainedModel(model.input, model.output, clip_norm=clip_norm)
        model.compile(recipe.make_optimizer(), recipe.loss(4))
        before = [weight.numpy() for weight in model.trainable_weights]
        batches = tf.data.Dataset.from_tensors((_images(4, 8, 8, 1), np.arange(4))).repeat(8)
        history = model.fit(batches, verbose=0).history
    assert np.isfinite(history["loss"][0]) and model.output.dtype == tf.float32
    after = [weight.numpy() for weight in model.trainable_weights]
    assert all(np.isfinite(weight).all() for weight in after)
    assert np.mean([not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]) > 0.9


def test_the_gradients_of_a_scaled_loss_are_those_of_the_loss():
    with precision.policy("mixed_float16"):
        optimizer = precision.scale_loss(optimizers.SGD())
        assert precision.scale_loss(optimizer) is optimizer
    weight = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        loss = weight**2
    assert precision.gradients(tape, loss, [weight], optimizer)[0] == 6
    plain = optimizers.SGD()
    assert precision.scale_loss(plain) is plain


def test_a_network_of_16_bits_becomes_the_same_network_of_32():
    with precision.policy("mixed_bfloat16"):
        half = networks.build(_genotype(), (16, 16, 3), 10)
    full = networks.build(_genotype(), (16, 16, 3), 10)
    full.set_weights(half.get_weights())
    x = _images(4, 16, 16, 3)
    clipped = training.TrainedModel(half.input, half.output, clip_norm=1.0)
    for model in (half, clipped, tf.keras.Sequential([half])):
        np.testing.assert_allclose(precision.float32(model)(x), full(x), rtol=1e-6)
    assert precision.float32(full) is full
