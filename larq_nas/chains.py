"""Networks without cells, VGG-11 and ResNet-18, each of whose layers has a width of its own.

A width may be open: then it lists candidates, the layer has as many filters as the largest, and a mask behind its
BatchNorm weighs the channels by the candidates that have them. (In front of it, BatchNorm would undo the mask.)

A layer is convolution → BatchNorm; binary convolutions are `StepConv2D`, whose inputs become 0 or α. First and last
layer stay float.

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, sections 3.1 and A.3
"""

from typing import NamedTuple

import tensorflow as tf

from larq_nas import macro
from larq_nas.architecture import CHAINS
from larq_nas.operations import batch_normalization, float_conv
from larq_nas.steps import StepConv2D

layers = tf.keras.layers


class Convolution(NamedTuple):
    """A convolution of a chain and the BatchNorm behind it.

    # Arguments
        name: Prefix of the layers' names.
        inputs: Name of the width of its input; `None` for the images.
        outputs: Name of the width of its output.
        kernel_size: Height and width of the kernel.
        strides: Strides.
        halvings: How often its output is halved, against the images.
        pool: Size of a pool behind it, which halves it once more; 0 without one.
        summed: Whether its output is added to another.
    """

    name: str
    inputs: str | None
    outputs: str
    kernel_size: int = 3
    strides: int = 1
    halvings: int = 0
    pool: int = 0
    summed: bool = False

    @property
    def binary(self) -> bool:
        """Whether it is binary: all are but the first."""
        return self.inputs is not None


# Behind which convolutions of VGG-11 a 2x2 pool stands.
POOLED = (0, 1, 3, 5, 7)


def vgg11(large=False) -> list:
    """The convolutions of VGG-11."""
    names = CHAINS["vgg11"]
    halvings = [0, 1, 2, 2, 3, 3, 4, 4]
    return [
        Convolution(name, before, name, halvings=times, pool=2 * (index in POOLED))
        for index, (name, before, times) in enumerate(zip(names, [None, *names], halvings, strict=False))
    ]


def resnet18(large=False) -> list:
    """The convolutions of ResNet-18, block by block: two of 3x3 and, where the stage changes, a 1x1 shortcut.

    Two widths that are added must be equal: those of the outputs of all blocks of a stage; that of the first stage is
    the stem's.
    """
    halved = 2 if large else 0
    found = [Convolution("stem", None, "stem", *((7, 2, 1, 3) if large else (3, 1, 0)))]
    before = "stem"
    for stage in range(4):
        width = f"stage{stage}" if stage else "stem"
        halved += stage > 0
        for block in range(2):
            name, strides = f"block{2 * stage + block}", 2 if stage and not block else 1
            found.append(Convolution(f"{name}_0", before, name, 3, strides, halved))
            found.append(Convolution(f"{name}_1", name, width, 3, 1, halved, summed=True))
            if strides > 1:
                found.append(Convolution(f"{name}_shortcut", before, width, 1, strides, halved))
            before = width
    return found


CONVOLUTIONS = {"vgg11": vgg11, "resnet18": resnet18}


def build(architecture, images, choices, large, binary=True):
    """The features of a chain.

    # Arguments
        architecture: An architecture of the template `"vgg11"` or `"resnet18"`.
        images: Input tensor.
        choices: For each stage, weights of the candidates of its width; `None` where it is not open.
        large: Whether the images are large: ResNet then has the stem of ImageNet.
        binary: Whether all convolutions but the first are binary.

    # Returns
        A tensor.
    """
    convolutions = {conv.name: conv for conv in CONVOLUTIONS[architecture.template](large)}
    widths = {stage.cell: (stage.widths, choice) for stage, choice in zip(architecture.stages, choices, strict=True)}

    def apply(x, name):
        conv = convolutions[name]
        candidates, choice = widths[conv.outputs]
        make = StepConv2D if binary and conv.binary else float_conv
        x = make(max(candidates), conv.kernel_size, conv.strides, name=f"{name}_conv")(x)
        x = batch_normalization(name=f"{name}_norm")(x)
        return x if choice is None else macro.WidthMask(candidates, name=f"{name}_mask")([x, choice])

    def inner_relu(x, name):
        # A `Step` makes 0 of what is negative.
        return x if binary else layers.ReLU(name=name)(x)

    return _BODIES[architecture.template](images, apply, inner_relu, large)


def _vgg11(x, apply, inner_relu, large):
    for index in range(8):
        relu = inner_relu if index < 7 else lambda x, name: layers.ReLU(name=name)(x)
        x = relu(apply(x, f"conv{index}"), f"conv{index}_relu")
        if index in POOLED:
            x = layers.MaxPooling2D(2, padding="same", name=f"conv{index}_pool")(x)
    return x


def _resnet18(x, apply, inner_relu, large):
    x = layers.ReLU(name="stem_relu")(apply(x, "stem"))
    if large:
        x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for block in range(8):
        name = f"block{block}"
        y = inner_relu(apply(x, f"{name}_0"), f"{name}_0_relu")
        y = apply(y, f"{name}_1")
        if block in (2, 4, 6):
            x = apply(x, f"{name}_shortcut")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return x


_BODIES = {"vgg11": _vgg11, "resnet18": _resnet18}
# How often a network halves its images, and how often more if they are large.
HALVINGS = {"vgg11": (5, 0), "resnet18": (3, 2)}
