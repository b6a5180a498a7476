"""The configurations of tunings with KerasTuner."""

import dataclasses
import re
import typing

from larq_nas.configs.of_methods import OfMethod, of_method
from larq_nas.configs.searches import SearchConfig, check_latency
from larq_nas.configs.shared import DataConfig, RunConfig, SeedConfig, is_amount
from larq_nas.configs.trainings import RecipeConfig, TrainConfig
from larq_nas.names import ORACLES
from larq_nas.options import OptionError, changed_default, option, values_of
from larq_nas.space.architecture import Architecture


def _amount(help):
    return option(None, help, check=is_amount, accepted="give a positive number, e.g. 20M")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig(SeedConfig, DataConfig, RunConfig):
    """The base class of the configurations of tunings."""

    heading: typing.ClassVar[str] = "tuning"
    unit: typing.ClassVar[str] = "trial"
    what: typing.ClassVar[str] = ""

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/tune")
    validation_fraction: float = option(
        0.2,
        "share of the training images, of each class alike, on which trials are judged; trials do not train on them",
        least=0,
        most=0.9,
    )
    oracle: str = option("random", "how KerasTuner chooses the values of a trial", choices=ORACLES)
    max_trials: int = option(
        20,
        "trials at most; more than before continue a finished tuning; hyperband has as many as its brackets need",
        least=1,
        identity=False,
    )
    objective: str = option("val_accuracy", "metric by which trials are compared", choices=("val_accuracy", "val_loss"))
    max_binary_macs: str | None = _amount("binary multiply-accumulates above which a network is not trained, e.g. 20M")
    max_bytes: str | None = _amount("bytes of weights above which a network is not trained, e.g. 500K")
    latency_table: str | None = changed_default(SearchConfig, "latency_table", None)
    max_latency_ms: float | None = option(
        None, "milliseconds, as latency_table predicts them, above which a network is not trained", least=1e-6
    )

    def texts(self) -> dict:
        return {**super().texts(), "what": self.what}

    def __post_init__(self):
        super().__post_init__()
        if not self.validation_fraction:
            raise OptionError("validation_fraction=0: trials are judged on validation images; give a share, e.g. 0.2")
        check_latency(self)


def _are_ranges(texts):
    names = [text.partition(":")[0] for text in texts]
    return bool(texts) and len(set(names)) == len(names) and all(re.fullmatch(r"\w+:.+", text) for text in texts)


def _tuned(default, example):
    return option(
        default,
        "flags that are tuned and the values that they may have, separated by commas: NAME:LOW..HIGH for a range, "
        "which is logarithmic if LOW is positive, or NAME:A|B|C",
        check=_are_ranges,
        accepted=f"give each flag once, e.g. {example}",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeTuneConfig(TuneConfig, RecipeConfig):
    """The configuration of a tuning of the options of a training."""

    what: typing.ClassVar[str] = "recipe"

    genotype: str | Architecture = changed_default(TrainConfig, "genotype", dataclasses.MISSING)
    tuned: tuple[str, ...] = _tuned(
        ("learning_rate:0.0003..0.1", "weight_decay:0|3e-6|1e-4", "schedule:cosine|one_cycle"),
        "learning_rate:0.001..0.1,optimizer:sgd|adam",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureTuneConfig(OfMethod, TuneConfig, RecipeConfig):
    """The base class of the configurations of tunings of the genotype, in the space of a search method."""

    what: typing.ClassVar[str] = "architecture"

    def texts(self) -> dict:
        return {**super().texts(), "method": self.method}

    def space(self) -> Architecture:
        """The space of the method, in the configured size."""
        return self.search_config().tuned_space()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchTuneConfig(TuneConfig):
    """The base class of the configurations of tunings of a search, whose result is judged by its training."""

    what: typing.ClassVar[str] = "search"
    searched: typing.ClassVar[type[SearchConfig]]

    train_flagfile: str | None = option(
        None,
        "flag file, or name of a recipe of larq_nas train, by which the genotype of each search is trained; by default "
        "the recipe for the data set",
    )
    tuned: tuple[str, ...] = _tuned(SearchConfig.tuned_options, "architecture_learning_rate:0.001..0.1,epochs:10|20")

    def search_config(self) -> SearchConfig:
        """The configuration of a search that does not use the validation images."""
        return self.searched(**values_of(self, self.searched))


def search_tune_config(searched: type[SearchConfig]) -> type[SearchTuneConfig]:
    """Makes the `SearchTuneConfig` of a search method, which also has the options of the `SearchConfig`."""
    default = changed_default(SearchTuneConfig, "tuned", searched.tuned_options)
    return dataclasses.make_dataclass(
        SearchTuneConfig.__name__,
        [("tuned", tuple[str, ...], default)],
        bases=(SearchTuneConfig, searched),
        namespace={"searched": searched},
        frozen=True,
        kw_only=True,
    )


def tune_config(searched: type[SearchConfig]) -> type[ArchitectureTuneConfig]:
    """Makes the `ArchitectureTuneConfig` of a search method from the `SearchConfig` of the method."""
    return of_method(ArchitectureTuneConfig, searched)
