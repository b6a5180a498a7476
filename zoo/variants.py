"""What the models of the zoo have in common: the facts, the genotype files, and the signature of Keras applications."""

import dataclasses
import pathlib

from larq_nas.space.architecture import Architecture

_GENOTYPES = pathlib.Path(__file__).parent / "genotypes"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is known of a network: the accuracy that was published, and what ours counts.

    # Arguments
        dataset: What it was trained on.
        input_shape: Default input shape.
        num_classes: Default number of classes.
        reported: Accuracy in percent, reported by the authors of the network or of the paper that is named.
        parameters: Trainable parameters of the default network.
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
    """Reads a genotype of the zoo."""
    return Architecture.load(_GENOTYPES / f"{name}.json")


def searched(name: str, variant: Variant, docstring: str, **texts):
    """A function that builds the network of a genotype.

    # Arguments
        name: Name of the model and of its genotype.
        variant: The default network.
        docstring: Text that may name the fields of `variant` and `{title}` in braces. The arguments are described at
            `{arguments}`.
        texts: What else it names in braces.

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


def load_weights(model, weights):
    """Loads a weights file into a model, or says what is wrong with it; `None` is none. Returns the model."""
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
