"""The parts of Larq that are not documented are still there, and still do what they are used for."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import _larq


@pytest.fixture
def dense():
    layer = lq.layers.QuantDense(3, kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
    layer.build((None, 2))
    return layer


def test_a_quantized_kernel_is_told_from_other_variables(dense):
    assert _larq.is_quantized(dense.kernel), "kernels of Larq are of another class than `QuantizedVariable`"
    assert not _larq.is_quantized(dense.bias) and not _larq.is_quantized(tf.Variable(1.0))


def test_a_kernel_has_the_quantizer_of_its_layer(dense):
    assert _larq.quantizer(dense.kernel) is dense.kernel_quantizer, "`quantizer` of Larq's kernels is gone"
    assert _larq.quantizer(dense.bias) is None


def test_the_latent_kernel_is_the_variable_that_is_trained(dense):
    latent = _larq.latent(dense.kernel)
    assert latent is not dense.kernel, "`latent_variable` of Larq's kernels is gone"
    latent.assign([[0.5, -0.5, 0.25], [1, -1, -0.25]])
    with lq.context.quantized_scope(True):
        np.testing.assert_array_equal(tf.convert_to_tensor(dense.kernel), np.sign(latent))
        assert np.abs(latent).min() == 0.25, "the latent kernel is quantized, too"
    assert _larq.latent(dense.bias) is dense.bias


def test_the_sign_passes_the_gradient_between_minus_one_and_one():
    x = tf.constant([-2.0, -0.5, 0.0, 1.0, 1.5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        signs = _larq.ste_sign(x)
    np.testing.assert_array_equal(signs, [-1, -1, 1, 1, 1])
    np.testing.assert_array_equal(tape.gradient(signs, x), [0, 1, 1, 1, 0])
