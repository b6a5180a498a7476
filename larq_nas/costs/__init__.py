"""The costs of networks: multiply-accumulates, parameters and bytes, layer by layer.

```python
from larq_nas import costs, zoo

counts = costs.count(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), num_classes=10)
counts.biops, counts.flops, counts.params, counts.bytes
same = costs.count(zoo.bnas_a())
assert counts.biops == same.biops
```

A multiply-accumulate is binary if the kernel and the input are binary, according to the precision of the quantizers of
the layer. Multiply-accumulates with padding count. Additions, pools and normalizations do not count. Papers sum up
these numbers in different ways: `docs/costs.md` compares their tables with our numbers.

This module imports TensorFlow only when a Keras model is counted.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from larq_nas.networks import counting, operations, segments
from larq_nas.networks.layer_costs import CostError, Row
from larq_nas.space.architecture import Architecture

TOTALS = ("binary_macs", "float_macs", "binary_params", "float_params", "bytes")


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of a network for one image.

    # Arguments
        rows: A `Row` for each layer that has weights.
    """

    rows: tuple[Row, ...]

    def _sum(self, name):
        return sum(getattr(row, name) for row in self.rows)

    @property
    def binary_macs(self) -> int:
        """The number of binary multiply-accumulates, in which both factors are ±1."""
        return self._sum("binary_macs")

    @property
    def float_macs(self) -> int:
        """The number of all other multiply-accumulates."""
        return self._sum("float_macs")

    @property
    def binary_params(self) -> int:
        """The number of weights of binary kernels."""
        return self._sum("binary_params")

    @property
    def float_params(self) -> int:
        """The number of all other trained parameters."""
        return self._sum("float_params")

    @property
    def params(self) -> int:
        """The number of trained parameters."""
        return self.binary_params + self.float_params

    @property
    def bytes(self) -> int:
        """The size at inference in bytes. Larq Compute Engine packs binary kernels; everything else has 32 bits."""
        return self._sum("bytes")

    @property
    def flops(self) -> int:
        """The number of float operations, two for each float multiply-accumulate."""
        return 2 * self.float_macs

    @property
    def biops(self) -> int:
        """The number of binary operations, two for each binary multiply-accumulate."""
        return 2 * self.binary_macs

    @property
    def padded_binary_macs(self) -> int:
        """The binary multiply-accumulates of Larq Compute Engine, which pads input channels to multiples of 32."""
        return self._sum("padded_binary_macs")

    @property
    def equivalent_ops(self) -> float:
        """FLOPs + BiOps / 32, see the function `equivalent_ops`."""
        return equivalent_ops(self.flops, self.biops)

    @property
    def equivalent_ops_64(self) -> float:
        """FLOPs + BiOps / 64, see the function `equivalent_ops_64`."""
        return equivalent_ops_64(self.flops, self.biops)

    def to_dict(self) -> dict:
        """The totals by name, and the rows under `"layers"`, as values that JSON can hold."""
        names = (*TOTALS, "params", "flops", "biops", "equivalent_ops", "equivalent_ops_64")
        own = ("macs", "params", "bytes")
        fields = [field.name for field in dataclasses.fields(Row) if field.name != "block"]
        rows = [{name: getattr(row, name) for name in (*fields, *own)} for row in self.rows]
        return {**{name: getattr(self, name) for name in names}, "layers": rows}


def equivalent_ops(flops: float, biops: float) -> float:
    """FLOPs + BiOps / 32. The numbers in the tables of the BARS paper are computed in this way."""
    return flops + biops / 32


def equivalent_ops_64(flops: float, biops: float) -> float:
    """FLOPs + BiOps / 64. The captions of the tables of the BARS paper give this formula."""
    return flops + biops / 64


def count(network: Any, input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10) -> Costs:
    """Counts the costs of a network.

    # Arguments
        network: A functional or sequential Keras model, or a genotype. Counting a genotype takes milliseconds, since
            its layers are not built.
        input_shape: Height, width and channels of the images. It is used only for a genotype.
        num_classes: Number of classes. It is used only for a genotype.

    # Returns
        The `Costs` for one image.

    # Raises
        CostError: If the model has a layer of an unknown kind or no fixed input shape, or if the architecture is a
            search space.
        NetworkError: If the network cannot be built for images of this shape.
    """
    if not isinstance(network, Architecture):
        return Costs(tuple(_rows_of_model(network)))
    if not network.decided:
        raise CostError("this architecture is a search space; count a genotype, or see expected_costs.expected")
    return Costs(tuple(row for row, _ in counting.rows(network, input_shape, num_classes) if row.counted))


def _rows_of_model(model):
    import tensorflow as tf

    from larq_nas.costs import model_costs

    if not isinstance(model, tf.keras.Model):
        raise CostError(
            f"{type(model).__name__} {str(model)[:80]} is neither an Architecture nor a functional or sequential "
            "model of tf.keras (Keras 2): load a path by tf.keras.models.load_model, a genotype by Architecture.load"
        )
    return model_costs.rows(model)


def tables(space: Architecture, input_shape: Sequence[int], num_classes: int, latencies: Any = None) -> list:
    """Counts the costs of all networks of a space.

    The networks are divided into segments, whose costs depend on few choices. The costs of a segment are counted for
    all combinations of the candidates of these choices.

    # Arguments
        space: A genotype or a space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        latencies: A `latency.Table`. If it is given, milliseconds are added to the totals, as the last of them.

    # Returns
        A list with a tuple for each `segments.Segment`. A tuple consists of

        - the choices of the segment: pairs of a name and a number of candidates;
        - the costs of the layers that belong to no candidate operation: an array of shape `(*candidates, totals)`;
        - the costs of the candidate operations: by the name of the cell, an array of shape
          `(*candidates, totals, edges, operations)`.

    # Raises
        CostError: If the edges of a cell have different numbers of operations.
    """
    # A registered operation or template may be replaced by another one of the same name.
    meaning = space.kind, tuple(operations.OPERATIONS.get(name) for name in space.kind.operations)
    return _tables(space, tuple(input_shape), num_classes, latencies, meaning)


@functools.lru_cache(maxsize=8)
def _tables(space, input_shape, num_classes, latencies, meaning):
    for cell in space.cells:
        if len({len(edge.operations) for edge in cell.edges}) > 1:
            raise CostError(f"cells.{cell.name}: all edges must list the same number of operations")
    names = TOTALS if latencies is None else (*TOTALS, "ms")

    def totals(row):
        ms = [] if latencies is None else [latencies.ms(row.block) if row.block else 0.0]
        return [getattr(row, name) for name in TOTALS] + ms

    found = []
    for segment in segments.split(space, input_shape, num_classes):
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
                index = (*place, slice(None), edge, candidate)
                chosen[cell][index] += totals(row)
        found.append((tuple(zip(segment.choices, counts, strict=True)), fixed, chosen))
    return found


def operation_ms(space: Architecture, input_shape: Sequence[int], num_classes: int, table: Any) -> dict:
    """The milliseconds of each candidate operation, summed over all places of its cell in the network.

    # Arguments
        space: A space whose widths and depths are decided.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        table: A `latency.Table`.

    # Returns
        By the name of each cell, an array of shape `(edges, operations)`.
    """
    found = {cell.name: np.zeros((len(cell.edges), len(cell.edges[0].operations))) for cell in space.cells}
    for choices, _, chosen in tables(space, input_shape, num_classes, table):
        for name, values in chosen.items():
            found[name] += values[(0,) * len(choices)][-1]
    return found
