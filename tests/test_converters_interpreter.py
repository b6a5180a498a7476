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
