"""What the networks of an architecture cost, layer by layer, without building them.

`Counter` is an interpreter of the layer verbs: its features are sizes, and each verb that has weights leaves a `Row`,
each block of layers that takes time on a device a `Block`. The code of the networks, in `templates`, is the one that
`building.Builder` makes Keras layers of. This module does not import TensorFlow.

```python
from larq_nas.networks import counting
from larq_nas.methods import bnas

genotype = bnas.space(layers=8, filters=16).sample(seed=0)
sum(row.macs for row, _ in counting.rows(genotype, (32, 32, 3), classes=10))
```
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from larq_nas.networks import templates
from larq_nas.space.architecture import Architecture

# Larq Compute Engine packs the channels of each tap of a filter into words of so many bits.
WORD = 32


class CostError(ValueError):
    """A network cannot be counted."""


@dataclasses.dataclass(frozen=True)
class Block:
    """An operation as a device computes it, with what belongs to it: normalization, sign, activation, sum.

    # Arguments
        kind: A key of `blocks.BLOCKS`, or the name of an operation of your own.
        inputs: Channels of its input.
        filters: Channels of its output.
        height, width: Of its output.
        kernel_size: Height and width of its window.
        strides: The factor by which its output is smaller than its input.
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
        block: The block of layers that begins here, if the row stands for a block; such a row has no numbers.
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
        """Whether it has numbers to store; the row of a block has none."""
        return self.block is None

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


class Features(NamedTuple):
    """The size of the features that a layer puts out.

    # Arguments
        height, width: Integers.
        channels: An integer, or a tensor where costs are to be differentiable in the widths.
        constant: Whether they are the same for every image.
    """

    height: int
    width: int
    channels: int
    constant: bool = False

    @property
    def shape(self):
        """As a Keras tensor has it, the number of images being unknown."""
        return None, self.height, self.width, self.channels

    def halved(self, strides=2) -> "Features":
        """Features of so many times fewer rows and columns, rounded up."""
        if strides == 1:
            return self
        return Features(-(-self.height // strides), -(-self.width // strides), self.channels, self.constant)


class Counter:
    """The interpreter of the layer verbs that counts.

    `rows` holds pairs of a `Row` and the operation that it belongs to: `None`, or the name of a cell and the indices of
    an edge and of a candidate. `stages` holds for each of them the number of the stage.
    """

    def __init__(self):
        self.rows, self.stages = [], []
        self._stage, self._choice, self._in_block = 0, None, False

    def _add(self, row):
        self.rows.append((row, self._choice))
        self.stages.append(self._stage)

    def stage(self, number: int):
        """Says of which stage the following layers are."""
        self._stage = number

    @contextlib.contextmanager
    def choice(self, cell: str, edge: int, candidate: int):
        """Layers of a candidate operation."""
        self._choice = cell, edge, candidate
        yield
        self._choice = None

    @contextlib.contextmanager
    def block(self, kind, x, filters, kernel_size=1, strides=1, dilation_rate=1, groups=1, *, name=""):
        """Layers that a device computes together; a block within another belongs to it."""
        if self._in_block:
            yield
            return
        size = x.halved(strides)
        block = Block(kind, x.channels, filters, size.height, size.width, kernel_size, strides, dilation_rate, groups)
        self._add(Row(name, "other", block=block))
        self._in_block = True
        yield
        self._in_block = False

    def norm(self, x, affine=True, *, name):
        """BatchNorm. Of its four vectors, inference needs two."""
        channels = x.channels
        self._add(Row(name, "normalization", other_params=2 * channels if affine else 0, other_stored=2 * channels))
        return x

    def conv(self, x, filters, kernel_size, strides=1, dilation_rate=1, *, kind, name, **options):
        """A convolution of one of the `CONVOLUTIONS`."""
        check_convolution(kind, dilation_rate, options)
        groups = options.get("groups", 1)
        taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if options.get("padding", "same") == "same":
            height, width, *_ = x.halved(strides)
        else:
            height, width = ((side - size) // strides + 1 for side, size in zip(x[:2], taps, strict=True))
        # The number of channels may be a tensor, which a division would round.
        channels = x.channels // groups if groups > 1 else x.channels
        binary, more, _ = CONVOLUTIONS[kind]
        bias = filters if options.get("use_bias") else 0
        params, stored = more(filters)
        kernel = *taps, channels, filters
        row = Row(name, "convolution", kernel, height * width, binary, binary, bias + params, bias + stored)
        self._add(row)
        return Features(height, width, filters, x.constant)

    def prelu(self, x, *, name):
        """PReLU with a slope for each channel."""
        self._add(Row(name, "other", other_params=x.channels, other_stored=x.channels))
        return x

    def classifier(self, x, classes):
        """Global average pool → dense layer → softmax."""
        with self.block("dense", x, classes, name="classifier"):
            row = Row("classifier", "dense", (x.channels, classes), 1, other_params=classes, other_stored=classes)
            self._add(row)
        return x

    def pool(self, kind, x, kernel_size, strides=1, *, name):
        """A pool."""
        return x.halved(strides)

    def zeros(self, x, strides=1, *, name):
        """Zeros."""
        return x.halved(strides)._replace(constant=True)

    def every_second(self, x, first, *, name):
        """Every second pixel of every second row."""
        return x.halved()

    def start_at(self, x, first, *, name):
        """What a `valid` 3x3 convolution of strides 2 halves, rounding up."""
        return x._replace(height=x.height + 1 + x.height % 2, width=x.width + 1 + x.width % 2)

    def match_channels(self, x, filters, *, name):
        """Features of another number of channels."""
        return x._replace(channels=filters)

    def add(self, terms, *, name):
        """A sum."""
        _check_sizes_are_equal(terms, name, channels=True)
        alive = (term for term in terms if not term.constant)
        return next(alive, terms[0])

    def concat(self, terms, *, name):
        """Features side by side."""
        _check_sizes_are_equal(terms, name)
        channels, constant = sum(term.channels for term in terms), all(term.constant for term in terms)
        return terms[0]._replace(channels=channels, constant=constant)

    def either(self, alternatives):
        """What one of several candidate operations puts out; constant only if it is constant for all of them."""
        return min(alternatives, key=lambda x: x.constant)

    def relu(self, x, *, name):
        """ReLU."""
        return x

    def shuffle(self, x, *, name):
        """Another order of the channels."""
        return x

    def drop_path(self, x, *, name):
        """What training drops."""
        return x


def _check_sizes_are_equal(terms, name, channels=False):
    # Tensors cannot be compared here.
    channels = channels and all(isinstance(term.channels, int) for term in terms)
    sizes = {(term.height, term.width, term.channels if channels else None) for term in terms}
    if len(sizes) > 1:
        raise ValueError(f"{name}: features of different sizes, {', '.join(str(tuple(term[:3])) for term in terms)}")


class Convolution(NamedTuple):
    """A kind of convolution.

    # Arguments
        binary: Whether kernel and input are ±1.
        more: A function from the filters to how many numbers are trained beside the kernel and the bias, and how many
            inference needs beside them.
        options: What it takes: `"dilation_rate"`, `"groups"`, `"padding"`, `"use_bias"`, `"activation"`, `"mask"`.
    """

    binary: bool
    more: Callable
    options: tuple


def _nothing(filters):
    return 0, 0


def _scale_of_kernel(filters):
    # For each filter; where the layer has one scale, it is written so often.
    return 0, filters


CONVOLUTIONS = {
    "float": Convolution(False, _nothing, ("groups", "use_bias")),
    "real": Convolution(False, _nothing, ("dilation_rate", "groups")),
    "activations": Convolution(False, _nothing, ("dilation_rate", "groups")),
    "xnor": Convolution(True, _scale_of_kernel, ("dilation_rate",)),
    "layer_scaled": Convolution(True, _scale_of_kernel, ("padding", "activation", "mask")),
    "scaled": Convolution(True, lambda filters: (filters, filters), ("dilation_rate", "groups")),
    # Besides the scales, the learnt step of the inputs.
    "step": Convolution(True, lambda filters: (1, filters + 1), ()),
}


def check_convolution(kind: str, dilation_rate: int, options):
    """Raises `ValueError` if there is no such kind of convolution, or it does not take an option."""
    if kind not in CONVOLUTIONS:
        raise ValueError(f"kind={kind!r}: accepted are {', '.join(CONVOLUTIONS)}")
    accepted = CONVOLUTIONS[kind].options
    for name in [*options, *["dilation_rate"] * (dilation_rate > 1)]:
        if name not in accepted:
            raise ValueError(f"kind={kind!r}: takes no {name}; accepted are {', '.join(accepted) or 'no options'}")


class Segment(NamedTuple):
    """A part of a network whose costs depend on few choices.

    # Arguments
        choices: The candidates of the widths and depths that the costs depend on, by the name of the choice.
        rows: A function of one candidate for each of them. It returns what `rows` returns, for this part alone.
    """

    choices: dict
    rows: Callable


def segments(space: Architecture, input_shape, classes: int) -> list:
    """The parts of the final network of an architecture, from which its costs add up.

    # Arguments
        space: A genotype or a space.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        A list of `Segment`: one, or where widths or depths are open one for each stage. The layers of a stage depend on
        its own width and depth and on the width of the following stage.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    templates.check(space, input_shape, classes)
    stages = space.stages
    if not space.kind.open_stages or all(len(stage.widths) == len(stage.depths) == 1 for stage in stages):
        return [Segment({}, lambda: rows(space, input_shape, classes))]
    found = []
    for number, stage in enumerate(stages):
        choices = {templates.width_name(number): stage.widths, templates.depth_name(number): stage.depths}
        for later in stages[number + 1 : number + 2]:
            choices[templates.width_name(number + 1)] = later.widths
        found.append(Segment(choices, functools.partial(_rows_of_stage, space, input_shape, classes, number)))
    return found


def _rows_of_stage(space, input_shape, classes, number, width, depth, following=None):
    stages = list(_decided(space).stages)
    stages[number] = dataclasses.replace(stages[number], widths=(width,), depths=(depth,))
    if following is not None:
        stages[number + 1] = dataclasses.replace(stages[number + 1], widths=(following,))
    counter = _count(dataclasses.replace(space, stages=tuple(stages)), input_shape, classes)
    return [row for row, stage in zip(counter.rows, counter.stages, strict=True) if stage == number]


def rows(architecture: Architecture, input_shape, classes: int, widths: dict | None = None) -> list:
    """The layers of the final network of an architecture.

    # Arguments
        architecture: A genotype, or a space: the first candidates of its widths and depths are taken, and the layers of
            all candidate operations are listed.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        widths: In a template without cells, filters by the name of the width in place of those of the architecture;
            they may be tensors.

    # Returns
        A list of pairs of a `Row` and the operation that it belongs to: `None`, or the name of a cell and the indices
        of an edge and of a candidate.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    templates.check(architecture, input_shape, classes)
    return _count(_decided(architecture), input_shape, classes, widths).rows


def _decided(architecture):
    """The architecture with the first candidates of its widths and depths."""
    stages = (dataclasses.replace(s, widths=s.widths[:1], depths=s.depths[:1]) for s in architecture.stages)
    return dataclasses.replace(architecture, stages=tuple(stages))


def _count(architecture, input_shape, classes, widths=None):
    """A `Counter` of a network whose widths and depths are decided."""
    counter = Counter()
    x = templates.features(counter, architecture, Features(*input_shape), widths=widths)
    counter.classifier(x, classes)
    return counter
