"""The candidate operations of BARS on all edges that leave one state, computed together.

All edges that leave a state normalize the same tensor, so the statistics are computed once; the affine part of
BatchNorm, the sign and the convolution are each edge's own. As in `mixed`, what a state computes is a traced function
of tensors which all states of the same shape share, and its gradient is written out: it keeps little, and the
architecture's step computes no gradients of kernels.
"""

import larq as lq
import tensorflow as tf

from larq_nas import mixed
from larq_nas.macro import check_widths, width_mask
from larq_nas.quantizers import layer_scale, register


@register
class ResidualEdges(tf.keras.layers.Layer):
    """The weighted candidate operations of every edge that leaves one state of a BARS cell.

    For each edge, the output is the sum over the candidates of choice weight times operation.

    # Arguments
        filters: Channels of the state; outputs have as many or, with strides, twice as many.
        operations: Names of the candidates, of "none", "shortcut" and "residual_bin_conv_3x3".
        edges: Number of edges.
        strides: 1 or 2.
        widths: If the width is searched, how many channels each candidate keeps, as for `macro.WidthMask`. What
            convolutions read and shortcuts carry is masked here: BatchNorm and sign would undo a mask before them.

    # Inputs
        A tensor of shape `(batch, height, width, filters)`, the choice weights of the edges, of shape
        `(edges, candidates)`, and those of the widths, of shape `(len(widths),)`, if there are any.

    # Returns
        A list of tensors, one per edge.
    """

    def __init__(self, filters, operations, edges, strides=1, widths=None, **kwargs):
        if strides not in (1, 2):
            raise ValueError(f"strides={strides}: a state is left with strides 1 or 2")
        # Choice weights keep their 32 bits under mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.filters, self.operations, self.edges, self.strides = filters, list(operations), edges, strides
        self.widths = widths and check_widths(widths)
        known = {"none", "shortcut", "residual_bin_conv_3x3"}
        if not known >= set(operations):
            raise ValueError(f"operations={list(operations)}: accepted are {', '.join(sorted(known))}")

    def build(self, input_shape):
        # With strides, an edge has two convolutions of half of the outputs each.
        self.kernels = self.edges * self.strides if "residual_bin_conv_3x3" in self.operations else 0
        options = {"experimental_autocast": False}
        shape = (self.kernels, 3, 3, self.filters, self.filters)
        constraint = lq.constraints.WeightClip(1.0)
        self.kernel = self.add_weight("kernel", shape, None, _Kernels(), constraint=constraint, **options)
        affine = (self.edges if self.kernels else 0, self.filters)
        self.gamma = self.add_weight("gamma", affine, initializer="ones", **options)
        self.beta = self.add_weight("beta", affine, initializer="zeros", **options)
        options |= {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
        }
        self.moving_mean = self.add_weight("moving_mean", (self.filters,), initializer="zeros", **options)
        self.moving_variance = self.add_weight("moving_variance", (self.filters,), initializer="ones", **options)
        super().build(input_shape)

    def call(self, inputs, training=None):
        x, choice = tf.cast(inputs[0], self.compute_dtype), inputs[1]
        if set(self.operations) == {"none"}:
            return [_shortcut(x, self.strides) * 0] * self.edges
        mask = width_mask(inputs[2], self.widths, self.filters) if self.widths else None
        statistics = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
        trained = [tf.convert_to_tensor(variable) for variable in (self.kernel, self.gamma, self.beta)]
        form = tuple(self.operations), self.strides, bool(training)
        outputs, statistics = _residual_edges(x, choice, mask, trained, self.binary(), statistics, form)
        if training:
            self.moving_mean.assign(statistics[0])
            self.moving_variance.assign(statistics[1])
        return outputs

    def binary(self):
        """Signs and scales of the kernels."""
        return mixed.once(self, _binarize)

    def get_config(self):
        config = {key: getattr(self, key) for key in ("filters", "operations", "edges", "strides", "widths")}
        return {**super().get_config(), **config}


