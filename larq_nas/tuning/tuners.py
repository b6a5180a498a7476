"""Tuners of KerasTuner whose trials are trainings of binary networks."""

import logging
import math
import pathlib
from typing import Any

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from larq_nas import datasets, options, runs, zoo
from larq_nas.configs import RecipeConfig, TrainConfig
from larq_nas.runs import locks
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import compare, lengths, processes
from larq_nas.tasks.data import load_images
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.train import checked_network, count
from larq_nas.tasks.trained import load_trained
from larq_nas.tuning import _keras_tuner, spaces, workers
from larq_nas.tuning.errors import TuningError, TuningStopped
from larq_nas.tuning.limits import Limits
from larq_nas.tuning.resumable import ResumableTuner

logger = logging.getLogger(__name__)

METRICS = ("val_accuracy", "val_loss")
_NO_LIMITS = Limits()


def check(network: Architecture | str, recipe: RecipeConfig, data: datasets.Images) -> None:
    """Checks that a network can be trained by a recipe.

    # Arguments
        network: A genotype, or the name of a network of the zoo.
        recipe: The `configs.RecipeConfig` of the training.
        data: The `datasets.Images`.

    # Raises
        TaskError: If the network does not accept the options of the recipe, or if the images are too small for it.
        TuningError: If the recipe has no validation images.
    """
    if not recipe.validation_fraction:
        raise TuningError("validation_fraction=0: trials are judged on validation images; give a share, e.g. 0.2")
    count(_built(network, recipe), data, "the network")


def _built(network, recipe):
    """The network that a training builds: a genotype of the size that the recipe asks for, or a `zoo.Baseline`."""
    return checked_network(TrainConfig(**options.values_of(recipe, RecipeConfig), genotype=network))


