"""All candidate operations on all edges that leave one state, computed once.

A supernet evaluates every candidate on every edge. All edges that leave a state read the same tensor, and during a
search BatchNorm has no trainable part, so the normalised and binarized tensor is the same for all of them, a pooled
tensor is the same for all of them, and the convolutions of one kind are one convolution with more filters.

What one state computes is a traced function of tensors, which all states of the same shape share. So the time that
a search takes to start hardly grows with the number of cells.
"""

from typing import NamedTuple

import larq as lq
import tensorflow as tf

from larq_nas.layers import convolutional
from larq_nas.layers.quantizers import CentredClip, CentredUniform, latent_factor, register, through_scale, xnor_scale
from larq_nas.networks import blocks
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
    wide,
)


@register
class Rows(tf.keras.layers.Layer):
    """Some rows of choice weights.

    # Arguments
        rows: Their indices.
    """

    def __init__(self, rows, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.rows = list(rows)

    def call(self, inputs):
        return tf.gather(inputs, self.rows)

    def get_config(self):
        return {**super().get_config(), "rows": self.rows}


@register
class MixedEdges(SharedEdges):
    """The weighted candidate operations of every edge that leaves one state.

    For each edge, the output is the sum over the candidates of choice weight times operation.

    # Arguments
        filters: Channels of each output; those of the input, too.
        operations: Names of the candidates, the same for every edge.
        edges: Number of edges.
        strides: 1 or 2.
        normalize: Whether the outputs of convolutions are normalized, as those of pools are, with statistics that are
            constants to gradients. They then enter the sum at the scale of pools, which would otherwise be chosen for
            their larger outputs alone. The authors' code does not normalize them.

    # Inputs
        A tensor of shape `(batch, height, width, filters)` and the choice weights of the edges, of shape
        `(edges, candidates)`.

    # Returns
        A list of tensors of shape `(batch, height / strides, width / strides, filters)`, one per edge.

    Latent kernels lie within [-1, 1], where the constraint keeps them and the gradient of the sign passes.
    """

    arguments = (*SharedEdges.arguments, "normalize")

    def __init__(self, filters, operations, edges, strides=1, normalize=False, **kwargs):
        super().__init__(filters, operations, edges, strides, **kwargs)
        self.normalize = normalize
        known = sum(len(kinds) for kinds in _kinds(self.operations)) + self.operations.count("none")
        if known < len(self.operations):
            raise ValueError(f"operations={self.operations}: only convolutions, pools and none share work")

    def build(self, input_shape):
        convolutions, pools = _kinds(self.operations)
        # The taps of all kernels stand in a row: one variable to binarize, update and constrain.
        self.taps = tuple(operation.kernel_size**2 for _, operation in convolutions)
        shape = (sum(self.taps), self.filters, self.filters * self.edges)
        initializer = PackedKernels(self.taps, CentredUniform)
        self.kernel = self.add_float_weight("kernel", shape, initializer, constraint=CentredClip())
        # Of the state itself, of each pooled one, and of what each convolution puts out.
        outputs = len(convolutions) * self.edges if self.normalize else 0
        self.add_statistics(self.filters * (1 + len(pools) + outputs))
        super().build(input_shape)

    def mix(self, x, choice, *, statistics, training):
        form = Form(tuple(self.operations), self.strides, training, self.normalize)
        return _mixed_edges(x, choice, tf.convert_to_tensor(self.kernel), self.taps, statistics, form)


class Form(NamedTuple):
    """What a layer computes, beside its tensors."""

    operations: tuple
    strides: int
    training: bool
    normalize: bool


def _kinds(names):
    """Index and `Operation` of the convolutions among the candidates, then of the pools."""
    kinds = [(index, blocks.OPERATIONS[name]) for index, name in enumerate(names)]
    convolutions = [kind for kind in kinds if kind[1].kind == "convolution"]
    return convolutions, [kind for kind in kinds if kind[1].kind.endswith("pool")]


@traced
def _binarize(kernel, taps):
    """The packed kernels as ±1, and the scales of shape `(kinds, filters)`."""
    scales = [xnor_scale(part) for part in tf.split(kernel, taps)] if taps else []
    # As `quantizers.sign`, which is written for the converter, but faster.
    return lq.math.sign(kernel), tf.reshape(scales, [len(taps), kernel.shape[-1]])


def _mixed_edges(x, choice, kernel, taps, statistics, form):
    """The outputs of all edges, and the moving mean and variance thereafter."""
    moved = None

    @tf.custom_gradient
    def call(x, choice, kernel):
        nonlocal moved
        binary = _binarize(kernel, taps)
        outputs, moved, convolved = _forward(x, choice, binary, statistics, form)

        def backward(*gradients):
            # A step uses the gradient of the choice or that of the kernel; TensorFlow prunes the call of the other.
            to_x, passed = _input_gradient(x, choice, binary, statistics, convolved, gradients, form)
            to_choice = _choice_gradient(choice, convolved, gradients, passed, form)
            return to_x, to_choice, _kernel_gradient(choice, binary, convolved, passed, form)

        return outputs, backward

    return call(x, choice, kernel), moved


@traced
def _forward(x, choice, binary, statistics, form):
    """The outputs of all edges, the moving statistics thereafter, and the output of each convolution, see `_Output`."""
    (_, scales), edges = binary, choice.shape[0]
    common, own = _split(statistics, x.shape[-1], form)
    features, moved = _features(x, common, form)
    terms, convolved = {name: [] for name in features if name != "pooled"}, []
    for index, (source, stride, kernel, weight) in enumerate(_convolutions(binary, choice, form, x.dtype)):
        # Of inputs in {-2, 0} the padding with ones is one with zeros, and what is missing is a bias.
        bias = tf.reduce_sum(kernel, axis=[0, 1, 2])
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(features[source], kernel, stride, "SAME"), bias))
        if form.normalize:
            mean, variance = _moments(y, source, x) if form.training else own[index]
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
        pooled = tf.unstack(combine(_pool_weights(choice, form), features["pooled"]))
        outputs = [tf.add_n(both) for both in zip(outputs, pooled, strict=True)] if outputs else pooled
    return outputs, _moved(statistics, moved, own, form), convolved


