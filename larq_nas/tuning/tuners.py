"""Tuners of KerasTuner whose trials are trainings of binary networks."""

import logging
import math
import pathlib

import keras_tuner
import tensorflow as tf
from keras_tuner.engine import base_tuner
from tensorboard.plugins.hparams import api as hparams

from larq_nas import options, runs
from larq_nas.configs import RecipeConfig
from larq_nas.networks import reachability
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import compare, lengths, processes
from larq_nas.tasks.data import load_images
from larq_nas.tasks.genotypes import load_network
from larq_nas.tasks.train import count
from larq_nas.tasks.trained import load_trained
from larq_nas.tuning import _keras_tuner, spaces
from larq_nas.tuning.limits import Limits

logger = logging.getLogger(__name__)

METRICS = ("val_accuracy", "val_loss")
_NO_LIMITS = Limits()


class TuningError(ValueError):
    """A tuning cannot begin or go on. The message says what to do."""


class TrainingTuner(base_tuner.BaseTuner):
    """The base class of tuners whose trials are trainings, each in a process of its own.

    A subclass defines `training`, which says what a trial trains. A trial of Hyperband continues with the weights of
    the trial from which it was promoted. A trial whose network exceeds a limit is not trained, and has the worst
    figures. An interrupted tuning goes on with the trial, and with the epoch, in which it was interrupted.

    # Arguments
        oracle: A `keras_tuner.Oracle`. Its objective is `"val_accuracy"` or `"val_loss"`, the figures of the validation
            images after the last epoch.
        hyperparameters: The `keras_tuner.HyperParameters` to tune.
        example: A genotype that may be trained, or the name of a network of the zoo. It must fit the images.
        recipe: The `configs.RecipeConfig` of the trainings. Its `validation_fraction` must not be 0.
        limits: The `limits.Limits` on the costs of the networks.
        seed: The seed of the trainings.
        kwargs: Arguments of `keras_tuner.engine.base_tuner.BaseTuner`: `directory`, `project_name`, `overwrite`.

    # Raises
        TaskError: If the images are too small for the networks.
        TuningError: If the directory holds a tuning of other hyperparameters.
    """

    def __init__(self, oracle, hyperparameters, example, recipe: RecipeConfig, limits=_NO_LIMITS, seed=0, **kwargs):
        if not recipe.validation_fraction:
            raise TuningError("validation_fraction=0: trials are judged on validation images; give a share, e.g. 0.2")
        data = load_images(recipe)
        count(load_network(example), data, "the network")
        self.recipe, self.limits, self.seed = recipe, limits, seed
        self.image_shape, self.num_classes = data.image_shape, len(data.class_names)
        oracle.update_space(hyperparameters)
        super().__init__(oracle, **kwargs)
        if not self._is_worker() and self.oracle.get_space().get_config()["space"] != _config(hyperparameters):
            raise TuningError(
                f"{self.project_dir}: holds a tuning of other hyperparameters; choose another directory, or start "
                "again with overwrite=True"
            )

    def training(self, values: dict) -> tuple:
        """Says what a trial trains.

        # Arguments
            values: The values of the hyperparameters by name.

        # Returns
            The genotype, or the name of a network of the zoo, and the `configs.RecipeConfig` of the training.
        """
        raise NotImplementedError

    def run(self, trial_id: str) -> runs.Run:
        """The run directory of a trial."""
        return runs.Run(pathlib.Path(self.get_trial_dir(trial_id)) / "run")

    def run_trial(self, trial, verbose=None):
        """Trains the network of a trial. `search` passes `verbose`, which only concerns the oracle."""
        values = trial.hyperparameters.values
        network, recipe = self.training(values)
        exceeded = self.exceeded(network)
        if exceeded:
            logger.info("trial %s: not trained, since %s", trial.trial_id, exceeded)
            return {"val_accuracy": 0.0, "val_loss": 10 * math.log(self.num_classes)}
        run = self.run(trial.trial_id)
        if not run.weights.exists():
            try:
                self._train(network, recipe, values, run)
            except ValueError as error:
                logger.warning("trial %s: failed: %s", trial.trial_id, error)
                raise
        figures = runs.read_json(run.metrics)
        with runs.expected_form(run.metrics):
            metrics = {name: float(figures[name]) for name in METRICS}
        shown = f"validation accuracy {metrics['val_accuracy']:.2%}, loss {metrics['val_loss']:.4f}"
        logger.info("trial %s: %s", trial.trial_id, shown)
        with tf.summary.create_file_writer(str(run.path.parent / "logs")).as_default():
            hparams.hparams(values, trial_id=trial.trial_id)
            for name, value in metrics.items():
                tf.summary.scalar(name, value, step=0)
        return metrics

    def exceeded(self, network) -> str:
        """Says which limit a network exceeds; an empty text if it keeps them all."""
        if not isinstance(network, Architecture):
            return ""
        return self.limits.exceeded(network, self.image_shape, self.num_classes)

    def load_model(self, trial):
        """Loads the trained network of a trial, a Keras model."""
        network, _ = load_trained(self.run(trial.trial_id))
        return network

    def _train(self, network, recipe, values, run):
        flags = {"seed": self.seed, "genotype": network}
        if "tuner/epochs" in values:
            recipe = lengths.of_epochs(recipe, values["tuner/epochs"] - values["tuner/initial_epoch"])
        if values.get("tuner/trial_id"):
            flags["initial_weights"] = self.run(values["tuner/trial_id"]).weights
        folder = run.path.parent
        if isinstance(network, Architecture):
            flags["genotype"] = folder / "genotype.json"
            runs.write(flags["genotype"], network.to_json())
        runs.write(folder / "train.flags", compare.flag_file(recipe))
        processes.train(run, flagfile=folder / "train.flags", **flags)


