"""The base class of layers that compute all edges which leave one state.

Each subclass computes the operations of one method in a `traced` function of tensors. All states of the same shape
share this function, so the time in which a search starts hardly grows with the number of cells.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import _tensorflow
from larq_nas.layers import convolutional
from larq_nas.layers.quantizers import register
from larq_nas.networks import operations

# Without inlining, TensorFlow optimizes a function once instead of at each of its calls.
traced = functools.partial(tf.function, autograph=False, experimental_attributes=_tensorflow.not_inlined())


@register
class Rows(tf.keras.layers.Layer):
    """Selects rows of the choice weights.

    # Arguments
        rows: Indices of the rows.
    """

    def __init__(self, rows: Iterable[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rows = list(rows)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.gather(inputs, self.rows)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rows": self.rows}


class SharedEdges(tf.keras.layers.Layer):
    """Computes the weighted candidate operations of all edges that leave one state.

    The output of an edge is the sum over its candidates of choice weight times operation. A subclass adds weights in
    `build`, calls `add_statistics` after all other weights, and computes the outputs in `mix`.

    # Arguments
        filters: Channels of the state.
        operations: Names of the candidates. All edges have the same candidates.
        edges: Number of edges.
        strides: 1 or 2.

    # Inputs
        A list: the state, a tensor of shape `(batch, height, width, filters)`; the choice weights of the edges, of
        shape `(edges, candidates)`; and further positional arguments of `mix`.

    # Returns
        A list of tensors, one for each edge.

    # Raises
        ValueError: If the strides are not 1 or 2.
    """

    # Names of the arguments, which the layer also has as attributes.
    arguments: tuple[str, ...] = ("filters", "operations", "edges", "strides")

    def __init__(self, filters: int, operations: Iterable[str], edges: int, strides: int = 1, **kwargs: Any) -> None:
        if strides not in (1, 2):
            raise ValueError(f"strides={strides}: must be 1 or 2")
        # Without autocast, the choice weights keep their 32 bits under mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.filters, self.operations, self.edges, self.strides = filters, list(operations), edges, strides

    def add_float_weight(
        self, name: str, shape: Sequence[int], initializer: tf.keras.initializers.Initializer | str, **options: Any
    ) -> tf.Variable:
        """Adds a weight that keeps its 32 bits under mixed precision."""
        return self.add_weight(name, shape, initializer=initializer, experimental_autocast=False, **options)

    def add_statistics(self, size: int) -> None:
        """Adds moving means and variances of `size` channels. In training, each replica has its own."""
        options = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.moving_mean = self.add_float_weight("moving_mean", (size,), "zeros", **options)
        self.moving_variance = self.add_float_weight("moving_variance", (size,), "ones", **options)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        x, choice, *others = inputs
        x = tf.cast(x, self.compute_dtype)
        if set(self.operations) == {"none"}:
            return [self.zeros(x)] * self.edges
        statistics = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
        outputs, statistics = self.mix(x, choice, *others, statistics=statistics, training=bool(training))
        if training:
            self.moving_mean.assign(statistics[0])
            self.moving_variance.assign(statistics[1])
        return outputs

    def mix(
        self, x: tf.Tensor, choice: tf.Tensor, *, statistics: tuple[tf.Tensor, tf.Tensor], training: bool
    ) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Computes the outputs of the edges.

        # Arguments
            x: The state.
            choice: The choice weights.
            statistics: The moving mean and variance.
            training: Whether the statistics of the batch are used.

        # Returns
            A list of the outputs, and a pair: the updated moving mean and variance.
        """
        raise NotImplementedError

    def weights_of(self, edge: int, operation: str) -> dict[str, np.ndarray]:
        """Returns the weights with which a genotype's network can begin the operation of an edge.

        # Arguments
            edge: Number of the edge.
            operation: Name of the operation.

        # Returns
            Arrays by the name of the weight in the operation, e.g. `"conv/kernel"`. By default, there are none.
        """
        return {}

    def zeros(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the output of the operation `"none"`."""
        return x[:, :: self.strides, :: self.strides] * 0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self.arguments}}


class PackedKernels(tf.keras.initializers.Initializer):
    """Initializes several kernels whose taps are concatenated in one weight.

    # Arguments
        taps: Number of taps of each kernel.
        initializer: A function without arguments that returns an initializer. It is called for each kernel, because one
            initializer would return the same values for all kernels.
        edges: Number of edges, whose filters are concatenated. The range of the initial values depends on the filters
            of one edge, not on the number of edges.
    """

    def __init__(
        self, taps: Sequence[int], initializer: Callable[[], tf.keras.initializers.Initializer], edges: int
    ) -> None:
        self.taps, self.initializer, self.edges = taps, initializer, edges

    def __call__(self, shape: Sequence[int], dtype: tf.DType | None = None, **kwargs: Any) -> tf.Tensor:
        *_, inputs, filters = shape
        size = inputs, filters // self.edges
        rows = [[self.initializer()((1, taps, *size), dtype)[0] for _ in range(self.edges)] for taps in self.taps]
        return tf.concat([tf.concat(row, axis=-1) for row in rows], axis=0) if rows else tf.zeros(shape, dtype)


def unpacked(kernel: np.ndarray, convolutions: Iterable[operations.Operation]) -> dict[str, np.ndarray]:
    """Takes kernels apart that are concatenated in one weight, as by `PackedKernels`.

    # Arguments
        kernel: The values of the weight.
        convolutions: The operations to which the kernels belong, in their order.

    # Returns
        The kernels of all edges, of shape `(height, width, inputs, filters)`, by the names of the operations.
    """
    kernels, first = {}, 0
    for operation in convolutions:
        size = operation.kernel_size
        kernels[operation.name] = kernel[first : first + size**2].reshape(size, size, *kernel.shape[1:])
        first += size**2
    return kernels


def input_gradient(
    x: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor, stride: int, padding: str = "SAME"
) -> tf.Tensor:
    """Returns the gradient of the input of a convolution."""
    strides = [1, stride, stride, 1]
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, strides=strides, padding=padding
    )


def kernel_gradient(
    x: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor, stride: int, padding: str = "SAME"
) -> tf.Tensor:
    """Returns the gradient of the kernel of a convolution."""
    strides = [1, stride, stride, 1]
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel.shape, out_backprop=gradient, strides=strides, padding=padding
    )


def wide(x: tf.Tensor) -> tf.Tensor:
    """Casts a tensor to 32 bits."""
    return tf.cast(x, tf.float32)


def channel_sum(x: tf.Tensor) -> tf.Tensor:
    """Returns the sum over each channel in 32 bits. This is faster than `tf.reduce_sum`."""
    return tf.raw_ops.BiasAddGrad(out_backprop=wide(x))


def normalize(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    *,
    training: bool,
    gamma: tf.Tensor | None = None,
    beta: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Applies BatchNorm, by default without scale and offset. Returns the output and the updated moving mean and
    variance.
    """
    return tf.compat.v1.nn.fused_batch_norm(
        x,
        tf.ones_like(mean) if gamma is None else gamma,
        tf.zeros_like(mean) if beta is None else beta,
        mean,
        variance,
        epsilon=convolutional.BN_EPSILON,
        is_training=training,
        exponential_avg_factor=1 - convolutional.BN_MOMENTUM if training else 1.0,
    )


def combine(weights: tf.Tensor, tensors: tf.Tensor) -> tf.Tensor:
    """Returns weighted sums of stacked tensors, one for each row of weights."""
    sums = tf.matmul(tf.cast(weights, tensors.dtype), flat(tensors))
    return tf.reshape(sums, tf.concat([tf.shape(weights)[:1], tf.shape(tensors)[1:]], axis=0))


def flat(tensors: tf.Tensor) -> tf.Tensor:
    """Flattens each of the stacked tensors to a row."""
    return tf.reshape(tensors, [tensors.shape[0], -1])
