"""The training of the network of a genotype, from random or given weights."""

import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_nas import datasets, networks, runs, supernet
from larq_nas.layers import _larq, grouped, precision, quantizers
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates
from larq_nas.training import callbacks, class_weights
from larq_nas.training.fitting import fit, resume_epoch
from larq_nas.training.recipes import Recipe

logger = logging.getLogger(__name__)


class TrainedModel(tf.keras.Model):
    """A functional model that clips gradients, and that may have a second classifier in training.

    # Arguments
        clip_norm: The largest global norm of the gradients; 0 for no clipping. In the norm, the gradient of a binary
            kernel is that of its scaled binary form, before `quantizers.xnor_gradient` rewrites it.
        auxiliary: A model with the same layers whose second output is that of a second classifier.
        auxiliary_weight: The weight of the loss of the second classifier.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 5.1, and the authors' code for the order
        - [Going deeper with convolutions](https://arxiv.org/abs/1409.4842), section 5, for the second classifier
    """

    def __init__(
        self,
        *args: Any,
        clip_norm: float = 0.0,
        auxiliary: tf.keras.Model | None = None,
        auxiliary_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.clip_norm, self.auxiliary, self.auxiliary_weight = clip_norm, auxiliary, auxiliary_weight

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        images, labels = data
        with tf.GradientTape() as tape:
            if self.auxiliary is None:
                predictions = self(images, training=True)
                loss = self.compute_loss(images, labels, predictions)
            else:
                predictions, further = self.auxiliary(images, training=True)
                loss = self.compute_loss(images, labels, predictions)
                second = tf.nn.compute_average_loss(self.loss.call(labels, further))
                loss += self.auxiliary_weight * tf.cast(second, loss.dtype)
        variables = self.trainable_variables
        gradients = precision.gradients(tape, loss, variables, self.optimizer)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            # The norm is that of the gradients of the whole batch.
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.clip_norm:
            rewritten = zip(gradients, variables, strict=True)
            norm = tf.linalg.global_norm([_before_rewriting(gradient, variable) for gradient, variable in rewritten])
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, norm)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)
        return self.compute_metrics(images, labels, predictions, None)


def _before_rewriting(gradient, variable):
    """The gradient of a variable. If it is a kernel, the gradient before the kernel quantizer rewrote it."""
    if isinstance(_larq.quantizer(variable), quantizers.XnorSign):
        return quantizers.binary_gradient(_larq.latent(variable), gradient)
    return gradient


class WeightsError(ValueError):
    """A file does not contain the weights that are needed."""


def _begin_with(model, path, make_twin):
    """Gives a network the weights in a file: its own weights or, if `make_twin` is given, those of its float twin."""
    if not pathlib.Path(path).is_file():
        raise WeightsError(f"initial_weights={path}: no such file")
    owners = "this network or its float twin" if make_twin else "this network"
    problem = _problem_of_loading(model, path)
    if problem and make_twin:
        twin = make_twin()
        problem = _problem_of_loading(twin, path)
        values = {variable.name: variable for variable in twin.variables}
        for variable in model.variables:
            if variable.name in values:
                variable.assign(values[variable.name])
    if problem:
        raise WeightsError(f"initial_weights={path}: holds the weights of another network than {owners} ({problem})")


def _problem_of_loading(model, path):
    """Loads weights. Returns the error if the file does not hold those of the model, else `None`."""
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        return error


