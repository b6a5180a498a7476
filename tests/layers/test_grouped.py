import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import grouped
from larq_nas.methods.bats import blocks
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder

pytestmark = pytest.mark.onednn

CONVOLUTIONS = [name for name in operations.OPERATIONS if "group_conv" in name]


def _model(name, filters=12, strides=1, groups=4, quantization="binary", size=(6, 6)):
    inputs = tf.keras.Input((*size, filters))
    return tf.keras.Model(
        inputs, operations.apply(Builder(), name, inputs, filters, strides, groups, quantization, "op")
    )


@pytest.mark.parametrize("name", ["none", "max_pool_3x3", "avg_pool_3x3", "skip", *CONVOLUTIONS])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
@pytest.mark.parametrize("quantization", blocks.QUANTIZATIONS)
def test_every_operation_keeps_the_channels_and_divides_the_size(name, strides, size, quantization):
    model = _model(name, strides=strides, quantization=quantization, size=size)
    assert model.output_shape == (None, -(-size[0] // strides), -(-size[1] // strides), 12)
    quantizers = [
        quantizer
        for layer in model.layers
        for quantizer in (getattr(layer, "input_quantizer", None), getattr(layer, "kernel_quantizer", None))
        if quantizer is not None
    ]
    convolutions = sum(isinstance(layer, tf.keras.layers.Conv2D) for layer in model.layers)
    assert convolutions == ("conv" in name) + 2 * (name == "skip" and strides == 2)
    assert len(quantizers) == {"binary": 2, "activations": 1, "real": 0}[quantization] * convolutions


@pytest.mark.parametrize(("channels", "groups"), [(12, 4), (12, 3), (8, 2), (20, 4)])
def test_a_shuffle_is_a_permutation_that_one_of_the_other_number_undoes(channels, groups):
    x = tf.reshape(tf.range(2 * 3 * channels, dtype=tf.float32), [1, 2, 3, channels])
    shuffled = grouped.ChannelShuffle(groups)(x)
    assert not np.array_equal(shuffled, x)
    # The second channel of the result is the first of the second group.
    assert shuffled[0, 0, 0, 1] == channels // groups
    np.testing.assert_array_equal(grouped.ChannelShuffle(channels // groups)(shuffled), x)


def test_an_operation_follows_its_definition():
    model = _model("group_conv_3x3", quantization="binary")
    rng = np.random.default_rng(0)
    model.get_layer("op_conv").set_weights([rng.normal(size=(3, 3, 3, 12)), rng.uniform(1, 2, 12)])
    model.get_layer("op_prelu").set_weights([rng.uniform(size=(1, 1, 12))])
    x = rng.normal(size=(2, 6, 6, 12)).astype(np.float32)
    kernel, scale = model.get_layer("op_conv").get_weights()
    slope = model.get_layer("op_prelu").get_weights()[0]
    signs = np.pad(np.where(x / np.sqrt(1 + 1e-5) >= 0, 1, -1), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1)
    y = np.zeros_like(x)
    for group in range(4):
        part, channels = np.where(kernel >= 0, 1, -1)[..., 3 * group : 3 * group + 3], slice(3 * group, 3 * group + 3)
        for i in range(3):
            for j in range(3):
                y[..., channels] += signs[:, i : i + 6, j : j + 6, channels] @ part[i, j]
    y = y * scale
    y = np.maximum(y, 0) + slope * np.minimum(y, 0)
    shuffled = y.reshape(2, 6, 6, 4, 3).swapaxes(-1, -2).reshape(y.shape)
    np.testing.assert_allclose(model(x), x + shuffled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("strides", [1, 2])
def test_grouped_and_dilated_convolutions_have_gradients(name, strides):
    model = _model(name, strides=strides, size=(5, 6))
    x = tf.random.normal([4, 5, 6, 12])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_weights)
    assert len(gradients) == 5 and all(np.isfinite(g).all() and np.any(g) for g in gradients)


def test_a_strided_dilated_convolution_is_every_second_pixel_of_the_dilated_one():
    dense, strided = (
        _model("dil_group_conv_5x5", quantization="real"),
        _model("dil_group_conv_5x5", strides=2, quantization="real"),
    )
    strided.set_weights(dense.get_weights())
    x = tf.random.normal([2, 6, 6, 12])
    np.testing.assert_allclose(strided(x), (dense(x) - x)[:, ::2, ::2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_a_factorized_reduce_reads_the_first_and_the_last_of_four_pixels(size):
    inputs = tf.keras.Input((*size, 1))
    parts = [Builder().every_second(inputs, first, name="a") for first in (0, 1)]
    first, last = tf.keras.Model(inputs, parts)(np.arange(np.prod(size)).reshape(1, *size, 1))
    image = np.pad(np.arange(np.prod(size)).reshape(size), [(0, side % 2) for side in size])
    np.testing.assert_array_equal(first[0, :, :, 0], image[::2, ::2])
    np.testing.assert_array_equal(last[0, :, :, 0], image[1::2, 1::2])


def test_a_scale_takes_over_the_magnitude_of_a_float_kernel():
    layer = grouped.ScaledConv2D(4, 3, kernel_quantizer="ste_sign", kernel_constraint="weight_clip", use_bias=False)
    x = tf.random.normal([2, 5, 5, 8])
    layer(x)
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 4)).astype(np.float32)
    layer.set_weights([kernel, np.arange(1.0, 5.0)])
    layer.binarize()
    expected = np.abs(kernel).mean(axis=(0, 1, 2)) * [1, 2, 3, 4]
    np.testing.assert_allclose(layer.get_weights()[1], expected, rtol=1e-5)


def test_a_preprocessing_adds_its_input_where_channels_are_as_many():
    inputs = tf.keras.Input((4, 4, 8))
    for filters in (8, 12):
        model = tf.keras.Model(inputs, blocks.preprocess(Builder(), inputs, filters, name=f"p{filters}"))
        added = any(isinstance(layer, tf.keras.layers.Add) for layer in model.layers)
        assert added == (filters == 8) and model.output_shape[-1] == filters
