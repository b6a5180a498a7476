"""The operations of BATS: grouped convolutions between a BatchNorm and a PReLU, with a shuffle and a skip inside.

Three forms of the same network share them. `"binary"` has binary activations and kernels; `"activations"` has float
kernels, as a search and the first of two stages of training have; `"real"` is the network without any quantizer.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711), and for everything that stands neither in
      it nor in its supplement the library of its first author, github.com/1adrianb/binary-networks-pytorch
"""

import larq as lq
import tensorflow as tf

from larq_nas import operations
from larq_nas.operations import OPERATIONS, GroupedConv2D, NotCompiled, batch_normalization
from larq_nas.quantizers import register, xnor_scale

layers = tf.keras.layers

FORMS = ("binary", "activations", "real")
# In how many groups channels are shuffled, however many groups convolutions have.
SHUFFLE = 4
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

    def __init__(self, groups=SHUFFLE, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs):
        *sides, channels = inputs.shape[1:]
        apart = tf.reshape(inputs, [-1, *sides, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(apart, [0, 1, 2, 4, 3]), [-1, *sides, channels])

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


def convolution(x, filters, kernel_size, strides=1, dilation_rate=1, groups=1, form="binary", name=None):
    """A convolution in one of the `FORMS`: sign → binary convolution → learnt scale, if it is binary."""
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


def group_convolution(x, filters, operation, strides=1, groups=1, form="binary", affine=True, name=""):
    """BatchNorm → grouped convolution → PReLU → shuffle, and the input is added where there are no strides.

    # Arguments
        x: Input tensor of shape `(batch, height, width, channels)`.
        filters: Output channels; without strides those of the input.
        operation: Kernel size and dilation of the convolution.
        strides: 1 or 2.
        groups: Groups of the convolution.
        form: One of `FORMS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height / strides, width / strides, filters)`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711), supplement, figures 2c and 2d. The number of groups of the shuffle
          and the place of the learnt scale are those of the first author's library, which pads with zeros; here it is
          ones, as everywhere.
    """
    y = batch_normalization(affine, name=f"{name}_norm")(x)
    subsampling, own, dilation_rate = operations.strides_of(operation, strides)
    if subsampling > 1:
        y = layers.MaxPooling2D(1, subsampling, padding="same", name=f"{name}_subsample")(y)
    y = convolution(y, filters, operation.kernel_size, own, dilation_rate, groups, form, f"{name}_conv")
    y = ChannelShuffle(name=f"{name}_shuffle")(prelu(f"{name}_prelu")(y))
    return layers.Add(name=f"{name}_residual")([x, y]) if strides == 1 else y


def factorized_reduce(x, filters, form="binary", affine=True, name=""):
    """Two 1x1 convolutions of every second pixel, the second one pixel further, side by side → PReLU.

    # Arguments
        x: Input tensor of shape `(batch, height, width, channels)`.
        filters: Output channels, an even number.
        form, affine, name: See `group_convolution`.

    # Returns
        A tensor of shape `(batch, height / 2, width / 2, filters)`.
    """
    y = batch_normalization(affine, name=f"{name}_norm")(x)
    halves = []
    for index, pixels in enumerate(every_second(y, name)):
        halves.append(convolution(pixels, filters // 2, 1, form=form, name=f"{name}_conv{index}"))
    return prelu(f"{name}_prelu")(layers.Concatenate(name=f"{name}_halves")(halves))


def every_second(x, name):
    """The first of each 2x2 pixels, and the last, which is 0 beyond odd sides."""
    padded = [(0, side % 2) for side in x.shape[1:3]]
    further = layers.ZeroPadding2D(padded, name=f"{name}_pad")(x) if any(map(sum, padded)) else x
    further = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(further)
    return [
        layers.MaxPooling2D(1, 2, padding="same", name=f"{name}_pixels{index}")(pixels)
        for index, pixels in enumerate((x, further))
    ]


def preprocess(x, filters, form="binary", affine=True, name=""):
    """BatchNorm → 1x1 convolution → PReLU, and the input is added if it has as many channels."""
    y = batch_normalization(affine, name=f"{name}_norm")(x)
    y = prelu(f"{name}_prelu")(convolution(y, filters, 1, form=form, name=f"{name}_conv"))
    return layers.Add(name=f"{name}_residual")([x, y]) if x.shape[-1] == filters else y


def apply(name, x, filters, strides=1, groups=1, form="binary", layer_name=""):
    """Applies one decided operation of a final network to `x`."""
    operation = OPERATIONS[name]
    if operation.kind == "group_convolution":
        return group_convolution(x, filters, operation, strides, groups, form, name=layer_name)
    if operation.kind == "skip":
        return x if strides == 1 else factorized_reduce(x, filters, form, name=layer_name)
    return operations.apply(name, x, filters, strides, layer_name)
