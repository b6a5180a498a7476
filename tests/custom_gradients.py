"""Frees what TensorFlow keeps of networks for ever, so that a file of tests does not need the memory of all of them."""

import inspect
from collections.abc import Collection

from tensorflow.python.framework import ops


def forget(keep: Collection[str] = ()) -> None:
    """Frees the traced custom gradients with their graphs and networks; TensorFlow keeps them, and frees none itself.

    # Arguments
        keep: Names of modules whose gradients stay, because their functions are traced once for all networks.
    """
    registry = ops.gradient_registry._registry
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        if _module_of(registry[name]["type"]) not in keep:
            del registry[name]


def _module_of(gradient):
    """The module of the function behind a registered gradient; `None` if the gradient comes from a saved model."""
    traced = inspect.getclosurevars(gradient).nonlocals.get("tape_grad_fn")
    return traced and inspect.getclosurevars(traced).nonlocals["grad_fn"].__module__
