"""The search space of BARS, and the range of the costs of its networks."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from larq_nas import costs
from larq_nas.methods.bars.derivation import decide
from larq_nas.methods.bars.network import OPERATIONS
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.space.choices import choice_shapes

NODES, STAGES, WIDTHS = 4, 3, 4


def space(
    filters: int = 56,
    cells_per_stage: int = 3,
    shared_cells: bool = False,
    width_search: bool = True,
    depth_search: bool = True,
    cell_shortcut: bool = True,
) -> Architecture:
    """The search space: the topology, depth and width of three stages, and the topology of the reductions between them.

    A supernet approximates the networks of its genotypes in two ways. Each of its kernels has one scale for all widths,
    the mean magnitude of the whole kernel, as in the authors' code, where the network of a genotype takes the mean of
    the part that it keeps. And if the images are large, the widths do not mask the inner convolutions of the stem.

    # Arguments
        filters: The largest number of channels of a node in the first stage, a multiple of 4. It doubles at each
            reduction. The candidate widths are a quarter, a half, three quarters and all of these channels.
        cells_per_stage: The largest number of cells in a stage, without the reduction cell. The smallest number is 0:
            then the stage consists of its reduction cell alone.
        shared_cells: Whether all stages share one cell, and all reductions another.
        width_search: Whether the widths are searched. Otherwise, the largest is used.
        depth_search: Whether the depths are searched. Otherwise, the largest is used.
        cell_shortcut: Whether there is a shortcut around each cell.

    # Returns
        The space. Its `size` is the number of its genotypes.

    # Raises
        ValueError: If `filters` or `cells_per_stage` is not accepted.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1. The filters and the cells per stage are not public; the
          defaults are those of the paper's example. It is not public, either, whether each stage has a cell of its own;
          by default it has, as in the paper's text.
    """
    if filters < WIDTHS or filters % WIDTHS:
        raise ValueError(f"filters={filters}: must be a multiple of {WIDTHS}, for widths of a quarter of them")
    if cells_per_stage < 1:
        raise ValueError(f"cells_per_stage={cells_per_stage}: must be at least 1")
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + 1)), index + 1) for index in range(NODES)
    )
    stages = []
    for index in range(STAGES):
        widths = tuple((filters << index) * step // WIDTHS for step in range(1, WIDTHS + 1))
        depths = tuple(range(cells_per_stage + 1))
        suffix = "" if shared_cells else str(index)
        stages.append(
            Stage(
                f"normal{suffix}",
                widths if width_search else widths[-1:],
                depths if depth_search else depths[-1:],
                f"reduce{suffix}" if index else None,
            )
        )
    names = dict.fromkeys(name for stage in stages for name in (stage.cell, stage.reduction) if name)
    cells = tuple(Cell(name, nodes) for name in names)
    return Architecture("bars", cells, tuple(stages), {"cell_shortcut": cell_shortcut})


def scale(architecture: Architecture, filters: int) -> Architecture:
    """Scales the widths of a space in proportion to another number of filters.

    # Arguments
        architecture: A space of `bars`.
        filters: The largest number of channels of a node in the first stage.

    # Returns
        A space of the given size, with the same cells and depths.

    # Raises
        ValueError: If a scaled width is not an integer.
    """
    most = max(architecture.stages[0].widths)
    stages = []
    for stage in architecture.stages:
        if any(width * filters % most for width in stage.widths):
            raise ValueError(
                f"filters={filters}: the widths {stage.widths}, scaled by {filters}/{most}, are not integers; give "
                f"filters or genotype_filters that are a multiple of {WIDTHS}"
            )
        stages.append(dataclasses.replace(stage, widths=tuple(width * filters // most for width in stage.widths)))
    return dataclasses.replace(architecture, stages=tuple(stages), provenance=None)


def binary_operations(space: Architecture, input_shape: Sequence[int], num_classes: int) -> tuple[int, int]:
    """The numbers of binary operations of the smallest and of the largest network of a space.

    # Arguments
        space: The search space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        A pair of integers. A multiply-accumulate counts as two operations.
    """

    def count(index):
        # The first candidate of each choice is the cheapest, the last the most expensive.
        indices = {name: np.full(shape[:-1], index % shape[-1]) for name, shape in choice_shapes(space).items()}
        return costs.count(decide(space, indices), input_shape, num_classes).biops

    return count(0), count(-1)


def share_of_range(space: Architecture, share: float, input_shape: Sequence[int], num_classes: int) -> float:
    """A budget of binary operations between those of the smallest network of a space and of the largest.

    # Arguments
        space: The search space.
        share: 0 for the smallest network, 1 for the largest.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        The budget.
    """
    smallest, largest = binary_operations(space, input_shape, num_classes)
    return smallest + share * (largest - smallest)
