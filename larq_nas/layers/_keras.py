"""All uses of parts of Keras 2 that are not public, so that a change of Keras is met in one place."""

from collections.abc import Callable

import tensorflow as tf


def has_graph(model: tf.keras.Model) -> bool:
    """Whether a model has a graph of layers, as functional and sequential models of a known input shape have."""
    return bool(getattr(model, "_is_graph_network", False))


def nodes(model: tf.keras.Model) -> list:
    """The calls of layers that make up a model with a graph, in an order in which they can be computed."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def calls_of(layer: tf.keras.layers.Layer) -> list:
    """All calls of a layer, in whichever model."""
    return layer._inbound_nodes


def layer_of(tensor: tf.Tensor) -> tf.keras.layers.Layer:
    """The layer that puts out a Keras tensor."""
    return tensor._keras_history.layer


class NotCompiled:
    """A mixin for convolutions in groups, which Keras compiles by XLA.

    On CPUs, the gradient of the `convolution_op` of a subclass is a hundred times as fast (`benchmarks/NOTES.md`).
    """

    convolution_op: Callable[..., tf.Tensor]

    def _jit_compiled_convolution_op(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)
