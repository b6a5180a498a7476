"""Shared code of the models of the zoo: published facts, genotype files, and the signature of Keras applications."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from larq_nas.space.architecture import Architecture

if TYPE_CHECKING:
    import tensorflow as tf

_GENOTYPES = pathlib.Path(__file__).parent / "genotypes"


@dataclasses.dataclass(frozen=True)
class Variant:
    """Facts about a network: its published accuracy, and the size of the network that larq_nas builds.

    # Arguments
        dataset: Name of the data set of the published accuracy.
        input_shape: Default input shape.
        num_classes: Default number of classes.
        reported: Accuracy in percent, reported by the authors of the network or of the paper named in the text.
        parameters: Number of trainable parameters of the default network.
        memory: Bytes of the default network, see `costs.Costs.bytes`.
    """

    dataset: str
    input_shape: tuple
    num_classes: int
    reported: str
    parameters: int
    memory: int


CIFAR = ("CIFAR-10", (32, 32, 3), 10)
IMAGENET = ("ImageNet", (224, 224, 3), 1000)


def load_genotype(name: str) -> Architecture:
    """Loads the genotype of a model of the zoo by the name of the model."""
    return Architecture.load(_GENOTYPES / f"{name}.json")


def searched(name: str, variant: Variant, docstring: str, **texts: Any) -> "Callable[..., tf.keras.Model]":
    """Makes the function that builds a searched network.

    # Arguments
        name: Name of the model and of its genotype.
        variant: The facts about the network, with its default shape and classes.
        docstring: Docstring of the function. It may contain `{title}`, the fields of `variant` in braces, and
            `{arguments}`, which becomes the description of the arguments.
        texts: Values of further names in braces.

    # Returns
        A function with the arguments of a Keras application.
    """

    def build(
        *,
        input_shape=None,
        input_tensor=None,
        weights=None,
        include_top=True,
        num_classes=variant.num_classes,
    ):
        from larq_nas import networks

        model = networks.build(
            load_genotype(name),
            variant.input_shape if input_shape is None else input_shape,
            num_classes,
            input_tensor=input_tensor,
            include_top=include_top,
            name=name,
        )
        return load_weights(model, weights)

    facts = dataclasses.asdict(variant)
    title = name.upper().replace("_", "-")
    build.__name__ = build.__qualname__ = name
    build.__doc__ = docstring.format(title=title, arguments=_ARGUMENTS.format(**facts), **facts, **texts)
    return build


_ARGUMENTS = """# Arguments
        input_shape: Height, width and channels; {input_shape} by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file. The authors' weights are not
            available; train with `larq_nas train`.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes.

    # Returns
        A Keras model."""


def load_weights(model: "tf.keras.Model", weights: pathlib.Path | str | None) -> "tf.keras.Model":
    """Loads a weights file into a model, or does nothing if `weights` is `None`, and returns the model.

    # Raises
        ValueError: If there is no such file, or its weights do not fit the model.
    """
    if weights is None:
        return model
    if not pathlib.Path(weights).is_file():
        raise ValueError(
            f"weights={str(weights)!r}: no such file. Accepted: None, or the path of a weights file; "
            "there are no pretrained weights to download"
        )
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{weights}: these are not weights of {model.name} ({error})") from None
    return model
