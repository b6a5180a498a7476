"""The operations that an edge may hold, and the binary convolution they are made of.

A binary convolution block is BatchNorm → sign → binary convolution → ReLU, in that order. Convolutions pad with ones
(`padding="same", pad_values=1`), because a padded zero is no binary value and would not be bit-packed.
"""

import dataclasses

import larq as lq
import tensorflow as tf

from larq_nas.convolutions import conv2d
from larq_nas.quantizers import CentredClip, CentredUniform, LayerSign, XnorSign, register

layers = tf.keras.layers


@dataclasses.dataclass(frozen=True)
class Operation:
    """What a candidate operation computes.

    # Arguments
        kind: `"none"`, `"max_pool"`, `"avg_pool"`, `"convolution"` (binary), `"shortcut"`, `"residual"` (a binary
            convolution with a shortcut of its own), `"skip"` or `"group_convolution"` (those of `grouped`).
        kernel_size: Height and width of the window.
        dilation_rate: Distance of the taps of a convolution.
    """

    kind: str
    kernel_size: int = 1
    dilation_rate: int = 1


OPERATIONS = {
    "none": Operation("none"),
    "max_pool_3x3": Operation("max_pool", 3),
    "avg_pool_3x3": Operation("avg_pool", 3),
    "bin_dil_conv_3x3": Operation("convolution", 3, 2),
    "bin_dil_conv_5x5": Operation("convolution", 5, 2),
    "bin_conv_3x3": Operation("convolution", 3),
    "bin_conv_5x5": Operation("convolution", 5),
    "shortcut": Operation("shortcut"),
    "residual_bin_conv_3x3": Operation("residual", 3),
    "skip": Operation("skip"),
    "group_conv_3x3": Operation("group_convolution", 3),
    "group_conv_5x5": Operation("group_convolution", 5),
    "dil_group_conv_3x3": Operation("group_convolution", 3, 2),
    "dil_group_conv_5x5": Operation("group_convolution", 5, 2),
}


@register
class Zeroise(layers.Layer):
    """The operation "none": zeros of the shape that the other operations would have.

    In training the input is multiplied by 0, so that what feeds only this layer has a gradient, which is 0.

    # Arguments
        strides: Factor by which height and width shrink.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4.1
    """

    def __init__(self, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.strides = strides

    def call(self, inputs, training=None):
        outputs = inputs[:, :: self.strides, :: self.strides]
        if training:
            return outputs * 0
        # A constant where the shape is known, which the converter removes.
        known = outputs.shape.is_fully_defined()
        return tf.zeros(outputs.shape if known else [tf.shape(outputs)[0], *outputs.shape[1:]], outputs.dtype)

    def get_config(self):
        return {**super().get_config(), "strides": self.strides}


# The constants of BatchNorm in the papers.
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5


def batch_normalization(affine=True, name=None):
    """A `BatchNormalization` with the constants of the papers, with or without scale and offset."""
    return layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, center=affine, scale=affine, name=name)


def pool(operation: Operation, strides=1, name=None):
    """The Keras layer of a pooling operation; padded values do not count in an average."""
    layer = {"max_pool": layers.MaxPooling2D, "avg_pool": layers.AveragePooling2D}[operation.kind]
    return layer(operation.kernel_size, strides, padding="same", name=name)


def strides_of(operation: Operation, strides: int) -> tuple[int, int, int]:
    """How a strided convolution is computed: subsampling of the input, then strides and dilation.

    TensorFlow forbids strides together with dilation. All taps of a convolution of dilation 2 and stride 2 fall on
    pixels of one parity, so it equals an undilated convolution of every second pixel.

    # Returns
        The subsampling factor, the strides and the dilation rate of the convolution.
    """
    if strides > 1 and operation.dilation_rate > 1:
        if strides != operation.dilation_rate:
            raise ValueError(f"strides {strides} with dilation rate {operation.dilation_rate} is not supported")
        return strides, 1, 1
    return 1, strides, operation.dilation_rate


