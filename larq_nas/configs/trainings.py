"""The configurations of a training and of a comparison of trainings."""

import dataclasses
import typing

from larq_nas.configs.shared import (
    DataConfig,
    FitConfig,
    GroupsConfig,
    RunConfig,
    SeedConfig,
)
from larq_nas.names import OPTIMIZERS, SCHEDULES
from larq_nas.options import OptionError, changed_default, option
from larq_nas.space.architecture import Architecture


def _rise(epochs):
    return all(before < after for before, after in zip((0, *epochs), epochs, strict=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeConfig(GroupsConfig, FitConfig, DataConfig, RunConfig):
    """The options that all trainings of a comparison share.

    They are all options of a training except its network, its seed and its initial weights.
    """

    heading: typing.ClassVar[str] = "network"

    batch_size: int = changed_default(FitConfig, "batch_size", 256)
    epochs: int = changed_default(FitConfig, "epochs", 600)
    learning_rate: float = changed_default(FitConfig, "learning_rate", 0.05)
    weight_decay: float = changed_default(FitConfig, "weight_decay", 3e-6)
    layers: int | None = option(None, "cells of the network; as many as in the genotype by default", least=3)
    filters: int | None = option(None, "filters of a node in the first stage; as in the genotype by default", least=2)
    width: int | None = option(None, "factor of all widths of a genotype of dms; 4 for ImageNet, as published", least=1)
    schedule: str = option("one_cycle", "schedule of the learning rate", choices=SCHEDULES)
    milestones: tuple[int, ...] = option(
        (),
        "epochs after which schedule=steps divides the learning rate by 10, e.g. 140,220,260",
        check=_rise,
        accepted="give rising numbers of epochs, e.g. 140,220,260",
    )
    restart_epochs: int = option(50, "epochs between two restarts of schedule=restarts", least=1, in_epochs=True)
    warmup_epochs: float = option(
        0.0, "epochs at the beginning of schedule=cosine in which the learning rate rises", least=0, in_epochs=True
    )
    validation_fraction: float = option(
        0.0,
        "share of the training images, of each class alike, that is not trained on but evaluated after each epoch",
        least=0,
        most=0.9,
    )
    label_smoothing: float = option(0.0, "label smoothing of the training loss", least=0, most=1)
    full_precision: bool = option(False, "train the float twin of a dms network: the same network without quantizers")
    drop_path: float = option(
        0.2, "drop path rate at the end of the training; it rises linearly from 0", least=0, most=1
    )
    auxiliary_weight: float = option(
        0.0,
        "weight of the loss of a second classifier at two thirds of a bats network; 0: no second classifier",
        least=0,
    )
    stages: tuple[str, ...] = option(
        ("weights",),
        "weights: train the binary network in one stage; activations,weights: train it with binary activations and "
        "float kernels first, then continue with binary kernels",
        check=lambda names: names in (("weights",), ("activations", "weights")),
        accepted="give activations,weights or weights",
    )
    activations_epochs: int | None = option(
        None, "epochs of the stage activations; the value of epochs by default", least=1, in_epochs=True
    )
    activations_optimizer: str | None = option(
        None, "optimizer of the stage activations; the value of optimizer by default", choices=OPTIMIZERS
    )
    activations_schedule: str | None = option(
        None,
        "schedule of the learning rate in the stage activations; the value of schedule by default",
        choices=SCHEDULES,
    )
    activations_learning_rate: float | None = option(
        None, "learning rate of the stage activations; the value of learning_rate by default", least=0
    )
    activations_weight_decay: float | None = option(
        None, "weight decay of the stage activations; the value of weight_decay by default", least=0
    )

    @property
    def activations(self) -> dict:
        """The fields of a `recipes.Recipe` that differ in the stage `activations`: name to value."""
        names = ("epochs", "optimizer", "schedule", "learning_rate", "weight_decay")
        values = {name: getattr(self, f"activations_{name}") for name in names}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(SeedConfig, RecipeConfig):
    """The configuration of a training."""

    heading: typing.ClassVar[str] = "network"

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/train")
    genotype: str | Architecture = option(help="a genotype.json file, or the name of a zoo model", is_path=True)
    initial_weights: str | None = option(
        None,
        "weights.h5 file from which to start, of an earlier training of the same network, or of its float twin",
        is_path=True,
    )


def _are_seeds(seeds):
    return bool(seeds) and len(set(seeds)) == len(seeds) and min(seeds) >= 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig(RecipeConfig):
    """The configuration of a comparison: genotypes that are trained by the same recipe, each with the same seeds."""

    heading: typing.ClassVar[str] = "comparison"
    unit: typing.ClassVar[str] = "training"

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/compare")
    genotypes: tuple[str | Architecture, ...] = option(
        help="genotype.json files, and names of zoo models such as bnas_a or zoo:bnas_a, separated by commas",
        is_path=True,
        check=len,
        accepted="give at least one, e.g. a.json,b.json,bnas_a",
    )
    seeds: tuple[int, ...] = option(
        (1, 2, 3),
        "seeds with which each genotype is trained, separated by commas; three or more show how sure a mean is",
        check=_are_seeds,
        accepted="give different numbers of at least 0, e.g. 1,2,3",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankConfig(RecipeConfig):
    """The configuration of a comparison of shared weights with training: genotypes that are ranked by both."""

    heading: typing.ClassVar[str] = "ranking"
    unit: typing.ClassVar[str] = "training"

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/search")
    draw: int | None = option(None, "number of genotypes to draw evenly from the space of the search", least=3)
    genotypes: tuple[str | Architecture, ...] = option(
        (),
        "genotype.json files of the space of the search, at least three, separated by commas, instead of draw",
        is_path=True,
        check=lambda genotypes: len(genotypes) != 1 and len(genotypes) != 2,
        accepted="give at least three",
    )
    seeds: tuple[int, ...] = option(
        (1,),
        "seeds with which each genotype is trained, separated by commas",
        check=_are_seeds,
        accepted="give different numbers of at least 0, e.g. 1,2,3",
    )

    def __post_init__(self):
        super().__post_init__()
        if bool(self.draw) == bool(self.genotypes):
            raise OptionError("draw, genotypes: give one of them")
