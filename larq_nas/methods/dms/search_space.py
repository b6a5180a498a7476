"""The search space of DMS: the widths of a base network, and the size of networks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from larq_nas import costs
from larq_nas.methods.dms.network import WIDTHS
from larq_nas.networks import counting, templates
from larq_nas.options import OptionError
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage

# The filters of the networks for CIFAR-10, in the order of `WIDTHS`. Networks for ImageNet have four times as
# many.
BASES = {
    "vgg11": (16, 32, 64, 64, 128, 128, 128, 128),
    "resnet18": (16, *(16, 16, 32, 32, 64, 64, 128, 128), 32, 64, 128),
}
MEGABYTE = 2**20


def space(backbone: str | Architecture, factor: int = 1) -> Architecture:
    """The base network. The search finds ratios to its widths, which have no upper bound.

    # Arguments
        backbone: `"vgg11"`, `"resnet18"`, or a genotype of BARS. Of the latter, the widths of the stages are searched.
        factor: The factor by which all widths are multiplied; 4 for the networks for ImageNet.

    # Returns
        A genotype whose ratios are all 1.

    # Raises
        ValueError: If the backbone is not accepted.

    # References
        - DMS, sections 3.1 and A.3. The stem and the first stage of ResNet-18 share one width. The paper does not say
          whether it is searched. Here, it is.
    """
    if isinstance(backbone, Architecture):
        decided = backbone.decided
        # The widths of the stages must be free.
        if not decided or not (backbone.kind.open_stages or backbone.kind.widths):
            found = f"a genotype of {backbone.template}" if decided else "a space"
            raise ValueError(f"backbone: is {found}; accepted are genotypes of bars and of {', '.join(WIDTHS)}")
        base = with_widths(backbone, base_widths(backbone)[:, np.newaxis] * factor)
        templates.check_layout(opened(base, [1] * len(base.stages)))
        return base
    if backbone not in BASES:
        raise ValueError(f"backbone={backbone!r}: accepted are {', '.join(BASES)}, or a genotype of bars")
    widths = zip(WIDTHS[backbone], BASES[backbone], strict=True)
    return Architecture(backbone, (), tuple(Stage(name, (width * factor,), (1,)) for name, width in widths))


def base_widths(base: Architecture) -> np.ndarray:
    """The widths of the stages of a genotype, an array of shape `(stages,)`."""
    return np.array([stage.widths[0] for stage in base.stages])


def with_widths(base: Architecture, widths: Any) -> Architecture:
    """Replaces the candidate widths of an architecture. `widths` has a list of them for each stage."""
    stages = tuple(
        dataclasses.replace(stage, widths=tuple(map(int, candidates)))
        for stage, candidates in zip(base.stages, widths, strict=True)
    )
    return dataclasses.replace(base, stages=stages, provenance=None)


def derive(base: Architecture, ratios: np.ndarray) -> Architecture:
    """The genotype whose widths have the given ratios to those of the base network, rounded."""
    return with_widths(base, rounded(base, ratios)[:, np.newaxis])


def units(base: Architecture) -> np.ndarray:
    """The unit of each width, of which the width must be a multiple.

    It is 1 in networks without cells. Networks of cells double their channels from stage to stage, so their units do,
    too.
    """
    return np.array([1 << index if base.cells else 1 for index in range(len(base.stages))])


def rounded(base: Architecture, ratios: np.ndarray) -> np.ndarray:
    """Converts ratios of shape `(widths, ...)` to numbers of filters: the nearest positive multiples of `units`."""
    ratios = np.asarray(ratios)
    unit, width = (np.reshape(x, (-1, *[1] * (ratios.ndim - 1))) for x in (units(base), base_widths(base)))
    return (np.maximum(np.rint(ratios * width / unit), 1) * unit).astype(int)


def opened(base: Architecture, room: Sequence[int]) -> Architecture:
    """The space of all widths up to a given one.

    The edges of cells list all operations of their template, so that the masks of the widths reach the kernels.

    # Arguments
        base: The base network.
        room: The largest width of each stage, in `units`.

    # Returns
        An architecture with several candidate widths for each stage.
    """
    widths = [range(unit, unit * size + 1, unit) for unit, size in zip(units(base), room, strict=True)]
    names = base.kind.operations

    def with_all(node):
        return Node(tuple(Edge(edge.source, names) for edge in node.edges), node.keep)

    cells = tuple(Cell(cell.name, tuple(map(with_all, cell.nodes))) for cell in base.cells)
    return dataclasses.replace(with_widths(base, widths), cells=cells)


def megabytes(base: Architecture, widths: dict, input_shape: Sequence[int], num_classes: int) -> Any:
    """The size of a network, which is differentiable in the widths.

    # Arguments
        base: A genotype of a template without cells.
        widths: The numbers of filters by the name of the width, as integers or tensors.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        The size in megabytes of 2^20 bytes. Each weight of a binary kernel counts one bit, and each filter of a binary
        kernel also has a float scale. The first and the last layer count as floats. BatchNorm does not count. This
        reproduces table 1 of the paper for VGG-11 (`docs/costs.md`).
    """
    total = 0.0
    for row, _ in counting.rows(base, input_shape, num_classes, widths):
        if row.binary:
            total += row.weights / 8 + 4 * row.kernel[-1]
        elif row.kernel:
            total += 4 * row.weights + (4 * num_classes if row.kind == "dense" else 0)
    return total / MEGABYTE


def size(genotype: Architecture, input_shape: Sequence[int], num_classes: int) -> float:
    """The size of a genotype in megabytes: by `megabytes`, or by `costs.count` if the genotype has cells."""
    if genotype.cells:
        return costs.count(genotype, input_shape, num_classes).bytes / MEGABYTE
    widths = {stage.cell: stage.widths[0] for stage in genotype.stages}
    return megabytes(genotype, widths, input_shape, num_classes)


# A network has room for a multiple of this number of filters, so that many rounds can use the same network. Filters
# that no candidate has are masked. Their weights still influence the standardization of the following kernel, as those
# of rare candidates do.
ROOM = 8


def room(base: Architecture, candidates: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Returns the number of filters that the network of the next round has for each width, in `units`.

    The network has more filters than the candidates need, so that several rounds can use the same network.

    # Arguments
        base: The base network.
        candidates: Numbers of filters of the candidates, of shape `(widths, candidates)`.
        present: The room of the present network, in `units`; `None` if there is no network yet.

    # Returns
        The room for each width: the widest candidate, rounded up to a multiple of `ROOM`. In networks of cells, all
        stages have the same room. If the candidates fit into the present network, and a smaller network would not save
        a fifth of the filters, it is `present`.
    """
    widest = candidates.max(axis=1) // units(base)
    needed = -(-widest // ROOM) * ROOM
    if base.cells:
        needed = np.full_like(needed, needed.max())
    if present is not None and np.all(widest <= present) and 5 * needed.sum() > 4 * present.sum():
        return present
    return needed


def check_scales(scale: float, final_scale: float) -> None:
    """Raises an `OptionError` if the scale of the distributions of the ratios would rise during the search."""
    if not 0 < final_scale <= scale:
        raise OptionError(f"final_scale={final_scale}: must be positive and at most scale={scale}")
