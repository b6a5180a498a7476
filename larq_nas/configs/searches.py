"""The configurations of searches."""

import dataclasses
import typing
from collections.abc import Sequence

from larq_nas.configs.shared import (
    DataConfig,
    FitConfig,
    RunConfig,
    SeedConfig,
)
from larq_nas.configs.trainings import TrainConfig
from larq_nas.options import OptionError, changed_default, option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas import datasets, latency, runs
    from larq_nas.supernet.strategy import Candidate, Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(FitConfig, SeedConfig, DataConfig, RunConfig):
    """The base class of the configurations of searches.

    Each subclass is a search method: its methods `space` and `strategy` define what is searched and how.
    `methods.register` registers the subclass under a name, and sets its attribute `method` to this name.
    """

    heading: typing.ClassVar[str] = "search"
    method: typing.ClassVar[str] = ""
    # Options of `TrainConfig` that only networks of some methods accept, and networks of this method do.
    network_options: typing.ClassVar[tuple[str, ...]] = ()
    # Options that `larq_nas tune --what=search` tunes by default, with the values that they may have.
    tuned_options: typing.ClassVar[tuple[str, ...]] = ("architecture_learning_rate:0.0003..0.03",)

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/search")
    final_learning_rate: float = option(
        0.001, "learning rate of the weights in the last epoch; in dms, at the end of each round", least=0
    )
    architecture_learning_rate: float = option(3e-4, "learning rate of the architecture", least=0)
    architecture_weight_decay: float = option(1e-3, "weight decay of the architecture", least=0)
    validation_fraction: float = option(
        0.0,
        "share of the training images, of each class alike, that the search does not use; a training with the same "
        "share is evaluated on these images",
        least=0,
        most=0.9,
    )
    latency_table: str | None = option(
        None, "latency.json file that larq_nas benchmark has written with profile_operations", is_path=True
    )
    max_latency_ms: float | None = option(
        None, "most milliseconds of the genotype, as latency_table predicts them", least=1e-6
    )

    # Options of searches for cells. Other searches have neither finalists nor a control.
    finalists, permute_labels = 0, False

    def __post_init__(self):
        super().__post_init__()
        check_latency(self)

    def texts(self) -> dict:
        return {**super().texts(), **({"method": self.method} if self.method else {})}

    def space(self) -> Architecture:
        """The search space.

        # Returns
            An `Architecture`.

        # Raises
            ValueError: If the method has no space of the configured sizes.
        """
        raise NotImplementedError

    def strategy(self, space: Architecture, input_shape: Sequence[int], num_classes: int) -> "Strategy":
        """The strategy, which defines how the space is searched.

        # Arguments
            space: The search space, as the method `space` returns it.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A `supernet.strategy.Strategy`.

        # Raises
            ValueError: If no network of the space is within the limits of the configuration.
        """
        raise NotImplementedError

    def search(
        self, space: Architecture, strategy: "Strategy", data: "datasets.Images", run: "runs.Run"
    ) -> Architecture:
        """Searches the space and writes `genotype.json` to the run directory.

        # Arguments
            space: The search space, as the method `space` returns it.
            strategy: The strategy, as the method `strategy` returns it.
            data: The `datasets.Images`. A search must not use their test split.
            run: The `runs.Run`.

        # Returns
            The genotype.
        """
        from larq_nas import training

        return training.search(strategy, space, data, run, self)

    def draw(
        self, space: Architecture, strategy: "Strategy", count: int, input_shape: Sequence[int], num_classes: int
    ) -> "list[Candidate]":
        """Draws genotypes evenly from the space, within the limits of the configuration, for a random search.

        # Arguments
            space: The search space, as the method `space` returns it.
            strategy: The strategy, as the method `strategy` returns it.
            count: Number of genotypes.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A list of `strategy.Candidate`.
        """
        raise NotImplementedError

    @classmethod
    def scaled(cls, genotype: Architecture, config: TrainConfig) -> Architecture:
        """Scales a genotype to the size that the configuration of a training asks for.

        # Arguments
            genotype: A genotype of this method.
            config: The configuration of the training. Only its options in `network_options` matter.

        # Returns
            A genotype. By default, it is the given one.

        # Raises
            ValueError: If the genotype cannot be scaled to this size.
        """
        return genotype

    def counted_images(self, input_shape: Sequence[int], num_classes: int) -> tuple:
        """The image shape and number of classes for which costs are counted; by default those of the data set."""
        return input_shape, num_classes

    def tuned_space(self) -> Architecture:
        """The space in which `larq_nas tune` chooses genotypes; by default the search space."""
        return self.space()

    def profiled_spaces(self) -> list:
        """The spaces whose operations `larq_nas benchmark` times with `profile_operations`."""
        return [self.space()]

    def limit(
        self, space: Architecture, input_shape: Sequence[int], num_classes: int, excluded: Sequence[str] = ()
    ) -> "latency.Limit | None":
        """The limit that `max_latency_ms` and `latency_table` set on the latency of genotypes.

        # Arguments
            space: The space to which the genotypes belong.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.
            excluded: Names of the operations of the space that the method never chooses.

        # Returns
            A `latency.Limit`, or `None` if no limit is configured.

        # Raises
            ValueError: If every network of the space exceeds the limit, or if the table cannot be used.
        """
        # Only both together are accepted.
        if self.max_latency_ms is None or self.latency_table is None:
            return None
        from larq_nas import latency

        table = latency.Table.load(self.latency_table)
        limit = latency.Limit(table, self.max_latency_ms, space, input_shape, num_classes, excluded)
        least = latency.fastest(limit)
        if least > limit.max_ms:
            raise OptionError(
                f"max_latency_ms={limit.max_ms}: the fastest network of this space is predicted to take {least:.3f} ms"
            )
        return limit


