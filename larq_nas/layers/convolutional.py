"""The Keras layers of the operations: binary and float convolutions, pools, and changes of shape.

Binary convolutions pad with ones (`padding="same", pad_values=1`). A padded zero would not be a binary value, so the
convolution could not be bit-packed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import larq as lq
import tensorflow as tf

from larq_nas.layers import _keras, _larq
from larq_nas.layers.convolutions import conv2d
from larq_nas.layers.quantizers import CentredClip, CentredUniform, LayerSign, XnorSign, register

layers = tf.keras.layers


@register
class Zeroise(layers.Layer):
    """The operation `"none"`: zeros in the shape that the other operations return.

    During training, the layer multiplies its inputs by 0, so that a layer that feeds only this one has a gradient,
    which is 0.

    # Arguments
        strides: Factor by which height and width shrink.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4.1
    """

    def __init__(self, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = strides

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        outputs = inputs[:, :: self.strides, :: self.strides]
        if training:
            return outputs * 0
        # If the shape is known, the output is a constant, which the converter removes.
        known = outputs.shape.is_fully_defined()
        return tf.zeros(outputs.shape if known else [tf.shape(outputs)[0], *outputs.shape[1:]], outputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides}


# The momentum and epsilon of BatchNorm in the papers.
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5


def batch_normalization(affine: bool = True, name: str | None = None) -> tf.keras.layers.Layer:
    """Makes a `BatchNormalization` layer with the momentum and epsilon of the papers.

    # Arguments
        affine: Whether the layer has a trainable scale and offset.
        name: Name of the layer.

    # Returns
        The layer.
    """
    return layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, center=affine, scale=affine, name=name)


def pool(kind: str, kernel_size: int, strides: int = 1, name: str | None = None) -> tf.keras.layers.Layer:
    """Makes a pooling layer with `same` padding. Averages do not count padded values.

    # Arguments
        kind: `"max_pool"` or `"avg_pool"`.
        kernel_size: Height and width of the window.
        strides: Strides.
        name: Name of the layer.

    # Returns
        The layer.
    """
    layer = {"max_pool": layers.MaxPooling2D, "avg_pool": layers.AveragePooling2D}[kind]
    return layer(kernel_size, strides, padding="same", name=name)


@register
class XnorConv2D(lq.layers.QuantConv2D):
    """A binary convolution that scales its outputs by the mean magnitude of the latent kernel.

    The layer applies the scale after the activation function, which must therefore be positively homogeneous, as ReLU
    is. With this order, the converter of Larq Compute Engine fuses convolution, activation and scale into one operator.

    # Arguments
        kernel_quantizer: `XnorSign` by default, which has one scale for each filter. `LayerSign` has one scale for all
            filters.
        kernel_constraint: With the default quantizer, `CentredClip` by default; otherwise none.
        kernel_initializer: With the default quantizer, `CentredUniform` by default; otherwise `"glorot_uniform"`.
        args, kwargs: The other arguments of Larq's `QuantConv2D`.

    # Inputs
        A tensor of shape `(batch, height, width, channels)`.

    # Raises
        ValueError: If the kernel quantizer has no scale.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279), section 3.2
    """

    def __init__(
        self,
        *args: Any,
        kernel_quantizer: Any = None,
        kernel_constraint: Any = None,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
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

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = super().call(inputs)
        return outputs * tf.cast(self.scale(), outputs.dtype)

    def scale(self) -> tf.Tensor:
        """Returns the scale of the outputs, which is a constant in the backward pass."""
        # Inside of Larq's `quantized_scope`, `self.kernel` is binary, but the scale needs the latent kernel.
        latent = tf.convert_to_tensor(_larq.latent(self.kernel))
        return tf.stop_gradient(self.kernel_quantizer.scale(latent))


def binary_conv(
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    dilation_rate: int = 1,
    name: str | None = None,
    **options: Any,
) -> XnorConv2D:
    """Returns a binary convolution with the defaults of all networks here: ReLU, `same` padding with ones, no bias.

    # Arguments
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        dilation_rate: Distance of the taps.
        name: Name of the layer.
        options: Arguments of `XnorConv2D` that replace these defaults.

    # Returns
        An `XnorConv2D`.
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


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: int | Sequence[int],
    dilation_rate: int | Sequence[int],
    padding: str = "same",
    pad_values: float = 0.0,
    function: Callable[..., tf.Tensor] = conv2d,
) -> tf.Tensor:
    """Convolves a tensor that is padded with any value. The output has the same size as with TensorFlow's padding.

    # Arguments
        x: A tensor of shape `(batch, height, width, channels)`.
        kernel: A tensor of shape `(height, width, channels / groups, filters)`.
        strides: An integer, or an integer for each side.
        dilation_rate: An integer, or an integer for each side.
        padding: `"same"` or `"valid"`.
        pad_values: The value of padded pixels.
        function: `conv2d` or, for inference, `tf.nn.conv2d`.

    # Returns
        A tensor of shape `(batch, height / strides, width / strides, filters)` with `same` padding.
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


class NotCompiled(_keras.NotCompiled):
    """A mixin for convolutions in groups that are computed by `conv2d`."""

    strides: tuple[int, int]
    padding: str
    dilation_rate: tuple[int, int]
    groups: int

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return conv2d(inputs, kernel, self.strides, self.padding.upper(), self.dilation_rate)


@register
class GroupedConv2D(NotCompiled, layers.Conv2D):
    """Keras's `Conv2D`, but TensorFlow instead of XLA computes grouped convolutions."""


