"""The search of DMS in rounds. Each round trains the weights and then the widths.

The network is rebuilt if the candidates of the next round need more room, or much less. Each round writes one file to
`backup/`, from which an interrupted search continues. The file of the round before is kept, too.
"""

import functools
import gc
import logging
import math
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import datasets, runs, training
from larq_nas.methods.dms.search_space import room, rounded
from larq_nas.methods.dms.strategy import Strategy
from larq_nas.methods.dms.supernet import WidthSupernet
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates, inheritance
from larq_nas.training import backups, callbacks, finalists, results

logger = logging.getLogger(__name__)

# The share of the rounds that rebuild the network, in searches of ten rounds.
REBUILT = 0.5


def search(strategy: Strategy, data: datasets.Images, run: runs.Run, config: Any) -> Architecture:
    """Searches the widths of a network and writes `genotype.json` to the run directory.

    # Arguments
        strategy: The strategy.
        data: The data set. Its test split is not used.
        run: The run directory.
        config: The `SearchConfig`, which configures the training of the weights and of the means.

    # Returns
        The genotype.
    """
    base, distributions = strategy.base, strategy.distributions
    of_images = strategy.input_shape, strategy.num_classes
    steps = [math.ceil(size / config.batch_size) for size in data.half_sizes]
    epochs = config.epochs // distributions.rounds
    first = np.full(len(base.stages), distributions.ratio, np.float32)
    state = _load(run, base) or {"round": 0}
    begun = int(state["round"])
    run.drop_rows(begun)
    then = None
    if begun < distributions.rounds:
        example = distributions.around(base, first, 1, 0, *of_images)
        then = finalists.expected(example[0].genotype, config.samples, data, config)
    model = None
    for number in range(begun, distributions.rounds):
        scale = distributions.scale_at(number)
        mean = state.get("mean", first)
        filters = strategy.begin(mean, scale)
        space = room(base, filters, state.get("room") if distributions.best_effort else None)
        if model is None or not distributions.best_effort or tuple(space) != strategy.room:
            # A round must start in the same way, whether or not the search was interrupted before it.
            tf.keras.utils.set_random_seed(config.seed + number)
            model = None
            # Graphs contain reference cycles, which only the garbage collector frees.
            gc.collect()
            model = _model(strategy, space, config, epochs * steps[0], state, data.class_weights)
            if number == begun:
                # A step that trains the means takes as long as one that trains the weights.
                estimates.announce(
                    model,
                    _batches(0, data, config, 1, 1, 0, distributions.rounds),
                    config.batch_size,
                    epochs * steps[0] + steps[1],
                    distributions.rounds - number,
                    then=then,
                    unit="round",
                    rebuilt=REBUILT if distributions.best_effort else 1.0,
                )
        weights_trained = _fit(model, 0, data, config, epochs, steps[0], number, distributions.rounds)
        means_trained = _fit(model, 1, data, config, 1, steps[1], number, distributions.rounds)
        state = {"round": number + 1, "base": base.to_json(), "room": space, **_values(model)}
        row = {"epoch": number, "scale": scale, **weights_trained, **{f"val_{k}": v for k, v in means_trained.items()}}
        row |= strategy.metrics(model.space, state, number)
        run.append_row(row)
        _save(run, state)
        _log(row, distributions.rounds, rounded(base, state["mean"]))
    found = distributions.around(base, state["mean"], max(config.samples, 1), config.seed, *of_images)
    provenance = {**run.provenance(), "examples": data.half_sizes}
    if model is None:
        # The search was interrupted after its last round.
        model = WidthSupernet(strategy, map(int, state["room"]))
        _copy_weights(model.network, state, base)
    begin = functools.partial(inheritance.inherit, supernet=model.network, space=model.space)
    results.of_candidates(found, data, run, config, provenance, begin=begin)
    return Architecture.load(run.genotype)


def _log(row, rounds, widths):
    metrics = " ".join(f"{name} {value:.4f}" for name, value in row.items() if "/" not in name and name != "epoch")
    logger.info("round %d/%d %s widths %s", row["epoch"] + 1, rounds, metrics, ",".join(map(str, widths)))


def _model(strategy, space, config, period, state, class_weights):
    """A supernet with room for `space` filters, which starts from the saved `state` if there is one."""
    model = WidthSupernet(strategy, space)
    cosine = tf.keras.optimizers.schedules.CosineDecayRestarts
    least = config.final_learning_rate / (config.learning_rate or 1.0)
    rate = cosine(config.learning_rate, period, 1.0, 1.0, least)
    training.compile_supernet(model, rate, config, class_weights)
    if "mean" in state:
        model.logits["mean"].assign(state["mean"])
        model.random.state.assign(state["draws"])
        for index, variable in enumerate(model.architecture_optimizer.variables):
            variable.assign(state[f"optimizer/{index}"])
        if strategy.distributions.best_effort:
            _copy_weights(model.network, state, strategy.base)
    return model


def _copy_weights(network, state, base):
    """Copies the weights of a round's network to another network, as far as they fit."""
    values = {name.removeprefix("weights/"): value for name, value in state.items()}
    inheritance.copy_weights(network, values, int(state["room"][0]) if base.cells else None)


def _fit(model, turn, data, config, epochs, steps, number, rounds):
    """Trains the weights (`turn` 0) or the means (`turn` 1) and returns the metrics of the last epoch."""
    model.turn.assign(turn)
    if turn == 0:
        # This resets the iterations and the momentum. The next step sets the learning rate from its schedule.
        for variable in model.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
    batches = _batches(turn, data, config, epochs, steps, number, rounds)
    extra = [callbacks.ReplicaStatistics(), callbacks.FiniteLoss()]
    history = model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=extra).history
    return {name: history[name][-1] for name in ("loss", "accuracy")}


def _batches(turn, data, config, epochs, steps, number, rounds):
    return datasets.training_batches(
        data,
        data.halves[turn],
        data.half_sizes[turn],
        config.batch_size,
        epochs=rounds * epochs,
        first_epoch=number * epochs,
        seed=2 * config.seed + turn,
        augmentation=config.augmentation,
        steps=steps,
    )


def _values(model):
    """The state of a model that the next round or process needs, as arrays by name."""
    values = {f"weights/{variable.name}": variable.numpy() for variable in model.network.variables}
    values |= {f"optimizer/{i}": v.numpy() for i, v in enumerate(model.architecture_optimizer.variables)}
    return {"mean": model.logits["mean"].numpy(), "draws": model.random.state.numpy(), **values}


def _save(run, state):
    with runs.atomic(run.backup / f"round-{state['round']:04}.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, **state)
    for file in _files(run)[backups.KEPT :]:
        file.unlink()


def _files(run):
    """The backups, the newest first."""
    return sorted(run.backup.glob("round-*.npz"), reverse=True)


def _load(run, base):
    errors = {}
    for file in _files(run):
        try:
            with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
                state = dict(stored)
            same = Architecture.from_json(str(state["base"])) == base
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            errors[file] = error
            continue
        if "draws" not in state:
            raise runs.RunError(
                f"{run.path}: holds a search that an earlier version of larq_nas has begun; choose another run_dir, or "
                "start again with overwrite=True"
            )
        if not same:
            raise runs.RunError(
                f"{run.path}: holds a search of another backbone; choose another run_dir, or start again with "
                "overwrite=True"
            )
        for broken in errors:
            logger.warning("%s: broken; going on after round %d", broken, int(state["round"]))
        return state
    for file, reason in errors.items():
        raise runs.RunError(
            f"{file}: broken ({reason}), and there is no readable earlier round; start again with overwrite=True"
        )
    return None
