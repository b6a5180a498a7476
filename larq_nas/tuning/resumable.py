"""The base class of all tuners."""

import contextlib
import io
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from larq_nas.tuning import _keras_tuner, workers
from larq_nas.tuning.errors import TuningError


class ResumableTuner(base_tuner.BaseTuner):
    """A `BaseTuner` that goes on with every oracle, that does not print, and that may be a chief or a worker.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        hypermodel: See `BaseTuner`.
        hyperparameters: The hyperparameters, which must be those of a tuning that the directory holds; `None` if
            `hypermodel` defines them.
        kwargs: Further arguments of `BaseTuner`: `directory`, `project_name`, `overwrite`.

    # Raises
        TuningError: If the directory holds a tuning that is broken, or one of other hyperparameters, or if the process
            is a worker and no chief answers, see `workers`.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: Any = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        **kwargs: Any,
    ) -> None:
        self.role = workers.role()
        where = f"{kwargs.get('directory') or '.'}/{kwargs.get('project_name') or 'untitled_project'}"
        another = "choose another directory, or start again with overwrite=True"
        if self.role == workers.WORKER:
            # The directory belongs to the chief.
            kwargs["overwrite"] = False
            workers.wait_for_chief()
        if hyperparameters is not None:
            oracle.update_space(hyperparameters)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                super().__init__(oracle, hypermodel, **kwargs)
        except (AttributeError, KeyError, RuntimeError, ValueError) as error:
            raise TuningError(f"{where}: holds a broken tuning ({error}); {another}") from None
        if self.role == workers.WORKER:
            self.oracle = workers.Client(oracle)
        else:
            _keras_tuner.mend(oracle)
        found = self.oracle.get_space()
        if hyperparameters is not None and _keras_tuner.space_of(found) != _keras_tuner.space_of(hyperparameters):
            raise TuningError(f"{where}: holds a tuning of other hyperparameters; {another}")
        if self.role != workers.WORKER and isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
            _keras_tuner.restore_grid(oracle)

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Runs or resumes the tuning. The arguments are those of `run_trial`.

        # Raises
            TuningError: If this process is a chief whose address cannot be used, or a worker whose chief does not
                answer any more.
        """
        with _keras_tuner.without_tracebacks():
            if self.role == workers.CHIEF:
                names = _keras_tuner.adopt(self.oracle)
                self.save()
                workers.serve(self.oracle, names)
            elif self.role == workers.WORKER:
                with self.oracle.working():
                    super().search(*args, **kwargs)
            else:
                super().search(*args, **kwargs)
