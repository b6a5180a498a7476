"""The configuration of a search by BATS."""

import dataclasses
import typing
from collections.abc import Sequence

from larq_nas.configs import ChainedCellSearchConfig, GroupsConfig, TrainConfig
from larq_nas.methods.bats.search_space import scale, space
from larq_nas.options import changed_default, option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas.methods.bats.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatsConfig(GroupsConfig, ChainedCellSearchConfig):
    """The configuration of a search by BATS. The defaults follow the search on CIFAR-10, as far as it is known."""

    heading: typing.ClassVar[str] = "bats"
    network_options: typing.ClassVar[tuple[str, ...]] = (
        *("filters", "layers", "groups", "channels_per_group"),
        "auxiliary_weight",
    )
    tuned_options: typing.ClassVar[tuple[str, ...]] = (
        *ChainedCellSearchConfig.tuned_options,
        "softmax_temperature:0.1..1",
    )

    filters: int = changed_default(ChainedCellSearchConfig, "filters", 24)
    optimizer: str = changed_default(ChainedCellSearchConfig, "optimizer", "adam")
    learning_rate: float = changed_default(ChainedCellSearchConfig, "learning_rate", 0.001)
    final_learning_rate: float = changed_default(ChainedCellSearchConfig, "final_learning_rate", 0.0)
    weight_decay: float = changed_default(ChainedCellSearchConfig, "weight_decay", 0.0)
    clip_norm: float = changed_default(ChainedCellSearchConfig, "clip_norm", 5.0)
    softmax_temperature: float = option(0.2, "temperature of the softmax over the operations of an edge", least=1e-3)
    binarize: bool = option(True, "search a binary network; otherwise, a network without quantizers", profiled=True)
    binarize_preprocess: bool = option(True, "binarize the 1x1 convolutions at the inputs of cells, too", profiled=True)

    def space(self) -> Architecture:
        options = {"binarize": self.binarize, "binarize_preprocess": self.binarize_preprocess}
        return space(self.layers, self.filters, **self.group_options, **options)

    @classmethod
    def scaled(cls, genotype: Architecture, config: TrainConfig) -> Architecture:
        return scale(genotype, config.filters, config.layers, **config.group_options)

    def strategy(self, space: Architecture, input_shape: Sequence[int], num_classes: int) -> "Strategy":
        from larq_nas.methods.bats.strategy import Strategy

        counted = scale(space, **self.genotype_size)
        return Strategy(
            self.softmax_temperature,
            limit=self.limit(counted, input_shape, num_classes, excluded=("none",)),
            warmup_epochs=self.warmup_epochs,
            normalize=self.normalize,
            samples=self.samples,
        )
