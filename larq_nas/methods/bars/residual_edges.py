"""The candidate operations of BARS on all edges that leave one state, computed together.

All edges that leave a state read the same tensor and share the operation `"shortcut"`. BatchNorm is affine, so each
edge has its own BatchNorm, sign and convolution. As in BNAS, all states of the same shape share a traced
function of tensors. Its gradient is written by hand, so that the function stores little, and the step that trains the
architecture computes no gradients of kernels.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas.layers.quantizers import layer_scale, register
from larq_nas.layers.width_masks import check_widths, width_mask
from larq_nas.networks.shared_edges import SharedEdges, input_gradient, kernel_gradient, normalize, traced, wide


@register
class ResidualEdges(SharedEdges):
    """Computes the weighted candidate operations of all edges that leave one state of a BARS cell.

    The output of an edge is the sum over its candidates of choice weight times operation.

    # Arguments
        filters: Channels of the state. The outputs have as many channels or, with strides, twice as many.
        operations: Names of the candidates: some of `"none"`, `"shortcut"` and `"residual_bin_conv_3x3"`.
        edges: Number of edges.
        strides: 1 or 2.
        widths: If the width is searched, the number of channels that each candidate keeps, as for
            `width_masks.WidthMask`. The layer masks the inputs of its convolutions, because BatchNorm and sign would
            undo an earlier mask.

    # Inputs
        A tensor of shape `(batch, height, width, filters)`; the choice weights of the edges, of shape
        `(edges, candidates)`; and, if `widths` is given, the choice weights of the widths, of shape `(len(widths),)`.

    # Returns
        A list of tensors, one for each edge.

    # Raises
        ValueError: If an operation is not accepted.
    """

    arguments = (*SharedEdges.arguments, "widths")

    def __init__(
        self,
        filters: int,
        operations: Iterable[str],
        edges: int,
        strides: int = 1,
        widths: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, operations, edges, strides, **kwargs)
        self.widths = widths and check_widths(widths)
        known = {"none", "shortcut", "residual_bin_conv_3x3"}
        if not known >= set(operations):
            raise ValueError(f"operations={list(operations)}: accepted are {', '.join(sorted(known))}")

    def build(self, input_shape: list) -> None:
        # With strides, an edge has two convolutions, each of which makes half of the outputs.
        self.kernels = self.edges * self.strides if "residual_bin_conv_3x3" in self.operations else 0
        shape = (self.kernels, 3, 3, self.filters, self.filters)
        constraint = lq.constraints.WeightClip(1.0)
        self.kernel = self.add_float_weight("kernel", shape, _Kernels(), constraint=constraint)
        affine = (self.edges if self.kernels else 0, self.filters)
        self.gamma = self.add_float_weight("gamma", affine, "ones")
        self.beta = self.add_float_weight("beta", affine, "zeros")
        self.add_statistics(self.filters)
        super().build(input_shape)

    def mix(
        self,
        x: tf.Tensor,
        choice: tf.Tensor,
        width: tf.Tensor | None = None,
        *,
        statistics: tuple[tf.Tensor, tf.Tensor],
        training: bool,
    ) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        mask = width_mask(width, self.widths, self.filters) if self.widths else None
        trained = [tf.convert_to_tensor(variable) for variable in (self.kernel, self.gamma, self.beta)]
        return _residual_edges(x, choice, mask, trained, statistics, (tuple(self.operations), self.strides, training))

    def weights_of(self, edge: int, operation: str) -> dict[str, np.ndarray]:
        if operation != "residual_bin_conv_3x3":
            return {}
        names = ["conv"] if self.strides == 1 else ["conv0", "conv1"]
        kernels = self.kernel.numpy()[edge * self.strides :]
        weights = {f"{name}/kernel": kernel for name, kernel in zip(names, kernels, strict=False)}
        weights |= {f"norm/{name}": getattr(self, name).numpy()[edge] for name in ("gamma", "beta")}
        return weights | {f"norm/{name}": getattr(self, name).numpy() for name in ("moving_mean", "moving_variance")}

    def zeros(self, x: tf.Tensor) -> tf.Tensor:
        return _shortcut(x, self.strides) * 0


class _Kernels(tf.keras.initializers.Initializer):
    """Initializes several kernels that are stacked in one weight."""

    def __call__(self, shape, dtype=None, **kwargs):
        # A new initializer for each kernel, because one initializer would return the same values for all kernels.
        parts = [tf.keras.initializers.GlorotNormal()(shape[1:], dtype) for _ in range(shape[0])]
        return tf.stack(parts) if parts else tf.zeros(shape, dtype)


@traced
def _binarize(kernel):
    """Returns the kernels as ±1, and the scale of each kernel."""
    scales = [layer_scale(part)[0] for part in tf.unstack(kernel)]
    return lq.math.sign(kernel), tf.reshape(scales, [-1])


def _residual_edges(x, choice, mask, trained, statistics, attributes):
    """Returns the outputs of all edges, and the updated moving mean and variance. `attributes` are the names of the
    operations, the strides, and whether the layer is trained.
    """
    moved, masks = None, [] if mask is None else [mask]

    @tf.custom_gradient
    def call(x, choice, kernel, gamma, beta, *masks):
        nonlocal moved
        binary = _binarize(kernel)
        outputs, moved, rectified = _forward(x, choice, masks, gamma, beta, binary, statistics, attributes)

        def backward(*gradients):
            # A step uses either the gradients of choices or the gradients of weights. TensorFlow prunes the call of the
            # others.
            arguments = x, choice, masks, gamma, beta, binary, statistics, rectified, gradients, attributes
            to_x, to_gamma, to_beta, passed = _input_gradient(*arguments)
            to_choice = _choice_gradient(choice, rectified, gradients, passed, attributes)
            to_kernel = _kernel_gradient(masks, binary, passed, attributes)
            to_masks = [_mask_gradient(mask, binary, passed, attributes) for mask in masks]
            return to_x, to_choice, to_kernel, to_gamma, to_beta, *to_masks

        return outputs, backward

    return call(x, choice, *trained, *masks), moved


@traced
def _forward(x, choice, masks, gamma, beta, binary, statistics, attributes):
    names, strides, training = attributes
    weights, outputs, rectified = tf.cast(choice, x.dtype), [], []
    shortcut = _shortcut(x, strides) if "shortcut" in names else None
    for edge in range(choice.shape[0]):
        terms = []
        if shortcut is not None:
            terms.append(weights[edge, names.index("shortcut")] * shortcut)
        if "residual_bin_conv_3x3" in names:
            z, *moved = normalize(x, *statistics, training=training, gamma=gamma[edge], beta=beta[edge])
            # All edges have the same statistics, so they are updated once.
            statistics = moved if edge == choice.shape[0] - 1 else statistics
            rectified.append(tf.nn.relu(_convolve(z, edge, masks, binary, strides) + _shortcut(z, strides)))
            terms.append(weights[edge, names.index("residual_bin_conv_3x3")] * rectified[-1])
        outputs.append(tf.add_n(terms))
    return outputs, statistics, rectified


def _convolve(z, edge, masks, binary, strides):
    """Returns the output of an edge's convolution or, with strides, of both convolutions."""
    padding, halves = "SAME" if strides == 1 else "VALID", []
    for half in range(strides):
        kernel = _masked(binary, edge * strides + half, masks)
        # Signs are shifted to {-1, 0}, so padding with zeros stands for padding with ones. The factor 2 and the bias
        # undo the shift.
        y = tf.nn.conv2d(_read(z, half, strides), tf.cast(2 * kernel, z.dtype), strides, padding)
        halves.append(tf.nn.bias_add(y, tf.cast(tf.reduce_sum(kernel, axis=[0, 1, 2]), z.dtype)))
    return tf.concat(halves, axis=-1) if strides > 1 else halves[0]


