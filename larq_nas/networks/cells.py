"""Cells and chains of cells: how nodes are summed, and which outputs a cell reads.

The cell of a template is a function in the package of its method. It is the same for supernets, final networks and
counting, and its first argument is the interpreter of the layer verbs. If choice weights are given, one layer of the
supernet computes all edges that leave a state. Otherwise, each edge applies its operations one by one: an edge has one
operation in a final network, and may have several in a space that is counted. This module does not import TensorFlow.
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import NamedTuple

from larq_nas.networks import blocks, operations
from larq_nas.networks.verbs import Features, SupernetVerbs, Verbs
from larq_nas.space.architecture import Architecture, Cell, Stage
from larq_nas.space.stages import sequence


class Widths(NamedTuple):
    """The searched width of features.

    # Arguments
        candidates: Candidate numbers of channels; see `width_masks.WidthMask`.
        choice: Weights of the candidates.
    """

    candidates: tuple
    choice: typing.Any


def masked(v: SupernetVerbs, x: Features, widths: Widths | None) -> Features:
    """Multiplies the channels of `x` by the weights of the candidate widths that keep them.

    Returns `x` itself if `widths` is `None`.
    """
    return v.mask(x, widths.candidates, widths.choice) if widths else x


def chained(
    v: Verbs,
    architecture: Architecture,
    inputs: tuple[Features, Features, bool],
    choices: dict,
    cell: Callable,
    own: Callable[[int, Stage], dict],
) -> Features:
    """Applies the cells of a chain, each of which reads the outputs of the two cells before it.

    # Arguments
        v: The interpreter of the layer verbs.
        architecture: The architecture.
        inputs: The two inputs of the first cell, and whether the first one is twice as high and wide as the second one.
        choices: Choice weights.
        cell: The function of a cell, e.g. `methods.bnas.network.cell`.
        own: A function of a cell's number and stage that returns further arguments of `cell`.

    # Returns
        The output features of the last cell.
    """
    earlier, previous, reduced = inputs
    for index, (stage, cell_name, reduction) in enumerate(sequence(architecture)):
        output = cell(
            v,
            earlier,
            previous,
            architecture.cell(cell_name),
            stage.widths[0],
            reduction=reduction,
            after_reduction=reduced,
            choice=choices.get(cell_name),
            name=f"cell{index:02}",
            **own(index, stage),
        )
        earlier, previous, reduced = previous, output, reduction
    return previous


def normalized(v: Verbs, x: Features) -> Features:
    """Normalizes the features that the classifier of a supernet reads."""
    # Cells with shortcuts sum up their features. Without normalization, the sum saturates the classifier, and a search
    # judges candidates only by the size of their outputs.
    return v.norm(x, affine=False, name="features_norm")


@dataclasses.dataclass(frozen=True)
class Edges:
    """The edges of a cell.

    # Arguments
        v: The interpreter of the layer verbs.
        cell: The topology.
        filters: Channels of each node.
        choice: A dictionary of choice weights: for each state, a tensor for the edges that leave the state, of shape
            `(edges, candidates)`. `None` in a final network and in a network that is counted: each operation is then
            applied separately.
        options: Keyword arguments of the verb `shared_edges` and of `operations.apply`.
        search_options: Further keyword arguments of the verb `shared_edges`.
        widths: If the width is searched, the `Widths` of the nodes.
        normalize: Whether each state is normalized, without scale and offset, before edges read it.
    """

    v: typing.Any
    cell: Cell
    filters: int
    choice: typing.Any = None
    options: dict = dataclasses.field(default_factory=dict)
    search_options: dict = dataclasses.field(default_factory=dict)
    widths: Widths | None = None
    normalize: bool = False

    def nodes(self, inputs: Sequence[Features], strides: int, name: str) -> Features:
        """Returns the concatenated nodes of the cell. See `states` for the arguments."""
        return blocks.concat_block(self.v, self.states(inputs, strides, name)[len(inputs) :], f"{name}_concat")

    def states(self, inputs: Sequence[Features], strides: int, name: str) -> list:
        """Computes the states of the cell: its inputs, then its nodes. A node is the sum of its edges.

        As soon as a state is complete, the edges that leave the state are computed.

        # Arguments
            inputs: The inputs of the cell.
            strides: Strides of the edges that leave an input. All other edges have strides 1.
            name: Prefix of the layers' names.

        # Returns
            A list of features, one for each state.
        """
        states, terms, targets = list(inputs), [[] for _ in self.cell.nodes], targets_of(self.cell)
        for source in range(len(inputs) + len(self.cell.nodes)):
            if source >= len(inputs):
                node = self.v.add(terms[source - len(inputs)], name=f"{name}_node{source}")
                states.append(masked(self.v, node, self.widths))
            rows = rows_of(self.cell, source)
            if not rows:
                continue
            outputs = self.leaving(states[source], source, rows, strides if source < len(inputs) else 1, name)
            for row, output in zip(rows, outputs, strict=True):
                # Drop path does not drop identities, so that a node that reads one always keeps an input.
                if output is not states[source]:
                    output = self.v.drop_path(output, name=f"{name}_edge{row}_drop_path")
                terms[targets[row]].append(output)
        return states

    def leaving(self, state: Features, source: int, rows: list, strides: int, name: str) -> list:
        """Computes the outputs of the edges that leave a state.

        # Arguments
            state: The features of the state.
            source: Index of the state.
            rows: Indices of the edges.
            strides: Strides of the edges.
            name: Prefix of the layers' names.

        # Returns
            A list of features, one for each edge.
        """
        name = f"{name}_state{source}"
        if self.normalize:
            state = self.v.norm(state, affine=False, name=f"{name}_norm")
        if self.choice is not None:
            candidates = self.cell.edges[rows[0]].operations
            sizes = candidates, len(rows), self.filters, strides
            options = {"name": name, **self.options, **self.search_options}
            return self.v.shared_edges(state, self.choice[source], *sizes, **options)
        return [self._candidates(state, row, strides, f"{name}_edge{row}") for row in rows]

    def _candidates(self, state, row, strides, name):
        """The output of an edge. All alternatives have the same size."""
        alternatives = []
        for index, operation in enumerate(self.cell.edges[row].operations):
            with self.v.choice(self.cell.name, row, index):
                options = {"layer_name": name, **self.options}
                alternatives.append(operations.apply(self.v, operation, state, self.filters, strides, **options))
        return self.v.either(alternatives)


def convolutions(cell: Cell) -> int:
    """Returns the number of edges with a convolution in a decided cell."""
    return sum(operations.get(edge.operations[0]).convolution for edge in cell.edges)


def rows_of(cell: Cell, source: int) -> list[int]:
    """Returns the indices of the edges that leave the state `source`."""
    return [row for row, edge in enumerate(cell.edges) if edge.source == source]


def targets_of(cell: Cell) -> list[int]:
    """Returns the index of the node to which each edge leads."""
    return [index for index, node in enumerate(cell.nodes) for _ in node.edges]
