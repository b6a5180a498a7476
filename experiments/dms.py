"""Writes `docs/dms.md` and `docs/dms.png`: experiments with DMS on CIFAR-10.

pip install --editable '.[docs]'
python experiments/dms.py RUNS DATA_DIR

RUNS is the directory of the runs. Runs that have ended are read, all others are started or resumed. DATA_DIR is the
directory of the TFDS data sets.
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
# Name of the run -> flags of the search, and the megabytes in table 1 of DMS.
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
    """Returns the command of a search."""
    flags, megabytes = SEARCHES[name]
    return f"search --flagfile=dms_cifar10_cpu {flags} --genotype_megabytes={megabytes}"


def uniform(backbone, megabytes):
    """Returns the base network with all widths multiplied by the factor that gives a size in megabytes."""
    base = dms.space(backbone)
    distributions = dms.Distributions(genotype_megabytes=megabytes)
    return distributions.derive(base, np.ones(len(base.stages)), SHAPE, CLASSES)


def draw(runs):
    """Draws the channels per layer, and the losses of the searches with and without best-effort initialization."""
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
    """Returns a table of some rounds of the searches with and without best-effort initialization."""
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
    """Returns a table of the widths and sizes of the networks of the zoo, and of the published sizes."""
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

This page was written by `python experiments/dms.py RUNS DATA_DIR`, from runs on two CPU cores. The data are a part of
the images of CIFAR-10, JPEG-recoded. All networks that are compared on this page were trained in the same way. Do not
compare their accuracies with those of papers.

## Channels per layer

```shell
{searches}
```

![Channels by layer, and training loss with and without best-effort initialization](dms.png)

Solid lines show the widths that were found, scaled to the published size. Dashed lines show uniform widths, with one
factor for all layers. In VGG-11 at the small size, the first layers are wider than the uniform layers, most of all the
first one, and the last layer shrinks to the smallest ratio of 0.3. In figure 4 of the paper, the first three layers are
wider, too, and layers 4 and 6 are pruned most. The larger networks do not need to save memory, since they never reach
their target, so their ratios stay closer to the initial ratios.

## With and without best-effort initialization

```shell
{anew}
```

{dynamics}

The column "scale" is the scale of the distributions of the ratios, which falls from round to round. With best-effort
initialization, a round begins with the weights of the previous round. Without it, each round trains
new weights for two epochs, and the loss falls only slightly, while the candidates come closer together. Reported by the
authors: without best-effort initialization the search does not converge, and ResNet-18 ends at 87.74 % instead of
89.30 %.

## Found and uniform widths at equal memory

The table compares VGG-11 at the size of DMS-A, with two seeds each:

```shell
larq_nas {train} --genotype=FILE --seed=SEED
```

| widths | size | mean test accuracy (%) | standard deviation | all |
|---|---|---|---|---|
| found | {found_size:.4f} MB | {found} |
| uniform: {uniform_widths} | {uniform_size:.4f} MB | {uniform} |

Reported by the authors, after 300 epochs on all of CIFAR-10: 84.16 % (found) and 78.31 % (uniform, 0.08 MB).

## The networks of the zoo

The searches above found these networks. The `provenance` in their files (`zoo/genotypes/dms_*.json`) holds all flags,
the ratios before scaling, and the versions of packages. A MB has 2^20 bytes. A binary kernel counts one bit per weight
and a float scale per filter, the first and the last layer count as floats, and BatchNorm does not count. This
reproduces the sizes of VGG-11 in table 1 of the paper. The paper prints 0.64 MB for the larger VGG-11, but a saving
that corresponds to 0.84 MB; larq_nas uses 0.64 MB.

[`docs/zoo.md`](zoo.md) shows the converted files of these networks.

{zoo}
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
