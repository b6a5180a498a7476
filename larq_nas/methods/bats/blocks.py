"""The blocks and operations of BATS. This module does not import TensorFlow."""

import functools
from typing import Any

from larq_nas.networks import blocks, operations
from larq_nas.networks.blocks import BlockKind, of_sizes, strides_of, subsampled
from larq_nas.networks.verbs import Features, Verbs

# What BATS networks quantize: `"binary"` means kernels and activations; `"activations"` means activations, with float
# kernels, for searches and the first of two training stages; `"real"` means nothing.
QUANTIZATIONS = ("binary", "activations", "real")


# The number of groups of the channel shuffle in BATS. It does not depend on the groups of the convolutions.
SHUFFLE = 4


def _kind(name, quantization):
    return f"real_{name}" if quantization == "real" else name


def group_convolution(
    v: Verbs,
    x: Features,
    filters: int,
    kernel_size: int = 1,
    strides: int = 1,
    dilation_rate: int = 1,
    *,
    groups: int = 1,
    quantization: str = "binary",
    affine: bool = True,
    name: str = "",
) -> Features:
    """BatchNorm → grouped convolution → PReLU → channel shuffle. Without strides, the input is added.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels. Without strides, as many as the input has.
        kernel_size: Height and width of the kernel.
        strides: 1 or 2.
        dilation_rate: Distance of the taps.
        groups: Number of groups of the convolution.
        quantization: One of `QUANTIZATIONS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711), supplement, figures 2c and 2d. The number of groups of the shuffle
          and the position of the learnt scale follow the first author's library. The library pads with zeros. Here
          binary convolutions pad with ones, as in all networks of larq_nas.
    """
    kind = _kind("group_convolution", quantization)
    with v.block(kind, x, filters, kernel_size, strides, dilation_rate, groups, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        subsampling, own, dilation_rate = strides_of(dilation_rate, strides)
        y = subsampled(v, y, subsampling, name)
        options: dict[str, Any] = {"groups": groups, "kind": _CONVOLUTION[quantization], "name": f"{name}_conv"}
        y = v.prelu(v.conv(y, filters, kernel_size, own, dilation_rate, **options), name=f"{name}_prelu")
        y = v.shuffle(y, SHUFFLE, name=f"{name}_shuffle")
        return v.add([x, y], name=f"{name}_residual") if strides == 1 else y


# The kind of convolution for each quantization.
_CONVOLUTION = {"binary": "scaled", "activations": "activations", "real": "real"}


def factorized_reduce(
    v: Verbs, x: Features, filters: int, *, quantization: str = "binary", affine: bool = True, name: str = ""
) -> Features:
    """BatchNorm → two 1x1 convolutions of every second pixel side by side → PReLU.

    The second convolution reads pixels that are shifted by one row and one column.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels, an even number.
        quantization: One of `QUANTIZATIONS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / 2, width / 2, filters)`.
    """
    with v.block(_kind("factorized_reduce", quantization), x, filters, strides=2, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        halves = []
        for index in range(2):
            pixels = v.every_second(y, index, name=name)
            halves.append(v.conv(pixels, filters // 2, 1, kind=_CONVOLUTION[quantization], name=f"{name}_conv{index}"))
        return v.prelu(v.concat(halves, name=f"{name}_halves"), name=f"{name}_prelu")


def preprocess(
    v: Verbs, x: Features, filters: int, *, quantization: str = "binary", affine: bool = True, name: str = ""
) -> Features:
    """BatchNorm → 1x1 convolution → PReLU. The input is added if it has as many channels as the output.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels.
        quantization: One of `QUANTIZATIONS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height, width, filters)`.
    """
    with v.block(_kind("preprocess", quantization), x, filters, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        y = v.conv(y, filters, 1, kind=_CONVOLUTION[quantization], name=f"{name}_conv")
        y = v.prelu(y, name=f"{name}_prelu")
        return v.add([x, y], name=f"{name}_residual") if x.shape[-1] == filters else y


def _skip(v, x, filters, strides, name, quantization):
    if strides > 1:
        return factorized_reduce(v, x, filters, quantization=quantization, name=name)
    return blocks.parameter_free_shortcut(v, x, filters, strides, name)


_SIZES = "kernel_size", "strides", "dilation_rate", "groups"
_real: dict[str, Any] = {"quantization": "real"}
blocks.register(
    group_convolution=BlockKind(of_sizes(group_convolution, *_SIZES), summed=True),
    real_group_convolution=BlockKind(of_sizes(group_convolution, *_SIZES, **_real), float_kernel=True, summed=True),
    preprocess=BlockKind(of_sizes(preprocess), operator="LceBconv2d"),
    real_preprocess=BlockKind(of_sizes(preprocess, **_real), float_kernel=True),
    factorized_reduce=BlockKind(of_sizes(factorized_reduce)),
    real_factorized_reduce=BlockKind(of_sizes(factorized_reduce, **_real), float_kernel=True),
)
_convolution = functools.partial(
    operations.convolution, kind="group_convolution", block=group_convolution, context=("groups", "quantization")
)
operations.define(
    operations.Operation("skip", "skip", _skip, context=("quantization",)),
    _convolution("group_conv_3x3", kernel_size=3),
    _convolution("group_conv_5x5", kernel_size=5),
    _convolution("dil_group_conv_3x3", kernel_size=3, dilation_rate=2),
    _convolution("dil_group_conv_5x5", kernel_size=5, dilation_rate=2),
)
