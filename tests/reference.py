"""The supernet written plainly, an operation per edge: what the shared form must equal."""

import numpy as np
import tensorflow as tf

from larq_nas import operations
from larq_nas.architecture import Architecture, Cell, Edge, Node, Stage

layers = tf.keras.layers


class PerEdge(layers.Layer):
    """`mixed.MixedEdges`, one edge and one operation after the other."""

    def __init__(self, filters, candidates, edges, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.candidates, self.edges, self.strides = filters, list(candidates), edges, strides
        self.branches = [
            [self._branch(operations.OPERATIONS[name]) for name in self.candidates] for _ in range(self.edges)
        ]

    def _branch(self, operation):
        norm = operations.batch_normalization(affine=False)
        if operation.kind == "none":
            return [layers.Lambda(lambda x: x[:, :: self.strides, :: self.strides] * 0)]
        if operation.kind != "convolution":
            return [operations.pool(operation, self.strides), norm]
        # Strided and dilated: the convolution without strides, every second pixel of it.
        dilated = operation.dilation_rate > 1
        conv = operations.binary_conv(
            self.filters, operation.kernel_size, 1 if dilated else self.strides, operation.dilation_rate
        )
        subsample = [layers.Lambda(lambda x: x[:, :: self.strides, :: self.strides])] if dilated else []
        return [norm, conv, *subsample]

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
