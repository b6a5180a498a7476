"""VGG-11 and ResNet-18: networks without cells, in which each layer has its own width.

If a width is searched, it has several candidates. The layer then has as many filters as the largest candidate, and a
mask after the layer's BatchNorm multiplies each channel by the weights of the candidates that keep the channel. A
BatchNorm after the mask would undo it.

A layer is convolution → BatchNorm. Binary convolutions are `step_convolution.StepConv2D` layers, whose inputs become 0
or α. The first and the last layer stay float. This module does not import TensorFlow.

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, sections 3.1 and A.3
"""

import dataclasses
import typing

from larq_nas.networks import blocks, stems
from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import width_name
from larq_nas.space.registry import Template

# Indices of the convolutions of VGG-11 that a 2x2 pool follows.
POOLED = (0, 1, 3, 5, 7)
# Template -> the names of its widths.
WIDTHS = {
    "vgg11": tuple(f"conv{index}" for index in range(8)),
    "resnet18": ("stem", *(f"block{index}" for index in range(8)), "stage1", "stage2", "stage3"),
}
# How many times a network halves its images, and how many more times if the images are large.
HALVINGS = {"vgg11": (5, 0), "resnet18": (3, 2)}


def step_block(
    v: Verbs, x: Features, filters: int, kernel_size: int = 1, strides: int = 1, *, name: str = ""
) -> Features:
    """Binary convolution of inputs in {0, α} → BatchNorm. See `blocks.convolution_block` for the arguments."""
    with v.block("step", x, filters, kernel_size, strides, name=name):
        x = v.conv(x, filters, kernel_size, strides, kind="step", name=f"{name}_conv")
        return v.norm(x, name=f"{name}_norm")


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of a network without cells.

    # Arguments
        v: The interpreter of the layer verbs.
        widths: Numbers of filters by the name of the width.
        masks: For each searched width, the candidates and their weights, by the name of the width.
        binary: Whether all convolutions except the first are binary.
    """

    v: typing.Any
    widths: dict
    masks: dict
    binary: bool = True

    def conv(
        self, x: Features, name: str, width: str, kernel_size: int = 3, strides: int = 1, *, first: bool = False
    ) -> Features:
        """Convolution → BatchNorm → mask. There is no mask if the width is not searched."""
        block = step_block if self.binary and not first else blocks.float_block
        x = block(self.v, x, self.widths[width], kernel_size, strides, name=name)
        return self.v.mask(x, *self.masks[width], name=f"{name}_mask") if width in self.masks else x

    def inner_relu(self, x: Features, name: str) -> Features:
        """ReLU before a float convolution. A binary convolution needs no ReLU, because its negative inputs become 0."""
        return x if self.binary else self.v.relu(x, name=name)


def vgg11(layers: Layers, x: Features, large: bool) -> Features:
    """Returns the features of VGG-11."""
    for index in range(8):
        x = layers.conv(x, f"conv{index}", f"conv{index}", first=index == 0)
        relu = layers.inner_relu if index < 7 else lambda x, name: layers.v.relu(x, name=name)
        x = relu(x, f"conv{index}_relu")
        if index in POOLED:
            x = blocks.pool_block(layers.v, "max_pool", x, 2, 2, name=f"conv{index}_pool")
    return x


def resnet18(layers: Layers, x: Features, large: bool) -> Features:
    """Returns the features of ResNet-18.

    A block has two 3x3 convolutions. The first block of a new stage also has a 1x1 convolution as shortcut. Features
    that are added need the same width, so the outputs of all blocks of a stage have one width. In the first stage, this
    is the width of the stem. Large images enter through the stem of the ImageNet networks.
    """
    v = layers.v
    x = layers.conv(x, "stem", "stem", *((7, 2) if large else (3, 1)), first=True)
    x = v.relu(x, name="stem_relu")
    if large:
        x = blocks.pool_block(v, "max_pool", x, 3, 2, name="stem_pool")
    for block in range(8):
        stage, name = block // 2, f"block{block}"
        width, strides = f"stage{stage}" if stage else "stem", 2 if block in (2, 4, 6) else 1
        y = layers.inner_relu(layers.conv(x, f"{name}_0", name, strides=strides), f"{name}_0_relu")
        y = layers.conv(y, f"{name}_1", width)
        if strides > 1:
            x = layers.conv(x, f"{name}_shortcut", width, 1, strides)
        x = v.relu(blocks.sum_block(v, [x, y], f"{name}_add"), name=f"{name}_relu")
    return x


BODIES = {"vgg11": vgg11, "resnet18": resnet18}


def network(
    v: Verbs,
    architecture: Architecture,
    images: Features,
    choices: dict,
    widths: dict | None = None,
    binary: bool = True,
) -> Features:
    """Returns the features of VGG-11 or ResNet-18; see `registry.Template`."""
    filters = {stage.cell: max(stage.widths) for stage in architecture.stages} if widths is None else widths
    masks = {
        stage.cell: (stage.widths, choices[width_name(index)])
        for index, stage in enumerate(architecture.stages)
        if width_name(index) in choices
    }
    layers = Layers(v, filters, masks, binary)
    return BODIES[architecture.template](layers, images, images.shape[1] >= stems.LARGE_IMAGE)


blocks.register(step=blocks.BlockKind(blocks.of_sizes(step_block, "kernel_size", "strides"), operator="LceBconv2d"))
TEMPLATES = tuple(
    Template(name, "dms", network, widths=widths, halvings=HALVINGS[name], full_precision=True)
    for name, widths in WIDTHS.items()
)
