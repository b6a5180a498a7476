"""Options that several configurations have, and the values that they accept."""

import dataclasses
import math
import typing
from collections.abc import Sequence

from larq_nas.names import AUGMENTATIONS, DISTRIBUTIONS, OPTIMIZERS, PRECISIONS
from larq_nas.options import Config, option

_FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9}


def amount(text: str) -> float:
    """Converts a text to a number. It may end in K, M or G, e.g. `"2096M"` for 2096 million.

    # Raises
        ValueError: If the text is not a number.
    """
    factor = _FACTORS.get(text[-1:].upper())
    return float(text[:-1]) * factor if factor else float(text)


def is_amount(text: str) -> bool:
    """Whether `amount` converts a text to a positive, finite number."""
    try:
        return 0 < amount(text) < math.inf
    except ValueError:
        return False


def is_shape(sizes: Sequence[int]) -> bool:
    """Whether `sizes` are three positive numbers: height, width and channels."""
    return len(sizes) == 3 and min(sizes) > 0


def shape_option(default: tuple[int, ...] | None, help: str) -> typing.Any:
    """Declares an option that is the shape of images: height, width and channels."""
    accepted = "give height, width and channels as positive integers, e.g. 32,32,3"
    return option(default, help, check=is_shape, accepted=accepted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """The options of the run directory, in which a search or a training keeps its files."""

    heading: typing.ClassVar[str] = "run"
    # An interrupted run continues after the last finished one of these: "epoch", or "round" (several epochs).
    unit: typing.ClassVar[str] = "epoch"

    run_dir: str = option(
        "runs", "directory of the run: its files, and the state from which it continues", is_path=True, identity=False
    )
    overwrite: bool = option(False, "delete the run in run_dir and start again", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """The options of the images on which a network is searched or trained."""

    heading: typing.ClassVar[str] = "data"

    dataset: str = option(
        "digits",
        "digits, a TFDS name such as cifar10 or name:version, or folder:PATH with one sub-folder of images per class",
        check=len,
        accepted="give a name, e.g. digits",
    )
    data_dir: str | None = option(None, "directory in which TFDS keeps its data sets", is_path=True)
    image_size: int | None = option(None, "resize images to this height and width", least=4)
    channels: str | None = option(
        None, "channels of the images: 1 (gray) or 3 (RGB); 3 by default for folders", choices=("1", "3")
    )
    train_examples: int | None = option(None, "use only this many training examples", least=2)
    class_weights: str | None = option(
        None, "divide the loss of each class by the share of the class in the training images", choices=("balanced",)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedConfig(Config):
    """The option of the seed of a search or a training."""

    heading: typing.ClassVar[str] = "training"

    seed: int = option(
        0, "seed of the initial weights, the order of the examples, and the augmentation", least=0, most=2**32 - 1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedConfig(Config):
    """The option of the devices on which a network is searched, trained or evaluated."""

    heading: typing.ClassVar[str] = "devices"

    distribute: str = option(
        "none",
        "none: one device; mirrored: divide each batch between all GPUs of this machine, which hold copies of the "
        "network",
        choices=DISTRIBUTIONS,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(DistributedConfig):
    """The options of the training of weights."""

    heading: typing.ClassVar[str] = "training"

    batch_size: int = option(64, "examples per step, on all devices together", least=1)
    epochs: int = option(50, "passes over the training examples", least=1)
    steps: int | None = option(
        None, "scale epochs, and the other options in epochs, to about this many steps, but at least 6 epochs", least=1
    )
    learning_rate: float = option(0.025, "highest learning rate of the weights", least=0)
    reference_batch_size: int | None = option(
        None,
        "batch size for which learning_rate is meant; for another batch_size, the learning rate is scaled in "
        "proportion (sgd) or by the square root (adam)",
        least=1,
    )
    optimizer: str = option("sgd", "optimizer of the weights; only sgd uses momentum", choices=OPTIMIZERS)
    momentum: float = option(0.9, "momentum of optimizer=sgd", least=0, most=1)
    weight_decay: float = option(3e-4, "weight decay of the weights, added to their gradient", least=0)
    clip_norm: float = option(0.0, "clip the gradients of the weights to this global norm; 0: no clipping", least=0)
    precision: str = option("float32", "precision in which the layers compute", choices=PRECISIONS)
    augmentation: str = option(
        "crop_flip",
        "augmentation of the training images",
        choices=AUGMENTATIONS,
    )

    @property
    def epochs_unit(self) -> int:
        """A number of which `epochs` is a multiple: 1, or the number of rounds in DMS."""
        return 1


def are_groups(text: str) -> bool:
    """Whether a text is a positive integer or `"lce"`."""
    return text == "lce" or text.isdecimal() and int(text) > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupsConfig(Config):
    """The options of the groups of the convolutions of BATS."""

    heading: typing.ClassVar[str] = "groups"

    groups: str | None = option(
        None,
        "groups of the convolutions of bats; lce: as many as LCE computes natively; 12 by default in a search, as "
        "many as in the genotype in a training",
        check=are_groups,
        accepted="give a number, or lce",
        profiled=True,
    )
    channels_per_group: int | None = option(
        None, "channels of each group of the convolutions of bats; overrides groups", least=1, profiled=True
    )

    @property
    def group_options(self) -> dict:
        """The keyword arguments `groups` and `channels_per_group` of `methods.bats.scale`."""
        groups = int(self.groups) if self.groups and self.groups != "lce" else self.groups
        return {"groups": groups, "channels_per_group": self.channels_per_group}
