"""The Keras layers of BATS: grouped convolutions, a learnt scale, and the channel shuffle.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711). Details that neither the paper nor its
      supplement gives follow the library of the first author, github.com/1adrianb/binary-networks-pytorch.
"""

from typing import Any

import larq as lq
import tensorflow as tf

from larq_nas.layers import _larq
from larq_nas.layers.convolutional import GroupedConv2D, NotCompiled
from larq_nas.layers.quantizers import register, xnor_scale

layers = tf.keras.layers

# Initial slope of a PReLU.
SLOPE = 0.25


@register
class ScaledConv2D(NotCompiled, lq.layers.QuantConv2D):
    """A binary convolution that multiplies its output by a learnt scale for each filter, as in XNOR-Net++.

    The arguments are the arguments of Larq's `QuantConv2D`.

    # Inputs
        A tensor of shape `(batch, height, width, channels)`.

    # References
        - [XNOR-Net++](https://arxiv.org/abs/1909.13863), section 4.1, the first of the four shapes of the scale
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        self.output_scale = self.add_weight("scale", (self.filters,), initializer="ones")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = super().call(inputs)
        return outputs * tf.cast(self.output_scale, outputs.dtype)

    def binarize(self) -> None:
        """Multiplies the learnt scale by the mean magnitude of each filter of the kernel.

        Call this method after training with a float kernel, because the signs of the kernel alone would give much
        larger outputs.
        """
        kernel = tf.convert_to_tensor(_larq.latent(self.kernel))
        self.output_scale.assign(self.output_scale * xnor_scale(kernel))


@register
class ChannelShuffle(layers.Layer):
    """Distributes the channels of each group over all groups.

    # Arguments
        groups: Number of groups. It must divide the number of channels.

    # References
        - [ShuffleNet](https://arxiv.org/abs/1707.01083), section 3.1
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        *sides, channels = inputs.shape[1:]
        apart = tf.reshape(inputs, [-1, *sides, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(apart, [0, 1, 2, 4, 3]), [-1, *sides, channels])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


def convolution(
    x: tf.Tensor,
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    dilation_rate: int = 1,
    groups: int = 1,
    quantization: str = "binary",
    name: str | None = None,
) -> tf.Tensor:
    """Applies a convolution of BATS. With the quantization `"binary"`, it is sign → binary convolution → learnt scale.

    # Arguments
        x: Input tensor.
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        dilation_rate: Distance of the taps.
        groups: Number of groups.
        quantization: One of `methods.bats.blocks.QUANTIZATIONS`.
        name: Name of the layer.

    # Returns
        The output tensor.
    """
    options: dict[str, Any] = {"strides": strides, "dilation_rate": dilation_rate, "groups": groups}
    options |= {"padding": "same", "use_bias": False, "name": name}
    if quantization == "real":
        return GroupedConv2D(filters, kernel_size, **options)(x)
    options |= {"pad_values": 1.0, "input_quantizer": "ste_sign"}
    if quantization == "activations":
        return lq.layers.QuantConv2D(filters, kernel_size, **options)(x)
    options |= {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    return ScaledConv2D(filters, kernel_size, **options)(x)


def prelu(name: str | None) -> tf.keras.layers.Layer:
    """Returns a PReLU layer with a slope for each channel."""
    return layers.PReLU(tf.keras.initializers.Constant(SLOPE), shared_axes=[1, 2], name=name)
