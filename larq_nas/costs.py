"""What a network costs: multiply-accumulates, parameters and bytes, layer by layer.

```python
from larq_nas import costs, zoo

counts = costs.count(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)
counts.biops, counts.flops, counts.params, counts.bytes
same = costs.count(zoo.bnas_a())
assert counts.biops == same.biops
```

A binary operation has a binary kernel and a binary input, by the precision of the layer's own quantizers. Padded taps
count; additions, pools and normalizations do not. Papers differ in how they sum up: `docs/costs.md` shows their rows
beside ours.

`larq.models.summary` counts the same multiply-accumulates of convolutions (grouped and dilated ones, too) and dense
layers. It differs from what stands here in transposed convolutions (counted at the size of the output), layers that
are used several times (counted once), weights of a convolution beside kernel and bias (counted as
multiply-accumulates), layers whose name holds "bias" (not counted), parameters of BatchNorm (half of them dropped, as
inference fuses them), and bytes (kernels without the padding to words of 32 channels; binary dense and depthwise
kernels at one bit, which Larq Compute Engine stores as floats).
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas import bitwidths, counting
from larq_nas.architecture import Architecture
from larq_nas.counting import Row
from larq_nas.operations import XnorConv2D

layers = tf.keras.layers

TOTALS = ("binary_macs", "float_macs", "binary_params", "float_params", "bytes")


class CostError(ValueError):
    """A network cannot be counted."""


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a network costs for one image.

    # Arguments
        rows: A `Row` for each layer that has weights.
    """

    rows: tuple[Row, ...]

    def _sum(self, name):
        return sum(getattr(row, name) for row in self.rows)

    @property
    def binary_macs(self) -> int:
        """Multiply-accumulates of ±1."""
        return self._sum("binary_macs")

    @property
    def float_macs(self) -> int:
        """All other multiply-accumulates."""
        return self._sum("float_macs")

    @property
    def binary_params(self) -> int:
        """Weights of binary kernels."""
        return self._sum("binary_params")

    @property
    def float_params(self) -> int:
        """All other trained parameters."""
        return self._sum("float_params")

    @property
    def params(self) -> int:
        """Trained parameters."""
        return self.binary_params + self.float_params

    @property
    def bytes(self) -> int:
        """Size at inference: kernels packed as Larq Compute Engine packs them, everything else at 32 bits."""
        return self._sum("bytes")

    @property
    def flops(self) -> int:
        """Float operations: two for each multiply-accumulate."""
        return 2 * self.float_macs

    @property
    def biops(self) -> int:
        """Binary operations: two for each multiply-accumulate."""
        return 2 * self.binary_macs

    @property
    def padded_binary_macs(self) -> int:
        """Binary multiply-accumulates as Larq Compute Engine does them: input channels are multiples of 32."""
        return self._sum("padded_binary_macs")

    @property
    def equivalent_ops(self) -> float:
        """See `equivalent_ops`."""
        return equivalent_ops(self.flops, self.biops)

    @property
    def equivalent_ops_64(self) -> float:
        """See `equivalent_ops_64`."""
        return equivalent_ops_64(self.flops, self.biops)

    def to_dict(self) -> dict:
        """Totals and rows, for JSON."""
        names = (*TOTALS, "params", "flops", "biops", "equivalent_ops", "equivalent_ops_64")
        own = ("macs", "params", "bytes")
        fields = [field.name for field in dataclasses.fields(Row) if field.name != "block"]
        rows = [{name: getattr(row, name) for name in (*fields, *own)} for row in self.rows]
        return {**{name: getattr(self, name) for name in names}, "layers": rows}


def equivalent_ops(flops, biops) -> float:
    """FLOPs + BiOps / 32: what the numbers in the tables of BARS are."""
    return flops + biops / 32


def equivalent_ops_64(flops, biops) -> float:
    """FLOPs + BiOps / 64: what the captions of these tables say."""
    return flops + biops / 64


