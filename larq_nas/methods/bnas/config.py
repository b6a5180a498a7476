"""The configuration of a search by BNAS."""

import dataclasses
import typing
from collections.abc import Sequence

from larq_nas.configs import ChainedCellSearchConfig, TrainConfig
from larq_nas.methods.bnas.search_space import scale, space
from larq_nas.options import option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas.methods.bnas.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class BnasConfig(ChainedCellSearchConfig):
    """The configuration of a search by BNAS. The defaults are those of the published search on CIFAR-10."""

    heading: typing.ClassVar[str] = "bnas"
    network_options: typing.ClassVar[tuple[str, ...]] = ("filters", "layers")
    tuned_options: typing.ClassVar[tuple[str, ...]] = (*ChainedCellSearchConfig.tuned_options, "diversity:0|0.3|1|3")

    diversity: float = option(1.0, "strength of the diversity regulariser", least=0)
    diversity_decay: float = option(
        7.7, "epochs in which the strength of the diversity regulariser falls to 1/e", least=1e-6, in_epochs=True
    )
    reduce_index_bug: bool = option(
        False, "count only the last edge of the reduction cell in the diversity regulariser, as the authors' code does"
    )
    zeroise: bool = option(True, "let edges have the operation none", profiled=True)
    skip: bool = option(True, "add shortcuts between cells")

    def space(self) -> Architecture:
        return space(self.layers, self.filters, self.zeroise, self.skip)

    @classmethod
    def scaled(cls, genotype: Architecture, config: TrainConfig) -> Architecture:
        return scale(genotype, config.filters, config.layers)

    def strategy(self, space: Architecture, input_shape: Sequence[int], num_classes: int) -> "Strategy":
        from larq_nas.methods.bnas.strategy import Strategy

        return Strategy(
            self.diversity,
            self.diversity_decay,
            self.reduce_index_bug,
            limit=self.limit(scale(space, **self.genotype_size), input_shape, num_classes),
            warmup_epochs=self.warmup_epochs,
            normalize=self.normalize,
            samples=self.samples,
        )
