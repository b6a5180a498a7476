"""A convolution with groups and dilation that has a gradient on every processor.

On CPUs, TensorFlow needs oneDNN for the gradient of a convolution with groups or dilation. It also needs oneDNN to fuse
a grouped convolution with a bias or a BatchNorm. Whether oneDNN is available depends on the processor, the build, the
data type and the environment variable `TF_ENABLE_ONEDNN_OPTS`.
"""

import functools
from collections.abc import Sequence

import tensorflow as tf


def conv2d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: int | Sequence[int] = 1,
    padding: str = "SAME",
    dilations: int | Sequence[int] = 1,
) -> tf.Tensor:
    """Computes `tf.nn.conv2d` in a form that has a gradient.

    If `tf.nn.conv2d` itself has no gradient, each group is convolved by itself, and space-to-batch replaces the
    dilation.

    # Arguments
        x: A tensor of shape `(batch, height, width, channels)`.
        kernel: A tensor of shape `(height, width, channels / groups, filters)`.
        strides, padding, dilations: As in `tf.nn.conv2d`. Either the strides or the dilations must be 1.

    # Returns
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    groups = x.shape[-1] // kernel.shape[-2]
    if has_gradient(groups > 1, max(tf.nest.flatten(dilations)) > 1, x.dtype):
        return tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)
    # This is the fastest of three forms. A dense convolution with a block-diagonal kernel multiplies zeros. The third
    # form, a depthwise convolution followed by sums, has a slow gradient.
    parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
    return tf.concat([tf.nn.convolution(*part, strides, padding, dilations=dilations) for part in parts], axis=-1)


@functools.cache
def has_gradient(grouped: bool, dilated: bool, dtype: tf.DType = tf.float32) -> bool:
    """Computes the gradient of a tiny convolution, to find out whether TensorFlow can do so on this machine.

    # Arguments
        grouped: Whether the convolution has groups.
        dilated: Whether the convolution has a dilation rate above 1.
        dtype: Data type of the tensors.

    # Returns
        Whether there is a gradient.
    """
    if not grouped and not dilated:
        return True

    @tf.function(autograph=False)
    def gradients():
        x, kernel = tf.ones([1, 4, 4, 4], dtype), tf.ones([3, 3, 2 if grouped else 4, 4], dtype)
        y = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=2 if dilated else 1)
        return tf.gradients(y, [x, kernel])

    try:
        # The caller may be tracing a graph.
        with tf.init_scope():
            gradients()
    except tf.errors.OpError:
        return False
    return True
