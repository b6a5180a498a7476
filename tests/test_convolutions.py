import numpy as np
import pytest
import tensorflow as tf

from larq_nas import convolutions


def _gradients(groups, strides, dilation_rate, pad_values):
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(2, 7, 6, 4)), tf.float32)
    kernel = tf.constant(generator.normal(size=(3, 3, 4 // groups, 8)), tf.float32)

    @tf.function
    def gradients(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolutions.convolve(x, kernel, strides, dilation_rate, pad_values=pad_values)
            loss = tf.reduce_sum(tf.sin(y))
        return y, *tape.gradient(loss, [x, kernel])

    return gradients(x, kernel), x, kernel


def _dense(kernel, groups):
    """The same kernel for all channels at once."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    dense = np.zeros((3, 3, inputs * groups, outputs * groups), np.float32)
    for group in range(groups):
        rows, columns = slice(group * inputs, (group + 1) * inputs), slice(group * outputs, (group + 1) * outputs)
        dense[:, :, rows, columns] = kernel[..., columns]
    return dense


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("groups", "strides", "dilation_rate", "pad_values"),
    [(1, 1, 2, 1.0), (2, 1, 2, 1.0), (4, 2, 1, 1.0), (2, 1, 1, 0.0)],
)
def test_groups_and_dilation_have_the_gradients_of_the_written_out_sum(
    groups, strides, dilation_rate, pad_values, native, monkeypatch
):
    if native and not convolutions.native_gradients():
        pytest.skip("TensorFlow has no such kernels here")
    monkeypatch.setattr(convolutions, "native_gradients", lambda: native)
    (y, to_x, to_kernel), x, kernel = _gradients(groups, strides, dilation_rate, pad_values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        dense = tf.constant(_dense(kernel.numpy(), groups))
        tape.watch(dense)
        # Taps that are apart, written out as a larger kernel with zeros between them.
        size = 2 * dilation_rate + 1
        places = [[row * dilation_rate, column * dilation_rate] for row in range(3) for column in range(3)]
        spread = tf.scatter_nd(places, tf.reshape(dense, [9, *dense.shape[2:]]), [size, size, *dense.shape[2:]])
        sides = [max((-(-side // strides) - 1) * strides + size - side, 0) for side in x.shape[1:3]]
        margins = [[0, 0], *([missing // 2, missing - missing // 2] for missing in sides), [0, 0]]
        expected = tf.nn.conv2d(tf.pad(x, margins, constant_values=pad_values), spread, strides, "VALID")
        loss = tf.reduce_sum(tf.sin(expected))
    of_x, of_dense = tape.gradient(loss, [x, dense])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(to_x, of_x, atol=1e-5)
    np.testing.assert_allclose(
        _dense(to_kernel.numpy(), groups), of_dense * (_dense(np.ones(kernel.shape), groups)), atol=1e-4
    )
