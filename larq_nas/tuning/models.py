"""A tuner of KerasTuner for your own Larq models."""

import copy
import pathlib
from typing import Any

import keras_tuner
import tensorflow as tf

from larq_nas.tuning.resumable import ResumableTuner


class ModelTuner(ResumableTuner):
    """A tuner of your own models, for any oracle of KerasTuner.

    The tuners of KerasTuner import Keras 3 beside TensorFlow 2.16 and later, and then refuse Larq models, which need
    Keras 2. This tuner builds and fits a model as they do, but does not look at its class. `docs/tuning.md` has an
    example.

    # Arguments
        oracle: A `keras_tuner.Oracle`. Its objective is a metric of the last epoch.
        hypermodel: A `keras_tuner.HyperModel`, or a function from hyperparameters to a compiled model.
        kwargs: Arguments of `keras_tuner.engine.base_tuner.BaseTuner`: `directory`, `project_name`, `overwrite`.

    # Raises
        TuningError: If the directory holds a tuning that is broken.
    """

    def __init__(self, oracle: keras_tuner.Oracle, hypermodel: Any, **kwargs: Any) -> None:
        super().__init__(oracle, hypermodel, **kwargs)

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, *args: Any, **kwargs: Any) -> Any:
        """Fits the model of a trial. The arguments are those of `search`, and go to `tf.keras.Model.fit`."""
        values = trial.hyperparameters.values
        # Callbacks have a state of their own in each trial.
        kwargs = {**kwargs, "callbacks": copy.deepcopy(kwargs.get("callbacks"))}
        model = self.hypermodel.build(trial.hyperparameters)
        if "tuner/epochs" in values:
            kwargs |= {"epochs": values["tuner/epochs"], "initial_epoch": values["tuner/initial_epoch"]}
        if values.get("tuner/trial_id"):
            model.load_weights(self._weights(values["tuner/trial_id"]))
        result = self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)
        model.save_weights(self._weights(trial.trial_id))
        # A `HyperModel` may also return its metrics.
        return {name: rows[-1] for name, rows in result.history.items()} if hasattr(result, "history") else result

    def load_model(self, trial: keras_tuner.engine.trial.Trial) -> tf.keras.Model:
        """Builds the model of a trial and loads its weights after the last epoch."""
        model = self.hypermodel.build(trial.hyperparameters)
        model.load_weights(self._weights(trial.trial_id))
        return model

    def _weights(self, trial_id):
        return pathlib.Path(self.get_trial_dir(trial_id)) / "weights.h5"
