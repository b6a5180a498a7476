"""Convolutions in groups and with dilation that can be trained on every processor.

TensorFlow's own CPU kernels have no gradients for them; those of oneDNN have, which TensorFlow uses on some processors
only. Where gradients are missing, they are taken of an equal form: each group by itself, and the pixels of each parity
by themselves.
"""

import functools

import tensorflow as tf


@functools.cache
def native_gradients() -> bool:
    """Whether TensorFlow's kernels have gradients of convolutions in groups and with dilation on this machine."""
    # Called by themselves: a tape records nothing here.
    with tf.init_scope():
        x, kernel = tf.ones([1, 5, 5, 4]), tf.ones([3, 3, 2, 4])
        options = {"out_backprop": x, "strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
        try:
            tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, **options)
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **options)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


def by_group(convolution, x, kernel):
    """A convolution whose number of groups follows from the channels of its input and its kernel.

    # Arguments
        convolution: A function of `x` and `kernel`.
        x: Input tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(height, width, channels / groups, filters)`.

    # Returns
        What the function returns, which has a gradient on every processor.
    """
    groups = x.shape[-1] // kernel.shape[2]
    if groups == 1 or native_gradients():
        return convolution(x, kernel)

    @tf.custom_gradient
    def call(x, kernel):
        def backward(gradient):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
                y = tf.concat([convolution(*part) for part in parts], axis=-1)
            return tape.gradient(y, [x, kernel], gradient)

        return convolution(x, kernel), backward

    return call(x, tf.convert_to_tensor(kernel))


class NotCompiled:
    """A mixin for convolutions in groups, which Keras compiles by XLA.

    On CPUs, TensorFlow's own gradient of them is a hundred times as fast (`benchmarks/NOTES.md`).
    """

    def _jit_compiled_convolution_op(self, inputs, kernel):
        # Larq changes the padding for the time of a call, and a gradient is computed later.
        options = {"padding": self.padding.upper(), "strides": self.strides, "dilations": self.dilation_rate}
        return by_group(lambda x, kernel: tf.nn.convolution(x, kernel, **options), inputs, kernel)


def convolve(x, kernel, strides, dilation_rate, padding="same", pad_values=0.0):
    """A convolution of what is padded with any value; the result has the size of that of TensorFlow's padding.

    Strides and dilation rates are integers, or one for each side.
    """
    strides, rates = ((n, n) if isinstance(n, int) else tuple(n) for n in (strides, dilation_rate))
    if padding != "valid" and pad_values and not kernel.shape[0] == kernel.shape[1] == 1:
        margins = []
        for side, taps, stride, rate in zip(x.shape[1:3], kernel.shape[:2], strides, rates, strict=True):
            missing = max((-(-side // stride) - 1) * stride + (taps - 1) * rate + 1 - side, 0)
            margins.append([missing // 2, missing - missing // 2])
        x, padding = tf.pad(x, [[0, 0], *margins, [0, 0]], constant_values=pad_values), "valid"
    # `convolution` computes a dilation by the parities of pixels, which is slower than the kernels of oneDNN.
    function = tf.nn.conv2d if native_gradients() else tf.nn.convolution
    return by_group(lambda x, kernel: function(x, kernel, strides, padding.upper(), dilations=rates), x, kernel)
