"""The private parts of TensorFlow that larq_nas uses, each with the reason why no public part does the same.

Importing this module does not import TensorFlow.
"""

import types
from importlib import metadata


def uses_keras_2(tensorflow: types.ModuleType) -> bool:
    """Whether `import tensorflow.keras` gives Keras 2, which the import of TensorFlow decides and says nowhere else.

    This function is for versions after 2.15, which have Keras 3, too.
    """
    return getattr(tensorflow, "_tf_uses_legacy_keras", True)


def is_2_15() -> bool:
    """Whether the installed TensorFlow is 2.15, which is not imported."""
    try:
        return metadata.version("tensorflow").startswith("2.15.")
    except metadata.PackageNotFoundError:
        return False


def not_inlined() -> dict:
    """The attributes of a `tf.function` that stays a function in the graph; no public option keeps it from inlining."""
    return {"_noinline": True}


def tflite_schema() -> types.ModuleType:
    """The classes that read the parts of a `.tflite` file; the public `tf.lite` prints these parts only."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated
