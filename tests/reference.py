"""The supernet written plainly, an operation per edge: what the shared form must equal."""

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas.layers import convolutional, width_masks
from larq_nas.layers.quantizers import CentredClip, LayerSign, latent_factor
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage

layers = tf.keras.layers


class UnscaledSign(lq.quantizers.Quantizer):
    """`XnorSign` without a scale: a normalization behind the convolution takes it away."""

    precision = 1

    def call(self, inputs):
        @tf.custom_gradient
        def binarize(kernel):
            passes = tf.cast(tf.abs(kernel) <= 1, kernel.dtype) * latent_factor(kernel.shape)
            return lq.math.sign(kernel), lambda gradient: gradient * passes

        return binarize(inputs)

    def scale(self, kernel):
        return tf.ones([kernel.shape[-1]])


class ConstantNormalization(layers.Layer):
    """BatchNorm without scale and offset whose statistics are constants to gradients."""

    def build(self, input_shape):
        self.mean = self.add_weight("mean", input_shape[-1:], initializer="zeros", trainable=False)
        self.variance = self.add_weight("variance", input_shape[-1:], initializer="ones", trainable=False)

    def call(self, inputs, training=None):
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(tf.stop_gradient(inputs), [0, 1, 2])
            for moving, value in ((self.mean, mean), (self.variance, variance)):
                moving.assign(convolutional.BN_MOMENTUM * moving + (1 - convolutional.BN_MOMENTUM) * value)
        return (inputs - mean) * tf.math.rsqrt(variance + convolutional.BN_EPSILON)


class PerEdge(layers.Layer):
    """`mixed.MixedEdges`, one edge and one operation after the other."""

    def __init__(self, filters, candidates, edges, strides=1, normalize=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.candidates, self.edges, self.strides = filters, list(candidates), edges, strides
        self.normalize = normalize
        self.branches = [
            [self._branch(operations.OPERATIONS[name]) for name in self.candidates] for _ in range(self.edges)
        ]

    def _branch(self, operation):
        norm = convolutional.batch_normalization(affine=False)
        if operation.kind == "none":
            return [layers.Lambda(lambda x: x[:, :: self.strides, :: self.strides] * 0)]
        if operation.kind != "convolution":
            return [convolutional.pool(operation.kind, operation.kernel_size, self.strides), norm]
        # Strided and dilated: the convolution without strides, every second pixel of it.
        dilated = operation.dilation_rate > 1
        conv = convolutional.binary_conv(
            self.filters,
            operation.kernel_size,
            1 if dilated else self.strides,
            operation.dilation_rate,
            **({"kernel_quantizer": UnscaledSign(), "kernel_constraint": CentredClip()} if self.normalize else {}),
        )
        subsample = [layers.Lambda(lambda x: x[:, :: self.strides, :: self.strides])] if dilated else []
        return [norm, conv, *subsample, *([ConstantNormalization()] if self.normalize else [])]

    def call(self, inputs):
        x, choice = inputs
        outputs = []
        for edge, branches in enumerate(self.branches):
            total = 0
            for index, branch in enumerate(branches):
                y = x
                for layer in branch:
                    y = layer(y)
                total += choice[edge, index] * y
            outputs.append(total)
        return outputs

    def convolution(self, name, edge):
        """The convolution of an edge."""
        return self.branches[edge][self.candidates.index(name)][1]

    def copy_from(self, shared):
        """Takes the weights of a built `MixedEdges`."""
        for name, kernel in kernels(shared, shared.kernel.numpy()).items():
            for edge, part in enumerate(np.split(kernel, self.edges, axis=-1)):
                self.convolution(name, edge).set_weights([part])


def kernels(shared, values):
    """Convolution name -> kernel, of the packed values of a `MixedEdges`."""
    sizes = {
        name: operations.OPERATIONS[name].kernel_size
        for name in shared.operations
        if operations.OPERATIONS[name].kind == "convolution"
    }
    parts = np.split(values, np.cumsum([size**2 for size in sizes.values()])[:-1])
    return {
        name: part.reshape(size, size, *part.shape[1:])
        for (name, size), part in zip(sizes.items(), parts, strict=False)
    }


class PerGroupedEdge(tf.keras.layers.Layer):
    """The plain form of `GroupedEdges`: layers of its own for every operation of every edge."""

    def __init__(self, filters, candidates, edges, strides=1, groups=1, binary=True, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.filters, self.operations, self.edges, self.strides = filters, list(candidates), edges, strides
        self.groups, self.quantization = groups, "activations" if binary else "real"

    def build(self, input_shape):
        x = tf.keras.Input(input_shape[0][1:])
        self.models = [[self._model(x, name) for name in self.operations] for _ in range(self.edges)]
        super().build(input_shape)

    def _model(self, x, name):
        y = operations.apply(Builder(), name, x, self.filters, self.strides, self.groups, self.quantization, "op")
        return tf.keras.Model(x, convolutional.batch_normalization(affine=False)(y) if "pool" in name else y)

    def call(self, inputs, training=None):
        x, choice = inputs
        return [
            tf.add_n([choice[edge, index] * model(x, training=training) for index, model in enumerate(models)])
            for edge, models in enumerate(self.models)
        ]


def bars_architecture(widths, depths, normal, reduce):
    """A BARS genotype of three stages with given numbers of convolutions, everything else being shortcuts.

    # Arguments
        widths: Filters of a node per stage.
        depths: Normal cells per stage.
        normal: Convolutions of the ten edges of each stage's normal cell.
        reduce: For both reductions, convolutions of the four edges that leave the input, and of the six others.
    """
    cells = [_bars_cell(f"normal{stage}", min(count, 4), max(count - 4, 0)) for stage, count in enumerate(normal)]
    cells += [_bars_cell(f"reduce{stage}", *counts) for stage, counts in enumerate(reduce, start=1)]
    stages = (
        Stage(f"normal{stage}", (width,), (depth,), f"reduce{stage}" if stage else None)
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True))
    )
    return Architecture("bars", tuple(cells), tuple(stages))


