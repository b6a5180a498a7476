"""Binarization that Larq does not have: XNOR kernels with their exact gradient.

Larq's `magnitude_aware_sign` treats the scale of a binary kernel as a constant in the backward pass. `XnorSign`
differentiates the scale too, and takes the mean-centring of the kernel into account, as the networks of BNAS were
trained. The quantizer itself yields ±1, so that sums over them are exact in any precision; the scale is applied behind
the convolution, by `operations.XnorConv2D`. The constraint `CentredClip` and the initializer `CentredUniform` keep the
latent kernel centred and within [-1, 1].

```python
from larq_nas.layers.convolutional import XnorConv2D

layer = XnorConv2D(16, 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign")
```
"""

import math

import larq as lq
import tensorflow as tf

register = tf.keras.utils.register_keras_serializable(package="larq_nas")


def custom_gradient(function):
    """As `tf.custom_gradient`, but traced once for all networks, for each shape of its arguments.

    TensorFlow never frees the graph in which a function of `tf.custom_gradient` was called. That graph now is one of
    the function alone, and not of the network around it.
    """
    return tf.function(tf.custom_gradient(function), autograph=False)


def register_by_name(cls):
    """Registers a part of a layer by its bare name, too, by which Larq and Keras look for it in a `.h5` file."""
    return lq.utils.register_keras_custom_object(register(cls))


# A channel whose scale is 0 would make the converter ship the whole convolution as float.
MIN_SCALE = 1e-4


def xnor_scale(kernel):
    """The scale of a binary kernel: the mean magnitude of each output channel.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A tensor of shape `(filters,)` in 32 bits, at least `MIN_SCALE`.
    """
    kernel = tf.cast(kernel, tf.float32)
    return tf.maximum(tf.reduce_mean(tf.abs(kernel), axis=_all_but_filters(kernel)), MIN_SCALE)


def _all_but_filters(kernel):
    return list(range(kernel.shape.rank - 1))


def sign(kernel):
    """1 where a kernel is at least 0, -1 elsewhere."""
    # Ones of its shape, since the converter does not fold a broadcast of large kernels, and ships them as float.
    return tf.where(kernel >= 0, tf.ones_like(kernel), -tf.ones_like(kernel))


def xnor_gradient(kernel, gradient):
    r"""The gradient of a latent kernel, given that of its scaled binary form.

    With \\(n\\) weights per output channel, \\(C\\) input channels and \\(\alpha\\) the scale of the channel:

    \\[G = n (1 - 1/C) [\alpha 1_{|W| \leq 1} g + \text{sign}(W) \frac{1}{n} \sum \text{sign}(W) g]\\]

    # Arguments
        kernel: Latent kernel of shape `(height, width, C, filters)`, centred and clipped.
        gradient: Gradient of the scaled binary kernel, of the same shape.

    # Returns
        A tensor of the shape and type of `gradient`, computed in 32 bits.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279), section 3.1; the factor n (1 - 1/C) is in its authors' code
          and in that of BNAS, whose learning rate was tuned with it.
    """
    scale = xnor_scale(kernel)
    return _latent_gradient(kernel, sign(kernel), scale, scale * tf.cast(gradient, tf.float32), gradient.dtype)


def binary_gradient(kernel, gradient):
    r"""The gradient of the scaled binary form of a kernel, given that of the latent kernel: undoes `xnor_gradient`.

    With \\(s = \text{sign}(W)\\), and \\(|W| \leq 1\\) everywhere, `xnor_gradient` multiplies the gradient of each
    output channel by \\(n (1 - 1/C) (\alpha I + \frac{1}{n} s s^T)\\). By the formula of Sherman and Morrison:

    \\[g = \frac{1}{\alpha} \left[h - \frac{s}{1 + \alpha} \frac{1}{n} \sum s h\right],
    \quad h = \frac{G}{n (1 - 1/C)}\\]

    # Arguments
        kernel: Latent kernel of shape `(height, width, C, filters)`, centred and clipped.
        gradient: Gradient of the latent kernel, of the same shape.

    # Returns
        A tensor of the shape and type of `gradient`, computed in 32 bits; 0 where there is one input channel, since
        the gradient of the latent kernel then is 0 whatever that of the binary kernel is.
    """
    latent, scale = tf.cast(kernel, tf.float32), xnor_scale(kernel)
    binary = sign(latent)
    scaled = tf.math.divide_no_nan(tf.cast(gradient, tf.float32), latent_factor(kernel.shape))
    mean = tf.reduce_mean(binary * scaled, axis=_all_but_filters(kernel))
    return tf.cast((scaled - binary * (mean / (1 + scale))) / scale, gradient.dtype)


