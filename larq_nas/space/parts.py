"""Cells and stages: the parts of an `architecture.Architecture`. This module does not import TensorFlow."""

from __future__ import annotations

import collections
import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Edge:
    """An edge of a cell: one input of a node.

    # Arguments
        source: Index of the state that the edge reads. The inputs of the cell have the first indices, the nodes the
            following ones.
        operations: Names of the candidate operations of the edge.
    """

    source: int
    operations: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a cell: the sum of its edges.

    # Arguments
        edges: The candidate edges.
        keep: Number of edges that a genotype keeps.
    """

    edges: tuple[Edge, ...]
    keep: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """A named topology that one or more stages repeat.

    # Arguments
        name: Name in lower case, e.g. `"normal"`.
        nodes: The nodes in order. A node reads only inputs of the cell and earlier nodes.
    """

    name: str
    nodes: tuple[Node, ...]

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges of the cell, node by node. The rows of the cell's architecture logits have this order."""
        return tuple(itertools.chain.from_iterable(node.edges for node in self.nodes))

    @property
    def counts(self) -> str:
        """The number of edges of each operation in a decided cell, e.g. `"bin_conv_3x3:5 none:3"`."""
        counts = collections.Counter(edge.operations[0] for edge in self.edges)
        return " ".join(f"{name}:{count}" for name, count in counts.most_common())


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence of cells at one resolution.

    # Arguments
        cell: Name of the cell that the stage repeats. In a template without cells, this is the name of the stage's
            width.
        widths: Candidate numbers of filters of a node.
        depths: Candidate numbers of repetitions of the cell.
        reduction: Name of the stride-2 cell at the start of the stage, or `None`.
        groups: Number of groups of the convolutions on edges; 1 unless the template is `grouped`.
    """

    cell: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    reduction: str | None = None
    groups: int = 1
