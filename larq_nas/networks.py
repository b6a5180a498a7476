"""From an `Architecture` to a Keras model: stem, stages, head.

```python
from larq_nas import networks, zoo

model = networks.build(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)
```

`build` makes the final network of a genotype and the supernet of a space alike. The network of a space has further
inputs: for every searched cell, by its name, the weights with which candidate operations are mixed.
"""

import functools
import numbers
from collections.abc import Iterable

import tensorflow as tf

from larq_nas import cells, chains, grouped, macro, operations, quiet
from larq_nas.architecture import CHAINS, Architecture, sequence
from larq_nas.operations import Operation, batch_normalization, convolution_block, float_conv
from larq_nas.quantizers import FloatKernel

layers = tf.keras.layers

AUXILIARY_POOL = 5
# From this height on, images enter through a stem that shrinks them eightfold.
LARGE_IMAGE, STEM_HALVINGS = 128, 3


class NetworkError(ValueError):
    """A network cannot be built from the given architecture and shape."""


def build(
    architecture: Architecture,
    input_shape=(32, 32, 3),
    classes=10,
    *,
    input_tensor=None,
    include_top=True,
    drop_path=False,
    binary=True,
    normalize=False,
    name=None,
) -> tf.keras.Model:
    """Builds the network of an architecture.

    # Arguments
        architecture: A genotype, or a space for the network of a supernet.
        input_shape: Height, width and channels of the images. From 128 pixels on the stem is the one of the
            ImageNet networks, which shrinks images eightfold.
        classes: Number of classes.
        input_tensor: Optional Keras tensor to use as image input, in place of `input_shape`.
        include_top: Whether to end in pooling and a softmax over the classes, or in the last cell's output.
        drop_path: Whether a `DropPath` layer, of rate 0 until set, follows every operation of the cells but identities.
        binary: Whether inner convolutions are binary; only VGG-11 and ResNet-18 can be float.
        normalize: Whether a BatchNorm without scale and offset precedes the classifier in the network of a space of
            BNAS or BATS, and follows the convolutions of BNAS.
        name: Name of the model.

    # Returns
        A functional model of the images. If the architecture is not decided, its inputs are the images and choice
        weights: for each cell that is open, by its name, of shape `(edges, candidates)`; for each stage whose width
        or depth is open, by the names `stage0_width`, `stage0_depth` …, of shape `(candidates,)`.

    # Raises
        NetworkError: If the template cannot make a network of the architecture or the shape.
    """
    images = start(input_shape, input_tensor, *halvings(architecture))
    choices = _choices(architecture)
    by_state = {
        name: cells.by_state(architecture.cell(name), choice) if choice.shape.rank == 2 else choice
        for name, choice in choices.items()
    }
    if architecture.template in CHAINS:
        if drop_path:
            raise NetworkError(
                f"drop_path: is for networks of cells, not for {architecture.template}; use --drop_path=0"
            )
        widths = [choices.get(width_name(index)) for index in range(len(architecture.stages))]
        x = chains.build(architecture, images, widths, images.shape[1] >= LARGE_IMAGE, binary)
    elif binary:
        options = {"normalize": True} if normalize and choices else {}
        x = TEMPLATES[architecture.template](architecture, images, by_state, drop_path, **options)
    else:
        raise NetworkError(f"binary=False: only {', '.join(CHAINS)} can be float, not {architecture.template}")
    return finish(images, x, classes, choices, input_tensor=input_tensor, include_top=include_top, name=name)


def with_float_kernels(network: tf.keras.Model) -> tf.keras.Model:
    """The same network with float kernels behind its binary activations, for the first of two stages of training.

    # Arguments
        network: What `build` gives for a genotype.

    # Returns
        A model whose layers and weights have the same names and shapes.
    """

    def clone(layer):
        config = layer.get_config()
        if config.get("kernel_quantizer"):
            config["kernel_quantizer"] = FloatKernel()
        return layer.__class__.from_config(config)

    return tf.keras.models.clone_model(network, clone_function=clone)


