"""Limits on the predicted latency of genotypes."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from larq_nas import costs
from larq_nas.costs import expected_costs, limits
from larq_nas.latency.tables import LatencyError, Table
from larq_nas.networks import segments
from larq_nas.space.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit on the predicted latency of the genotype that a search finds.

    # Arguments
        table: The `Table` from which latencies are predicted.
        max_ms: The most milliseconds that the network may take.
        space: The space to which the genotype belongs. It is the space that is searched, or one with the same choices
            in another size.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        excluded: Names of the operations of the space that the method never chooses.
    """

    table: Table
    max_ms: float
    space: Architecture
    input_shape: Sequence[int]
    num_classes: int
    excluded: Sequence[str] = ()

    def expected(self, probabilities: dict) -> tf.Tensor:
        """The expected milliseconds, a tensor that is differentiable in the probabilities of the choices."""
        found = expected_costs.expected_ms(self.space, probabilities, self.input_shape, self.num_classes, self.table)
        return tf.cast(found, tf.float32) + self.table.overhead

    @property
    def penalty(self) -> limits.Penalty:
        """The penalty that increases the loss of the architecture above the limit."""
        return limits.Penalty(self.expected, self.max_ms)

    def ms(self, genotype: Architecture) -> float:
        """The predicted milliseconds of a genotype."""
        return self.table.predict(genotype, self.input_shape, self.num_classes)

    def derive(self, derive: Callable[[dict], Architecture], probabilities: dict) -> Architecture:
        r"""Derives the most probable genotype within the limit.

        The probabilities are multiplied by \\(\exp(-\mu t)\\). There, \\(t\\) are the milliseconds by which an
        operation is slower than the fastest one of its edge, and \\(\mu\\) is the smallest number with which the
        genotype keeps the limit.

        # Arguments
            derive: A function that derives a genotype of `space` from probabilities by the name of the cell.
            probabilities: By the name of each cell, an array of shape `(edges, operations)`.

        # Returns
            The genotype.

        # Raises
            LatencyError: If even the genotype of the fastest operations exceeds the limit.
        """
        excess = self._excess()

        def at(strength):
            weights = {name: np.exp(-strength * values) for name, values in excess.items()}
            return derive({name: np.maximum(probabilities[name], 1e-30) * weights[name] for name in excess})

        if self.ms(at(0.0)) <= self.max_ms:
            return at(0.0)
        # This derives the genotype that has the fastest operation on each edge.
        one = {name: np.where(values > 0, 1e-270, 1.0) for name, values in excess.items()}
        found = derive({name: np.maximum(probabilities[name], 1e-30) * one[name] for name in excess})
        if self.ms(found) > self.max_ms:
            raise LatencyError(
                f"max_latency_ms={self.max_ms}: the network of the fastest operations is predicted to take "
                f"{self.ms(found):.6g} ms"
            )
        # Beyond this strength, the exponentials would underflow.
        high = 600 / max(values.max() for values in excess.values())
        if self.ms(at(high)) <= self.max_ms:
            _, strength = limits.crossing(lambda x: self.ms(at(x)) <= self.max_ms, 0.0, high)
            found = at(strength)
        return found

    def _excess(self):
        """By the name of each cell, how much slower each operation is than the fastest of its edge, in milliseconds."""
        times = costs.operation_ms(self.space, self.input_shape, self.num_classes, self.table)
        found = {}
        for cell in self.space.cells:
            taken = [name not in self.excluded for name in cell.edges[0].operations]
            least = times[cell.name][:, taken].min(axis=-1, keepdims=True)
            found[cell.name] = np.maximum(times[cell.name] - least, 0)
        return found


def fastest(limit: Limit) -> float:
    """A lower bound of the predicted milliseconds of all networks in the space of a limit."""
    total = limit.table.overhead
    for segment in segments.split(limit.space, limit.input_shape, limit.num_classes):
        values = [candidates[0] for candidates in segment.choices.values()]
        edges = {}
        for row, choice in segment.rows(*values):
            ms = limit.table.ms(row.block) if row.block else 0.0
            if choice is None:
                total += ms
            else:
                cell, edge, candidate = choice
                edges.setdefault((cell, edge), {}).setdefault(candidate, 0.0)
                edges[cell, edge][candidate] += ms
        for (cell, edge), known in edges.items():
            operations = limit.space.cell(cell).edges[edge].operations
            taken = [known.get(i, 0.0) for i, name in enumerate(operations) if name not in limit.excluded]
            # An edge that a node may leave out counts 0.
            total += min(taken) if _is_kept(limit.space.cell(cell), edge) else 0.0
    return total


def _is_kept(cell, edge):
    """Whether the node of an edge keeps all of its edges."""
    for node in cell.nodes:
        if edge < len(node.edges):
            return node.keep == len(node.edges)
        edge -= len(node.edges)
    raise IndexError(edge)
