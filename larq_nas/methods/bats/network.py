"""The networks of BATS: cells and the template. This module does not import TensorFlow."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from larq_nas.methods.bats.blocks import SHUFFLE, factorized_reduce, preprocess
from larq_nas.networks import cells, stems, templates
from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.registry import Option, Template

if TYPE_CHECKING:
    import tensorflow as tf

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip",
    "group_conv_3x3",
    "group_conv_5x5",
    "dil_group_conv_3x3",
    "dil_group_conv_5x5",
)


def cell(
    v: Verbs,
    earlier: Features,
    previous: Features,
    topology: Cell,
    filters: int,
    *,
    groups: int = 1,
    quantization: str = "binary",
    preprocess_quantization: str = "binary",
    reduction: bool = False,
    after_reduction: bool = False,
    choice: dict | None = None,
    normalize: bool = False,
    name: str = "",
) -> Features:
    """A BATS cell: two preprocessed inputs, and concatenated nodes as output.

    # Arguments
        v: The interpreter of the layer verbs.
        earlier: Output of the cell before the previous one, twice as high and wide as `previous` if `after_reduction`.
        previous: Output of the previous cell.
        topology: Edges and nodes.
        filters: Channels of each node.
        groups: Number of groups of the convolutions on edges.
        quantization: What the operations quantize, one of `blocks.QUANTIZATIONS`.
        preprocess_quantization: What the preprocessing quantizes, one of `blocks.QUANTIZATIONS`.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        choice: If the cell is searched, a dictionary of choice weights: for each state, a tensor for the edges that
            leave the state, of shape `(edges, candidates)`.
        normalize: Whether each state is normalized before edges read it. Otherwise, the input that a convolution adds
            to its output lets the features grow from node to node, and with them the influence of late nodes.
        name: Prefix of the layers' names.

    # Returns
        Features of `nodes * filters` channels, half as high and wide as `previous` if `reduction`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711). The preprocessing follows the first author's library.
    """
    options: dict[str, Any] = {"quantization": preprocess_quantization, "affine": choice is None}
    enter = factorized_reduce if after_reduction else preprocess
    inputs = [
        enter(v, earlier, filters, name=f"{name}_preprocess0", **options),
        preprocess(v, previous, filters, name=f"{name}_preprocess1", **options),
    ]
    edges = cells.Edges(
        v, topology, filters, choice, {"groups": groups, "quantization": quantization}, normalize=normalize
    )
    return edges.nodes(inputs, 2 if reduction else 1, name)


def network(
    v: Verbs,
    architecture: Architecture,
    images: Features,
    choices: dict,
    *,
    preprocess: str,
    binarize: bool,
    normalize: bool = False,
) -> Features:
    """Returns the features of a network of BATS; see `registry.Template`."""
    filters = architecture.stages[0].widths[0]
    if images.shape[1] >= stems.LARGE_IMAGE:
        inputs = stems.imagenet_stem(v, images, filters, stem_groups(filters))
    else:
        x = v.relu(stems.plain_stem(v, images, 3 * filters), name="stem_relu")
        inputs = x, x, False
    # A search of BATS uses float kernels.
    quantization = "real" if not binarize else "activations" if choices else "binary"
    preprocess_quantization = "real" if preprocess == "float" else quantization
    own_cell = functools.partial(
        cell, quantization=quantization, preprocess_quantization=preprocess_quantization, normalize=normalize
    )
    x = cells.chained(v, architecture, inputs, choices, own_cell, lambda index, stage: {"groups": stage.groups})
    return cells.normalized(v, x) if normalize else x


def stem_groups(filters: int) -> int:
    """Returns the number of groups of the second and third convolution in BATS's stem for large images.

    # References
        - The library of the first author of [BATS](https://arxiv.org/abs/2003.01711) uses a twentieth of the filters,
          which must divide half of the filters. Here it is the next smaller number that does.
    """
    return next(groups for groups in range(max(filters // 20, 1), 0, -1) if filters // 2 % groups == 0)


def shared_edges(
    state: Any,
    choice: Any,
    candidates: Sequence[str],
    count: int,
    filters: int,
    strides: int,
    *,
    groups: int = 1,
    quantization: str = "activations",
    name: str,
) -> list:
    """Computes the edges that leave a state in one layer; see `registry.Template`."""
    # Imported here, because counting needs no TensorFlow.
    from larq_nas.methods.bats.grouped_edges import GroupedEdges

    return GroupedEdges(filters, candidates, count, strides, groups, quantization != "real", name=name)([state, choice])


def check(architecture: Architecture, large: bool) -> None:
    """Raises a `NetworkError` in the cases of `templates.check_sizes`, or if a stage's channels cannot be shuffled."""
    templates.check_sizes(architecture, large)
    for index, stage in enumerate(architecture.stages):
        if stage.widths[0] % SHUFFLE:
            raise templates.NetworkError(f"stages[{index}].widths: {stage.widths[0]} is no multiple of {SHUFFLE}")


def with_auxiliary_classifier(
    network: "tf.keras.Model", architecture: Architecture, num_classes: int
) -> "tf.keras.Model":
    """Adds a second classifier to a network for training; see `auxiliary.with_auxiliary_classifier`."""
    # Imported here, because counting needs no TensorFlow.
    from larq_nas.methods.bats import auxiliary

    return auxiliary.with_auxiliary_classifier(network, architecture, num_classes)


_TEMPLATE = Template(
    "bats",
    "bats",
    network,
    inputs=2,
    operations=OPERATIONS,
    shared_edges=shared_edges,
    # If `binarize` is false, nothing is binary, and `preprocess` has no effect.
    options=(Option("preprocess", ("binary", "float")), Option("binarize", (True, False))),
    grouped=True,
    check=check,
    normalize=True,
    auxiliary=with_auxiliary_classifier,
)
TEMPLATES = (_TEMPLATE,)
