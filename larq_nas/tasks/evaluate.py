"""Measuring the accuracy of a trained network and of its `.tflite` file: `larq_nas evaluate`."""

import io
import logging
import pathlib
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from larq_nas import runs
from larq_nas.configs import EvaluateConfig
from larq_nas.runs import fingerprints
from larq_nas.tasks import distribution
from larq_nas.tasks.data import load_same_classes, test_batches
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.trained import load_trained

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig, strategy: "tf.distribute.Strategy | None" = None) -> dict:
    """Measures the test accuracy of a trained network and of its `.tflite` file, and writes `evaluation.json`.

    # Arguments
        config: The configuration.
        strategy: A strategy that overrides the option `distribute` for the Keras network.

    # Returns
        A dictionary with the number of `examples` and the `keras_accuracy`. If there is a `.tflite` file, it also has
        the `tflite_accuracy` and the `agreement`, the share of examples for which both predict the same class.

    # Raises
        TaskError: If there is no trained network or no file at the configured path.
    """
    from larq_nas.converters import interpreter

    run = runs.Run(config.run_dir)
    file = pathlib.Path(config.tflite) if config.tflite else run.tflite
    if config.tflite and not file.is_file():
        raise TaskError(f"tflite={file}: no such file")
    with distribution.scope(config, strategy):
        replicas = distribution.replicas(config)
        model, _ = load_trained(run)
    data = load_same_classes(run, config.data_dir)
    content = file.read_bytes() if file.is_file() else None
    if content is not None:
        _check(file, content, data.class_names)
    right = {"keras": 0, "tflite": 0, "both": 0}
    examples = 0
    for images, labels in _chunks(test_batches(data, config.batch_size, config.max_examples)):
        # Each replica needs an image of the last batch.
        missing = -len(images) % config.batch_size if replicas > 1 else 0
        filled_up = np.concatenate([images, *[images[:1]] * missing]) if missing else images
        predicted = model.predict(filled_up, config.batch_size, verbose=0)[: len(images)].argmax(axis=-1)
        right["keras"] += np.sum(predicted == labels)
        examples += len(labels)
        if content is not None:
            outputs = _classes(interpreter.predict(content, images, config.processes), model, file)
            right["tflite"] += np.sum(outputs == labels)
            right["both"] += np.sum(outputs == predicted)
    result = {"examples": examples, "keras_accuracy": float(right["keras"] / examples)}
    if content is not None:
        result["tflite_accuracy"] = float(right["tflite"] / examples)
        result["agreement"] = float(right["both"] / examples)
    file = run.path / "evaluation.json"
    try:
        runs.write(file, result)
    except OSError as error:
        logger.warning("%s: could not be written (%s)", file, error.strerror)
    return result


def _check(file, content, class_names):
    from larq_nas.converters import interpreter

    try:
        interpreter.probe(content)
    except interpreter.ConversionError as error:
        raise TaskError(f"{file}: {error}") from None
    labels = _labels(content)
    if labels and labels != list(class_names):
        then, now = ({"class_names": names, "image_shape": ()} for names in (labels, class_names))
        raise TaskError(
            f"{file}: was made for other classes than the run has ({fingerprints.class_difference(then, now)[:200]}); "
            "convert the run again, or name its own file"
        )


def _labels(content):
    """The names of the classes for which `convert` has made a file; an empty list for files of other programs."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as attached:
            attached.getinfo("provenance.json")
            return attached.read("labels.txt").decode().removesuffix("\n").split("\n")
    except (EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
        return []


def _classes(outputs, model, file):
    num_classes = model.output_shape[-1]
    if isinstance(outputs, list):
        raise TaskError(f"{file}: has {len(outputs)} outputs; accepted is one, with a number for each class")
    if outputs.shape[1:] != (num_classes,):
        raise TaskError(
            f"{file}: its output has the shape {outputs.shape[1:]}; accepted is one of {num_classes} classes"
        )
    return outputs.argmax(axis=-1)


def _chunks(batches):
    """Joins batches to chunks of about half a gigabyte, since each run of a file starts new processes."""
    images, labels = [], []
    for x, y in batches:
        images.append(x)
        labels.append(y)
        if sum(part.nbytes for part in images) > 1 << 29:
            yield np.concatenate(images), np.concatenate(labels)
            images, labels = [], []
    if images:
        yield np.concatenate(images), np.concatenate(labels)
