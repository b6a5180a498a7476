"""Do searches beat chance? Searches of one space, and random genotypes of the same costs, trained by the same recipe.

For each seed, the method and an evolution search the space. From the Pareto front of the evolution, the genotype is
taken whose binary multiply-accumulates are nearest to those of the method. For each of these genotypes, others are
drawn evenly whose costs differ from it by at most 5 %. All are trained by the same recipe: a found one with all seeds,
a random one with the seed of its search, and so is what a variant of the method finds, which is compared with the
random genotypes of the method. A ResNet-18 whose widths have one factor, so that it has the binary multiply-accumulates
of the first search, is trained by a recipe of its own. The test split is used once for each training, and chooses
nothing. `docs/study.md` describes the protocol.

    python experiments/study.py experiments/results/bats.json RUNS --space=bats \
        --data="--dataset=cifar10 --train_examples=4000 --image_size=16" --search="--flagfile=images" \
        --evolution="--steps=3000" --train="--flagfile=images" --baseline="--flagfile=images" \
        --variant="T = 1:--softmax_temperature=1:"

The same command resumes. The file of results keeps what has finished, so that the directory RUNS may be deleted.
"""

import argparse
import functools
import hashlib
import json
import pathlib
import shlex
import statistics
import time

import numpy as np
import trained

from larq_nas import costs, flags, runs
from larq_nas.configs import RankConfig
from larq_nas.methods import dms
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import accuracies, rank

# The costs that random genotypes share with the genotype of a search, up to this relative difference.
COSTS, TOLERANCE = ("binary_macs", "float_macs", "params"), 0.05
# Genotypes that are drawn at once, and how often, to find those of the same costs.
DRAWN, TIMES = 500, 200
TEXTS = ("data", "search", "evolution", "train", "baseline")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, help="JSON file of the results")
    parser.add_argument("runs", type=pathlib.Path, help="directory of the runs")
    parser.add_argument("--space", default="bats", help="bnas, bars, bats or dms")
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--drawn", type=int, default=4, help="random genotypes for each genotype that was found")
    parser.add_argument("--data_dir", help="directory in which TFDS keeps its data sets")
    parser.add_argument("--variant", action="append", default=[], help="NAME:FLAGS OF ITS SEARCH:FLAGS OF ITS TRAINING")
    for name in TEXTS:
        parser.add_argument(f"--{name}", default="", help="flags")
    study = Study(parser.parse_args())
    groups = study.run()
    report(groups, study)


