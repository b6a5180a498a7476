import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import quantizers


def _vector():
    """A kernel and an upstream gradient whose results were computed in float64 with the authors' rules."""
    o, i, h, w = np.meshgrid(range(2), range(3), range(2), range(2), indexing="ij")
    kernel = 1.5 * np.sin(1 + o + 2 * i + 3 * h + 5 * w)
    gradient = 0.1 * np.cos(2 + 3 * o + i + 2 * h + 4 * w)
    # (filters, channels, height, width) to Keras's (height, width, channels, filters)
    return tuple(np.transpose(x, (2, 3, 1, 0)).astype(np.float32) for x in (kernel, gradient))


def _gradient(latent, upstream):
    """The gradient of the latent kernel, given that of the scaled binary kernel."""
    scale = quantizers.xnor_scale(latent)
    with tf.GradientTape() as tape:
        tape.watch(latent)
        binary = quantizers.XnorSign()(latent)
    # Behind a convolution of ±1 the scale is part of what comes from upstream.
    return tape.gradient(binary, latent, output_gradients=scale * tf.constant(upstream))


def test_constraint_and_scale_are_those_of_the_authors():
    latent = quantizers.CentredClip()(tf.constant(_vector()[0]))
    np.testing.assert_allclose(latent[:, :, 0, 0], [[1, -0.502084], [-1, 0.702030]], atol=1e-6)
    np.testing.assert_allclose(latent[:, :, 2, 1], [[-0.355663, -1], [0.563087, 1]], atol=1e-6)
    np.testing.assert_allclose(quantizers.xnor_scale(latent), [0.784395795, 0.826215575], rtol=1e-6)
    np.testing.assert_array_equal(quantizers.XnorSign()(latent), np.where(latent >= 0, 1, -1))


def test_gradient_is_that_of_the_authors():
    kernel, upstream = _vector()
    latent = quantizers.CentredClip()(tf.constant(kernel))
    gradient = _gradient(latent, upstream).numpy()
    expected = [
        [
            [[-0.231576, 0.572960], [-0.439735, -0.061741]],
            [[-0.591674, 0.502649], [0.148440, -0.601313]],
            [[-0.439735, -0.120867], [0.632086, -0.496968]],
        ],
        [
            [[-0.141601, -0.931326], [0.827402, 0.332019]],
            [[0.963740, -0.883697], [-0.425265, 0.886858]],
            [[0.827402, 0.332019], [-0.931326, 0.270704]],
        ],
    ]
    np.testing.assert_allclose(np.transpose(gradient, (3, 2, 0, 1)), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(2, 2, 3, 2), (3, 3, 64, 8), (1, 1, 2, 4), (5, 5, 16, 3)])
def test_the_gradient_of_the_binary_kernel_is_found_again_in_that_of_the_latent_one(shape):
    generator = np.random.default_rng(0)
    # Some weights are clipped, and one filter has the least scale.
    kernel = generator.normal(size=shape).astype(np.float32) * ([0.0] + [1.0] * (shape[-1] - 1))
    latent = quantizers.CentredClip()(tf.constant(kernel, tf.float32))
    upstream = generator.normal(size=shape).astype(np.float32)
    found = quantizers.binary_gradient(latent, quantizers.xnor_gradient(latent, upstream))
    np.testing.assert_allclose(found[..., 1:], upstream[..., 1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[..., 0], upstream[..., 0], atol=1e-2)
    np.testing.assert_allclose(
        quantizers.xnor_gradient(latent, found), _gradient(latent, upstream), rtol=1e-3, atol=1e-4
    )


def test_a_kernel_of_one_input_channel_has_no_gradient_to_find_again():
    latent, upstream = tf.zeros([3, 3, 1, 2]), tf.ones([3, 3, 1, 2])
    gradient = quantizers.xnor_gradient(latent, upstream)
    assert not np.any(gradient) and not np.any(quantizers.binary_gradient(latent, gradient))


def test_a_dead_channel_keeps_a_scale_and_no_weight_is_zero():
    kernel = np.zeros((3, 3, 8, 4), np.float32)
    assert set(np.unique(quantizers.XnorSign()(tf.constant(kernel)))) <= {-1.0, 1.0}
    np.testing.assert_allclose(quantizers.xnor_scale(tf.constant(kernel)), quantizers.MIN_SCALE)


def test_initial_kernels_satisfy_the_constraint():
    kernel = quantizers.CentredUniform(seed=1)((3, 3, 16, 32), tf.float32)
    np.testing.assert_allclose(quantizers.CentredClip()(kernel), kernel, atol=1e-6)
    limit = (3 * 3 * 16) ** -0.5
    assert 0.9 * limit < np.abs(kernel).max() < 2 * limit


def test_one_scale_for_a_layer_and_its_straight_through_gradient():
    latent = tf.constant([[[[0.5, -1.5], [-0.25, 0.75]]]])
    np.testing.assert_allclose(quantizers.layer_scale(latent), [0.75, 0.75])
    np.testing.assert_allclose(quantizers.layer_scale(tf.zeros([1, 1, 2, 3])), [quantizers.MIN_SCALE] * 3)
    upstream = tf.constant([[[[1.0, 2.0], [3.0, 4.0]]]])
    with tf.GradientTape() as tape:
        tape.watch(latent)
        binary = quantizers.LayerSign()(latent)
    np.testing.assert_array_equal(binary, [[[[1, -1], [-1, 1]]]])
    # Behind a convolution of ±1 the scale is part of what comes from upstream: it is gone from the gradient.
    gradient = tape.gradient(binary, latent, output_gradients=0.75 * upstream)
    np.testing.assert_allclose(gradient, [[[[1, 0], [3, 4]]]])
