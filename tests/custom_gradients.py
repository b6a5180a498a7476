"""Frees what TensorFlow keeps of networks for ever, so that a file of tests does not need the memory of all of them."""

import inspect
import sys

import tensorflow as tf
from tensorflow.python.framework import ops


def forget() -> None:
    """Frees the custom gradients of networks with their graphs; TensorFlow keeps all of them, and frees none itself.

    The gradients in functions that `larq_nas` traces once for all networks stay, since later networks call them.
    """
    registry, shared = ops.gradient_registry._registry, _shared_functions()
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        if _graph_of(registry[name]["type"]) not in shared:
            del registry[name]


def _shared_functions():
    """The names of the traced functions of all modules, which are also the names of their graphs."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("larq_nas")]
    values = [value for module in modules for value in vars(module).values()]
    return {value.__name__ for value in values if isinstance(value, tf.types.experimental.PolymorphicFunction)}


def _graph_of(gradient):
    """The name of the graph to which a registered gradient belongs; `None` if it comes from a saved model."""
    traced = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    return traced and tf.nest.flatten(inspect.getclosurevars(traced).nonlocals["result"])[0].graph.name
