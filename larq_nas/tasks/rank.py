"""How well the shared weights of a search rank genotypes, measured by training the genotypes: `larq_nas rank`.

# References
    - [Evaluating the search phase of neural architecture search](https://arxiv.org/abs/1902.08142), section 4.2
"""

import functools
import logging
from collections.abc import Sequence

import numpy as np

from larq_nas import options, plots, runs, tables
from larq_nas.configs import CompareConfig, DataConfig, RankConfig, RecipeConfig, SearchConfig
from larq_nas.runs import fingerprints, locks
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import compare, processes
from larq_nas.tasks.data import load_images, with_validation
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import load_network

logger = logging.getLogger(__name__)

# The precision at the top compares the best fifth by shared weights with the best fifth by training.
TOP = 5
RESAMPLES = 1000


def rank(config: RankConfig, searched: SearchConfig) -> dict:
    """Trains genotypes and compares their order with the order by the shared weights of a search.

    # Arguments
        config: The configuration.
        searched: The configuration of the search.

    # Returns
        A dictionary with the `genotypes`, a list of dictionaries with the `name`, the `validation_accuracy` with shared
        weights and the mean test `accuracy` after training, and the statistics `kendall_tau`, `spearman_rho` and
        `precision_at_top`, see `statistics`.

    # Raises
        TaskError: If `run_dir` holds no finished search whose shared weights were kept.
    """
    with locks.hold(config.run_dir):
        run = runs.Run(config.run_dir)
        if not run.supernet.exists():
            raise TaskError(
                f"{run.supernet}: missing; run_dir must be the directory of a finished search by bnas, bars, bats or "
                "an evolution, whose supernet has shared weights"
            )
        if config.dataset != searched.dataset:
            raise TaskError(
                f"dataset={config.dataset}: {config.run_dir} is a search on {searched.dataset}; give the same data set"
            )
        processes.share_gpus()
        searched = _as_it_was(config, searched, run)
        found = _with_shared_weights(config, searched, run)
        shared = options.values_of(config, RecipeConfig)
        # Shared weights and trainings see the same images.
        shared |= {name: getattr(searched, name) for name in options.options(DataConfig) if name != "class_weights"}
        shared |= {"validation_fraction": searched.validation_fraction, "run_dir": str(run.path / "rank")}
        genotypes = config.genotypes or tuple(found)
        comparison = compare.compare(CompareConfig(**shared, genotypes=genotypes, seeds=config.seeds))
        rows = [
            {"name": name, **metrics, "accuracy": network["mean"]}
            for metrics, (name, network) in zip(found.values(), comparison["networks"].items(), strict=True)
        ]
        return _result(run, {"seeds": list(config.seeds), "genotypes": rows})


def _as_it_was(config, searched, run):
    """The configuration of the search with the present place of the data and its own copy of the latency table."""
    kept = {"latency_table": str(run.path / "latency.json")} if searched.latency_table else {}
    return searched.replace(data_dir=config.data_dir or searched.data_dir, **kept)


def _with_shared_weights(config, searched, run):
    """The metrics with shared weights of each genotype."""
    import tensorflow as tf

    from larq_nas import datasets, supernet

    data = with_validation(load_images(searched), searched)
    changed = fingerprints.difference(fingerprints.read(run.dataset), data.describe())
    if changed:
        raise TaskError(f"{run.path}: is a search on other data than {searched.dataset} is now ({changed})")
    space, sizes = searched.space(), searched.counted_images(data.image_shape, len(data.class_names))
    strategy = searched.strategy(space, *sizes)
    if config.genotypes:
        named = zip(config.genotypes, compare.labels(config.genotypes), strict=True)
        genotypes = [_of_space(load_network(genotype), space, name) for genotype, name in named]
        weights = {genotype: strategy.weights_of(space, genotype) for genotype in genotypes}
    else:
        drawn = searched.draw(space, strategy, config.draw, *sizes)
        weights = {candidate.genotype: candidate.weights for candidate in drawn}
    model = supernet.Supernet(strategy, space, data.image_shape, len(data.class_names))
    model.network.load_weights(run.supernet)
    model.loss = tf.keras.losses.SparseCategoricalCrossentropy()
    batches = datasets.evaluation_batches(data, data.halves[1], supernet.JUDGED)
    return {genotype: model.judge(values, batches) for genotype, values in weights.items()}


