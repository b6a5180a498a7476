"""How many bits quantizers leave, whatever they are: Larq's, or plain functions that do not say it themselves."""

import larq as lq
import numpy as np
import tensorflow as tf


def of_quantizer(quantizer, example) -> int:
    """The bits that a quantizer leaves.

    # Arguments
        quantizer: A quantizer of Larq, a function of a tensor, or `None`.
        example: A tensor on which a quantizer that has no `precision` is tried.

    # Returns
        Its `precision`; of a function without one, 1 if all its values have one magnitude per channel, and 32 if not.
    """
    precision = getattr(quantizer, "precision", None)
    if quantizer is None:
        return 32
    if precision is not None:
        return int(precision)
    magnitude = np.abs(np.asarray(quantizer(tf.convert_to_tensor(example)), np.float32))
    channels = magnitude.reshape(-1, magnitude.shape[-1])
    return 1 if (channels > 0).all() and np.allclose(channels, channels[:1], rtol=5e-3) else 32


def of_weight(weight) -> int:
    """The bits of a layer's weight."""
    quantizer = getattr(weight, "quantizer", None)
    return of_quantizer(quantizer, weight.latent_variable) if quantizer is not None else 32


def of_input(layer) -> int:
    """The bits that the input quantizer of a layer leaves; 32 without one."""
    quantizer = getattr(layer, "input_quantizer", None)
    if quantizer is None or getattr(quantizer, "precision", None) is not None:
        return of_quantizer(quantizer, None)
    shape = tf.nest.flatten(layer.input_spec)[0]
    channels = dict(shape.axes or {}).get(-1) or 1
    example = np.random.default_rng(0).normal(size=(*[4] * ((shape.ndim or shape.min_ndim) - 1), channels))
    return of_quantizer(quantizer, example.astype(np.float32))


def binary_kernel(layer):
    """The kernel of a layer of Larq whose inputs and kernel are both binary, or `None`."""
    kernel = quantized_kernel(layer)
    return kernel if kernel is not None and of_input(layer) == 1 and of_weight(kernel) == 1 else None


def quantized_kernel(layer):
    """The weight of a layer that its inputs meet first, if it is quantized, or `None`."""
    if isinstance(layer, tf.keras.Model) or not hasattr(layer, "input_quantizer"):
        return None
    first = layer.weights[:1] if layer.built else []
    return next((weight for weight in first if isinstance(weight, lq.quantized_variable.QuantizedVariable)), None)
