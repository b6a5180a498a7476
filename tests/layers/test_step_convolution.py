import numpy as np
import pytest
import tensorflow as tf

from larq_nas import costs
from larq_nas.converters import tflite
from larq_nas.layers import step_convolution

pytestmark = pytest.mark.onednn


def _quantized(inputs, alpha):
    """Inputs in {0, alpha} by rounding, with straight-through gradients."""
    ratio = tf.clip_by_value(inputs / alpha, 0, 1)
    return alpha * (ratio + tf.stop_gradient(tf.round(ratio) - ratio))


def _kernel(latent):
    """The binary kernel as one expression of differentiable terms."""
    mean, variance = tf.nn.moments(latent, [0, 1, 2])
    standardized = (latent - mean) / tf.sqrt(variance)
    binary = standardized + tf.stop_gradient(tf.where(standardized >= 0, 1.0, -1.0) - standardized)
    # Gradients pass through the magnitude with the sign as a constant.
    return binary * tf.reduce_mean(standardized * tf.stop_gradient(tf.sign(standardized)), [0, 1, 2])


@pytest.mark.parametrize(("strides", "size"), [(1, 5), (2, 6), (2, 7)])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_convolution_and_its_gradients_are_those_of_steps_padded_with_zeros(strides, size, kernel_size):
    tf.keras.utils.set_random_seed(0)
    layer = step_convolution.StepConv2D(4, kernel_size, strides)
    layer.build((None, size, size, 3))
    layer.input_quantizer.build(None)
    layer.input_quantizer.alpha.assign(1.3)
    inputs, upstream = tf.random.normal([2, size, size, 3]), None
    latent, alpha = layer.kernel.latent_variable, layer.input_quantizer.alpha
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        upstream = tf.random.normal(outputs.shape)
        loss = tf.reduce_sum(outputs * upstream)
    found = tape.gradient(loss, [inputs, latent, alpha])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        expected = tf.nn.conv2d(_quantized(inputs, alpha), _kernel(latent), strides, "SAME")
        loss = tf.reduce_sum(expected * upstream)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    for a, b in zip(found, tape.gradient(loss, [inputs, latent, alpha]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_step_and_kernel_are_trained_and_the_step_stays_positive():
    tf.keras.utils.set_random_seed(0)
    layer = step_convolution.StepConv2D(4, 3)
    model = tf.keras.Sequential([tf.keras.layers.Input((8, 8, 2)), layer, tf.keras.layers.GlobalAveragePooling2D()])
    assert [weight.shape.as_list() for weight in model.trainable_weights] in ([[], [3, 3, 2, 4]], [[3, 3, 2, 4], []])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    x, y = np.random.normal(size=(64, 8, 8, 2)), np.random.normal(size=(64, 4))
    before = float(layer.input_quantizer.alpha)
    model.fit(x, y, epochs=1, verbose=0)
    assert float(layer.input_quantizer.alpha) not in (before, step_convolution.MIN_STEP)
    tf.keras.optimizers.SGD(1.0).apply_gradients([(tf.constant(1e6), layer.input_quantizer.alpha)])
    assert float(layer.input_quantizer.alpha) == pytest.approx(step_convolution.MIN_STEP)


def test_a_layer_comes_back_from_its_config():
    layer = step_convolution.StepConv2D(4, 3, 2, input_quantizer=step_convolution.Step(0.5), name="mine")
    copy = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    assert (copy.strides, copy.input_quantizer.initial) == ((2, 2), 0.5)


@pytest.mark.parametrize("size", [6, 7])
def test_convolutions_of_steps_are_packed_and_the_file_agrees_with_keras_at_borders_too(size):
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    images = layers.Input((size, size, 3))
    x = layers.BatchNormalization(name="norm0")(layers.Conv2D(32, 3, padding="same", use_bias=False)(images))
    x = y = layers.ReLU()(x)
    y = layers.BatchNormalization(name="norm1")(step_convolution.StepConv2D(32, 3, name="first")(y))
    y = layers.BatchNormalization(name="norm2")(step_convolution.StepConv2D(32, 3, name="second")(y))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.BatchNormalization(name="norm3")(step_convolution.StepConv2D(48, 1, 2, name="third")(x))
    model = tf.keras.Model(images, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    for weight in model.trainable_weights + model.non_trainable_weights:
        if "norm" in weight.name or "alpha" in weight.name:
            weight.assign(tf.random.uniform(weight.shape, 0.5, 1.5))
    assert [row.binary for row in costs.count(model).rows if row.kind == "convolution"] == [False, True, True, True]
    conversion = tflite.convert(model)
    assert (conversion.report.count("packed"), conversion.report.count("float")) == (3, 0)
    assert len(conversion.bytes) < 20_000
