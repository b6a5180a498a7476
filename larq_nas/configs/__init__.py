"""Configurations of `larq_nas.search`, `train`, `tune`, `compare`, `rank`, `convert`, `evaluate` and `benchmark`.

Each field of a configuration is also a flag of the command, under the same name. Each search method has a configuration
of its own, which is a subclass of `SearchConfig`, for example `methods.bnas.BnasConfig`. The defaults are the published
hyper-parameters for CIFAR-10.
"""

from larq_nas.configs.benchmarks import BenchmarkConfig, MeasureConfig, ProfileConfig, profile_config
from larq_nas.configs.conversions import ConvertConfig, EvaluateConfig
from larq_nas.configs.listings import CostsConfig, DrawConfig, ZooConfig
from larq_nas.configs.searches import (
    CellSearchConfig,
    ChainedCellSearchConfig,
    SearchConfig,
    WithoutGradients,
    check_warmup,
)
from larq_nas.configs.shared import (
    DataConfig,
    FitConfig,
    GroupsConfig,
    RunConfig,
    SeedConfig,
    amount,
    is_amount,
    shape_option,
)
from larq_nas.configs.trainings import CompareConfig, RankConfig, RecipeConfig, TrainConfig
from larq_nas.configs.tunings import (
    ArchitectureTuneConfig,
    RecipeTuneConfig,
    SearchTuneConfig,
    TuneConfig,
    search_tune_config,
    tune_config,
)

__all__ = [
    "ArchitectureTuneConfig",
    "BenchmarkConfig",
    "CellSearchConfig",
    "ChainedCellSearchConfig",
    "CompareConfig",
    "ConvertConfig",
    "CostsConfig",
    "DataConfig",
    "DrawConfig",
    "EvaluateConfig",
    "FitConfig",
    "GroupsConfig",
    "MeasureConfig",
    "ProfileConfig",
    "RankConfig",
    "RecipeConfig",
    "RecipeTuneConfig",
    "RunConfig",
    "SearchConfig",
    "SearchTuneConfig",
    "SeedConfig",
    "TrainConfig",
    "TuneConfig",
    "WithoutGradients",
    "ZooConfig",
    "amount",
    "check_warmup",
    "is_amount",
    "profile_config",
    "search_tune_config",
    "shape_option",
    "tune_config",
]
