"""The layers of an architecture's network and what each costs, without building them.

This says again what `networks` builds, in numbers; a test holds both equal.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from larq_nas import chains, networks
from larq_nas.architecture import CHAINS, Architecture
from larq_nas.operations import OPERATIONS

# Larq Compute Engine packs the channels of each tap of a filter into words of so many bits.
WORD = 32


@dataclasses.dataclass(frozen=True)
class Block:
    """An operation as a device computes it, with what belongs to it: normalization, sign, activation, sum.

    # Arguments
        kind: A key of `profiling.BUILDERS`.
        inputs: Channels that it reads.
        filters: Channels of its output.
        height, width: Of its output.
        kernel_size: Height and width of its window.
        strides: By what it divides height and width.
        dilation_rate: Distance of the taps of its kernel.
        groups: In how many groups it works.
    """

    kind: str
    inputs: int
    filters: int
    height: int
    width: int
    kernel_size: int = 1
    strides: int = 1
    dilation_rate: int = 1
    groups: int = 1

    @property
    def native_groups(self) -> bool:
        """Whether Larq Compute Engine computes its groups by itself, which have multiples of 32 channels."""
        return self.kind == "group_convolution" and self.groups > 1 and self.inputs // self.groups % WORD == 0


@dataclasses.dataclass(frozen=True)
class Row:
    """What one layer costs.

    # Arguments
        name: Name of the layer.
        kind: `"convolution"`, `"dense"`, `"normalization"` or `"other"`.
        kernel: Shape of the kernel; empty without one.
        positions: How many times the whole kernel is multiplied for one image.
        binary: Whether kernel and input are ±1.
        packed: Whether Larq Compute Engine packs the kernel to bits.
        other_params: Parameters beside the kernel.
        other_stored: Numbers of 32 bits that inference needs beside the kernel.
        block: What takes time, if it is not part of the block of another row. A row may have nothing else.
    """

    name: str
    kind: str
    kernel: tuple = ()
    positions: int = 0
    binary: bool = False
    packed: bool = False
    other_params: int = 0
    other_stored: int = 0
    block: Block | None = dataclasses.field(default=None, compare=False)

    @property
    def counted(self) -> bool:
        """Whether it has numbers to store: layers without any cost nothing but time."""
        return bool(self.kernel or self.other_stored)

    @property
    def weights(self) -> int:
        """Weights of the kernel."""
        return math.prod(self.kernel) if self.kernel else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.positions

    @property
    def binary_macs(self) -> int:
        """Multiply-accumulates of ±1."""
        return self.macs if self.binary else 0

    @property
    def padded_binary_macs(self) -> int:
        """Those with the padding of input channels to whole words."""
        return -(-self.kernel[-2] // WORD) * WORD * self.binary_macs // self.kernel[-2] if self.binary else 0

    @property
    def float_macs(self) -> int:
        """All other multiply-accumulates."""
        return self.macs - self.binary_macs

    @property
    def binary_params(self) -> int:
        """Weights of a binary kernel."""
        return self.weights if self.binary else 0

    @property
    def float_params(self) -> int:
        """All other parameters."""
        return self.params - self.binary_params

    @property
    def params(self) -> int:
        """All parameters."""
        return self.weights + self.other_params

    @property
    def bytes(self) -> int:
        """Size at inference: packed kernels at one bit, everything else at 32."""
        if not self.packed:
            return 4 * (self.weights + self.other_stored)
        *taps, channels, filters = self.kernel
        return math.prod(taps) * filters * -(-channels // WORD) * WORD // 8 + 4 * self.other_stored


class Segment(NamedTuple):
    """A part of a network whose costs hang on few choices.

    # Arguments
        choices: The candidates of the widths and depths that they hang on, by the name of the choice.
        rows: A function of one candidate for each of them. It returns an iterator over pairs of a `Row` and the
            operation that it hangs on: `None`, or the name of a cell and the indices of an edge and of a candidate.
    """

    choices: dict
    rows: Callable


def segments(architecture: Architecture, input_shape, classes: int) -> list:
    """The parts of the final network of an architecture, from which its costs add up.

    # Arguments
        architecture: A genotype or a space.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        A list of `Segment`.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    input_shape = networks.check_shape(input_shape, *networks.halvings(architecture))
    networks.check_classes(classes)
    return TEMPLATES[architecture.template](architecture, input_shape, classes)


