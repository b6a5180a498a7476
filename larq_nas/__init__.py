"""Architecture search for binary neural networks, with Keras and Larq, down to a bit-packed `.tflite`.

```python
import larq_nas

model = larq_nas.zoo.bnas_a()
```

Submodules load on first use, so that `import larq_nas` itself does not import TensorFlow.
"""

import importlib
import importlib.util
import logging
import os
import platform
import sys

from larq_nas import _tensorflow

__version__ = "0.1.0"

_API = ("benchmark", "compare", "convert", "evaluate", "load_model", "rank", "search", "train", "tune")
# Public names that are not modules of this folder -> the module that defines the name.
_NAMES = {
    "Architecture": "larq_nas.space.architecture",
    "build": "larq_nas.networks",
    "count": "larq_nas.costs",
    "SearchConfig": "larq_nas.configs",
    "Strategy": "larq_nas.supernet.strategy",
    "operations": "larq_nas.networks",
    **dict.fromkeys(_API, "larq_nas.api"),
}
# These modules and names work without TensorFlow.
_LIGHT = {
    *(set(_NAMES) - {"Strategy", "build"}),
    *("api", "configs", "converters", "costs", "devices", "flags", "methods", "names", "options", "plots", "quiet"),
    *("runs", "space", "tables", "tasks", "versions", "zoo"),
}
# The other modules are attributes, too.
__all__ = sorted([*_NAMES, "methods", "zoo"])


def _use_keras_2():
    # Larq and Larq Compute Engine need Keras 2. TensorFlow reads this variable on the first use of `tf.keras` to choose
    # between Keras 2 and Keras 3. TensorFlow 2.15 chooses between two packages of Keras 2: `tf_keras` with the variable
    # and, without it, `keras`, which KerasTuner imports, too. If both are imported, each of them takes the classes of
    # the other for its own, and saved models cannot be loaded.
    if _tensorflow.has_keras_2():
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
        return
    tensorflow = sys.modules.get("tensorflow")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if tensorflow is None:
        return
    # `import tensorflow.keras.x` follows the value of the variable when TensorFlow was imported, `tf.keras.x` the value
    # that the variable has now.
    if not _tensorflow.uses_keras_2(tensorflow) or not hasattr(tensorflow.keras.layers, "LocallyConnected1D"):
        raise ImportError(
            "larq_nas needs Keras 2, but `tf.keras` is already Keras 3 in this process: import larq_nas before "
            "tensorflow, or set the environment variable TF_USE_LEGACY_KERAS=1."
        )


def _use_onednn():
    # TensorFlow enables oneDNN by default only on some x86-64 processors, but oneDNN was faster on all that were
    # measured. TensorFlow reads the variable while it is loaded. Some gradients exist only in oneDNN, but no operation
    # of larq_nas depends on these gradients.
    if "tensorflow" not in sys.modules and platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


_use_keras_2()
_use_onednn()
# Without a configuration of logging, the library is silent.
logging.getLogger("larq_nas").addHandler(logging.NullHandler())


def __getattr__(name):
    module = _NAMES.get(name)
    if module is None and (name.startswith("_") or importlib.util.find_spec(f"larq_nas.{name}") is None):
        raise AttributeError(f"module 'larq_nas' has no attribute '{name}'")
    if name not in _LIGHT:
        importlib.import_module("larq_nas.versions").check_tensorflow()
    if module is None:
        return importlib.import_module(f"larq_nas.{name}")
    return getattr(importlib.import_module(module), name)


def __dir__():
    return sorted([*globals(), *__all__])