class _Kernels(tf.keras.initializers.Initializer):
    """Kernels that stand in a row, each initialized by itself."""

    def __call__(self, shape, dtype=None, **kwargs):
        # An initializer for each: one alone gives the same values again.
        parts = [tf.keras.initializers.GlorotNormal()(shape[1:], dtype) for _ in range(shape[0])]
        return tf.stack(parts) if parts else tf.zeros(shape, dtype)


@mixed.traced
def _binarize(kernel):
    """The kernels as ±1, and the scale of each."""
    scales = [layer_scale(part)[0] for part in tf.unstack(kernel)]
    return lq.math.sign(kernel), tf.reshape(scales, [-1])


def _residual_edges(x, choice, mask, trained, binary, statistics, form):
    """The outputs of all edges, and the moving mean and variance thereafter."""
    moved, constants, masks = None, mixed.constants(), [] if mask is None else [mask]

    @tf.custom_gradient
    def call(x, choice, kernel, gamma, beta, *masks):
        nonlocal moved
        outputs, moved, rectified = _forward(x, choice, masks, gamma, beta, binary, statistics, form)

        def backward(*gradients):
            arguments = (x, choice, masks, gamma, beta, binary, statistics, rectified, gradients, form, constants)
            return _backward(*arguments)

        return outputs, backward

    return call(x, choice, *trained, *masks), moved


@mixed.traced
def _forward(x, choice, masks, gamma, beta, binary, statistics, form):
    names, strides, _ = form
    features, moved = _features(x, masks, gamma, beta, statistics, form)
    rectified = _convolve(features["read"], features["carried"], _biases(binary, masks, x.dtype), binary, form)
    weights, outputs = tf.cast(choice, x.dtype), []
    for edge in range(choice.shape[0]):
        terms = []
        if "shortcut" in names:
            terms.append(weights[edge, names.index("shortcut")] * features["shortcut"])
        if rectified:
            terms.append(weights[edge, names.index("residual_bin_conv_3x3")] * rectified[edge])
        outputs.append(tf.add_n(terms))
    return outputs, moved, rectified


def _convolve(read, carried, biases, binary, form):
    """What the convolution of each edge gives, with its shortcut and ReLU."""
    if not carried:
        return []
    padding, strides = ("SAME", 1) if form[1] == 1 else ("VALID", 2)
    halves = []
    for x, kernel, bias in zip(read, _scaled(binary, read[0].dtype), biases, strict=True):
        halves.append(tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides, padding), bias))
    if strides == 2:
        halves = [tf.concat(pair, axis=-1) for pair in zip(halves[::2], halves[1::2], strict=True)]
    return [tf.nn.relu(y + z) for y, z in zip(halves, carried, strict=True)]