def _masked(binary, number, masks):
    """Returns the scaled kernel of a convolution. It masks kernels instead of inputs, which would cost more."""
    ones, scales = binary
    kernel = ones[number] * scales[number]
    return kernel * masks[0][:, tf.newaxis] if masks else kernel


def _read(z, half, strides):
    """Returns the input of a convolution: 0 for a sign of +1, -1 for a sign of -1."""
    signs = tf.minimum(tf.sign(z), 0)
    return signs if strides == 1 else _start_at(signs, half - 1)


class _Passed(NamedTuple):
    """Intermediate results of the input's gradient that the other gradients also need.

    These are the shortcut and, for each convolution, its input, the gradient of its input, and the gradient of its
    output.
    """

    shortcut: tf.Tensor | None
    read: list
    to_read: list
    to_output: list


@traced
def _input_gradient(x, choice, masks, gamma, beta, binary, statistics, rectified, gradients, attributes):
    """Returns the gradients of `x`, `gamma` and `beta`, and a `_Passed`. Cheap tensors are computed again."""
    names, strides, training = attributes
    weights, targets, upstream, passed = tf.cast(choice, x.dtype), [], [], _Passed(None, [], [], [])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([x, gamma, beta])
        shortcut = _shortcut(x, strides) if "shortcut" in names else None
        normalized = [
            normalize(x, *statistics, training=training, gamma=gamma[edge], beta=beta[edge])[0]
            for edge in range(len(rectified))
        ]
    for edge, gradient in enumerate(gradients):
        if shortcut is not None:
            targets.append(shortcut)
            upstream.append(weights[edge, names.index("shortcut")] * gradient)
        if rectified:
            weight = weights[edge, names.index("residual_bin_conv_3x3")]
            gradient = tf.raw_ops.ReluGrad(gradients=weight * gradient, features=rectified[edge])
            targets.append(normalized[edge])
            upstream.append(_through_convolution(normalized[edge], gradient, edge, masks, binary, strides, passed))
    nothing = tf.UnconnectedGradients.ZERO
    to_x, *to_affine = tape.gradient(targets, [x, gamma, beta], upstream, unconnected_gradients=nothing)
    return to_x, *to_affine, passed._replace(shortcut=shortcut)


