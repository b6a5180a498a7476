import numpy as np
import pytest
import tensorflow as tf

from larq_nas.converters import interpreter, tflite
from larq_nas.tasks import evaluate
from larq_nas.tasks.errors import TaskError


def test_a_file_of_two_outputs_or_of_other_classes_is_refused():
    images = tf.keras.layers.Input((8, 8, 1))
    x = tf.keras.layers.Flatten()(images)
    model = tf.keras.Model(images, tf.keras.layers.Dense(3)(x))
    two = tf.keras.Model(images, [tf.keras.layers.Dense(3)(x), tf.keras.layers.Dense(2)(x)])
    four = tf.keras.Model(images, tf.keras.layers.Dense(4)(x))
    for other, said in ((two, "has 2 outputs; accepted is one"), (four, "accepted is one of 3 classes")):
        outputs = interpreter.predict(tflite.convert(other).bytes, np.zeros((2, 8, 8, 1), np.float32), 1)
        with pytest.raises(TaskError, match=f"^model.tflite: .*{said}"):
            evaluate._classes(outputs, model, "model.tflite")


def test_a_file_that_carries_other_classes_is_refused():
    images = tf.keras.layers.Input((8, 8, 1))
    model = tf.keras.Model(images, tf.keras.layers.Dense(3)(tf.keras.layers.Flatten()(images)))
    names = "ants\nbees\ncats\n"
    labelled = tflite.convert(model, files={"labels.txt": names, "provenance.json": "{}"}).bytes
    evaluate._check("model.tflite", labelled, ("ants", "bees", "cats"))
    # The labels of other programs may be other texts.
    evaluate._check("model.tflite", tflite.convert(model, files={"labels.txt": names}).bytes, ("bees", "cats", "zoo"))
    with pytest.raises(TaskError, match="other classes than the run has .class ants is gone, class zoo is new"):
        evaluate._check("model.tflite", labelled, ("bees", "cats", "zoo"))
