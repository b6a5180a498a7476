"""The configuration of a search by DMS."""

import dataclasses
import logging
import typing
from collections.abc import Sequence

import numpy as np

from larq_nas.configs import CellSearchConfig, SearchConfig, TrainConfig
from larq_nas.methods.dms.search_space import base_widths, check_scales, derive, rounded, space, with_widths
from larq_nas.options import OptionError, changed_default, option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas import datasets, runs
    from larq_nas.methods.dms.strategy import Strategy

logger = logging.getLogger(__name__)

# Ratios of the widths of the base network among which `larq_nas tune` chooses.
TUNED_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DmsConfig(SearchConfig):
    """The configuration of a search by DMS.

    The defaults are those of the published search on CIFAR-10, except `memory_target`, which has no default. The paper
    uses 0.12 and 1.
    """

    heading: typing.ClassVar[str] = "dms"
    unit: typing.ClassVar[str] = "round"
    network_options: typing.ClassVar[tuple[str, ...]] = ("width",)
    tuned_options: typing.ClassVar[tuple[str, ...]] = (*SearchConfig.tuned_options, "scale:0.5|1|2", "ratio:0.5..2")

    epochs: int = changed_default(SearchConfig, "epochs", 250)
    learning_rate: float = changed_default(SearchConfig, "learning_rate", 0.05)
    final_learning_rate: float = changed_default(SearchConfig, "final_learning_rate", 0.01)
    weight_decay: float = changed_default(SearchConfig, "weight_decay", 1e-4)
    architecture_learning_rate: float = changed_default(SearchConfig, "architecture_learning_rate", 0.002)
    architecture_weight_decay: float = changed_default(SearchConfig, "architecture_weight_decay", 0.0)
    backbone: str | Architecture = option(
        "vgg11",
        "network whose widths are searched: vgg11, resnet18, or a genotype of bars",
        is_path=True,
        is_genotype=True,
        profiled=True,
    )
    width: int = option(1, "factor of the widths of the backbone; 4 for the networks for ImageNet", least=1)
    rounds: int = option(50, "rounds, each with new candidate widths; epochs must be a multiple of it", least=1)
    ratio: float = option(1.5, "mean ratio of all widths to those of the backbone at first", least=0.3)
    scale: float = option(1.0, "scale of the distributions of the ratios at first", least=0.01)
    final_scale: float = option(0.3, "scale of the distributions of the ratios in the last round", least=0.01)
    memory_target: float | None = option(None, "megabytes (2^20 bytes) above which memory adds to the loss", least=0)
    memory_weight: float = option(0.01, "loss per megabyte above memory_target", least=0)
    genotype_megabytes: float | None = option(
        None,
        "megabytes of the genotype; the ratios that the search finds are multiplied by a factor to reach this size",
        least=0,
    )
    samples: int = option(
        0,
        "genotypes to draw at the end, the first one as found, the others around it and of its size; they are trained "
        "for a short time, in rounds that keep the better half; 0: keep the genotype as found",
        least=0,
    )
    finalist_epochs: int = changed_default(CellSearchConfig, "finalist_epochs", 5)
    best_effort: bool = option(True, "when the network is rebuilt, keep the weights that fit into the new one")

    def __post_init__(self):
        super().__post_init__()
        if self.epochs % self.rounds:
            raise OptionError(f"epochs={self.epochs}: must be a multiple of rounds={self.rounds}")
        check_scales(self.scale, self.final_scale)

    @property
    def epochs_unit(self) -> int:
        return self.rounds

    def space(self) -> Architecture:
        return space(self.backbone, self.width)

    def tuned_space(self) -> Architecture:
        """The base network with candidate widths between a quarter and the double of each width."""
        base = self.space()
        widths = rounded(base, np.tile(TUNED_RATIOS, (len(base.stages), 1)))
        return with_widths(base, [sorted(set(candidates.tolist())) for candidates in widths])

    @classmethod
    def scaled(cls, genotype: Architecture, config: TrainConfig) -> Architecture:
        if config.width is None:
            return genotype
        return with_widths(genotype, config.width * base_widths(genotype)[:, np.newaxis])

    def strategy(self, space: Architecture, input_shape: Sequence[int], num_classes: int) -> "Strategy":
        from larq_nas.methods.dms.distributions import Distributions
        from larq_nas.methods.dms.strategy import Strategy

        names = ("rounds", "ratio", "scale", "final_scale", "memory_target", "memory_weight", "best_effort")
        options = {name: getattr(self, name) for name in (*names, "genotype_megabytes")}
        if self.max_latency_ms is not None and (self.memory_target or self.genotype_megabytes):
            logger.info("max_latency_ms is used instead of memory_target and genotype_megabytes")
            options |= {"memory_target": None, "genotype_megabytes": None}
        limit = self.limit(derive(space, np.zeros(len(space.stages))), input_shape, num_classes)
        distributions = Distributions(**options, limit=limit)
        distributions.check(space, input_shape, num_classes)
        return Strategy(distributions, space, input_shape, num_classes)

    # Both take the `Strategy` of DMS, and mypy does not let a subclass accept less than its base.
    def search(
        self, space: Architecture, strategy: typing.Any, data: "datasets.Images", run: "runs.Run"
    ) -> Architecture:
        from larq_nas.methods.dms import searching

        return searching.search(strategy, data, run, self)

    def draw(
        self, space: Architecture, strategy: typing.Any, count: int, input_shape: Sequence[int], num_classes: int
    ) -> list:
        return strategy.distributions.draw(space, count, self.seed, input_shape, num_classes)

    def profiled_spaces(self) -> list:
        base = self.space()
        # The times of widths between these ratios are fitted.
        return [derive(base, np.full(len(base.stages), ratio)) for ratio in (0.25, 0.5, 1, 1.5)]