def _through_convolution(z, gradient, edge, masks, binary, strides, passed):
    """Returns the gradient of `z` through convolution and shortcut, and appends to the lists of `passed`."""
    padding, to_signs = "SAME" if strides == 1 else "VALID", []
    for half, part in enumerate(tf.split(gradient, strides, axis=-1)):
        kernel = tf.cast(_masked(binary, edge * strides + half, masks), z.dtype)
        passed.read.append(_read(z, half, strides))
        passed.to_output.append(part)
        passed.to_read.append(input_gradient(passed.read[-1], kernel, part, strides, padding))
        to_signs.append(passed.to_read[-1] if strides == 1 else _end_at(passed.to_read[-1], z, half - 1))
    # The straight-through estimator is 1 between -1 and 1. The gradient of a Relu6 with scaled input is faster than a
    # comparison.
    through_sign = tf.raw_ops.Relu6Grad(gradients=tf.add_n(to_signs), features=3 * z + 3)
    return through_sign + _shortcut_gradient(gradient, z, strides)


@traced
def _choice_gradient(choice, rectified, gradients, passed, attributes):
    """Returns the gradient of the choice weights."""
    rows = []
    for edge, gradient in enumerate(gradients):
        outputs = {"shortcut": passed.shortcut, "residual_bin_conv_3x3": rectified[edge] if rectified else None}
        row = [tf.zeros([]) if name == "none" else _dot(gradient, outputs[name]) for name in attributes[0]]
        rows.append(tf.stack(row))
    return tf.stack(rows)


def _dot(gradient, output):
    return tf.reduce_sum(wide(gradient) * wide(output))


@traced
def _mask_gradient(mask, binary, passed, attributes):
    """Returns the gradient of the width mask."""
    to_mask = [tf.zeros_like(mask)]
    for number, (read, to_read, to_output) in enumerate(zip(*passed[1:], strict=True)):
        # The masked input times its gradient equals the mask times the gradient of the mask.
        products = 2 * tf.reduce_sum(wide(to_read) * wide(read), axis=[0, 1, 2])
        kernel = tf.reduce_sum(_masked(binary, number, [mask]), axis=[0, 1])
        products += tf.linalg.matvec(kernel, _sum(to_output))
        to_mask.append(tf.math.divide_no_nan(products, mask))
    return tf.add_n(to_mask)


@traced
def _kernel_gradient(masks, binary, passed, attributes):
    """Returns the gradient of the scaled kernels, which the latent kernels receive unchanged within [-1, 1]."""
    _, strides, _ = attributes
    padding, to_kernel = "SAME" if strides == 1 else "VALID", []
    for number, (read, _, to_output) in enumerate(zip(*passed[1:], strict=True)):
        kernel = binary[0][number]
        through = kernel_gradient(read, kernel, to_output, strides, padding)
        through = 2 * wide(through) + _sum(to_output)
        to_kernel.append(through * masks[0][:, tf.newaxis] if masks else through)
    return tf.stack(to_kernel) if to_kernel else tf.zeros_like(binary[0])


def _sum(x):
    return tf.reduce_sum(wide(x), axis=[0, 1, 2])


def _shortcut(x, strides):
    if strides == 1:
        return x
    pooled = tf.nn.avg_pool2d(x, 2, 2, "SAME")
    return tf.concat([pooled, pooled], axis=-1)


def _shortcut_gradient(gradient, z, strides):
    if strides == 1:
        return gradient
    gradient = tf.add_n(tf.split(gradient, 2, axis=-1))
    return tf.raw_ops.AvgPoolGrad(
        orig_input_shape=tf.shape(z), grad=gradient, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME"
    )


def _start_at(x, first):
    """Like `convolutional.StartAt`, but pads with zeros."""
    behind = [side % 2 + 1 + first for side in x.shape[1:3]]
    return tf.pad(x, [[0, 0], *([-first, size] for size in behind), [0, 0]])


def _end_at(gradient, x, first):
    """Returns the gradient of `_start_at`."""
    return gradient[:, -first : x.shape[1] - first, -first : x.shape[2] - first]
