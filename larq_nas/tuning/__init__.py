"""Tuning with KerasTuner: architectures, recipes and searches, by tuners whose trials are trainings.

`spaces` converts search spaces to hyperparameters and back. `ArchitectureTuner` tunes genotypes, `RecipeTuner` the
options of a training, `SearchTuner` those of a search, and `ModelTuner` your own Larq models, all with any oracle of
KerasTuner, or with `RegularizedEvolution`. `workers` lets several machines share the trials of a tuning. There are
examples in `docs/tuning.md`.
"""

from larq_nas.tuning.errors import TuningError
from larq_nas.tuning.evolution import RegularizedEvolution
from larq_nas.tuning.limits import Limits
from larq_nas.tuning.models import ModelTuner
from larq_nas.tuning.tuners import ArchitectureTuner, RecipeTuner, SearchTuner, TrainingTuner

__all__ = [
    "ArchitectureTuner",
    "Limits",
    "ModelTuner",
    "RecipeTuner",
    "RegularizedEvolution",
    "SearchTuner",
    "TrainingTuner",
    "TuningError",
]
