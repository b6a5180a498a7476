"""The parts of Larq that are not documented, each with the reason why no documented part does the same."""

from typing import Any

import larq as lq
import tensorflow as tf


def is_quantized(variable: Any) -> bool:
    """Whether a variable is a quantized kernel of a layer of Larq; Larq does not export the class of these kernels."""
    return isinstance(variable, lq.quantized_variable.QuantizedVariable)


def quantizer(variable: Any) -> Any:
    """The quantizer of a variable, `None` if it has none; the layer gives it only under a name that varies by layer."""
    return getattr(variable, "quantizer", None)


def latent(variable: Any) -> Any:
    """The variable that holds the float values of a kernel, which Larq hides; other variables are returned as given."""
    return getattr(variable, "latent_variable", variable)


def ste_sign(x: tf.Tensor) -> tf.Tensor:
    """The sign of a tensor, with a gradient where it lies in [-1, 1]; Larq exports this as the layer `SteSign` only."""
    return lq.quantizers.ste_sign(x)
