"""Do searches beat chance? Searches of one space, and random genotypes of the same costs, trained by the same recipe.

For each seed, the method and an evolution search the space. From the Pareto front of the evolution, the genotype is
taken whose binary multiply-accumulates are nearest to those of the method. For each of these genotypes, others are
drawn at random whose binary multiply-accumulates and parameters differ from it by at most 5 %. All are trained by the
same recipe: the found ones with all seeds, a random one with the seed of its search. The test split is used once for
each training, and chooses nothing. `docs/study.md` describes the protocol.

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
from larq_nas.methods.evolution import keys
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
    parser.add_argument("--drawn", type=int, default=4, help="random genotypes for each genotype that was found")
    parser.add_argument("--data", default="--dataset=digits", help="flags of the data set")
    for name in ("search", "evolution", "train"):
        parser.add_argument(f"--{name}", default="", help="further flags")
    arguments = parser.parse_args()
    networks = {"method": [], "random, as the method": [], "evolution": [], "random, as the evolution": []}
    for seed in arguments.seeds:
        run, evolved = (searched(arguments, way, seed) for way in ("", "evolution"))
        space = Space(run, seed)
        found = Architecture.load(run.genotype)
        for name, genotype in (("method", found), ("evolution", nearest(evolved, space.cost(found)))):
            drawn = space.alike(genotype, arguments.drawn)
            networks[name] += train(arguments, f"{name}-{seed}", [genotype], arguments.seeds)
            networks[f"random, as the {name}"] += train(arguments, f"random-{name}-{seed}", drawn, [seed])
    report(arguments, networks)


def searched(arguments, way, seed):
    """Runs or resumes a search and returns its `Run`."""
    method = f"--method={way} --space={arguments.space}" if way else f"--method={arguments.space}"
    words = f"search {arguments.search} {method} {arguments.data} --seed={seed} {arguments.evolution if way else ''}"
    run_dir = arguments.run_dir / f"search-{way or 'method'}-{seed}"
    print(f"searching in {run_dir}", flush=True)
    return trained.command(words, "", run_dir)


def nearest(run, cost):
    """Returns the genotype of a Pareto front whose binary multiply-accumulates are nearest to those of a cost."""
    rows = runs.read_json(run.path / "pareto.json")
    best = min(rows, key=lambda row: abs(row["biops"] / 2 - cost["binary_macs"]))
    return Architecture.load(run.path / best["genotype"])


class Space:
    """The space of a finished search, from which genotypes are drawn.

    # Arguments
        run: The `Run` of the search.
        seed: The seed of the random generator.
    """

    def __init__(self, run, seed):
        described, config = runs.read_json(run.dataset), flags.searched(run.path)
        self.sizes = tuple(described["image_shape"]), len(described["class_names"])
        self.space, self.generator = config.space(), np.random.default_rng(seed)
        self.strategy = config.strategy(self.space, *self.sizes)

    def cost(self, genotype):
        """Returns the costs that are matched, by name."""
        counts = costs.count(genotype, *self.sizes)
        return {name: getattr(counts, name) for name in COSTS}

    def alike(self, genotype, count):
        """Draws genotypes evenly until there are enough of about the same costs as a given one."""
        wanted, found = self.cost(genotype), {}
        for _ in range(DRAWS):
            key = keys.draw(choice_shapes(self.space), self.generator)
            drawn = self.strategy.candidate(self.space, key).genotype
            own = self.cost(drawn)
            if drawn != genotype and all(abs(own[name] / wanted[name] - 1) <= TOLERANCE for name in COSTS):
                found[drawn] = own
            if len(found) == count:
                return list(found)
        raise SystemExit(f"only {len(found)} of {DRAWS} random genotypes have about the costs {wanted}")


def train(arguments, name, genotypes, seeds):
    """Trains genotypes with `larq_nas compare` and returns the networks of its comparison."""
    files = []
    for number, genotype in enumerate(genotypes, 1):
        files.append(arguments.run_dir / "genotypes" / f"{name}-{number}.json")
        runs.write(files[-1], genotype.to_json())
    words = [*shlex.split(arguments.train), *shlex.split(arguments.data), f"--run_dir={arguments.run_dir / name}"]
    words += [f"--seeds={','.join(map(str, seeds))}", f"--genotypes={','.join(map(str, files))}"]
    print(f"training {name}: {len(files)} networks with the seeds {seeds}", flush=True)
    return list(larq_nas.compare(flags.parse("compare", words).config)["networks"].values())


def report(arguments, networks):
    """Writes all figures to `study.json`, and prints the mean accuracy of the networks of each group."""
    rows = {}
    for name, group in networks.items():
        means, against = [network["mean"] for network in group], networks.get(f"random, as the {name}")
        p_value = against and accuracies.p_value(means, [network["mean"] for network in against])
        rows[name] = {"means": means, **accuracies.summarize(means), "p_value": p_value, "networks": group}
    runs.write(arguments.run_dir / "study.json", rows)
    print("| genotypes | networks | mean (%) | deviation | binary MACs | parameters | p-value against random |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        macs, params = (statistics.fmean(network[cost] for network in row["networks"]) for cost in COSTS)
        deviation, p_value = (
            "-" if value is None else f"{factor * value:.3g}"
            for value, factor in ((row["deviation"], 100), (row["p_value"], 1))
        )
        figures = f"{100 * row['mean']:.2f} | {deviation} | {macs:,.0f} | {params:,.0f} | {p_value}"
        print(f"| {name} | {row['trainings']} | {figures} |")


if __name__ == "__main__":
    main()
