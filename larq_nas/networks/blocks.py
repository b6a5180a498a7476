"""The blocks of networks, which a device computes as one operation.

The first argument of each function is an interpreter of the layer verbs. `builder.Builder` makes Keras layers,
`counting.Counter` counts what they cost. Building, counting, profiling and timing therefore share one definition of a
block. Blocks that only one method has are in the package of the method.

```python
import larq_nas
import tensorflow as tf
from larq_nas.networks import blocks, builder, counting

images = tf.keras.layers.Input((8, 8, 16))
blocks.convolution_block(builder.Builder(), images, 32, 3, name="block")  # a Keras tensor of shape (None, 8, 8, 32)

counter = counting.Counter()
blocks.convolution_block(counter, counting.Features(8, 8, 16), 32, 3, name="block")
[row.macs for row, _ in counter.rows if row.binary]  # [294912]
```

A binary convolution block is BatchNorm → sign → binary convolution → ReLU, in this order. Binary convolutions pad with
ones. A padded zero would not be a binary value, so the convolution could not be bit-packed. This module does not import
TensorFlow.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space import registry


def strides_of(dilation_rate: int, strides: int) -> tuple[int, int, int]:
    """Splits a strided convolution into subsampling of the input and a convolution that TensorFlow accepts.

    TensorFlow forbids strides together with dilation. All taps of a convolution with dilation 2 and strides 2 fall on
    pixels of one parity, so the convolution equals an undilated convolution of every second pixel.

    # Arguments
        dilation_rate: Dilation rate of the strided convolution.
        strides: Strides of the strided convolution.

    # Returns
        The subsampling factor, and the strides and the dilation rate of the remaining convolution.

    # Raises
        ValueError: If strides and dilation rate are above 1 and differ.
    """
    if strides > 1 and dilation_rate > 1:
        if strides != dilation_rate:
            raise ValueError(f"strides {strides} with dilation rate {dilation_rate} is not supported")
        return strides, 1, 1
    return 1, strides, dilation_rate


def convolution_block(
    v: Verbs,
    x: Features,
    filters: int,
    kernel_size: int = 1,
    strides: int = 1,
    dilation_rate: int = 1,
    *,
    affine: bool = True,
    binary: bool = True,
    name: str = "",
) -> Features:
    """BatchNorm → sign → binary convolution → ReLU. If `binary` is false, there is no sign, and the kernel is float.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels.
        kernel_size: Height and width of the kernel.
        strides: 1 or 2.
        dilation_rate: Distance of the taps of a binary convolution.
        affine: Whether the BatchNorm has a trainable scale and offset.
        binary: Whether the input and the kernel are binarized.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.
    """
    with v.block("binary" if binary else "float", x, filters, kernel_size, strides, dilation_rate, name=name):
        x = v.norm(x, affine, name=f"{name}_norm")
        subsampling, strides, dilation_rate = strides_of(dilation_rate, strides)
        x = subsampled(v, x, subsampling, name)
        if binary:
            return v.conv(x, filters, kernel_size, strides, dilation_rate, kind="xnor", name=f"{name}_conv")
        x = v.conv(x, filters, kernel_size, strides, kind="float", name=f"{name}_conv")
        return v.relu(x, name=f"{name}_relu")


def subsampled(v: Verbs, x: Features, subsampling: int, name: str) -> Features:
    """Keeps every `subsampling`-th pixel of each row and column."""
    return v.pool("max_pool", x, 1, subsampling, name=f"{name}_subsample") if subsampling > 1 else x


def float_block(
    v: Verbs, x: Features, filters: int, kernel_size: int = 1, strides: int = 1, *, groups: int = 1, name: str = ""
) -> Features:
    """Float convolution → BatchNorm. `groups` is the number of groups; see `convolution_block` for the others."""
    with v.block("float", x, filters, kernel_size, strides, groups=groups, name=name):
        x = v.conv(x, filters, kernel_size, strides, groups=groups, kind="float", name=f"{name}_conv")
        return v.norm(x, name=f"{name}_norm")


def pool_block(
    v: Verbs, kind: str, x: Features, kernel_size: int, strides: int = 1, name: str | None = None
) -> Features:
    """A pool. Averages do not count padded values.

    # Arguments
        v: The interpreter of the layer verbs.
        kind: `"max_pool"` or `"avg_pool"`.
        x: Input features.
        kernel_size: Height and width of the window.
        strides: 1 or 2.
        name: Name of the layer.

    # Returns
        Features of shape `(height / strides, width / strides, channels)`.
    """
    with v.block(kind, x, x.shape[-1], kernel_size, strides, name=name or ""):
        return v.pool(kind, x, kernel_size, strides, name=name)


def sum_block(v: Verbs, terms: Sequence[Features], name: str) -> Features:
    """A sum outside of the nodes of a cell, e.g. with a shortcut around the cell. A device needs extra time for such a
    sum.
    """
    with v.block("add", terms[0], terms[0].shape[-1], name=name):
        return v.add(terms, name=name)


def concat_block(v: Verbs, terms: Sequence[Features], name: str) -> Features:
    """A concatenation of features along the channels."""
    with v.block("concat", terms[0], sum(term.shape[-1] for term in terms), name=name):
        return v.concat(terms, name=name)


def parameter_free_shortcut(v: Verbs, x: Features, filters: int, strides: int, name: str = "") -> Features:
    """Returns `x` itself or, with strides, its average over 2x2 pixels.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels: as many as the input has or, with strides, twice as many.
        strides: 1 or 2.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`. If `filters` is twice the number of input
        channels, the channels are repeated.
    """
    if strides == 1:
        with v.block("add", x, filters, name=name):
            return x
    with v.block("shortcut", x, filters, strides=strides, name=name):
        return doubled(v, v.pool("avg_pool", x, 2, 2, name=f"{name}_pool"), filters, name)


def doubled(v: Verbs, x: Features, filters: int, name: str) -> Features:
    """Repeats the channels of `x` if `filters` is twice their number. Otherwise, `x` is returned unchanged."""
    return v.concat([x, x], name=f"{name}_double") if filters == 2 * x.shape[-1] else x


def of_sizes(function: Callable, *names: str, **options: Any) -> Callable:
    """Returns a function that builds a single block of the sizes of a `layer_costs.Block`.

    # Arguments
        function: A function of an interpreter, features and the number of output channels, e.g. `convolution_block`.
        names: Sizes that `function` has as keyword arguments, e.g. `"strides"`.
        options: Further keyword arguments of `function`.

    # Returns
        A function of an interpreter, features, the block, and a prefix of the layers' names.
    """

    def build(v, x, block, name):
        return function(v, x, block.filters, **{key: getattr(block, key) for key in names}, name=name, **options)

    return build


def _pool_of(kind):
    return lambda v, x, block, name: pool_block(v, kind, x, block.kernel_size, block.strides, name)


_SIZES = "kernel_size", "strides", "dilation_rate"


@dataclasses.dataclass(frozen=True)
class BlockKind:
    """A kind of blocks, as profiling and latency tables see it.

    # Arguments
        build: A function that builds a single block, e.g. from `of_sizes`. It takes an interpreter, features, a
            `layer_costs.Block`, and a prefix of the layers' names.
        float_kernel: Whether the block has a kernel that is not binary.
        operator: The operator of a `.tflite` file that computes a convolution of this kind, with all layers that belong
            to it; empty if there is none.
        summed: Whether blocks of this kind stand on the edges of cells, where their outputs are added to others.
        parallel: Whether a file may contain several blocks with the same input. The converter merges blocks without
            parameters into one.
        chained: Whether a block can read the output of a block of the same size.
    """

    build: Callable
    float_kernel: bool = False
    operator: str = ""
    summed: bool = False
    parallel: bool = True
    chained: bool = True


def _concat(v, x, block, name):
    return v.concat([x] * (block.filters // block.inputs), name=name)


def _dense(v, x, block, name):
    return v.classifier(x, block.filters)


_float = of_sizes(functools.partial(convolution_block, binary=False), "kernel_size", "strides")
_WITHOUT_PARAMETERS: dict[str, Any] = {"summed": True, "parallel": False}
# The kinds of blocks by name. `register` adds those of the methods.
BLOCKS = {
    "binary": BlockKind(of_sizes(convolution_block, *_SIZES), operator="LceBconv2d", summed=True),
    "float": BlockKind(_float, float_kernel=True, operator="CONV_2D"),
    "max_pool": BlockKind(_pool_of("max_pool"), **_WITHOUT_PARAMETERS),
    "avg_pool": BlockKind(_pool_of("avg_pool"), **_WITHOUT_PARAMETERS),
    "shortcut": BlockKind(of_sizes(parameter_free_shortcut, "strides"), **_WITHOUT_PARAMETERS),
    "add": BlockKind(lambda v, x, block, name: x, summed=True),
    "concat": BlockKind(_concat, parallel=False, chained=False),
    "dense": BlockKind(_dense, float_kernel=True, operator="FULLY_CONNECTED", parallel=False, chained=False),
}


def register(**added: BlockKind) -> None:
    """Registers kinds of blocks by name, so that they can be profiled."""
    for name, kind in added.items():
        if not isinstance(kind, BlockKind):
            raise ValueError(f"kind of block {name}: {kind!r} is no BlockKind")
    BLOCKS.update(added)


def kinds() -> Mapping[str, BlockKind]:
    """Returns the kinds of the blocks of all methods, by name."""
    registry.templates()  # The modules of the templates register their blocks.
    return types.MappingProxyType(BLOCKS)
