"""The networks of the templates, from the images to the features that the classifier reads.

Each network is a function, whose first argument is an interpreter of the layer verbs. `networks.build` passes an
interpreter that makes Keras layers, and `counting.rows` one that counts. This module does not import TensorFlow.
"""

import functools
import numbers
from collections.abc import Iterable

from larq_nas.networks import blocks, cells, chains
from larq_nas.space.architecture import Architecture, sequence
from larq_nas.space.registry import BUILT_IN, Option, Template

# Images of at least this height enter through a stem that halves them this number of times.
LARGE_IMAGE, STEM_HALVINGS = 128, 3


class NetworkError(ValueError):
    """A network cannot be built from the given architecture and shape."""


def features(v, architecture: Architecture, images, choices=None, *, widths=None, **options):
    """Computes the features that the classifier of a network reads.

    # Arguments
        v: The interpreter of the layer verbs.
        architecture: An architecture. Its first stage must be wide enough for the stem; see `check`.
        images: Input features.
        choices: For the network of a space, a dictionary of choice weights with the keys of `choice_shapes`. The value
            for a cell is a dictionary: for each state, a tensor of weights for the edges that leave the state.
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


def check(architecture: Architecture, input_shape, classes: int):
    """Checks that an architecture has a network for the given images and classes.

    # Arguments
        architecture: A genotype or a space.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Raises
        NetworkError: If the network cannot be built.
    """
    shape = check_shape(input_shape, *halvings(architecture))
    check_classes(classes)
    check_architecture(architecture, shape[0] >= LARGE_IMAGE)


def check_architecture(architecture: Architecture, large: bool):
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


def check_shape(input_shape, halvings, stem_halvings):
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


def check_classes(classes):
    """Raises a `NetworkError` unless there is at least one class."""
    if not isinstance(classes, numbers.Integral) or classes < 1:
        raise NetworkError(f"{classes!r} is no number of classes; give a positive integer")


def check_sizes(architecture: Architecture, large: bool):
    """Raises a `NetworkError` if a stage has several widths or depths, or if the first stage is too narrow for the
    stem.
    """
    if any(len(candidates) > 1 for stage in architecture.stages for candidates in (stage.widths, stage.depths)):
        raise NetworkError("only cells can be searched: every stage must list one width and one depth")
    check_stem(architecture, large)


def check_stem(architecture: Architecture, large: bool):
    """Raises a `NetworkError` if the first stage is too narrow for the stem."""
    if large and min(architecture.stages[0].widths) < 2:
        raise NetworkError(
            "stages[0].widths: the stem of large images has half as many filters, so at least 2 are needed"
        )


def check_bats(architecture: Architecture, large: bool):
    """Raises a `NetworkError` in the cases of `check_sizes`, or if the channels of a stage cannot be shuffled."""
    check_sizes(architecture, large)
    for index, stage in enumerate(architecture.stages):
        if stage.widths[0] % blocks.SHUFFLE:
            raise NetworkError(f"stages[{index}].widths: {stage.widths[0]} is no multiple of {blocks.SHUFFLE}")


def check_bars(architecture: Architecture, large: bool):
    """Raises a `NetworkError` in the cases of `check_stem` and `check_layout`."""
    check_stem(architecture, large)
    check_layout(architecture)


def check_layout(architecture: Architecture):
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


def width_name(number: int) -> str:
    """Returns the name of the choice of a stage's width."""
    return f"stage{number}_width"


def depth_name(number: int) -> str:
    """Returns the name of the choice of a stage's depth."""
    return f"stage{number}_depth"


