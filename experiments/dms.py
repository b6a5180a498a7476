"""Writes `docs/dms.md` and `docs/dms.png`: experiments with DMS on CIFAR-10.

pip install --editable '.[docs]'
python experiments/dms.py RUNS DATA_DIR

RUNS is where the runs are: what has ended is read, the rest goes on. DATA_DIR is that of TFDS.
"""

import functools
import pathlib
import sys

import matplotlib.pyplot as plt
import numpy as np
from trained import accuracy, command, summary

import larq_nas
from larq_nas.methods import dms
from larq_nas.space.architecture import Architecture

DOCS = pathlib.Path(__file__).parents[1] / "docs"
SMALL = "--train_examples=6000 --epochs=20"
# Name of the run: flags of the search and the megabytes that table 1 of DMS prints.
SEARCHES = {
    "vgg11_a": ("--ratio=1.5 --memory_target=0.12", 0.08),
    "vgg11_b": (f"{SMALL} --ratio=2.5 --memory_target=1", 0.64),
    "resnet18_a": (f"{SMALL} --backbone=resnet18 --image_size=16 --ratio=1.5 --memory_target=0.12", 0.10),
    "resnet18_b": (f"{SMALL} --backbone=resnet18 --image_size=16 --ratio=2.5 --memory_target=1", 0.84),
}
TRAIN = (
    "train --flagfile=dms_quickstart --dataset=cifar10 --train_examples=10000 --image_size=32 --epochs=6 "
    "--augmentation=crop_flip"
)
SHAPE, CLASSES, SEEDS = (32, 32, 3), 10, 2


def search(name):
    """The words of a search."""
    flags, megabytes = SEARCHES[name]
    return f"search --flagfile=dms_cifar10_cpu {flags} --genotype_megabytes={megabytes}"


def uniform(backbone, megabytes):
    """The base network with all widths multiplied by the same factor, at a size."""
    base = dms.space(backbone)
    strategy = dms.Strategy(genotype_megabytes=megabytes)
    return strategy.derive(base, np.ones(len(base.stages)), SHAPE, CLASSES)


def draw(runs):
    """Channels by layer, and the losses of the searches with and without best-effort initialization."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for axis, backbone in zip(axes, ("vgg11", "resnet18"), strict=False):
        base = dms.space(backbone)
        for name, marker in ((f"{backbone}_a", "o-"), (f"{backbone}_b", "s-")):
            found = dms.base_widths(Architecture.load(runs[name].genotype))
            (line,) = axis.plot(found, marker, label=f"{name} found")
            even = dms.base_widths(uniform(backbone, SEARCHES[name][1]))
            axis.plot(even, "--", color=line.get_color(), label="uniform, same size")
        axis.set_xticks(range(len(base.stages)), [stage.cell for stage in base.stages], rotation=60)
        axis.set(ylabel="channels", ylim=(0, None))
        axis.legend(fontsize=8)
    for name, label in (("vgg11_a", "best-effort initialization"), ("anew", "fresh weights each round")):
        rows = runs[name].rows()
        axes[2].plot([row["epoch"] + 1 for row in rows], [row["loss"] for row in rows], label=label)
    axes[2].set(xlabel="round", ylabel="training loss at its end")
    axes[2].legend(fontsize=8)
    figure.savefig(DOCS / "dms.png", dpi=100, metadata={"Software": None})


def dynamics(runs):
    """A table of some rounds of the searches with and without best-effort initialization."""
    lines = [
        "| round | scale | training loss, with | without | validation accuracy, with | without |",
        "|" + "---|" * 6,
    ]
    both = list(zip(runs["vgg11_a"].rows(), runs["anew"].rows(), strict=True))
    for first, second in [both[0], *both[3:-1:4], both[-1]]:
        lines.append(
            f"| {int(first['epoch']) + 1} | {first['scale']:.2f} | {first['loss']:.3f} | {second['loss']:.3f} | "
            f"{first['val_accuracy']:.1%} | {second['val_accuracy']:.1%} |"
        )
    return "\n".join(lines)


def zoo_table():
    """Widths and sizes of the networks of the zoo beside the published sizes."""
    head = "model | widths | size | published"
    lines = [f"| {head} |", "|" + "---|" * 4]
    for name, (_, published) in SEARCHES.items():
        genotype = larq_nas.zoo.genotype(f"dms_{name}")
        widths = ", ".join(map(str, dms.base_widths(genotype)))
        size = float(dms.size(genotype, SHAPE, CLASSES))
        lines.append(f"| dms_{name} | {widths} | {size:.4f} MB | {published:.2f} MB |")
    return "\n".join(lines)


def main(folder, data_dir):
    folder = pathlib.Path(folder)
    runs = {name: command(search(name), data_dir, folder / name) for name in SEARCHES}
    train = functools.partial(accuracy, TRAIN, folder=folder, data_dir=data_dir)
    found, even = Architecture.load(runs["vgg11_a"].genotype), uniform("vgg11", SEARCHES["vgg11_a"][1])
    of_found = [train("found", found, seed) for seed in range(SEEDS)]
    of_even = [train("uniform", even, seed) for seed in range(SEEDS)]
    runs["anew"] = command(f"{search('vgg11_a')} --nobest_effort", data_dir, folder / "anew")
    draw(runs)
    text = TEXT.format(
        searches="\n".join(f"larq_nas {search(name)}" for name in SEARCHES),
        anew=f"larq_nas {search('vgg11_a')} --nobest_effort",
        train=TRAIN,
        dynamics=dynamics(runs),
        zoo=zoo_table(),
        found=summary(of_found),
        uniform=summary(of_even),
        found_size=float(dms.size(found, SHAPE, CLASSES)),
        uniform_size=float(dms.size(even, SHAPE, CLASSES)),
        uniform_widths=", ".join(map(str, dms.base_widths(even))),
    )
    (DOCS / "dms.md").write_text(text, encoding="utf-8")


TEXT = """# DMS: experiments

