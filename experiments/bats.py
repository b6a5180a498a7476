"""Writes `docs/bats.md` and `docs/bats.png`: experiments with BATS on CIFAR-10.

pip install --editable '.[docs]'
python experiments/bats.py RUNS DATA_DIR

RUNS is the directory of the runs. Runs that have ended are read, all others are started or resumed. DATA_DIR is the
directory of the TFDS data sets.
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
from larq_nas.networks.operations import OPERATIONS
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
    """Returns the cells of a table: numbers of convolutions, pools and skips, mean kernel size, longest paths."""
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
    """Draws the entropy and the validation accuracy over the epochs."""
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
    """Returns a table of the costs of the networks of the zoo."""
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
    """Returns a table of file sizes, for groups of 3 channels as published and for multiples of 32 as LCE computes."""
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

This page was written by `python experiments/bats.py RUNS DATA_DIR`, from runs on two CPU cores. The data are 6,000
JPEG-recoded images of CIFAR-10, at half of their height and width. All networks that are compared on this page were
trained in the same way. Do not compare their accuracies with those of papers.

```shell
{searches}
```

![Entropy and validation accuracy over the epochs](bats.png)

## The temperature

The table compares searches at T = 0.2 and at T = 1. Their genotypes were trained in two stages, with two seeds each:

```shell
larq_nas {train} {two} --genotype=FILE --seed=SEED
```

{head}
| 0.2 | {cold} |
| 1 | {warm} |

The lower temperature works as intended: the edges decide earlier. But at such a small scale, this does not make the
genotypes better.

## Two stages and one stage

The published cells, as far as they are known, were trained with two seeds each. The training in two stages has four
epochs with binary activations and float kernels, and then four epochs with binary activations and kernels
(`{two}`). The training in one stage has eight epochs with binary activations and kernels
(`{one}`).

| training | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|
| two stages | {two_stages} |
| one stage | {one_stage} |

With the same number of steps, the training in two stages is far better.

## Binary and real-valued cells

The supplement of the paper says that real-valued cells are deeper and have smaller kernels than binary cells. One
search for each found:

| cells | convolutions/pools/skips | mean kernel | longest path (normal, reduction) |
|---|---|---|---|
| binary, found | {binary} |
| real-valued, found | {real} |
| binary, published (as far as known) | {published} |

The kernels are smaller, as the paper says, but the cells are not deeper. This short search by SGD at a learning rate of
0.1 found a normal cell of max pools only, so its result is not worth much.

## The networks of the zoo

`bats` and `bats_2x` have the published cells, as far as they are known. `bats_real_2_5m` and `bats_real_3_5m` have the
cells of the real-valued search above, with numbers of cells and filters that give the published numbers of parameters
within 2 %. [`docs/zoo.md`](zoo.md) shows the converted files of these networks.

{zoo}

## Size of groups in a file

Larq Compute Engine (LCE) packs the channels of a group into words of 32 bits, so that a group of 3 channels takes the
bits of 32 channels. The table has networks of 8 of the published cells. The column "groups" has the value of
`--groups`, then the number of groups in each of the three stages. A convolution whose groups have multiples of 32
channels (`lce`) is one convolution in the file, which only LCE's kernel `use_indirect_bgemm` runs:

{groups}
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
