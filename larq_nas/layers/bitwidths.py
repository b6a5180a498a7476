"""The bit widths of quantized inputs and weights.

Larq's quantizers have an attribute `precision`. If a quantizer is a plain function without this attribute, its bit
width is found out by applying the function to an example.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.layers import _larq


def of_quantizer(quantizer: Any, example: Any) -> int:
    """Returns the number of bits of a quantizer's outputs.

    # Arguments
        quantizer: A quantizer of Larq, a function of a tensor, or `None`.
        example: A tensor to which a quantizer without `precision` is applied.

    # Returns
        The `precision` of the quantizer; 32 for `None`. For a function without `precision`, 1 if all outputs of a
        channel have the same nonzero magnitude, and 32 if not.
    """
    precision = getattr(quantizer, "precision", None)
    if quantizer is None:
        return 32
    if precision is not None:
        return int(precision)
    magnitude = np.abs(np.asarray(quantizer(tf.convert_to_tensor(example)), np.float32))
    channels = magnitude.reshape(-1, magnitude.shape[-1])
    return 1 if (channels > 0).all() and np.allclose(channels, channels[:1], rtol=5e-3) else 32


def of_weight(weight: Any) -> int:
    """Returns the number of bits of a layer's weight; 32 without a quantizer."""
    quantizer = _larq.quantizer(weight)
    return of_quantizer(quantizer, _larq.latent(weight)) if quantizer is not None else 32


def of_input(layer: tf.keras.layers.Layer) -> int:
    """Returns the number of bits of a layer's quantized inputs; 32 without an input quantizer."""
    quantizer = getattr(layer, "input_quantizer", None)
    if quantizer is None or getattr(quantizer, "precision", None) is not None:
        return of_quantizer(quantizer, None)
    shape = tf.nest.flatten(layer.input_spec)[0]
    channels = dict(shape.axes or {}).get(-1) or 1
    example = np.random.default_rng(0).normal(size=(*[4] * ((shape.ndim or shape.min_ndim) - 1), channels))
    return of_quantizer(quantizer, example.astype(np.float32))


def binary_kernel(layer: tf.keras.layers.Layer) -> Any:
    """Returns the kernel of a Larq layer if the layer's inputs and the kernel are binary, and `None` otherwise."""
    kernel = quantized_kernel(layer)
    return kernel if kernel is not None and of_input(layer) == 1 and of_weight(kernel) == 1 else None


def quantized_kernel(layer: tf.keras.layers.Layer) -> Any:
    """Returns the weight that a layer applies to its inputs first if this weight is quantized, and `None` otherwise."""
    if isinstance(layer, tf.keras.Model) or not hasattr(layer, "input_quantizer"):
        return None
    first = layer.weights[:1] if layer.built else []
    return next((weight for weight in first if _larq.is_quantized(weight)), None)
