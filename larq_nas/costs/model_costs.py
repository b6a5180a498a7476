"""The costs of the layers of a Keras model, which `costs.count` adds up.

`larq.models.summary` counts the same multiply-accumulates for dense layers and for convolutions, also for grouped and
dilated ones. It differs from this module in the following points:

- It counts transposed convolutions at the size of their output.
- It counts a layer that is used several times only once.
- It counts weights of a convolution other than kernel and bias as multiply-accumulates.
- It does not count layers whose name contains "bias".
- It drops half of the parameters of BatchNorm, since inference fuses them.
- It counts bytes without the padding of kernels to words of 32 channels. It counts binary dense and depthwise kernels
  at one bit, which Larq Compute Engine stores as floats.
"""

import math
from collections.abc import Iterator

import larq as lq
import tensorflow as tf

from larq_nas.layers import _keras, bitwidths
from larq_nas.layers.convolutional import XnorConv2D
from larq_nas.networks.layer_costs import CostError, Row

layers = tf.keras.layers

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
# Larq's layers are subclasses.
_KNOWN = (
    *(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D),
    *(layers.SeparableConv1D, layers.SeparableConv2D, *_TRANSPOSED),
)


def rows(model: tf.keras.Model, prefix: str = "", calls: int = 1) -> Iterator[Row]:
    """Counts a model layer by layer.

    # Arguments
        model: A functional or sequential model.
        prefix: The beginning of the names of the rows, for a model that is a layer of another one.
        calls: Number of calls of the model.

    # Returns
        An iterator over a `Row` for each layer that has weights.

    # Raises
        CostError: If the model has no graph of layers, no fixed input shape, or a layer of an unknown kind.
    """
    if not _keras.has_graph(model):
        raise CostError(
            f"model {prefix}{model.name}: has no graph of layers; only functional and sequential models of a known "
            "input shape can be counted"
        )
    # A layer may also have been called in other models. Those calls do not count.
    nodes = _keras.nodes(model)
    for layer in model.layers:
        name, own = prefix + layer.name, [node for node in nodes if node.layer is layer]
        if isinstance(layer, tf.keras.Model):
            yield from rows(layer, f"{name}/", calls * len(own))
        elif layer.weights:
            yield from _layer_rows(layer, name, own, calls)


def _layer_rows(layer, name, nodes, calls):
    # These are the weights that the layer trains unless it is frozen.
    weights = [weight for weight in layer.weights if weight.trainable]
    trained = sum(weight.shape.num_elements() for weight in weights)
    kernels = [weight for weight in weights if weight.shape.rank > 1]
    others = trained - sum(kernel.shape.num_elements() for kernel in kernels)
    if isinstance(layer, layers.BatchNormalization):
        # Inference needs two of the four vectors of BatchNorm.
        yield Row(name, "normalization", other_params=trained, other_stored=2 * layer.weights[0].shape.num_elements())
    elif not kernels or isinstance(layer, layers.PReLU):
        yield Row(name, "other", other_params=trained, other_stored=trained)
    elif isinstance(layer, _KNOWN):
        kind = "dense" if isinstance(layer, layers.Dense) else "convolution"
        positions = calls * sum(_positions(layer, name, node) for node in nodes)
        for index, kernel in enumerate(kernels):
            binary = index == 0 and _is_binary(layer, kernel)
            # Groups that are no multiples of 32 channels are converted to one convolution each, which is packed, too.
            packed = binary and isinstance(layer, lq.layers.QuantConv2D)
            yield Row(
                name if len(kernels) == 1 else f"{name}/{index}",
                kind,
                tuple(kernel.shape),
                positions,
                binary,
                packed,
                other_params=0 if index else others,
                other_stored=(0 if index else others) + (_scales(layer) if packed else 0),
            )
    else:
        raise CostError(f"layer {name}: {type(layer).__name__} is of a kind whose costs are not known")


def _is_binary(layer, kernel):
    return bitwidths.of_weight(kernel) == bitwidths.of_input(layer) == 1


def _positions(layer, name, node):
    shape = node.input_shapes if isinstance(layer, _TRANSPOSED) else node.output_shapes
    inner = shape[1:-1] if getattr(layer, "data_format", "channels_last") == "channels_last" else shape[2:]
    if None in inner:
        raise CostError(f"layer {name}: {tuple(shape)} is no fixed size; give its model an input shape without None")
    return math.prod(inner)


def _scales(layer):
    scaled = isinstance(layer, XnorConv2D) or isinstance(layer.kernel_quantizer, lq.quantizers.MagnitudeAwareSign)
    return layer.filters if scaled else 0
