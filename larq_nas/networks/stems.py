"""The stems through which images enter the networks. This module does not import TensorFlow."""

from typing import Any

from larq_nas.networks import blocks
from larq_nas.networks.verbs import Features, Verbs

# Images of at least this height enter through a stem that halves them this number of times.
LARGE_IMAGE, STEM_HALVINGS = 128, 3


def plain_stem(v: Verbs, images: Features, filters: int) -> Features:
    """A stem for small images: a float convolution that keeps their size."""
    return blocks.float_block(v, images, filters, 3, name="stem")


def imagenet_stem0(v: Verbs, images: Features, filters: int, groups: int = 1) -> Features:
    """The first part of the stem for large images: two float convolutions that each halve the images."""
    x = images
    for index, width in enumerate((filters // 2, filters)):
        with v.block("float", x, width, 3, 2, groups=groups if index else 1, name=f"stem0_{index}"):
            options: dict[str, Any] = {"kind": "float", "groups": groups if index else 1}
            x = v.conv(x, width, 3, 2, name=f"stem0_conv{index}", **options)
            x = v.norm(x, name=f"stem0_norm{index}")
        x = x if index else v.relu(x, name="stem0_relu")
    return x


def imagenet_stem(v: Verbs, images: Features, filters: int, groups: int = 1) -> tuple[Features, Features, bool]:
    """The stem for large images, which halves them three times.

    # Returns
        The two inputs of the first cell, and whether the first input is twice as high and wide as the second one.
    """
    earlier = imagenet_stem0(v, images, filters, groups)
    x = blocks.float_block(v, v.relu(earlier, name="stem1_relu"), filters, 3, 2, groups=groups, name="stem1")
    return earlier, x, True
