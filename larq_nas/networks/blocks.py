"""The operations of edges and the blocks of networks.

The first argument of each function is an interpreter of the layer verbs. `builder.Builder` makes Keras layers,
`counting.Counter` counts what they cost. Building, counting, profiling and timing therefore share one definition of a
block.

```python
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
from collections.abc import Callable

from larq_nas.space import registry

# The forms of BATS networks: `"binary"` has binary kernels and activations; `"activations"` has float kernels and
# binary activations, for searches and the first of two training stages; `"real"` has nothing binary.
FORMS = ("binary", "activations", "real")
# The number of groups of the channel shuffle in BATS. It does not depend on the groups of the convolutions.
SHUFFLE = 4


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


def convolution_block(v, x, filters, kernel_size=1, strides=1, dilation_rate=1, *, affine=True, binary=True, name=""):
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
        x = _subsampled(v, x, subsampling, name)
        if binary:
            return v.conv(x, filters, kernel_size, strides, dilation_rate, kind="xnor", name=f"{name}_conv")
        x = v.conv(x, filters, kernel_size, strides, kind="float", name=f"{name}_conv")
        return v.relu(x, name=f"{name}_relu")


def _subsampled(v, x, subsampling, name):
    return v.pool("max_pool", x, 1, subsampling, name=f"{name}_subsample") if subsampling > 1 else x


def step_block(v, x, filters, kernel_size=1, strides=1, *, name=""):
    """Binary convolution of inputs in {0, α} → BatchNorm, as in DMS. See `convolution_block` for the arguments."""
    with v.block("step", x, filters, kernel_size, strides, name=name):
        x = v.conv(x, filters, kernel_size, strides, kind="step", name=f"{name}_conv")
        return v.norm(x, name=f"{name}_norm")


def float_block(v, x, filters, kernel_size=1, strides=1, *, groups=1, name=""):
    """Float convolution → BatchNorm. See `convolution_block` for the arguments."""
    with v.block("float", x, filters, kernel_size, strides, groups=groups, name=name):
        x = v.conv(x, filters, kernel_size, strides, groups=groups, kind="float", name=f"{name}_conv")
        return v.norm(x, name=f"{name}_norm")


def pool_block(v, kind, x, kernel_size, strides=1, name=None):
    """A pool, `"max_pool"` or `"avg_pool"`. Averages do not count padded values."""
    with v.block(kind, x, x.shape[-1], kernel_size, strides, name=name):
        return v.pool(kind, x, kernel_size, strides, name=name)


def sum_block(v, terms, name):
    """A sum outside of the nodes of a cell, e.g. with a shortcut around the cell. A device needs extra time for such a
    sum.
    """
    with v.block("add", terms[0], terms[0].shape[-1], name=name):
        return v.add(terms, name=name)


def concat_block(v, terms, name):
    """A concatenation of features along the channels."""
    with v.block("concat", terms[0], sum(term.shape[-1] for term in terms), name=name):
        return v.concat(terms, name=name)


# --- BARS ----------------------------------------------------------------------------------------------------


def strided_halves(v, z, filters, mask=None, activation=None, name=""):
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
    options = {"kind": "layer_scaled", "padding": "valid", "activation": activation, "mask": mask}
    halves = []
    for index, first in enumerate((-1, 0)):
        x = v.start_at(z, first, name=f"{name}_start{index}")
        halves.append(v.conv(x, filters // 2, 3, 2, name=f"{name}_conv{index}", **options))
    return v.concat(halves, name=f"{name}_halves")


def layer_scaled_block(v, x, filters, *, mask=None, name=""):
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


def shortcut_of_halves(v, x, filters, mask=None, name=""):
    """BatchNorm → `strided_halves` with ReLU: the shortcut around a reduction cell of BARS.

    See `strided_halves` for the arguments.
    """
    with v.block("halves", x, filters, 3, 2, name=name):
        x = v.norm(x, name=f"{name}_norm")
        # ReLU comes before the concatenation, because the converter then merges ReLU with the convolutions.
        return strided_halves(v, x, filters, mask, "relu", name)


def parameter_free_shortcut(v, x, filters, strides, name=""):
    """Returns `x` itself or, with strides, its average over 2x2 pixels.

    With strides, the channels of the average are repeated if `filters` is twice the number of input channels.
    """
    if strides == 1:
        with v.block("add", x, filters, name=name):
            return x
    with v.block("shortcut", x, filters, strides=strides, name=name):
        return _doubled(v, v.pool("avg_pool", x, 2, 2, name=f"{name}_pool"), filters, name)


def _doubled(v, x, filters, name):
    return v.concat([x, x], name=f"{name}_double") if filters == 2 * x.shape[-1] else x


def residual_block(v, x, filters, kernel_size=3, strides=1, *, name=""):
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


# --- BATS ----------------------------------------------------------------------------------------------------


def _kind(name, form):
    return f"real_{name}" if form == "real" else name


def group_convolution(
    v, x, filters, kernel_size=1, strides=1, dilation_rate=1, *, groups=1, form="binary", affine=True, name=""
):
    """BatchNorm → grouped convolution → PReLU → channel shuffle. Without strides, the input is added.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels. Without strides, as many as the input has.
        kernel_size: Height and width of the kernel.
        strides: 1 or 2.
        dilation_rate: Distance of the taps.
        groups: Number of groups of the convolution.
        form: One of `FORMS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711), supplement, figures 2c and 2d. The number of groups of the shuffle
          and the position of the learnt scale follow the first author's library. The library pads with zeros. Here
          binary convolutions pad with ones, as in all networks of larq_nas.
    """
    kind = _kind("group_convolution", form)
    with v.block(kind, x, filters, kernel_size, strides, dilation_rate, groups, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        subsampling, own, dilation_rate = strides_of(dilation_rate, strides)
        y = _subsampled(v, y, subsampling, name)
        options = {"groups": groups, "kind": _CONVOLUTION[form], "name": f"{name}_conv"}
        y = v.prelu(v.conv(y, filters, kernel_size, own, dilation_rate, **options), name=f"{name}_prelu")
        y = v.shuffle(y, name=f"{name}_shuffle")
        return v.add([x, y], name=f"{name}_residual") if strides == 1 else y


# The kind of convolution in each form.
_CONVOLUTION = {"binary": "scaled", "activations": "activations", "real": "real"}


def factorized_reduce(v, x, filters, *, form="binary", affine=True, name=""):
    """BatchNorm → two 1x1 convolutions of every second pixel side by side → PReLU.

    The second convolution reads pixels that are shifted by one row and one column.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels, an even number.
        form: One of `FORMS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / 2, width / 2, filters)`.
    """
    with v.block(_kind("factorized_reduce", form), x, filters, strides=2, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        halves = []
        for index in range(2):
            pixels = v.every_second(y, index, name=name)
            halves.append(v.conv(pixels, filters // 2, 1, kind=_CONVOLUTION[form], name=f"{name}_conv{index}"))
        return v.prelu(v.concat(halves, name=f"{name}_halves"), name=f"{name}_prelu")


def preprocess(v, x, filters, *, form="binary", affine=True, name=""):
    """BatchNorm → 1x1 convolution → PReLU. The input is added if it has as many channels as the output.

    # Arguments
        v: The interpreter of the layer verbs.
        x: Input features.
        filters: Output channels.
        form: One of `FORMS`.
        affine: Whether the BatchNorm has a trainable scale and offset.
        name: Prefix of the layers' names.

    # Returns
        Features of shape `(height, width, filters)`.
    """
    with v.block(_kind("preprocess", form), x, filters, name=name):
        y = v.norm(x, affine, name=f"{name}_norm")
        y = v.conv(y, filters, 1, kind=_CONVOLUTION[form], name=f"{name}_conv")
        y = v.prelu(y, name=f"{name}_prelu")
        return v.add([x, y], name=f"{name}_residual") if x.shape[-1] == filters else y


# --- operations of edges -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Operation:
    """A candidate operation of an edge.

    # Arguments
        name: Name in genotypes.
        kind: What the operation computes, e.g. `"convolution"`, for all sizes of the window. The layers of shared edges
            distinguish operations by their kind. Operations of users have the kind `"own"`.
        build: The function that builds the operation; see `register`.
        kernel_size: Height and width of the window.
        dilation_rate: Distance of the taps of a convolution.
        convolution: Whether the operation contains a convolution at any strides.
        context: Arguments of `apply` that `build` needs as keyword arguments: `"groups"`, `"form"`, or both.
    """

    name: str
    kind: str
    build: Callable
    kernel_size: int = 1
    dilation_rate: int = 1
    convolution: bool = False
    context: tuple[str, ...] = ()


def _none(v, x, filters, strides, name):
    x = v.zeros(x, strides, name=f"{name}_none")
    return _doubled(v, x, filters, name) if strides > 1 else x


def _skip(v, x, filters, strides, name, form):
    if strides > 1:
        return factorized_reduce(v, x, filters, form=form, name=name)
    return parameter_free_shortcut(v, x, filters, strides, name)


def _pool(kind, kernel_size):
    def build(v, x, filters, strides, name):
        return pool_block(v, kind, x, kernel_size, strides, f"{name}_pool")

    return Operation(f"{kind}_{kernel_size}x{kernel_size}", kind, build, kernel_size)


def _convolution(name, kind, block, kernel_size, dilation_rate=1, context=()):
    # Some blocks do not have the argument `dilation_rate`.
    sizes = {"kernel_size": kernel_size} | ({"dilation_rate": dilation_rate} if dilation_rate > 1 else {})

    def build(v, x, filters, strides, name, **context):
        return block(v, x, filters, strides=strides, name=name, **sizes, **context)

    return Operation(name, kind, build, kernel_size, dilation_rate, True, context)


_binary = functools.partial(_convolution, kind="convolution", block=convolution_block)
_grouped = functools.partial(
    _convolution, kind="group_convolution", block=group_convolution, context=("groups", "form")
)
_BUILT_IN = (
    Operation("none", "none", _none),
    _pool("max_pool", 3),
    _pool("avg_pool", 3),
    _binary("bin_dil_conv_3x3", kernel_size=3, dilation_rate=2),
    _binary("bin_dil_conv_5x5", kernel_size=5, dilation_rate=2),
    _binary("bin_conv_3x3", kernel_size=3),
    _binary("bin_conv_5x5", kernel_size=5),
    Operation("shortcut", "shortcut", parameter_free_shortcut),
    _convolution("residual_bin_conv_3x3", "residual", residual_block, 3),
    Operation("skip", "skip", _skip, context=("form",)),
    _grouped("group_conv_3x3", kernel_size=3),
    _grouped("group_conv_5x5", kernel_size=5),
    _grouped("dil_group_conv_3x3", kernel_size=3, dilation_rate=2),
    _grouped("dil_group_conv_5x5", kernel_size=5, dilation_rate=2),
)
# Operations by name: the operations of larq_nas and the operations of users.
OPERATIONS = {operation.name: operation for operation in _BUILT_IN}


def apply(v, name, x, filters, strides=1, groups=1, form="binary", layer_name=""):
    """Applies an operation to features.

    # Arguments
        v: The interpreter of the layer verbs.
        name: Name of the operation, a key of `OPERATIONS`.
        x: Input features.
        filters: Output channels.
        strides: 1 or 2.
        groups: Number of groups of grouped convolutions.
        form: Form of grouped convolutions and strided skips, one of `FORMS`.
        layer_name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.

    # Raises
        ValueError: If the operation is unknown or returns features of another size.
    """
    if name not in OPERATIONS:
        raise ValueError(f"operation {name}: is not known; blocks.register makes it known")
    operation, context = OPERATIONS[name], {"groups": groups, "form": form}
    y = operation.build(v, x, filters, strides, layer_name, **{key: context[key] for key in operation.context})
    expected = *(-(-side // strides) for side in x.shape[1:3]), filters
    if tuple(y.shape[1:]) != expected:
        raise ValueError(f"operation {name}: returns features of {tuple(y.shape[1:])}, not of {expected}")
    return y


# --- blocks that take time -----------------------------------------------------------------------------------


def _only(function, *names, **options):
    """Returns a function that passes the sizes in `names` from a `counting.Block` to `function`."""

    def build(v, x, block, name):
        return function(v, x, block.filters, **{key: getattr(block, key) for key in names}, name=name, **options)

    return build


def _pool_of(kind):
    return lambda v, x, block, name: pool_block(v, kind, x, block.kernel_size, block.strides, name)


_SIZES = "kernel_size", "strides", "dilation_rate", "groups"
# Prefixes of the kinds of blocks that have float kernels.
FLOATS = ("float", "real_", "dense")
# For each kind, a function that builds a single block, for profiling.
BLOCKS = {
    "binary": _only(convolution_block, "kernel_size", "strides", "dilation_rate"),
    "float": _only(functools.partial(convolution_block, binary=False), "kernel_size", "strides"),
    "residual": _only(residual_block, "kernel_size", "strides"),
    "halves": _only(shortcut_of_halves),
    "step": _only(step_block, "kernel_size", "strides"),
    "group_convolution": _only(group_convolution, *_SIZES),
    "real_group_convolution": _only(group_convolution, *_SIZES, form="real"),
    "preprocess": _only(preprocess),
    "real_preprocess": _only(preprocess, form="real"),
    "factorized_reduce": _only(factorized_reduce),
    "real_factorized_reduce": _only(factorized_reduce, form="real"),
    "max_pool": _pool_of("max_pool"),
    "avg_pool": _pool_of("avg_pool"),
    "shortcut": _only(parameter_free_shortcut, "strides"),
    "add": lambda v, x, block, name: x,
    "concat": lambda v, x, block, name: v.concat([x] * (block.filters // block.inputs), name=name),
    "dense": lambda v, x, block, name: v.classifier(x, block.filters),
}


def block_builder(kind: str) -> Callable:
    """Returns a function that builds a single block, for profiling.

    # Arguments
        kind: A key of `BLOCKS`, or the name of an operation.

    # Returns
        A function of an interpreter of the layer verbs, input features, a `counting.Block`, and a prefix of the layers'
        names. It returns the output features.
    """
    if kind in BLOCKS:
        return BLOCKS[kind]
    operation = OPERATIONS[kind]
    return lambda v, x, block, name: operation.build(v, x, block.filters, block.strides, name)


def register(name: str, build: Callable, kernel_size=1, convolution=True) -> Operation:
    """Registers an operation, so that templates may list its name.

    An operation that you have registered under the same name before is replaced.

    ```python
    from larq_nas.networks import blocks


    def pair(v, x, filters, strides, name):
        x = v.conv(x, filters, (1, 3), strides, kind="xnor", name=f"{name}_row")
        return v.conv(v.norm(x, name=f"{name}_norm"), filters, (3, 1), kind="xnor", name=f"{name}_column")


    blocks.register("pair", pair, kernel_size=3)
    ```

    # Arguments
        name: Name of the operation, and of its kind in latency tables.
        build: A function of an interpreter of the layer verbs, input features, the number of output channels, the
            strides (1 or 2), and a prefix of the layers' names. It returns features of shape
            `(height / strides, width / strides, filters)`.
        kernel_size: Height and width of the window. Latency tables use this size to estimate times that were not
            measured.
        convolution: Whether the operation contains a convolution. A search warns about cells without such an operation.

    # Returns
        The `Operation`.

    # Raises
        ValueError: If larq_nas has an operation or a kind of block of this name, or if the name or the size is not
            valid.
    """
    registry.check_name(name)
    if name in BLOCKS or OPERATIONS.get(name) in _BUILT_IN:
        raise ValueError(f"operation {name} is one of larq_nas; choose another name")
    if name.startswith(FLOATS):
        raise ValueError(f"operation {name}: must not begin with {', '.join(FLOATS)}")
    if not isinstance(kernel_size, int) or kernel_size < 1:
        raise ValueError(f"operation {name}: kernel_size={kernel_size!r} is no positive integer")

    def build_block(v, x, filters, strides, layer_name):
        with v.block(name, x, filters, kernel_size, strides, name=layer_name):
            return build(v, x, filters, strides, layer_name)

    OPERATIONS[name] = Operation(name, "own", build_block, kernel_size, convolution=convolution)
    return OPERATIONS[name]


def unregister(name: str):
    """Removes an operation that you have registered.

    # Arguments
        name: Name of the operation.

    # Raises
        KeyError: If the operation is unknown.
        ValueError: If the operation is one of larq_nas.
    """
    if OPERATIONS[name] in _BUILT_IN:
        raise ValueError(f"operation {name} is one of larq_nas")
    del OPERATIONS[name]
