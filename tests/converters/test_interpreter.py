import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import networks
from larq_nas.converters import interpreter, tflite
from larq_nas.methods import bnas


@pytest.fixture(scope="module")
def converted():
    tf.keras.utils.set_random_seed(0)
    model = networks.build(bnas.space(3, 4).sample(0), (8, 8, 1))
    return model, tflite.convert(model).bytes


@pytest.mark.parametrize("processes", [1, 2])
def test_one_and_several_processes_predict_what_keras_does(converted, processes):
    model, content = converted
    images = np.random.default_rng(0).normal(size=(130, 8, 8, 1)).astype(np.float32)
    outputs = interpreter.predict(content, images, processes)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-3)


def test_a_file_that_is_no_tflite_and_images_of_another_size_are_refused(converted):
    images = np.zeros((2, 8, 8, 1), np.float32)
    with pytest.raises(interpreter.ConversionError, match="cannot run this file"):
        interpreter.predict(b"no flatbuffer", images)
    with pytest.raises(interpreter.ConversionError, match=r"takes images of shape \(8, 8, 1\), not \(9, 8, 1\)"):
        interpreter.predict(converted[1], np.zeros((2, 9, 8, 1), np.float32))


# TensorFlow warns of every file of integers that is calibrated, as here, instead of being trained for integers.
@pytest.mark.filterwarnings(
    r"ignore:Statistics for quantized inputs were expected:UserWarning:tensorflow\.lite\.python\.convert"
)
@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("int8", 8), ("int16", 16)])
def test_integers_of_a_file_are_what_its_scales_say(dtype, bits):
    images = np.random.default_rng(0).normal(size=(16, 4, 4, 3)).astype(np.float32)
    model = tf.keras.Sequential([tf.keras.layers.Input((4, 4, 3)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(dtype)
    if bits == 16:
        operations = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [operations]
    outputs = interpreter.predict(converter.convert(), images)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, model(images), atol=0.1 if bits == 8 else 0.03)


def test_pixels_without_a_scale_are_refused():
    with pytest.raises(interpreter.ConversionError, match="uint8 without a scale"):
        interpreter._numbers(np.zeros(3, np.float32), np.dtype(np.uint8), 0.0, 0)


def test_a_cut_or_garbled_file_is_one_line(converted):
    content, generator = converted[1], np.random.default_rng(0)
    for size in generator.integers(8, len(content) // 2, 5):
        with pytest.raises(interpreter.ConversionError, match="no whole .tflite"):
            interpreter.predict(content[:size], np.zeros((1, 8, 8, 1), np.float32))
    with pytest.raises(interpreter.ConversionError, match="cut off or garbled"):
        interpreter.probe(content[: len(content) // 2])


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize(
    ("shapes", "function", "said"),
    [
        ([(8, 4)], lambda x: x + 1, r"1 input\(s\) of the shapes \[\(8, 4\)\]; accepted is one input, a batch of one"),
        ([(1, 4), (1, 4)], lambda x, y: x + y, r"2 input\(s\)"),
        ([(4,)], lambda x: x + 1, r"1 input\(s\) of the shapes \[\(4,\)\]"),
        ([(1, 4)], tf.reduce_sum, "cannot run this file: zero-dimensional"),
    ],
)
def test_files_of_other_programs_are_one_line(shapes, function, said):
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    graph = tf.function(function).get_concrete_function(*signature)
    content = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
    with pytest.raises(interpreter.ConversionError, match=said):
        interpreter._probe(content)


SCRIPT = """
import pathlib
import numpy as np
from larq_nas.converters import interpreter

print("the script runs")
content = pathlib.Path("model.tflite").read_bytes()
interpreter.probe(content)
print(interpreter.predict(content, np.zeros((130, 8, 8, 1)), processes=2).shape)
"""


def test_a_script_without_a_guard_runs_once(converted, tmp_path):
    (tmp_path / "model.tflite").write_bytes(converted[1])
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "the script runs\n(130, 10)\n", done.stderr
