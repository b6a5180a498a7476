import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import convolutional, quantizers

pytestmark = pytest.mark.onednn


def _model(**options):
    layer = convolutional.XnorConv2D(
        4, 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign", **options
    )
    return tf.keras.Sequential([tf.keras.layers.Input((6, 6, 8)), layer])


def _images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_the_scaled_convolution_equals_one_with_a_scaled_kernel(activation):
    model, x = _model(activation=activation), _images(2, 6, 6, 8)
    kernel = model.get_weights()[0]
    scaled = np.where(kernel >= 0, 1, -1) * np.abs(kernel).mean(axis=(0, 1, 2))
    padded = np.pad(np.where(x >= 0, 1, -1), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1)
    expected = tf.nn.conv2d(padded.astype(np.float32), scaled.astype(np.float32), 1, "VALID")
    expected = tf.nn.relu(expected) if activation else expected
    np.testing.assert_allclose(model(x), expected, atol=1e-5)
    with lq.context.quantized_scope(True):
        np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_its_gradient_is_the_exact_one_of_the_scaled_kernel():
    model, x = _model(activation="relu"), tf.constant(_images(2, 6, 6, 8))
    kernel = model.layers[0].kernel.latent_variable
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(tf.sin(model(x)))
        scaled = tf.stop_gradient(quantizers.xnor_sign(kernel) * quantizers.xnor_scale(kernel))
        tape.watch(scaled)
        padded = tf.pad(lq.quantizers.SteSign()(x), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        # Sums of scaled values round; below, none is 0 where the sum of integers is not.
        plain = tf.reduce_sum(tf.sin(tf.nn.relu(tf.nn.conv2d(padded, scaled, 1, "VALID") - 1e-6)))
    expected = quantizers.xnor_gradient(kernel, tape.gradient(plain, scaled))
    np.testing.assert_allclose(tape.gradient(loss, kernel), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("eager", [True, False])
def test_training_keeps_the_kernel_clipped(eager):
    model = _model()
    model.compile(tf.keras.optimizers.SGD(0.1), "mse", run_eagerly=eager)
    before = model.get_weights()[0]
    model.fit(_images(4, 6, 6, 8), np.ones((4, 6, 6, 4), np.float32), verbose=0)
    after = model.get_weights()[0]
    assert not np.allclose(before, after)
    assert np.abs(after).max() <= 1


def test_saved_layers_are_loaded_by_name(tmp_path):
    model = _model(activation="relu")
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[0].kernel_quantizer, quantizers.XnorSign)
    x = _images(2, 6, 6, 8)
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)
    registered = [tf.keras.utils.get_registered_name(c) for c in (convolutional.XnorConv2D, convolutional.Zeroise)]
    assert registered == ["larq_nas>XnorConv2D", "larq_nas>Zeroise"]


def test_layer_scaled_convolutions_have_one_scale():
    images = tf.keras.layers.Input((6, 6, 8))
    model = tf.keras.Model(images, convolutional.layer_scaled_conv(images, 4, 3))
    x, kernel = _images(2, 6, 6, 8), model.get_weights()[0]
    scaled = np.where(kernel >= 0, 1, -1) * np.abs(kernel).mean()
    padded = np.pad(np.where(x >= 0, 1, -1), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1)
    expected = tf.nn.conv2d(padded.astype(np.float32), scaled.astype(np.float32), 1, "VALID")
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


def test_a_quantizer_without_a_scale_is_refused():
    with pytest.raises(ValueError, match="accepted are XnorSign, LayerSign and StandardizedSign"):
        convolutional.XnorConv2D(4, 3, kernel_quantizer="ste_sign")


def test_channels_are_cut_off_or_appended():
    x = _images(2, 3, 3, 4)
    np.testing.assert_array_equal(convolutional.MatchChannels(3)(x), x[..., :3])
    wide = convolutional.MatchChannels(6)(x)
    np.testing.assert_array_equal(wide[..., :4], x)
    assert wide.shape[-1] == 6 and not np.any(wide[..., 4:])


@pytest.mark.parametrize("layer", [convolutional.MatchChannels(6), convolutional.StartAt(-1), convolutional.StartAt(0)])
def test_layers_are_made_again_from_their_configuration(layer):
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    x = _images(2, 4, 4, 4)
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize("training", [False, True])
def test_zeroise_is_zero_and_so_is_its_gradient(training):
    x = tf.constant(_images(2, 5, 5, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = convolutional.Zeroise(2)(x, training=training)
    assert y.shape == (2, 3, 3, 3) and not np.any(y)
    gradient = tape.gradient(y, x)
    assert not training or (gradient is not None and not np.any(gradient))