class _Output(NamedTuple):
    """The rectified output of a convolution; without its mean, and times the scale, it enters the sum of an edge."""

    values: tf.Tensor
    scale: tf.Tensor
    mean: tf.Tensor | None


class _Passed(NamedTuple):
    """What the gradient of the input has in common with those of choice and kernel."""

    features: dict
    upstream: dict
    masked: list


@traced
def _input_gradient(x, choice, binary, statistics, convolved, gradients, form):
    """The gradient of `x`, and a `_Passed`; features are cheap, and so computed again and not kept."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        features, _ = _features(x, _split(statistics, x.shape[-1], form)[0], form)
    gradient = tf.concat(gradients, axis=-1)
    upstream = {name: gradient for name in features if name != "pooled"}
    if "parities" in features:
        upstream["parities"] = tf.space_to_batch(gradient, [2, 2], _margins(x))
    to_features, masked = {name: [] for name in features}, []
    convolutions = _convolutions(binary, choice, form, x.dtype)
    for (source, stride, ones, weight), output in zip(convolutions, convolved, strict=True):
        masked.append(tf.raw_ops.ReluGrad(gradients=upstream[source], features=output.values))
        # The weights are multiplied to kernels and not to activations, which are larger.
        weighted = ones * tf.cast(weight * output.scale, x.dtype)
        to_features[source].append(input_gradient(features[source], weighted, masked[-1], stride))
    if "pooled" in features:
        to_features["pooled"].append(combine(tf.transpose(_pool_weights(choice, form)), tf.stack(gradients)))
    to_x = tape.gradient(list(features.values()), x, [tf.add_n(to_features[name]) for name in features])
    return to_x, _Passed(features, upstream, masked)


@traced
def _choice_gradient(choice, convolved, gradients, passed, form):
    """The gradient of `choice`."""
    convolutions, pools = _kinds(form.operations)
    columns, total = {}, channel_sum(tf.concat(gradients, axis=-1)) if form.normalize else None
    for (index, operation), output in zip(convolutions, convolved, strict=True):
        source, _ = _source(operation, form.strides)
        products = channel_sum(wide(passed.upstream[source]) * wide(output.values))
        products -= output.mean * total if form.normalize else 0
        columns[index] = tf.reduce_sum(tf.reshape(products * output.scale, [choice.shape[0], -1]), axis=-1)
    if pools:
        stacked = wide(flat(tf.stack(gradients)))
        products = tf.matmul(stacked, wide(flat(passed.features["pooled"])), transpose_b=True)
        columns |= dict(zip([index for index, _ in pools], tf.unstack(products, axis=1), strict=True))
    nothing = tf.zeros_like(choice[:, 0])
    return tf.stack([columns.get(index, nothing) for index in range(len(form.operations))], axis=1)


@traced
def _kernel_gradient(choice, binary, convolved, passed, form):
    """The gradient of the packed kernels."""
    if not convolved:
        return tf.zeros_like(binary[0])
    to_signs = []
    convolutions = _convolutions(binary, choice, form, passed.masked[0].dtype)
    for (source, stride, ones, weight), output, masked in zip(convolutions, convolved, passed.masked, strict=True):
        to_ones = wide(kernel_gradient(passed.features[source], ones, masked, stride)) + channel_sum(masked)
        # The constraint keeps latent kernels where the gradient of the sign passes.
        to_signs.append(to_ones * (weight * output.scale * latent_factor(ones.shape)))
    return _to_kernel(binary, to_signs, form)


def _to_kernel(binary, gradients, form):
    """The gradient of the packed kernels, given those of their signs."""
    signs, scales = binary
    gradients = [tf.reshape(gradient, [-1, *signs.shape[1:]]) for gradient in gradients]
    if form.normalize:
        return tf.concat(gradients, axis=0)
    parts = zip(tf.split(signs, [part.shape[0] for part in gradients]), tf.unstack(scales), gradients, strict=True)
    return tf.concat([gradient + through_scale(part, scale, gradient) for part, scale, gradient in parts], axis=0)


def _split(statistics, channels, form):
    """Moving means and variances of what the operations read, then a pair of them for each convolution."""
    convolutions, pools = _kinds(form.operations)
    common = channels * (1 + len(pools))
    own = [tf.split(values[common:], len(convolutions)) for values in statistics if form.normalize and convolutions]
    return [values[:common] for values in statistics], list(zip(*own, strict=True))


def _moved(statistics, common, own, form):
    """The moving statistics after a step, given those of what operations read, and the step's own of convolutions."""
    if not own:
        return common
    now = [tf.concat(values, axis=0) for values in zip(*own, strict=True)]
    if form.training:
        before = [values[-now[0].shape[0] :] for values in statistics]
        now = [b + (1 - convolutional.BN_MOMENTUM) * (n - b) for b, n in zip(before, now, strict=True)]
    return [tf.concat(both, axis=0) for both in zip(common, now, strict=True)]