def rows(architecture: Architecture, input_shape, classes: int):
    """The layers of the final network of an architecture with one width and depth for each stage.

    # Arguments
        architecture: A genotype, or a space, all of whose candidate operations are listed.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        An iterator over what the rows of a `Segment` are.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    for segment in segments(architecture, input_shape, classes):
        yield from segment.rows(*(candidates[0] for candidates in segment.choices.values()))


def _classifier(channels, classes, size):
    row = _weighted("classifier", "dense", (channels, classes), 1, bias=True)
    yield dataclasses.replace(row, block=Block("dense", channels, classes, *size)), None


def _timed(name, kind, inputs, filters, size, *, choice=None, **options):
    """A row of what costs nothing but time."""
    return Row(name, "other", block=Block(kind, inputs, filters, *size, **options)), choice


def _weighted(name, kind, kernel, positions, *, binary=False, bias=False):
    floats = kernel[-1] if bias else 0
    # The scales of `XnorConv2D`.
    return Row(name, kind, kernel, positions, binary, binary, floats, floats + (kernel[-1] if binary else 0))


def _norm(name, channels, affine=True):
    return Row(name, "normalization", other_params=2 * channels if affine else 0, other_stored=2 * channels)


def _convolution(name, taps, channels, filters, size, groups=1, block=None, **options):
    """The row of a convolution; `block` is what its block has beside the sizes of the convolution."""
    # The number of channels may be a tensor, which a division would round.
    channels_of_group = channels // groups if groups > 1 else channels
    row = _weighted(name, "convolution", (taps, taps, channels_of_group, filters), math.prod(size), **options)
    if block is None:
        return row
    sizes = {"inputs": channels, "filters": filters, "height": size[0], "width": size[1]}
    return dataclasses.replace(row, block=Block(**sizes, kernel_size=taps, groups=groups, **block))


def _block(
    name, taps, channels, filters, size, *, affine=True, binary=True, choice=None, kind=None, strides=1, dilation_rate=1
):
    """The rows of `operations.convolution_block`, whose output has the given size."""
    kind = kind or ("binary" if binary else "float")
    block = {"kind": kind, "strides": strides, "dilation_rate": dilation_rate}
    yield _norm(f"{name}_norm", channels, affine), choice
    yield _convolution(f"{name}_conv", taps, channels, filters, size, binary=binary, block=block), choice


def _halved(size):
    return tuple(-(-side // 2) for side in size)


def _large_stem(size, channels, filters, groups=1):
    """The rows of the stem of large images; returns the size behind it."""
    shapes = (
        ("stem0", 0, channels, filters // 2, 1),
        ("stem0", 1, filters // 2, filters, groups),
        ("stem1", "", filters, filters, groups),
    )
    for stem, index, before, after, groups in shapes:
        size = _halved(size)
        block = {"kind": "float", "strides": 2}
        yield _convolution(f"{stem}_conv{index}", 3, before, after, size, groups, block), None
        yield _norm(f"{stem}_norm{index}", after), None
    return size


def _bnas(architecture, input_shape, classes):
    networks.check_sizes(architecture, input_shape[0] >= networks.LARGE_IMAGE)
    return [Segment({}, functools.partial(_bnas_rows, architecture, input_shape, classes))]


def _bnas_rows(architecture, input_shape, classes):
    *size, channels = input_shape
    filters, large = architecture.stages[0].widths[0], size[0] >= networks.LARGE_IMAGE
    if large:
        size = yield from _large_stem(size, channels, filters)
        earlier = previous = filters
    else:
        yield from _block("stem", 3, channels, 3 * filters, size, binary=False)
        earlier = previous = 3 * filters
    reduced = large
    for index, (stage, cell_name, reduction) in enumerate(networks.sequence(architecture)):
        cell, width, name = architecture.cell(cell_name), stage.widths[0], f"cell{index:02}"
        taps, strides = (3, 2) if reduced else (1, 1)
        affine = large or not reduced
        yield from _block(f"{name}_preprocess0", taps, earlier, width, size, affine=affine, strides=strides)
        yield from _block(f"{name}_preprocess1", 1, previous, width, size)
        size = _halved(size) if reduction else size
        for place, operation, source, choice in _candidates(cell, name):
            options = {"choice": choice, "strides": 2 if reduction and source < 2 else 1}
            if operation.kind == "convolution":
                rate = operation.dilation_rate
                yield from _block(place, operation.kernel_size, width, width, size, dilation_rate=rate, **options)
            elif operation.kind != "none":
                yield _timed(place, operation.kind, width, width, size, kernel_size=operation.kernel_size, **options)
        output = len(cell.nodes) * width
        yield _timed(f"{name}_concat", "concat", width, output, size)
        if index > 0:
            yield _timed(f"{name}_skip", "add", output, output, size)
        if reduction and index > 0:
            yield _norm(f"{name}_shortcut_norm", previous), None
            block = {"kind": "float", "strides": 2}
            yield _convolution(f"{name}_shortcut_conv", 2, previous, output, size, bias=True, block=block), None
        earlier, previous, reduced = previous, output, reduction
    yield from _classifier(previous, classes, size)


def _candidates(cell, name):
    """For each candidate operation of a cell: the name of its place, it, its edge's source and what it hangs on."""
    for row, edge in enumerate(cell.edges):
        for index, operation in enumerate(edge.operations):
            place = f"{name}_state{edge.source}_edge{row}"
            yield place, OPERATIONS[operation], edge.source, (cell.name, row, index)


