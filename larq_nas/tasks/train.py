"""Training a network: `larq_nas train`."""

import dataclasses
import logging
import math
import shutil
from typing import TYPE_CHECKING

from larq_nas import methods, runs, tables, zoo
from larq_nas.configs import SearchConfig, TrainConfig
from larq_nas.runs import locks
from larq_nas.space import registry
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import distribution
from larq_nas.tasks.data import check_apart, load_images, start_run, with_validation
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import check_reachable, count_costs, kept_genotype, load_network
from larq_nas.tasks.lengths import scale_epochs
from larq_nas.tasks.precisions import check_precision
from larq_nas.tasks.trained import load_trained

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas import datasets
    from larq_nas.costs import Costs

logger = logging.getLogger(__name__)


def train(config: TrainConfig, strategy: "tf.distribute.Strategy | None" = None) -> "tf.keras.Model":
    """Trains the network of a genotype, or a network of the zoo, and writes `weights.h5` to the run directory.

    # Arguments
        config: The configuration.
        strategy: A strategy that overrides the option `distribute`.

    # Returns
        The trained network, a Keras model.
    """
    with distribution.scope(config, strategy), locks.hold(config.run_dir):
        return _train(config)


def _train(config):
    from larq_nas import training
    from larq_nas.layers import precision

    whole, name = config, name_of(config)
    network, staged = checked_network(config), _is_staged(config)
    run = runs.Run(config.run_dir)
    check_apart(config)
    data = distribution.divided(with_validation(load_images(config), config), config)
    # The images may be too small for the network. This must be found before anything is written.
    counts = count(network, data, name)
    config = scale_epochs(config, data.train_size)
    data = start_run(run, "train", whole, data)
    if isinstance(network, zoo.Baseline):
        architecture, build = network.genotype(data.image_shape), network.build
    else:
        architecture, build = network, None
    if run.genotype.exists() and kept_genotype(run) != architecture:
        raise TaskError(
            f"{run.path}: holds a training of another genotype than {name} is now; "
            "choose another run_dir, or start again with overwrite=True"
        )
    if run.weights.exists():
        model, _ = load_trained(run)
    else:
        recipe = _recipe(config, data)
        if config.activations and not staged:
            unused = ", ".join(f"activations_{name}" for name in config.activations)
            logger.warning("one stage: %s are not used", unused)
        if architecture is not None:
            runs.write(run.genotype, architecture.to_json())
        logger.info(tables.costs(counts))
        first = recipe.changed(**config.activations) if staged else None
        with precision.policy(config.precision):
            model = training.train(architecture, data, run, recipe, config, first, build)
        for folder in (run.backup, run.path / "activations" / "backup"):
            shutil.rmtree(folder, ignore_errors=True)
    accuracy, examples = accuracy_of(run)
    logger.info("test accuracy %.2f%% on %s examples", 100 * accuracy, f"{examples:,}")
    return model


def accuracy_of(run: runs.Run) -> tuple:
    """The accuracy of a finished training on the test split, and the number of test examples.

    # Raises
        TaskError: If the file of the metrics is broken.
    """
    metrics = runs.read_json(run.metrics)
    try:
        return float(metrics["test_accuracy"]), int(metrics["test_examples"])
    except (KeyError, TypeError, ValueError):
        raise TaskError(
            f"{run.metrics}: broken; start again with overwrite=True, or measure the accuracy with larq_nas evaluate"
        ) from None


def checked_network(config: TrainConfig) -> Architecture | zoo.Baseline:
    """Loads the network of a training, and checks that it accepts the options.

    # Arguments
        config: The configuration of the training.

    # Returns
        An `Architecture` of the configured size, or a `zoo.Baseline`.

    # Raises
        ValueError: If the network cannot be trained with these options. The message says why.
    """
    network = _scaled(load_network(config.genotype), config)
    check_precision(network, config)
    check_reachable(network, f"genotype={name_of(config)}")
    real = isinstance(network, Architecture) and not network.binary
    if _is_staged(config) and (config.full_precision or real):
        raise TaskError("stages=activations,weights: this network has no binary activations; use stages=weights")
    return network


def _is_staged(config):
    return len(config.stages) > 1


def _recipe(config, data):
    from larq_nas.training import optimizers, recipes

    steps = math.ceil(data.train_size / config.batch_size)
    own = {"steps_per_epoch": steps, "learning_rate": optimizers.first_rate(config)}
    names = {field.name for field in dataclasses.fields(recipes.Recipe)} - set(own)
    return recipes.Recipe(**own, **{name: getattr(config, name) for name in names})


def name_of(config: TrainConfig) -> str:
    """The name of the network of a training in messages."""
    return config.genotype if isinstance(config.genotype, str) else "genotype"


def _scaled(network, config):
    """Scales a genotype to the configured size, after a check that the network accepts the configured options."""
    template = registry.templates().get(network.template)
    searched = methods.get(template.method) if template and template.method in methods.names() else SearchConfig
    _check_options(template, searched, config)
    if isinstance(network, zoo.Baseline):
        given = [name for name in searched.network_options if getattr(config, name)]
        if given:
            raise TaskError(f"{given[0]}: is for genotypes, and {name_of(config)} is a network made by hand")
        return network
    try:
        return searched.scaled(network, config)
    except ValueError as error:
        raise TaskError(str(error)) from None


def _check_options(template, searched, config):
    """Refuses options that the network does not accept.

    # Arguments
        template: The `registry.Template` of the network, or `None`.
        searched: The class of the configuration of its search method.
        config: The configuration of the training.
    """

    def refuse(option, networks, advice=""):
        advice = advice or f"; leave {option} out"
        raise TaskError(f"{option}: is for networks of {networks}, and {name_of(config)} is none{advice}")

    takers = {}
    for known in methods.loadable():
        for option in known.network_options:
            takers.setdefault(option, []).append(known.method)
    for option, known in takers.items():
        if getattr(config, option) and option not in searched.network_options:
            refuse(option, " and ".join(known))
    if config.full_precision and not (template and template.full_precision):
        with_twins = [name for name, other in registry.templates().items() if other.full_precision]
        refuse("full_precision", " and ".join(with_twins))
    if config.drop_path and not (template and template.inputs):
        refuse("drop_path", "cells", "; use drop_path=0")


def count(network: Architecture | zoo.Baseline, data: "datasets.Images", name: str) -> "Costs":
    """Counts the costs of a network.

    # Arguments
        network: An `Architecture`, or a `zoo.Baseline`.
        data: The `datasets.Images`.
        name: The name of the network in messages.

    # Returns
        A `costs.Costs`.

    # Raises
        TaskError: If the network cannot be built for the images, e.g. because they are too small.
    """
    from larq_nas.networks import templates

    shape, num_classes = data.image_shape, len(data.class_names)
    try:
        return count_costs(network, shape, num_classes)
    except templates.NetworkError as error:
        raise TaskError(f"{name}: {error}; the option image_size resizes images") from None
