"""Normalization of features regardless of their channels."""

import tensorflow as tf

from larq_nas.layers.quantizers import register


@register
class RmsNormalization(tf.keras.layers.Layer):
    """Divides a tensor by its root mean square over the whole batch.

    The ratios between channels stay as they are. A BatchNorm would undo a `width_masks.WidthMask` before it, because it
    gives each channel the same variance.

    # Inputs
        A tensor.

    # Returns
        A tensor of the same shape, whose mean square is 1.
    """

    def call(self, inputs):
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(tf.cast(inputs, tf.float32))) + 1e-5)
        return inputs * tf.cast(scale, inputs.dtype)
