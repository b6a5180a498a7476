"""The configuration of a search by BARS."""

import dataclasses
import logging
import typing
from collections.abc import Sequence

from larq_nas.configs import CellSearchConfig, amount, is_amount, shape_option
from larq_nas.methods.bars.derivation import check_samples
from larq_nas.methods.bars.search_space import scale, share_of_range, space
from larq_nas.options import OptionError, changed_default, option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas.methods.bars.strategy import Strategy

logger = logging.getLogger(__name__)


def is_budget(text: str) -> bool:
    """Whether a text is a positive number, e.g. `"2096M"`, or a share of at most 100 %, e.g. `"40%"`."""
    share = text[:-1] if text.endswith("%") else None
    return is_amount(text) if share is None else share.isdecimal() and 0 < int(share) <= 100


def _amount(help):
    return option(None, help, check=is_amount, accepted="give a positive number, e.g. 2096M or 2.77M")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarsConfig(CellSearchConfig):
    """The configuration of a search by BARS. The defaults follow the search on CIFAR-10, as far as it is published."""

    heading: typing.ClassVar[str] = "bars"
    tuned_options: typing.ClassVar[tuple[str, ...]] = (
        *CellSearchConfig.tuned_options,
        "entropy_weight:0.001..0.1",
        "temperature:0.5..5",
    )

    filters: int = changed_default(CellSearchConfig, "filters", 56)
    batch_size: int = changed_default(CellSearchConfig, "batch_size", 256)
    learning_rate: float = changed_default(CellSearchConfig, "learning_rate", 0.01)
    final_learning_rate: float = changed_default(CellSearchConfig, "final_learning_rate", 0.0001)
    clip_norm: float = changed_default(CellSearchConfig, "clip_norm", 5.0)
    warmup_epochs: int = changed_default(CellSearchConfig, "warmup_epochs", 5)
    cells_per_stage: int = option(3, "largest number of cells in a stage, without the reduction cell", least=1)
    shared_cells: bool = option(False, "search one cell for all stages and one reduction cell for all reductions")
    width_search: bool = option(True, "search the width of each stage; otherwise, use the largest")
    depth_search: bool = option(True, "search the depth of each stage; otherwise, use the largest")
    cell_shortcut: bool = option(True, "add a shortcut around each cell")
    gumbel: bool = option(True, "sample choices by Gumbel-softmax; otherwise, mix candidates by softmax")
    temperature: float = option(5.0, "temperature of the Gumbel-softmax at first", least=1e-6)
    final_temperature: float = option(0.1, "temperature of the Gumbel-softmax in the last epoch", least=1e-6)
    entropy_weight: float = option(
        0.01, "weight of the entropy in the last epoch; it rises linearly from the negative of this value", least=0
    )
    capacity_exponent: float = option(
        1.0,
        "exponent of the penalty: above the budget, (cost / budget) ** exponent multiplies the loss; 0: no penalty",
        least=0,
    )
    capacity_exponent_below: float = option(
        0.0,
        "exponent of the same factor below the budget; 0: none; a negative number penalizes cheaper networks, so that "
        "the search uses its budget",
        most=0,
    )
    samples: int = changed_default(CellSearchConfig, "samples", 8)
    budget: str | None = option(
        None,
        "budget of binary operations of the genotype (two for each multiply-accumulate), e.g. 2096M; or a share of the "
        "way from the smallest network of the space to the largest, e.g. 40%",
        check=is_budget,
        accepted="give a positive number, e.g. 2096M, or 40%",
    )
    budget_params: str | None = _amount(
        "draw only genotypes with about this many parameters and as many binary operations as budget says"
    )
    budget_flops: str | None = _amount(
        "draw only genotypes with about this many float operations and as many binary operations as budget says"
    )
    budget_tolerance: float = option(
        0.02, "largest relative difference of drawn genotypes from budget, budget_params, budget_flops", least=0
    )
    budget_shape: tuple[int, ...] | None = shape_option(
        None,
        "height, width and channels of the images for which costs are counted; those of the data set by default",
    )
    budget_classes: int | None = option(
        None, "number of classes for which costs are counted; that of the data set by default", least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.budget is None and (self.budget_params or self.budget_flops) and self.max_latency_ms is None:
            raise OptionError("budget_params, budget_flops: need budget, too")
        check_samples(self.samples, self.max_latency_ms is not None)

    def space(self) -> Architecture:
        names = ("cells_per_stage", "shared_cells", "width_search", "depth_search", "cell_shortcut")
        return space(self.filters, **{name: getattr(self, name) for name in names})

    def strategy(self, space: Architecture, input_shape: Sequence[int], num_classes: int) -> "Strategy":
        from larq_nas.methods.bars.strategy import Strategy

        counted = scale(space, self.genotype_filters or self.filters), input_shape, num_classes
        budgets = self._budgets(counted)
        names = ("epochs", "warmup_epochs", "temperature", "final_temperature", "entropy_weight", "gumbel", "samples")
        return Strategy(
            **{name: getattr(self, name) for name in names},
            capacity_exponent=self.capacity_exponent,
            capacity_exponent_below=self.capacity_exponent_below,
            budget=budgets.get("biops"),
            accepted=budgets if len(budgets) > 1 else {},
            tolerance=self.budget_tolerance,
            counted=counted,
            limit=self.limit(*counted),
        )

    def _budgets(self, counted):
        """The budgets as numbers, by the name of a cost: `biops`, `params`, `flops`."""
        options = {"biops": self.budget, "params": self.budget_params, "flops": self.budget_flops}
        texts = {name: text for name, text in options.items() if text}
        if self.max_latency_ms is not None:
            if texts:
                logger.info("max_latency_ms is used instead of the budget")
            return {}
        found = {}
        for name, text in texts.items():
            if text.endswith("%"):
                found[name] = share_of_range(counted[0], float(text[:-1]) / 100, *counted[1:])
                logger.info("budget: %s binary operations", f"{found[name]:,.0f}")
            else:
                found[name] = amount(text)
        return found

    def counted_images(self, input_shape: Sequence[int], num_classes: int) -> tuple:
        return self.budget_shape or input_shape, self.budget_classes or num_classes
