"""Tuning genotypes, or the options of a training or of a search: `larq_nas tune`."""

import contextlib
import dataclasses
import functools
import logging

import keras_tuner

from larq_nas import configs, costs, latency, options, runs, tables
from larq_nas.configs import TuneConfig
from larq_nas.runs import locks
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import accuracies, compare, processes
from larq_nas.tasks.data import check_apart, load_images, start_run
from larq_nas.tasks.genotypes import load_network
from larq_nas.tasks.lengths import scale_epochs
from larq_nas.tuning import ranges, spaces, tuners, workers
from larq_nas.tuning.errors import TuningError
from larq_nas.tuning.evolution import RegularizedEvolution
from larq_nas.tuning.limits import Limits
from larq_nas.tuning.tuners import METRICS, ArchitectureTuner, RecipeTuner, SearchTuner

logger = logging.getLogger(__name__)

# Trials in the table that is logged.
SHOWN = 10


def tune(config: TuneConfig, recipe: configs.RecipeConfig | None = None) -> dict:
    """Runs or resumes a tuning, and writes `tuning.json`, `best.flags` and, unless a recipe is tuned, `genotype.json`.

    On several machines, a chief writes these files, see `workers`.

    # Arguments
        config: The configuration.
        recipe: The recipe by which the genotypes are trained that a tuned search finds. Other tunings have their own.

    # Returns
        The dictionary that `tuning.json` holds: the `objective`, and the `trials`, a list of dictionaries from the best
        trial to the worst, with the `trial`, its `val_accuracy` and `val_loss`, the costs of its network, and the
        `values` of its hyperparameters. Trials that were not trained or have failed come last, without metrics. On a
        worker, `trials` has only the number and the metrics of the trials of this worker.

    # Raises
        TuningError: If no network keeps the limits, if several trials in a row have failed, or if a chief and its
            workers do not reach each other.
    """
    is_worker = workers.role() == workers.WORKER
    # The chief holds the lock for its workers.
    with contextlib.nullcontext() if is_worker else locks.hold(config.run_dir):
        return _tune(config, recipe, is_worker)


def _tune(config, recipe, is_worker):
    processes.share_gpus()
    check_apart(config)
    run, data = runs.Run(config.run_dir), load_images(config)
    # What is wrong must be found before anything is written.
    limits, (make, example, recipe) = _limits(config), _subject(config, recipe, data)
    tuners.check(example, recipe, data)
    oracle = _oracle(config, recipe, data)
    if is_worker:
        workers.wait_for_chief()
    # Data may move, as in a run of another command.
    trained = run.path / "train.flags", compare.flag_file(recipe.replace(data_dir=None))
    if config.what == "search" and not config.overwrite:
        _check_same(run, *trained)
    start_run(run, "tune", config, data, joins=is_worker)
    if config.what == "search" and not is_worker:
        runs.write(*trained)
    common = {"limits": limits, "seed": config.seed, "data": data}
    tuner = make(oracle, directory=str(run.path), project_name="trials", **common)
    tuner.oracle.verbose = 0
    try:
        tuner.search()
    except RuntimeError as error:
        message = str(error).strip()
        if not message.startswith("Number of consecutive failures"):
            raise
        last = message.splitlines()[-1]
        raise TuningError(f"{run.path}: too many trials in a row have failed; the last one: {last}") from None
    if is_worker:
        logger.info("worker: %d trials are done; the chief writes the result to %s", len(tuner.done), run.path)
        return {"objective": config.objective, "trials": tuner.done}
    if not tuner.oracle.trials:
        raise TuningError(
            "max_binary_macs, max_bytes, max_latency_ms: no network was found that keeps them; raise them"
        )
    return _result(config, tuner, run)


def _limits(config):
    table = latency.Table.load(config.latency_table) if config.latency_table else None
    binary_macs, most_bytes = (value and configs.amount(value) for value in (config.max_binary_macs, config.max_bytes))
    return Limits(binary_macs, most_bytes, config.max_latency_ms, table)


def _check_same(run, file, text):
    """Refuses to continue a tuning whose genotypes were trained by another recipe."""
    if not file.exists():
        return
    before = file.read_text(encoding="utf-8").splitlines()
    if (set(before) ^ set(text.splitlines())) - runs.ADDED:
        raise TuningError(
            f"{run.path}: holds a tuning whose genotypes were trained by another recipe, see {file}; choose another "
            "run_dir, or start again with overwrite=True"
        )