def with_auxiliary_classifier(network: tf.keras.Model, architecture: Architecture, classes: int) -> tf.keras.Model:
    """A network of BATS with a second classifier behind its last reduction, for training.

    # Arguments
        network: What `build` gives for a genotype of `bats`.
        architecture: The genotype.
        classes: Number of classes.

    # Returns
        A model of two outputs that shares the layers of the network.

    # Raises
        NetworkError: If the images are too small for it.

    # References
        - The library of the first author of [BATS](https://arxiv.org/abs/2003.01711). It leaves open which of these
          convolutions are binary; here all are float.
    """
    index = max(i for i, (*_, reduction) in enumerate(sequence(architecture)) if reduction)
    x = network.get_layer(f"cell{index:02}_concat").output
    if min(x.shape[1:3]) < AUXILIARY_POOL + 1:
        raise NetworkError(
            f"auxiliary classifier: pools {AUXILIARY_POOL}x{AUXILIARY_POOL} pixels of features of {x.shape[1:3]}; give "
            "larger images, e.g. --image_size=32, or none of its weight"
        )
    strides = 2 if network.input_shape[1] >= LARGE_IMAGE else 3
    x = layers.AveragePooling2D(AUXILIARY_POOL, strides, name="auxiliary_pool")(x)
    x = grouped.preprocess(x, 128, form="real", name="auxiliary_first")
    x = batch_normalization(name="auxiliary_second_norm")(x)
    x = layers.Conv2D(768, min(2, *x.shape[1:3]), use_bias=False, name="auxiliary_second_conv")(x)
    x = layers.Flatten(name="auxiliary_flat")(grouped.prelu("auxiliary_second_prelu")(x))
    x = layers.Dense(classes, activation="softmax", dtype="float32", name="auxiliary_classifier")(x)
    return tf.keras.Model(network.input, [network.output, x])


def start(input_shape, input_tensor, halvings, stem_halvings):
    """The images that a network takes; arguments as for `build` and `check_shape`."""
    input_shape = check_shape(input_shape if input_tensor is None else input_tensor.shape[1:], halvings, stem_halvings)
    return layers.Input(input_shape, name="images") if input_tensor is None else input_tensor


def finish(images, x, classes, choices=None, *, input_tensor=None, include_top=True, name=None) -> tf.keras.Model:
    """The model from `images` to `x`, or from there to a softmax over the classes if `include_top`."""
    if include_top:
        check_classes(classes)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dense(
            classes,
            activation="softmax",
            kernel_initializer=operations.uniform_kernel(),
            bias_initializer=operations.uniform_bias(x.shape[-1]),
            dtype="float32",
            name="classifier",
        )(x)
    if input_tensor is not None:
        images = tf.keras.utils.get_source_inputs(input_tensor)[0]
    inputs = {"images": images, **choices} if choices else images
    # Keras takes the first axis of choice weights for one of examples.
    with quiet.log("incompatible static batch sizes"):
        return tf.keras.Model(inputs, x, name=name)


def halvings(architecture: Architecture) -> tuple:
    """How often a network halves its images, and how often the stem of large images halves them before."""
    if architecture.template in CHAINS:
        return chains.HALVINGS[architecture.template]
    return sum(stage.reduction is not None for stage in architecture.stages), STEM_HALVINGS