def _of_space(network, space, name):
    same = ("template", "options")
    if not isinstance(network, Architecture) or any(getattr(network, key) != getattr(space, key) for key in same):
        raise TaskError(f"genotypes: {name} is no genotype of the space of the search")
    return network


def statistics(shared: list, trained: list) -> dict:
    """Compares two orders of the same genotypes.

    # Arguments
        shared: The accuracy of each genotype with shared weights.
        trained: The accuracy of each genotype after training.

    # Returns
        A dictionary with `kendall_tau`, `spearman_rho` and `precision_at_top`, the share of the best fifth by shared
        weights that are among the best fifth by training. Each of them is a dictionary with the `value` and the
        `interval`, which holds 95 % of the values of bootstrap samples of the genotypes. A value is `None` if all
        accuracies of an order are equal.
    """
    from scipy import stats

    orders = {
        "kendall_tau": lambda first, second: stats.kendalltau(first, second).statistic,
        "spearman_rho": lambda first, second: stats.spearmanr(first, second).statistic,
        "precision_at_top": precision_at_top,
    }
    points, generator, found = np.array([shared, trained]), np.random.default_rng(0), {}
    samples = [points[:, generator.integers(len(shared), size=len(shared))] for _ in range(RESAMPLES)]
    # The correlation with an order in which all are equal is not defined.
    samples = [sample for sample in samples if np.all(np.ptp(sample, axis=1))]
    for name, function in orders.items():
        if np.all(np.ptp(points, axis=1)):
            interval = np.percentile([function(*sample) for sample in samples], (2.5, 97.5))
            found[name] = {"value": float(function(*points)), "interval": interval.tolist()}
        else:
            found[name] = {"value": None, "interval": None}
    return found


def precision_at_top(shared: Sequence[float], trained: Sequence[float]) -> float:
    """The share of the best fifth by `shared` that are among the best fifth by `trained`.

    If equal accuracies leave it open which genotypes are among the best, it is the expectation over a random choice.
    """
    top = max(len(shared) // TOP, 1)
    return float(np.dot(_among_best(shared, top), _among_best(trained, top)) / top)


def _among_best(values, top):
    """The probability of each value to be among the `top` largest ones, if ties are broken at random."""
    values = np.asarray(values)
    edge = np.sort(values)[-top]
    above, equal = values > edge, values == edge
    return above + equal * (top - above.sum()) / equal.sum()


def _result(run, ranking):
    rows = ranking["genotypes"]
    shared, trained = ([row[key] for row in rows] for key in ("validation_accuracy", "accuracy"))
    ranking |= statistics(shared, trained)
    texts = [(row["name"], 100 * row["validation_accuracy"], 100 * row["accuracy"]) for row in rows]
    logger.info(tables.table([("genotype", "shared weights (%)", "trained (%)"), *texts]))
    for name in ("kendall_tau", "spearman_rho", "precision_at_top"):
        value, interval = ranking[name].values()
        text = "undefined" if value is None else f"{value:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
        logger.info("%s: %s", name.replace("_", " "), text)
    runs.write(run.path / "rank.json", ranking)
    plots.write(run.path / "rank.png", functools.partial(_draw, rows=rows), size=(6, 5))
    return ranking


def _draw(axes, rows):
    points = {row["name"]: (100 * row["validation_accuracy"], 100 * row["accuracy"], None) for row in rows}
    plots.scatter(axes, points, "validation accuracy with shared weights in %", "test accuracy in %")
