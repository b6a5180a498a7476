"""Parts of networks whose costs depend on few choices. This module does not import TensorFlow."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from larq_nas.networks import counting, templates
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import depth_name, width_name


class Segment(NamedTuple):
    """A part of a network whose costs depend on few choices.

    # Arguments
        choices: The candidates of the widths and depths that affect the costs, by the name of the choice.
        rows: A function of one candidate for each of the choices. It returns the rows of this part, as
            `counting.rows` does for a whole network.
    """

    choices: dict
    rows: Callable


def split(space: Architecture, input_shape: Sequence[int], num_classes: int) -> list:
    """Splits the final network of an architecture into parts. The costs of the network are the sum over the parts.

    # Arguments
        space: A genotype or a space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        A list of `Segment`s. If widths or depths are searched, there is one segment for each stage, and its layers
        depend on the width and depth of the stage and on the width of the following stage. Otherwise, there is one
        segment.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    templates.check(space, input_shape, num_classes)
    stages = space.stages
    if not space.kind.open_stages or all(len(stage.widths) == len(stage.depths) == 1 for stage in stages):
        return [Segment({}, lambda: counting.rows(space, input_shape, num_classes))]
    found = []
    for number, stage in enumerate(stages):
        choices = {width_name(number): stage.widths, depth_name(number): stage.depths}
        for later in stages[number + 1 : number + 2]:
            choices[width_name(number + 1)] = later.widths
        found.append(Segment(choices, functools.partial(_rows_of_stage, space, input_shape, num_classes, number)))
    return found


def _rows_of_stage(space, input_shape, num_classes, number, width, depth, following=None):
    stages = list(counting.decided(space).stages)
    stages[number] = dataclasses.replace(stages[number], widths=(width,), depths=(depth,))
    if following is not None:
        stages[number + 1] = dataclasses.replace(stages[number + 1], widths=(following,))
    counter = counting.count(dataclasses.replace(space, stages=tuple(stages)), input_shape, num_classes)
    return [row for row, stage in zip(counter.rows, counter.stages, strict=True) if stage == number]
