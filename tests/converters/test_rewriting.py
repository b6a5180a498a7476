"""The rewritten network computes what the given one does, in fewer operators."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

from larq_nas import networks, zoo
from larq_nas.converters import rewriting, tflite
from larq_nas.layers import precision
from larq_nas.layers.convolutional import binary_conv
from larq_nas.methods import bats, bnas
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder

layers = tf.keras.layers


def _trained(model, gamma=1.0, spread=0.3, seed=0):
    """A model whose BatchNorms have statistics, scales around `gamma` and offsets."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0.3, 0.3, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            if layer.gamma is not None:
                layer.gamma.assign(generator.normal(gamma, spread, shape))
                layer.beta.assign(generator.normal(0, 0.3, shape))
    return model


def _images(model, count=4):
    return np.random.default_rng(1).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


NETWORKS = {
    "bnas": lambda size: networks.build(bnas.space(4, 12).sample(3), (size, size, 3)),
    "bars": lambda size: networks.build(
        bars_architecture((8, 12, 20), (1, 2, 1), (10, 6, 2), ((4, 6), (1, 0))), (size, size, 3)
    ),
    "bats": lambda size: networks.build(bats.space(4, 12, 4).sample(2), (size, size, 3)),
    "dms_resnet18_a": lambda size: zoo.dms_resnet18_a(input_shape=(size, size, 3)),
    "dms_vgg11_a": lambda size: zoo.dms_vgg11_a(input_shape=(max(size, 32), max(size, 32), 3)),
}


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("gamma", [1.0, 0.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same(name, gamma, size):
    tf.keras.utils.set_random_seed(0)
    model = _trained(NETWORKS[name](size), gamma)
    rewritten = rewriting.rewrite(model)
    images = _images(model)
    assert rewritten is not model
    # Features, not probabilities, which would be too similar.
    outputs = [tf.keras.Model(m.input, m.get_layer("pool").output)(images).numpy() for m in (model, rewritten)]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-3, atol=1e-3)
    assert np.std(outputs[0]) > 0.01


def _of_sums(*parts, shape=(8, 8, 32)):
    """A network whose first layer reads a sum, which no convolution can take in."""
    images = layers.Input(shape)
    x = layers.Add()([layers.Conv2D(shape[-1], 1)(images), images])
    for part in parts:
        x = part(x)
    return tf.keras.Model(images, layers.GlobalAveragePooling2D()(x))


def _operators(model):
    return tflite.convert(model).report.operators


def test_a_normalization_before_a_sign_is_one_addition():
    model = _trained(_of_sums(layers.BatchNormalization(), binary_conv(16, 3)), spread=0.1)
    operators = _operators(model)
    assert operators["ADD"] == 2 and not {"MUL", "DEPTHWISE_CONV_2D"} & set(operators)


@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_where_its_scale_is_negative_it_is_one_depthwise_operation(gamma):
    model = _trained(_of_sums(layers.BatchNormalization(), binary_conv(16, 3)), gamma)
    assert (model.layers[3].gamma.numpy() < 0).any()
    operators = _operators(model)
    assert operators["DEPTHWISE_CONV_2D"] == operators["ADD"] == 1 and "MUL" not in operators


def test_a_channel_whose_scale_is_zero_keeps_its_sign():
    model = _trained(_of_sums(layers.BatchNormalization(), binary_conv(16, 3)))
    norm = model.layers[3]
    norm.gamma.assign(np.where(np.arange(32) % 2, norm.gamma.numpy(), 0))
    images = _images(model)
    np.testing.assert_allclose(rewriting.rewrite(model)(images), model(images), rtol=1e-4, atol=1e-5)
    assert tflite.convert(model).report.differences["random"][0] < 1e-4


def test_what_else_reads_the_normalized_tensor_gets_it():
    images = layers.Input((8, 8, 32))
    x = layers.Add()([layers.Conv2D(32, 1)(images), images])
    z = layers.BatchNormalization()(x)
    model = tf.keras.Model(images, [layers.Add()([binary_conv(32, 3)(z), z]), z])
    _trained(model)
    for rewritten, original in zip(rewriting.rewrite(model)(_images(model)), model(_images(model)), strict=True):
        np.testing.assert_allclose(rewritten, original, rtol=1e-4, atol=1e-5)


def test_normalizations_behind_convolutions_are_merged_with_them():
    parts = (binary_conv(32, 3), layers.BatchNormalization(), binary_conv(16, 3), layers.BatchNormalization())
    operators = _operators(_trained(_of_sums(*parts)))
    assert operators["LceBconv2d"] == 2 and operators["LceQuantize"] == operators["ADD"] == 1
    assert not {"MUL", "DEPTHWISE_CONV_2D"} & set(operators)


def test_pixels_are_left_out_before_a_normalization():
    parts = (layers.BatchNormalization(), layers.MaxPooling2D(1, 2), binary_conv(16, 3))
    model = _trained(_of_sums(*parts), spread=0.1)
    shapes = [layer.output_shape for layer in rewriting.rewrite(model).layers if layer.name == model.layers[3].name]
    assert shapes == [(None, 4, 4, 32)]
    assert tflite.convert(model).report.differences["random"][0] < 1e-4


def test_a_step_behind_a_sum_is_one_subtraction():
    tf.keras.utils.set_random_seed(0)
    operators = _operators(_trained(zoo.dms_resnet18_a()))
    assert operators["SUB"] == 8 and "MUL" not in operators


@pytest.mark.parametrize("size, paddings", [(16, 2), (17, 2)])
def test_one_of_two_strided_halves_pads_by_itself(size, paddings):
    tf.keras.utils.set_random_seed(0)
    genotype = bars_architecture((8, 16), (1, 1), (10, 6), ((1, 0),))
    operators = _operators(_trained(networks.build(genotype, (size, size, 3))))
    # Of one residual edge and of the shortcut of the only reduction.
    assert operators["PADV2"] == paddings


@pytest.mark.parametrize("name", ["bin_dil_conv_3x3", "bin_dil_conv_5x5"])
def test_equal_dilated_convolutions_that_read_one_tensor_are_packed(name):
    images = layers.Input((8, 8, 32))
    x = layers.Add()([layers.Conv2D(32, 1)(images), images])
    # Untrained: their BatchNorms are equal.
    x = layers.Add()([operations.apply(Builder(), name, x, 32, layer_name=f"edge{i}") for i in range(2)])
    operators = _operators(tf.keras.Model(images, layers.GlobalAveragePooling2D()(x)))
    assert operators["LceBconv2d"] == 2 and operators["LceQuantize"] == 1
    assert not {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(operators)


def test_the_model_itself_stays_what_it_is():
    model = _trained(zoo.dms_vgg11_a())
    before = [weights.copy() for weights in model.get_weights()]
    nodes = [len(layer.inbound_nodes) for layer in model.layers]
    rewriting.rewrite(model)
    assert nodes == [len(layer.inbound_nodes) for layer in model.layers]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class _Own(layers.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor


def test_a_model_with_a_layer_that_cannot_be_copied_is_rewritten_around_it():
    parts = (layers.Add()([layers.Conv2D(32, 1)(images := layers.Input((8, 8, 32))), images]),)
    x = layers.BatchNormalization()(_Own(2.0)(*parts))
    model = _trained(tf.keras.Model(images, layers.GlobalAveragePooling2D()(binary_conv(16, 3)(x))), spread=0.1)
    report = tflite.convert(model).report
    assert report.all_packed and report.operators["ADD"] == 2 and "DEPTHWISE_CONV_2D" not in report.operators
    _same(model)


def test_a_layer_that_is_used_twice_is_left_alone():
    images = layers.Input((8, 8, 32))
    norm, conv = layers.BatchNormalization(), binary_conv(32, 3)
    x = layers.Add()([conv(norm(images)), images])
    x = layers.Add()([conv(norm(x)), x])
    model = _trained(tf.keras.Model(images, x))
    np.testing.assert_allclose(rewriting.rewrite(model)(_images(model)), model(_images(model)), atol=1e-5)
    assert tflite.convert(model).report.all_packed


def test_a_sign_of_another_kind_is_not_taken_for_a_threshold():
    conv = lq.layers.QuantConv2D(
        16, 3, padding="same", pad_values=1.0, input_quantizer="approx_sign", kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip", use_bias=False,
    )  # fmt: skip
    model = _trained(_of_sums(layers.BatchNormalization(), conv))
    images = _images(model)
    np.testing.assert_allclose(rewriting.rewrite(model)(images), model(images), atol=1e-5)


def _same(model, rewritten=None):
    images = _images(model)
    expected, actual = (tf.nest.flatten(m(images)) for m in (model, rewritten or rewriting.rewrite(model)))
    for e, a in zip(expected, actual, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


def _base():
    images = layers.Input((8, 8, 32))
    return images, layers.Add()([layers.Conv2D(32, 1)(images), images])


def test_a_pool_that_two_normalizations_share_stays_where_it_is():
    images, x = _base()
    pool = layers.MaxPooling2D(1, 2)
    parts = [binary_conv(16, 3)(pool(layers.BatchNormalization()(x))) for _ in range(2)]
    _same(_trained(tf.keras.Model(images, layers.Add()(parts))))


class _Twice(layers.BatchNormalization):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training) + 1


class _Centred(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - tf.reduce_mean(kernel))


def test_layers_that_compute_something_of_their_own_keep_it():
    images, x = _base()
    x = _Centred(32, 3, dilation_rate=2, padding="same")(_Twice()(x))
    model = _trained(tf.keras.Model(images, x))
    with tf.keras.utils.custom_object_scope({"_Twice": _Twice, "_Centred": _Centred}):
        _same(model)


def test_a_model_of_the_layers_of_another_is_rewritten_alone():
    images, x = _base()
    norm = layers.BatchNormalization(name="norm")
    whole = _trained(tf.keras.Model(images, layers.Add()([binary_conv(32, 3, name="conv")(norm(x)), x])))
    features = tf.keras.Model(whole.input, whole.get_layer("conv").output)
    own = layers.Input((8, 8, 32))
    again = tf.keras.Model(own, whole.get_layer("conv")(norm(own)))
    for model in (features, again):
        _same(model)
        assert tflite.convert(model).report.all_packed


def test_a_network_is_rewritten_in_32_bits_under_any_policy():
    model = _trained(_of_sums(layers.BatchNormalization(), binary_conv(16, 3)), spread=0.1)
    with precision.policy("mixed_float16"):
        operators = _operators(model)
    assert operators["ADD"] == 2 and not {"MUL", "CAST", "DEPTHWISE_CONV_2D"} & set(operators)


@pytest.mark.parametrize("output", [False, True])
def test_a_normalization_behind_a_convolution_is_merged_however_many_read_it(output):
    images, x = _base()
    z = layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same")(x))
    parts = [z] if output else []
    outputs = [layers.Add()([binary_conv(32, 3)(z), z]), *parts]
    operators = _operators(_trained(tf.keras.Model(images, outputs)))
    assert operators["CONV_2D"] == 2 and "DEPTHWISE_CONV_2D" not in operators


def test_an_activation_that_looks_at_all_channels_is_not_split_into_groups():
    conv = lq.layers.QuantConv2D(
        24, 3, groups=3, padding="same", pad_values=1.0, input_quantizer="ste_sign", kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip", use_bias=False, activation="softmax",
    )  # fmt: skip
    images = layers.Input((8, 8, 24))
    with pytest.raises(tflite.ConversionError, match="not bit-packed"):
        tflite.convert(tf.keras.Model(images, conv(images)))