def choice_shapes(architecture: Architecture) -> dict:
    """Returns the shapes of the choice weights of an architecture's network, by name; see `networks.build`.

    # Arguments
        architecture: A genotype or a space.

    # Returns
        A dictionary, which is empty for a genotype.

    # Raises
        NetworkError: If the edges of a searched cell list different operations.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    # Decided cells are skipped, because their edges may list different operations.
    for cell in architecture.cells:
        if all(node.keep == len(node.edges) for node in cell.nodes) and all(len(e.operations) == 1 for e in cell.edges):
            continue
        lists = {edge.operations for edge in cell.edges}
        if len(lists) != 1:
            raise NetworkError(
                f"cells.{cell.name}: all edges of a searched cell must list the same operations; "
                f"found {len(lists)} different lists"
            )
        shapes[cell.name] = (len(cell.edges), len(lists.pop()))
    for index, stage in enumerate(architecture.stages):
        for name, candidates in ((width_name(index), stage.widths), (depth_name(index), stage.depths)):
            if len(candidates) > 1:
                shapes[name] = (len(candidates),)
    return shapes


# --- stems ---------------------------------------------------------------------------------------------------


def plain_stem(v, images, filters):
    """A stem for small images: a float convolution that keeps their size."""
    return blocks.float_block(v, images, filters, 3, name="stem")


def imagenet_stem0(v, images, filters, groups=1):
    """The first part of the stem for large images: two float convolutions that each halve the images."""
    x = images
    for index, width in enumerate((filters // 2, filters)):
        with v.block("float", x, width, 3, 2, groups=groups if index else 1, name=f"stem0_{index}"):
            options = {"kind": "float", "groups": groups if index else 1}
            x = v.conv(x, width, 3, 2, name=f"stem0_conv{index}", **options)
            x = v.norm(x, name=f"stem0_norm{index}")
        x = x if index else v.relu(x, name="stem0_relu")
    return x


def _imagenet_stem(v, images, filters, groups=1):
    earlier = imagenet_stem0(v, images, filters, groups)
    x = blocks.float_block(v, v.relu(earlier, name="stem1_relu"), filters, 3, 2, groups=groups, name="stem1")
    # The first input of the first cell is twice as high and wide as the second one, as after a reduction.
    return earlier, x, True


# --- networks of cells ---------------------------------------------------------------------------------------


def _bnas(v, architecture, images, choices, normalize=False):
    large, filters = images.shape[1] >= LARGE_IMAGE, architecture.stages[0].widths[0]
    if large:
        inputs = _imagenet_stem(v, images, filters)
    else:
        x = blocks.convolution_block(v, images, 3 * filters, 3, binary=False, name="stem")
        inputs = x, x, False
    cell = functools.partial(cells.bnas, affine_after_reduction=large, normalize=normalize)
    x = _chained(v, architecture, inputs, choices, cell, lambda index, stage: {"skip": index > 0})
    return _normalized(v, x) if normalize else x


def _normalized(v, x):
    # Cells with shortcuts sum up their features. Without normalization, the sum saturates the classifier, and a search
    # judges candidates only by the size of their outputs.
    return v.norm(x, affine=False, name="features_norm")


def _chained(v, architecture, inputs, choices, cell, own):
    """Returns the output of the last cell of a chain of cells that each read two outputs.

    # Arguments
        v: The interpreter of the layer verbs.
        architecture: The architecture.
        inputs: The two inputs of the first cell, and whether the first one is twice as high and wide as the second one.
        choices: Choice weights.
        cell: The function of a cell, `cells.bnas` or `cells.bats`.
        own: A function of a cell's number and stage that returns arguments that only this kind of cell has.
    """
    earlier, previous, reduced = inputs
    for index, (stage, cell_name, reduction) in enumerate(sequence(architecture)):
        output = cell(
            v,
            earlier,
            previous,
            architecture.cell(cell_name),
            stage.widths[0],
            reduction=reduction,
            after_reduction=reduced,
            choice=choices.get(cell_name),
            name=f"cell{index:02}",
            **own(index, stage),
        )
        earlier, previous, reduced = previous, output, reduction
    return previous


def _bats(v, architecture, images, choices, *, preprocess, binarize, normalize=False):
    filters = architecture.stages[0].widths[0]
    if images.shape[1] >= LARGE_IMAGE:
        inputs = _imagenet_stem(v, images, filters, stem_groups(filters))
    else:
        x = v.relu(plain_stem(v, images, 3 * filters), name="stem_relu")
        inputs = x, x, False
    # A search of BATS uses float kernels.
    form = "real" if not binarize else "activations" if choices else "binary"
    cell = functools.partial(cells.bats, form=form, preprocess_form="real" if preprocess == "float" else form)
    x = _chained(v, architecture, inputs, choices, cell, lambda index, stage: {"groups": stage.groups})
    return _normalized(v, x) if normalize else x


def stem_groups(filters: int) -> int:
    """Returns the number of groups of the second and third convolution in BATS's stem for large images.

    # References
        - The library of the first author of [BATS](https://arxiv.org/abs/2003.01711) uses a twentieth of the filters,
          which must divide half of the filters. Here it is the next smaller number that does.
    """
    return next(groups for groups in range(max(filters // 20, 1), 0, -1) if filters // 2 % groups == 0)


def _bars(v, architecture, images, choices, *, cell_shortcut):
    stages = architecture.stages
    widths = [_widths(architecture, index, choices) for index in range(len(stages))] + [None]
    opening, groups = bars_cells(architecture, [max(stage.widths) for stage in stages], [max(s.depths) for s in stages])
    index = 0

    def cell(x, row, before, own):
        nonlocal index
        cell_name, filters, reduction = row
        options = {"reduction": reduction, "skip": cell_shortcut, "name": f"cell{index:02}"}
        index += 1
        both = own and (before, own)
        return cells.bars(
            v, x, architecture.cell(cell_name), filters, choice=choices.get(cell_name), widths=both, **options
        )

    filters = max(stages[0].widths)
    large = images.shape[1] >= LARGE_IMAGE
    x = _imagenet_stem(v, images, filters)[1] if large else plain_stem(v, images, filters)
    x = cells.masked(v, v.relu(x, name="stem_relu"), widths[0])
    x = blocks.float_block(v, x, len(architecture.cell(stages[0].cell).nodes) * filters, name="stem_out")
    x = cells.masked(v, x, widths[0])
    for row in opening:
        x = cell(x, row, widths[0], widths[0])
    for number, (stage, (normal, reductions)) in enumerate(zip(stages, groups, strict=True)):
        v.stage(number)
        depth, own, following = choices.get(depth_name(number)), widths[number], widths[number + 1]
        *cell_widths, leaving = _cell_widths(v, stage.depths, own, following, depth)
        outputs = [x]
        for row, before, now in zip(normal, [own, *cell_widths], cell_widths, strict=False):
            outputs.append(cell(outputs[-1], row, before, now))
        x = outputs[-1]
        if depth is not None:
            reached = [outputs[candidate] for candidate in stage.depths]
            x = v.aggregate(reached, depth, name=f"stage{number}_aggregation")
        for row in reductions:
            x = cell(x, row, leaving, following)
    return x


def _widths(architecture, number, choices):
    choice = choices.get(width_name(number))
    # The channels of all tensors consist of groups, each as wide as a node of the first stage.
    return None if choice is None else cells.Widths(architecture.stages[0].widths, choice)


def _cell_widths(v, depths, own, following, depth):
    """Returns the `Widths` of each cell of a stage, then of the stage's output."""
    if own is None or following is None:
        return [own] * (max(depths) + 1)
    if depth is None:
        return ([own] * (depths[0] - 1) + [following] * 2)[-depths[0] - 1 :] if depths[0] else [own]
    choices = v.cell_widths(depths, own.choice, following.choice, depth)
    return [cells.Widths(own.candidates, choice) for choice in choices]


def bars_cells(architecture: Architecture, widths, depths):
    """Returns the cells of a BARS network with given widths and depths.

    The last cell before a reduction has half as many filters as the reduction, regardless of the width of its own
    stage. A stage of depth 0 consists only of its reduction, if it has one. The paper does not define this case.

    # Arguments
        architecture: The cells and stages.
        widths: Filters of a node for each stage.
        depths: Number of normal cells for each stage.

    # Returns
        A list of the cells before the first stage: its reduction or none. Then a list with a pair for each stage: its
        normal cells, and the cells between this stage and the following one: a reduction or none. Each cell is a tuple
        of its name, the filters of a node, and whether the cell is a reduction.

    # Raises
        NetworkError: If a reduction has an odd number of filters.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.1
    """
    reductions = []
    for index, (stage, width) in enumerate(zip(architecture.stages, widths, strict=True)):
        if stage.reduction and width % 2:
            raise NetworkError(f"stages[{index}].widths: {width} filters behind a reduction must be even")
        reductions.append([(stage.reduction, width, True)] if stage.reduction else [])
    groups = []
    for stage, width, depth, after in zip(architecture.stages, widths, depths, [*reductions[1:], []], strict=True):
        last = after[0][1] // 2 if after else width
        groups.append(([(stage.cell, width, False)] * (depth - 1) + [(stage.cell, last, False)] * (depth > 0), after))
    return reductions[0], groups


# --- networks without cells ----------------------------------------------------------------------------------


def _chain(v, architecture, images, choices, widths=None, binary=True):
    filters = {stage.cell: max(stage.widths) for stage in architecture.stages} if widths is None else widths
    masks = {
        stage.cell: (stage.widths, choices[width_name(index)])
        for index, stage in enumerate(architecture.stages)
        if width_name(index) in choices
    }
    layers = chains.Layers(v, filters, masks, binary)
    return chains.BODIES[architecture.template](layers, images, images.shape[1] >= LARGE_IMAGE)


# --- all templates -------------------------------------------------------------------------------------------

BNAS = Template(
    "bnas",
    "bnas",
    _bnas,
    inputs=2,
    operations=(
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "bin_dil_conv_3x3",
        "bin_dil_conv_5x5",
        "bin_conv_3x3",
        "bin_conv_5x5",
    ),
    shared_edges="mixed",
    check=check_sizes,
    normalize=True,
)
BARS = Template(
    "bars",
    "bars",
    _bars,
    inputs=1,
    operations=("none", "shortcut", "residual_bin_conv_3x3"),
    shared_edges="residual",
    options=(Option("cell_shortcut", (True, False)),),
    open_stages=True,
    check=check_bars,
)
BATS = Template(
    "bats",
    "bats",
    _bats,
    inputs=2,
    operations=(
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip",
        "group_conv_3x3",
        "group_conv_5x5",
        "dil_group_conv_3x3",
        "dil_group_conv_5x5",
    ),
    shared_edges="grouped",
    # If `binarize` is false, nothing is binary, and `preprocess` has no effect.
    options=(Option("preprocess", ("binary", "float")), Option("binarize", (True, False))),
    grouped=True,
    check=check_bats,
    normalize=True,
)


def _chain_template(name):
    sizes = {"widths": chains.WIDTHS[name], "halvings": chains.HALVINGS[name]}
    return Template(name, "dms", _chain, full_precision=True, **sizes)


for _template in (BNAS, BARS, BATS, *map(_chain_template, chains.WIDTHS)):
    BUILT_IN[_template.name] = _template
