"""The networks of BARS: cells, the template, and the layout of a network. This module does not import TensorFlow."""

from collections.abc import Sequence
from typing import Any

from larq_nas.methods.bars import blocks as bars_blocks
from larq_nas.networks import blocks, cells, stems, templates
from larq_nas.networks.cells import Widths, masked
from larq_nas.networks.templates import NetworkError
from larq_nas.networks.verbs import Features, SupernetVerbs
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.choices import depth_name, width_name
from larq_nas.space.registry import Option, Template
from larq_nas.space.stages import nearest

OPERATIONS = ("none", "shortcut", "residual_bin_conv_3x3")


def cell(
    v: SupernetVerbs,
    previous: Features,
    topology: Cell,
    filters: int,
    *,
    reduction: bool = False,
    skip: bool = True,
    choice: dict | None = None,
    widths: tuple[Widths, Widths] | None = None,
    name: str = "",
) -> Features:
    """A BARS cell: one input, binary preprocessing, concatenated nodes as output, and a shortcut around the whole cell.

    # Arguments
        v: The interpreter of the layer verbs.
        previous: Output of the previous cell.
        topology: Edges and nodes.
        filters: Channels of each node. The preprocessing has as many channels, or half as many if `reduction`.
        reduction: Whether the edges that leave the cell's input have strides 2 and double the channels.
        skip: Whether the shortcut around the cell is added.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        widths: If the width is searched, a pair: the `Widths` of the previous cell's output and of this cell.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2. Two details are not public: the kernel of the
          preprocessing, which is 1x1 here, and the shortcut around a reduction, which is a binary
          `blocks.strided_halves` here.
    """
    before, own = widths or (None, None)
    mask_input = (lambda x: masked(v, x, before)) if before else None
    inner = filters // 2 if reduction else filters
    x = bars_blocks.layer_scaled_block(v, previous, inner, mask=mask_input, name=f"{name}_preprocess")
    edges = cells.Edges(v, topology, filters, choice, search_options={"widths": own}, widths=own)
    output = edges.nodes([masked(v, x, own)], 2 if reduction else 1, name)
    if not skip:
        return output
    if reduction:
        previous = bars_blocks.shortcut_of_halves(v, previous, output.shape[-1], mask_input, f"{name}_shortcut")
    elif previous.shape[-1] != output.shape[-1]:
        previous = v.match_channels(previous, output.shape[-1], name=f"{name}_shortcut")
    return masked(v, blocks.sum_block(v, [output, previous], f"{name}_skip"), own)


def network(
    v: SupernetVerbs, architecture: Architecture, images: Features, choices: dict, *, cell_shortcut: bool
) -> Features:
    """Returns the features of a network of BARS; see `registry.Template`."""
    stages = architecture.stages
    widths = [_widths(architecture, index, choices) for index in range(len(stages))] + [None]
    opening, groups = cells_of(architecture, [max(stage.widths) for stage in stages], [max(s.depths) for s in stages])
    index = 0

    def add_cell(x, row, before, own):
        nonlocal index
        cell_name, filters, reduction = row
        options = {"reduction": reduction, "skip": cell_shortcut, "name": f"cell{index:02}"}
        index += 1
        both = own and (before, own)
        return cell(v, x, architecture.cell(cell_name), filters, choice=choices.get(cell_name), widths=both, **options)

    filters = max(stages[0].widths)
    large = images.shape[1] >= stems.LARGE_IMAGE
    x = stems.imagenet_stem(v, images, filters)[1] if large else stems.plain_stem(v, images, filters)
    x = masked(v, v.relu(x, name="stem_relu"), widths[0])
    x = blocks.float_block(v, x, len(architecture.cell(stages[0].cell).nodes) * filters, name="stem_out")
    x = masked(v, x, widths[0])
    for row in opening:
        x = add_cell(x, row, widths[0], widths[0])
    for number, (stage, (normal, reductions)) in enumerate(zip(stages, groups, strict=True)):
        v.stage(number)
        depth, own, following = choices.get(depth_name(number)), widths[number], widths[number + 1]
        *cell_widths, leaving = _cell_widths(v, stage.depths, own, following, depth)
        outputs = [x]
        for row, before, now in zip(normal, [own, *cell_widths], cell_widths, strict=False):
            outputs.append(add_cell(outputs[-1], row, before, now))
        x = outputs[-1]
        if depth is not None:
            reached = [outputs[candidate] for candidate in stage.depths]
            x = v.aggregate(reached, depth, name=f"stage{number}_aggregation")
        for row in reductions:
            x = add_cell(x, row, leaving, following)
    return x


def _widths(architecture, number, choices):
    choice = choices.get(width_name(number))
    # The channels of all tensors consist of groups, each as wide as a node of the first stage.
    return None if choice is None else Widths(architecture.stages[0].widths, choice)


def _cell_widths(v, depths, own, following, depth):
    """Returns the `Widths` of each cell of a stage, then of the stage's output."""
    if own is None or following is None:
        return [own] * (max(depths) + 1)
    if depth is None:
        return ([own] * (depths[0] - 1) + [following] * 2)[-depths[0] - 1 :] if depths[0] else [own]
    choices = v.cell_widths(depths, own.choice, following.choice, depth)
    return [Widths(own.candidates, choice) for choice in choices]


def cells_of(architecture: Architecture, widths: Sequence[int], depths: Sequence[int]) -> tuple[list, list]:
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


def shared_edges(
    state: Any,
    choice: Any,
    candidates: Sequence[str],
    count: int,
    filters: int,
    strides: int,
    *,
    widths: Widths | None = None,
    name: str,
) -> list:
    """Computes the edges that leave a state in one layer; see `registry.Template`."""
    # Imported here, because counting needs no TensorFlow.
    from larq_nas.methods.bars.residual_edges import ResidualEdges

    searched, weights = (list(widths.candidates), [widths.choice]) if widths else (None, [])
    layer = ResidualEdges(state.shape[-1], candidates, count, strides, searched, name=name)
    return layer([state, choice, *weights])


def check(architecture: Architecture, large: bool) -> None:
    """Raises a `NetworkError` in the cases of `templates.check_stem` and `templates.check_layout`."""
    templates.check_stem(architecture, large)
    templates.check_layout(architecture)


def _rounded(stages, multiple):
    """Rounds the widths of stages. The cell before a reduction has half as many filters as the reduction."""
    return [nearest(stage.widths[0], 2 * multiple if stage.reduction else multiple) for stage in stages]


_TEMPLATE = Template(
    "bars",
    "bars",
    network,
    inputs=1,
    operations=OPERATIONS,
    shared_edges=shared_edges,
    options=(Option("cell_shortcut", (True, False)),),
    open_stages=True,
    check=check,
    round_widths=_rounded,
)
TEMPLATES = (_TEMPLATE,)