def _subject(config, recipe, data):
    """What is tuned: a function that makes the tuner, a network that it may train, and the recipe."""
    if config.what == "recipe":
        recipe, network = _recipe(config), load_network(config.genotype)
        network = network if isinstance(network, Architecture) else config.genotype
        hyperparameters = ranges.hyperparameters(recipe, config.tuned)
        make = functools.partial(RecipeTuner, network=network, hyperparameters=hyperparameters, recipe=recipe)
        return make, network, recipe
    if config.what == "search":
        search = config.search_config()
        example = tuners.example_of(search, data)
        hyperparameters = ranges.hyperparameters(search, config.tuned)
        make = functools.partial(SearchTuner, search=search, hyperparameters=hyperparameters, recipe=recipe)
        return make, example, recipe
    space = config.space()
    # The space has the configured size already.
    recipe = _recipe(config, without=("layers", "filters", "width", "groups", "channels_per_group"))
    example = spaces.genotype(space, spaces.hyperparameters(space).values)
    return functools.partial(ArchitectureTuner, space=space, recipe=recipe), example, recipe


def _recipe(config, without=()):
    values = options.values_of(config, configs.RecipeConfig)
    return configs.RecipeConfig(**{name: value for name, value in values.items() if name not in without})


def _oracle(config, recipe, data):
    # A seed of 0 would be random.
    common = {"objective": config.objective, "seed": (config.seed + 1) % 2**32 or 1}
    if config.oracle == "hyperband":
        kept = data.train_size * (1 - config.validation_fraction)
        return keras_tuner.oracles.HyperbandOracle(max_epochs=scale_epochs(recipe, int(kept)).epochs, **common)
    common["max_trials"] = config.max_trials
    if config.oracle == "bayesian":
        # By default, KerasTuner draws three random trials for each hyperparameter at first, more than there are.
        points = max(config.max_trials // 3, 3)
        return keras_tuner.oracles.BayesianOptimizationOracle(num_initial_points=points, **common)
    if config.oracle == "evolution":
        # By default, the last two thirds of few trials are changed ones.
        population = min(max(config.max_trials // 3, 2), 20)
        return RegularizedEvolution(population, max(population // 4, 2), **common)
    oracles = keras_tuner.oracles
    return {"random": oracles.RandomSearchOracle, "grid": oracles.GridSearchOracle}[config.oracle](**common)


def _result(config, tuner, run):
    """Writes and logs the result of a tuning, and returns it."""
    trials = tuner.oracle.get_best_trials(len(tuner.oracle.trials))
    result = {"objective": config.objective, "trials": [_row(tuner, trial) for trial in trials]}
    trained = [row for row in result["trials"] if "val_accuracy" in row]
    result["trials"].sort(key=lambda row: "val_accuracy" not in row)
    if not trained:
        raise TuningError(f"{run.path}: no trial was trained; raise the limits, or look at {run.path / 'trials'}")
    names = (*METRICS, *accuracies.COSTS)
    heading = ("trial", "validation accuracy (%)", "validation loss", *accuracies.COSTS)
    rows = [(row["trial"], 100 * row["val_accuracy"], *(row.get(name, "") for name in names[1:])) for row in trained]
    logger.info(tables.table([heading, *rows[:SHOWN]]))
    best = tuner.oracle.get_trial(trained[0]["trial"])
    runs.write(run.path / "best.flags", tuner.flags(best))
    if config.what != "recipe":
        network = tuner.network(best)
        provenance = {**run.provenance(), "result": {name: trained[0][name] for name in names}}
        runs.write(
            run.genotype,
            dataclasses.replace(network, options=dict(network.options), provenance=provenance).to_json(),
        )
    runs.write(run.path / "tuning.json", result)
    return result


def _row(tuner, trial):
    row = {"trial": trial.trial_id, "status": trial.status.lower()}
    if trial.status == "COMPLETED" and not tuner.refused(trial):
        row |= {name: float(trial.metrics.get_best_value(name)) for name in METRICS}
        counted = costs.count(tuner.network(trial), tuner.image_shape, tuner.num_classes)
        row |= {name: getattr(counted, name) for name in accuracies.COSTS}
    return {**row, "values": trial.hyperparameters.values}
