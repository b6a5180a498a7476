import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import types

import pytest

import larq_nas

# `import larq_nas` has chosen the package of Keras for this process and its children.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}


def python(code):
    return subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)


def test_import_loads_no_tensorflow():
    result = python("import sys, larq_nas; print(*sys.modules)")
    loaded = result.stdout.split()
    assert "larq_nas" in loaded
    assert not {"tensorflow", "keras", "tf_keras", "larq", "numpy"} & set(loaded)


ONEDNN = "import os; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="measured on x86 only")
@pytest.mark.parametrize(
    ("given", "imports", "expected"),
    [
        ({}, "larq_nas", "1"),
        ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "larq_nas", "0"),
        ({"TF_USE_LEGACY_KERAS": "1"}, "tensorflow, larq_nas", "None"),
    ],
)
def test_onednn_is_on_unless_the_user_says_otherwise_or_has_loaded_tensorflow(given, imports, expected):
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "TF_ENABLE_ONEDNN_OPTS"} | given
    code = f"import {imports}; {ONEDNN}"
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == expected


# Keras 3 refuses layers of Keras 2.
USE = "print(tensorflow.keras.Sequential([larq.layers.QuantDense(2)]).name)"


def test_keras_takes_larq_layers():
    result = python(f"import larq_nas, tensorflow, larq; {USE}")
    assert result.stdout == "sequential\n", result.stderr


def test_tensorflow_before_larq_nas_works_or_says_what_to_do():
    result = python(f"import tensorflow, larq_nas, larq; {USE}")
    last = result.stderr.splitlines()[-1:] or [""]
    refused = last[0].startswith("ImportError: larq_nas needs Keras 2")
    assert result.stdout == "sequential\n" or refused, result.stderr


@pytest.mark.parametrize("given", [{}, {"TF_USE_LEGACY_KERAS": "1"}])
def test_models_are_loaded_beside_keras_tuner(given):
    code = (
        "import larq_nas, keras_tuner, tensorflow as tf; "
        "layer = tf.keras.layers.Dense(2, kernel_constraint='non_neg'); "
        "copy = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer)); "
        "print(type(copy) is type(layer), type(copy.kernel_constraint) is type(layer.kernel_constraint))"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT | given, capture_output=True, text=True)
    assert result.stdout == "True True\n", result.stderr


@pytest.mark.skipif(importlib.metadata.version("tensorflow").startswith("2.15."), reason="has no Keras 3")
def test_keras_3_in_the_process_gives_one_line_that_says_what_to_do():
    result = python("import tensorflow as tf; tf.keras.layers.Dense; import larq_nas")
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("ImportError: larq_nas needs Keras 2")
    assert "import larq_nas before" in line and "TF_USE_LEGACY_KERAS=1" in line


def test_public_names_are_attributes():
    assert set(larq_nas.__all__) <= set(dir(larq_nas))
    for name in larq_nas.__all__:
        assert callable(getattr(larq_nas, name)) or isinstance(getattr(larq_nas, name), types.ModuleType)


def test_other_modules_are_attributes_too():
    root = pathlib.Path(larq_nas.__file__).parent
    for name in {path.stem for path in root.glob("*.py")} - {"__init__", "__main__", *larq_nas.__all__}:
        assert isinstance(getattr(larq_nas, name), types.ModuleType)


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'larq_nas' has no attribute 'transformers'"):
        larq_nas.transformers  # noqa: B018
    assert not hasattr(larq_nas, "transformers")


def test_without_lce_everything_but_conversion_works_and_conversion_says_what_to_install():
    code = """
import sys
sys.modules["larq_compute_engine"] = None
import larq_nas
import tensorflow as tf
from larq_nas.converters import tflite
model = tf.keras.Sequential([tf.keras.layers.Flatten(input_shape=(4, 4, 1)), tf.keras.layers.Dense(2)])
for act in (lambda: tflite.convert(model), lambda: tflite.interpreter.predict(b"", [[0.0]])):
    try:
        act()
    except tflite.ConversionError as error:
        print(error)
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    convert, predict = result.stdout.splitlines()
    assert convert == predict
    assert "pip install larq-compute-engine" in convert
