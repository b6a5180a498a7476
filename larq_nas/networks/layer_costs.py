"""The costs of a layer, and the size of a block. This module does not import TensorFlow."""

import dataclasses
import math

# Larq Compute Engine packs the input channels of each tap of a filter into words of this number of bits.
WORD = 32


class CostError(ValueError):
    """The costs of a network cannot be counted."""


@dataclasses.dataclass(frozen=True)
class Block:
    """An operation as a device computes it, including its normalization, sign, activation and sum.

    # Arguments
        kind: One of `blocks.kinds()`, or the name of an operation of a user.
        inputs: Input channels.
        filters: Output channels.
        height, width: Height and width of the output.
        kernel_size: Height and width of the window.
        strides: The factor by which the height and width shrink.
        dilation_rate: Distance of the taps of the kernel.
        groups: Number of groups.
    """

    kind: str
    inputs: int
    filters: int
    height: int
    width: int
    kernel_size: int = 1
    strides: int = 1
    dilation_rate: int = 1
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """The costs of one layer.

    # Arguments
        name: Name of the layer.
        kind: `"convolution"`, `"dense"`, `"normalization"` or `"other"`.
        kernel: Shape of the kernel; empty if the layer has none.
        positions: The number of times that the whole kernel is applied to one image, e.g. the number of output pixels.
        binary: Whether the kernel and the input are ±1.
        packed: Whether Larq Compute Engine packs the kernel to bits.
        other_params: Number of parameters in addition to the kernel.
        other_stored: Number of 32-bit values that inference needs in addition to the kernel.
        block: The block that begins here, if the row marks the beginning of a block. Such a row has no costs.
    """

    name: str
    kind: str
    kernel: tuple = ()
    positions: int = 0
    binary: bool = False
    packed: bool = False
    other_params: int = 0
    other_stored: int = 0
    block: Block | None = dataclasses.field(default=None, compare=False)

    @property
    def counted(self) -> bool:
        """Whether the row has costs. A row that marks the beginning of a block has none."""
        return self.block is None

    @property
    def weights(self) -> int:
        """The number of weights of the kernel."""
        return math.prod(self.kernel) if self.kernel else 0

    @property
    def macs(self) -> int:
        """The number of multiply-accumulates for one image."""
        return self.weights * self.positions

    @property
    def binary_macs(self) -> int:
        """The number of multiply-accumulates of ±1 for one image."""
        return self.macs if self.binary else 0

    @property
    def padded_binary_macs(self) -> int:
        """The number of binary multiply-accumulates for one image if input channels are padded to whole words."""
        return -(-self.kernel[-2] // WORD) * WORD * self.binary_macs // self.kernel[-2] if self.binary else 0

    @property
    def float_macs(self) -> int:
        """The number of multiply-accumulates for one image that are not binary."""
        return self.macs - self.binary_macs

    @property
    def binary_params(self) -> int:
        """The number of parameters of a binary kernel."""
        return self.weights if self.binary else 0

    @property
    def float_params(self) -> int:
        """The number of parameters that are not binary."""
        return self.params - self.binary_params

    @property
    def params(self) -> int:
        """The number of parameters."""
        return self.weights + self.other_params

    @property
    def bytes(self) -> int:
        """The size at inference in bytes: one bit for each weight of a packed kernel, including padding, and 32 bits
        otherwise.
        """
        if not self.packed:
            return 4 * (self.weights + self.other_stored)
        *taps, channels, filters = self.kernel
        return math.prod(taps) * filters * -(-channels // WORD) * WORD // 8 + 4 * self.other_stored
