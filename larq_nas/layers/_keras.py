"""The private parts of Keras 2 that larq_nas uses, each with the reason why no public part does the same."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def has_graph(model: tf.keras.Model) -> bool:
    """Whether a model has a graph of layers, as functional and sequential models of a known input shape have.

    No public attribute tells them from other models.
    """
    return bool(getattr(model, "_is_graph_network", False))


def functional() -> type[tf.keras.Model]:
    """The class of functional models, which Keras does not export: `tf.keras.Model` makes its instances."""
    return tf.keras.Sequential.__base__


def nodes(model: tf.keras.Model) -> list:
    """The calls of layers that make up a model with a graph, in an order in which they can be computed.

    The public `inbound_nodes` of a layer also hold its calls in other models.
    """
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def all_layers(model: tf.keras.Model) -> list:
    """The layers of a model and the layers inside of them, in the order in which they were made.

    The public `layers` holds the outer layers only, and `submodules` also holds metrics and has another order.
    """
    return list(model._flatten_layers(include_self=False))


def track(layer: tf.keras.layers.Layer, variable: tf.Variable, name: str) -> None:
    """Has TensorFlow save a variable with a layer; if it were an attribute, Keras would count it as a weight."""
    layer._track_trackable(variable, name)


class NotCompiled:
    """A mixin for convolutions in groups, which Keras compiles by XLA without an option to turn this off.

    On CPUs, the gradient of the `convolution_op` of a subclass is a hundred times as fast (`benchmarks/NOTES.md`).
    """

    convolution_op: Callable[..., tf.Tensor]

    def _jit_compiled_convolution_op(self, inputs, kernel):
        return self.convolution_op(inputs, kernel)


def set_learning_rate(optimizer: tf.keras.optimizers.Optimizer, learning_rate: Any) -> None:
    """Gives a new optimizer its learning rate, a number or a schedule; the public setter only replaces a given one."""
    optimizer._learning_rate = optimizer._build_learning_rate(learning_rate)


def learning_rate_config(optimizer: tf.keras.optimizers.Optimizer) -> Any:
    """The learning rate for `get_config`, a number or a dict; the public property gives the value of a schedule."""
    return optimizer._serialize_hyperparameter(optimizer._learning_rate)


def is_built(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether `set_built` was called; the optimizers of Keras have no public `built`."""
    return getattr(optimizer, "_built", False)


def set_built(optimizer: tf.keras.optimizers.Optimizer) -> None:
    """Tells an optimizer that it has all its variables, which Keras asks, without a public way to say so."""
    optimizer._built = True


def index(optimizer: tf.keras.optimizers.Optimizer, variable: tf.Variable) -> int:
    """The position of a variable, or of its copy on a replica, in the list that `build` was given.

    Keras gives `update_step` the copy, and has no public way from the copy to the list.
    """
    return optimizer._index_dict[optimizer._var_key(variable)]
