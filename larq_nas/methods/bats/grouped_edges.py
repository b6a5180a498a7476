"""The candidate operations of BATS on all edges that leave one state, computed together.

As in BNAS, work that edges share is done once: the normalized state, its sign, and the pooled states. The
grouped convolutions of one kind are one convolution with more filters. Kernels are float, as in the search of BATS. The
channel shuffle is the same for all kinds, so it follows the sum over the kinds.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711)
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.layers import _larq, convolutional, grouped
from larq_nas.layers.quantizers import register
from larq_nas.methods.bats.blocks import SHUFFLE
from larq_nas.networks import blocks, operations
from larq_nas.networks.shared_edges import (
    PackedKernels,
    SharedEdges,
    channel_sum,
    combine,
    normalize,
    traced,
    unpacked,
)


@register
class GroupedEdges(SharedEdges):
    """Computes the weighted candidate operations of all edges that leave one state of a BATS cell.

    The output of an edge is the sum over its candidates of choice weight times operation.

    # Arguments
        filters: Channels of the state and of each output.
        operations: Names of the candidates. All edges have the same candidates.
        edges: Number of edges.
        strides: 1 or 2.
        groups: Number of groups of the convolutions.
        binary: Whether convolutions read signs.

    # Inputs
        A tensor of shape `(batch, height, width, filters)`, and the choice weights of the edges, of shape
        `(edges, candidates)`.

    # Returns
        A list of tensors, one for each edge.

    # Raises
        ValueError: If an operation is not one of the template `bats`.
    """

    arguments = (*SharedEdges.arguments, "groups", "binary")

    def __init__(
        self,
        filters: int,
        operations: Iterable[str],
        edges: int,
        strides: int = 1,
        groups: int = 1,
        binary: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, operations, edges, strides, **kwargs)
        self.groups, self.binary = groups, binary
        _, pools, convolutions = _kinds(self.operations)
        known = len(pools) + len(convolutions) + self.operations.count("none") + self.operations.count("skip")
        if known < len(self.operations):
            raise ValueError(f"operations={self.operations}: accepted are the operations of BATS")

    def build(self, input_shape: list) -> None:
        reduced, pools, convolutions = _kinds(self.operations, self.strides)
        outputs = self.filters * self.edges
        # The taps of all kernels are concatenated. Filters are ordered by group, then by edge.
        taps = [operation.kernel_size**2 for _, operation in convolutions]
        shape = (sum(taps), self.filters // self.groups, outputs)
        self.kernel = self.add_float_weight(
            "kernel", shape, PackedKernels(taps, tf.keras.initializers.GlorotUniform, self.edges)
        )
        self.slopes = self.add_float_weight(
            "slopes", (len(taps), outputs), tf.keras.initializers.Constant(grouped.SLOPE)
        )
        # The 1x1 convolutions of strided skips: one for each half of each edge.
        self.reduce_kernel = self.reduce_slopes = None
        if reduced:
            shape = (2, self.filters, outputs // 2)
            self.reduce_kernel = self.add_float_weight(
                "reduce_kernel", shape, PackedKernels([1, 1], tf.keras.initializers.GlorotUniform, self.edges)
            )
            slope = tf.keras.initializers.Constant(grouped.SLOPE)
            self.reduce_slopes = self.add_float_weight("reduce_slopes", (1, outputs), slope)
        # Statistics of the state, then of each pooled state.
        self.add_statistics(self.filters * (1 + len(pools)))
        super().build(input_shape)

    def mix(
        self, x: tf.Tensor, choice: tf.Tensor, *, statistics: tuple[tf.Tensor, tf.Tensor], training: bool
    ) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        variables = self.kernel, self.slopes, self.reduce_kernel, self.reduce_slopes
        trained = [tf.zeros([]) if variable is None else tf.convert_to_tensor(variable) for variable in variables]
        attributes = tuple(self.operations), self.strides, self.groups, self.binary, training
        return _grouped_edges(x, choice, trained, statistics, attributes)

    def weights_of(self, edge: int, operation: str) -> dict[str, np.ndarray]:
        reduced, _, convolutions = _kinds(self.operations, self.strides)
        kernels = unpacked(self.kernel.numpy(), [kind for _, kind in convolutions])
        if operation in kernels:
            kernel = self._of_edge(kernels[operation], edge, self.groups)
            slopes = self._of_edge(self.slopes.numpy()[list(kernels).index(operation)], edge, self.groups)
            return {"conv/kernel": kernel, "prelu/alpha": slopes[np.newaxis, np.newaxis]}
        if operation in [kind.name for _, kind in reduced]:
            halves = self._of_edge(np.array(self.reduce_kernel), edge)[:, np.newaxis, np.newaxis]
            slopes = self._of_edge(np.array(self.reduce_slopes), edge)[np.newaxis]
            return {"conv0/kernel": halves[0], "conv1/kernel": halves[1], "prelu/alpha": slopes}
        return {}

    def _of_edge(self, values, edge, groups=1):
        """Returns the filters of an edge. Filters are ordered by group, then by edge."""
        parts = values.reshape(*values.shape[:-1], groups, self.edges, -1)
        return parts[..., edge, :].reshape(*values.shape[:-1], -1)


def _kinds(names, strides=1):
    """Returns three lists of pairs of index and `Operation`: the strided skip, the pools, and the convolutions."""
    kinds = [(index, operations.OPERATIONS[name]) for index, name in enumerate(names)]
    reduced = [kind for kind in kinds if kind[1].kind == "skip" and strides > 1]
    pools = [kind for kind in kinds if kind[1].kind.endswith("pool")]
    return reduced, pools, [kind for kind in kinds if kind[1].kind == "group_convolution"]


@traced
def _grouped_edges(x, choice, trained, statistics, attributes):
    """Returns the outputs of all edges, and the updated moving mean and variance. `attributes` are the names of the
    operations, the strides, the number of groups, whether kernels are binary, and whether the layer is trained.
    """
    names, strides, groups, binary, training = attributes
    kernel, slopes, reduce_kernel, reduce_slopes = trained
    reduced, pools, convolutions = _kinds(names, strides)
    weights = tf.cast(choice, x.dtype)
    moving = [list(pair) for pair in zip(*(tf.split(each, 1 + len(pools)) for each in statistics), strict=True)]
    terms = []
    if reduced or convolutions:
        z, *moving[0] = normalize(x, *moving[0], training=training)
        z = _larq.ste_sign(z) if binary else z
    if convolutions:
        terms.append(_convolutions(z, weights, convolutions, kernel, slopes, strides, groups, binary))
    for index, _ in reduced:
        y = _reduce(z, tf.cast(reduce_kernel, x.dtype), choice.shape[0], binary)
        y = _weighted_prelu(y, _by_group(weights[:, index], 1, x.shape[-1]), reduce_slopes[0])
        terms.append(tf.stack(tf.split(y, choice.shape[0], axis=-1)))
    # One matrix product combines all operations without weights.
    parameter_free, their_weights = [], []
    for number, (index, operation) in enumerate(pools, 1):
        function = {"max_pool": tf.nn.max_pool2d, "avg_pool": tf.nn.avg_pool2d}[operation.kind]
        pool = function(x, operation.kernel_size, strides, "SAME")
        pool, *moving[number] = normalize(pool, *moving[number], training=training)
        parameter_free.append(pool)
        their_weights.append(weights[:, index])
    # The operation "skip", and the residual connections of the convolutions.
    skips = [index for index, _ in convolutions] + [index for index, name in enumerate(names) if name == "skip"]
    if strides == 1 and skips:
        parameter_free.append(x)
        their_weights.append(tf.reduce_sum(tf.gather(weights, skips, axis=1), axis=1))
    if parameter_free:
        terms.append(combine(tf.stack(their_weights, axis=1), tf.stack(parameter_free)))
    return tf.unstack(tf.add_n(terms)), [tf.concat(parts, axis=0) for parts in zip(*moving, strict=True)]


def _convolutions(z, weights, convolutions, kernel, slopes, strides, groups, binary):
    """Returns the weighted sum of the grouped convolutions of each edge, without their residual connections."""
    kernels = tf.split(kernel, [operation.kernel_size**2 for _, operation in convolutions])
    summed = []
    for (index, operation), part, slope in zip(convolutions, kernels, tf.unstack(slopes), strict=True):
        part = tf.cast(tf.reshape(part, [operation.kernel_size] * 2 + part.shape[1:]), z.dtype)
        subsampling, own, dilation_rate = blocks.strides_of(operation.dilation_rate, strides)
        read = z[:, ::subsampling, ::subsampling] if subsampling > 1 else z
        # Padding with ones is faster than padding with zeros and correcting the result.
        y = convolutional.convolve(read, part, own, dilation_rate, pad_values=1.0 if binary else 0.0)
        summed.append(_weighted_prelu(y, _by_group(weights[:, index], groups, z.shape[-1]), slope))
    return _apart(tf.add_n(summed), groups, weights.shape[0])


def _reduce(z, kernel, edges, binary):
    """Returns the two halves of the strided skips of all edges, edge by edge."""
    # Beyond odd sides, BatchNorm's output is taken to be 0, whose sign is 1.
    beyond = [[0, 0], *([0, side % 2] for side in z.shape[1:3]), [0, 0]]
    further = tf.pad(z, beyond, constant_values=1 if binary else 0)[:, 1:, 1:]
    halves = []
    for pixels, part in zip((z, further), tf.split(kernel, 2), strict=True):
        y = tf.nn.conv2d(pixels[:, ::2, ::2], part[tf.newaxis], 1, "VALID")
        halves.append(tf.split(y, edges, axis=-1))
    return tf.concat([half for pair in zip(*halves, strict=True) for half in pair], axis=-1)


def _by_group(weights, groups, filters):
    """Repeats the weights of edges for filters that are ordered by group, then by edge."""
    return tf.tile(tf.repeat(weights, filters // groups), [groups])


def _weighted_prelu(x, weight, slope):
    """Returns the product of a PReLU and a weight. `weight` and `slope` have a value for each channel."""
    return _two_slopes(x, weight, weight * tf.cast(slope, x.dtype))


@tf.custom_gradient
def _two_slopes(x, positive, negative):
    """Multiplies positive values by one vector and negative values by another; stores only `x` for the gradient."""
    difference = positive - negative

    def backward(gradient):
        to_x = gradient * negative + tf.raw_ops.ReluGrad(gradients=gradient * difference, features=x)
        to_positive = channel_sum(gradient * tf.nn.relu(x))
        to_both = channel_sum(gradient * x)
        return to_x, tf.cast(to_positive, x.dtype), tf.cast(to_both - to_positive, x.dtype)

    return x * negative + tf.nn.relu(x) * difference, backward


def _apart(x, groups, edges):
    """Splits filters that are ordered by group, then by edge, into the channels of each edge, and shuffles the
    channels.

    # Returns
        A tensor of shape `(edges, batch, height, width, filters)`.
    """
    *sides, channels = x.shape[1:]
    filters, common = channels // edges, math.gcd(groups, SHUFFLE)
    rest = SHUFFLE // common
    if common in (groups, SHUFFLE):
        # Each group of the shuffle consists of whole groups or is a part of one, so one transposition is enough.
        shape = [-1, common, groups // common, edges, rest, filters // groups // rest]
        x = tf.transpose(tf.reshape(x, shape), [3, 0, 2, 5, 1, 4])
    else:
        places = np.arange(channels).reshape(groups, edges, filters // groups).transpose(1, 0, 2)
        places = places.reshape(edges, SHUFFLE, filters // SHUFFLE).transpose(0, 2, 1)
        x = tf.stack(tf.split(tf.gather(x, places.ravel(), axis=-1), edges, axis=-1))
    return tf.reshape(x, [edges, -1, *sides, filters])
