"""The Keras models of architectures, and variants of these models with float kernels or an auxiliary classifier."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_nas import quiet
from larq_nas.layers.quantizers import FloatKernel
from larq_nas.networks import cells, templates
from larq_nas.networks.builder import Builder
from larq_nas.networks.shared_edges import Rows
from larq_nas.networks.stems import LARGE_IMAGE
from larq_nas.networks.templates import NetworkError
from larq_nas.space import registry
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.choices import choice_shapes

layers = tf.keras.layers


def build(
    architecture: Architecture,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    input_tensor: tf.Tensor | None = None,
    include_top: bool = True,
    drop_path: bool = False,
    binary: bool = True,
    normalize: bool = False,
    name: str | None = None,
) -> tf.keras.Model:
    """Builds the network of an architecture.

    # Arguments
        architecture: A genotype, or a space for a supernet.
        input_shape: Height, width and channels of the images. For images of at least 128 pixels, the network has the
            stem of the ImageNet networks, which shrinks images eightfold.
        num_classes: Number of classes.
        input_tensor: Optional Keras tensor for the images. It replaces `input_shape`.
        include_top: Whether the network ends in pooling and a softmax over the classes. Otherwise, the output of the
            last cell is returned.
        drop_path: Whether a `DropPath` layer follows every operation of the cells except identities. Its rate is
            initially 0.
        binary: Whether inner convolutions are binary. Only VGG-11 and ResNet-18 can be float.
        normalize: Whether the supernet of a BNAS or BATS space has a BatchNorm without scale and offset before the
            classifier, in BNAS after each convolution, and in BATS before the edges that leave a state.
        name: Name of the model.

    # Returns
        A functional model of the images. The network of a space has a dictionary of inputs instead. It contains
        `images`, and choice weights: for each searched cell, an input with the name of the cell and the shape
        `(edges, candidates)`; for each searched width or depth of a stage, an input with a name such as `stage0_width`
        or `stage0_depth` and the shape `(candidates,)`.

    # Raises
        NetworkError: If the template has no network for the architecture, the shape or the arguments.
        ArchitectureError: If the edges of a searched cell list different operations.
    """
    images = start(input_shape, input_tensor, *templates.halvings(architecture))
    shapes = choice_shapes(architecture)
    choices = {name: layers.Input(batch_shape=shape, name=name) for name, shape in shapes.items()}
    by_state = {
        name: _by_state(architecture.cell(name), choice) if choice.shape.rank == 2 else choice
        for name, choice in choices.items()
    }
    templates.check_architecture(architecture, images.shape[1] >= LARGE_IMAGE)
    template = architecture.kind
    if drop_path and template.widths:
        raise NetworkError(f"drop_path: is for networks of cells, not for {template.name}; use drop_path=0")
    options: dict[str, Any] = {"normalize": True} if normalize and choices and template.normalize else {}
    if not binary:
        options["binary"] = False
        if not template.full_precision:
            known = ", ".join(name for name, other in registry.templates().items() if other.full_precision)
            raise NetworkError(f"binary=False: only {known} can be float, not {template.name}")
    x = templates.features(Builder(drop_path, template.shared_edges), architecture, images, by_state, **options)
    return finish(images, x, num_classes, choices, input_tensor=input_tensor, include_top=include_top, name=name)


def _by_state(cell: Cell, choice) -> dict:
    """Returns for each state the choice weights of the edges that leave it."""
    sources = sorted({edge.source for edge in cell.edges})
    return {source: Rows(cells.rows_of(cell, source), name=f"{cell.name}_state{source}")(choice) for source in sources}


def with_float_kernels(network: tf.keras.Model) -> tf.keras.Model:
    """Returns the same network with float kernels and binary activations, for the first of two training stages.

    # Arguments
        network: A network from `build` for a genotype.

    # Returns
        A new model, whose layers and weights have the same names and shapes.
    """

    def clone(layer):
        config = layer.get_config()
        if config.get("kernel_quantizer"):
            config["kernel_quantizer"] = FloatKernel()
        return layer.__class__.from_config(config)

    return tf.keras.models.clone_model(network, clone_function=clone)


def start(input_shape: Sequence[int], input_tensor: tf.Tensor | None, halvings: int, stem_halvings: int) -> tf.Tensor:
    """Returns the input for the images. See `build` and `templates.check_shape` for the arguments."""
    given = input_shape if input_tensor is None else input_tensor.shape[1:]
    input_shape = templates.check_shape(given, halvings, stem_halvings)
    return layers.Input(input_shape, name="images") if input_tensor is None else input_tensor


def finish(
    images: tf.Tensor,
    x: tf.Tensor,
    num_classes: int,
    choices: dict | None = None,
    *,
    input_tensor: tf.Tensor | None = None,
    include_top: bool = True,
    name: str | None = None,
) -> tf.keras.Model:
    """Makes the model from `images` to `x` or, if `include_top`, to a softmax over the classes.

    # Arguments
        images: The input for the images, as `start` returns it.
        x: The features that the classifier reads.
        num_classes: Number of classes.
        choices: The inputs of the choice weights of a supernet, by name.
        input_tensor, include_top, name: See `build`.

    # Returns
        A `tf.keras.Model`.
    """
    if include_top:
        templates.check_classes(num_classes)
        x = Builder().classifier(x, num_classes)
    if input_tensor is not None:
        images = tf.keras.utils.get_source_inputs(input_tensor)[0]
    inputs = {"images": images, **choices} if choices else images
    # Keras takes the first axis of the choice weights for the batch, and warns.
    with quiet.log("incompatible static batch sizes"):
        return tf.keras.Model(inputs, x, name=name)
