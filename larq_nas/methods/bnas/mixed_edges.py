"""The candidate operations of BNAS on all edges that leave one state, with shared work computed once.

A supernet evaluates every candidate on every edge. All edges that leave a state read the same tensor, and BatchNorm has
no trainable part during a search. All edges therefore share the normalized and binarized tensor and the pooled tensors,
and the convolutions of one kind are one convolution with more filters.

A traced function of tensors computes the edges of one state. All states of the same shape share this function, so the
time in which a search starts hardly grows with the number of cells.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas.layers import _larq, convolutional
from larq_nas.layers.quantizers import CentredClip, CentredUniform, latent_factor, register, through_scale, xnor_scale
from larq_nas.networks import blocks, operations
from larq_nas.networks.shared_edges import (
    PackedKernels,
    SharedEdges,
    channel_sum,
    combine,
    flat,
    input_gradient,
    kernel_gradient,
    normalize,
    traced,
    unpacked,
    wide,
)


@register
class MixedEdges(SharedEdges):
    """Computes the weighted candidate operations of all edges that leave one state.

    The output of an edge is the sum over its candidates of choice weight times operation.

    Latent kernels must lie within [-1, 1], where the gradient of the sign passes. The constraint of the kernel keeps
    them there.

    # Arguments
        filters: Channels of the input and of each output.
        operations: Names of the candidates. All edges have the same candidates.
        edges: Number of edges.
        strides: 1 or 2.
        normalize: Whether the outputs of convolutions are normalized, as the outputs of pools are. The statistics are
            constants in the backward pass. Without this normalization, a search would choose pools for their larger
            outputs alone. The authors' code does not normalize convolutions.

    # Inputs
        A tensor of shape `(batch, height, width, filters)`, and the choice weights of the edges, of shape
        `(edges, candidates)`.

    # Returns
        A list of tensors of shape `(batch, height / strides, width / strides, filters)`, one for each edge.

    # Raises
        ValueError: If an operation is neither a binary convolution, a pool, nor `"none"`.
    """

    arguments = (*SharedEdges.arguments, "normalize")

    def __init__(
        self,
        filters: int,
        operations: Iterable[str],
        edges: int,
        strides: int = 1,
        normalize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, operations, edges, strides, **kwargs)
        self.normalize = normalize
        known = sum(len(kinds) for kinds in _kinds(self.operations)) + self.operations.count("none")
        if known < len(self.operations):
            raise ValueError(f"operations={self.operations}: accepted are binary convolutions, pools and none")

    def build(self, input_shape: list) -> None:
        convolutions, pools = _kinds(self.operations)
        # The taps of all kernels are concatenated: one variable to binarize, update and constrain.
        self.taps = tuple(operation.kernel_size**2 for _, operation in convolutions)
        shape = (sum(self.taps), self.filters, self.filters * self.edges)
        initializer = PackedKernels(self.taps, CentredUniform, self.edges)
        self.kernel = self.add_float_weight("kernel", shape, initializer, constraint=CentredClip())
        # Statistics of the state, of each pooled state, and, if normalized, of each convolution's output.
        outputs = len(convolutions) * self.edges if self.normalize else 0
        self.add_statistics(self.filters * (1 + len(pools) + outputs))
        super().build(input_shape)

    def mix(
        self, x: tf.Tensor, choice: tf.Tensor, *, statistics: tuple[tf.Tensor, tf.Tensor], training: bool
    ) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        attributes = Attributes(tuple(self.operations), self.strides, training, self.normalize)
        return _mixed_edges(x, choice, tf.convert_to_tensor(self.kernel), self.taps, statistics, attributes)

    def weights_of(self, edge: int, operation: str) -> dict[str, np.ndarray]:
        kernels = unpacked(self.kernel.numpy(), [kind for _, kind in _kinds(self.operations)[0]])
        if operation not in kernels:
            return {}
        return {"conv/kernel": np.split(kernels[operation], self.edges, axis=-1)[edge]}


class Attributes(NamedTuple):
    """The arguments of the traced functions that are not tensors: what they compute."""

    operations: tuple
    strides: int
    training: bool
    normalize: bool


def _kinds(names):
    """Returns two lists of pairs of index and `Operation`: the convolutions and the pools."""
    kinds = [(index, operations.OPERATIONS[name]) for index, name in enumerate(names)]
    convolutions = [kind for kind in kinds if kind[1].kind == "convolution"]
    return convolutions, [kind for kind in kinds if kind[1].kind.endswith("pool")]


@traced
def _binarize(kernel, taps):
    """Returns the packed kernels as ±1, and their scales of shape `(kinds, filters)`."""
    scales = [xnor_scale(part) for part in tf.split(kernel, taps)] if taps else []
    # Equal to `quantizers.sign`, which is written for the converter, but faster.
    return lq.math.sign(kernel), tf.reshape(scales, [len(taps), kernel.shape[-1]])


def _mixed_edges(x, choice, kernel, taps, statistics, attributes):
    """Returns the outputs of all edges, and the updated moving mean and variance."""
    moved = None

    @tf.custom_gradient
    def call(x, choice, kernel):
        nonlocal moved
        binary = _binarize(kernel, taps)
        outputs, moved, convolved = _forward(x, choice, binary, statistics, attributes)

        def backward(*gradients):
            # A step uses either the gradient of the choice or the gradient of the kernel. TensorFlow prunes the call of
            # the other.
            to_x, passed = _input_gradient(x, choice, binary, statistics, convolved, gradients, attributes)
            to_choice = _choice_gradient(choice, convolved, gradients, passed, attributes)
            return to_x, to_choice, _kernel_gradient(choice, binary, convolved, passed, attributes)

        return outputs, backward

    return call(x, choice, kernel), moved


@traced
def _forward(x, choice, binary, statistics, attributes):
    """Returns the outputs of all edges, the updated moving statistics, and an `_Output` for each convolution."""
    (_, scales), edges = binary, choice.shape[0]
    common, own = _split(statistics, x.shape[-1], attributes)
    features, moved = _features(x, common, attributes)
    terms, convolved = {name: [] for name in features if name != "pooled"}, []
    for index, (source, stride, kernel, weight) in enumerate(_convolutions(binary, choice, attributes, x.dtype)):
        # Inputs are shifted from ±1 to {-2, 0}, so padding with zeros stands for padding with ones. The bias undoes the
        # shift.
        bias = tf.reduce_sum(kernel, axis=[0, 1, 2])
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(features[source], kernel, stride, "SAME"), bias))
        if attributes.normalize:
            mean, variance = _moments(y, source, x) if attributes.training else own[index]
            own[index] = mean, variance
            scale = tf.math.rsqrt(variance + convolutional.BN_EPSILON)
            term = tf.nn.bias_add(y * tf.cast(weight * scale, x.dtype), tf.cast(-mean * weight * scale, x.dtype))
        else:
            mean, scale = None, scales[index]
            term = y * tf.cast(weight * scale, x.dtype)
        convolved.append(_Output(y, scale, mean))
        terms[source].append(term)
    if "parities" in features:
        terms["parities"] = [tf.batch_to_space(tf.add_n(terms["parities"]), [2, 2], _margins(x))]
    total = sum(terms.values(), [])
    outputs = tf.split(tf.add_n(total), edges, axis=-1) if total else []
    if "pooled" in features:
        pooled = tf.unstack(combine(_pool_weights(choice, attributes), features["pooled"]))
        outputs = [tf.add_n(both) for both in zip(outputs, pooled, strict=True)] if outputs else pooled
    return outputs, _moved(statistics, moved, own, attributes), convolved


class _Output(NamedTuple):
    """The rectified output of a convolution. An edge sums these outputs minus their mean, times scale and weight."""

    values: tf.Tensor
    scale: tf.Tensor
    mean: tf.Tensor | None


class _Passed(NamedTuple):
    """Intermediate results of the input's gradient that the gradients of choice and kernel also need."""

    features: dict
    upstream: dict
    masked: list


