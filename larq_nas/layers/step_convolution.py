r"""Binary convolutions with inputs in {0, α}, as in DMS.

Each input becomes 0 or a learnt step \\(\alpha\\), and zeros are padded. Larq Compute Engine packs values of ±1 and
pads with ones. `StepConv2D` therefore convolves \\(t = \text{sign}(\alpha/2 - x)\\), which is 1 where the input becomes
0:

\\[\alpha \frac{1 - t}{2} * W = -\frac{\alpha}{2} (t * W - \sum W)\\]

```python
from larq_nas.layers.step_convolution import StepConv2D

layer = StepConv2D(16, 3)
```
"""

from collections.abc import Callable
from typing import Any

import larq as lq
import tensorflow as tf

from larq_nas.layers.convolutional import XnorConv2D
from larq_nas.layers.quantizers import MIN_SCALE, custom_gradient, register, register_by_name, sign, through_scale

# The minimum of a step.
MIN_STEP = 1e-3


def standardize(kernel: tf.Tensor) -> tf.Tensor:
    """Standardizes each filter of a kernel to mean 0 and variance 1.

    # Arguments
        kernel: A tensor of shape `(height, width, channels, filters)`.

    # Returns
        A 32-bit tensor of the same shape.

    # References
        - [Weight Standardization](https://arxiv.org/abs/1903.10520), equation 5
    """
    mean, variance = tf.nn.moments(tf.cast(kernel, tf.float32), [0, 1, 2])
    return (tf.cast(kernel, tf.float32) - mean) * tf.math.rsqrt(variance + 1e-10)


def _scale(standardized):
    return tf.maximum(tf.reduce_mean(tf.abs(standardized), axis=[0, 1, 2]), MIN_SCALE)


@custom_gradient
def _sign(standardized):
    binary = sign(standardized)

    def backward(gradient):
        return gradient + through_scale(binary, _scale(standardized), gradient)

    return binary, backward


@register_by_name
class StandardizedSign(lq.quantizers.Quantizer):
    r"""The sign of a standardized kernel, with the mean magnitude of each filter as scale.

    The layer applies the scale after the convolution. Gradients pass the sign unchanged, because a third of the weights
    of a standardized kernel is outside of [-1, 1]. The gradient through the scale is added, and the sum passes back
    through the standardization.

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, equation 1 and
          section B.2.3. The paper does not say where gradients of the sign are clipped.
    """

    precision = 1

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(_sign(standardize(inputs)), inputs.dtype)

    def scale(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the scale of the convolution's output, of shape `(filters,)`."""
        return _scale(standardize(kernel))


@custom_gradient
def step(inputs: tf.Tensor, alpha: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    r"""Returns 1 where the inputs are at most half of `alpha`, and -1 elsewhere.

    # Arguments
        inputs: A tensor.
        alpha: A positive scalar.

    # Returns
        A tensor \\(t\\) of the shape of `inputs`. With the gradients of \\(t\\), \\(q = \alpha (1 - t) / 2\\) has the
        gradients of a learnt step: \\(dq/dx\\) is 1 within \\((0, \alpha)\\) and 0 outside; \\(dq/d\alpha\\) is
        \\(q/\alpha - x/\alpha\\) within, 0 below and 1 above.

    # References
        - DMS, equation 2
        - [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153), equation 3, for the gradients, which DMS
          does not give
    """
    alpha = tf.cast(alpha, inputs.dtype)

    def backward(gradient):
        within = tf.where((inputs > 0) & (inputs < alpha), gradient, 0) * (-2 / alpha)
        return within, -tf.reduce_sum(tf.cast(within * (inputs / alpha), tf.float32))

    # In this form, unlike `alpha / 2 - inputs`, the converter merges it with a normalization before it.
    return lq.math.sign(inputs * -1 + alpha / 2), backward


@register
class AtLeast(tf.keras.constraints.Constraint):
    """A constraint that sets a minimum for a weight.

    # Arguments
        least: The minimum.
    """

    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, weight: tf.Tensor) -> tf.Tensor:
        return tf.maximum(weight, tf.cast(self.least, weight.dtype))

    def get_config(self) -> dict[str, Any]:
        return {"least": self.least}


@register_by_name
class Step(lq.quantizers.Quantizer):
    """`step` with a learnt `alpha`, as an input quantizer of Larq.

    # Arguments
        initial: Initial value of `alpha`, which DMS does not give. Since inputs are normalized, 1 splits them near
            their upper third.
    """

    precision = 1

    def __init__(self, initial: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: tf.TensorShape) -> None:
        self.alpha = self.add_weight(
            "alpha",
            shape=(),
            initializer=tf.keras.initializers.Constant(self.initial),
            constraint=AtLeast(MIN_STEP),
            # Its gradient has 32 bits.
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return step(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}


@register
class StepConv2D(XnorConv2D):
    """A convolution of inputs in {0, α} with a standardized binary kernel, padded with zeros.

    # Arguments
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        input_quantizer: A `Step`. By default, the layer makes its own.
        name: Name of the layer.
        kwargs: Further arguments of Larq's `QuantConv2D`.

    # Inputs
        A tensor of shape `(batch, height, width, channels)`.

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, equations 1 and 2
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int = 1,
        input_quantizer: Step | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "padding": "same",
            "pad_values": 1.0,
            "use_bias": False,
            "kernel_quantizer": StandardizedSign(),
            "kernel_initializer": "he_normal",
            # No constraint is needed, because the standardization undoes scale and offset. Larq warns if the argument
            # is missing.
            "kernel_constraint": tf.keras.constraints.Constraint(),
        }
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            # The name of the step follows from the name of the layer.
            input_quantizer=input_quantizer or Step(name=name and f"{name}_step"),
            name=name,
            **{**options, **kwargs},
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = lq.layers.QuantConv2D.call(self, inputs)
        with lq.context.quantized_scope(True):
            offset = tf.reduce_sum(tf.convert_to_tensor(self.kernel), [0, 1, 2])
        # The converter fuses vectors only as right operands.
        factor = self.scale() * tf.cast(self.input_quantizer.alpha, tf.float32) / -2
        return (outputs - tf.cast(offset, outputs.dtype)) * tf.cast(factor, outputs.dtype)
