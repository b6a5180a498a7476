"""From an `Architecture` to a Keras model: stem, stages, head.

```python
from larq_nas import networks, zoo

model = networks.build(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)
```

`build` makes the final network of a genotype and the supernet of a space alike. The network of a space has further
inputs: for every searched cell, by its name, the weights with which candidate operations are mixed.
"""

import numbers
from collections.abc import Iterable

import tensorflow as tf

from larq_nas import cells, operations
from larq_nas.architecture import Architecture
from larq_nas.operations import Operation, batch_normalization, convolution_block, float_conv

layers = tf.keras.layers

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
        drop_path: Whether a `DropPath` layer, of rate 0 until set, follows every operation.
        name: Name of the model.

    # Returns
        A functional model of the images. If the architecture is not decided, its inputs are the images and, for
        each cell by name, choice weights of shape `(edges, candidates)`.

    # Raises
        NetworkError: If the template cannot make a network of the architecture or the shape.
    """
    images = start(input_shape, input_tensor, reductions(architecture), STEM_HALVINGS)
    choices = _choices(architecture)
    x = TEMPLATES[architecture.template](architecture, images, _by_state(architecture, choices), drop_path)
    return finish(images, x, classes, choices, input_tensor=input_tensor, include_top=include_top, name=name)


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
    return tf.keras.Model(inputs, x, name=name)


def reductions(architecture: Architecture) -> int:
    """How often the cells of an architecture halve their input."""
    return sum(stage.reduction is not None for stage in architecture.stages)


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
    if large and architecture.stages[0].widths[0] < 2:
        raise NetworkError(
            "stages[0].widths: the stem of large images has half as many filters, so at least 2 are needed"
        )


def _choices(architecture):
    if architecture.decided:
        return {}
    choices = {}
    for cell in architecture.cells:
        candidates = {edge.operations for edge in cell.edges}
        if len(candidates) != 1:
            raise NetworkError(
                f"cells.{cell.name}: all edges of a searched cell must list the same operations; "
                f"found {len(candidates)} different lists"
            )
        shape = (len(cell.edges), len(candidates.pop()))
        choices[cell.name] = layers.Input(batch_shape=shape, name=cell.name)
    return choices


def _by_state(architecture, choices):
    """For each searched cell, the choice weights of the edges that leave a state, taken out once for all its copies."""
    return {name: cells.by_state(architecture.cell(name), choice) for name, choice in choices.items()}


def _bnas(architecture, images, choices, drop_path):
    large = images.shape[1] >= LARGE_IMAGE
    check_sizes(architecture, large)
    stem = _imagenet_stem if large else _cifar_stem
    earlier, previous, reduced = stem(images, architecture.stages[0].widths[0])
    index = 0
    for stage in architecture.stages:
        for cell_name in ([stage.reduction] if stage.reduction else []) + [stage.cell] * stage.depths[0]:
            reduction = cell_name == stage.reduction and stage.reduction is not None
            output = cells.bnas(
                earlier,
                previous,
                architecture.cell(cell_name),
                stage.widths[0],
                reduction=reduction,
                after_reduction=reduced,
                affine_after_reduction=large,
                skip=index > 0,
                choice=choices.get(cell_name),
                drop_path=drop_path,
                name=f"cell{index:02}",
            )
            earlier, previous, reduced, index = previous, output, reduction, index + 1
    return previous


def _cifar_stem(images, filters):
    block = Operation("convolution", 3)
    x = convolution_block(images, 3 * filters, block, binary=False, name="stem")
    return x, x, False


def imagenet_stem0(images, filters):
    """Two float convolutions that halve large images twice."""
    x = float_conv(filters // 2, 3, 2, name="stem0_conv0")(images)
    x = layers.ReLU(name="stem0_relu")(batch_normalization(name="stem0_norm0")(x))
    x = float_conv(filters, 3, 2, name="stem0_conv1")(x)
    return batch_normalization(name="stem0_norm1")(x)


def _imagenet_stem(images, filters):
    earlier = imagenet_stem0(images, filters)
    x = float_conv(filters, 3, 2, name="stem1_conv")(layers.ReLU(name="stem1_relu")(earlier))
    # The first cell's inputs differ in size, as after a reduction.
    return earlier, batch_normalization(name="stem1_norm")(x), True


def _bars(architecture, images, choices, drop_path):
    if choices:
        raise NetworkError("the bars template builds networks of genotypes only")
    large, filters = images.shape[1] >= LARGE_IMAGE, architecture.stages[0].widths[0]
    check_sizes(architecture, large)
    x = _imagenet_stem(images, filters)[1] if large else plain_stem(images, filters)
    x = layers.ReLU(name="stem_relu")(x)
    x = float_conv(bars_nodes(architecture) * filters, 1, name="stem_out_conv")(x)
    x = batch_normalization(name="stem_out_norm")(x)
    for index, (cell_name, width, reduction) in enumerate(bars_cells(architecture)):
        cell, name = architecture.cell(cell_name), f"cell{index:02}"
        x = cells.bars(x, cell, width, reduction=reduction, drop_path=drop_path, name=name)
    return x


def bars_nodes(architecture: Architecture) -> int:
    """Nodes of the first cell; the stem puts out as many times the filters of a node."""
    return len(architecture.cell(architecture.stages[0].cell).nodes)


def bars_cells(architecture: Architecture):
    """Cell by cell the name, the filters of a node, and whether it is a reduction.

    The last cell before a reduction has half of the filters that follow, whatever those of its own stage are. A stage
    of depth 0 is its reduction alone, or nothing; the paper leaves that open.

    # Raises
        NetworkError: If the filters behind a reduction are odd.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.1
    """
    rows, stages = [], architecture.stages
    for index, (stage, following) in enumerate(zip(stages, [*stages[1:], None], strict=True)):
        if stage.reduction:
            if stage.widths[0] % 2:
                raise NetworkError(f"stages[{index}].widths: {stage.widths[0]} filters behind a reduction must be even")
            rows.append((stage.reduction, stage.widths[0], True))
        for number in range(stage.depths[0]):
            last = following is not None and following.reduction and number == stage.depths[0] - 1
            rows.append((stage.cell, following.widths[0] // 2 if last else stage.widths[0], False))
    return rows


def plain_stem(images, filters):
    """A float convolution that keeps the size of small images."""
    return batch_normalization(name="stem_norm")(float_conv(filters, 3, name="stem_conv")(images))


TEMPLATES = {"bnas": _bnas, "bars": _bars}
