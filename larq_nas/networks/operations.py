"""The candidate operations of edges: the operations of larq_nas and the operations that users register.

Each method defines its operations in its package. `"none"` and the pools belong to several methods and are defined
here. This module does not import TensorFlow.

```python
import larq_nas


def pair(v, x, filters, strides, name):
    x = v.conv(x, filters, (1, 3), strides, kind="xnor", name=f"{name}_row")
    return v.conv(v.norm(x, name=f"{name}_norm"), filters, (3, 1), kind="xnor", name=f"{name}_column")


larq_nas.operations.register("pair", pair, kernel_size=3)
larq_nas.operations.unregister("pair")
```
"""

import dataclasses
from collections.abc import Callable

from larq_nas.networks import blocks
from larq_nas.networks.verbs import Features, Verbs
from larq_nas.space import registry

# The kind of all operations that users register.
OWN = "own"


@dataclasses.dataclass(frozen=True)
class Operation:
    """A candidate operation of an edge.

    # Arguments
        name: Name in genotypes.
        kind: What the operation computes, e.g. `"convolution"`, for all sizes of the window. The layers of shared edges
            distinguish operations by their kind. Operations of users have the kind `OWN`.
        build: The function that builds the operation; see `register`.
        kernel_size: Height and width of the window.
        dilation_rate: Distance of the taps of a convolution.
        convolution: Whether the operation contains a convolution at any strides.
        context: Arguments of `apply` that `build` needs as keyword arguments: `"groups"`, `"quantization"`, or both.
    """

    name: str
    kind: str
    build: Callable
    kernel_size: int = 1
    dilation_rate: int = 1
    convolution: bool = False
    context: tuple[str, ...] = ()


# Operations by name. The packages of the methods add their operations when they are imported; `get` imports them.
OPERATIONS: dict[str, Operation] = {}


def get(name: str) -> Operation:
    """Returns the operation of a name.

    # Raises
        ValueError: If there is no such operation.
    """
    registry.templates()  # The modules of the templates define their operations.
    if name not in OPERATIONS:
        raise ValueError(f"operation {name}: is not known; larq_nas.operations.register makes it known")
    return OPERATIONS[name]


def define(*operations: Operation) -> None:
    """Adds operations of larq_nas. Users add theirs by `register`."""
    OPERATIONS.update({operation.name: operation for operation in operations})


def convolution(
    name: str, kind: str, block: Callable, kernel_size: int, dilation_rate: int = 1, context: tuple[str, ...] = ()
) -> Operation:
    """Returns an operation that is one block with a convolution.

    # Arguments
        name: Name of the operation.
        kind: See `Operation`.
        block: The function of the block, e.g. `blocks.convolution_block`.
        kernel_size: Height and width of the kernel.
        dilation_rate: Distance of the taps of the kernel.
        context: See `Operation`.
    """
    # Some blocks do not have the argument `dilation_rate`.
    sizes = {"kernel_size": kernel_size} | ({"dilation_rate": dilation_rate} if dilation_rate > 1 else {})

    def build(v, x, filters, strides, name, **context):
        return block(v, x, filters, strides=strides, name=name, **sizes, **context)

    return Operation(name, kind, build, kernel_size, dilation_rate, True, context)


def _none(v, x, filters, strides, name):
    x = v.zeros(x, strides, name=f"{name}_none")
    return blocks.doubled(v, x, filters, name) if strides > 1 else x


def _pool(kind, kernel_size):
    def build(v, x, filters, strides, name):
        return blocks.pool_block(v, kind, x, kernel_size, strides, f"{name}_pool")

    return Operation(f"{kind}_{kernel_size}x{kernel_size}", kind, build, kernel_size)


define(Operation("none", "none", _none), _pool("max_pool", 3), _pool("avg_pool", 3))


def apply(
    v: Verbs,
    name: str,
    x: Features,
    filters: int,
    strides: int = 1,
    groups: int = 1,
    quantization: str = "binary",
    layer_name: str = "",
) -> Features:
    """Applies an operation to features.

    # Arguments
        v: The interpreter of the layer verbs.
        name: Name of the operation.
        x: Input features.
        filters: Output channels.
        strides: 1 or 2.
        groups: Number of groups of grouped convolutions.
        quantization: What grouped convolutions and strided skips of BATS quantize, one of
            `methods.bats.blocks.QUANTIZATIONS`.
        layer_name: Prefix of the layers' names.

    # Returns
        Features of shape `(height / strides, width / strides, filters)`.

    # Raises
        ValueError: If the operation is unknown or returns features of another size.
    """
    operation, context = get(name), {"groups": groups, "quantization": quantization}
    y = operation.build(v, x, filters, strides, layer_name, **{key: context[key] for key in operation.context})
    expected = *(-(-side // strides) for side in x.shape[1:3]), filters
    if tuple(y.shape[1:]) != expected:
        raise ValueError(f"operation {name}: returns features of {tuple(y.shape[1:])}, not of {expected}")
    return y


def block_kind(name: str) -> blocks.BlockKind:
    """Returns a kind of blocks.

    # Arguments
        name: A name of `blocks.kinds()`, or the name of an operation that a user has registered.

    # Raises
        ValueError: If there is no such kind.
    """
    known = blocks.kinds()
    if name in known:
        return known[name]
    operation = get(name)

    def build(v, x, block, prefix):
        return operation.build(v, x, block.filters, block.strides, prefix)

    # Operations of users stand on edges.
    return blocks.BlockKind(build, summed=True)


def register(name: str, build: Callable, kernel_size: int = 1, convolution: bool = True) -> Operation:
    """Registers an operation, so that templates may list its name.

    An operation that you have registered under the same name before is replaced.

    # Arguments
        name: Name of the operation, and of its kind in latency tables.
        build: A function of an interpreter of the layer verbs, input features, the number of output channels, the
            strides (1 or 2), and a prefix of the layers' names. It returns features of shape
            `(height / strides, width / strides, filters)`.
        kernel_size: Height and width of the window. Latency tables use this size to estimate times that were not
            measured.
        convolution: Whether the operation contains a convolution. A search warns about cells with fewer than two such
            operations.

    # Returns
        The `Operation`.

    # Raises
        ValueError: If larq_nas has an operation or a kind of block of this name, or if the name or the size is not
            valid.
    """
    registry.check_name(name)
    if name in blocks.kinds() or _built_in(name):
        raise ValueError(f"operation {name} is one of larq_nas; choose another name")
    if not isinstance(kernel_size, int) or kernel_size < 1:
        raise ValueError(f"operation {name}: kernel_size={kernel_size!r} is no positive integer")

    def build_block(v, x, filters, strides, layer_name):
        with v.block(name, x, filters, kernel_size, strides, name=layer_name):
            return build(v, x, filters, strides, layer_name)

    OPERATIONS[name] = Operation(name, OWN, build_block, kernel_size, convolution=convolution)
    return OPERATIONS[name]


def unregister(name: str) -> None:
    """Removes an operation that you have registered.

    # Arguments
        name: Name of the operation.

    # Raises
        KeyError: If the operation is unknown.
        ValueError: If the operation is one of larq_nas.
    """
    if _built_in(name):
        raise ValueError(f"operation {name} is one of larq_nas")
    del OPERATIONS[name]


def _built_in(name):
    registry.templates()  # The modules of the templates define their operations.
    return name in OPERATIONS and OPERATIONS[name].kind != OWN