class Study:
    """Searches, draws and trains, and keeps in a file what has finished.

    # Arguments
        arguments: The parsed arguments of the command line.
    """

    def __init__(self, arguments):
        self.arguments, self.file, self.drawn = arguments, arguments.results, {}
        self.kept = {"flags": {name: getattr(arguments, name) for name in ("space", "seeds", "drawn", *TEXTS)}}
        if self.file.exists():
            found = runs.read_json(self.file)
            if found["flags"] != self.kept["flags"]:
                raise SystemExit(f"{self.file}: holds results with other flags: {found['flags']}")
            self.kept = found

    def once(self, name, function, *arguments):
        """Calls a function and keeps its result, unless the result is kept already."""
        if name not in self.kept:
            print(name, flush=True)
            begin = time.monotonic()
            self.kept[name] = {**function(*arguments), "seconds": round(time.monotonic() - begin, 1)}
            runs.write(self.file, self.kept)
        return self.kept[name]

    def run(self):
        """Runs the study and returns the networks of each group: lists of pairs of a genotype and its accuracies."""
        seeds, groups = self.arguments.seeds, {}
        ways = ["method"] + ["evolution"] * (self.arguments.space != "dms")
        found = {}
        for seed in seeds:
            for way in ways:
                found[way, seed] = self.searched(way, seed)
                self.drawn[way, seed] = self.alike(way, seed, found[way, seed])
        everyone = [genotype for group in self.drawn.values() for genotype in group]
        for seed in seeds:
            for way in ways:
                if self.arguments.space != "dms":
                    self.once(f"shared weights, {way}, seed {seed}", self.judged, way, seed, everyone)
        for seed in seeds:
            for way in ways:
                groups.setdefault(way, []).append(self.trained(found[way, seed], seeds))
                rows = [self.trained(genotype, [seed]) for genotype in self.drawn[way, seed]]
                groups.setdefault(f"random, as the {way}", []).extend(rows)
            for variant in self.arguments.variant:
                name, search, training = variant.split(":")
                genotype = self.searched(name, seed, search)
                groups.setdefault(name, []).append(self.trained(genotype, [seed], f"{self.arguments.train} {training}"))
        baseline = self.baseline(found["method", seeds[0]])
        groups["ResNet-18"] = [self.trained(baseline, seeds, self.arguments.baseline)]
        return groups

    def words(self, way, seed, further=""):
        """The flags of a search."""
        arguments, method = self.arguments, f"--method={self.arguments.space}"
        if way == "evolution":
            method, further = f"--method=evolution --space={arguments.space}", arguments.evolution
        return f"{method} {arguments.search} {arguments.data} --seed={seed} {further}"

    def config(self, way, seed):
        """The configuration of a search."""
        return flags.parse("search", shlex.split(self.words(way, seed))).config

    def run_dir(self, way, seed):
        """The directory of a search."""
        return self.arguments.runs / f"search-{way}-{seed}"

    def searched(self, way, seed, further=""):
        """Returns the genotype of a search. Of an evolution, it is the one with the costs of the method's genotype."""

        def search():
            run = trained.command(f"search {self.words(way, seed, further)}", data_dir, self.run_dir(way, seed))
            genotype = Architecture.load(run.genotype)
            described = runs.read_json(run.dataset)
            sizes = {"image_shape": described["image_shape"], "classes": len(described["class_names"])}
            if way == "evolution":
                genotype = nearest(run, self.kept[f"search, method, seed {seed}"]["binary_macs"])
            last = {name: float(value) for name, value in run.rows()[-1].items() if "entropy" in name}
            return {"genotype": json.loads(genotype.to_json()), **sizes, **counted(genotype, *sizes.values()), **last}

        data_dir = self.arguments.data_dir
        # The same name with other flags is another variant.
        return of_dict(self.once(f"search, {way}, seed {seed} {further}".rstrip(), search)["genotype"])

    @functools.cached_property
    def sizes(self):
        """The shape of the images and the number of classes."""
        first = self.kept[f"search, method, seed {self.arguments.seeds[0]}"]
        return tuple(first["image_shape"]), first["classes"]

    def alike(self, way, seed, genotype):
        """Draws genotypes evenly until there are enough of about the same costs as a given one."""

        def draw():
            config, wanted, found = self.config(way, seed), counted(genotype, *self.sizes), {}
            if self.arguments.space == "dms":
                config = config.replace(genotype_megabytes=float(dms.size(genotype, *self.sizes)))
            space = config.space()
            strategy = config.strategy(space, *self.sizes)
            for number in range(TIMES):
                drawing = config.replace(seed=1000 * seed + number)
                for candidate in drawing.draw(space, strategy, DRAWN, *self.sizes):
                    own = counted(candidate.genotype, *self.sizes)
                    if all(abs(own[name] / wanted[name] - 1) <= TOLERANCE for name in COSTS):
                        found[candidate.genotype] = None
                found.pop(genotype, None)
                if len(found) >= self.arguments.drawn:
                    rows = [json.loads(each.to_json()) for each in list(found)[: self.arguments.drawn]]
                    return {"genotypes": rows, "of": DRAWN * (number + 1)}
            raise SystemExit(f"only {len(found)} random genotypes have about the costs {wanted}")

        return [of_dict(values) for values in self.once(f"genotypes as {way}, seed {seed}", draw)["genotypes"]]

    def judged(self, way, seed, genotypes):
        """The validation accuracies of genotypes with the shared weights of a search."""
        searched = self.config(way, seed).replace(data_dir=self.arguments.data_dir)
        config, run = RankConfig(genotypes=tuple(genotypes)), runs.Run(self.run_dir(way, seed))
        judged = rank._with_shared_weights(config, searched, run)
        # A genotype may have been drawn twice.
        return {"accuracies": [judged[genotype]["validation_accuracy"] for genotype in genotypes]}

    def baseline(self, genotype):
        """The ResNet-18 whose binary multiply-accumulates are nearest to those of a genotype."""
        base, wanted = dms.space("resnet18"), counted(genotype, *self.sizes)["binary_macs"]
        every = [dms.derive(base, np.full(len(base.stages), ratio)) for ratio in np.geomspace(0.1, 10, 200)]
        return min(every, key=lambda each: abs(counted(each, *self.sizes)["binary_macs"] - wanted))

    def trained(self, genotype, seeds, words=None):
        """Trains the network of a genotype with some seeds, and returns the genotype and its accuracies."""
        words = self.arguments.train if words is None else words
        key = hashlib.sha256(f"{words} {genotype.to_json()}".encode()).hexdigest()[:12]

        def train(seed):
            line, folder = f"train {words} {self.arguments.data}", self.arguments.runs
            return {"accuracy": trained.accuracy(line, key, genotype, seed, folder, self.arguments.data_dir) / 100}

        return genotype, [self.once(f"train {key}, seed {seed}", train, seed)["accuracy"] for seed in seeds]


