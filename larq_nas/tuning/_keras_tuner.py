"""The private parts of KerasTuner that larq_nas uses."""

import contextlib
import functools
import io
from collections.abc import Callable
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.src import config

from larq_nas.tuning.errors import TuningError

# Random values that an oracle draws at most for a trial, until they are new and accepted.
ATTEMPTS = 1_000


def accept_only(oracle: keras_tuner.Oracle, accepts: Callable[[dict], bool]) -> None:
    """Lets an oracle draw again what is not accepted, as it does with values that it has drawn before.

    Values that an oracle does not draw at random, e.g. those that maximize an acquisition function, are not affected.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        accepts: A function from a dictionary of values to whether they are accepted.
    """
    seen = oracle._duplicate
    oracle._duplicate = lambda values: seen(values) or not accepts(values)
    oracle._max_collisions = ATTEMPTS


def space_of(hyperparameters: keras_tuner.HyperParameters) -> list:
    """The names, values and conditions of hyperparameters, for a comparison."""
    return hyperparameters.get_config()["space"]


class ResumableTuner(base_tuner.BaseTuner):
    """A `BaseTuner` that goes on with every oracle, and that does not print.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        hypermodel: See `BaseTuner`.
        hyperparameters: The hyperparameters, which must be those of a tuning that the directory holds; `None` if
            `hypermodel` defines them.
        kwargs: Further arguments of `BaseTuner`: `directory`, `project_name`, `overwrite`.

    # Raises
        TuningError: If the directory holds a tuning that is broken, or one of other hyperparameters.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: Any = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        **kwargs: Any,
    ) -> None:
        where = f"{kwargs.get('directory') or '.'}/{kwargs.get('project_name') or 'untitled_project'}"
        another = "choose another directory, or start again with overwrite=True"
        if hyperparameters is not None:
            oracle.update_space(hyperparameters)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                super().__init__(oracle, hypermodel, **kwargs)
        except (AttributeError, KeyError, RuntimeError, ValueError) as error:
            raise TuningError(f"{where}: holds a broken tuning ({error}); {another}") from None
        if self._is_worker():
            return
        if hyperparameters is not None and space_of(oracle.get_space()) != space_of(hyperparameters):
            raise TuningError(f"{where}: holds a tuning of other hyperparameters; {another}")
        if isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
            _restore(oracle)

    def _try_run_and_update_trial(self, *args, **kwargs):
        # KerasTuner prints the traceback of each trial that fails.
        before, config.DEBUG = config.DEBUG, False
        try:
            super()._try_run_and_update_trial(*args, **kwargs)
        finally:
            config.DEBUG = before


def _restore(oracle):
    """Restores what a grid search does not save: the order of its trials, and those whose successors are not known."""

    def compare(first, second):
        return oracle._compare(*(oracle.trials[name].hyperparameters.values for name in (first, second)))

    for name in sorted(oracle.start_order, key=functools.cmp_to_key(compare)):
        oracle._ordered_ids.insert(name)
    oracle._populate_next = list(oracle.start_order)