def check_latency(config: typing.Any) -> None:
    """Raises an `OptionError` unless a configuration has both `latency_table` and `max_latency_ms`, or neither."""
    if (config.latency_table is None) != (config.max_latency_ms is None):
        raise OptionError("latency_table, max_latency_ms: each needs the other")


class WithoutGradients:
    """A mixin of the configurations of searches that train no logits, such as a random search.

    It refuses `permute_labels`.
    """

    permute_labels: bool

    def __post_init__(self):
        # Behind the mixin, there is a configuration.
        configuration: typing.Any = super()
        configuration.__post_init__()
        if self.permute_labels:
            raise OptionError("permute_labels: is only for searches by gradients")


def check_warmup(warmup_epochs: int, epochs: int) -> None:
    """Raises an `OptionError` unless the warm-up of a search of `epochs` epochs ends before the search."""
    if not 0 <= warmup_epochs < epochs:
        raise OptionError(f"warmup_epochs={warmup_epochs}: must be at least 0 and less than epochs={epochs}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSearchConfig(SearchConfig):
    """The base class of the configurations of searches for cells."""

    filters: int = option(
        16, "filters of a node in the first stage; for bars, the largest candidate", least=2, profiled=True
    )
    genotype_filters: int | None = option(
        None,
        "filters of the genotype in the first stage, if they differ from those of the supernet; by default the value "
        "of filters",
        least=2,
    )
    warmup_epochs: int = option(
        0, "epochs at the beginning in which only the weights are trained", least=0, in_epochs=True
    )

    permute_labels: bool = option(
        False,
        "train the architecture with permuted labels and keep the genotype of the last epoch, as a control: there is "
        "nothing to learn, so a search whose result looks like that of the control has learnt nothing",
    )
    samples: int = option(
        0,
        "genotypes to draw at the end, of which the best is kept; 0: keep the genotype of the best epoch or, in bars, "
        "the most probable genotype",
        least=0,
    )
    finalists: int = option(
        0, "best ones of the samples to train for a short time, in rounds that keep the better half; 0: none", least=0
    )
    finalist_epochs: int = option(
        5, "epochs of the first round of finalists; each further round has twice as many", least=1, in_epochs=True
    )

    def __post_init__(self):
        super().__post_init__()
        check_warmup(self.warmup_epochs, self.epochs)

    def draw(
        self, space: Architecture, strategy: "Strategy", count: int, input_shape: Sequence[int], num_classes: int
    ) -> list:
        from larq_nas.supernet import drawing

        return drawing.candidates(strategy, space, count, self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainedCellSearchConfig(CellSearchConfig):
    """The base class of the configurations of searches for networks that are a chain of cells with two reductions."""

    layers: int = option(8, "cells of the supernet", least=3, profiled=True)
    genotype_layers: int | None = option(
        None, "cells of the genotype, if the supernet has fewer or more; the value of layers by default", least=3
    )
    normalize: bool = option(
        False,
        "normalize the input of the supernet's classifier, the outputs of bnas's convolutions and the states of bats's "
        "cells; keeps searches on few images from choosing only pools",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.genotype_size and self.max_latency_ms is None:
            raise OptionError("genotype_filters, genotype_layers: are only for max_latency_ms; give it, too")

    @property
    def genotype_size(self) -> dict:
        """The filters and layers of the genotype, as far as they differ from those of the supernet."""
        sizes = {"filters": self.genotype_filters, "layers": self.genotype_layers}
        return {name: value for name, value in sizes.items() if value is not None}