def of_dict(values):
    """The architecture of parsed JSON."""
    return Architecture.from_json(json.dumps(values))


def counted(genotype, image_shape, num_classes):
    """The costs that are matched, by name."""
    counts = costs.count(genotype, image_shape, num_classes)
    return {name: getattr(counts, name) for name in COSTS}


def nearest(run, binary_macs):
    """The genotype of a Pareto front whose binary multiply-accumulates are nearest to a number."""
    rows = runs.read_json(run.path / "pareto.json")
    best = min(rows, key=lambda row: abs(row["biops"] / 2 - binary_macs))
    return Architecture.load(run.path / best["genotype"])


def report(groups, study):
    """Prints the accuracies and costs of each group, and how well the shared weights of each search rank."""
    means = {name: [statistics.fmean(values) for _, values in rows] for name, rows in groups.items()}
    print("| genotypes | networks | mean (%) | deviation | binary MACs | float MACs | parameters | p-value |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in groups.items():
        opponents = means.get(f"random, as the {name}", means["random, as the method"])
        p_value = None if name.startswith("random") or len(rows) < 2 else accuracies.p_value(means[name], opponents)
        summary = accuracies.summarize(means[name])
        deviation = "-" if summary["deviation"] is None else f"{100 * summary['deviation']:.2f}"
        every = [counted(genotype, *study.sizes) for genotype, _ in rows]
        figures = [f"{statistics.fmean(row[cost] for row in every):,.0f}" for cost in COSTS]
        p_value = "-" if p_value is None else f"{p_value:.2g}"
        print(
            "|", " | ".join([name, str(len(rows)), f"{100 * summary['mean']:.2f}", deviation, *figures, p_value]), "|"
        )
    for way in ("method", "evolution"):
        for seed in study.arguments.seeds if way in groups else ():
            report_search(way, seed, means, study)


def report_search(way, seed, means, study):
    """Prints how well the shared weights of a search rank, and what as many random trainings would have found."""
    kept = study.kept
    trainings = [value["seconds"] for name, value in kept.items() if name.startswith("train ")]
    count = max(round(kept[f"search, {way}, seed {seed}"]["seconds"] / statistics.fmean(trainings)), 1)
    random = np.array(means[f"random, as the {way}"])
    best = np.random.default_rng(0).choice(random, (10_000, count)).max(axis=1).mean()
    words = [f"search, {way}, seed {seed}: as long as {count} trainings; best of {count} random: {100 * best:.2f} %"]
    if f"shared weights, {way}, seed {seed}" in kept:
        trained_alone = [study.trained(each, [of])[1][0] for (_, of), group in study.drawn.items() for each in group]
        ranking = rank.statistics(kept[f"shared weights, {way}, seed {seed}"]["accuracies"], trained_alone)
        value, interval = ranking["kendall_tau"].values()
        # It is undefined if all accuracies are equal.
        if value is not None:
            words.append(f"Kendall's τ {value:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}")
    print("; ".join(words))


if __name__ == "__main__":
    main()