@register
class XnorConv2D(lq.layers.QuantConv2D):
    """A binary convolution scaled by the mean magnitude of its latent kernel.

    The scale is applied behind the activation, which must therefore be positively homogeneous, as ReLU is: the
    converter of Larq Compute Engine then fuses convolution, activation and scale into one operator.

    # Arguments
        kernel_quantizer: `XnorSign` by default, which scales each filter by itself; `LayerSign` scales all alike. The
            other arguments are those of Larq's `QuantConv2D`.

    # Inputs
        A tensor of shape `(batch, height, width, channels)`.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279), section 3.2
    """

    def __init__(self, *args, kernel_quantizer=None, kernel_constraint=None, kernel_initializer=None, **kwargs):
        if kernel_quantizer is None:
            kernel_quantizer, kernel_constraint = XnorSign(), kernel_constraint or CentredClip()
            kernel_initializer = kernel_initializer or CentredUniform()
        super().__init__(
            *args,
            kernel_quantizer=kernel_quantizer,
            kernel_constraint=kernel_constraint,
            kernel_initializer=kernel_initializer or "glorot_uniform",
            **kwargs,
        )
        if not hasattr(self.kernel_quantizer, "scale"):
            raise ValueError(
                f"kernel_quantizer={self.kernel_quantizer}: accepted are XnorSign, LayerSign and StandardizedSign"
            )

    def call(self, inputs):
        outputs = super().call(inputs)
        return outputs * tf.cast(self.scale(), outputs.dtype)

    def scale(self):
        """What the outputs are multiplied by, a constant to gradients."""
        # The latent kernel, also where Larq's quantized_scope shows the binary one.
        latent = tf.convert_to_tensor(getattr(self.kernel, "latent_variable", self.kernel))
        return tf.stop_gradient(self.kernel_quantizer.scale(latent))


def binary_conv(filters, kernel_size, strides=1, dilation_rate=1, name=None, **options):
    """A binary convolution with ReLU as every network here uses it: `same` padding with ones, no bias.

    `options` are those of `XnorConv2D` that differ.
    """
    usual = {"padding": "same", "pad_values": 1.0, "activation": "relu", "input_quantizer": "ste_sign"}
    return XnorConv2D(
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        use_bias=False,
        name=name,
        **{**usual, **options},
    )


