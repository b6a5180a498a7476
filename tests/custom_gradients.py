"""Frees what TensorFlow keeps of networks for ever, so that a file of tests does not need the memory of all of them."""

import inspect
import sys

import tensorflow as tf
from tensorflow.python.framework import ops

# Functions of these modules are traced once for all networks.
_SHARED = ("larq_nas.layers.quantizers", "larq_nas.layers.step_convolution")


def forget() -> None:
    """Frees the custom gradients of networks with their graphs; TensorFlow keeps all of them, and frees none itself.

    The gradients of functions that `larq_nas` traces once for all networks stay, since later networks call them.
    """
    registry, traced = ops.gradient_registry._registry, _traced_functions()
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        module, graph = _origin(registry[name]["type"])
        if module not in _SHARED and graph not in traced:
            del registry[name]


def _traced_functions():
    """The names of the traced functions of all modules, which are also the names of their graphs."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("larq_nas")]
    values = [value for module in modules for value in vars(module).values()]
    return {value.__name__ for value in values if isinstance(value, tf.types.experimental.PolymorphicFunction)}


def _origin(gradient):
    """The module of the function behind a registered gradient, and the graph that calls it.

    Both are `None` if the gradient comes from a saved model.
    """
    traced = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    if traced is None:
        return None, None
    found = inspect.getclosurevars(traced).nonlocals
    return found["grad_fn"].__module__, tf.nest.flatten(found["result"])[0].graph.name
