"""Binarization that Larq does not have: XNOR kernels with their exact gradient.

Larq's `magnitude_aware_sign` computes the same binary kernel but treats its scale as a constant in the backward
pass. `XnorKernel` differentiates the scale too, and takes the mean-centring of the kernel into account, as the
networks of BNAS were trained. It belongs together with the constraint `CentredClip` and the initializer
`CentredUniform`, which keep the latent kernel centred and within [-1, 1].

```python
import larq as lq
from larq_nas import quantizers

layer = lq.layers.QuantConv2D(
    16, 3, padding="same", pad_values=1.0, use_bias=False, input_quantizer="ste_sign",
    kernel_quantizer=quantizers.XnorKernel(),
    kernel_constraint=quantizers.CentredClip(),
    kernel_initializer=quantizers.CentredUniform(),
)
```
"""

import contextlib

import larq as lq
import tensorflow as tf

register = tf.keras.utils.register_keras_serializable(package="larq_nas")

# A channel whose scale is 0 would make the converter ship the whole convolution as float.
MIN_SCALE = 1e-4

_rewrite_deferred = False


@contextlib.contextmanager
def deferred_rewrite():
    """Inside, `XnorKernel` hands on the gradient of the *binary* kernel; call `xnor_gradient` on it afterwards.

    This is for training that clips gradients before they are rewritten (BNAS on ImageNet). It acts where the
    forward pass is traced.
    """
    global _rewrite_deferred
    _rewrite_deferred = True
    try:
        yield
    finally:
        _rewrite_deferred = False


def _sign(kernel):
    return tf.where(kernel >= 0, tf.ones_like(kernel), -tf.ones_like(kernel))


def xnor_gradient(kernel, gradient):
    r"""The gradient of a latent kernel, given that of its binary form.

    With \\(n\\) weights per output channel, \\(C\\) input channels and \\(\alpha\\) the scale of the channel:

    \\[G = n (1 - 1/C) [\alpha 1_{|W| \leq 1} g + \text{sign}(W) \frac{1}{n} \sum \text{sign}(W) g]\\]

    # Arguments
        kernel: Latent kernel of shape `(height, width, C, filters)`, centred and clipped.
        gradient: Gradient of the binary kernel, of the same shape.

    # Returns
        A tensor of the same shape.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279), section 3.1; the factor n (1 - 1/C) is in its authors' code
          and in that of BNAS, whose learning rate was tuned with it.
    """
    height, width, channels, _ = kernel.shape
    count = height * width * channels
    sign = _sign(kernel)
    scale = tf.reduce_mean(tf.abs(kernel), axis=[0, 1, 2], keepdims=True)
    through_sign = scale * tf.where(tf.abs(kernel) <= 1, gradient, tf.zeros_like(gradient))
    through_scale = sign * tf.reduce_mean(sign * gradient, axis=[0, 1, 2], keepdims=True)
    return count * (1 - 1 / channels) * (through_sign + through_scale)


@tf.custom_gradient
def xnor_kernel(kernel):
    """Binarizes a kernel to its sign times the mean magnitude of its output channel.

    # Arguments
        kernel: Latent kernel of shape `(height, width, channels, filters)`.

    # Returns
        The binary kernel; its gradient is `xnor_gradient`.
    """
    scale = tf.reduce_mean(tf.abs(kernel), axis=[0, 1, 2], keepdims=True)
    deferred = _rewrite_deferred

    def backward(gradient):
        return gradient if deferred else xnor_gradient(kernel, gradient)

    return _sign(kernel) * tf.maximum(scale, MIN_SCALE), backward


@register
class XnorKernel(lq.quantizers.Quantizer):
    """`xnor_kernel` as a Larq kernel quantizer.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4
    """

    precision = 1

    def call(self, inputs):
        return xnor_kernel(inputs)


def _centre(kernel):
    return kernel - tf.reduce_mean(kernel, axis=2, keepdims=True)


@register
class CentredClip(tf.keras.constraints.Constraint):
    """Keeps a kernel of mean 0 over its input channels, then within [-1, 1]."""

    def __call__(self, kernel):
        return tf.clip_by_value(_centre(kernel), -1.0, 1.0)


@register
class CentredUniform(tf.keras.initializers.VarianceScaling):
    """Uniform in ±1/√fan_in, with mean 0 over the input channels: what `CentredClip` leaves unchanged."""

    def __init__(self, seed=None):
        super().__init__(scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed)

    def __call__(self, shape, dtype=None, **kwargs):
        return _centre(super().__call__(shape, dtype, **kwargs))

    def get_config(self):
        return {"seed": self.seed}
