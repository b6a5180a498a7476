"""Audits a converted file: finds out how the file computes each layer whose inputs and kernel are both binary."""

import collections
import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from larq_nas.converters import flatbuffer
from larq_nas.converters.interpreter import ConversionError
from larq_nas.converters.rewriting import is_constant
from larq_nas.layers import _keras, _larq, bitwidths
from larq_nas.layers.convolutional import Zeroise
from larq_nas.networks.layer_costs import WORD

layers = tf.keras.layers

PACKED, FLOAT, UNUSED = "packed", "float", "unused"


@dataclasses.dataclass(frozen=True)
class BinaryLayer:
    """How the file computes a layer whose inputs and kernel are both binary.

    # Arguments
        name: Name of the Keras layer.
        kernel_shape: Shape of the kernel; height, width, input channels and filters for a `Conv2D`.
        status: `"packed"` if the file computes the layer as an `LceBconv2d`, `"float"` if it uses an operator with
            weights of 8 or 32 bits, `"unused"` if the file does not hold the kernel because the layer reads, or is
            read by, "none" operations only.
        reason: Why the layer is not packed.
        groups: Number of groups of the layer if the file has a convolution for each group, else 1.
        dense: Whether the layer is a dense layer. Dense layers are never packed.
    """

    name: str
    kernel_shape: tuple
    status: str
    reason: str = ""
    groups: int = 1
    dense: bool = False

    @property
    def padding_bytes(self) -> int:
        """Number of padding bytes in the packed kernel."""
        if self.status != PACKED:
            return 0
        *taps, channels, filters = self.kernel_shape
        return math.prod(taps) * filters * (-channels % WORD) // 8


def audit(model: tf.keras.Model, file: flatbuffer.File) -> list:
    """Searches the file for the kernel bits of each binary layer of a model.

    # Arguments
        model: A functional Keras model.
        file: The converted file, as `flatbuffer.read` returns it.

    # Returns
        A list of pairs of a layer and its `BinaryLayer`.

    # Raises
        ConversionError: If the file computes a layer wrongly: as a binary convolution although its inputs are not
            binary, or by a binary convolution that Larq Compute Engine miscomputes.
    """
    packed, floats = file.kernels["LceBconv2d"].copy(), file.kernels["CONV_2D"].copy()
    found, others = [], []
    for layer, kernel in _with_binary_kernels(model):
        if layer.input_quantizer is None or bitwidths.of_input(layer) == 1:
            found.append((layer, _look_up(layer, kernel, packed, floats, file)))
        else:
            others.append((layer, kernel))
    for layer, kernel in others:
        if kernel.ndim == 4 and _keys(kernel, 1) <= packed:
            raise ConversionError(
                f"{layer.name}: its input quantizer {_name(layer.input_quantizer)} gives more than two values; Larq "
                "Compute Engine would take it for a sign: use one of two values, as ste_sign"
            )
    return found


def _with_binary_kernels(model):
    """Yields the layers with a binary kernel and quantized inputs, each with its quantized kernel."""
    every = [layer for layer in _keras.all_layers(model) if not isinstance(layer, tf.keras.Model)]
    quantized = [(layer, bitwidths.quantized_kernel(layer)) for layer in every]
    quantized = [(layer, k) for layer, k in quantized if k is not None and bitwidths.of_weight(k) == 1]
    unknown = [layer for layer, _ in quantized if layer.input_quantizer is None]
    signs = _that_read_signs(model, unknown)
    for layer, kernel in quantized:
        if layer.input_quantizer is not None or id(layer) in signs:
            yield layer, _larq.quantizer(kernel)(_larq.latent(kernel)).numpy()


