"""BNAS-A … BNAS-H.

# References
    - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963)
"""

import dataclasses
import pathlib

from larq_nas.architecture import Architecture

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


_CIFAR = ("CIFAR-10", (32, 32, 3), 10)
_IMAGENET = ("ImageNet", (224, 224, 3), 1000)

VARIANTS = {
    "bnas_a": Variant(*_CIFAR, "92.70 top-1", 5_578_252, 4_168_000),
    "bnas_b": Variant(*_CIFAR, "93.76 top-1", 10_945_744, 11_737_408),
    "bnas_c": Variant(*_CIFAR, "94.43 top-1", 42_360_532, 34_814_080),
    "bnas_d": Variant(*_IMAGENET, "57.69 top-1, 79.89 top-5", 28_407_560, 18_160_672),
    "bnas_e": Variant(*_IMAGENET, "58.76 top-1, 80.61 top-5", 31_997_890, 20_517_288),
    "bnas_f": Variant(*_IMAGENET, "58.99 top-1, 80.85 top-5", 39_781_442, 21_654_248),
    "bnas_g": Variant(*_IMAGENET, "59.81 top-1, 81.61 top-5", 37_343_287, 23_751_044),
    "bnas_h": Variant(*_IMAGENET, "63.51 top-1, 83.91 top-5", 160_016_936, 70_193_312),
}


def genotype(name: str) -> Architecture:
    """The genotype of a model of the zoo.

    # Arguments
        name: One of `GENOTYPES`.

    # Raises
        ValueError: If there is no such model.
    """
    if name not in VARIANTS:
        raise ValueError(f"no genotype {name!r}; accepted: {', '.join(VARIANTS)}")
    return Architecture.load(_GENOTYPES / f"{name}.json")


def _model(name):
    variant = VARIANTS[name]

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
            genotype(name),
            variant.input_shape if input_shape is None else input_shape,
            num_classes,
            input_tensor=input_tensor,
            include_top=include_top,
            name=name,
        )
        if weights is not None:
            load_weights(model, weights)
        return model

    build.__name__ = build.__qualname__ = name
    build.__doc__ = _DOCSTRING.format(title=name.upper().replace("_", "-"), **dataclasses.asdict(variant))
    return build


_DOCSTRING = """{title}, a binary network for {dataset}.

    Reported by the authors: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    # Arguments
        input_shape: Height, width and channels; {input_shape} by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file. The authors' weights are not
            available; train with `larq_nas train`.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes.

    # Returns
        A Keras model.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963)
    """


def load_weights(model, weights):
    """Loads a weights file into a model, or says what is wrong with it."""
    if not pathlib.Path(weights).is_file():
        raise ValueError(
            f"weights={str(weights)!r}: no such file. Accepted: None, or the path of a weights file; "
            "there are no pretrained weights to download"
        )
    try:
        model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{weights}: these are not weights of {model.name} ({error})") from None


bnas_a = _model("bnas_a")
bnas_b = _model("bnas_b")
bnas_c = _model("bnas_c")
bnas_d = _model("bnas_d")
bnas_e = _model("bnas_e")
bnas_f = _model("bnas_f")
bnas_g = _model("bnas_g")
bnas_h = _model("bnas_h")
