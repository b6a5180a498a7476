"""Quantizers that Larq does not have: XNOR kernels with their exact gradient.

Larq's `magnitude_aware_sign` treats the scale of a binary kernel as a constant in the backward pass. `XnorSign` also
differentiates the scale, and takes the mean-centring of the kernel into account, since the networks of BNAS were
trained in this way. The outputs of the quantizer are ±1, so that products with signs are exact in any precision.
`convolutional.XnorConv2D` applies the scale after the convolution. The constraint `CentredClip` and the initializer
`CentredUniform` keep the latent kernel centred and within [-1, 1].

```python
from larq_nas.layers.convolutional import XnorConv2D

layer = XnorConv2D(16, 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign")
```
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import larq as lq
import tensorflow as tf

register = tf.keras.utils.register_keras_serializable(package="larq_nas")


def custom_gradient(function: Callable) -> Callable:
    """Like `tf.custom_gradient`, but traces the function only once for each shape of its arguments, for all networks.

    TensorFlow never frees a graph that calls a function of `tf.custom_gradient`. With this decorator, such a graph
    contains only the function itself instead of the network that calls it.
    """
    traced = tf.function(tf.custom_gradient(function), autograph=False)

    @functools.wraps(function)
    def call(*arguments):
        # A variable of several replicas would become a part of the graph, for all networks.
        return traced(
            *(tf.convert_to_tensor(x) if isinstance(x, tf.distribute.DistributedValues) else x for x in arguments)
        )

    return call


def register_by_name(cls: type) -> type:
    """Registers a quantizer, constraint or initializer with Keras, and also under its bare class name.

    Larq and Keras look up the bare name when they read a `.h5` file.
    """
    return lq.utils.register_keras_custom_object(register(cls))


# A channel with a scale of 0 would make the converter store the whole convolution as float.
MIN_SCALE = 1e-4


def xnor_scale(kernel: tf.Tensor) -> tf.Tensor:
    """Returns the scale of a binary kernel: the mean magnitude of each output channel.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A 32-bit tensor of shape `(filters,)`. All values are at least `MIN_SCALE`.
    """
    kernel = tf.cast(kernel, tf.float32)
    return tf.maximum(tf.reduce_mean(tf.abs(kernel), axis=_all_but_filters(kernel)), MIN_SCALE)


def _all_but_filters(kernel):
    return list(range(kernel.shape.rank - 1))


def sign(kernel: tf.Tensor) -> tf.Tensor:
    """Returns 1 where the kernel is at least 0, and -1 elsewhere."""
    # `ones_like` instead of a broadcast scalar: the converter does not fold a broadcast of large kernels, and would
    # store them as float.
    return tf.where(kernel >= 0, tf.ones_like(kernel), -tf.ones_like(kernel))


def xnor_gradient(kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    r"""Computes the gradient of a latent kernel from the gradient of the scaled binary kernel.

    With \\(n\\) weights per output channel, \\(C\\) input channels and \\(\alpha\\) the scale of the channel:

    \\[G = n (1 - 1/C) [\alpha 1_{|W| \leq 1} g + \text{sign}(W) \frac{1}{n} \sum \text{sign}(W) g]\\]

    # Arguments
        kernel: Latent kernel of shape `(height, width, C, filters)`, centred and clipped.
        gradient: Gradient of the scaled binary kernel, of the same shape.

    # Returns
        A tensor with the shape and data type of `gradient`, computed in 32 bits.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279), section 3.1. The factor n (1 - 1/C) is in the code of its
          authors and in the code of BNAS, whose learning rate was tuned with this factor.
    """
    scale = xnor_scale(kernel)
    return _latent_gradient(kernel, sign(kernel), scale, scale * tf.cast(gradient, tf.float32), gradient.dtype)


def binary_gradient(kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    r"""Computes the gradient of a scaled binary kernel from the gradient of the latent kernel. Inverts `xnor_gradient`.

    With \\(s = \text{sign}(W)\\), and \\(|W| \leq 1\\) everywhere, `xnor_gradient` multiplies the gradient of each
    output channel by \\(n (1 - 1/C) (\alpha I + \frac{1}{n} s s^T)\\). By the Sherman-Morrison formula:

    \\[g = \frac{1}{\alpha} \left[h - \frac{s}{1 + \alpha} \frac{1}{n} \sum s h\right],
    \quad h = \frac{G}{n (1 - 1/C)}\\]

    # Arguments
        kernel: Latent kernel of shape `(height, width, C, filters)`, centred and clipped.
        gradient: Gradient of the latent kernel, of the same shape.

    # Returns
        A tensor with the shape and data type of `gradient`, computed in 32 bits. It is 0 if there is only one input
        channel, because the gradient of the latent kernel is then always 0 and does not determine the result.
    """
    latent, scale = tf.cast(kernel, tf.float32), xnor_scale(kernel)
    binary = sign(latent)
    scaled = tf.math.divide_no_nan(tf.cast(gradient, tf.float32), latent_factor(kernel.shape))
    mean = tf.reduce_mean(binary * scaled, axis=_all_but_filters(kernel))
    return tf.cast((scaled - binary * (mean / (1 + scale))) / scale, gradient.dtype)


def _latent_gradient(kernel, binary, scale, gradient, dtype):
    """`xnor_gradient`, given the gradient of the kernel's sign: the scale times the gradient of the scaled binary
    kernel.
    """
    kernel, binary, gradient = (tf.cast(x, tf.float32) for x in (kernel, binary, gradient))
    through_sign = tf.where(tf.abs(kernel) <= 1, gradient, 0.0)
    return tf.cast(latent_factor(kernel.shape) * (through_sign + through_scale(binary, scale, gradient)), dtype)


def latent_factor(shape: Sequence[int]) -> int:
    """Returns the factor n (1 - 1/C) of `xnor_gradient` for a kernel of shape `(..., C, filters)`."""
    *taps, channels, _ = shape
    return math.prod(taps) * (channels - 1)


def through_scale(binary: tf.Tensor, scale: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Computes the part of a latent kernel's gradient that passes through the scale.

    # Arguments
        binary: Sign of the kernel, of shape `(..., C, filters)`.
        scale: The `xnor_scale` of the kernel.
        gradient: Gradient of the sign, of the same shape.

    # Returns
        A tensor of the same shape.
    """
    return binary * (tf.reduce_mean(binary * gradient, axis=_all_but_filters(binary)) / scale)