def _config(hyperparameters):
    return hyperparameters.get_config()["space"]


class ArchitectureTuner(TrainingTuner):
    """A tuner of genotypes.

    # Arguments
        oracle: A `keras_tuner.Oracle`. If it draws values at random, it draws until a genotype keeps the limits.
        space: The search space, an `Architecture`.
        recipe, limits, seed, kwargs: See `TrainingTuner`.

    # Raises
        ArchitectureError: If the space leaves no choice open.
        TuningError: If the directory holds a tuning of another space.
    """

    def __init__(self, oracle, space: Architecture, recipe: RecipeConfig, **kwargs):
        self.space = space
        _keras_tuner.accept_only(oracle, self._accepts)
        super().__init__(oracle, spaces.hyperparameters(space), space.sample(0), recipe, **kwargs)

    def genotype(self, hyperparameters: keras_tuner.HyperParameters) -> Architecture:
        """The genotype that hyperparameters describe, e.g. those of the best trial."""
        return spaces.genotype(self.space, hyperparameters.values)

    def training(self, values: dict) -> tuple:
        return spaces.genotype(self.space, values), self.recipe

    def exceeded(self, network) -> str:
        return super().exceeded(network) or (
            "" if reachability.reaches_classifier(network) else "no image reaches the classifier"
        )

    def _accepts(self, values):
        return not self.exceeded(spaces.genotype(self.space, values))


class RecipeTuner(TrainingTuner):
    """A tuner of the options of a training.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        network: The genotype to train, or the name of a network of the zoo.
        hyperparameters: `keras_tuner.HyperParameters` with the names of options of `configs.RecipeConfig`.
        recipe, limits, seed, kwargs: See `TrainingTuner`.

    # Raises
        OptionError: If a hyperparameter is no option of a training.
        TuningError: If the directory holds a tuning of other hyperparameters.
    """

    def __init__(self, oracle, network, hyperparameters, recipe: RecipeConfig, **kwargs):
        self.network = network
        known = options.options(RecipeConfig)
        for each in hyperparameters.space:
            if each.name not in known:
                raise options.OptionError(f"{each.name}: is no option of a training, which could be tuned")
        super().__init__(oracle, hyperparameters, network, recipe, **kwargs)

    def training(self, values: dict) -> tuple:
        own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
        return self.network, self.recipe.replace(**own)