@traced
def _input_gradient(x, choice, binary, statistics, convolved, gradients, attributes):
    """Returns the gradient of `x` and a `_Passed`. The features are cheap, so they are computed again instead of
    stored.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        features, _ = _features(x, _split(statistics, x.shape[-1], attributes)[0], attributes)
    gradient = tf.concat(gradients, axis=-1)
    upstream = {name: gradient for name in features if name != "pooled"}
    if "parities" in features:
        upstream["parities"] = tf.space_to_batch(gradient, [2, 2], _margins(x))
    to_features, masked = {name: [] for name in features}, []
    convolutions = _convolutions(binary, choice, attributes, x.dtype)
    for (source, stride, ones, weight), output in zip(convolutions, convolved, strict=True):
        masked.append(tf.raw_ops.ReluGrad(gradients=upstream[source], features=output.values))
        # Kernels are multiplied by the weights, because kernels are smaller than activations.
        weighted = ones * tf.cast(weight * output.scale, x.dtype)
        to_features[source].append(input_gradient(features[source], weighted, masked[-1], stride))
    if "pooled" in features:
        to_features["pooled"].append(combine(tf.transpose(_pool_weights(choice, attributes)), tf.stack(gradients)))
    to_x = tape.gradient(list(features.values()), x, [tf.add_n(to_features[name]) for name in features])
    return to_x, _Passed(features, upstream, masked)


@traced
def _choice_gradient(choice, convolved, gradients, passed, attributes):
    """Returns the gradient of `choice`."""
    convolutions, pools = _kinds(attributes.operations)
    columns, total = {}, channel_sum(tf.concat(gradients, axis=-1)) if attributes.normalize else None
    for (index, operation), output in zip(convolutions, convolved, strict=True):
        source, _ = _source(operation, attributes.strides)
        products = channel_sum(wide(passed.upstream[source]) * wide(output.values))
        products -= output.mean * total if attributes.normalize else 0
        columns[index] = tf.reduce_sum(tf.reshape(products * output.scale, [choice.shape[0], -1]), axis=-1)
    if pools:
        stacked = wide(flat(tf.stack(gradients)))
        products = tf.matmul(stacked, wide(flat(passed.features["pooled"])), transpose_b=True)
        columns |= dict(zip([index for index, _ in pools], tf.unstack(products, axis=1), strict=True))
    nothing = tf.zeros_like(choice[:, 0])
    return tf.stack([columns.get(index, nothing) for index in range(len(attributes.operations))], axis=1)


@traced
def _kernel_gradient(choice, binary, convolved, passed, attributes):
    """Returns the gradient of the packed kernels."""
    if not convolved:
        return tf.zeros_like(binary[0])
    to_signs = []
    convolutions = _convolutions(binary, choice, attributes, passed.masked[0].dtype)
    for (source, stride, ones, weight), output, masked in zip(convolutions, convolved, passed.masked, strict=True):
        to_ones = wide(kernel_gradient(passed.features[source], ones, masked, stride)) + channel_sum(masked)
        # The constraint keeps latent kernels where the gradient of the sign passes.
        to_signs.append(to_ones * (weight * output.scale * latent_factor(ones.shape)))
    return _to_kernel(binary, to_signs, attributes)


def _to_kernel(binary, gradients, attributes):
    """Returns the gradient of the packed kernels from the gradients of their signs."""
    signs, scales = binary
    gradients = [tf.reshape(gradient, [-1, *signs.shape[1:]]) for gradient in gradients]
    if attributes.normalize:
        return tf.concat(gradients, axis=0)
    parts = zip(tf.split(signs, [part.shape[0] for part in gradients]), tf.unstack(scales), gradients, strict=True)
    return tf.concat([gradient + through_scale(part, scale, gradient) for part, scale, gradient in parts], axis=0)


def _split(statistics, channels, attributes):
    """Returns the moving statistics of the operations' inputs, then a mean and a variance for each convolution's
    output.
    """
    convolutions, pools = _kinds(attributes.operations)
    common = channels * (1 + len(pools))
    own = [
        tf.split(values[common:], len(convolutions)) for values in statistics if attributes.normalize and convolutions
    ]
    return [values[:common] for values in statistics], list(zip(*own, strict=True))


def _moved(statistics, common, own, attributes):
    """Returns the updated moving statistics.

    # Arguments
        statistics: The moving statistics before the step.
        common: The updated statistics of the operations' inputs.
        own: For each convolution, the statistics of its output in this step.
        attributes: The `Attributes` of the operation.
    """
    if not own:
        return common
    now = [tf.concat(values, axis=0) for values in zip(*own, strict=True)]
    if attributes.training:
        before = [values[-now[0].shape[0] :] for values in statistics]
        now = [b + (1 - convolutional.BN_MOMENTUM) * (n - b) for b, n in zip(before, now, strict=True)]
    return [tf.concat(both, axis=0) for both in zip(common, now, strict=True)]


def _moments(outputs, source, x):
    """Returns the mean and variance of each channel of a convolution's output."""
    outputs = wide(outputs)
    if source == "parities" and any(map(sum, _margins(x))):
        outputs = tf.batch_to_space(outputs, [2, 2], _margins(x))
    count = tf.cast(tf.size(outputs) // outputs.shape[-1], tf.float32)
    mean = channel_sum(outputs) / count
    return mean, tf.maximum(channel_sum(tf.square(outputs)) / count - tf.square(mean), 0.0)


def _features(x, statistics, attributes):
    """Returns a dictionary of the tensors that the operations read, and the updated moving mean and variance."""
    strides, training = attributes.strides, attributes.training
    convolutions, pools = _kinds(attributes.operations)
    moving = [list(pair) for pair in zip(*(tf.split(each, 1 + len(pools)) for each in statistics), strict=True)]
    features = {}
    if convolutions:
        normalized, *moving[0] = normalize(x, *moving[0], training=training)
        # Shifted from ±1 to {-2, 0}, so that a padded 1 becomes 0.
        shifted = _larq.ste_sign(normalized) - 1
        sources = {_source(operation, strides)[0] for _, operation in convolutions}
        if "all" in sources:
            features["all"] = shifted
        if "parities" in sources:
            features["parities"] = tf.space_to_batch(shifted, [2, 2], _margins(x))
        if "subsampled" in sources:
            # A pool of one pixel is faster than slicing.
            features["subsampled"] = tf.nn.avg_pool2d(shifted, 1, strides, "VALID")
    if pools:
        functions = {"max_pool": tf.nn.max_pool2d, "avg_pool": tf.nn.avg_pool2d}
        pooled = []
        for index, (_, operation) in enumerate(pools, 1):
            pool = functions[operation.kind](x, operation.kernel_size, strides, "SAME")
            pool, *moving[index] = normalize(pool, *moving[index], training=training)
            pooled.append(pool)
        features["pooled"] = tf.stack(pooled)
    return features, [tf.concat(parts, axis=0) for parts in zip(*moving, strict=True)]


def _source(operation, strides):
    """Returns the name of the feature that a convolution reads, and the strides of the convolution.

    A convolution with dilation 2 is undilated within the pixels of one parity of row and column. The batch of the
    feature `"parities"` contains these four sets of pixels as separate images.
    """
    subsampling, strides, dilation_rate = blocks.strides_of(operation.dilation_rate, strides)
    if subsampling > 1:
        return "subsampled", strides
    return "parities" if dilation_rate > 1 else "all", strides


def _margins(x):
    """Returns the padding that makes height and width even."""
    return [[0, x.shape[1] % 2], [0, x.shape[2] % 2]]


def _convolutions(binary, choice, attributes, dtype):
    """Returns a tuple for each convolution: its feature, its strides, its kernel of ±1, and the choice weights of its
    filters.
    """
    convolutions, _ = _kinds(attributes.operations)
    if not convolutions:
        return []
    ones, _ = binary
    channels, filters = ones.shape[1:]
    parts = tf.split(tf.cast(ones, dtype), [operation.kernel_size**2 for _, operation in convolutions])
    return [
        (
            *_source(operation, attributes.strides),
            tf.reshape(part, [operation.kernel_size] * 2 + [channels, filters]),
            tf.repeat(choice[:, index], filters // choice.shape[0]),
        )
        for (index, operation), part in zip(convolutions, parts, strict=True)
    ]


def _pool_weights(choice, attributes):
    """Returns the choice weights of the pools, of shape `(edges, pools)`."""
    return tf.gather(choice, [index for index, _ in _kinds(attributes.operations)[1]], axis=1)
