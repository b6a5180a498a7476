import keras_tuner
import numpy as np
import pytest

import larq_nas
from larq_nas import tuning
from larq_nas.methods import bnas
from larq_nas.tuning import resumable, spaces

SPACE = bnas.space(3, 4)


class _Counting(resumable.ResumableTuner):
    """A tuner that knows how good a genotype is: the share of its edges that are 5x5 convolutions."""

    limit = None

    def run_trial(self, trial, **kwargs):
        if self.limit is not None and len(self.oracle.trials) > self.limit:
            raise KeyboardInterrupt
        names = [edge.operations[0] for cell in spaces.genotype(SPACE, trial.hyperparameters.values).cells
                 for edge in cell.edges]  # fmt: skip
        return {"val_accuracy": float(np.mean([name == "bin_conv_5x5" for name in names]))}


def _tuner(path, seed=1, **options):
    options = {"population": 8, "sample": 3, "max_trials": 60, **options}
    oracle = tuning.RegularizedEvolution(objective="val_accuracy", seed=seed, **options)
    return _Counting(oracle, hyperparameters=spaces.hyperparameters(SPACE), directory=str(path))


def _scores(tuner):
    return [trial.score for trial in tuner.oracle.trials.values()]


def test_children_differ_from_one_recent_trial_in_one_choice_and_get_better(tmp_path):
    tuner = _tuner(tmp_path)
    tuner.search(verbose=0)
    values = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    assert len({tuple(sorted(each.items())) for each in values}) == 60
    for place in range(8, 60):
        distances = []
        for parent in values[place - 8 : place]:
            changed = [name for name, value in parent.items() if values[place].get(name, value) != value]
            # With the states that a node reads, the operations of its new edges are drawn.
            new = [name for name in values[place] if name not in parent]
            nodes = {name.rpartition("/")[0] for name in changed if name.endswith("/inputs")}
            distances.append(len(changed) if all(name.rpartition("/")[0] in nodes for name in new) else 99)
        assert min(distances) == 1
    scores = _scores(tuner)
    assert np.mean(scores[-10:]) > np.mean(scores[:8]) + 0.2


def test_a_killed_evolution_goes_on_as_if_it_had_not_been_killed(tmp_path):
    whole, killed = _tuner(tmp_path / "whole", max_trials=25), _tuner(tmp_path / "killed", max_trials=25)
    whole.search(verbose=0)
    killed.limit = 14
    with pytest.raises(KeyboardInterrupt):
        killed.search(verbose=0)
    again = _tuner(tmp_path / "killed", max_trials=25)
    again.search(verbose=0)
    assert len(whole.oracle.trials) == len(again.oracle.trials) == 25
    for name, trial in whole.oracle.trials.items():
        assert trial.hyperparameters.values == again.oracle.trials[name].hyperparameters.values, name


def test_an_evolution_ends_when_all_has_been_tried(tmp_path):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("a", [1, 2])
    hyperparameters.Fixed("b", 3)
    oracle = tuning.RegularizedEvolution(2, 2, objective="val_accuracy", max_trials=9, seed=1)

    class Tuner(resumable.ResumableTuner):
        def run_trial(self, trial, **kwargs):
            return {"val_accuracy": 1.0}

    tuner = Tuner(oracle, hyperparameters=hyperparameters, directory=str(tmp_path))
    tuner.search(verbose=0)
    assert len(oracle.trials) == 2


def test_a_population_that_is_too_small_is_refused_and_the_command_has_one_that_fits():
    with pytest.raises(ValueError, match="population=4, sample=5: needed are 2 <= sample <= population"):
        tuning.RegularizedEvolution(4, 5, objective="val_accuracy")
    from larq_nas.tuning import task

    for trials, expected in ((1, (2, 2)), (20, (6, 2)), (500, (20, 5))):
        config = larq_nas.flags.configure("tune", oracle="evolution", max_trials=trials, dataset="digits")
        oracle = task._oracle(config, None, None)
        assert (oracle.population, oracle.sample) == expected
