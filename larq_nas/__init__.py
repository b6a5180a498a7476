"""Architecture search for binary neural networks, with Keras and Larq, down to a bit-packed `.tflite`.

```python
import larq_nas

model = larq_nas.zoo.bnas_a()
```

Submodules load on first use, so that `import larq_nas` itself does not import TensorFlow.
"""

import importlib
import os
import sys
from importlib import metadata

__version__ = "0.1.0"

_SUBMODULES = {
    "architecture",
    "callbacks",
    "cells",
    "converters",
    "costs",
    "datasets",
    "flags",
    "methods",
    "mixed",
    "networks",
    "operations",
    "optimizers",
    "quantizers",
    "quiet",
    "recipes",
    "runs",
    "supernet",
    "training",
    "zoo",
}
# These work without TensorFlow.
_LIGHT = {"architecture", "converters", "flags", "methods", "quiet", "runs", "zoo"}
__all__ = sorted(_SUBMODULES)


def _use_keras_2():
    # Larq and Larq Compute Engine are written for Keras 2. TensorFlow decides on the first use of `tf.keras`
    # which Keras that is, and reads this variable to do so (a no-op on TensorFlow 2.15, which has only Keras 2).
    tensorflow = sys.modules.get("tensorflow")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if tensorflow is None:
        return
    # `import tensorflow.keras.x` goes where TensorFlow was told on its own import, `tf.keras.x` where it is told now.
    decided = getattr(tensorflow, "_tf_uses_legacy_keras", True) or tensorflow.__version__.startswith("2.15.")
    if not decided or not hasattr(tensorflow.keras.layers, "LocallyConnected1D"):
        raise ImportError(
            "larq_nas needs Keras 2, but `tf.keras` is already Keras 3 in this process: import larq_nas before "
            "tensorflow, or set the environment variable TF_USE_LEGACY_KERAS=1."
        )


def check_tensorflow():
    """Raises an `ImportError` that says what to install where TensorFlow or its Keras 2 is missing or another."""
    found = {}
    for package in ("tensorflow", "tf-keras"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    tensorflow, keras = (version.split(".")[:2] for version in found.values())
    if tensorflow != keras or tensorflow[0] != "2" or not 15 <= int(tensorflow[1]) <= 21:
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        raise ImportError(
            f"larq_nas needs tensorflow and tf-keras of one minor version, 2.15 to 2.21; found {versions}: "
            "pip install 'tensorflow>=2.15,<2.22' 'tf-keras>=2.15,<2.22'"
        )


_use_keras_2()


def __getattr__(name):
    if name in _SUBMODULES:
        if name not in _LIGHT:
            check_tensorflow()
        return importlib.import_module(f"larq_nas.{name}")
    raise AttributeError(f"module 'larq_nas' has no attribute '{name}'")


def __dir__():
    return sorted([*globals(), *_SUBMODULES])
