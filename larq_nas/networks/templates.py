"""What all templates have in common: the features of their networks, and the checks.

The network of a template is a function in the package of its method. Its first argument is an interpreter of the layer
verbs. `networks.build` passes an interpreter that makes Keras layers, and `counting.rows` one that counts. This module
does not import TensorFlow.
"""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from larq_nas.networks.stems import LARGE_IMAGE, STEM_HALVINGS
from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space.architecture import Architecture


class NetworkError(ValueError):
    """A network cannot be built from the given architecture and shape."""


def features(
    v: Verbs,
    architecture: Architecture,
    images: Features,
    choices: dict | None = None,
    *,
    widths: dict | None = None,
    **options: Any,
) -> Features:
    """Computes the features that the classifier of a network reads.

    # Arguments
        v: The interpreter of the layer verbs.
        architecture: An architecture. Its first stage must be wide enough for the stem; see `check`.
        images: Input features.
        choices: For the network of a space, a dictionary of choice weights with the keys of `choices.choice_shapes`.
            The value for a cell is a dictionary: for each state, a tensor of weights for the edges that leave the
            state.
        widths: Only in a template without cells: numbers of filters by the name of the width. By default, the
            widths of the architecture are used.
        options: `normalize` for BNAS and BATS, `binary` for templates without cells; see `networks.build`.

    # Returns
        Features.
    """
    if widths is not None:
        options["widths"] = widths
    options |= {option.name: architecture.option(option.name) for option in architecture.kind.options}
    return architecture.kind.network(v, architecture, images, choices or {}, **options)


def halvings(architecture: Architecture) -> tuple:
    """Returns how many times a network halves its images, and how many more times if the images are large."""
    if architecture.kind.halvings is not None:
        return architecture.kind.halvings
    return sum(stage.reduction is not None for stage in architecture.stages), STEM_HALVINGS


def check(architecture: Architecture, input_shape: Sequence[int], num_classes: int) -> None:
    """Checks that an architecture has a network for the given images and classes.

    # Arguments
        architecture: A genotype or a space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Raises
        NetworkError: If the network cannot be built.
    """
    shape = check_shape(input_shape, *halvings(architecture))
    check_classes(num_classes)
    check_architecture(architecture, shape[0] >= LARGE_IMAGE)


def check_architecture(architecture: Architecture, large: bool) -> None:
    """Checks that an architecture has a network.

    # Arguments
        architecture: A genotype or a space.
        large: Whether the images are large.

    # Raises
        NetworkError: If the network cannot be built.
    """
    if architecture.kind.check is not None:
        architecture.kind.check(architecture, large)
    elif architecture.kind.inputs:
        check_sizes(architecture, large)


def check_shape(input_shape: Sequence[int] | int, halvings: int, stem_halvings: int) -> tuple[int, ...]:
    """Checks the shape of images.

    # Arguments
        input_shape: Height, width and channels of the images.
        halvings: How many times the network halves the images.
        stem_halvings: How many more times the stem of large images halves them.

    # Returns
        Height, width and channels as a tuple of integers.

    # Raises
        NetworkError: If the images have no fixed size or are too small.
    """
    input_shape = tuple(input_shape) if isinstance(input_shape, Iterable) else (input_shape,)
    integers = all(isinstance(size, numbers.Integral) and size > 0 for size in input_shape)
    if len(input_shape) != 3 or not integers:
        raise NetworkError(
            f"input_shape {input_shape} is not (height, width, channels) of positive integers; binary "
            "convolutions need a fixed image size"
        )
    halvings += stem_halvings if input_shape[0] >= LARGE_IMAGE else 0
    if min(input_shape[:2]) < 2**halvings:
        raise NetworkError(
            f"input_shape {input_shape} is too small: the network halves images {halvings} times and needs at "
            f"least {2**halvings} pixels in height and width"
        )
    return tuple(int(size) for size in input_shape)


def check_classes(num_classes: object) -> None:
    """Raises a `NetworkError` unless there is at least one class."""
    if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise NetworkError(f"{num_classes!r} is no number of classes; give a positive integer")


def check_sizes(architecture: Architecture, large: bool) -> None:
    """Raises a `NetworkError` if a stage has several widths or depths, or if the first stage is too narrow for the
    stem.
    """
    if any(len(candidates) > 1 for stage in architecture.stages for candidates in (stage.widths, stage.depths)):
        raise NetworkError("only cells can be searched: every stage must list one width and one depth")
    check_stem(architecture, large)


def check_stem(architecture: Architecture, large: bool) -> None:
    """Raises a `NetworkError` if the first stage is too narrow for the stem."""
    if large and min(architecture.stages[0].widths) < 2:
        raise NetworkError(
            "stages[0].widths: the stem of large images has half as many filters, so at least 2 are needed"
        )


def check_layout(architecture: Architecture) -> None:
    """Raises a `NetworkError` if widths or depths are searched and the tensors of different stages would not fit
    together.
    """
    stages = architecture.stages
    if all(len(stage.widths) == len(stage.depths) == 1 for stage in stages):
        return
    for index, stage in enumerate(stages):
        if (stage.reduction is None) != (index == 0):
            raise NetworkError(
                f"stages[{index}].reduction: where widths or depths are searched, each stage but the first has one"
            )
        expected = tuple(width << index for width in stages[0].widths)
        if stage.widths != expected:
            raise NetworkError(
                f"stages[{index}].widths: must double from stage to stage where widths or depths are searched, "
                f"and be {expected}"
            )
