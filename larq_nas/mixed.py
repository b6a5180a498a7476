"""All candidate operations on all edges that leave one state, computed once.

A supernet evaluates every candidate on every edge. All edges that leave a state read the same tensor, and during a
search BatchNorm has no trainable part, so the normalised and binarized tensor is the same for all of them, a pooled
tensor is the same for all of them, and the convolutions of one kind are one convolution with more filters.
"""

import larq as lq
import tensorflow as tf

from larq_nas import operations
from larq_nas.quantizers import register


@register
class MixedEdges(tf.keras.layers.Layer):
    """The weighted candidate operations of every edge that leaves one state.

    For each edge, the output is the sum over the candidates of choice weight times operation.

    # Arguments
        filters: Channels of each output; those of the input, too.
        operations: Names of the candidates, the same for every edge.
        rows: For each edge, its row in the choice weights.
        strides: 1 or 2.

    # Inputs
        A tensor of shape `(batch, height, width, filters)` and the choice weights of the cell, of shape
        `(edges of the cell, candidates)`.

    # Returns
        A list of tensors of shape `(batch, height / strides, width / strides, filters)`, one per edge.
    """

    def __init__(self, filters, operations, rows, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.operations, self.rows, self.strides = filters, list(operations), list(rows), strides

    def build(self, input_shape):
        self.normalization = operations.batch_normalization(affine=False, name="norm")
        self.convolutions, self.pools, self.pool_normalizations = {}, {}, {}
        for name in self.operations:
            operation = operations.OPERATIONS[name]
            if operation.kind == "convolution":
                _, strides, dilation_rate = operations.strides_of(operation, self.strides)
                self.convolutions[name] = operations.binary_conv(
                    self.filters * len(self.rows),
                    operation.kernel_size,
                    strides,
                    dilation_rate,
                    input_quantizer=None,
                    name=name,
                )
            elif operation.kind != "none":
                self.pools[name] = operations.pool(operation, self.strides, name=name)
                self.pool_normalizations[name] = operations.batch_normalization(False, name=f"{name}_norm")
        super().build(input_shape)

    def call(self, inputs):
        x, choice = inputs
        choice = tf.gather(choice, self.rows)
        weight = {name: choice[:, index] for index, name in enumerate(self.operations)}
        outputs = None
        if self.convolutions:
            outputs = tf.split(self._convolve(x, weight), len(self.rows), axis=-1)
        for name, pool in self.pools.items():
            pooled = self.pool_normalizations[name](pool(x))
            terms = [pooled * scale for scale in tf.unstack(weight[name])]
            outputs = terms if outputs is None else [a + b for a, b in zip(outputs, terms, strict=True)]
        if outputs is None:
            outputs = [x[:, :: self.strides, :: self.strides] * 0] * len(self.rows)
        return outputs

    def _convolve(self, x, weight):
        binary = lq.quantizers.ste_sign(self.normalization(x))
        total = 0
        for name, convolution in self.convolutions.items():
            subsampling, _, _ = operations.strides_of(operations.OPERATIONS[name], self.strides)
            repeated = tf.repeat(weight[name], self.filters)
            total += convolution(binary[:, ::subsampling, ::subsampling], weight=repeated)
        return total

    def get_config(self):
        config = {key: getattr(self, key) for key in ("filters", "operations", "rows", "strides")}
        return {**super().get_config(), **config}