def _latent_gradient(kernel, binary, scale, gradient, dtype):
    """`xnor_gradient`, given the gradient of the kernel's sign, which is that of the scaled kernel times the scale."""
    kernel, binary, gradient = (tf.cast(x, tf.float32) for x in (kernel, binary, gradient))
    through_sign = tf.where(tf.abs(kernel) <= 1, gradient, 0.0)
    return tf.cast(latent_factor(kernel.shape) * (through_sign + through_scale(binary, scale, gradient)), dtype)


def latent_factor(shape):
    """The factor n (1 - 1/C) of `xnor_gradient` for a kernel of shape `(..., C, filters)`."""
    *taps, channels, _ = shape
    return math.prod(taps) * (channels - 1)


def through_scale(binary, scale, gradient):
    """What reaches a latent kernel through its scale.

    # Arguments
        binary: Sign of the kernel, of shape `(..., C, filters)`.
        scale: Its `xnor_scale`.
        gradient: Gradient of the sign, of the same shape.

    # Returns
        A tensor of the same shape.
    """
    return binary * (tf.reduce_mean(binary * gradient, axis=_all_but_filters(binary)) / scale)


@custom_gradient
def xnor_sign(kernel):
    """The sign of a kernel, to be scaled by `xnor_scale` behind the convolution.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A tensor of ±1. Its gradient is `xnor_gradient`: it includes what reaches the kernel through the scale, so
        the scale must be applied as a constant.
    """

    def backward(gradient):
        # The convolution of ±1 has seen the scale as part of its upstream gradient.
        return _latent_gradient(kernel, binary, xnor_scale(kernel), gradient, gradient.dtype)

    binary = sign(kernel)
    return binary, backward


def layer_scale(kernel):
    """The scale of a binary kernel that all its filters share: the mean magnitude of the whole latent kernel.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        A tensor of shape `(filters,)` in 32 bits, whose values are equal and at least `MIN_SCALE`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 1
    """
    mean = tf.reduce_mean(tf.abs(tf.cast(kernel, tf.float32)))
    return tf.fill([kernel.shape[-1]], tf.maximum(mean, MIN_SCALE))


@register_by_name
class LayerSign(lq.quantizers.Quantizer):
    """The sign of a kernel whose `layer_scale` is applied behind the convolution, with a straight-through gradient.

    The gradient of the scaled binary kernel reaches the latent one unchanged where that lies within [-1, 1], and the
    scale is a constant.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 3.1, equation 1. The authors' code passes gradients up to
          1.3 times the scale, and those of activations up to 1.3.
    """

    precision = 1

    def call(self, inputs):
        return self.binarize(inputs)

    def scale(self, kernel):
        """What the convolution's output is multiplied by."""
        return layer_scale(kernel)

    @staticmethod
    @custom_gradient
    def binarize(kernel):
        """The sign and its gradient."""

        def backward(gradient):
            # The convolution of ±1 has seen the scale as part of its upstream gradient.
            unscaled = tf.cast(gradient, tf.float32) / layer_scale(kernel)
            return tf.cast(tf.where(tf.abs(kernel) <= 1, unscaled, 0.0), gradient.dtype)

        return sign(kernel), backward


@register_by_name
class XnorSign(lq.quantizers.Quantizer):
    """`xnor_sign` as a Larq kernel quantizer.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4
    """

    precision = 1

    def call(self, inputs):
        return xnor_sign(inputs)

    def scale(self, kernel):
        """What the convolution's output is multiplied by."""
        return xnor_scale(kernel)


@register_by_name
class FloatKernel(lq.quantizers.Quantizer):
    """A kernel as it is, in the place of a binary one: in the first of two stages of training, activations alone are
    binary."""

    precision = 32

    def call(self, inputs):
        return inputs

    def scale(self, kernel):
        """What the convolution's output is multiplied by."""
        return tf.ones([kernel.shape[-1]])


def _centre(kernel):
    return kernel - tf.reduce_mean(kernel, axis=-2, keepdims=True)


@register_by_name
class CentredClip(tf.keras.constraints.Constraint):
    """Keeps a kernel of mean 0 over its input channels, then within [-1, 1]."""

    def __call__(self, kernel):
        return tf.raw_ops.ClipByValue(t=_centre(kernel), clip_value_min=-1.0, clip_value_max=1.0)


@register_by_name
class CentredUniform(tf.keras.initializers.VarianceScaling):
    """Uniform in ±1/√fan_in, with mean 0 over the input channels: what `CentredClip` leaves unchanged."""

    def __init__(self, seed=None):
        super().__init__(scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed)

    def __call__(self, shape, dtype=None, **kwargs):
        return _centre(super().__call__(shape, dtype, **kwargs))

    def get_config(self):
        return {"seed": self.seed}
