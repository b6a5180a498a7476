"""Architecture search for binary neural networks, with Keras and Larq, down to a bit-packed `.tflite`.

```python
import larq_nas

model = larq_nas.zoo.bnas_a()
```

Submodules load on first use, so that `import larq_nas` itself does not import TensorFlow.
"""

import importlib
import importlib.util
import os
import platform
import sys

__version__ = "0.1.0"

# Public names that are no modules -> the module of each.
_NAMES = {
    "Architecture": "larq_nas.space.architecture",
    "SearchConfig": "larq_nas.configs",
    "Strategy": "larq_nas.supernet.strategy",
    **dict.fromkeys(("benchmark", "convert", "evaluate", "search", "train"), "larq_nas.api"),
}
_MODULES = (
    *("converters", "costs", "datasets", "latency", "methods"),
    *("networks", "space", "supernet", "training", "zoo"),
)
# These modules work without TensorFlow.
_LIGHT = {
    *("api", "configs", "converters", "costs", "devices", "flags", "methods", "options", "quiet"),
    *("runs", "space", "tables", "tasks", "versions", "zoo"),
}
__all__ = sorted([*_NAMES, *_MODULES])


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


def _use_onednn():
    # TensorFlow switches oneDNN on by itself only on some processors of this kind, and all were measured to be faster
    # with it. The variable is read when TensorFlow is loaded. That some gradients exist only there, no operation of
    # larq_nas depends on.
    if "tensorflow" not in sys.modules and platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


_use_keras_2()
_use_onednn()


def __getattr__(name):
    module = _NAMES.get(name)
    if module is not None:
        return getattr(importlib.import_module(module), name)
    if name.startswith("_") or importlib.util.find_spec(f"larq_nas.{name}") is None:
        raise AttributeError(f"module 'larq_nas' has no attribute '{name}'")
    if name not in _LIGHT:
        importlib.import_module("larq_nas.versions").check_tensorflow()
    return importlib.import_module(f"larq_nas.{name}")


def __dir__():
    return sorted([*globals(), *__all__])