Written by `python experiments/dms.py RUNS DATA_DIR`, from runs on two CPU cores. The images are CIFAR-10,
JPEG-recoded, and a part of them: what is compared here was trained equally, and nothing is to be compared with
accuracies of papers.

## Channels by layer

```shell
{searches}
```

![Channels by layer, and training loss with and without best-effort initialization](dms.png)

Solid: what was found, multiplied by the factor that gives the published size; dashed: one factor for all layers. In
VGG-11 at the small size the first layers are wider than uniform ones, the first the most, and the last shrinks to the
least ratio of 0.3. Figure 4 of the paper shows the first three wider, too; there layers 4 and 6 are pruned most. The
larger networks have no memory to save (their target is not reached at any time), so their ratios stay closer to where
they began.

## With and without best-effort initialization

```shell
{anew}
```

{dynamics}

With it a round begins with what the last one learnt; without it, each round trains for two epochs from nothing, and
the loss hardly falls, as the candidates draw together. Reported by the authors: without it the search does not
converge, and ResNet-18 ends at 87.74 % in place of 89.30 %.

## Found against uniform, at equal memory

VGG-11 at the size of DMS-A, two seeds each:

```shell
larq_nas {train} --genotype=FILE --seed=SEED
```

| widths | size | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|---|
| found | {found_size:.4f} MB | {found} |
| uniform: {uniform_widths} | {uniform_size:.4f} MB | {uniform} |

Reported by the authors, after 300 epochs on all of CIFAR-10: 84.16 % (found) and 78.31 % (uniform, 0.08 MB).

## The networks of the zoo

The searches above; the `provenance` in their files (`zoo/genotypes/dms_*.json`) holds all flags, the ratios before
scaling, and the versions of packages. MB are 2^20 bytes: binary kernels at one bit and a float scale for each of their
filters, first and last layer as floats, no BatchNorm, which reproduces the sizes of VGG-11 in table 1. The paper prints
0.64 MB for the larger VGG-11 beside a saving that means 0.84 MB; 0.64 is taken.

What the converter makes of them is in [`docs/zoo.md`](zoo.md).

{zoo}
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
