"""A convolution with groups and dilation that works, and has a gradient, on every processor.

On CPUs, TensorFlow computes the gradient of a convolution with groups or with dilation by oneDNN alone, and so it does
the fusion of groups with a bias or a BatchNorm. Whether oneDNN is there depends on the processor, the build, the data
type and `TF_ENABLE_ONEDNN_OPTS`.
"""

import functools

import tensorflow as tf


def conv2d(x, kernel, strides=1, padding="SAME", dilations=1):
    """`tf.nn.conv2d`; where that has no gradient, a convolution for each group, and dilation as space-to-batch.

    # Arguments
        x: A tensor of shape `(batch, height, width, channels)`.
        kernel: A tensor of shape `(height, width, channels / groups, filters)`.
        strides, padding, dilations: Those of `tf.nn.conv2d`; strides or dilations must be 1.

    # Returns
        A tensor of shape `(batch, height, width, filters)`.
    """
    groups = x.shape[-1] // kernel.shape[-2]
    if has_gradient(groups > 1, max(tf.nest.flatten(dilations)) > 1, x.dtype):
        return tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)
    # The fastest of three forms: a dense convolution of a block-diagonal kernel multiplies zeros, and the gradient of
    # a depthwise one, whose outputs are summed, is slow.
    parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
    return tf.concat([tf.nn.convolution(*part, strides, padding, dilations=dilations) for part in parts], axis=-1)


@functools.cache
def has_gradient(grouped: bool, dilated: bool, dtype=tf.float32) -> bool:
    """Whether TensorFlow can compute the gradient of a convolution here, found out by computing a tiny one.

    # Arguments
        grouped: Whether the convolution has groups.
        dilated: Whether the convolution has a dilation rate.
        dtype: Type of its tensors.
    """
    if not grouped and not dilated:
        return True

    @tf.function(autograph=False)
    def gradients():
        x, kernel = tf.ones([1, 4, 4, 4], dtype), tf.ones([3, 3, 2 if grouped else 4, 4], dtype)
        y = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=2 if dilated else 1)
        return tf.gradients(y, [x, kernel])

    try:
        # The question may come up while a graph is traced.
        with tf.init_scope():
            gradients()
    except tf.errors.OpError:
        return False
    return True
