import numpy as np
import pytest
import tensorflow as tf

from larq_nas import networks
from larq_nas.layers.drop_path import DropPath
from larq_nas.methods import bnas
from larq_nas.networks.builder import Builder
from larq_nas.networks.cells import Edges
from larq_nas.space.architecture import Cell, Edge, Node

pytestmark = pytest.mark.onednn


def test_only_edges_that_leave_an_input_of_a_reduction_have_strides():
    nodes = (Node((Edge(0, ("max_pool_3x3",)), Edge(1, ("bin_conv_3x3",))), 2), Node((Edge(2, ("bin_conv_3x3",)),), 1))
    images = tf.keras.layers.Input((8, 8, 4))
    cell = Cell("reduce", nodes)
    states = Edges(Builder(), cell, 4).states([images, images], 2, "cell")
    assert [state.shape[1:3] for state in states] == [(8, 8), (8, 8), (4, 4), (4, 4)]


def test_a_node_is_the_sum_of_its_edges():
    node = Node((Edge(0, ("max_pool_3x3",)), Edge(1, ("avg_pool_3x3",)), Edge(0, ("none",))), 3)
    images = tf.keras.layers.Input((6, 6, 2))
    cell = Cell("normal", (node,))
    states = Edges(Builder(), cell, 2).states([images, images * 2.0], 1, "cell")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    expected = tf.nn.max_pool2d(x, 3, 1, "SAME") + tf.nn.avg_pool2d(2 * x, 3, 1, "SAME")
    np.testing.assert_allclose(tf.keras.Model(images, states[2])(x), expected, atol=1e-6)


@pytest.mark.parametrize("searched", [True, False])
def test_preprocessing_is_float_in_a_search_and_binary_in_the_final_network(searched):
    space = bnas.space(3, 4)
    model = networks.build(space if searched else space.sample(0), (8, 8, 1))
    for layer in model.layers:
        if "preprocess" in layer.name and layer.name.endswith("conv"):
            assert hasattr(layer, "kernel_quantizer") is not searched
        if "preprocess" in layer.name and layer.name.endswith("norm"):
            # In the final network, all but the one behind a reduction have scale and offset.
            after_reduction = layer.name in ("cell02_preprocess0_norm",)
            assert layer.scale is layer.center is (not searched and not after_reduction)
        if layer.name.startswith("stem") and layer.name.endswith("norm") or "shortcut_norm" in layer.name:
            assert layer.scale and layer.center
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def paths(count=4000, channels=3):
    return tf.ones([count, 2, 2, channels])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_drop_path_drops_whole_samples_and_keeps_the_mean(rate, compiled):
    tf.random.set_seed(0)
    layer = DropPath(rate)
    outputs = (tf.function(layer) if compiled else layer)(paths(), training=True).numpy().reshape(4000, -1)
    # A sample is dropped or scaled up, as a whole.
    assert (outputs == outputs[:, :1]).all()
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / (1 - rate)], rtol=1e-6)
    # Five standard deviations.
    deviation = (rate * (1 - rate) / 4000) ** 0.5
    assert np.mean(outputs == 0) == pytest.approx(rate, abs=5 * deviation)
    assert outputs.mean() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def test_drop_path_draws_anew_for_every_call_and_layer():
    one, other, inputs = DropPath(0.5), DropPath(0.5), paths(64)
    outputs = [layer(inputs, training=True).numpy().tobytes() for layer in (one, one, other)]
    assert len(set(outputs)) == 3


@pytest.mark.parametrize("options", [{}, {"training": False}])
def test_drop_path_does_nothing_in_inference(options):
    np.testing.assert_array_equal(DropPath(0.9)(paths(50), **options), paths(50))


def test_drop_path_of_rate_0_does_nothing_in_training():
    np.testing.assert_array_equal(DropPath()(paths(50), training=True), paths(50))


def test_drop_path_passes_no_gradient_to_what_it_dropped():
    tf.random.set_seed(0)
    inputs = tf.Variable(paths(50))
    with tf.GradientTape() as tape:
        outputs = DropPath(0.5)(inputs, training=True)
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), outputs)


def test_drop_path_adds_no_weights():
    # So that weight files fit networks with and without it.
    layer = DropPath(0.5)
    model = tf.keras.Sequential([tf.keras.layers.Conv2D(2, 1, input_shape=(2, 2, 3)), layer])
    assert layer.weights == []
    assert len(model.weights) == 2


def test_drop_path_takes_a_new_rate_into_a_traced_step():
    layer, inputs = DropPath(0.0), paths(200)
    step = tf.function(lambda x: layer(x, training=True))
    assert np.all(step(inputs) == 1)
    layer.set_rate(0.5)
    assert 0 < np.mean(step(inputs) == 0) < 1


def test_drop_path_survives_its_configuration():
    layer = DropPath(0.1, name="drop")
    layer.set_rate(0.25)
    again = DropPath.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() == {**layer.get_config(), "rate": 0.25, "name": "drop"}
