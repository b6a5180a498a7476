"""The search of a space by gradients: the training of a supernet, and the choice of the genotype."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_nas import datasets, runs, supernet
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates, inheritance
from larq_nas.supernet.strategy import Strategy
from larq_nas.training import callbacks, class_weights, finalists, optimizers, results
from larq_nas.training.fitting import fit, resume_epoch


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