def count(network, input_shape=(32, 32, 3), classes=10) -> Costs:
    """Counts a network.

    # Arguments
        network: A functional or sequential Keras model, or a genotype, which is counted in milliseconds without
            building its layers.
        input_shape: Height, width and channels of the images, if a genotype is counted.
        classes: Number of classes, if a genotype is counted.

    # Returns
        The `Costs` for one image.

    # Raises
        CostError: If the model has a layer of a kind that is not known here, or no fixed input shape; if the
            architecture is a space.
        NetworkError: If the network cannot be built at this shape.
    """
    if isinstance(network, tf.keras.Model):
        return Costs(tuple(_model_rows(network)))
    if not isinstance(network, Architecture):
        raise CostError(
            f"{type(network).__name__} {str(network)[:80]} is neither an Architecture nor a functional or sequential "
            "model of tf.keras (Keras 2): load a path by tf.keras.models.load_model, a genotype by Architecture.load"
        )
    if not network.decided:
        raise CostError("this architecture is a search space; count a genotype, or see costs.expected")
    return Costs(tuple(row for row, _ in counting.rows(network, input_shape, classes) if row.counted))


class Expected(NamedTuple):
    """Expected costs, scalar tensors in 64 bits; the names are those of `Costs`."""

    binary_macs: tf.Tensor
    float_macs: tf.Tensor
    binary_params: tf.Tensor
    float_params: tf.Tensor
    bytes: tf.Tensor

    @property
    def biops(self):
        return 2 * self.binary_macs

    @property
    def flops(self):
        return 2 * self.float_macs

    @property
    def params(self):
        return self.binary_params + self.float_params


def expected(
    space: Architecture, probabilities: dict, input_shape=(32, 32, 3), classes=10, edge_probabilities=None
) -> Expected:
    """The expected costs of a genotype that is drawn from a space. Differentiable.

    All choices are drawn independently. What is not chosen (stem, preprocessing, shortcuts, classifier) is part of it.

    # Arguments
        space: The search space.
        probabilities: Those of the candidates of every choice, by the names of `networks.build`: for each cell those
            of its operations, of shape `(edges, candidates)`; for each stage whose width or depth is open
            `stage0_width`, `stage0_depth` …, of shape `(candidates,)`.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        edge_probabilities: For each cell by name, the probability that an edge is kept, of shape `(edges,)`. By
            default all edges of a node are equally likely to be kept.

    # Returns
        The `Expected` costs of its final network, exact where all probabilities are 0 or 1.

    # Raises
        CostError: If the probabilities of a choice are missing or of another shape.
        NetworkError: If the network cannot be built at this shape.
    """
    return Expected(*tf.unstack(_expected(space, probabilities, input_shape, classes, edge_probabilities)))


def expected_ms(space: Architecture, probabilities: dict, input_shape, classes: int, table):
    """The expected time of a genotype, but for the overhead of a network; arguments as for `expected`.

    # Arguments
        table: A `latency.Table`.

    # Returns
        Milliseconds, a scalar tensor in 64 bits.
    """
    return _expected(space, probabilities, input_shape, classes, None, table)[-1]


def _expected(space, probabilities, input_shape, classes, edge_probabilities, latencies=None):
    tables = _tables(space, tuple(input_shape), classes, latencies)
    shapes = {cell.name: (len(cell.edges), len(cell.edges[0].operations)) for cell in space.cells}
    operations = {
        name: _probabilities(probabilities.get(name), "probabilities", name, shape) for name, shape in shapes.items()
    }
    for cell in space.cells:
        even = [node.keep / len(node.edges) for node in cell.nodes for _ in node.edges]
        kept = even if edge_probabilities is None else edge_probabilities.get(cell.name)
        kept = _probabilities(kept, "edge_probabilities", cell.name, shapes[cell.name][:1])
        operations[cell.name] *= kept[:, tf.newaxis]
    total = tf.zeros([1], tf.float64)
    for choices, fixed, chosen in tables:
        table = tf.constant(fixed)
        for name, values in chosen.items():
            table += tf.tensordot(tf.constant(values), operations[name], [[-2, -1], [0, 1]])
        for name, count in choices:
            one = tf.ones([1], tf.float64)
            given = one if count == 1 else _probabilities(probabilities.get(name), "probabilities", name, (count,))
            table = tf.tensordot(given, table, 1)
        total += table
    return total


def _probabilities(values, kind, name, shape):
    if values is None:
        raise CostError(f"{kind}: nothing for {name}")
    values = tf.cast(values, tf.float64)
    if values.shape != shape:
        raise CostError(f"{kind} of {name}: shape {values.shape}, not {shape}")
    return values


