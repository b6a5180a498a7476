"""Tuners of KerasTuner whose trials are trainings of binary networks."""

import logging
import math
import pathlib
from typing import Any

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from larq_nas import datasets, options, runs, zoo
from larq_nas.configs import DataConfig, RecipeConfig, SearchConfig, TrainConfig
from larq_nas.runs import locks
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import compare, genotypes, lengths, processes
from larq_nas.tasks import search as search_task
from larq_nas.tasks.data import load_images
from larq_nas.tasks.distribution import check_devices
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
    check_devices(recipe)
    count(_built(network, recipe), data, "the network")


def _built(network, recipe):
    """The network that a training builds: a genotype of the size that the recipe asks for, or a `zoo.Baseline`."""
    return checked_network(TrainConfig(**options.values_of(recipe, RecipeConfig), genotype=network))


class TrainingTuner(ResumableTuner):
    """The base class of tuners whose trials are trainings, each in a process of its own.

    A subclass defines `training`, which says or finds what a trial trains. A trial of Hyperband continues with the
    weights of the trial from which it was promoted. A trial whose network exceeds a limit is not trained, and has the
    worst metrics. An interrupted tuning goes on with the trial, and with the epoch, in which it was interrupted.

    # Arguments
        oracle: A `keras_tuner.Oracle`. Its objective is `"val_accuracy"` or `"val_loss"`, the metrics of the validation
            images after the last epoch.
        hyperparameters: The `keras_tuner.HyperParameters` to tune.
        example: A genotype that may be trained, or the name of a network of the zoo.
        recipe: The `configs.RecipeConfig` of the trainings. Its `validation_fraction` must not be 0.
        limits: The `limits.Limits` on the costs of the networks.
        seed: The seed of the trainings and, if trials are searches, of the searches.
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

    def training(self, trial: keras_tuner.engine.trial.Trial) -> tuple:
        """Says what a trial trains.

        # Arguments
            trial: The trial.

        # Returns
            The genotype, or the name of a network of the zoo, and the `configs.RecipeConfig` of the training.
        """
        raise NotImplementedError

    def flags(self, trial: keras_tuner.engine.trial.Trial) -> str:
        """The text of a flag file that repeats a trial on all training images, e.g. the best one."""
        _, recipe = self.training(trial)
        return compare.flag_file(recipe.replace(validation_fraction=0.0))

    def network(self, trial: keras_tuner.engine.trial.Trial) -> Architecture | tf.keras.Model:
        """The network that a trial trains, in the size that its recipe asks for.

        # Arguments
            trial: The trial.

        # Returns
            An `Architecture`, or a Keras model for a network of the zoo without a genotype.
        """
        return self._sized(*self.training(trial))

    def _sized(self, network, recipe):
        network = _built(network, recipe)
        if isinstance(network, zoo.Baseline):
            network = network.genotype(self.image_shape) or network.build(self.image_shape, self.num_classes)
        return network

    def refused(self, trial: keras_tuner.engine.trial.Trial) -> str:
        """Says why the network of a trial is not trained.

        # Arguments
            trial: The trial.

        # Returns
            A text, which is empty if the network is trained.
        """
        try:
            return self.exceeded(*self.training(trial))
        except options.OptionError as error:
            # Each value is accepted alone, but not together with the others.
            return str(error)

    def exceeded(self, network: Architecture | str, recipe: RecipeConfig) -> str:
        """Says which limit a network exceeds, or that no image reaches its classifier.

        # Arguments
            network: A genotype, or the name of a network of the zoo.
            recipe: The `configs.RecipeConfig` of the training.

        # Returns
            A text, which is empty if the network may be trained.
        """
        try:
            return self.limits.exceeded(self._sized(network, recipe), self.image_shape, self.num_classes)
        except TaskError as error:
            return str(error)

    def run(self, trial_id: str) -> runs.Run:
        """The run directory of a trial."""
        return runs.Run(pathlib.Path(self.get_trial_dir(trial_id)) / "run")

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, verbose: Any = None) -> dict[str, float]:
        """Trains the network of a trial. `search` passes `verbose`, which only concerns the oracle."""
        run = self.run(trial.trial_id)
        try:
            refused = self.refused(trial)
            if refused:
                logger.info("trial %s: not trained, since %s", trial.trial_id, refused)
                return {"val_accuracy": 0.0, "val_loss": 10 * math.log(self.num_classes)}
            self._wait(run)
            if not run.weights.exists():
                self._train(trial, run)
            found = runs.read_json(run.metrics)
            with runs.expected_form(run.metrics):
                metrics = {name: float(found[name]) for name in METRICS}
        except (locks.LockError, processes.KilledError, OSError) as error:
            raise TuningStopped(f"trial {trial.trial_id}: {error}; the same command goes on with this trial") from None
        except Exception as error:
            logger.warning("trial %s: failed: %s", trial.trial_id, error)
            raise
        self.done.append({"trial": trial.trial_id, **metrics})
        shown = f"validation accuracy {metrics['val_accuracy']:.2%}, loss {metrics['val_loss']:.4f}"
        logger.info("trial %s: %s", trial.trial_id, shown)
        with tf.summary.create_file_writer(str(run.path.parent / "logs")).as_default():
            hparams.hparams(trial.hyperparameters.values, trial_id=trial.trial_id)
            for name, value in metrics.items():
                tf.summary.scalar(name, value, step=0)
        return metrics

    def load_model(self, trial: keras_tuner.engine.trial.Trial) -> tf.keras.Model:
        """Loads the trained network of a trial, a Keras model."""
        network, _ = load_trained(self.run(trial.trial_id))
        return network

    def _wait(self, run):
        """Waits until nothing runs in a directory: the process of a worker or tuning that was killed may go on."""
        locks.wait(run.path, self.role == workers.WORKER)

    def _train(self, trial, run):
        values, (network, recipe) = trial.hyperparameters.values, self.training(trial)
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
        processes.call("train", run, flagfile=folder / "train.flags", **flags)


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
        _keras_tuner.accept_only(oracle, lambda values: not self.exceeded(spaces.genotype(space, values), recipe))
        super().__init__(oracle, hyperparameters, example, recipe, **kwargs)

    def genotype(self, hyperparameters: keras_tuner.HyperParameters) -> Architecture:
        """The genotype that hyperparameters describe, e.g. those of the best trial."""
        return spaces.genotype(self.space, hyperparameters.values)

    def training(self, trial: keras_tuner.engine.trial.Trial) -> tuple:
        return self.genotype(trial.hyperparameters), self.recipe


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
        recipe = _to_tune(recipe, hyperparameters, "a training")
        super().__init__(oracle, hyperparameters, network, recipe, **kwargs)

    def training(self, trial: keras_tuner.engine.trial.Trial) -> tuple:
        return self._network, self.recipe.replace(**_own(trial))


def example_of(search: SearchConfig, data: datasets.Images) -> Architecture:
    """Checks that a search can be tuned, and samples a genotype that it may find.

    # Arguments
        search: The `configs.SearchConfig`.
        data: The `datasets.Images`.

    # Returns
        The genotype.

    # Raises
        TaskError: If the search cannot be done on these images.
        TuningError: If an option holds an architecture, which another process cannot get.
    """
    for name in options.options(search):
        if isinstance(getattr(search, name), Architecture):
            raise TuningError(f"{name}: each search is a process of its own; give the path of a genotype.json file")
    search_task.check(search, data)
    space = genotypes.with_genotypes(search).tuned_space()
    return spaces.genotype(space, spaces.hyperparameters(space).values)


class SearchTuner(TrainingTuner):
    """A tuner of the options of a search, which is judged by the training of the genotype that it finds.

    The searches do not use the validation images of the trainings. A trial of Hyperband that is promoted keeps its
    genotype, and only its training continues.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        search: The `configs.SearchConfig` of the searches. Its data set, validation images and seed are not used.
        hyperparameters: `keras_tuner.HyperParameters` with the names of options of `search`.
        recipe, limits, seed, data, kwargs: See `TrainingTuner`. The searches have the data set of the recipe, too.

    # Raises
        OptionError: If a hyperparameter is no option of the search.
        TaskError: If the search cannot be done, or if its networks cannot be trained by the recipe.
        TuningError: If an option of the search holds an architecture, or if the directory holds a tuning that is
            broken, or one of other hyperparameters.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        search: SearchConfig,
        hyperparameters: keras_tuner.HyperParameters,
        recipe: RecipeConfig,
        data: datasets.Images | None = None,
        **kwargs: Any,
    ) -> None:
        shared = {name: getattr(recipe, name) for name in (*options.options(DataConfig), "validation_fraction")}
        self._search = _to_tune(search.replace(**shared), hyperparameters, "this search")
        data = load_images(recipe) if data is None else data
        super().__init__(oracle, hyperparameters, example_of(self._search, data), recipe, data=data, **kwargs)

    def training(self, trial: keras_tuner.engine.trial.Trial) -> tuple:
        file = self._genotype(trial.trial_id)
        if not file.exists():
            before = trial.hyperparameters.values.get("tuner/trial_id")
            found = self._genotype(before) if before else self._searched(trial).genotype
            runs.write(file, found.read_text(encoding="utf-8"))
        return Architecture.load(file), self.recipe

    def _genotype(self, trial_id):
        return pathlib.Path(self.get_trial_dir(trial_id)) / "genotype.json"

    def _searched(self, trial):
        """The run directory of the search of a trial, which is done if it has not been."""
        folder = pathlib.Path(self.get_trial_dir(trial.trial_id))
        run, flags = runs.Run(folder / "search"), self._flags(trial)
        self._wait(run)
        runs.write(folder / "search.flags", flags)
        try:
            processes.call("search", run, flagfile=folder / "search.flags")
        except processes.KilledError:
            raise
        except TaskError:
            # If no image reaches the classifier, the search fails, but there is a genotype.
            if not run.genotype.exists():
                raise
        return run

    def flags(self, trial: keras_tuner.engine.trial.Trial) -> str:
        return self._flags(trial, validation_fraction=0.0)

    def _flags(self, trial, **others):
        search = self._search.replace(**{"seed": self.seed, **_own(trial), **others})
        return compare.flag_file(search, ("method", *options.options(search)))


def _own(trial):
    """The values of the hyperparameters of a trial, without those that Hyperband adds."""
    return {name: value for name, value in trial.hyperparameters.values.items() if not name.startswith("tuner/")}


def _to_tune(config, hyperparameters, owner):
    """Checks that hyperparameters are options of a configuration, and returns the configuration for tuning them."""
    known, names = options.options(config), {each.name for each in hyperparameters.space}
    for name in names:
        if name not in known:
            raise options.OptionError(f"{name}: is no option of {owner}, which could be tuned")
    # The number of steps would replace the number of epochs.
    return config.replace(steps=None) if "epochs" in names else config