def check_shape(input_shape, halvings, stem_halvings):
    """Checks the shape of images.

    # Arguments
        input_shape: Their height, width and channels.
        halvings: How often the network halves them.
        stem_halvings: How often the stem of large images halves them before.

    # Returns
        Height, width and channels.

    # Raises
        NetworkError: If they have no fixed size or are too small.
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
    """Raises `NetworkError` unless there is at least one class."""
    if not isinstance(classes, numbers.Integral) or classes < 1:
        raise NetworkError(f"{classes!r} is no number of classes; give a positive integer")


def check_sizes(architecture: Architecture, large: bool):
    """Raises `NetworkError` if a stage leaves its width or depth open, or is too narrow for the stem."""
    if any(len(candidates) > 1 for stage in architecture.stages for candidates in (stage.widths, stage.depths)):
        raise NetworkError("only cells can be searched: every stage must list one width and one depth")
    check_stem(architecture, large)


def check_stem(architecture: Architecture, large: bool):
    """Raises `NetworkError` if the first stage is too narrow for the stem."""
    if large and min(architecture.stages[0].widths) < 2:
        raise NetworkError(
            "stages[0].widths: the stem of large images has half as many filters, so at least 2 are needed"
        )


def _choices(architecture):
    return {name: layers.Input(batch_shape=shape, name=name) for name, shape in choice_shapes(architecture).items()}


def choice_shapes(architecture: Architecture) -> dict:
    """The shapes of the choice weights that the network of an architecture takes, by name; see `build`.

    # Raises
        NetworkError: If the edges of a cell list different operations.
    """
    shapes = {}
    # A genotype of BNAS lists different operations.
    for cell in architecture.cells:
        if all(node.keep == len(node.edges) for node in cell.nodes) and all(len(e.operations) == 1 for e in cell.edges):
            continue
        candidates = {edge.operations for edge in cell.edges}
        if len(candidates) != 1:
            raise NetworkError(
                f"cells.{cell.name}: all edges of a searched cell must list the same operations; "
                f"found {len(candidates)} different lists"
            )
        shapes[cell.name] = (len(cell.edges), len(candidates.pop()))
    for index, stage in enumerate(architecture.stages):
        for name, candidates in ((width_name(index), stage.widths), (depth_name(index), stage.depths)):
            if len(candidates) > 1:
                shapes[name] = (len(candidates),)
    return shapes


def _bnas(architecture, images, choices, drop_path, normalize=False):
    large = images.shape[1] >= LARGE_IMAGE
    check_sizes(architecture, large)
    stem = _imagenet_stem if large else _cifar_stem
    cell = functools.partial(cells.bnas, affine_after_reduction=large, normalize=normalize)
    inputs = stem(images, architecture.stages[0].widths[0])
    x = _chained(architecture, inputs, choices, drop_path, cell, lambda index, stage: {"skip": index > 0})
    return _normalized(x) if normalize else x


def _normalized(x):
    # Cells add up. Unnormalized, the sum saturates the classifier, and candidates are judged by the size of what they
    # put out alone.
    return batch_normalization(affine=False, name="features_norm")(x)


def _chained(architecture, inputs, choices, drop_path, cell, own):
    """The output of the last of the cells that each read two.

    # Arguments
        inputs: What the first cell reads, and whether the first of it is twice as high and wide.
        cell: The function of a cell, `cells.bnas` or `cells.bats`.
        own: A function from a cell's number and stage to arguments that only cells of its kind have.
    """
    earlier, previous, reduced = inputs
    for index, (stage, cell_name, reduction) in enumerate(sequence(architecture)):
        output = cell(
            earlier,
            previous,
            architecture.cell(cell_name),
            stage.widths[0],
            reduction=reduction,
            after_reduction=reduced,
            choice=choices.get(cell_name),
            drop_path=drop_path,
            name=f"cell{index:02}",
            **own(index, stage),
        )
        earlier, previous, reduced = previous, output, reduction
    return previous


def _cifar_stem(images, filters):
    block = Operation("convolution", 3)
    x = convolution_block(images, 3 * filters, block, binary=False, name="stem")
    return x, x, False


def imagenet_stem0(images, filters, groups=1):
    """Two float convolutions that halve large images twice."""
    x = float_conv(filters // 2, 3, 2, name="stem0_conv0")(images)
    x = layers.ReLU(name="stem0_relu")(batch_normalization(name="stem0_norm0")(x))
    x = float_conv(filters, 3, 2, groups=groups, name="stem0_conv1")(x)
    return batch_normalization(name="stem0_norm1")(x)


def _imagenet_stem(images, filters, groups=1):
    earlier = imagenet_stem0(images, filters, groups)
    x = float_conv(filters, 3, 2, groups=groups, name="stem1_conv")(layers.ReLU(name="stem1_relu")(earlier))
    # The first cell's inputs differ in size, as after a reduction.
    return earlier, batch_normalization(name="stem1_norm")(x), True


def _bats(architecture, images, choices, drop_path, form="binary", preprocess_form="binary", normalize=False):
    large = images.shape[1] >= LARGE_IMAGE
    check_sizes(architecture, large)
    check_bats(architecture)
    filters = architecture.stages[0].widths[0]
    if large:
        inputs = _imagenet_stem(images, filters, stem_groups(filters))
    else:
        x = layers.ReLU(name="stem_relu")(plain_stem(images, 3 * filters))
        inputs = x, x, False
    forms = {"form": form, "preprocess_form": preprocess_form}
    if choices:
        # A search has float kernels.
        forms = {key: "activations" if value == "binary" else value for key, value in forms.items()}
    cell = functools.partial(cells.bats, **forms)
    x = _chained(architecture, inputs, choices, drop_path, cell, lambda index, stage: {"groups": stage.groups})
    return _normalized(x) if normalize else x


def check_bats(architecture: Architecture):
    """Raises `NetworkError` if the channels of a stage cannot be shuffled."""
    for index, stage in enumerate(architecture.stages):
        if stage.widths[0] % grouped.SHUFFLE:
            raise NetworkError(f"stages[{index}].widths: {stage.widths[0]} is no multiple of {grouped.SHUFFLE}")


def stem_groups(filters: int) -> int:
    """The groups of the second and third convolution of BATS's stem of large images.

    # References
        - The library of the first author of [BATS](https://arxiv.org/abs/2003.01711): a twentieth of the filters, which
          must divide half of them; here it is the next smaller number that does.
    """
    return next(groups for groups in range(max(filters // 20, 1), 0, -1) if filters // 2 % groups == 0)


def _bars(architecture, images, choices, drop_path, skip=True):
    large = images.shape[1] >= LARGE_IMAGE
    check_stem(architecture, large)
    check_layout(architecture)
    stages = architecture.stages
    widths = [_widths(architecture, index, choices) for index in range(len(stages))] + [None]
    opening, groups = bars_cells(architecture, [max(stage.widths) for stage in stages], [max(s.depths) for s in stages])
    index = 0

    def cell(x, row, before, own):
        nonlocal index
        cell_name, filters, reduction = row
        options = {"reduction": reduction, "skip": skip, "drop_path": drop_path, "name": f"cell{index:02}"}
        index += 1
        both = own and (before, own)
        return cells.bars(
            x, architecture.cell(cell_name), filters, choice=choices.get(cell_name), widths=both, **options
        )

    filters = max(stages[0].widths)
    x = _imagenet_stem(images, filters)[1] if large else plain_stem(images, filters)
    x = _masked(layers.ReLU(name="stem_relu")(x), widths[0])
    x = float_conv(bars_nodes(architecture) * filters, 1, name="stem_out_conv")(x)
    x = _masked(batch_normalization(name="stem_out_norm")(x), widths[0])
    for row in opening:
        x = cell(x, row, widths[0], widths[0])
    for number, (stage, (normal, reductions)) in enumerate(zip(stages, groups, strict=True)):
        depth, own, following = choices.get(depth_name(number)), widths[number], widths[number + 1]
        *cell_widths, leaving = _cell_widths(stage.depths, own, following, depth)
        outputs = [x]
        for row, before, now in zip(normal, [own, *cell_widths], cell_widths, strict=False):
            outputs.append(cell(outputs[-1], row, before, now))
        x = outputs[-1]
        if depth is not None:
            reached = [outputs[candidate] for candidate in stage.depths]
            x = macro.SkippableAggregation(name=f"stage{number}_aggregation")([*reached, depth])
        for row in reductions:
            x = cell(x, row, leaving, following)
    return x


def _widths(architecture, number, choices):
    choice = choices.get(width_name(number))
    # All tensors consist of groups of as many channels as a node of the first stage has.
    return None if choice is None else cells.Widths(architecture.stages[0].widths, choice)


def _masked(x, widths):
    return widths.mask(x) if widths else x


def _cell_widths(depths, own, following, depth):
    """The `Widths` of the cells of a stage, then of what leaves it."""
    if own is None or following is None:
        return [own] * (max(depths) + 1)
    if depth is None:
        return ([own] * (depths[0] - 1) + [following] * 2)[-depths[0] - 1 :] if depths[0] else [own]
    choices = macro.CellWidths(depths)([own.choice, following.choice, depth])
    return [cells.Widths(own.candidates, choice) for choice in choices]


def width_name(number: int) -> str:
    """The name of the choice of a stage's width."""
    return f"stage{number}_width"


def depth_name(number: int) -> str:
    """The name of the choice of a stage's depth."""
    return f"stage{number}_depth"


def bars_nodes(architecture: Architecture) -> int:
    """Nodes of the first cell; the stem puts out as many times the filters of a node."""
    return len(architecture.cell(architecture.stages[0].cell).nodes)


def bars_cells(architecture: Architecture, widths, depths):
    """The cells of a network of given widths and depths: name, filters of a node, and whether it is a reduction.

    The last cell before a reduction has half of the filters that follow, whatever those of its own stage are. A stage
    of depth 0 is its reduction alone, or nothing; the paper leaves that open.

    # Arguments
        architecture: The cells and stages.
        widths: Filters of a node for each stage.
        depths: Number of normal cells for each stage.

    # Returns
        The cells before the first stage: its reduction or none. Then for each stage its normal cells, and the cells
        between it and the following one: a reduction or none.

    # Raises
        NetworkError: If the filters behind a reduction are odd.

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


def check_layout(architecture: Architecture):
    """Raises `NetworkError` if widths or depths are open in a way in which their tensors would not fit together."""
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


def plain_stem(images, filters):
    """A float convolution that keeps the size of small images."""
    return batch_normalization(name="stem_norm")(float_conv(filters, 3, name="stem_conv")(images))


TEMPLATES = {
    "bnas": _bnas,
    "bars": _bars,
    "bars_no_shortcut": functools.partial(_bars, skip=False),
    "bats": _bats,
    "bats_float_preprocess": functools.partial(_bats, preprocess_form="real"),
    "bats_real": functools.partial(_bats, form="real", preprocess_form="real"),
}
