"""The networks of BNAS: operations, cells, and the template. This module does not import TensorFlow."""

import functools
from collections.abc import Sequence
from typing import Any

from larq_nas.networks import blocks, cells, operations, stems, templates
from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.registry import Option, Template
from larq_nas.space.stages import nearest

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "bin_dil_conv_3x3",
    "bin_dil_conv_5x5",
    "bin_conv_3x3",
    "bin_conv_5x5",
)

_convolution = functools.partial(operations.convolution, kind="convolution", block=blocks.convolution_block)
operations.define(
    _convolution("bin_dil_conv_3x3", kernel_size=3, dilation_rate=2),
    _convolution("bin_dil_conv_5x5", kernel_size=5, dilation_rate=2),
    _convolution("bin_conv_3x3", kernel_size=3),
    _convolution("bin_conv_5x5", kernel_size=5),
)


def cell(
    v: Verbs,
    earlier: Features,
    previous: Features,
    topology: Cell,
    filters: int,
    *,
    reduction: bool = False,
    after_reduction: bool = False,
    affine_after_reduction: bool = True,
    skip: bool = True,
    choice: dict | None = None,
    normalize: bool = False,
    name: str = "",
) -> Features:
    """A BNAS cell: two inputs, concatenated nodes as output, and a shortcut from the previous cell's output.

    # Arguments
        v: The interpreter of the layer verbs.
        earlier: Output of the cell before the previous one, twice as high and wide as `previous` if `after_reduction`.
        previous: Output of the previous cell.
        topology: Edges and nodes.
        filters: Channels of each node.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        affine_after_reduction: Whether the preprocessing after a reduction has an affine BatchNorm.
        skip: Whether the inter-cell shortcut is added.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        normalize: See `mixed_edges.MixedEdges`.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4.2 (cell template)
    """
    final = choice is None
    inputs = [
        blocks.convolution_block(
            v,
            earlier,
            filters,
            3 if after_reduction else 1,
            2 if after_reduction else 1,
            affine=final and (affine_after_reduction or not after_reduction),
            binary=final,
            name=f"{name}_preprocess0",
        ),
        blocks.convolution_block(v, previous, filters, affine=final, binary=final, name=f"{name}_preprocess1"),
    ]
    edges = cells.Edges(v, topology, filters, choice, search_options={"normalize": normalize})
    output = edges.nodes(inputs, 2 if reduction else 1, name)
    if not skip:
        return output
    if reduction:
        previous = v.norm(previous, name=f"{name}_shortcut_norm")
        with v.block("float", previous, output.shape[-1], 2, 2, name=f"{name}_shortcut"):
            options: dict[str, Any] = {"kind": "float", "use_bias": True, "name": f"{name}_shortcut_conv"}
            previous = v.conv(previous, output.shape[-1], 2, 2, **options)
    return blocks.sum_block(v, [output, previous], f"{name}_skip")


def network(
    v: Verbs, architecture: Architecture, images: Features, choices: dict, normalize: bool = False, *, skip: bool
) -> Features:
    """Returns the features of a network of BNAS; see `registry.Template`."""
    large, filters = images.shape[1] >= stems.LARGE_IMAGE, architecture.stages[0].widths[0]
    if large:
        inputs = stems.imagenet_stem(v, images, filters)
    else:
        x = blocks.convolution_block(v, images, 3 * filters, 3, binary=False, name="stem")
        inputs = x, x, False
    own_cell = functools.partial(cell, affine_after_reduction=large, normalize=normalize)
    x = cells.chained(v, architecture, inputs, choices, own_cell, lambda index, stage: {"skip": skip and index > 0})
    return cells.normalized(v, x) if normalize else x


def shared_edges(
    state: Any,
    choice: Any,
    candidates: Sequence[str],
    count: int,
    filters: int,
    strides: int,
    *,
    normalize: bool = False,
    name: str,
) -> list:
    """Computes the edges that leave a state in one layer; see `registry.Template`."""
    # Imported here, because counting needs no TensorFlow.
    from larq_nas.methods.bnas.mixed_edges import MixedEdges

    return MixedEdges(filters, candidates, count, strides, normalize, name=name)([state, choice])


def _rounded(stages, multiple):
    """Rounds the widths of stages, which double from stage to stage."""
    return [nearest(stages[0].widths[0], multiple) << index for index in range(len(stages))]


_TEMPLATE = Template(
    "bnas",
    "bnas",
    network,
    inputs=2,
    operations=OPERATIONS,
    shared_edges=shared_edges,
    options=(Option("skip", (True, False)),),
    check=templates.check_sizes,
    normalize=True,
    round_widths=_rounded,
)
TEMPLATES = (_TEMPLATE,)
