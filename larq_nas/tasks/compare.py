"""Training several networks by the same recipe, each with the same seeds: `larq_nas compare`.

# References
    - [NAS Evaluation Is Frustratingly Hard](https://arxiv.org/abs/1912.12522)
    - [Random Search and Reproducibility for Neural Architecture Search](https://arxiv.org/abs/1902.07638)
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Collection, Sequence

from larq_nas import options, plots, runs, zoo
from larq_nas.configs import CompareConfig, RecipeConfig, TrainConfig
from larq_nas.runs import locks
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import accuracies, distribution, processes
from larq_nas.tasks.data import check_apart, load_images, start_run
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import load_network, suggest
from larq_nas.tasks.train import accuracy_of, checked_network, count, name_of

logger = logging.getLogger(__name__)

SHARED = tuple(options.options(RecipeConfig))


def compare(config: CompareConfig) -> dict:
    """Trains networks with several seeds, and writes `comparison.json`, `comparison.csv` and a chart.

    Each training has a run directory of its own in the run directory, e.g. `bnas_a-seed1`. Trainings that have finished
    are not repeated.

    # Arguments
        config: The configuration.

    # Returns
        A dictionary with the `dataset`, the number of `test_examples`, the `seeds`, the `networks` and the `pairs`, see
        `accuracies.pairs`. `networks` is a dictionary of names to the `genotype` as it was given, the `accuracies` in
        the order of the seeds, their statistics, see `accuracies.summarize`, and the costs `params`, `bytes`,
        `binary_macs` and `float_macs`.
    """
    with locks.hold(config.run_dir):
        return _compare(config)


def _compare(config):
    processes.share_gpus()
    run, trainings = runs.Run(config.run_dir), _trainings(config)
    distribution.check_devices(config)
    # All networks are checked before the first training, since a training may take long.
    networks = {name: checked_network(training) for name, training in trainings.items()}
    _check_differ(networks)
    check_apart(config)
    data = load_images(config)
    costs = {name: count(network, data, name_of(trainings[name])) for name, network in networks.items()}
    start_run(run, "compare", config, data)
    for name, training in trainings.items():
        _keep_genotype(run, name, training)
    runs.write(run.path / "train.flags", flag_file(config))
    found, examples = {name: [] for name in trainings}, 0
    steps = [(name, seed) for seed in config.seeds for name in trainings]
    for number, (name, seed) in enumerate(steps, 1):
        own = runs.Run(run.path / f"{name}-seed{seed}")
        if not own.weights.exists():
            logger.info("training %d of %d in %s", number, len(steps), own.path)
            _train(run, name, trainings[name], seed, own)
        accuracy, examples = accuracy_of(own)
        found[name].append(accuracy)
        logger.info("%s, seed %d: test accuracy %.2f%%", name, seed, 100 * accuracy)
    return _result(run, config, examples, found, costs)


def _trainings(config):
    """The configuration of the training of each network, with the given genotype, by the name of the network."""
    genotypes = [_without_prefix(genotype) for genotype in config.genotypes]
    shared = options.values_of(config, RecipeConfig)
    return {
        name: TrainConfig(**shared, genotype=genotype)
        for name, genotype in zip(labels(genotypes), genotypes, strict=True)
    }


def _check_differ(networks):
    """Refuses networks of which two are the same."""
    names, bare = list(networks), [_bare(network) for network in networks.values()]
    for index, network in enumerate(bare):
        if network in bare[:index]:
            other = names[bare.index(network)]
            raise TaskError(f"genotypes: {other} and {names[index]} are the same network; give each network once")


def _without_prefix(genotype):
    """The genotype, or the name of a network of the zoo without the prefix `zoo:`."""
    if not isinstance(genotype, str) or not genotype.startswith("zoo:"):
        return genotype
    name = genotype.removeprefix("zoo:")
    if name not in zoo.VARIANTS:
        raise TaskError(f"genotypes={genotype}: no network of the zoo{suggest(name)}")
    return name


def _bare(network):
    return dataclasses.replace(network, provenance=None) if isinstance(network, Architecture) else network


def labels(genotypes: Sequence[str | Architecture]) -> list[str]:
    """Names networks after their files: `a` for `a.json` and for `a/genotype.json`.

    # Arguments
        genotypes: Genotypes, paths of files, and names of networks of the zoo.

    # Returns
        The names. If several are the same, they begin with the names of the folders, as far as they differ.

    # Raises
        TaskError: If two files differ in nothing but the ends of their names, or if a genotype is listed twice.
    """
    parts = [_parts(genotype, number) for number, genotype in enumerate(genotypes, 1)]
    lengths = [1] * len(parts)
    while True:
        found = ["-".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        same = [index for index, name in enumerate(found) if found.count(name) > 1]
        longer = [index for index in same if lengths[index] < len(parts[index])]
        if not longer:
            break
        for index in longer:
            lengths[index] += 1
    if same:
        first, second = (genotypes[index] for index in same[:2])
        raise TaskError(f"genotypes: {first} and {second} have the same name; give each genotype once, by its own name")
    return found


def _parts(genotype, number):
    """The folders and the name of a file, from which its label is made."""
    if isinstance(genotype, Architecture):
        return [f"genotype{number}"]
    if genotype in zoo.VARIANTS:
        return [genotype]
    path = pathlib.Path(os.path.abspath(genotype)).with_suffix("")
    parts = [part for part in path.parts if part != path.anchor]
    # A search names its file `genotype.json`, so that the folder tells more.
    return parts[:-1] if parts[-1] == "genotype" and len(parts) > 1 else parts


def _keep_genotype(run, name, training):
    """Keeps a copy of a genotype, so that the comparison cannot continue with another one."""
    network = load_network(training.genotype)
    if not isinstance(network, Architecture):
        return
    kept = _kept(run, name)
    if kept.exists() and _bare(load_network(str(kept))) != _bare(network):
        raise TaskError(
            f"{run.path}: holds a comparison with another genotype than {name_of(training)} is now; choose another "
            "run_dir, or start again with overwrite=True"
        )
    runs.write(kept, network.to_json())


def _kept(run, name):
    return run.genotypes / f"{name}.json"


def flag_file(config: options.Config, names: Collection[str] = SHARED) -> str:
    """The text of a flag file with values of a configuration.

    # Arguments
        config: The configuration.
        names: Names of flags. By default, they are those that trainings of different networks can share.

    # Returns
        The text.
    """
    flags = {name: value for name, value in config.texts().items() if name in names}
    return "".join(f"--{name}={value}\n" for name, value in sorted(flags.items()))


def _train(run, name, training, seed, own):
    kept = _kept(run, name)
    genotype = kept if kept.exists() else training.genotype
    processes.call("train", own, flagfile=run.path / "train.flags", genotype=genotype, seed=seed)


def _result(run, config, examples, found, costs):
    """Writes the result of a comparison to its files, logs it, and returns it."""
    networks = {}
    for (name, values), given in zip(found.items(), config.genotypes, strict=True):
        counted = {cost: getattr(costs[name], cost) for cost in accuracies.COSTS}
        genotype = given if isinstance(given, str) else name
        networks[name] = {"genotype": genotype, "accuracies": values, **accuracies.summarize(values), **counted}
    comparison = {
        "dataset": config.dataset,
        "test_examples": examples,
        "seeds": list(config.seeds),
        "networks": networks,
        "pairs": accuracies.pairs(networks),
    }
    file = run.path / "comparison.json"
    logger.info(accuracies.table(comparison))
    runs.write(file, comparison)
    runs.write(file.with_suffix(".csv"), accuracies.to_csv(comparison))
    plots.write(file.with_suffix(".png"), functools.partial(accuracies.draw, comparison=comparison), size=(8, 5))
    return comparison
