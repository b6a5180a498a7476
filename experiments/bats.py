"""Writes `docs/bats.md` and `docs/bats.png`: experiments with BATS on CIFAR-10.

pip install --editable '.[docs]'
python experiments/bats.py RUNS DATA_DIR

RUNS is where the runs are: what has ended is read, the rest goes on. DATA_DIR is that of TFDS.
"""

import collections
import functools
import pathlib
import sys

import matplotlib.pyplot as plt
from trained import accuracy, command, summary

import larq_nas
from larq_nas import costs, networks
from larq_nas.converters import tflite
from larq_nas.methods import bats
from larq_nas.networks.blocks import OPERATIONS
from larq_nas.space.architecture import Architecture

DOCS = pathlib.Path(__file__).parents[1] / "docs"
SEARCHES = {
    "t02": "search --flagfile=bats_cifar10_cpu",
    "t1": "search --flagfile=bats_cifar10_cpu --softmax_temperature=1",
    "real": "search --flagfile=bats_cifar10_cpu --nobinarize --optimizer=sgd --learning_rate=0.1",
}
TRAIN = (
    "train --flagfile=bats_quickstart --dataset=cifar10 --train_examples=6000 --image_size=16 --layers=5 --filters=24 "
    "--groups=8 --augmentation=crop_flip"
)
TWO, ONE = "--epochs=4 --activations_epochs=4", "--stages=weights --epochs=8"
SEEDS = 2
KINDS = "convolutions/pools/skips | mean kernel | longest path (normal, reduction)"
MODELS = ("bats", "bats_2x", "bats_real_2_5m", "bats_real_3_5m")


def kinds(genotype):
    """How many edges of a genotype are convolutions, pools and skips; the mean kernel size, and the longest path."""
    counts, sizes, longest = collections.Counter(), [], []
    for cell in genotype.cells:
        depth = [0] * bats.INPUTS
        for node in cell.nodes:
            depth.append(1 + max(depth[edge.source] for edge in node.edges))
            for edge in node.edges:
                operation = OPERATIONS[edge.operations[0]]
                counts[operation.kind.removeprefix("max_").removeprefix("avg_")] += 1
                if operation.kind == "group_convolution":
                    sizes.append(operation.kernel_size)
        longest.append(max(depth))
    mean = f"{sum(sizes) / len(sizes):.1f}" if sizes else "–"
    of_kinds = "/".join(str(counts[kind]) for kind in ("group_convolution", "pool", "skip"))
    return f"{of_kinds} | {mean} | {longest[0]}, {longest[1]}"