@functools.lru_cache(maxsize=8)
def _tables(space, input_shape, classes, latencies=None):
    """For each segment its choices with their numbers of candidates, and what it costs for all combinations of them.

    The costs are arrays, `(*candidates, totals)` of what no operation changes, and for each cell by name
    `(*candidates, totals, edges, operations)`.
    """
    for cell in space.cells:
        if len({len(edge.operations) for edge in cell.edges}) > 1:
            raise CostError(f"cells.{cell.name}: all edges must list as many operations")
    names = TOTALS if latencies is None else (*TOTALS, "ms")

    def totals(row):
        ms = [] if latencies is None else [latencies.ms(row.block) if row.block else 0.0]
        return [getattr(row, name) for name in TOTALS] + ms

    tables = []
    for segment in counting.segments(space, input_shape, classes):
        counts = [len(candidates) for candidates in segment.choices.values()]
        fixed, chosen = np.zeros([*counts, len(names)]), {}
        for place in np.ndindex(*counts):
            values = (candidates[index] for candidates, index in zip(segment.choices.values(), place, strict=True))
            for row, choice in segment.rows(*values):
                if choice is None:
                    fixed[place] += totals(row)
                    continue
                cell, edge, candidate = choice
                if cell not in chosen:
                    edges = space.cell(cell).edges
                    chosen[cell] = np.zeros([*counts, len(names), len(edges), len(edges[0].operations)])
                chosen[cell][(*place, slice(None), edge, candidate)] += totals(row)
        tables.append((tuple(zip(segment.choices, counts, strict=True)), fixed, chosen))
    return tables


def operation_costs(space: Architecture, input_shape, classes: int, table) -> dict:
    """The milliseconds of each candidate operation wherever its cell stands in the network.

    # Arguments
        space: A space whose widths and depths are decided.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        table: A `latency.Table`.

    # Returns
        For each cell by name, an array of shape `(edges, operations)`.
    """
    found = {cell.name: np.zeros((len(cell.edges), len(cell.edges[0].operations))) for cell in space.cells}
    for choices, _, chosen in _tables(space, tuple(input_shape), classes, table):
        for name, values in chosen.items():
            found[name] += values[(0,) * len(choices)][-1]
    return found


# --- a Keras model -------------------------------------------------------------------------------------------

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_KNOWN = (*lq.models.mac_containing_layers, layers.Conv3D, *_TRANSPOSED)


def _model_rows(model, prefix="", calls=1):
    if not getattr(model, "_is_graph_network", False):
        raise CostError(
            f"model {prefix}{model.name}: has no graph of layers; only functional and sequential models of a known "
            "input shape can be counted"
        )
    # A layer may have been called elsewhere, too.
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    for layer in model.layers:
        name, own = prefix + layer.name, [node for node in nodes if node.layer is layer]
        if isinstance(layer, tf.keras.Model):
            yield from _model_rows(layer, f"{name}/", calls * len(own))
        elif layer.weights:
            yield from _layer_rows(layer, name, own, calls)


def _layer_rows(layer, name, nodes, calls):
    # What a layer may train, frozen or not.
    weights = [weight for weight in layer.weights if weight.trainable]
    trained = sum(weight.shape.num_elements() for weight in weights)
    kernels = [weight for weight in weights if weight.shape.rank > 1]
    others = trained - sum(kernel.shape.num_elements() for kernel in kernels)
    if isinstance(layer, layers.BatchNormalization):
        # Of its four vectors, inference needs two.
        yield Row(name, "normalization", other_params=trained, other_stored=2 * layer.weights[0].shape.num_elements())
    elif not kernels or isinstance(layer, layers.PReLU):
        yield Row(name, "other", other_params=trained, other_stored=trained)
    elif isinstance(layer, _KNOWN):
        kind = "dense" if isinstance(layer, layers.Dense) else "convolution"
        positions = calls * sum(_positions(layer, name, node) for node in nodes)
        for index, kernel in enumerate(kernels):
            binary = index == 0 and _is_binary(layer, kernel)
            # Groups of other than multiples of 32 channels are converted one by one.
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
