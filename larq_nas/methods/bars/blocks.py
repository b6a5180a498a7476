"""The blocks and operations of BARS. This module does not import TensorFlow."""

from collections.abc import Callable
from typing import Any

from larq_nas.networks import blocks, operations
from larq_nas.networks.blocks import BlockKind, of_sizes, parameter_free_shortcut
from larq_nas.networks.verbs import Features, Verbs


def strided_halves(
    v: Verbs,
    z: Features,
    filters: int,
    mask: Callable[[Features], Features] | None = None,
    activation: str | None = None,
    name: str = "",
) -> Features:
    """Two binary 3x3 convolutions of strides 2 side by side, the second one shifted by one pixel.

    Each convolution has half of the filters. The first one is centred on the first pixel of each 2x2 pixels, the second
    one on the last pixel.

    # Arguments
        v: The interpreter of the layer verbs.
        z: Input features.
        filters: Output channels, an even number.
        mask: A function that is applied to the signs before each convolution, or `None`.
        activation: Activation of the convolutions.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / 2, width / 2, filters)`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2 (cell template). The authors' code drops the first row
          and column for the second half and pads with zeros. Here nothing is dropped, and the padding is ones.
    """
    options: dict[str, Any] = {"kind": "layer_scaled", "padding": "valid", "activation": activation, "mask": mask}
    halves = []
    for index, first in enumerate((-1, 0)):
        x = v.start_at(z, first, name=f"{name}_start{index}")
        halves.append(v.conv(x, filters // 2, 3, 2, name=f"{name}_conv{index}", **options))
    return v.concat(halves, name=f"{name}_halves")


def layer_scaled_block(
    v: Verbs, x: Features, filters: int, *, mask: Callable[[Features], Features] | None = None, name: str = ""
) -> Features:
    """BatchNorm → sign → binary 1x1 convolution with one scale for all filters → ReLU.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels.
        mask: A function that is applied to the signs before the convolution, or `None`.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height, width, filters)`.
    """
    with v.block("binary", x, filters, name=name):
        x = v.norm(x, name=f"{name}_norm")
        return v.conv(x, filters, 1, kind="layer_scaled", activation="relu", mask=mask, name=f"{name}_conv")


def shortcut_of_halves(
    v: Verbs, x: Features, filters: int, mask: Callable[[Features], Features] | None = None, name: str = ""
) -> Features:
    """BatchNorm → `strided_halves` with ReLU: the shortcut around a reduction cell of BARS.

    See `strided_halves` for the arguments.
    """
    with v.block("halves", x, filters, 3, 2, name=name):
        x = v.norm(x, name=f"{name}_norm")
        # ReLU comes before the concatenation, because the converter then merges ReLU with the convolutions.
        return strided_halves(v, x, filters, mask, "relu", name)


def residual_block(
    v: Verbs, x: Features, filters: int, kernel_size: int = 3, strides: int = 1, *, name: str = ""
) -> Features:
    """BatchNorm → sign → binary convolution, plus a shortcut of the normalized input → ReLU.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels: as many as the input has or, with strides, twice as many.
        kernel_size: Height and width of the kernel, if the strides are 1.
        strides: 1, or 2 for `strided_halves`.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2 (operational level). The paper does not say that the
          shortcut carries the normalized input, nor that ReLU follows the sum. Both are in the authors' code.
    """
    with v.block("residual", x, filters, 3 if strides > 1 else kernel_size, strides, name=name):
        z = v.norm(x, name=f"{name}_norm")
        if strides > 1:
            y = strided_halves(v, z, filters, name=name)
        else:
            y = v.conv(z, filters, kernel_size, kind="layer_scaled", name=f"{name}_conv")
        shortcut = parameter_free_shortcut(v, z, filters, strides, f"{name}_shortcut")
        return v.relu(v.add([y, shortcut], name=f"{name}_residual"), name=f"{name}_relu")


blocks.register(
    residual=BlockKind(of_sizes(residual_block, "kernel_size", "strides"), operator="LceBconv2d", summed=True),
    halves=BlockKind(of_sizes(shortcut_of_halves)),
)
operations.define(
    operations.Operation("shortcut", "shortcut", parameter_free_shortcut),
    operations.convolution("residual_bin_conv_3x3", "residual", residual_block, 3),
)
