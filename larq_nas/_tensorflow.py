"""The private parts of TensorFlow that larq_nas uses, each with the reason why no public part does the same.

Importing this module does not import TensorFlow.
"""

import types
from importlib import metadata


def uses_keras_2(tensorflow: types.ModuleType) -> bool:
    """Whether `import tensorflow.keras` gives Keras 2, which the import of TensorFlow decides and says nowhere else.

    This function is for versions with Keras 3.
    """
    return getattr(tensorflow, "_tf_uses_legacy_keras", True)


def has_keras_2() -> bool:
    """Whether the package `keras` is Keras 2, as with TensorFlow 2.15. This function imports neither of the two."""
    try:
        return metadata.version("tensorflow").startswith("2.15.") and metadata.version("keras").startswith("2.")
    except metadata.PackageNotFoundError:
        return False


def not_inlined() -> dict:
    """The attributes of a `tf.function` that stays a function in the graph; no public option keeps it from inlining."""
    return {"_noinline": True}


def tflite_schema() -> types.ModuleType:
    """The classes that read the parts of a `.tflite` file; the public `tf.lite` prints these parts only."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated
