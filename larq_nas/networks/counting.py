"""Counts what the networks of an architecture cost, layer by layer, without building them.

`Counter` is an interpreter of the layer verbs whose features are sizes. Each layer with weights adds a `Row` to the
counter. Each block of layers that a device computes together adds a row with a `Block`. `Counter` runs the same code in
`templates` from which `builder.Builder` makes Keras layers. This module does not import TensorFlow.

```python
from larq_nas.networks import counting
from larq_nas.methods import bnas

genotype = bnas.space(layers=8, filters=16).sample(seed=0)
sum(row.macs for row, _ in counting.rows(genotype, (32, 32, 3), num_classes=10))
```
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from larq_nas.networks import templates
from larq_nas.networks.layer_costs import Block, Row
from larq_nas.space.architecture import Architecture


class Features(NamedTuple):
    """The size of a layer's output.

    # Arguments
        height, width: Integers.
        channels: An integer, or a tensor if costs must be differentiable with respect to the widths.
        constant: Whether the features are the same for every image.
    """

    height: int
    width: int
    channels: int
    constant: bool = False

    @property
    def shape(self) -> tuple[None, int, int, int]:
        """The shape as a Keras tensor has it. The batch size is `None`."""
        return None, self.height, self.width, self.channels

    def halved(self, strides: int = 2) -> "Features":
        """Divides the height and width by the strides and rounds up."""
        if strides == 1:
            return self
        return Features(-(-self.height // strides), -(-self.width // strides), self.channels, self.constant)


class Counter:
    """The interpreter of the layer verbs that counts costs.

    The attribute `rows` is a list of pairs: a `Row`, and the operation to which the row belongs. The operation is
    `None`, or a tuple of the name of a cell, the index of an edge, and the index of a candidate. The attribute `stages`
    lists for each of the rows the number of its stage.
    """

    def __init__(self) -> None:
        self.rows, self.stages = [], []
        self._stage, self._in_block = 0, False
        self._choice: tuple[str, int, int] | None = None

    def _add(self, row):
        self.rows.append((row, self._choice))
        self.stages.append(self._stage)

    def stage(self, number: int) -> None:
        """Begins the layers of a stage."""
        self._stage = number

    @contextlib.contextmanager
    def choice(self, cell: str, edge: int, candidate: int) -> Iterator[None]:
        """Encloses the layers of a candidate operation."""
        self._choice = cell, edge, candidate
        yield
        self._choice = None

    @contextlib.contextmanager
    def block(
        self,
        kind: str,
        x: Features,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        dilation_rate: int = 1,
        groups: int = 1,
        *,
        name: str = "",
    ) -> Iterator[None]:
        """Encloses layers that a device computes together. A block inside of another block belongs to the outer one."""
        if self._in_block:
            yield
            return
        size = x.halved(strides)
        block = Block(kind, x.channels, filters, size.height, size.width, kernel_size, strides, dilation_rate, groups)
        self._add(Row(name, "other", block=block))
        self._in_block = True
        yield
        self._in_block = False

    def norm(self, x: Features, affine: bool = True, *, name: str) -> Features:
        """BatchNorm. It has four vectors of parameters and statistics, but inference needs only two."""
        channels = x.channels
        self._add(Row(name, "normalization", other_params=2 * channels if affine else 0, other_stored=2 * channels))
        return x

    def conv(
        self,
        x: Features,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int = 1,
        dilation_rate: int = 1,
        *,
        kind: str,
        name: str,
        **options: Any,
    ) -> Features:
        """A convolution; `kind` is a key of `CONVOLUTIONS`."""
        check_convolution(kind, dilation_rate, options)
        groups = options.get("groups", 1)
        taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if options.get("padding", "same") == "same":
            height, width, *_ = x.halved(strides)
        else:
            height, width = ((side - size) // strides + 1 for side, size in zip(x[:2], taps, strict=True))
        # `channels` may be a tensor, and a division would round it.
        channels = x.channels // groups if groups > 1 else x.channels
        binary, more, _ = CONVOLUTIONS[kind]
        bias = filters if options.get("use_bias") else 0
        params, stored = more(filters)
        kernel = *taps, channels, filters
        row = Row(name, "convolution", kernel, height * width, binary, binary, bias + params, bias + stored)
        self._add(row)
        return Features(height, width, filters, x.constant)

    def prelu(self, x: Features, *, name: str) -> Features:
        """PReLU with a slope for each channel."""
        self._add(Row(name, "other", other_params=x.channels, other_stored=x.channels))
        return x

    def classifier(self, x: Features, num_classes: int) -> Features:
        """Global average pool → dense layer → softmax."""
        with self.block("dense", x, num_classes, name="classifier"):
            row = Row(
                "classifier", "dense", (x.channels, num_classes), 1, other_params=num_classes, other_stored=num_classes
            )
            self._add(row)
        return x

    def pool(self, kind: str, x: Features, kernel_size: int, strides: int = 1, *, name: str | None) -> Features:
        """A pool."""
        return x.halved(strides)

    def zeros(self, x: Features, strides: int = 1, *, name: str) -> Features:
        """The operation `"none"`: zeros."""
        return x.halved(strides)._replace(constant=True)

    def every_second(self, x: Features, first: int, *, name: str) -> Features:
        """Every second pixel of every second row."""
        return x.halved()

    def start_at(self, x: Features, first: int, *, name: str) -> Features:
        """Pads features so that a `valid` 3x3 convolution of strides 2 halves height and width and rounds up."""
        return x._replace(height=x.height + 1 + x.height % 2, width=x.width + 1 + x.width % 2)

    def match_channels(self, x: Features, filters: int, *, name: str) -> Features:
        """Cuts channels off or appends zeros."""
        return x._replace(channels=filters)

    def add(self, terms: Sequence[Features], *, name: str) -> Features:
        """A sum."""
        _check_sizes_are_equal(terms, name, channels=True)
        alive = (term for term in terms if not term.constant)
        return next(alive, terms[0])

    def concat(self, terms: Sequence[Features], *, name: str) -> Features:
        """A concatenation along the channels."""
        _check_sizes_are_equal(terms, name)
        channels, constant = sum(term.channels for term in terms), all(term.constant for term in terms)
        return terms[0]._replace(channels=channels, constant=constant)

    def either(self, alternatives: Sequence[Features]) -> Features:
        """Returns the output of one of several candidate operations. The output is constant only if all alternatives
        are.
        """
        return min(alternatives, key=lambda x: x.constant)

    def relu(self, x: Features, *, name: str) -> Features:
        """ReLU."""
        return x

    def shuffle(self, x: Features, groups: int, *, name: str) -> Features:
        """Reorders the channels."""
        return x

    def drop_path(self, x: Features, *, name: str) -> Features:
        """Drop path, which exists only during training."""
        return x


def _check_sizes_are_equal(terms, name, channels=False):
    # Numbers of channels that are tensors cannot be compared here.
    channels = channels and all(isinstance(term.channels, int) for term in terms)
    sizes = {(term.height, term.width, term.channels if channels else None) for term in terms}
    if len(sizes) > 1:
        raise ValueError(f"{name}: features of different sizes, {', '.join(str(tuple(term[:3])) for term in terms)}")


class Convolution(NamedTuple):
    """A kind of convolution.

    # Arguments
        binary: Whether the kernel and the input are ±1.
        more: A function of the number of filters. It returns two numbers in addition to the kernel and the bias: the
            number of trained parameters, and the number of 32-bit values that inference needs.
        options: Names of the accepted options: `"dilation_rate"`, `"groups"`, `"padding"`, `"use_bias"`,
            `"activation"`, `"mask"`.
    """

    binary: bool
    more: Callable
    options: tuple


def _nothing(filters):
    return 0, 0


def _scale_of_kernel(filters):
    # The converter stores a scale for each filter, even if the layer has only one scale.
    return 0, filters


CONVOLUTIONS = {
    "float": Convolution(False, _nothing, ("groups", "use_bias")),
    "real": Convolution(False, _nothing, ("dilation_rate", "groups")),
    "activations": Convolution(False, _nothing, ("dilation_rate", "groups")),
    "xnor": Convolution(True, _scale_of_kernel, ("dilation_rate",)),
    "magnitude_aware": Convolution(True, _scale_of_kernel, ()),
    "layer_scaled": Convolution(True, _scale_of_kernel, ("padding", "activation", "mask")),
    "scaled": Convolution(True, lambda filters: (filters, filters), ("dilation_rate", "groups")),
    # In addition to the scales, there is the learnt step of the inputs.
    "step": Convolution(True, lambda filters: (1, filters + 1), ()),
}


def check_convolution(kind: str, dilation_rate: int, options: Iterable[str]) -> None:
    """Raises a `ValueError` if the kind of convolution is unknown or does not have an option."""
    if kind not in CONVOLUTIONS:
        raise ValueError(f"kind={kind!r}: accepted are {', '.join(CONVOLUTIONS)}")
    accepted = CONVOLUTIONS[kind].options
    for name in [*options, *["dilation_rate"] * (dilation_rate > 1)]:
        if name not in accepted:
            raise ValueError(f"kind={kind!r}: takes no {name}; accepted are {', '.join(accepted) or 'no options'}")


def rows(architecture: Architecture, input_shape: Sequence[int], num_classes: int, widths: dict | None = None) -> list:
    """Counts the layers of the final network of an architecture.

    # Arguments
        architecture: A genotype or a space. In a space, the first candidates of widths and depths are used, and the
            layers of all candidate operations are listed.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        widths: Only in a template without cells: numbers of filters by the name of the width, which replace the widths
            of the architecture. They may be tensors.

    # Returns
        A list of pairs: a `Row`, and the operation to which it belongs. The operation is `None`, or a tuple of the name
        of a cell, the index of an edge, and the index of a candidate.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    templates.check(architecture, input_shape, num_classes)
    return count(decided(architecture), input_shape, num_classes, widths).rows


def decided(architecture: Architecture) -> Architecture:
    """Replaces the widths and depths of an architecture by their first candidates."""
    stages = (dataclasses.replace(s, widths=s.widths[:1], depths=s.depths[:1]) for s in architecture.stages)
    return dataclasses.replace(architecture, stages=tuple(stages))


def count(
    architecture: Architecture, input_shape: Sequence[int], num_classes: int, widths: dict | None = None
) -> Counter:
    """Returns a `Counter` that has counted a network. The architecture must list one candidate for each width and
    depth.
    """
    counter = Counter()
    height, width, channels = input_shape
    x = templates.features(counter, architecture, Features(height, width, channels), widths=widths)
    counter.classifier(x, num_classes)
    return counter
