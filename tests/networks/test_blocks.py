import numpy as np
import pytest
import tensorflow as tf

from larq_nas.methods.bars.blocks import residual_block, strided_halves
from larq_nas.methods.bnas import mixed_edges
from larq_nas.networks import blocks, cells, counting, operations
from larq_nas.networks.builder import Builder
from larq_nas.space import registry
from larq_nas.space.architecture import Cell, Edge, Node

pytestmark = pytest.mark.onednn

# All operations of larq_nas.
NAMES = sorted({name for template in registry.templates().values() for name in template.operations})


def _images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_every_operation_has_a_definition():
    listed = {name for template in registry.templates().values() for name in template.operations}
    assert set(operations.OPERATIONS) == listed


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_strided_dilated_block_is_every_second_pixel_of_the_unstrided(size, kernel_size):
    images = tf.keras.layers.Input((size, size, 4))
    strided, plain = (
        tf.keras.Model(
            images, blocks.convolution_block(Builder(), images, 6, kernel_size, strides, 2, name=f"s{strides}")
        )
        for strides in (2, 1)
    )
    plain.set_weights(strided.get_weights())
    x = _images(2, size, size, 4)
    np.testing.assert_allclose(strided(x), plain(x)[:, ::2, ::2], atol=1e-5)


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (6, 5), (2, 1)])
def test_strided_halves_see_pixels_one_apart(size):
    images = tf.keras.layers.Input((*size, 4))
    model = tf.keras.Model(images, strided_halves(Builder(), images, 6, name="x"))
    x = _images(2, *size, 4)
    binary = np.where(x >= 0, 1, -1)
    # Ones all around; the first tap of the first half is one before the first pixel, that of the second half at it.
    padded = np.pad(binary, [(0, 0), (3, 3), (3, 3), (0, 0)], constant_values=1).astype(np.float32)
    halves = []
    for step, name in enumerate(("x_conv0", "x_conv1")):
        kernel = model.get_layer(name).get_weights()[0]
        scaled = (np.where(kernel >= 0, 1, -1) * np.abs(kernel).mean()).astype(np.float32)
        height, width = (-(-side // 2) for side in size)
        begin = 2 + step
        part = padded[:, begin : begin + 2 * height + 1, begin : begin + 2 * width + 1]
        halves.append(tf.nn.conv2d(part, scaled, 2, "VALID")[:, :height, :width])
    np.testing.assert_allclose(model(x), np.concatenate(halves, axis=-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_the_residual_block_adds_its_normalized_input(strides):
    images = tf.keras.layers.Input((6, 6, 4))
    filters = 4 * strides
    block = residual_block(Builder(), images, filters, 3, strides, name="x")
    model = tf.keras.Model(images, block)
    x = _images(2, 6, 6, 4)
    z = model.get_layer("x_norm")(x).numpy()
    if strides == 1:
        convolution, shortcut = model.get_layer("x_conv")(z), z
    else:
        convolution = tf.keras.Model(images, model.get_layer("x_halves").output)(x)
        shortcut = z.reshape(2, 3, 2, 3, 2, 4).mean(axis=(2, 4))
        shortcut = np.concatenate([shortcut, shortcut], axis=-1)
    np.testing.assert_allclose(model(x), np.maximum(convolution + shortcut, 0), atol=1e-5)


@pytest.mark.parametrize("name", ["none", "shortcut", "residual_bin_conv_3x3"])
def test_strided_operations_of_bars_double_the_channels(name):
    images = tf.keras.layers.Input((7, 6, 4))
    assert operations.apply(Builder(), name, images, 8, 2, layer_name="x").shape == (None, 4, 3, 8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strides", [1, 2])
def test_every_operation_gives_the_same_shape(name, strides):
    images = tf.keras.layers.Input((7, 7, 4))
    # It knows the operations of the other methods, too.
    output = operations.apply(Builder(), name, images, 4, strides, layer_name="x")
    assert output.shape == (None, -(-7 // strides), -(-7 // strides), 4)


def test_operations_say_what_they_convolve():
    def convolves(name, strides):
        counter = counting.Counter()
        operations.apply(counter, name, counting.Features(8, 8, 12), 12, strides)
        return any(row.kind == "convolution" for row, _ in counter.rows)

    for name, operation in operations.OPERATIONS.items():
        assert operation.name == name
        assert operation.convolution == (convolves(name, 1) and convolves(name, 2)), name


def test_operations_get_the_groups_and_the_quantization_that_they_take():
    def kernels(name, **context):
        counter = counting.Counter()
        operations.apply(counter, name, counting.Features(8, 8, 12), 12, 2, **context)
        return [(row.kernel, row.binary) for row, _ in counter.rows if row.kind == "convolution"]

    assert kernels("group_conv_3x3", groups=3) == [((3, 3, 4, 12), True)]
    assert kernels("group_conv_3x3", groups=2, quantization="real") == [((3, 3, 6, 12), False)]
    assert kernels("skip", groups=3, quantization="activations") == [((1, 1, 12, 6), False)] * 2
    assert kernels("bin_conv_3x3", groups=3, quantization="real") == [((3, 3, 12, 12), True)]


def test_features_of_another_size_than_was_asked_for_are_named():
    with pytest.raises(ValueError, match=r"max_pool_3x3: returns features of \(4, 4, 12\), not of \(4, 4, 16\)"):
        operations.apply(counting.Counter(), "max_pool_3x3", counting.Features(8, 8, 12), 16, 2)


def _rectified(v, x, filters, strides, name):
    return v.relu(x, name=name)


def test_an_own_operation_is_none_of_the_kinds_of_larq_nas_whatever_its_name():
    operations.register("my_pool", _rectified, convolution=False)
    operations.register("my_copy", _rectified)
    try:
        nodes = tuple(Node((Edge(0, (name,)),), 1) for name in ("my_pool", "my_copy", "bin_conv_3x3", "none"))
        assert cells.convolutions(Cell("normal", nodes)) == 2
        with pytest.raises(ValueError, match="accepted are binary convolutions, pools and none"):
            mixed_edges.MixedEdges(4, ["none", "my_pool"], 2)
    finally:
        operations.unregister("my_pool")
        operations.unregister("my_copy")
    with pytest.raises(ValueError, match="operation none is one of larq_nas"):
        operations.unregister("none")


@pytest.mark.parametrize(
    ("name", "kernel_size", "said"),
    [
        ("residual", 3, "is one of larq_nas"),
        ("bin_conv_3x3", 3, "is one of larq_nas"),
        ("concat", 3, "is one of larq_nas"),
        ("a b", 3, "is not a valid name"),
        ("mine", (1, 3), "is no positive integer"),
    ],
)
def test_an_operation_of_a_bad_name_or_size_is_refused(name, kernel_size, said):
    with pytest.raises(ValueError, match=said):
        operations.register(name, _rectified, kernel_size)
