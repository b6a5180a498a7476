"""Do searches beat chance? Searches of one space, and random genotypes of the same costs, trained by the same recipe.

For each seed, the method and an evolution search the space. From the Pareto front of the evolution, the genotype is
taken whose cost is nearest to that of the method. For each genotype of the method, genotypes are drawn at random whose
binary multiply-accumulates and parameters differ from it by at most 5 %. All are trained by the same recipe. The test
split is used once for each training, and chooses nothing. `docs/study.md` describes the protocol.

    python experiments/study.py --space=bats --run_dir=runs/study-bats --seeds=1,2,3 --drawn=4 \
        --data="--dataset=cifar10 --train_examples=4000 --image_size=16" --search="--flagfile=images" \
        --evolution="--steps=3000" --train="--flagfile=images"

The same command resumes.
"""

import argparse
import pathlib
import shlex
import statistics

import numpy as np
import trained

import larq_nas
from larq_nas import costs, flags, runs
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes
from larq_nas.tasks import accuracies

# The costs that random genotypes share with the genotype of a search, up to this relative difference.
COSTS, TOLERANCE = ("binary_macs", "params"), 0.05
# Genotypes that are drawn at most to find those of the same costs.
DRAWS = 20_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="bats", help="bnas, bars or bats")
    parser.add_argument("--run_dir", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--drawn", type=int, default=4, help="random genotypes for each genotype of the method")
    parser.add_argument("--data", default="--dataset=digits", help="flags of the data set")
    for name in ("search", "evolution", "train"):
        parser.add_argument(f"--{name}", default="", help="further flags")
    arguments = parser.parse_args()
    groups = {"method": {}, "evolution": {}, "random": {}}
    for seed in arguments.seeds:
        found, evolved = (searched(arguments, way, seed) for way in ("", "evolution"))
        config = flags.searched(found.path)
        shape, classes = _images(found)
        groups["method"][f"method-{seed}"] = Architecture.load(found.genotype)
        cost = _cost(groups["method"][f"method-{seed}"], shape, classes)
        groups["evolution"][f"evolution-{seed}"] = nearest(evolved, cost)
        drawn = alike(config, cost, arguments.drawn, seed, shape, classes)
        groups["random"] |= {f"random-{seed}-{number}": genotype for number, genotype in enumerate(drawn, 1)}
    report(arguments, {name: train(arguments, name, genotypes) for name, genotypes in groups.items()})


def searched(arguments, way, seed):
    """Runs or resumes a search and returns its `Run`."""
    method = f"--method={way} --space={arguments.space}" if way else f"--method={arguments.space}"
    own = arguments.evolution if way else ""
    words = f"search {arguments.search} {method} {arguments.data} {own} --seed={seed}"
    run_dir = arguments.run_dir / f"{way or 'method'}-{seed}"
    if not (run_dir / "genotype.json").exists():
        print(f"searching in {run_dir}", flush=True)
        trained.command(words, "", run_dir)
    return runs.Run(run_dir)


def _images(run):
    described = runs.read_json(run.dataset)
    return tuple(described["image_shape"]), len(described["class_names"])


def _cost(genotype, shape, classes):
    counts = costs.count(genotype, shape, classes)
    return {name: getattr(counts, name) for name in COSTS}


def nearest(run, cost):
    """Returns the genotype of a Pareto front whose binary multiply-accumulates are nearest to a cost."""
    rows = runs.read_json(run.path / "pareto.json")
    best = min(rows, key=lambda row: abs(row["binary_macs"] - cost["binary_macs"]))
    return Architecture.load(run.path / best["genotype"])


def alike(config, cost, count, seed, shape, classes):
    """Draws genotypes evenly from a space until there are enough of about the same costs."""
    space, generator, found = config.space(), np.random.default_rng(seed), {}
    strategy, shapes = config.strategy(space, shape, classes), choice_shapes(space)
    for _ in range(DRAWS):
        probabilities = {name: generator.dirichlet(np.ones(size[-1]), size[:-1]) for name, size in shapes.items()}
        genotype = strategy.candidate(space, probabilities).genotype
        own = _cost(genotype, shape, classes)
        if all(abs(own[name] / cost[name] - 1) <= TOLERANCE for name in COSTS):
            found[genotype] = own
        if len(found) == count:
            return list(found)
    raise SystemExit(f"only {len(found)} of {DRAWS} random genotypes have about the costs {cost}")


def train(arguments, name, genotypes):
    """Trains genotypes with `larq_nas compare` and returns its comparison. Random ones are trained with one seed."""
    files = []
    for label, genotype in genotypes.items():
        files.append(arguments.run_dir / "genotypes" / f"{label}.json")
        runs.write(files[-1], genotype.to_json())
    seeds = arguments.seeds[:1] if name == "random" else arguments.seeds
    words = [*shlex.split(arguments.train), *shlex.split(arguments.data), f"--run_dir={arguments.run_dir / name}"]
    words += [f"--seeds={','.join(map(str, seeds))}", f"--genotypes={','.join(map(str, files))}"]
    print(f"training {len(files)} networks of {name}, seeds {seeds}", flush=True)
    return larq_nas.compare(flags.parse("compare", words).config)


def report(arguments, comparisons):
    """Prints the mean accuracy of the networks of each group, and writes all figures to `study.json`."""
    means = {
        name: [network["mean"] for network in comparison["networks"].values()]
        for name, comparison in comparisons.items()
    }
    rows = {
        name: {
            "means": values,
            **accuracies.summarize(values),
            "p_value_against_random": None if name == "random" else accuracies.p_value(values, means["random"]),
            "networks": comparisons[name]["networks"],
        }
        for name, values in means.items()
    }
    print("| genotypes of | networks | mean (%) | deviation | best (%) | binary MACs | p-value against random |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        macs = statistics.fmean(network["binary_macs"] for network in row["networks"].values())
        p = "" if row["p_value_against_random"] is None else f"{row['p_value_against_random']:.3g}"
        figures = f"{100 * row['mean']:.2f} | {100 * row['deviation']:.2f} | {100 * max(row['means']):.2f}"
        print(f"| {name} | {row['trainings']} | {figures} | {macs:,.0f} | {p} |")
    runs.write(arguments.run_dir / "study.json", rows)


if __name__ == "__main__":
    main()
