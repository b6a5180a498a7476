"""The cell templates: how inputs enter a cell, how nodes are summed, and how shortcuts run around a cell.

One function defines the cell of a template for supernets, final networks and counting. Its first argument is the
interpreter of the layer verbs. If choice weights are given, one layer of the supernet computes all edges that leave a
state. Otherwise, each edge applies its operations one by one: an edge has one operation in a final network, and may
have several in a space that is counted. This module does not import TensorFlow.
"""

import dataclasses
import typing
from typing import NamedTuple

from larq_nas.networks import blocks
from larq_nas.space.architecture import Cell


def bnas(
    v,
    earlier,
    previous,
    cell: Cell,
    filters: int,
    *,
    reduction=False,
    after_reduction=False,
    affine_after_reduction=True,
    skip=True,
    choice=None,
    normalize=False,
    name="",
):
    """A BNAS cell: two inputs, concatenated nodes as output, and a shortcut from the previous cell's output.

    # Arguments
        v: The interpreter of the layer verbs.
        earlier: Output of the cell before the previous one, twice as high and wide as `previous` if `after_reduction`.
        previous: Output of the previous cell.
        cell: The topology.
        filters: Channels of each node.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        affine_after_reduction: Whether the preprocessing after a reduction has an affine BatchNorm.
        skip: Whether the inter-cell shortcut is added.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        normalize: See `mixed_edges.MixedEdges`.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4.2 (cell template)
    """
    final = choice is None
    inputs = [
        blocks.convolution_block(
            v,
            earlier,
            filters,
            3 if after_reduction else 1,
            2 if after_reduction else 1,
            affine=final and (affine_after_reduction or not after_reduction),
            binary=final,
            name=f"{name}_preprocess0",
        ),
        blocks.convolution_block(v, previous, filters, affine=final, binary=final, name=f"{name}_preprocess1"),
    ]
    edges = Edges(v, cell, filters, choice, search_options={"normalize": normalize})
    output = edges.nodes(inputs, 2 if reduction else 1, name)
    if not skip:
        return output
    if reduction:
        previous = v.norm(previous, name=f"{name}_shortcut_norm")
        with v.block("float", previous, output.shape[-1], 2, 2, name=f"{name}_shortcut"):
            options = {"kind": "float", "use_bias": True, "name": f"{name}_shortcut_conv"}
            previous = v.conv(previous, output.shape[-1], 2, 2, **options)
    return blocks.sum_block(v, [output, previous], f"{name}_skip")


class Widths(NamedTuple):
    """The searched width of features.

    # Arguments
        candidates: Candidate numbers of channels; see `width_masks.WidthMask`.
        choice: Weights of the candidates.
    """

    candidates: tuple
    choice: typing.Any


def masked(v, x, widths: Widths | None):
    """Multiplies the channels of `x` by the weights of the candidate widths that keep them.

    Returns `x` itself if `widths` is `None`.
    """
    return v.mask(x, widths.candidates, widths.choice) if widths else x


def bars(v, previous, cell: Cell, filters: int, *, reduction=False, skip=True, choice=None, widths=None, name=""):
    """A BARS cell: one input, binary preprocessing, concatenated nodes as output, and a shortcut around the whole cell.

    # Arguments
        v: The interpreter of the layer verbs.
        previous: Output of the previous cell.
        cell: The topology.
        filters: Channels of each node. The preprocessing has as many channels, or half as many if `reduction`.
        reduction: Whether the edges that leave the cell's input have strides 2 and double the channels.
        skip: Whether the shortcut around the cell is added.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        widths: If the width is searched, a pair: the `Widths` of the previous cell's output and of this cell.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2. Two details are not public: the kernel of the
          preprocessing, which is 1x1 here, and the shortcut around a reduction, which is a binary `strided_halves`
          here.
    """
    before, own = widths or (None, None)
    mask_input = (lambda x: masked(v, x, before)) if before else None
    inner = filters // 2 if reduction else filters
    x = blocks.layer_scaled_block(v, previous, inner, mask=mask_input, name=f"{name}_preprocess")
    edges = Edges(v, cell, filters, choice, search_options={"widths": own}, widths=own)
    output = edges.nodes([masked(v, x, own)], 2 if reduction else 1, name)
    if not skip:
        return output
    if reduction:
        previous = blocks.shortcut_of_halves(v, previous, output.shape[-1], mask_input, f"{name}_shortcut")
    elif previous.shape[-1] != output.shape[-1]:
        previous = v.match_channels(previous, output.shape[-1], name=f"{name}_shortcut")
    return masked(v, blocks.sum_block(v, [output, previous], f"{name}_skip"), own)


