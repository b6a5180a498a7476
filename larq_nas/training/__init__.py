"""Searching and training with `tf.keras.Model.fit`. An interrupted run continues after its last finished epoch."""

import functools
import logging
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from larq_nas import datasets, networks, runs, supernet
from larq_nas.layers import _larq, grouped, precision, quantizers
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates, inheritance
from larq_nas.supernet.strategy import Strategy
from larq_nas.training import backups, callbacks, class_weights, finalists, optimizers, results
from larq_nas.training.recipes import Recipe

logger = logging.getLogger(__name__)


def fit(
    model: tf.keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    run: runs.Run,
    *,
    epochs: int,
    steps_per_epoch: int,
    validation: tf.data.Dataset | None = None,
    extra: Sequence[tf.keras.callbacks.Callback] = (),
    describe: Callable[[], str] = str,
) -> list:
    """Fits a compiled model. If the run was interrupted, it continues after the last finished epoch.

    # Arguments
        model: A compiled model.
        batches: A function that takes the number of the first epoch and returns the training batches from this epoch
            on.
        run: The run directory. This function uses `backup/`, `metrics.csv` and `logs/` in it.
        epochs: Number of epochs of the run, including those before an interruption.
        steps_per_epoch: Number of batches in an epoch.
        validation: Batches on which the model is evaluated after every epoch.
        extra: Further callbacks. They are called before the epoch counts as finished.
        describe: A function that returns a text about the model, which is logged after each epoch.

    # Returns
        The rows of `metrics.csv`.
    """
    backup = backups.Backup(run.backup)
    first_epoch = backup.restore(model)
    run.drop_rows(first_epoch)
    progress = callbacks.Progress(epochs, steps_per_epoch, None, model.train_function is not None, describe)
    keras = tf.keras.callbacks
    try:
        model.fit(
            batches(first_epoch),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation,
            verbose=0,
            callbacks=[
                callbacks.FiniteLoss(),
                *extra,
                keras.TensorBoard(run.logs, profile_batch=0, write_graph=False),
                keras.CSVLogger(run.metrics_csv, append=True),
                progress,
                # The backup must be last. An epoch in it is finished, and its row is written.
                backup,
            ],
        )
    finally:
        progress.close()
    return run.rows()


def resume_epoch(run: runs.Run) -> int:
    """The number of the first epoch that is not in the backup; 0 if there is no backup."""
    return max((epoch + 1 for epoch in backups.epochs(run.backup)), default=0)


def search(strategy: Strategy, space: Architecture, data: datasets.Images, run: runs.Run, config: Any) -> Architecture:
    """Searches a space and writes `genotype.json` to the run directory.

    The architecture is trained on one half of the training split, and the weights on the other. The result is the
    genotype of the epoch with the best accuracy on the half of the architecture, without augmentation. (The authors of
    BNAS augment these images, too, and keep the genotype from before the best epoch.)

    If the strategy has `candidates`, they are ranked after the last epoch by their loss on this half. The best
    `finalists` of them are trained for a short time, from the weights of the supernet, and the most accurate one is the
    result. Without finalists, the result is the candidate with the lowest loss. With `permute_labels`, the result is
    the genotype of the last epoch.

    # Arguments
        strategy: The `strategy.Strategy` of a method.
        space: The search space.
        data: The data set. Its test split is not used.
        run: The run directory.
        config: The configuration of the search.

    # Returns
        The genotype.
    """
    left = config.epochs - resume_epoch(run)
    then = _afterwards(strategy, space, data, config) if left > 0 else None
    tf.keras.utils.set_random_seed(config.seed)
    steps = math.ceil(data.half_sizes[0] / config.batch_size)
    model = _supernet(strategy, space, data, config, steps)
    validation_steps = math.ceil(data.half_sizes[1] / config.batch_size)
    estimates.announce(
        model,
        _search_batches(data, config, steps, 0),
        config.batch_size,
        steps,
        left,
        validation_steps=validation_steps,
        then=then,
    )
    validation = datasets.evaluation_batches(data, data.halves[1], config.batch_size, data.half_sizes[1])
    rows = fit(
        model,
        lambda first_epoch: _search_batches(data, config, steps, first_epoch),
        run,
        epochs=config.epochs,
        steps_per_epoch=steps,
        validation=validation,
        extra=[callbacks.Genotypes(run.genotypes, strategy.variants), callbacks.Probabilities(run.probabilities)],
        describe=lambda: callbacks.operations(model.genotype(), space),
    )
    with runs.atomic(run.supernet) as temporary:
        model.network.save_weights(temporary)
    provenance = {**run.provenance(), "examples": data.half_sizes}
    # Candidates and epochs are compared by true labels.
    candidates = [] if config.permute_labels else model.candidates(config.seed)
    if candidates:
        judged = datasets.evaluation_batches(data, data.halves[1], supernet.JUDGED)
        judge = functools.partial(model.judge, batches=judged)
        begin = functools.partial(inheritance.inherit, supernet=model.network, space=space)
        results.of_candidates(candidates, data, run, config, provenance, judge, begin)
    else:
        # During the warm-up, the logits keep their random initial values.
        searched = rows[-1:] if config.permute_labels else rows[strategy.warmup_epochs :]
        results.of_best_epoch(searched, run, strategy.variants, provenance)
    return Architecture.load(run.genotype)


def _afterwards(strategy, space, data, config):
    """What a search does after its last epoch."""
    if config.permute_labels or not strategy.samples:
        return None
    return finalists.expected(space.sample(config.seed), config.finalists, data, config, strategy.samples)


def _supernet(strategy, space, data, config, steps):
    model = supernet.Supernet(strategy, space, data.image_shape, len(data.class_names))
    rate = optimizers.EpochCosine(optimizers.first_rate(config), config.final_learning_rate, config.epochs, steps)
    compile_supernet(model, rate, config, data.class_weights)
    return model


def compile_supernet(
    model: supernet.Supernet, rate: Any, config: Any, weights_of_classes: Sequence[float] | None = None
) -> None:
    """Compiles a supernet with the optimizers of a search.

    # Arguments
        model: The supernet.
        rate: The learning rate of the weights, a number or a schedule.
        config: The configuration of the search.
        weights_of_classes: The weight of each class in the loss. With `None`, all classes have the same weight.
    """
    model.compile(
        optimizer=optimizers.for_weights(config, rate),
        architecture_optimizer=optimizers.Adam(
            config.architecture_learning_rate,
            beta_1=0.5,
            epsilon=1e-8,
            l2=config.architecture_weight_decay,
        ),
        loss=class_weights.weighted(tf.keras.losses.SparseCategoricalCrossentropy(), weights_of_classes),
        weighted_metrics=["accuracy"],
    )


def _search_batches(data, config, steps, first_epoch):
    halves = [
        datasets.training_batches(
            data,
            examples,
            size,
            config.batch_size,
            epochs=config.epochs,
            first_epoch=first_epoch,
            seed=2 * config.seed + half,
            augmentation=config.augmentation,
            steps=steps,
        )
        for half, (examples, size) in enumerate(zip(data.halves, data.half_sizes, strict=True))
    ]
    if config.permute_labels:
        halves[1] = halves[1].enumerate(steps * first_epoch).map(functools.partial(_permuted, config.seed))
    return tf.data.Dataset.zip(tuple(halves))


def _permuted(seed, step, batch):
    """Permutes the labels within a batch, in each step in another way."""
    images, labels = batch
    return images, tf.random.experimental.stateless_shuffle(labels, [seed, step])


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
