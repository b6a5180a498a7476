"""The search space of BATS."""

import dataclasses

from larq_nas.methods.bats.blocks import SHUFFLE
from larq_nas.methods.bats.network import OPERATIONS
from larq_nas.networks.layer_costs import WORD
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.space.stages import thirds

NODES, KEPT_EDGES, INPUTS = 4, 2, 2
GROUPS = 12


def space(
    layers: int = 8,
    filters: int = 36,
    groups: int | str | None = None,
    channels_per_group: int | None = None,
    binarize: bool = True,
    binarize_preprocess: bool = True,
) -> Architecture:
    """The search space: a normal and a reduction cell with 8 operations on each of 14 edges.

    A genotype keeps 2 edges of each node, with one operation on each.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage, a multiple of 4. They double at each of the two reductions.
        groups, channels_per_group: See `groups_of`.
        binarize: Whether the network is binary. Otherwise, it has no quantizers.
        binarize_preprocess: Whether the 1x1 convolutions at the inputs of cells are binary, too. According to the paper
            of BARS, those of BATS are not. The library of the first author of BATS binarizes them, and the published
            number of operations agrees with that.

    # Returns
        The space. Its `size` is the number of its genotypes.

    # Raises
        ValueError: If `layers`, `filters`, `groups` or `channels_per_group` is not accepted.
    """
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + INPUTS)), KEPT_EDGES) for index in range(NODES)
    )
    options = {"preprocess": "binary" if binarize_preprocess else "float"} if binarize else {"binarize": False}
    cells = Cell("normal", nodes), Cell("reduce", nodes)
    smallest = Architecture("bats", cells, thirds(3, 4), options)
    return scale(smallest, filters, layers, groups or GROUPS, channels_per_group)


def scale(
    architecture: Architecture,
    filters: int | None = None,
    layers: int | None = None,
    groups: int | str | None = None,
    channels_per_group: int | None = None,
) -> Architecture:
    """Changes the size of a network and keeps its cells.

    # Arguments
        architecture: A space or a genotype of `bats`.
        filters: Channels of a node in the first stage. By default, they do not change.
        layers: Number of cells, at least 3. By default, it does not change. The cells with the indices `layers // 3`
            and `2 * layers // 3` are the reductions.
        groups, channels_per_group: See `groups_of`. If neither is given, the numbers of groups do not change.

    # Returns
        An architecture of the given size.

    # Raises
        ValueError: If the architecture cannot be scaled to this size.
    """
    if not architecture.kind.grouped:
        raise ValueError(f"only networks of bats can be scaled, not one of {architecture.template}")
    if filters is layers is groups is channels_per_group is None:
        return architecture
    old = new = architecture.stages
    if filters is not None or layers is not None:
        present = sum(stage.depths[0] + (stage.reduction is not None) for stage in old)
        plain = tuple(dataclasses.replace(stage, groups=1) for stage in old)
        if plain != thirds(max(present, 3), old[0].widths[0]):
            raise ValueError("filters, layers: only networks whose reductions are at a third and two thirds are scaled")
        new = thirds(present if layers is None else layers, filters or old[0].widths[0])
    stages = []
    for before, stage in zip(old, new, strict=True):
        if stage.widths[0] % SHUFFLE:
            raise ValueError(f"filters: {stage.widths[0]} is no multiple of {SHUFFLE}, and channels cannot be shuffled")
        kept = before.groups if groups is None else groups
        stages.append(dataclasses.replace(stage, groups=groups_of(stage.widths[0], kept, channels_per_group)))
    return dataclasses.replace(architecture, stages=tuple(stages), provenance=None)


def groups_of(width: int, groups: int | str = GROUPS, channels_per_group: int | None = None) -> int:
    """The number of groups of a convolution.

    # Arguments
        width: Number of channels of the convolution.
        groups: Number of groups, or `"lce"` for the largest number of groups with a multiple of 32 channels each, which
            Larq Compute Engine computes natively. If no such number exists, there is one group.
        channels_per_group: Channels of each group. If it is given, `groups` is ignored.

    # Returns
        The number of groups.

    # Raises
        ValueError: If the channels cannot be divided into such groups.
    """
    if channels_per_group is not None:
        if width % channels_per_group:
            raise ValueError(f"channels_per_group={channels_per_group}: does not divide {width} filters")
        return width // channels_per_group
    if groups == "lce":
        return next((n for n in range(width // WORD, 1, -1) if width % n == 0 and width // n % WORD == 0), 1)
    if isinstance(groups, str) or width % groups:
        raise ValueError(f"groups={groups}: does not divide {width} filters; choose other filters or groups")
    return groups