def bats(
    v,
    earlier,
    previous,
    cell: Cell,
    filters: int,
    *,
    groups=1,
    form="binary",
    preprocess_form="binary",
    reduction=False,
    after_reduction=False,
    choice=None,
    name="",
):
    """A BATS cell: two preprocessed inputs, and concatenated nodes as output.

    # Arguments
        v: The interpreter of the layer verbs.
        earlier: Output of the cell before the previous one, twice as high and wide as `previous` if `after_reduction`.
        previous: Output of the previous cell.
        cell: The topology.
        filters: Channels of each node.
        groups: Number of groups of the convolutions on edges.
        form: Form of the operations, one of `blocks.FORMS`.
        preprocess_form: Form of the preprocessing, one of `blocks.FORMS`.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711). The preprocessing follows the first author's library.
    """
    options = {"form": preprocess_form, "affine": choice is None}
    enter = blocks.factorized_reduce if after_reduction else blocks.preprocess
    inputs = [
        enter(v, earlier, filters, name=f"{name}_preprocess0", **options),
        blocks.preprocess(v, previous, filters, name=f"{name}_preprocess1", **options),
    ]
    edges = Edges(v, cell, filters, choice, {"groups": groups, "form": form})
    return edges.nodes(inputs, 2 if reduction else 1, name)


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
        options: Keyword arguments of the verb `shared_edges` and of `blocks.apply`.
        search_options: Further keyword arguments of the verb `shared_edges`.
        widths: If the width is searched, the `Widths` of the nodes.
    """

    v: typing.Any
    cell: Cell
    filters: int
    choice: typing.Any = None
    options: dict = dataclasses.field(default_factory=dict)
    search_options: dict = dataclasses.field(default_factory=dict)
    widths: Widths | None = None

    def nodes(self, inputs, strides: int, name: str):
        """Returns the concatenated nodes of the cell. See `states` for the arguments."""
        return blocks.concat_block(self.v, self.states(inputs, strides, name)[len(inputs) :], f"{name}_concat")

    def states(self, inputs, strides: int, name: str) -> list:
        """Computes the states of the cell: its inputs, then its nodes. A node is the sum of its edges.

        As soon as a state is complete, the edges that leave the state are computed.

        # Arguments
            inputs: The inputs of the cell.
            strides: Strides of the edges that leave an input. All other edges have strides 1.
            name: Prefix of the layers' names.

        # Returns
            A list of features, one for each state.
        """
        states, terms = list(inputs), [[] for _ in self.cell.nodes]
        targets = [index for index, node in enumerate(self.cell.nodes) for _ in node.edges]
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

    def leaving(self, state, source: int, rows: list, strides: int, name: str) -> list:
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
                alternatives.append(blocks.apply(self.v, operation, state, self.filters, strides, **options))
        return self.v.either(alternatives)


def convolutions(cell: Cell) -> int:
    """Returns the number of edges with a convolution in a decided cell."""
    return sum(blocks.OPERATIONS[edge.operations[0]].convolution for edge in cell.edges)


def rows_of(cell: Cell, source: int) -> list[int]:
    """Returns the indices of the edges that leave the state `source`."""
    return [row for row, edge in enumerate(cell.edges) if edge.source == source]