def _bats(architecture, input_shape, classes, binary=True, binary_preprocess=True):
    networks.check_sizes(architecture, input_shape[0] >= networks.LARGE_IMAGE)
    networks.check_bats(architecture)
    forms = binary, binary_preprocess
    return [Segment({}, functools.partial(_bats_rows, architecture, input_shape, classes, *forms))]


def _bats_rows(architecture, input_shape, classes, binary, binary_preprocess):
    *size, channels = input_shape
    filters, large = architecture.stages[0].widths[0], size[0] >= networks.LARGE_IMAGE
    if large:
        size = yield from _large_stem(size, channels, filters, networks.stem_groups(filters))
        earlier = previous = filters
    else:
        yield _convolution("stem_conv", 3, channels, 3 * filters, size, block={"kind": "float"}), None
        yield _norm("stem_norm", 3 * filters), None
        earlier = previous = 3 * filters
    reduced = large
    for index, (stage, cell_name, reduction) in enumerate(networks.sequence(architecture)):
        cell, width, name = architecture.cell(cell_name), stage.widths[0], f"cell{index:02}"
        preprocess = functools.partial(_group_block, kind="preprocess")
        enter = _factorized_reduce if reduced else preprocess
        yield from enter(f"{name}_preprocess0", 1, earlier, width, size, binary=binary_preprocess)
        yield from preprocess(f"{name}_preprocess1", 1, previous, width, size, binary=binary_preprocess)
        size = _halved(size) if reduction else size
        for place, operation, source, choice in _candidates(cell, name):
            strides, taps = 2 if reduction and source < 2 else 1, operation.kernel_size
            options = {"binary": binary, "choice": choice}
            if operation.kind == "group_convolution":
                options |= {"groups": stage.groups, "strides": strides, "dilation_rate": operation.dilation_rate}
                yield from _group_block(place, taps, width, width, size, **options)
            elif operation.kind == "skip" and strides > 1:
                yield from _factorized_reduce(place, 1, width, width, size, **options)
            elif operation.kind == "skip":
                yield _timed(place, "add", width, width, size, choice=choice)
            elif operation.kind != "none":
                options = {"kernel_size": taps, "strides": strides, "choice": choice}
                yield _timed(place, operation.kind, width, width, size, **options)
        output = len(cell.nodes) * width
        yield _timed(f"{name}_concat", "concat", width, output, size)
        earlier, previous, reduced = previous, output, reduction
    yield from _classifier(previous, classes, size)


