"""Writes `docs/bars.md` and `docs/bars.png`: three experiments with BARS on CIFAR-10.

pip install --editable '.[docs]'
python experiments/bars.py RUNS DATA_DIR

RUNS is the directory of the runs. Runs that have ended are read, all others are started or resumed. DATA_DIR is the
directory of the TFDS data sets.
"""

import collections
import dataclasses
import functools
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy as np
from trained import accuracy, command, summary

import larq_nas
from larq_nas import costs
from larq_nas.methods import bars
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes

DOCS = pathlib.Path(__file__).parents[1] / "docs"
SEARCH = (
    "search --flagfile=bars_cifar10_cpu --genotype_filters=64 --budget=3747M --budget_params=10.76M --budget_flops=3M"
)
TRAIN = (
    "train --flagfile=bars_quickstart --dataset=cifar10 --train_examples=10000 --image_size=16 --epochs=6 "
    "--augmentation=crop_flip"
)
# The trained networks have 16 filters for 64 filters of the searched networks.
FILTERS, SHAPE, CLASSES = 16, (16, 16, 3), 10
RANDOM, SEEDS = 8, 2
# Published budgets in table 2 of BARS: BiOps, parameters and FLOPs in millions.
PUBLISHED = {
    "bars_a": (1027, 2.77, 2),
    "bars_b": (2096, 6.07, 2),
    "bars_c": (3747, 10.76, 3),
    "bars_d": (1499, 9.46, 129),
    "bars_e": (2526, 14.04, 194),
}


def alike(genotype):
    """Returns genotypes with the costs of `genotype` whose choices are drawn uniformly."""
    space, counts = bars.space(FILTERS), costs.count(genotype, SHAPE, CLASSES)
    accepted = {"biops": counts.biops, "params": counts.params}
    strategy = bars.Strategy(counted=(space, SHAPE, CLASSES), budget=counts.biops, accepted=accepted, samples=RANDOM)
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    candidates = strategy.candidates(space, even, seed=1)
    if not all(candidate.metrics["accepted"] for candidate in candidates):
        raise ValueError("a random genotype is not of these costs")
    return [candidate.genotype for candidate in candidates]


def operations(row, prefix):
    """Counts the edges of each operation in the cells of a prefix, in the most probable genotype of a row."""
    total = collections.Counter()
    for name, value in row.items():
        cell, _, operation = name.partition("/")
        if cell.startswith(prefix) and operation in bars.OPERATIONS:
            total[operation] += int(value)
    return "/".join(str(total[name]) for name in ("residual_bin_conv_3x3", "shortcut", "none"))


