"""A tuner of KerasTuner for your own Larq models."""

import pathlib

from keras_tuner.engine import base_tuner


class ModelTuner(base_tuner.BaseTuner):
    """A tuner of your own models, for any oracle of KerasTuner.

    The tuners of KerasTuner import Keras 3 beside TensorFlow 2.16 and later, and then refuse Larq models, which need
    Keras 2. This tuner builds and fits a model as they do, but does not look at its class. `docs/tuning.md` has an
    example.

    # Arguments
        oracle: A `keras_tuner.Oracle`. Its objective is a metric of the last epoch.
        hypermodel: A `keras_tuner.HyperModel`, or a function from hyperparameters to a compiled model.
        kwargs: Arguments of `keras_tuner.engine.base_tuner.BaseTuner`: `directory`, `project_name`, `overwrite`.
    """

    def __init__(self, oracle, hypermodel, **kwargs):
        super().__init__(oracle, hypermodel, **kwargs)

    def run_trial(self, trial, *args, **kwargs):
        """Fits the model of a trial. The arguments are those of `search`, and go to `tf.keras.Model.fit`."""
        model = self.hypermodel.build(trial.hyperparameters)
        history = self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)
        model.save_weights(self._weights(trial))
        return {name: values[-1] for name, values in history.history.items()}

    def load_model(self, trial):
        """Builds the model of a trial and loads its weights after the last epoch."""
        model = self.hypermodel.build(trial.hyperparameters)
        model.load_weights(self._weights(trial))
        return model

    def _weights(self, trial):
        return pathlib.Path(self.get_trial_dir(trial.trial_id)) / "weights.h5"