def _that_read_signs(model, candidates):
    """Returns the `id`s of the candidates (layers without an input quantizer) whose inputs are all -1 or 1.

    The model is run on an image, since a candidate may be a layer of a model that is a layer itself.
    """
    if not candidates:
        return set()
    are_signs = {}

    def watched(layer, call):
        @functools.wraps(call)
        def watch(inputs, *arguments, **options):
            # A layer that runs in a graph has no values here.
            if tf.executing_eagerly():
                signs = bool((np.abs(np.asarray(tf.nest.flatten(inputs)[0])) == 1).all())
                are_signs[id(layer)] = signs and are_signs.get(id(layer), True)
            return call(inputs, *arguments, **options)

        return watch

    own = {id(layer): vars(layer).get("call") for layer in candidates}
    for layer in candidates:
        layer.call = watched(layer, layer.call)
    try:
        image = np.random.default_rng(0).normal(size=(1, *model.inputs[0].shape[1:]))
        model(tf.constant(image, model.inputs[0].dtype))
    finally:
        for layer in candidates:
            del layer.call
            if own[id(layer)] is not None:
                layer.call = own[id(layer)]
    return {layer for layer, signs in are_signs.items() if signs}


def _keys(kernel, groups):
    return collections.Counter(map(flatbuffer.key, np.split(np.moveaxis(kernel, -1, 0) < 0, groups)))


def _look_up(layer, kernel, packed, floats, file):
    row = BinaryLayer(layer.name, tuple(kernel.shape), FLOAT, dense=isinstance(layer, layers.Dense))
    if not isinstance(layer, layers.Conv2D) or isinstance(layer, layers.Conv2DTranspose):
        kind = "dense layer" if row.dense else type(layer).__name__
        cost = f"its kernel takes {kernel.size * 4:,} bytes in 32 bits, {-(-kernel.size // 8):,} in one"
        return dataclasses.replace(row, reason=f"Larq Compute Engine packs no {kind}: {cost}")
    whole = _keys(kernel, 1)
    groups = 1 if whole <= packed or whole <= floats else layer.groups
    keys, row = _keys(kernel, groups), dataclasses.replace(row, groups=groups)
    if keys <= packed:
        packed -= keys
        if any(key in file.miscomputed for key in keys):
            raise ConversionError(
                f"{layer.name}: the binary convolution pads with zeros, and its input is smaller than its kernel "
                f"{layer.kernel_size}, dilated by {layer.dilation_rate}; Larq Compute Engine computes this wrongly. "
                "Pad with ones (pad_values=1.0) or use a smaller kernel"
            )
        return dataclasses.replace(row, status=PACKED)
    if keys <= floats:
        floats -= keys
        return dataclasses.replace(row, reason=_reason(layer, kernel))
    if _is_unused(layer):
        return dataclasses.replace(row, status=UNUSED, reason='only a "none" operation reads it')
    if is_constant(layer):
        reason = 'it reads "none" operations only, so its output is a constant in the file'
        return dataclasses.replace(row, status=UNUSED, reason=reason)
    return dataclasses.replace(row, reason="its kernel is not in the file as a binary convolution")


def _name(quantizer):
    return getattr(quantizer, "__name__", type(quantizer).__name__)


def _reason(layer, kernel):
    magnitude = np.abs(kernel)
    if (magnitude.max(axis=(0, 1, 2)) < 1.2e-7).any():
        return "an output channel of its kernel is zero"
    if not np.allclose(magnitude, magnitude[:1, :1, :1], rtol=5e-3):
        return "the magnitude of its kernel differs within an output channel"
    if layer.groups > 1:
        return "its groups have a number of input channels that is no multiple of 32"
    padding = getattr(layer, "pad_values", 0.0)
    if layer.padding == "same" and padding not in (0.0, 1.0):
        return f"it pads with {padding}, neither 0 nor 1"
    return "LCE does not recognise its input as binary"


def _is_unused(layer) -> bool:
    """Whether every path from the layer ends in a `Zeroise`."""
    consumers = [node.outbound_layer for node in layer.outbound_nodes]
    return bool(consumers) and all(isinstance(c, Zeroise) or _is_unused(c) for c in consumers)
