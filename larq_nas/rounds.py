"""A search in rounds, as DMS searches: weights, then widths, then another network.

What a round leaves behind is one file in `backup/`, from which an interrupted search goes on; that of the round before
is kept, too.
"""

import gc
import math
import zipfile

import numpy as np
import tensorflow as tf

from larq_nas import backups, callbacks, costs, datasets, estimates, runs, training
from larq_nas.architecture import Architecture
from larq_nas.methods import dms


def search(strategy: dms.Strategy, base: Architecture, data: datasets.Images, run: runs.Run, settings) -> Architecture:
    """Searches the widths of a network and leaves `genotype.json` in the run directory.

    # Arguments
        strategy: The strategy.
        base: The base network.
        data: The data set; its test split is not used.
        run: The run directory.
        settings: The flags of the command `search`.

    # Returns
        The genotype.
    """
    shape, classes = data.image_shape, len(data.class_names)
    steps = [math.ceil(size / settings.batch_size) for size in data.half_sizes]
    epochs = settings.epochs // strategy.rounds
    state = _load(run, base) or {"round": 0}
    run.drop_rows(int(state["round"]))
    model, candidates = None, dms.Candidates(strategy, base, shape, classes)
    for number in range(int(state["round"]), strategy.rounds):
        scale = strategy.scale_at(number)
        mean = state.get("mean", np.full(len(base.stages), strategy.ratio, np.float32))
        filters = candidates.begin(mean, scale)
        room = dms.room(base, filters, state.get("room") if strategy.best_effort else None)
        if model is None or not strategy.best_effort or tuple(room) != candidates.room:
            # So that a round starts alike whether the search was interrupted before it or not.
            tf.keras.utils.set_random_seed(settings.seed + number)
            model = None
            # Graphs are circles of objects.
            gc.collect()
            model = _model(candidates, room, settings, epochs * steps[0], state, data.class_weights)
            if number == int(state["round"]):
                _say_what_it_takes(model, data, settings, epochs * steps[0] + steps[1], strategy)
        row = {"epoch": number, "scale": scale}
        row |= _fit(model, 0, data, settings, epochs, steps[0], number, strategy)
        row |= {f"val_{k}": v for k, v in _fit(model, 1, data, settings, 1, steps[1], number, strategy).items()}
        state = {"round": number + 1, "base": base.to_json(), "room": room, **_values(model)}
        row["megabytes"] = float(candidates.memory(tf.constant(state["mean"])))
        names = [f"stage{i}" if base.cells else stage.cell for i, stage in enumerate(base.stages)]
        row |= {f"ratio/{name}": float(ratio) for name, ratio in zip(names, state["mean"], strict=True)}
        run.append_row(row)
        _save(run, state)
        widths = dms.rounded(base, state["mean"])
        figures = " ".join(f"{name} {value:.4f}" for name, value in row.items() if "/" not in name and name != "epoch")
        print(f"round {number + 1}/{strategy.rounds} {figures} widths {','.join(map(str, widths))}", flush=True)
    genotype = strategy.derive(base, state["mean"], shape, classes)
    counts = costs.count(genotype, shape, classes)
    result = {"ratios": [float(ratio) for ratio in state["mean"]], "params": counts.params, "bytes": counts.bytes}
    result |= {"base": dms.base_widths(base).tolist(), "megabytes": float(dms.size(genotype, shape, classes))}
    provenance = {**run.provenance(), "examples": data.half_sizes, "result": result}
    training.write_genotype(genotype, provenance, run.genotype)
    return Architecture.load(run.genotype)


def _model(candidates, room, settings, period, state, class_weights):
    """A network of the given room, with what it can keep of an earlier one."""
    model = dms.WidthSupernet(candidates, room)
    cosine = tf.keras.optimizers.schedules.CosineDecayRestarts
    least = settings.final_learning_rate / (settings.learning_rate or 1.0)
    rate = cosine(settings.learning_rate, period, 1.0, 1.0, least)
    training.compile_supernet(model, rate, settings, class_weights)
    if "mean" in state:
        model.logits["mean"].assign(state["mean"])
        model.random.state.assign(state["random"])
        for index, variable in enumerate(model.architecture_optimizer.variables):
            variable.assign(state[f"optimizer/{index}"])
        if candidates.strategy.best_effort:
            groups = (int(state["room"][0]), int(room[0])) if candidates.base.cells else None
            values = {name.removeprefix("weights/"): value for name, value in state.items()}
            dms.best_effort(model.network, values, groups)
    return model


def _say_what_it_takes(model, data, settings, steps, strategy):
    print("compiling and timing the training step", flush=True)
    expected = estimates.measure(model, _batches(0, data, settings, 1, 1, 0, strategy), settings.batch_size)
    # Steps that train means take as long as those that train weights.
    print(expected.line(steps, unit="round"), flush=True)


def _fit(model, turn, data, settings, epochs, steps, number, strategy):
    """Trains weights or means for some epochs; the figures of the last one."""
    model.turn.assign(turn)
    if turn == 0:
        # Iterations and momentum start again; a learning rate that follows a schedule is set by the next step.
        for variable in model.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
    batches = _batches(turn, data, settings, epochs, steps, number, strategy)
    history = model.fit(
        batches, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[callbacks.FiniteLoss()]
    ).history
    return {name: history[name][-1] for name in ("loss", "accuracy")}


def _batches(turn, data, settings, epochs, steps, number, strategy):
    return datasets.training_batches(
        data,
        data.halves[turn],
        data.half_sizes[turn],
        settings.batch_size,
        epochs=strategy.rounds * epochs,
        first_epoch=number * epochs,
        seed=2 * settings.seed + turn,
        augmentation=settings.augmentation,
        steps=steps,
    )


def _values(model):
    """Everything of a model that the next round or process needs, as arrays by name."""
    values = {f"weights/{variable.name}": variable.numpy() for variable in model.network.variables}
    values |= {f"optimizer/{i}": np.array(v) for i, v in enumerate(model.architecture_optimizer.variables)}
    return {"mean": model.logits["mean"].numpy(), "random": model.random.state.numpy(), **values}


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
        if not same:
            raise runs.RunError(
                f"{run.path}: holds a search of another --backbone; choose another --run_dir, or --overwrite"
            )
        for broken in errors:
            print(f"{broken}: broken; going on after round {int(state['round'])}")
        return state
    for file, error in errors.items():
        raise runs.RunError(
            f"{file}: broken ({error}), and no earlier round is kept that is not; start again with --overwrite"
        )
    return None