class TrainingTuner(ResumableTuner):
    """The base class of tuners whose trials are trainings, each in a process of its own.

    A subclass defines `training`, which says what a trial trains. A trial of Hyperband continues with the weights of
    the trial from which it was promoted. A trial whose network exceeds a limit is not trained, and has the worst
    figures. An interrupted tuning goes on with the trial, and with the epoch, in which it was interrupted.

    # Arguments
        oracle: A `keras_tuner.Oracle`. Its objective is `"val_accuracy"` or `"val_loss"`, the figures of the validation
            images after the last epoch.
        hyperparameters: The `keras_tuner.HyperParameters` to tune.
        example: A genotype that may be trained, or the name of a network of the zoo.
        recipe: The `configs.RecipeConfig` of the trainings. Its `validation_fraction` must not be 0.
        limits: The `limits.Limits` on the costs of the networks.
        seed: The seed of the trainings.
        data: The `datasets.Images` of the recipe; they are loaded by default.
        kwargs: Arguments of `keras_tuner.engine.base_tuner.BaseTuner`: `directory`, `project_name`, `overwrite`.

    # Raises
        TaskError: If `example` cannot be trained, see `check`.
        TuningError: If the directory holds a tuning that is broken, or one of other hyperparameters.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hyperparameters: keras_tuner.HyperParameters,
        example: Architecture | str,
        recipe: RecipeConfig,
        limits: Limits = _NO_LIMITS,
        seed: int = 0,
        data: datasets.Images | None = None,
        **kwargs: Any,
    ) -> None:
        data = load_images(recipe) if data is None else data
        check(example, recipe, data)
        self.recipe, self.limits, self.seed = recipe, limits, seed
        # The trials of this process.
        self.done: list[dict] = []
        self.image_shape, self.num_classes = data.image_shape, len(data.class_names)
        super().__init__(oracle, hyperparameters=hyperparameters, **kwargs)

    def training(self, values: dict) -> tuple:
        """Says what a trial trains.

        # Arguments
            values: The values of the hyperparameters by name.

        # Returns
            The genotype, or the name of a network of the zoo, and the `configs.RecipeConfig` of the training.
        """
        raise NotImplementedError

    def network(self, values: dict) -> Architecture | tf.keras.Model:
        """The network that a trial trains, in the size that its recipe asks for.

        # Arguments
            values: The values of the hyperparameters by name.

        # Returns
            An `Architecture`, or a Keras model for a network of the zoo without a genotype.
        """
        network = _built(*self.training(values))
        if isinstance(network, zoo.Baseline):
            network = network.genotype(self.image_shape) or network.build(self.image_shape, self.num_classes)
        return network

    def refused(self, values: dict) -> str:
        """Says why a trial is not trained: its network exceeds a limit, or no image reaches the classifier.

        # Arguments
            values: The values of the hyperparameters by name.

        # Returns
            A text, which is empty if the trial is trained.
        """
        try:
            return self.limits.exceeded(self.network(values), self.image_shape, self.num_classes)
        except TaskError as error:
            return str(error)

    def run(self, trial_id: str) -> runs.Run:
        """The run directory of a trial."""
        return runs.Run(pathlib.Path(self.get_trial_dir(trial_id)) / "run")

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, verbose: Any = None) -> dict[str, float]:
        """Trains the network of a trial. `search` passes `verbose`, which only concerns the oracle."""
        values, run = trial.hyperparameters.values, self.run(trial.trial_id)
        refused = self.refused(values)
        if refused:
            logger.info("trial %s: not trained, since %s", trial.trial_id, refused)
            return {"val_accuracy": 0.0, "val_loss": 10 * math.log(self.num_classes)}
        try:
            # The training of a worker or of a tuning that was killed may still run.
            locks.wait(run.path, self.role == workers.WORKER)
            if not run.weights.exists():
                self._train(values, run)
            figures = runs.read_json(run.metrics)
            with runs.expected_form(run.metrics):
                metrics = {name: float(figures[name]) for name in METRICS}
        except (locks.LockError, processes.KilledError, OSError) as error:
            raise TuningStopped(f"trial {trial.trial_id}: {error}; the same command goes on with this trial") from None
        except Exception as error:
            logger.warning("trial %s: failed: %s", trial.trial_id, error)
            raise
        self.done.append({"trial": trial.trial_id, **metrics})
        shown = f"validation accuracy {metrics['val_accuracy']:.2%}, loss {metrics['val_loss']:.4f}"
        logger.info("trial %s: %s", trial.trial_id, shown)
        with tf.summary.create_file_writer(str(run.path.parent / "logs")).as_default():
            hparams.hparams(values, trial_id=trial.trial_id)
            for name, value in metrics.items():
                tf.summary.scalar(name, value, step=0)
        return metrics

    def load_model(self, trial: keras_tuner.engine.trial.Trial) -> tf.keras.Model:
        """Loads the trained network of a trial, a Keras model."""
        network, _ = load_trained(self.run(trial.trial_id))
        return network

    def _train(self, values, run):
        network, recipe = self.training(values)
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


class ArchitectureTuner(TrainingTuner):
    """A tuner of genotypes.

    # Arguments
        oracle: A `keras_tuner.Oracle`. If it draws values at random, it draws until a genotype keeps the limits.
        space: The search space, an `Architecture`.
        recipe, limits, seed, data, kwargs: See `TrainingTuner`.

    # Raises
        ArchitectureError: If the space leaves no choice open.
        TaskError: If the networks of the space cannot be trained by the recipe, or not on these images.
        TuningError: If the directory holds a tuning that is broken, or one of another space.
    """

    def __init__(self, oracle: keras_tuner.Oracle, space: Architecture, recipe: RecipeConfig, **kwargs: Any) -> None:
        self.space = space
        hyperparameters = spaces.hyperparameters(space)
        example = spaces.genotype(space, hyperparameters.values)
        _keras_tuner.accept_only(oracle, lambda values: not self.refused(values))
        super().__init__(oracle, hyperparameters, example, recipe, **kwargs)

    def genotype(self, hyperparameters: keras_tuner.HyperParameters) -> Architecture:
        """The genotype that hyperparameters describe, e.g. those of the best trial."""
        return spaces.genotype(self.space, hyperparameters.values)

    def training(self, values: dict) -> tuple:
        return spaces.genotype(self.space, values), self.recipe


class RecipeTuner(TrainingTuner):
    """A tuner of the options of a training.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        network: The genotype to train, or the name of a network of the zoo.
        hyperparameters: `keras_tuner.HyperParameters` with the names of options of `configs.RecipeConfig`.
        recipe, limits, seed, data, kwargs: See `TrainingTuner`.

    # Raises
        OptionError: If a hyperparameter is no option of a training.
        TaskError: If the network cannot be trained by the recipe, or not on these images.
        TuningError: If the directory holds a tuning that is broken, or one of other hyperparameters.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        network: Architecture | str,
        hyperparameters: keras_tuner.HyperParameters,
        recipe: RecipeConfig,
        **kwargs: Any,
    ) -> None:
        self._network = network
        known, names = options.options(RecipeConfig), {each.name for each in hyperparameters.space}
        for name in names:
            if name not in known:
                raise options.OptionError(f"{name}: is no option of a training, which could be tuned")
        if "epochs" in names:
            # The number of steps would replace the number of epochs.
            recipe = recipe.replace(steps=None)
        super().__init__(oracle, hyperparameters, network, recipe, **kwargs)

    def training(self, values: dict) -> tuple:
        own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
        return self._network, self.recipe.replace(**own)