def _group_block(
    name,
    taps,
    channels,
    filters,
    size,
    *,
    groups=1,
    binary=True,
    choice=None,
    kind="group_convolution",
    strides=1,
    dilation_rate=1,
):
    """The rows of `grouped.group_convolution` and `grouped.preprocess`."""
    kind = kind if binary else f"real_{kind}"
    block = {"kind": kind, "strides": strides, "dilation_rate": dilation_rate}
    yield _norm(f"{name}_norm", channels), choice
    yield _scaled(f"{name}_conv", taps, channels, filters, size, groups, binary, block), choice
    yield Row(f"{name}_prelu", "other", other_params=filters, other_stored=filters), choice


def _factorized_reduce(name, taps, channels, filters, size, *, binary=True, choice=None):
    """The rows of `grouped.factorized_reduce`."""
    yield _norm(f"{name}_norm", channels), choice
    whole = "factorized_reduce" if binary else "real_factorized_reduce"
    yield _timed(name, whole, channels, filters, size, strides=2, choice=choice)
    for half in range(2):
        yield _scaled(f"{name}_conv{half}", taps, channels, filters // 2, size, 1, binary), choice
    yield Row(f"{name}_prelu", "other", other_params=filters, other_stored=filters), choice


def _scaled(name, taps, channels, filters, size, groups, binary, block=None):
    """The row of `grouped.convolution`."""
    row = _convolution(name, taps, channels, filters, size, groups, block, binary=binary)
    return dataclasses.replace(row, other_params=filters if binary else 0)


def _bars(architecture, input_shape, classes, skip=True):
    """Stage by stage: what stands before the first, its normal cells, the reduction into the following stage."""
    networks.check_stem(architecture, input_shape[0] >= networks.LARGE_IMAGE)
    networks.check_layout(architecture)
    stages, parts = architecture.stages, []
    for number, stage in enumerate(stages):
        choices = {networks.width_name(number): stage.widths, networks.depth_name(number): stage.depths}
        for later in stages[number + 1 : number + 2]:
            choices[networks.width_name(number + 1)] = later.widths
        parts.append(Segment(choices, functools.partial(_bars_rows, architecture, input_shape, classes, skip, number)))
    return parts


def _bars_rows(architecture, input_shape, classes, skip, number, width, depth, following=None):
    *size, channels = input_shape
    stages, large = architecture.stages, size[0] >= networks.LARGE_IMAGE
    # Those of the other stages play no part.
    widths, depths = [stage.widths[0] for stage in stages], [stage.depths[0] for stage in stages]
    widths[number], depths[number] = width, depth
    if following is not None:
        widths[number + 1] = following
    opening, groups = networks.bars_cells(architecture, widths, depths)
    if number == 0:
        if large:
            size = yield from _large_stem(size, channels, width)
        else:
            yield _convolution("stem_conv", 3, channels, width, size, block={"kind": "float"}), None
            yield _norm("stem_norm", width), None
        previous = networks.bars_nodes(architecture) * width
        yield _convolution("stem_out_conv", 1, width, previous, size, block={"kind": "float"}), None
        yield _norm("stem_out_norm", previous), None
        before, cells = [], opening
    else:
        size = _times_halved(size, networks.STEM_HALVINGS if large else 0)
        before, cells = [*opening, *(row for normal, after in groups[:number] for row in [*normal, *after])], []
        size = _times_halved(size, sum(reduction for *_, reduction in before))
        last = before[-1] if before else (stages[0].cell, widths[0], False)
        previous = len(architecture.cell(last[0]).nodes) * last[1]
    normal, after = groups[number]
    for index, (cell_name, filters, reduction) in enumerate([*cells, *normal, *after], len(before)):
        cell, name = architecture.cell(cell_name), f"cell{index:02}"
        inner = filters // 2 if reduction else filters
        yield from _block(f"{name}_preprocess", 1, previous, inner, size)
        size = _halved(size) if reduction else size
        output = len(cell.nodes) * filters
        for place, operation, source, choice in _candidates(cell, name):
            entering = {"strides": 2} if reduction and source == 0 else {}
            if operation.kind == "residual" and entering:
                yield _timed(place, "residual", inner, filters, size, kernel_size=3, choice=choice, **entering)
                yield from _halves(place, inner, filters, size, choice)
            elif operation.kind == "residual":
                taps = operation.kernel_size
                yield from _block(place, taps, filters, filters, size, choice=choice, kind="residual")
            elif operation.kind == "shortcut":
                kind = "shortcut" if entering else "add"
                yield _timed(place, kind, inner if entering else filters, filters, size, choice=choice, **entering)
        yield _timed(f"{name}_concat", "concat", filters, output, size)
        if skip:
            yield _timed(f"{name}_skip", "add", output, output, size)
        if reduction and skip:
            yield _timed(f"{name}_shortcut", "halves", previous, output, size, kernel_size=3, strides=2)
            yield from _halves(f"{name}_shortcut", previous, output, size)
        previous = output
    if number == len(stages) - 1:
        yield from _classifier(previous, classes, size)


def _times_halved(size, times):
    for _ in range(times):
        size = _halved(size)
    return size


def _halves(name, channels, filters, size, choice=None):
    """The rows of `operations.strided_halves` and of the BatchNorm before it."""
    yield _norm(f"{name}_norm", channels), choice
    for half in range(2):
        yield _convolution(f"{name}_conv{half}", 3, channels, filters // 2, size, binary=True), choice


def _chain(architecture, input_shape, classes):
    widths = {stage.cell: stage.widths[0] for stage in architecture.stages}
    return [
        Segment({}, lambda: ((row, None) for row in chain_rows(architecture.template, widths, input_shape, classes)))
    ]


def chain_rows(template, widths: dict, input_shape, classes: int):
    """The layers of a network without cells.

    # Arguments
        template: A key of `architecture.CHAINS`.
        widths: Filters by the name of the width, integers or tensors.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        An iterator over `Row`.
    """
    *size, channels = input_shape
    for conv in chains.CONVOLUTIONS[template](size[0] >= networks.LARGE_IMAGE):
        before, filters = widths.get(conv.inputs, channels), widths[conv.outputs]
        halved = _times_halved(size, conv.halvings)
        block = {"kind": "step" if conv.binary else "float", "strides": conv.strides}
        sizes = conv.kernel_size, before, filters, halved
        row = _convolution(f"{conv.name}_conv", *sizes, block=block, binary=conv.binary)
        # The step of its inputs.
        step = int(conv.binary)
        yield dataclasses.replace(row, other_params=row.other_params + step, other_stored=row.other_stored + step)
        yield _norm(f"{conv.name}_norm", filters)
        if conv.summed:
            yield _timed(f"{conv.name}_sum", "add", filters, filters, halved)[0]
        if conv.pool:
            halved = _halved(halved)
            pool = {"kernel_size": conv.pool, "strides": 2}
            yield _timed(f"{conv.name}_pool", "max_pool", filters, filters, halved, **pool)[0]
    yield from (row for row, _ in _classifier(filters, classes, halved))


TEMPLATES = {
    "bnas": _bnas,
    "bars": _bars,
    "bars_no_shortcut": functools.partial(_bars, skip=False),
    "bats": _bats,
    "bats_float_preprocess": functools.partial(_bats, binary_preprocess=False),
    "bats_real": functools.partial(_bats, binary=False, binary_preprocess=False),
    **dict.fromkeys(CHAINS, _chain),
}
