"""The stages of networks: their order, and changes of their widths. This module does not import TensorFlow."""

import dataclasses
from collections.abc import Iterator

from larq_nas.space.architecture import Architecture
from larq_nas.space.checks import ArchitectureError
from larq_nas.space.parts import Stage


def sequence(architecture: Architecture) -> Iterator[tuple[Stage, str, bool]]:
    """Yields a tuple for each cell of a network, in order: its stage, its name, and whether it is a reduction."""
    for stage in architecture.stages:
        if stage.reduction:
            yield stage, stage.reduction, True
        yield from [(stage, stage.cell, False)] * stage.depths[0]


def thirds(layers: int, filters: int) -> tuple[Stage, ...]:
    """Returns the stages of a network with two reductions, as in DARTS.

    The cells with the numbers `layers // 3` and `2 * layers // 3` are the reductions.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage. The channels double at each reduction.

    # Returns
        Three stages.

    # Raises
        ValueError: If there are fewer than 3 cells.
    """
    if layers < 3:
        raise ValueError(f"layers={layers}: such a network has at least 3 cells, two of them reductions")
    first, second = layers // 3, 2 * layers // 3
    depths = (first, second - first - 1, layers - second - 1)
    reductions = (None, "reduce", "reduce")
    return tuple(
        Stage("normal", (filters << index,), (depth,), reduction)
        for index, (depth, reduction) in enumerate(zip(depths, reductions, strict=True))
    )


def round_widths(architecture: Architecture, multiple: int) -> Architecture:
    """Rounds the widths of a genotype to the nearest multiples of a number.

    Larq Compute Engine packs input channels into words of 32, so 36 channels take as long as 64.

    # Arguments
        architecture: A genotype. The stages of its template must not have groups.
        multiple: The number.

    # Returns
        A genotype with the same cells and depths. In BNAS, the widths still double from stage to stage. In BARS, the
        width after a reduction is a multiple of `2 * multiple`, because the cell before the reduction has half as many
        filters.

    # Raises
        ArchitectureError: If the stages of the template have groups.
    """
    if architecture.kind.grouped:
        raise ArchitectureError(
            f"template {architecture.template}: widths are not rounded in a template with groups, since LCE computes "
            "each group by itself; train with groups=lce or channels_per_group=32"
        )

    rounded = (architecture.kind.round_widths or _each_rounded)(architecture.stages, multiple)
    pairs = zip(architecture.stages, rounded, strict=True)
    stages = tuple(dataclasses.replace(stage, widths=(width,)) for stage, width in pairs)
    return dataclasses.replace(architecture, stages=stages, provenance=None)


def nearest(width: int, unit: int) -> int:
    """Returns the nearest positive multiple of `unit`."""
    return max(int(width / unit + 0.5), 1) * unit


def _each_rounded(stages, multiple):
    return [nearest(stage.widths[0], multiple) for stage in stages]
