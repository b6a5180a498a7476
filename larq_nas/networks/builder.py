"""The interpreter of the layer verbs that makes Keras layers.

The blocks, the cells and the networks of the methods call the verbs. `counting.Counter` is another interpreter of the
same verbs.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import larq as lq
import tensorflow as tf

from larq_nas.layers import convolutional, grouped
from larq_nas.layers.drop_path import DropPath
from larq_nas.layers.step_convolution import StepConv2D
from larq_nas.layers.width_masks import CellWidths, SkippableAggregation, WidthMask
from larq_nas.networks import counting, operations

layers = tf.keras.layers


class Builder:
    """Makes Keras layers. Features are Keras tensors of shape `(batch, height, width, channels)`.

    # Arguments
        with_drop_path: Whether the verb `drop_path` makes layers.
        shared_edges: The function behind the verb `shared_edges`; see `registry.Template`. By default, `one_by_one`.
    """

    def __init__(self, with_drop_path: bool = False, shared_edges: Callable | None = None) -> None:
        self._with_drop_path, self._shared_edges = with_drop_path, shared_edges or one_by_one

    def stage(self, number: int) -> None:
        """Begins the layers of a stage. Only `counting.Counter` needs this."""

    def choice(self, cell: str, edge: int, candidate: int) -> contextlib.AbstractContextManager[None]:
        """Encloses the layers of a candidate operation. Only `counting.Counter` needs this."""
        return contextlib.nullcontext()

    def block(
        self,
        kind: str,
        x: tf.Tensor,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        dilation_rate: int = 1,
        groups: int = 1,
        *,
        name: str = "",
    ) -> contextlib.AbstractContextManager[None]:
        """Encloses layers that a device computes together. Only `counting.Counter` needs this.

        # Arguments
            kind: Kind of the block, one of `blocks.kinds()`.
            x: Input features of the block.
            filters: Output channels.
            kernel_size, strides, dilation_rate, groups: The sizes of the block, see `layer_costs.Block`.
            name: Name of the block.

        # Returns
            A context manager.
        """
        return contextlib.nullcontext()

    def norm(self, x: tf.Tensor, affine: bool = True, *, name: str) -> tf.Tensor:
        """BatchNorm with the momentum and epsilon of the papers. If `affine`, it has a scale and an offset."""
        return convolutional.batch_normalization(affine, name)(x)

    def conv(
        self,
        x: tf.Tensor,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int = 1,
        dilation_rate: int = 1,
        *,
        kind: str,
        name: str,
        **options: Any,
    ) -> tf.Tensor:
        """A convolution.

        | kind | input | kernel | other properties |
        |---|---|---|---|
        | `"xnor"` | sign | sign, a scale for each filter | ReLU, pads with ones |
        | `"layer_scaled"` | sign | sign, one scale for all filters | pads with ones |
        | `"magnitude_aware"` | approximate sign | magnitude-aware sign | pads with ones |
        | `"scaled"` | sign | sign, a learnt scale for each filter | pads with ones |
        | `"step"` | 0 or a learnt α | standardized sign | pads with zeros |
        | `"activations"` | sign | float | pads with ones |
        | `"float"`, `"real"` | float | float | pads with zeros |

        # Arguments
            x: Input tensor.
            filters: Output channels.
            kernel_size: Height and width of the kernel, one number or two.
            strides: Strides.
            dilation_rate: Distance of the taps.
            kind: A key of `CONVOLUTIONS`.
            name: Name of the layer.
            options: The options that `counting.CONVOLUTIONS` lists for the kind. The option `mask` is a function that
                is applied to the signs before the convolution.

        # Returns
            The output tensor.

        # Raises
            ValueError: If the kind is unknown or does not have an option.
        """
        counting.check_convolution(kind, dilation_rate, options)
        return CONVOLUTIONS[kind](x, filters, kernel_size, strides, dilation_rate, name=name, **options)

    def prelu(self, x: tf.Tensor, *, name: str) -> tf.Tensor:
        """PReLU with a slope for each channel."""
        return grouped.prelu(name)(x)

    def classifier(self, x: tf.Tensor, num_classes: int) -> tf.Tensor:
        """Global average pool → dense layer → softmax."""
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        return layers.Dense(
            num_classes,
            activation="softmax",
            kernel_initializer=convolutional.uniform_kernel(),
            bias_initializer=convolutional.uniform_bias(x.shape[-1]),
            dtype="float32",
            name="classifier",
        )(x)

    def pool(self, kind: str, x: tf.Tensor, kernel_size: int, strides: int = 1, *, name: str | None) -> tf.Tensor:
        """A pool with `same` padding. Averages do not count padded values.

        # Arguments
            kind: `"max_pool"` or `"avg_pool"`.
            x: Input tensor.
            kernel_size: Height and width of the window.
            strides: Strides.
            name: Name of the layer.

        # Returns
            The output tensor.
        """
        return convolutional.pool(kind, kernel_size, strides, name=name)(x)

    def zeros(self, x: tf.Tensor, strides: int = 1, *, name: str) -> tf.Tensor:
        """The operation `"none"`: zeros."""
        return convolutional.Zeroise(strides, name=name)(x)

    def every_second(self, x: tf.Tensor, first: int, *, name: str) -> tf.Tensor:
        """Every second pixel of every second row.

        # Arguments
            x: Input tensor.
            first: Row and column of the first of these pixels, 0 or 1. Pixels beyond an odd side are 0.
            name: Prefix of the layers' names.

        # Returns
            A tensor of half the height and width, rounded up.
        """
        if first:
            padded = [(0, side % 2) for side in x.shape[1:3]]
            x = layers.ZeroPadding2D(padded, name=f"{name}_pad")(x) if any(map(sum, padded)) else x
            x = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)
        return layers.MaxPooling2D(1, 2, padding="same", name=f"{name}_pixels{first}")(x)

    def start_at(self, x: tf.Tensor, first: int, *, name: str) -> tf.Tensor:
        """Pads features for a `valid` 3x3 convolution of strides 2; see `convolutional.StartAt`."""
        return convolutional.StartAt(first, name=name)(x)

    def match_channels(self, x: tf.Tensor, filters: int, *, name: str) -> tf.Tensor:
        """Cuts channels off or appends zeros."""
        return convolutional.MatchChannels(filters, name=name)(x)

    def add(self, terms: Sequence[tf.Tensor], *, name: str) -> tf.Tensor:
        """A sum."""
        return layers.Add(name=name)(terms) if len(terms) > 1 else terms[0]

    def concat(self, terms: Sequence[tf.Tensor], *, name: str) -> tf.Tensor:
        """A concatenation along the channels."""
        return layers.Concatenate(name=name)(terms)

    def either(self, alternatives: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the output of the one operation of an edge. `counting.Counter` accepts several alternatives."""
        (x,) = alternatives
        return x

    def relu(self, x: tf.Tensor, *, name: str) -> tf.Tensor:
        """ReLU."""
        return layers.ReLU(name=name)(x)

    def shuffle(self, x: tf.Tensor, groups: int, *, name: str) -> tf.Tensor:
        """Distributes the channels of each group over all groups."""
        return grouped.ChannelShuffle(groups, name=name)(x)

    def drop_path(self, x: tf.Tensor, *, name: str) -> tf.Tensor:
        """`DropPath`, if the builder has been made with `with_drop_path`."""
        return DropPath(name=name)(x) if self._with_drop_path else x

    def shared_edges(
        self,
        state: tf.Tensor,
        choice: tf.Tensor,
        candidates: Sequence[str],
        count: int,
        filters: int,
        strides: int,
        *,
        name: str,
        **options: Any,
    ) -> list[tf.Tensor]:
        """Computes the weighted candidate operations of all edges of a supernet that leave one state.

        # Arguments
            state: Input tensor.
            choice: Weights of the candidates, of shape `(count, len(candidates))`.
            candidates: Names of the operations.
            count: Number of edges.
            filters: Channels of the outputs.
            strides: 1 or 2.
            name: Name of the layer.
            options: Further arguments of the function.

        # Returns
            A list of tensors, one for each edge.
        """
        return self._shared_edges(state, choice, candidates, count, filters, strides, name=name, **options)

    def mask(self, x: tf.Tensor, candidates: Sequence[int], choice: tf.Tensor, *, name: str | None = None) -> tf.Tensor:
        """Multiplies each channel by the total weight of the candidate widths that keep it.

        # Arguments
            x: Input tensor.
            candidates: The candidate widths.
            choice: Weights of the candidates, of shape `(len(candidates),)`; see `width_masks.WidthMask`.
            name: Name of the layer.

        # Returns
            A tensor of the shape of `x`.
        """
        return WidthMask(candidates, name=name)([x, choice])

    def cell_widths(
        self, depths: Sequence[int], own: tf.Tensor, following: tf.Tensor, depth: tf.Tensor
    ) -> list[tf.Tensor]:
        """The weights of the widths of a stage's cells; see `width_masks.CellWidths`.

        # Arguments
            depths: The candidate depths of the stage.
            own: Weights of the stage's widths, of shape `(widths,)`.
            following: Weights of the following stage's widths, of shape `(widths,)`.
            depth: Weights of the depths, of shape `(len(depths),)`.

        # Returns
            A list of tensors of shape `(widths,)`: one for each cell, then one for the output of the stage.
        """
        return CellWidths(depths)([own, following, depth])

    def aggregate(self, tensors: Sequence[tf.Tensor], weights: tf.Tensor, *, name: str) -> tf.Tensor:
        """A weighted sum of tensors; see `width_masks.SkippableAggregation`."""
        return SkippableAggregation(name=name)([*tensors, weights])