def _bars_cell(name, outer, inner):
    left = {True: outer, False: inner}
    nodes = []
    for node in range(4):
        edges = []
        for source in range(node + 1):
            left[source == 0] -= 1
            edges.append(Edge(source, ("residual_bin_conv_3x3" if left[source == 0] >= 0 else "shortcut",)))
        nodes.append(Node(tuple(edges), len(edges)))
    return Cell(name, tuple(nodes))


class PerResidualEdge(layers.Layer):
    """`residual.ResidualEdges`, one edge and one operation after the other."""

    def __init__(self, filters, candidates, edges, strides=1, widths=None, **kwargs):
        super().__init__(**kwargs)
        self.candidates, self.edges, self.strides, self.widths = list(candidates), edges, strides, widths
        self.filters = filters
        self.norms = [convolutional.batch_normalization() for _ in range(edges)]
        options = {"use_bias": False, "kernel_quantizer": LayerSign(), "kernel_constraint": "weight_clip"}
        options["padding"] = "same" if strides == 1 else "valid"
        self.convolutions = [convolutional.XnorConv2D(filters, 3, strides, **options) for _ in range(edges * strides)]
        self.sign = lq.quantizers.SteSign()
        self.starts = [convolutional.StartAt(first) for first in (-1, 0)]

    def call(self, inputs):
        x, choice = inputs[:2]
        mask = width_masks.width_mask(inputs[2], self.widths, self.filters) if self.widths else tf.ones([self.filters])
        outputs = []
        for edge in range(self.edges):
            terms = {"none": 0.0, "shortcut": self._shortcut(x)}
            terms["residual_bin_conv_3x3"] = tf.nn.relu(self._convolve(edge, self.norms[edge](x), mask))
            outputs.append(sum(choice[edge, index] * terms[name] for index, name in enumerate(self.candidates)))
        return outputs

    def _convolve(self, edge, z, mask):
        ones = tf.ones_like(z[:1, :1, :1]) * mask
        read = self.sign(z) * mask
        if self.strides == 1:
            # Padding with what a 1 is behind the mask.
            read = tf.pad(read - ones, [[0, 0], [1, 1], [1, 1], [0, 0]]) + ones
            y = tf.nn.conv2d(read, *self._kernel(edge), padding="VALID")
        else:
            pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
            padded = tf.pad(read - ones, pads) + ones
            height, width = (-(-side // 2) * 2 + 1 for side in z.shape[1:3])
            parts = []
            for half, first in enumerate((0, 1)):
                seen = (tf.pad(padded - ones, [[0, 0], [0, 1], [0, 1], [0, 0]]) + ones)[
                    :, first : first + height, first : first + width
                ]
                parts.append(tf.nn.conv2d(seen, *self._kernel(2 * edge + half), padding="VALID"))
            y = tf.concat(parts, axis=-1)
        return y + self._shortcut(z)

    def _kernel(self, number):
        layer = self.convolutions[number]
        if not layer.built:
            layer.build([None, None, None, self.filters])
        latent = getattr(layer.kernel, "latent_variable", layer.kernel)
        scale = tf.stop_gradient(layer.kernel_quantizer.scale(latent))
        return layer.kernel_quantizer(latent) * scale, self.strides

    def _shortcut(self, x):
        if self.strides == 1:
            return x
        pooled = tf.nn.avg_pool2d(x, 2, 2, "SAME")
        return tf.concat([pooled, pooled], axis=-1)