def draw(runs):
    """The entropy and the validation accuracy over the epochs."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    for axis, figure_name in zip(axes, ("entropy", "val_accuracy"), strict=True):
        for name, label in (("t02", "T = 0.2"), ("t1", "T = 1"), ("real", "T = 0.2, real-valued")):
            rows = runs[name].rows()
            axis.plot([row["epoch"] + 1 for row in rows], [row[figure_name] for row in rows], label=label)
        axis.set(xlabel="epoch")
        axis.legend(fontsize=8)
    axes[0].set(ylabel="mean entropy of an edge (nats)", ylim=(0, 2.1))
    axes[1].set(ylabel="validation accuracy of the supernet")
    figure.savefig(DOCS / "bats.png", dpi=100, metadata={"Software": None})


def zoo_table():
    """Costs of the networks of the zoo."""
    head = "model | binary MACs | float MACs | parameters"
    lines = [f"| {head} |", "|" + "---|" * 4]
    for name in MODELS:
        variant = larq_nas.zoo.VARIANTS[name]
        counts = costs.count(larq_nas.zoo.genotype(name), variant.input_shape, variant.num_classes)
        lines.append(
            f"| {name} | {counts.binary_macs / 1e6:,.1f} M | {counts.float_macs / 1e6:,.1f} M | "
            f"{counts.params / 1e6:.3f} M |"
        )
    return "\n".join(lines)


def groups_table():
    """What groups cost in the file: 3 channels each, as published, against the multiples of 32 that LCE computes."""
    head = "filters | groups | binary weights, at a bit each | padding | file | binary convolutions in the file"
    lines = [f"| {head} |", "|" + "---|" * 6]
    for filters, groups in ((36, 12), (64, 16), (64, "lce"), (96, 32), (96, "lce")):
        genotype = bats.scale(larq_nas.zoo.genotype("bats"), filters, 8, groups)
        conversion = tflite.convert(networks.build(genotype))
        bits = costs.count(genotype).binary_params // 8
        lines.append(
            f"| {filters} | {groups}: {', '.join(str(stage.groups) for stage in genotype.stages)} | {bits:,} bytes | "
            f"{conversion.report.padding_bytes:,} bytes | {len(conversion.bytes):,} bytes | "
            f"{conversion.report.operators['LceBconv2d']} |"
        )
    return "\n".join(lines)


def main(folder, data_dir):
    folder = pathlib.Path(folder)
    runs = {name: command(words, data_dir, folder / name) for name, words in SEARCHES.items()}
    found = {name: Architecture.load(run.genotype) for name, run in runs.items()}
    draw(runs)
    train = functools.partial(accuracy, folder=folder, data_dir=data_dir)
    of_found = {
        name: [train(f"{TRAIN} {TWO}", f"{name}_trained", found[name], seed) for seed in range(SEEDS)]
        for name in ("t02", "t1")
    }
    published = larq_nas.zoo.genotype("bats")
    of_two = [train(f"{TRAIN} {TWO}", "two_stages", published, seed) for seed in range(SEEDS)]
    of_one = [train(f"{TRAIN} {ONE}", "one_stage", published, seed) for seed in range(SEEDS)]
    last = {name: run.rows()[-1] for name, run in runs.items()}
    text = TEXT.format(
        searches="\n".join(f"larq_nas {words}" for words in SEARCHES.values()),
        head=f"| T | entropy in the end | {KINDS} | mean test accuracy (%) | standard deviation | all |\n|{'---|' * 8}",
        train=TRAIN,
        two=TWO,
        one=ONE,
        cold=f"{last['t02']['entropy']:.2f} | {kinds(found['t02'])} | {summary(of_found['t02'])}",
        warm=f"{last['t1']['entropy']:.2f} | {kinds(found['t1'])} | {summary(of_found['t1'])}",
        binary=kinds(found["t02"]),
        real=kinds(found["real"]),
        published=kinds(published),
        two_stages=summary(of_two),
        one_stage=summary(of_one),
        zoo=zoo_table(),
        groups=groups_table(),
    )
    (DOCS / "bats.md").write_text(text, encoding="utf-8")


TEXT = """# BATS: experiments

Written by `python experiments/bats.py RUNS DATA_DIR`, from runs on two CPU cores. The images are CIFAR-10,
JPEG-recoded, at half of their height and width, and 6,000 of them: what is compared here was trained equally, and
nothing is to be compared with accuracies of papers.

```shell
{searches}
```

![Entropy and validation accuracy over the epochs](bats.png)

## The temperature

Searches at T = 0.2 and at T = 1, and what comes of their genotypes when they are trained in two stages with two seeds:

```shell
larq_nas {train} {two} --genotype=FILE --seed=SEED
```

{head}
| 0.2 | {cold} |
| 1 | {warm} |

The temperature does what it is for, edges decide earlier; at so small a scale the genotypes are not better for it.

## Two stages against one

The published cells, as far as they are known, with two seeds: four epochs with binary activations and four with binary
kernels, too (`{two}`), against eight with both from the beginning (`{one}`).

| training | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|
| two stages | {two_stages} |
| one stage | {one_stage} |

Training the same steps in two stages is far ahead.

## Binary against real-valued cells

The supplement of the paper says that real-valued cells are deeper and have smaller kernels than binary ones. Found
here, with one search each:

| cells | convolutions/pools/skips | mean kernel | longest path (normal, reduction) |
|---|---|---|---|
| binary, found | {binary} |
| real-valued, found | {real} |
| binary, published (as far as known) | {published} |

The kernels are smaller, as the paper says, but the cells are not deeper: this short search by SGD at a learning rate of
0.1 made all of the normal cell max pools. What it found is worth no more than that.

## The networks of the zoo

`bats` and `bats_2x` have the published cells, as far as they are known; `bats_real_2_5m` and `bats_real_3_5m` those of
the real-valued search above, with as many cells and filters as give the published numbers of parameters within 2 %.
What the converter makes of them is in [`docs/zoo.md`](zoo.md).

{zoo}

## What groups cost in a file

Larq Compute Engine packs the channels of a group into words of 32 bits, so that a group of 3 channels takes the bits
of 32. The published cells in networks of 8 cells; groups of multiples of 32 channels (`lce`) are one convolution in the
file, which only LCE's kernel `use_indirect_bgemm` runs:

{groups}
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