def _float(x, filters, kernel_size, strides, dilation_rate, *, use_bias=False, groups=1, name):
    taps = kernel_size**2 if isinstance(kernel_size, int) else math.prod(kernel_size)
    fan_in = taps * x.shape[-1] if use_bias else 1
    return convolutional.float_conv(filters, kernel_size, strides, use_bias, fan_in, groups, name=name)(x)


def _xnor(x, filters, kernel_size, strides, dilation_rate, *, name):
    return convolutional.binary_conv(filters, kernel_size, strides, dilation_rate, name=name)(x)


def _layer_scaled(x, filters, kernel_size, strides, dilation_rate, *, padding="same", activation=None, mask=None, name):
    return convolutional.layer_scaled_conv(x, filters, kernel_size, strides, padding, activation, mask, name)


def _magnitude_aware(x, filters, kernel_size, strides, dilation_rate, *, name):
    return lq.layers.QuantConv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        pad_values=1.0,
        use_bias=False,
        input_quantizer="approx_sign",
        kernel_quantizer="magnitude_aware_sign",
        kernel_constraint="weight_clip",
        name=name,
    )(x)


def _step(x, filters, kernel_size, strides, dilation_rate, *, name):
    return StepConv2D(filters, kernel_size, strides, name=name)(x)


def _grouped(quantization):
    def build(x, filters, kernel_size, strides, dilation_rate, *, groups=1, name):
        return grouped.convolution(x, filters, kernel_size, strides, dilation_rate, groups, quantization, name)

    return build


CONVOLUTIONS = {
    "float": _float,
    "real": _grouped("real"),
    "activations": _grouped("activations"),
    "xnor": _xnor,
    "layer_scaled": _layer_scaled,
    "magnitude_aware": _magnitude_aware,
    "scaled": _grouped("binary"),
    "step": _step,
}


def one_by_one(
    state: tf.Tensor,
    choice: tf.Tensor,
    candidates: Sequence[str],
    count: int,
    filters: int,
    strides: int,
    *,
    name: str,
    **options: Any,
) -> list[tf.Tensor]:
    """Computes each operation of each edge separately. See `Builder.shared_edges` for the arguments."""
    v, outputs = Builder(), []
    for edge in range(count):
        names = {operation: f"{name}_edge{edge}_{operation}" for operation in candidates}
        sizes = state, filters, strides
        terms = [operations.apply(v, operation, *sizes, layer_name=own, **options) for operation, own in names.items()]
        outputs.append(v.aggregate(terms, choice[edge], name=f"{name}_edge{edge}_mixed"))
    return outputs
