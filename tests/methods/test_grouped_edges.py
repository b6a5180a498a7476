import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import convolutional
from larq_nas.methods import bats
from larq_nas.methods.bats import grouped_edges
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder
from larq_nas.supernet import inheritance

pytestmark = pytest.mark.onednn

OPERATIONS = bats.OPERATIONS
EDGES = 3


def _layer(filters, groups, strides, binary, size, names=OPERATIONS):
    tf.keras.utils.set_random_seed(1)
    layer = grouped_edges.GroupedEdges(filters, names, EDGES, strides, groups, binary)
    x = tf.random.normal([2, *size, filters])
    choice = tf.nn.softmax(tf.random.normal([EDGES, len(names)]))
    layer([x, choice])
    for variable in filter(lambda variable: variable is not None, (layer.slopes, layer.reduce_slopes)):
        variable.assign(tf.random.uniform(variable.shape))
    return layer, x, choice


def _copy_of_edge(layer, edge, place, name):
    """The operation of an edge by itself, with that edge's part of the layer's weights."""
    quantization = "activations" if layer.binary else "real"
    inputs = tf.keras.Input((*place, layer.filters))
    options = layer.filters, layer.strides, layer.groups, quantization, "op"
    model = tf.keras.Model(inputs, operations.apply(Builder(), name, inputs, *options))
    weights = {f"op_{weight}:0": values for weight, values in layer.weights_of(edge, name).items()}
    assert set(weights) == {variable.name for variable in model.variables if "_norm" not in variable.name}
    inheritance.copy_weights(model, weights)
    return model


def _reference(layer, x, choice):
    outputs = []
    for edge in range(EDGES):
        total = 0
        for index, name in enumerate(layer.operations):
            y = _copy_of_edge(layer, edge, x.shape[1:3], name)(x, training=True)
            if name.endswith("pool_3x3"):
                y = convolutional.batch_normalization(affine=False)(y, training=True)
            total += choice[edge, index] * y
        outputs.append(total)
    return outputs


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("filters", "groups", "size"), [(12, 4, (6, 5)), (12, 12, (4, 4)), (8, 1, (5, 7)), (8, 2, (4, 6)), (12, 3, (4, 4))]
)
def test_shared_work_equals_an_operation_per_edge(filters, groups, size, binary, strides):
    layer, x, choice = _layer(filters, groups, strides, binary, size)
    for actual, expected in zip(layer([x, choice], training=True), _reference(layer, x, choice), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_equal_those_of_an_operation_per_edge(strides):
    # Without signs, whose gradient a rounding may change.
    layer, x, choice = _layer(12, 4, strides, False, (6, 6))
    factors = tf.random.normal([EDGES, 2, 6 // strides, 6 // strides, 12])

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([x, choice])
            loss = tf.reduce_sum(tf.stack(function()) * factors)
        return tape.gradient(loss, [x, choice])

    actual = gradients(lambda: layer([x, choice], training=True))
    expected = gradients(lambda: _reference(layer, x, choice))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_gradients_of_kernels_and_slopes_are_those_of_differences():
    layer, x, choice = _layer(8, 2, 2, False, (4, 4))
    x = tf.cast(x, tf.float32)

    def loss():
        return tf.reduce_sum(tf.stack(layer([x, choice], training=True)) ** 3)

    with tf.GradientTape() as tape:
        value = loss()
    weights = [layer.kernel, layer.slopes, layer.reduce_kernel, layer.reduce_slopes]
    for weight, gradient in zip(weights, tape.gradient(value, weights), strict=True):
        direction, start = tf.random.normal(weight.shape), weight.numpy()
        values = []
        for step in (1e-2, -1e-2):
            weight.assign(start + step * direction)
            values.append(float(loss()))
        weight.assign(start)
        expected = (values[0] - values[1]) / 2e-2
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(expected, rel=0.03, abs=0.5)


def test_moving_statistics_serve_inference_and_configuration_survives():
    layer, x, choice = _layer(8, 2, 1, True, (4, 4))
    before = layer([x, choice])
    for _ in range(80):
        layer([x, choice], training=True)
    trained, after = layer([x, choice], training=True), layer([x, choice])
    assert not np.allclose(before[0], after[0], atol=1e-2)
    np.testing.assert_allclose(trained[0], after[0], atol=0.2)
    twin = grouped_edges.GroupedEdges.from_config(layer.get_config())
    twin([x, choice])
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin([x, choice])[0], after[0])


@pytest.mark.parametrize("names", [("none",), ("none", "skip"), ("max_pool_3x3",), ("group_conv_3x3", "none")])
@pytest.mark.parametrize("strides", [1, 2])
def test_any_part_of_the_operations_can_be_searched(names, strides):
    layer, x, choice = _layer(8, 2, strides, True, (4, 4), names)
    assert [output.shape for output in layer([x, choice], training=True)] == [(2, 4 // strides, 4 // strides, 8)] * 3


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="strides=3"):
        grouped_edges.GroupedEdges(8, OPERATIONS, 2, 3)
    with pytest.raises(ValueError, match="accepted are the operations of BATS"):
        grouped_edges.GroupedEdges(8, ["bin_conv_3x3"], 2)


@pytest.mark.parametrize("strides", [1, 2])
def test_initial_kernels_of_an_edge_do_not_depend_on_the_number_of_edges(strides):
    deviations = []
    for edges in (1, 6):
        tf.keras.utils.set_random_seed(2)
        layer = grouped_edges.GroupedEdges(24, OPERATIONS, edges, strides, 4)
        layer([tf.zeros([1, 8, 8, 24]), tf.ones([edges, len(OPERATIONS)])])
        kernels = [layer.kernel] + [layer.reduce_kernel] * (strides - 1)
        deviations.append([np.std(kernel) for kernel in kernels])
    np.testing.assert_allclose(*deviations, rtol=0.05)
    alone = tf.keras.layers.Conv2D(24, 3, groups=4)
    alone.build([None, 8, 8, 24])
    rows = layer.kernel[:9].numpy()
    np.testing.assert_allclose(rows.std(), np.std(alone.kernel), rtol=0.05)
    # Each edge has kernels of its own.
    assert len(np.unique(rows)) > 0.99 * rows.size