def train(
    architecture: Architecture | None,
    data: datasets.Images,
    run: runs.Run,
    recipe: Recipe,
    config: Any,
    first: Recipe | None = None,
    build: Callable | None = None,
) -> tf.keras.Model:
    """Trains the network of a genotype and writes `weights.h5` and `metrics.json` to the run directory.

    A training may have two stages. The first stage trains the network with binary activations and float kernels, in the
    directory `activations` of the run. The second stage starts from the weights of the first one. If there is a second
    classifier, each stage begins with new initial weights for it.

    # Arguments
        architecture: The genotype; `None` for a network without a genotype, which `build` makes.
        data: The data set.
        run: The run directory.
        recipe: The `recipes.Recipe` of the training, or of its second stage.
        config: The configuration of the training.
        first: The `recipes.Recipe` of the first of two stages; `None` for a training in one stage.
        build: A function that takes the shape of the images and the number of classes, and returns a network.

    # Returns
        The trained network, a Keras model.

    # Raises
        WeightsError: If `initial_weights` of the configuration, or the weights of the first stage, cannot be loaded.
    """
    tf.keras.utils.set_random_seed(config.seed)
    num_classes = len(data.class_names)
    options = {"drop_path": config.drop_path > 0, "binary": not config.full_precision}
    if architecture is None:
        assert build is not None
        network = build(data.image_shape, num_classes)
    else:
        network = networks.build(architecture, data.image_shape, num_classes, **options)
    before = first and runs.Run(run.path / "activations")
    begun = resume_epoch(run) or before and (before.weights.exists() or resume_epoch(before))
    if config.initial_weights and not begun:
        make_twin = functools.partial(networks.build, architecture, data.image_shape, num_classes, binary=False)
        has_twin = architecture is not None and architecture.kind.full_precision
        _begin_with(network, config.initial_weights, make_twin if has_twin else None)
    if before and not resume_epoch(run):
        if not before.weights.exists():
            logger.info("stage activations: binary activations, float kernels")
            activations = networks.with_float_kernels(network)
            activations.set_weights(network.get_weights())
            _train(activations, architecture, data, before, first, config)
        try:
            network.load_weights(before.weights)
        except (ValueError, OSError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"{before.weights}: broken ({error}); remove it to train this stage again, or start again with "
                "overwrite=True"
            ) from None
        for layer in network.layers:
            if isinstance(layer, grouped.ScaledConv2D):
                layer.binarize()
        logger.info("stage weights: binary kernels, too")
    _train(network, architecture, data, run, recipe, config)
    return network


def _train(network, architecture, data, run, recipe, config):
    """Trains a network in one stage and writes its files to the run directory."""
    # The second classifier gets its initial weights now. They must not depend on what this process has done before.
    tf.keras.utils.set_random_seed(config.seed)
    num_classes, model = len(data.class_names), network
    if recipe.clip_norm or config.auxiliary_weight:
        options = {"clip_norm": recipe.clip_norm, "auxiliary_weight": config.auxiliary_weight}
        if config.auxiliary_weight:
            options["auxiliary"] = architecture.kind.auxiliary(network, architecture, num_classes)
        model = TrainedModel(network.input, network.output, **options)
    loss = class_weights.weighted(recipe.loss(num_classes), data.class_weights)
    model.compile(recipe.make_optimizer(), loss, weighted_metrics=["accuracy"])
    supernet.build_training_state(model, model)

    def batches(first_epoch):
        return datasets.training_batches(
            data,
            data.train,
            data.train_size,
            config.batch_size,
            epochs=recipe.epochs,
            first_epoch=first_epoch,
            seed=config.seed,
            augmentation=config.augmentation,
        )

    extra = [callbacks.LinearDropPath(config.drop_path, recipe.epochs)] if config.drop_path else []
    left = recipe.epochs - resume_epoch(run)
    estimates.announce(model, batches(0), config.batch_size, recipe.steps_per_epoch, left, network=network)
    batch = config.batch_size
    validation = data.validation and datasets.evaluation_batches(data, data.validation, batch, data.validation_size)
    rows = fit(
        model,
        batches,
        run,
        epochs=recipe.epochs,
        steps_per_epoch=recipe.steps_per_epoch,
        validation=validation,
        extra=extra,
    )
    test = datasets.evaluation_batches(data, data.test, batch, data.test_size)
    _, accuracy = model.evaluate(test, verbose=0)
    runs.write(run.metrics, {"test_accuracy": accuracy, "test_examples": data.test_size, **rows[-1]})
    # `weights.h5` is written last, so its presence means that the training has finished.
    with runs.atomic(run.weights) as temporary:
        network.save_weights(temporary)
