"""The search space of DMS: the widths of a base network, and the size of networks."""

import dataclasses

import numpy as np

from larq_nas import costs
from larq_nas.networks import chains, counting, templates
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage

# Filters of the networks for CIFAR-10, a quarter of those for ImageNet, in the order of `chains.WIDTHS`.
BASES = {
    "vgg11": (16, 32, 64, 64, 128, 128, 128, 128),
    "resnet18": (16, *(16, 16, 32, 32, 64, 64, 128, 128), 32, 64, 128),
}
MEGABYTE = 2**20


def space(backbone, factor=1) -> Architecture:
    """The base network: ratios are to its widths, and have no upper bound.

    # Arguments
        backbone: `"vgg11"`, `"resnet18"`, or a genotype of BARS, of whose stages the widths are searched.
        factor: What all widths are multiplied by; 4 for the networks of ImageNet.

    # Returns
        A genotype, all ratios being 1.

    # References
        - DMS, sections 3.1 and A.3. It does not say whether the width that the stem and the first stage of ResNet-18
          share is searched; here it is.
    """
    if isinstance(backbone, Architecture):
        decided = backbone.decided
        if not decided or backbone.kind.method not in ("bars", "dms"):
            found = f"a genotype of {backbone.template}" if decided else "a space"
            raise ValueError(f"backbone: is {found}; accepted are genotypes of bars and of {', '.join(chains.WIDTHS)}")
        base = with_widths(backbone, base_widths(backbone)[:, np.newaxis] * factor)
        templates.check_layout(opened(base, [1] * len(base.stages)))
        return base
    if backbone not in BASES:
        raise ValueError(f"backbone={backbone!r}: accepted are {', '.join(BASES)}, or a genotype of bars")
    widths = zip(chains.WIDTHS[backbone], BASES[backbone], strict=True)
    return Architecture(backbone, (), tuple(Stage(name, (width * factor,), (1,)) for name, width in widths))


def base_widths(base: Architecture) -> np.ndarray:
    """The widths of a genotype, one for each stage."""
    return np.array([stage.widths[0] for stage in base.stages])


def with_widths(base: Architecture, widths) -> Architecture:
    """The same architecture with other candidate widths, a list for each stage."""
    stages = tuple(
        dataclasses.replace(stage, widths=tuple(map(int, candidates)))
        for stage, candidates in zip(base.stages, widths, strict=True)
    )
    return dataclasses.replace(base, stages=stages, provenance=None)


def derive(base: Architecture, ratios) -> Architecture:
    """The genotype of the mean ratios."""
    return with_widths(base, rounded(base, ratios)[:, np.newaxis])


def units(base: Architecture) -> np.ndarray:
    """What the widths are multiples of: with cells, which double their channels, a power of two for each stage."""
    return np.array([1 << index if base.cells else 1 for index in range(len(base.stages))])


def rounded(base: Architecture, ratios) -> np.ndarray:
    """Numbers of filters at given ratios, of shape `(widths, ...)`: the nearest multiples of `units`, at least one."""
    ratios = np.asarray(ratios)
    unit, width = (np.reshape(x, (-1, *[1] * (ratios.ndim - 1))) for x in (units(base), base_widths(base)))
    return (np.maximum(np.rint(ratios * width / unit), 1) * unit).astype(int)


def opened(base: Architecture, room) -> Architecture:
    """The space of all widths up to some number of units.

    Edges list all operations of their template, so that masks reach the kernels of cells.

    # Arguments
        base: The base network.
        room: The largest width in units, for each stage.
    """
    widths = [range(unit, unit * size + 1, unit) for unit, size in zip(units(base), room, strict=True)]
    names = base.kind.operations

    def with_all(node):
        return Node(tuple(Edge(edge.source, names) for edge in node.edges), node.keep)

    cells = tuple(Cell(cell.name, tuple(map(with_all, cell.nodes))) for cell in base.cells)
    return dataclasses.replace(with_widths(base, widths), cells=cells)


def megabytes(base: Architecture, widths, input_shape, classes: int):
    """The size of a network, differentiable in its widths.

    # Arguments
        base: A genotype of a template without cells.
        widths: Numbers of filters by the name of the width, integers or tensors.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        Megabytes of 2^20 bytes: binary kernels at one bit and a float scale for each of their filters, first and last
        layer as floats, no BatchNorm. This reproduces table 1 for VGG-11 (`docs/costs.md`).
    """
    total = 0.0
    for row, _ in counting.rows(base, input_shape, classes, widths):
        if row.binary:
            total += row.weights / 8 + 4 * row.kernel[-1]
        elif row.kernel:
            total += 4 * row.weights + (4 * classes if row.kind == "dense" else 0)
    return total / MEGABYTE


def size(genotype: Architecture, input_shape, classes: int) -> float:
    """Megabytes of a genotype: `megabytes`, or with cells what `costs` counts."""
    if genotype.cells:
        return costs.count(genotype, input_shape, classes).bytes / MEGABYTE
    widths = {stage.cell: stage.widths[0] for stage in genotype.stages}
    return megabytes(genotype, widths, input_shape, classes)


# Networks have room for a multiple of so many filters, so that many rounds can use the same one. What no candidate has
# is masked; its weights still count where the following kernel is standardized, as those of rare candidates do.
ROOM = 8


def room(base: Architecture, candidates: np.ndarray, present=None) -> np.ndarray:
    """How many filters a network should have room for, in `units`.

    # Arguments
        base: The base network.
        candidates: Numbers of filters of the candidates, of shape `(widths, candidates)`.
        present: What it has room for now.

    # Returns
        The widest candidates, each rounded up to a multiple of `ROOM` filters; or what there is, if the candidates fit
        in it and a smaller network would not save a fifth of the filters. The stages of cells have the same.
    """
    widest = candidates.max(axis=1) // units(base)
    needed = -(-widest // ROOM) * ROOM
    if base.cells:
        needed = np.full_like(needed, needed.max())
    if present is not None and np.all(widest <= present) and 5 * needed.sum() > 4 * present.sum():
        return present
    return needed
