"""Choosing the result of a search among a few genotypes, by training each of them for a short time.

The losses of genotypes with the shared weights of a supernet are close to each other, and their order is only partly
that of the trained networks. Successive halving trains all finalists briefly, keeps the better half, trains these twice
as long, and so on, until one is left. The finalists are trained on the half of the images on which a search trains
weights. They are judged on the half on which a search trains the architecture.

# References
    - [Non-stochastic best arm identification and hyperparameter optimization](https://arxiv.org/abs/1502.07943), for
      successive halving
"""

import gc
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_nas import datasets, networks, runs
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates
from larq_nas.training import callbacks, class_weights, optimizers

logger = logging.getLogger(__name__)


def choose(
    genotypes: list[Architecture],
    data: datasets.Images,
    run: runs.Run,
    config: Any,
    begin: Callable[[tf.keras.Model, Architecture], None] | None = None,
) -> Architecture:
    """Trains genotypes in rounds of successive halving.

    An interrupted choice continues after the last finished training, with the genotypes with which it began.

    # Arguments
        genotypes: At least one genotype.
        data: The data set. Its test split is not used.
        run: The run directory of the search. `finalists.json` in it holds the accuracies, and `finalists/` the
            genotypes and their weights.
        config: The configuration of the search.
        begin: A function of the network of a genotype and the genotype. It gives the network the weights with which the
            first round begins. By default, these are random.

    # Returns
        The genotype that is left.
    """
    if len(genotypes) == 1:
        return genotypes[0]
    if not run.finalists.exists():
        names = [str(number) for number in range(1, len(genotypes) + 1)]
        for name, genotype in zip(names, genotypes, strict=True):
            runs.write(_path(run, name, "json"), genotype.to_json())
        runs.write(run.finalists, [{"epochs": config.finalist_epochs, "finalists": names, "accuracy": {}}])
    rounds = _rounds(run)
    finalists = {name: Architecture.load(_path(run, name, "json")) for name in rounds[0]["finalists"]}
    left, number = list(finalists), 0
    while len(left) > 1:
        if number == len(rounds):
            rounds.append({"epochs": config.finalist_epochs << number, "finalists": left, "accuracy": {}})
        accuracy = rounds[number]["accuracy"]
        for name in left:
            if name not in accuracy:
                accuracy[name] = _trained(finalists[name], name, number, data, run, config, begin)
                runs.write(run.finalists, rounds)
                logger.info("round %d, finalist %s: %.2f%%", number + 1, name, 100 * accuracy[name])
        left = sorted(left, key=lambda name: -accuracy[name])[: (len(left) + 1) // 2]
        number += 1
    return finalists[left[0]]


def expected(
    genotype: Architecture, count: int, data: datasets.Images, config: Any, candidates: int = 0
) -> estimates.Afterwards:
    """How long `choose` will take, which this function measures with one genotype.

    # Arguments
        genotype: A genotype that is like the finalists.
        count: Number of finalists.
        data: The data set.
        config: The configuration of the search.
        candidates: Number of genotypes that are evaluated with shared weights before these trainings.

    # Returns
        An `estimates.Afterwards`.
    """
    # Each replica evaluates all images.
    batches = math.ceil(data.half_sizes[1] * data.replicas / config.batch_size)
    if count < 2:
        return estimates.Afterwards(candidates=candidates, batches=batches)
    logger.info("timing the training of a genotype")
    begin = time.perf_counter()
    network, training = _made(genotype, 0, data, config)
    building = time.perf_counter() - begin
    measured = estimates.measure(network, training, config.batch_size, network)
    del network
    gc.collect()
    seconds, left, number = 0.0, count, 0
    while left > 1:
        epochs, steps = _length(number, data, config)
        seconds += left * (building + measured.seconds_to_begin + epochs * steps * measured.seconds_per_step)
        left, number = (left + 1) // 2, number + 1
    return estimates.Afterwards(count, seconds, candidates, batches)


def _rounds(run):
    rounds = runs.read_json(run.finalists)
    with runs.expected_form(run.finalists):
        names = [str(number) for number in range(1, len(rounds[0]["finalists"]) + 1)]
        if not names or rounds[0]["finalists"] != names or not all(map(_is_round, rounds)):
            raise ValueError
    return rounds


def _is_round(found):
    accuracies = found["accuracy"]
    return isinstance(found["epochs"], int) and all(0 <= value <= 1 for value in accuracies.values())


def _path(run, name, kind):
    return run.path / "finalists" / f"{name}.{kind}"


def _trained(genotype, name, number, data, run, config, begin):
    """Trains a genotype in a round, from its weights after the round before, and returns its validation accuracy."""
    tf.keras.utils.set_random_seed(config.seed)
    network, batches = _made(genotype, number, data, config)
    weights = _path(run, name, "h5")
    if number:
        network.load_weights(weights)
    elif begin:
        begin(network, genotype)
    epochs, steps = _length(number, data, config)
    extra = [callbacks.ReplicaStatistics(), callbacks.FiniteLoss()]
    network.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=extra)
    with runs.atomic(weights) as temporary:
        network.save_weights(temporary)
    judged = datasets.evaluation_batches(data, data.halves[1], config.batch_size, data.half_sizes[1])
    accuracy = network.evaluate(judged, verbose=0)[1]
    del network
    gc.collect()
    return accuracy


def _length(number, data, config):
    """The epochs of a round, and the steps of an epoch."""
    return config.finalist_epochs << number, math.ceil(data.half_sizes[0] / config.batch_size)


def _made(genotype, number, data, config):
    """The compiled network of a genotype, and the batches on which a round trains it."""
    epochs, steps = _length(number, data, config)
    network = networks.build(genotype, data.image_shape, len(data.class_names))
    rate = optimizers.EpochCosine(optimizers.first_rate(config), config.final_learning_rate, epochs, steps)
    network.compile(
        optimizers.for_weights(config, rate),
        class_weights.weighted(tf.keras.losses.SparseCategoricalCrossentropy(), data.class_weights),
        weighted_metrics=["accuracy"],
    )
    options = {"epochs": epochs, "seed": config.seed + number, "augmentation": config.augmentation}
    return network, datasets.training_batches(data, data.halves[0], data.half_sizes[0], config.batch_size, **options)