def float_conv(
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    use_bias: bool = False,
    fan_in: int = 1,
    groups: int = 1,
    name: str | None = None,
) -> tf.keras.layers.Conv2D:
    """Makes a float convolution with `same` padding, for the parts of a network that are not binary.

    # Arguments
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        use_bias: Whether the convolution has a bias.
        fan_in: Number of inputs of a filter, which sets the range of the initial bias.
        groups: Number of groups.
        name: Name of the layer.

    # Returns
        The layer.
    """
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


def uniform_kernel() -> tf.keras.initializers.Initializer:
    """Returns an initializer that is uniform in ±1/√fan_in, as in the networks of the papers' authors."""
    return tf.keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def uniform_bias(fan_in: int) -> tf.keras.initializers.Initializer:
    """Returns an initializer that is uniform in ±1/√fan_in."""
    limit = fan_in**-0.5
    return tf.keras.initializers.RandomUniform(-limit, limit)


def layer_scaled_conv(
    x: tf.Tensor,
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    padding: str = "same",
    activation: str | None = None,
    mask: Callable[[tf.Tensor], tf.Tensor] | None = None,
    name: str | None = None,
) -> tf.Tensor:
    """Applies a binary convolution that has one scale for all filters, as in BARS.

    # Arguments
        x: Input tensor.
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        padding: `"same"`, which pads with ones, or `"valid"`.
        activation: Activation of the convolution.
        mask: A function that is applied to the signs before the convolution, or `None`. A convolution with a mask must
            not pad.
        name: Name of the convolution.

    # Returns
        The output tensor.
    """
    options: dict[str, Any] = {
        "padding": padding,
        "pad_values": 1.0 if padding == "same" else 0.0,
        "activation": activation,
    }
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

    The convolution then halves the height and width of the images and rounds up.

    # Arguments
        first: Row and column that the first tap of the kernel reads first, -1 or 0.

    # Raises
        ValueError: If `first` is not -1 or 0.
    """

    def __init__(self, first: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if first not in (-1, 0):
            raise ValueError(f"first={first}: must be -1 or 0")
        self.first = first

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        behind = [side % 2 + 1 + self.first for side in inputs.shape[1:3]]
        return tf.pad(inputs, [[0, 0], *([-self.first, size] for size in behind), [0, 0]], constant_values=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "first": self.first}


@register
class MatchChannels(layers.Layer):
    """Changes the number of channels: cuts channels off, or appends zeros.

    # Arguments
        filters: Output channels.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        missing = self.filters - inputs.shape[-1]
        if missing <= 0:
            return inputs[..., : self.filters]
        return tf.pad(inputs, [[0, 0], [0, 0], [0, 0], [0, missing]])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