@mixed.traced
def _backward(x, choice, masks, gamma, beta, binary, statistics, rectified, gradients, form, constants):
    """The gradients of what `call` reads; what is cheap is computed again and not kept."""
    names, strides, _ = form
    # A step needs the gradients of the weights or those of the choices.
    sources = [x] + [gamma, beta] * ("kernel" not in constants) + [*masks] * ("choice" not in constants)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        features, _ = _features(x, masks, gamma, beta, statistics, form)
        biases = _biases(binary, masks, x.dtype)
    weights, to_choice, to_kernel = tf.cast(choice, x.dtype), [[None] * len(names) for _ in gradients], []
    targets, upstream = [], []
    if "shortcut" in names:
        index = names.index("shortcut")
        for edge, gradient in enumerate(gradients):
            to_choice[edge][index] = _dot(gradient, features["shortcut"], constants)
        shortcuts = tf.add_n([weights[edge, index] * gradient for edge, gradient in enumerate(gradients)])
        targets, upstream = [features["shortcut"]], [shortcuts]
    kernels = _scaled(binary, x.dtype)
    for edge, output in enumerate(rectified):
        index = names.index("residual_bin_conv_3x3")
        to_choice[edge][index] = _dot(gradients[edge], output, constants)
        gradient = tf.raw_ops.ReluGrad(gradients=weights[edge, index] * gradients[edge], features=output)
        targets.append(features["carried"][edge])
        upstream.append(gradient)
        for half, part in enumerate(tf.split(gradient, strides, axis=-1)):
            number = edge * strides + half
            read, padding = features["read"][number], "SAME" if strides == 1 else "VALID"
            targets += [read, biases[number]]
            upstream += [mixed.input_gradient(read, kernels[number], part, strides, padding), mixed.channel_sum(part)]
            if "kernel" not in constants:
                through = mixed.wide(mixed.kernel_gradient(read, kernels[number], part, strides, padding))
                padded = masks[0][:, tf.newaxis] * upstream[-1] if masks else upstream[-1]
                to_kernel.append(through + padded)
    upstream = [tf.cast(gradient, target.dtype) for gradient, target in zip(upstream, targets, strict=True)]
    found = tape.gradient(targets, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    to_x, *found = found
    to_gamma, to_beta, *found = found if "kernel" not in constants else [None, None, *found]
    to_masks = found if "choice" not in constants else [None] * len(masks)
    to_choice = [tf.stack([tf.zeros([]) if g is None else g for g in row]) for row in to_choice]
    # The gradient of the scaled kernel, which is that of the latent one where the constraint keeps it.
    return to_x, tf.stack(to_choice), tf.stack(to_kernel) if to_kernel else None, to_gamma, to_beta, *to_masks


def _dot(gradient, output, constants):
    """The gradient of a choice weight."""
    if "choice" in constants:
        return None
    return tf.reduce_sum(mixed.channel_sum(mixed.wide(gradient) * mixed.wide(output)))


def _features(x, masks, gamma, beta, statistics, form):
    """What convolutions read and their shortcuts carry, edge by edge, and the operation "shortcut"."""
    names, strides, training = form
    features, moved = {"read": [], "carried": []}, statistics
    if "shortcut" in names:
        features["shortcut"] = _shortcut(x, strides)
    if "residual_bin_conv_3x3" in names:
        normalized, *moved = mixed.normalize(x, *statistics, training)
        scale, offset = tf.cast(gamma, x.dtype), tf.cast(beta, x.dtype)
        for edge in range(gamma.shape[0]):
            z = normalized * scale[edge] + offset[edge]
            # -2 or 0: what stands for a padded 1 is then 0, and for a masked channel, too.
            read = lq.quantizers.ste_sign(z) - 1
            if masks:
                mask = tf.cast(masks[0], x.dtype)
                read, z = read * mask, z * mask
            features["read"] += [read] if strides == 1 else [_start_at(read, first) for first in (-1, 0)]
            features["carried"].append(_shortcut(z, strides))
    return features, moved


def _shortcut(x, strides):
    if strides == 1:
        return x
    pooled = tf.nn.avg_pool2d(x, 2, 2, "SAME")
    return tf.concat([pooled, pooled], axis=-1)


def _start_at(x, first):
    """As `operations.StartAt`, with zeros."""
    behind = [side % 2 + 1 + first for side in x.shape[1:3]]
    return tf.pad(x, [[0, 0], *([-first, size] for size in behind), [0, 0]])


def _scaled(binary, dtype):
    ones, scales = binary
    return tf.unstack(tf.cast(ones * tf.reshape(scales, [-1, 1, 1, 1, 1]), dtype))


def _biases(binary, masks, dtype):
    """What convolutions of inputs that are 1 too small lack."""
    ones, scales = binary
    sums = tf.reduce_sum(ones, axis=[1, 2]) * tf.reshape(scales, [-1, 1, 1])
    if masks:
        sums *= masks[0][:, tf.newaxis]
    return tf.unstack(tf.cast(tf.reduce_sum(sums, axis=1), dtype))