def _moments(outputs, source, x):
    """Mean and variance of each channel of what a convolution puts out."""
    outputs = wide(outputs)
    if source == "parities" and any(map(sum, _margins(x))):
        outputs = tf.batch_to_space(outputs, [2, 2], _margins(x))
    count = tf.cast(tf.size(outputs) // outputs.shape[-1], tf.float32)
    mean = channel_sum(outputs) / count
    return mean, tf.maximum(channel_sum(tf.square(outputs)) / count - tf.square(mean), 0.0)


def _features(x, statistics, form):
    """What the operations read, by name, and the moving mean and variance thereafter."""
    strides, training = form.strides, form.training
    convolutions, pools = _kinds(form.operations)
    moving = list(zip(*(tf.split(statistic, 1 + len(pools)) for statistic in statistics), strict=True))
    features = {}
    if convolutions:
        normalized, *moving[0] = normalize(x, *moving[0], training)
        # -2 or 0: what stands for a padded 1 is then 0.
        shifted = lq.quantizers.ste_sign(normalized) - 1
        sources = {_source(operation, strides)[0] for _, operation in convolutions}
        if "all" in sources:
            features["all"] = shifted
        if "parities" in sources:
            features["parities"] = tf.space_to_batch(shifted, [2, 2], _margins(x))
        if "subsampled" in sources:
            # A pool of one pixel, which is faster than slicing.
            features["subsampled"] = tf.nn.avg_pool2d(shifted, 1, strides, "VALID")
    if pools:
        functions = {"max_pool": tf.nn.max_pool2d, "avg_pool": tf.nn.avg_pool2d}
        pooled = []
        for index, (_, operation) in enumerate(pools, 1):
            pool = functions[operation.kind](x, operation.kernel_size, strides, "SAME")
            pool, *moving[index] = normalize(pool, *moving[index], training)
            pooled.append(pool)
        features["pooled"] = tf.stack(pooled)
    return features, [tf.concat(parts, axis=0) for parts in zip(*moving, strict=True)]


def _source(operation, strides):
    """The feature that a convolution reads, and its strides.

    A dilation of 2 is none within the pixels of one parity of row and column, which are sets of batches of their own.
    """
    subsampling, strides, dilation_rate = blocks.strides_of(operation.dilation_rate, strides)
    if subsampling > 1:
        return "subsampled", strides
    return "parities" if dilation_rate > 1 else "all", strides


def _margins(x):
    """What makes height and width even."""
    return [[0, x.shape[1] % 2], [0, x.shape[2] % 2]]


def _convolutions(binary, choice, form, dtype):
    """For every convolution the feature that it reads, its strides, its kernel of ±1, its filters' choice weights."""
    convolutions, _ = _kinds(form.operations)
    if not convolutions:
        return []
    ones, _ = binary
    channels, filters = ones.shape[1:]
    parts = tf.split(tf.cast(ones, dtype), [operation.kernel_size**2 for _, operation in convolutions])
    return [
        (
            *_source(operation, form.strides),
            tf.reshape(part, [operation.kernel_size] * 2 + [channels, filters]),
            tf.repeat(choice[:, index], filters // choice.shape[0]),
        )
        for (index, operation), part in zip(convolutions, parts, strict=True)
    ]


def _pool_weights(choice, form):
    """The choice weights of the pools, of shape `(edges, pools)`."""
    return tf.gather(choice, [index for index, _ in _kinds(form.operations)[1]], axis=1)
