"""The private parts of TensorFlow that larq_nas uses, each with the reason why no public part does the same.

Importing this module does not import TensorFlow.
"""

import types


def uses_keras_2(tensorflow: types.ModuleType) -> bool:
    """Whether `import tensorflow.keras` gives Keras 2, which the import of TensorFlow decides and says nowhere else.

    TensorFlow 2.15 has only Keras 2, and no such attribute.
    """
    return getattr(tensorflow, "_tf_uses_legacy_keras", True) or tensorflow.__version__.startswith("2.15.")


def not_inlined() -> dict:
    """The attributes of a `tf.function` that stays a function in the graph; no public option keeps it from inlining."""
    return {"_noinline": True}


def tflite_schema() -> types.ModuleType:
    """The classes that read the parts of a `.tflite` file; the public `tf.lite` prints these parts only."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated
