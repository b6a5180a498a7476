"""Regularized evolution as an oracle of KerasTuner."""

import random
from typing import Any

import keras_tuner

from larq_nas.tuning import _keras_tuner


class RegularizedEvolution(_keras_tuner.DrawingOracle):
    """An oracle that changes one value of a good trial at a time.

    The first `population` trials are drawn evenly. For each further trial, `sample` trials are drawn from the last
    `population` trials that have ended. The best of these is the parent. The new trial has its values, except that one
    of them is drawn anew, and that choices which become active by this are drawn, too. Several tuners may ask for
    trials at the same time.

    # Arguments
        population: Number of recent trials from which parents are chosen.
        sample: Number of trials among which the best is the parent.
        kwargs: Arguments of `keras_tuner.Oracle`: `objective`, `max_trials`, `seed` and others.

    # Raises
        ValueError: If `population` or `sample` is below 2, or if `sample` exceeds `population`.

    # References
        - [Regularized Evolution for Image Classifier Architecture Search](https://arxiv.org/abs/1802.01548),
          algorithm 1. The paper uses a population of 100 and samples of 25 among 20,000 trials.
    """

    def __init__(self, population: int = 20, sample: int = 5, **kwargs: Any) -> None:
        if not 2 <= sample <= population:
            raise ValueError(f"population={population}, sample={sample}: needed are 2 <= sample <= population")
        super().__init__(**kwargs)
        self.population, self.sample = population, sample

    def populate_space(self, trial_id: str) -> dict:
        """Chooses the values of a trial."""
        ended = [self.trials[name] for name in self.end_order]
        recent = [trial for trial in ended if trial.status == "COMPLETED"][-self.population :]
        begins = len(self.start_order) < self.population or not recent
        values = self.drawn() if begins else self._child(recent)
        return {"status": "STOPPED"} if values is None else {"status": "RUNNING", "values": values}

    def _child(self, recent):
        """The values of a child of one of the recent trials; `None` if all children have been tried."""
        sign = 1 if self.objective.direction == "max" else -1
        for _ in range(_keras_tuner.ATTEMPTS):
            generator = random.Random(self.next_seed())
            sampled = generator.sample(recent, min(self.sample, len(recent)))
            parent = max(sampled, key=lambda trial: sign * trial.score).hyperparameters.values
            names = self._open(parent)
            values = self._changed(parent, generator.choice(names)) if names else parent
            if self.is_new(values):
                return values
        return None

    def _open(self, values):
        """The names of those of the values that another value could replace."""
        several = {each.name for each in self.hyperparameters.space if len(set(each.values)) > 1}
        return [name for name in values if name in several]

    def _changed(self, parent, name):
        """The values of a parent, with another value of one name and values of what becomes active by it."""
        found = keras_tuner.HyperParameters()
        for each in self.hyperparameters.space:
            found.merge([each])
            if found.is_active(each):
                found.values[each.name] = parent.get(each.name)
                while each.name == name and found.values[name] == parent[name] or found.values[each.name] is None:
                    found.values[each.name] = each.random_sample(self.next_seed())
        return found.values