def dynamics(rows):
    """Draws the curves of the search and returns a table of some epochs."""
    epochs = [row["epoch"] + 1 for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    most = {"operations": np.log(3), "width": np.log(4), "depth": np.log(4)}
    for kind, bound in most.items():
        left.plot(epochs, [row[f"entropy_{kind}"] / bound for row in rows], label=kind)
    left.set(xlabel="epoch", ylabel="mean entropy / its maximum", ylim=(0, 1.05))
    left.legend()
    right.plot(epochs, [row["expected_biops"] / 1e6 for row in rows], label="expected")
    right.plot(epochs, [row["budget"] / 1e6 for row in rows], "--", label="budget")
    right.set(xlabel="epoch", ylabel="M BiOps", ylim=(0, None))
    right.legend()
    figure.savefig(DOCS / "bars.png", dpi=100, metadata={"Software": None})
    lines = [
        "| epoch | temperature | entropy of operations | of widths | of depths | expected BiOps | normal cells | "
        "reductions | depths | widths | validation accuracy |",
        "|" + "---|" * 11,
    ]
    for row in [rows[0], *rows[13:-1:4], rows[-1]]:
        kinds = " | ".join(f"{row[f'entropy_{kind}']:.3f}" for kind in most)
        depths, widths = (", ".join(f"{row[f'stage{i}/{kind}']:.0f}" for i in range(3)) for kind in ("depth", "width"))
        lines.append(
            f"| {int(row['epoch']) + 1} | {row['temperature']:.2f} | {kinds} | {row['expected_biops'] / 1e6:,.0f} M | "
            f"{operations(row, 'normal')} | {operations(row, 'reduce')} | {depths} | {widths} | "
            f"{row['val_accuracy']:.1%} |"
        )
    return "\n".join(lines)


def zoo_table():
    """Returns a table of the costs of the networks of the zoo and of the published networks."""
    head = "model | BiOps | published | parameters | published | FLOPs | published"
    lines = [f"| {head} |", "|" + "---|" * 7]
    for name, (biops, params, flops) in PUBLISHED.items():
        variant = larq_nas.zoo.VARIANTS[name]
        counts = costs.count(larq_nas.zoo.genotype(name), variant.input_shape, variant.num_classes)
        lines.append(
            f"| {name} | {counts.biops / 1e6:,.1f} M | {biops} M | {counts.params / 1e6:.3f} M | {params} M | "
            f"{counts.flops / 1e6:.2f} M | {flops} M |"
        )
    return "\n".join(lines)


def main(folder, data_dir):
    folder = pathlib.Path(folder)
    search = command(SEARCH, data_dir, folder / "search")
    found = Architecture.load(search.genotype)
    derived = bars.scale(found, max(found.stages[0].widths) * FILTERS // 64)
    without = functools.partial(dataclasses.replace, options={"cell_shortcut": False})
    bare = without(derived)
    seeds = range(SEEDS)
    train = functools.partial(accuracy, TRAIN, folder=folder, data_dir=data_dir)
    of_derived = [train("derived", derived, seed) for seed in seeds]
    of_bare = [train("no_shortcut", bare, seed) for seed in seeds]
    drawn = [(f"random{i}", genotype) for i, genotype in enumerate(alike(derived))]
    of_random = [train(name, genotype, 0) for name, genotype in drawn]
    of_bare_random = [train(f"{name}_no_shortcut", without(genotype), 0) for name, genotype in drawn[-SEEDS:]]
    counts, counts_bare = (costs.count(genotype, SHAPE, CLASSES) for genotype in (derived, bare))
    text = TEXT.format(
        search=SEARCH,
        train=TRAIN,
        dynamics=dynamics(search.rows()),
        zoo=zoo_table(),
        imagenet_loss=" and ".join(
            f"{larq_nas.zoo.genotype(name).provenance['result']['validation_loss']:.2f}"
            for name in ("bars_d", "bars_e")
        ),
        biops=counts.biops / 1e6,
        params=counts.params,
        bare_biops=counts_bare.biops / 1e6,
        bare_params=counts_bare.params,
        derived=summary(of_derived),
        bare=summary(of_bare),
        random=summary(of_random),
        paired=summary(of_random[-SEEDS:]),
        bare_paired=summary(of_bare_random),
    )
    (DOCS / "bars.md").write_text(text, encoding="utf-8")


TEXT = """# BARS: experiments

This page was written by `python experiments/bars.py RUNS DATA_DIR`, from runs on two CPU cores. The data are 10,000
JPEG-recoded images of CIFAR-10, at half of their height and width. All networks that are compared on this page were
trained in the same way. Do not compare their accuracies with those of papers.

## How a search proceeds

```shell
larq_nas {search}
```

![Entropies and expected cost over the epochs](bars.png)

{dynamics}

The columns "normal cells" and "reductions" count the convolutions/shortcuts/none operations of the most probable
genotype. The first 14 epochs train the weights only.

The entropies stay high until the weights are trained well enough to distinguish operations, and end near 0. No cell
ends with shortcuts only. But the depths fall to 0: depth does not pay off in such a short training, and the loss does
not reward depth below the budget. The genotypes of the zoo are deeper because their costs must fit the budget.

## With and without the shortcut around each cell

The table compares the genotype that this search found, with 16 filters instead of 64 and trained with two seeds, and
two of the drawn genotypes of the next section:

```shell
larq_nas {train} --genotype=FILE --seed=SEED
```

| network | BiOps | parameters | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|---|---|
| found, with | {biops:.1f} M | {params:,} | {derived} |
| found, without | {bare_biops:.1f} M | {bare_params:,} | {bare} |
| drawn, with | | | {paired} |
| drawn, without | | | {bare_paired} |

Reported by the authors, on all of CIFAR-10 and with their own searches: 92.97 % (with) and 52.83 % (without).

## Found and drawn genotypes

The table compares the same genotype with eight genotypes whose choices are drawn uniformly, and whose BiOps and
parameters are within 2 % of its BiOps and parameters. Each of the eight was trained once.

| networks | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|
| found, two seeds | {derived} |
| drawn | {random} |

At this scale, the search does not find better genotypes than chance. The drawn genotypes are better by more than the
spread of either row, for the reasons given in the first section.

## The networks of the zoo

These networks were found by searches like the one above. Their BiOps and parameters are within 2 % of table 2 of the
paper. The `provenance` in their files (`zoo/genotypes/bars_*.json`) holds all flags, the versions of packages, and the
figures. All searches ran on CIFAR-10; the searches for ImageNet counted the costs of the layout for ImageNet. The
parameters are those of the whole network. Table 2 of the paper truncates FLOPs to millions, and its FLOPs and
equivalent operations for ImageNet contradict each other. So the searches asked for 2.4 M, 3 M, 129.5 M and 193.1 M
FLOPs, within 2 %.

The expected cost stayed below the budget in all searches except that of bars_a. So the budget influenced the other four
searches only in their last step, which draws genotypes that fit the budget. On CIFAR-10, the published FLOPs only allow
a first stage of 14 or 16 filters, but the search made this stage much wider. So the drawn genotypes are far from the
learnt probabilities, and their validation loss in the supernet, 2.3 and more, is no better than guessing. On ImageNet
it is {imagenet_loss}.

[`docs/zoo.md`](zoo.md) shows the converted files of these networks.

{zoo}
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