@custom_gradient
def xnor_sign(kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the sign of a kernel. The caller multiplies the convolution's output by `xnor_scale`.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A tensor of ±1. Its gradient is `xnor_gradient`, which already includes the part that passes through the scale.
        The caller must therefore treat the scale as a constant.
    """

    def backward(gradient):
        # `gradient` already contains the scale, which is applied after the convolution.
        return _latent_gradient(kernel, binary, xnor_scale(kernel), gradient, gradient.dtype)

    binary = sign(kernel)
    return binary, backward


def layer_scale(kernel: tf.Tensor) -> tf.Tensor:
    """Returns the common scale of all filters of a binary kernel: the mean magnitude of the whole latent kernel.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A 32-bit tensor of shape `(filters,)`. All values are equal, and at least `MIN_SCALE`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 1
    """
    mean = tf.reduce_mean(tf.abs(tf.cast(kernel, tf.float32)))
    return tf.fill([kernel.shape[-1]], tf.maximum(mean, MIN_SCALE))


@register_by_name
class LayerSign(lq.quantizers.Quantizer):
    """The sign of a kernel with one scale for all filters and a straight-through gradient.

    The convolution multiplies its output by `layer_scale`. The latent kernel receives the gradient of the
    scaled binary kernel unchanged where its values are within [-1, 1]. The scale is a constant in the backward pass.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 3.1, equation 1. The authors' code passes the gradient of a
          kernel value up to a magnitude of 1.3 times the scale, and the gradient of an activation up to a magnitude of
          1.3; here both bounds are 1.
    """

    precision = 1

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.binarize(inputs)

    def scale(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the scale of the convolution's output, of shape `(filters,)`."""
        return layer_scale(kernel)

    @staticmethod
    @custom_gradient
    def binarize(kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        """Returns the sign of a kernel, with a straight-through gradient."""

        def backward(gradient):
            # `gradient` already contains the scale, which is applied after the convolution.
            unscaled = tf.cast(gradient, tf.float32) / layer_scale(kernel)
            return tf.cast(tf.where(tf.abs(kernel) <= 1, unscaled, 0.0), gradient.dtype)

        return sign(kernel), backward


@register_by_name
class XnorSign(lq.quantizers.Quantizer):
    """`xnor_sign` as a kernel quantizer of Larq.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4
    """

    precision = 1

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return xnor_sign(inputs)

    def scale(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the scale of the convolution's output, of shape `(filters,)`."""
        return xnor_scale(kernel)


@register_by_name
class FloatKernel(lq.quantizers.Quantizer):
    """A kernel quantizer that leaves the kernel as it is.

    In the first of two training stages, only activations are binary, and `FloatKernel` replaces the binary quantizers.
    """

    precision = 32

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs

    def scale(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the scale of the convolution's output, which is 1 for each filter."""
        return tf.ones([kernel.shape[-1]])


def _centre(kernel):
    return kernel - tf.reduce_mean(kernel, axis=-2, keepdims=True)


@register_by_name
class CentredClip(tf.keras.constraints.Constraint):
    """Subtracts the mean over the input channels from a kernel, then clips it to [-1, 1]."""

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.ClipByValue(t=_centre(kernel), clip_value_min=-1.0, clip_value_max=1.0)


@register_by_name
class CentredUniform(tf.keras.initializers.VarianceScaling):
    """Uniform in ±1/√fan_in, minus the mean over the input channels. `CentredClip` leaves such kernels unchanged."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed)

    def __call__(self, shape: Sequence[int], dtype: tf.DType | None = None, **kwargs: Any) -> tf.Tensor:
        return _centre(super().__call__(shape, dtype, **kwargs))

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}