def convolution_block(x, filters, operation: Operation, strides=1, affine=True, binary=True, name=""):
    """BatchNorm → sign → binary convolution → ReLU; without the sign and with a float kernel if not `binary`.

    # Arguments
        x: Input tensor of shape `(batch, height, width, channels)`.
        filters: Output channels.
        operation: Kernel size and dilation of the convolution.
        strides: 1 or 2.
        affine: Whether the BatchNorm has a trainable scale and offset.
        binary: Whether input and kernel are binarized.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height / strides, width / strides, filters)`.
    """
    x = batch_normalization(affine, name=f"{name}_norm")(x)
    subsampling, strides, dilation_rate = strides_of(operation, strides)
    if subsampling > 1:
        x = layers.MaxPooling2D(1, subsampling, name=f"{name}_subsample")(x)
    if binary:
        return binary_conv(filters, operation.kernel_size, strides, dilation_rate, name=f"{name}_conv")(x)
    x = float_conv(filters, operation.kernel_size, strides, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def convolve(x, kernel, strides, dilation_rate, padding="same", pad_values=0.0, function=conv2d):
    """A convolution of what is padded with any value; the result has the size of that of TensorFlow's padding.

    Strides and dilation rates are integers, or one for each side. `function` is `conv2d` or, for inference,
    `tf.nn.conv2d`.
    """
    strides, rates = ((n, n) if isinstance(n, int) else tuple(n) for n in (strides, dilation_rate))
    if padding == "valid" or not pad_values or kernel.shape[0] == kernel.shape[1] == 1:
        return function(x, kernel, strides, padding.upper(), dilations=rates)
    margins = []
    for side, taps, stride, rate in zip(x.shape[1:3], kernel.shape[:2], strides, rates, strict=True):
        missing = max((-(-side // stride) - 1) * stride + (taps - 1) * rate + 1 - side, 0)
        margins.append([missing // 2, missing - missing // 2])
    x = tf.pad(x, [[0, 0], *margins, [0, 0]], constant_values=pad_values)
    return function(x, kernel, strides, "VALID", dilations=rates)


class NotCompiled:
    """A mixin for convolutions in groups, which Keras compiles by XLA.

    On CPUs, the gradient of `conv2d` is a hundred times as fast (`benchmarks/NOTES.md`).
    """

    def convolution_op(self, inputs, kernel):
        return conv2d(inputs, kernel, self.strides, self.padding.upper(), self.dilation_rate)

    def _jit_compiled_convolution_op(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


@register
class GroupedConv2D(NotCompiled, layers.Conv2D):
    """Keras's `Conv2D`, computed by TensorFlow also where it has groups."""


def float_conv(filters, kernel_size, strides=1, use_bias=False, fan_in=1, groups=1, name=None):
    """A convolution of the parts that stay float. `fan_in` sets the range of the bias."""
    return (GroupedConv2D if groups > 1 else layers.Conv2D)(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=uniform_kernel(),
        bias_initializer=uniform_bias(fan_in),
        name=name,
    )


def uniform_kernel():
    """Uniform in ±1/√fan_in, as the authors' networks start."""
    return tf.keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def uniform_bias(fan_in: int):
    """Uniform in ±1/√fan_in."""
    limit = fan_in**-0.5
    return tf.keras.initializers.RandomUniform(-limit, limit)


def layer_scaled_conv(x, filters, kernel_size, strides=1, padding="same", activation=None, mask=None, name=None):
    """A `binary_conv` of `x` with one scale for the whole layer, as BARS has it.

    `mask` is what happens to its input between the sign and the convolution, which must not pad then.
    """
    options = {"padding": padding, "pad_values": 1.0 if padding == "same" else 0.0, "activation": activation}
    if mask is not None:
        x = mask(lq.quantizers.SteSign(name=f"{name}_sign")(x))
        options["input_quantizer"] = None
    return binary_conv(
        filters,
        kernel_size,
        strides,
        kernel_quantizer=LayerSign(),
        kernel_constraint="weight_clip",
        kernel_initializer="glorot_normal",
        name=name,
        **options,
    )(x)


@register
class StartAt(layers.Layer):
    """Pads images with ones so that a `valid` 3x3 convolution of strides 2 starts at a given pixel.

    The convolution then gives half of the images' height and width, rounded up.

    # Arguments
        first: Row and column that the first tap sees, -1 or 0.
    """

    def __init__(self, first, **kwargs):
        super().__init__(**kwargs)
        if first not in (-1, 0):
            raise ValueError(f"first={first}: must be -1 or 0")
        self.first = first

    def call(self, inputs):
        behind = [side % 2 + 1 + self.first for side in inputs.shape[1:3]]
        return tf.pad(inputs, [[0, 0], *([-self.first, size] for size in behind), [0, 0]], constant_values=1)

    def get_config(self):
        return {**super().get_config(), "first": self.first}


@register
class MatchChannels(layers.Layer):
    """Cuts channels off, or appends zeros.

    # Arguments
        filters: Channels of the output.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def call(self, inputs):
        missing = self.filters - inputs.shape[-1]
        if missing <= 0:
            return inputs[..., : self.filters]
        return tf.pad(inputs, [[0, 0], [0, 0], [0, 0], [0, missing]])

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def strided_halves(z, filters, mask=None, activation=None, name=""):
    """Two binary 3x3 convolutions of strides 2, half of the filters each, the second one pixel further.

    The first half is centred on the first of each 2x2 pixels, the second on the last.

    # Arguments
        z: Input tensor of shape `(batch, height, width, channels)`.
        filters: Output channels, an even number.
        mask, activation: See `layer_scaled_conv`.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height / 2, width / 2, filters)`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2 (cell template). The authors' code drops the first row
          and column for the second half and pads with zeros; here nothing is dropped, and ones are padded.
    """
    halves = []
    for index, first in enumerate((-1, 0)):
        x = StartAt(first, name=f"{name}_start{index}")(z)
        halves.append(layer_scaled_conv(x, filters // 2, 3, 2, "valid", activation, mask, f"{name}_conv{index}"))
    return layers.Concatenate(name=f"{name}_halves")(halves)


def parameter_free_shortcut(x, filters, strides, name=""):
    """`x` itself or, with strides, its average over 2x2 pixels, repeated if there are twice as many filters."""
    if strides == 1:
        return x
    return _doubled(layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x), filters, name)


def _doubled(x, filters, name):
    return layers.Concatenate(name=f"{name}_double")([x, x]) if filters == 2 * x.shape[-1] else x


def residual_block(x, filters, operation: Operation, strides=1, name=""):
    """BatchNorm → sign → binary convolution + shortcut of the normalized input → ReLU.

    # Arguments
        x: Input tensor of shape `(batch, height, width, channels)`.
        filters: Output channels; those of the input or, with strides, twice as many.
        operation: Kernel size of the convolution, if it has no strides.
        strides: 1, or 2 for `strided_halves`.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height / strides, width / strides, filters)`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2 (operational level). That the shortcut carries the
          normalized input, and ReLU follows the sum, is in the authors' code, not in the paper.
    """
    z = batch_normalization(name=f"{name}_norm")(x)
    if strides > 1:
        y = strided_halves(z, filters, name=name)
    else:
        y = layer_scaled_conv(z, filters, operation.kernel_size, name=f"{name}_conv")
    y = layers.Add(name=f"{name}_residual")([y, parameter_free_shortcut(z, filters, strides, f"{name}_shortcut")])
    return layers.ReLU(name=f"{name}_relu")(y)


def apply(name, x, filters, strides=1, layer_name=""):
    """Applies one decided operation of a final network to `x`."""
    operation = OPERATIONS[name]
    if operation.kind == "none":
        x = Zeroise(strides, name=f"{layer_name}_none")(x)
        return _doubled(x, filters, layer_name) if strides > 1 else x
    if operation.kind == "convolution":
        return convolution_block(x, filters, operation, strides, name=layer_name)
    if operation.kind == "residual":
        return residual_block(x, filters, operation, strides, name=layer_name)
    if operation.kind == "shortcut":
        return parameter_free_shortcut(x, filters, strides, layer_name)
    return pool(operation, strides, name=f"{layer_name}_pool")(x)
