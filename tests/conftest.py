import inspect
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import larq_nas  # noqa: E402, F401, I001  (makes tf.keras Keras 2 before anything loads TensorFlow)
import pytest  # noqa: E402
from tensorflow.python.framework import ops  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def forget_custom_gradients():
    """TensorFlow keeps each traced `tf.custom_gradient` for ever, and so the graph and the network around it."""
    yield
    registry = ops.gradient_registry._registry
    for name in [name for name, entry in registry.items() if name.startswith("CustomGradient-") and _ends(entry)]:
        del registry[name]


def _ends(entry):
    """Whether a gradient is one of a network, and not of a function that is traced once for all networks."""
    gradient = inspect.getclosurevars(entry["type"]).nonlocals.get("tape_grad_fn")
    if gradient is None:
        # It comes from a saved model.
        return True
    function = inspect.getclosurevars(gradient).nonlocals["grad_fn"]
    return function.__module__ not in ("larq_nas.layers.quantizers", "larq_nas.layers.step_convolution")
