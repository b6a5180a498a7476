"""The Keras layers of BATS: grouped convolutions, a learnt scale, the shuffle of channels.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711), and for everything that stands neither in
      it nor in its supplement the library of its first author, github.com/1adrianb/binary-networks-pytorch
"""

import larq as lq
import tensorflow as tf

from larq_nas.layers.convolutional import GroupedConv2D, NotCompiled
from larq_nas.layers.quantizers import register, xnor_scale

layers = tf.keras.layers

# Slope of a PReLU at first.
SLOPE = 0.25


@register
class ScaledConv2D(NotCompiled, lq.layers.QuantConv2D):
    """A binary convolution whose output is multiplied by a learnt scale for each filter, as XNOR-Net++ has it.

    The arguments are those of Larq's `QuantConv2D`.

    # Inputs
        A tensor of shape `(batch, height, width, channels)`.

    # References
        - [XNOR-Net++](https://arxiv.org/abs/1909.13863), section 4.1, the first of its four shapes
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.output_scale = self.add_weight("scale", (self.filters,), initializer="ones")

    def call(self, inputs):
        outputs = super().call(inputs)
        return outputs * tf.cast(self.output_scale, outputs.dtype)

    def binarize(self):
        """Multiplies the scale with the mean magnitude of the kernel's filters.

        After a training with a float kernel: its signs alone would have much larger outputs.
        """
        kernel = tf.convert_to_tensor(getattr(self.kernel, "latent_variable", self.kernel))
        self.output_scale.assign(self.output_scale * xnor_scale(kernel))


@register
class ChannelShuffle(layers.Layer):
    """Distributes the channels of each group over all groups.

    # Arguments
        groups: Number of groups, which divides that of the channels.

    # References
        - [ShuffleNet](https://arxiv.org/abs/1707.01083), section 3.1
    """

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs):
        *sides, channels = inputs.shape[1:]
        apart = tf.reshape(inputs, [-1, *sides, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(apart, [0, 1, 2, 4, 3]), [-1, *sides, channels])

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


def convolution(x, filters, kernel_size, strides=1, dilation_rate=1, groups=1, form="binary", name=None):
    """A convolution in one of the `blocks.FORMS`: sign → binary convolution → learnt scale, if it is binary."""
    options = {"strides": strides, "dilation_rate": dilation_rate, "groups": groups}
    options |= {"padding": "same", "use_bias": False, "name": name}
    if form == "real":
        return GroupedConv2D(filters, kernel_size, **options)(x)
    options |= {"pad_values": 1.0, "input_quantizer": "ste_sign"}
    if form == "activations":
        return lq.layers.QuantConv2D(filters, kernel_size, **options)(x)
    options |= {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    return ScaledConv2D(filters, kernel_size, **options)(x)


def prelu(name):
    """A PReLU with a slope for each channel."""
    return layers.PReLU(tf.keras.initializers.Constant(SLOPE), shared_axes=[1, 2], name=name)
