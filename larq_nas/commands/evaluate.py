"""`larq_nas evaluate`."""

import json
import pathlib

import numpy as np

from larq_nas import runs
from larq_nas.commands.common import CommandError, load_same_classes, load_trained, test_batches


def evaluate(settings, flags: dict):
    """Prints the test accuracy of a trained network and of its `.tflite`."""
    from larq_nas.converters import interpreter

    run = runs.Run(settings.run_dir)
    file = pathlib.Path(settings.tflite) if settings.tflite else run.tflite
    if settings.tflite and not file.is_file():
        raise CommandError(f"--tflite={file}: no such file")
    model, _ = load_trained(run)
    data = load_same_classes(run, settings.data_dir)
    content = file.read_bytes() if file.is_file() else None
    if content is not None:
        _check(file, content)
    right = {"keras": 0, "tflite": 0, "both": 0}
    examples = 0
    for images, labels in _chunks(test_batches(data, settings.batch_size, settings.max_examples)):
        classes = model.predict(images, settings.batch_size, verbose=0).argmax(axis=-1)
        right["keras"] += np.sum(classes == labels)
        examples += len(labels)
        if content is not None:
            outputs = _classes(interpreter.predict(content, images, settings.processes), model, file)
            right["tflite"] += np.sum(outputs == labels)
            right["both"] += np.sum(outputs == classes)
    result = {"examples": examples, "keras_accuracy": float(right["keras"] / examples)}
    if content is not None:
        result["tflite_accuracy"] = float(right["tflite"] / examples)
        result["agreement"] = float(right["both"] / examples)
    print(json.dumps(result))
    file = run.path / "evaluation.json"
    try:
        runs.write(file, result)
        print(file)
    except OSError as error:
        print(f"{file}: could not be written ({error.strerror})")


def _check(file, content):
    from larq_nas.converters import interpreter

    try:
        interpreter.probe(content)
    except interpreter.ConversionError as error:
        raise CommandError(f"{file}: {error}") from None


def _classes(outputs, model, file):
    classes = model.output_shape[-1]
    if isinstance(outputs, list):
        raise CommandError(f"{file}: has {len(outputs)} outputs; accepted is one, with a number for each class")
    if outputs.shape[1:] != (classes,):
        raise CommandError(
            f"{file}: its output has the shape {outputs.shape[1:]}; accepted is one of {classes} classes"
        )
    return outputs.argmax(axis=-1)


def _chunks(batches):
    """Batches put together, up to half a gigabyte each: running a file starts processes each time."""
    images, labels = [], []
    for x, y in batches:
        images.append(x)
        labels.append(y)
        if sum(part.nbytes for part in images) > 1 << 29:
            yield np.concatenate(images), np.concatenate(labels)
            images, labels = [], []
    if images:
        yield np.concatenate(images), np.concatenate(labels)
