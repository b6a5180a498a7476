"""Sources of labelled images: the digits of scikit-learn, and the data sets of TensorFlow Datasets (TFDS)."""

import dataclasses
import difflib
import os
import pathlib
import socket

import numpy as np
import tensorflow as tf

from larq_nas.datasets import pixels
from larq_nas.datasets.pixels import DatasetError


@dataclasses.dataclass(frozen=True)
class Source:
    """Labelled images before they are resized.

    # Arguments
        parts: The two halves of the training split and the test split. Each is a pair of a `tf.data.Dataset` of
            `(image, label)` and its number of examples.
        shape: Height, width and channels; `None` for a dimension in which the images differ.
        class_names: One name per class.
        origin: A dict that identifies the examples, for a JSON file.
        note: A line for the user about the images that were read.
    """

    parts: list
    shape: tuple
    class_names: tuple
    origin: dict
    note: str = ""


def digits() -> Source:
    """Returns the 1,797 handwritten digits of scikit-learn, as a `Source`."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images[..., None] * (255 / 16)).astype(np.uint8)
    labels = found.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    splits = np.split(order, [718, 1437])
    parts = [(tf.data.Dataset.from_tensor_slices((images[s], labels[s])), len(s)) for s in splits]
    return Source(parts, (8, 8, 1), tuple(map(str, range(10))), {"examples": [len(split) for split in splits]})


def tfds_set(name: str, data_dir: pathlib.Path | str | None = None) -> Source:
    """Loads an image classification set of TFDS, and downloads and prepares it first if necessary.

    # Arguments
        name: Name of the data set, e.g. `"cifar10"`.
        data_dir: Directory of the TFDS data sets.

    # Returns
        A `Source`.

    # Raises
        DatasetError: If there is no such data set, it cannot be prepared, or it is not for image classification.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir and os.path.expanduser(data_dir))
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name.lower(), ["digits", *tfds.list_builders()], n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see the TFDS catalogue."
        raise DatasetError(f"unknown data set {name!r}; {hint} A folder is folder:PATH") from None
    except (AssertionError, ImportError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{name}: {_first_line(error)}") from None
    if not builder.is_prepared():
        _prepare(name, builder)
    return _of_builder(name, builder)


def _prepare(name, builder):
    advice = "give its directory as data_dir, or prepare it on a machine with a network"
    try:
        # Without a network, TFDS would retry for minutes before it fails.
        if not any(proxy in os.environ for proxy in ("https_proxy", "HTTPS_PROXY")):
            socket.getaddrinfo("www.tensorflow.org", 443)
    except OSError:
        raise DatasetError(
            f"{name} is not prepared in {builder.data_dir}, and cannot be downloaded without a network; {advice}"
        ) from None
    try:
        builder.download_and_prepare()
    except Exception as error:
        reason = _first_line(error)
        raise DatasetError(f"{name}: could not be prepared in {builder.data_dir} ({reason}); {advice}") from None


def _has_labels(builder, split):
    # TFDS labels the examples of a split whose labels are secret with -1.
    return all(label >= 0 for _, label in _supervised(builder, split).take(1))


def _of_builder(name, builder):
    import tensorflow_datasets as tfds

    features, splits = builder.info.features, builder.info.splits
    missing = {"image", "label"} - set(features)
    if missing:
        raise DatasetError(
            f"{name} has no {' and no '.join(sorted(missing))}; its features are {', '.join(features)}, "
            "and a classifier needs image and label"
        )
    if not isinstance(features["label"], tfds.features.ClassLabel):
        raise DatasetError(f"{name}: its label is {type(features['label']).__name__}, and a classifier needs one class")
    held_out = next((s for s in ("test", "validation") if s in splits and _has_labels(builder, s)), None)
    if "train" not in splits or held_out is None:
        raise DatasetError(f"{name} has the splits {', '.join(splits)}; needed are train and test or validation")

    shape = tuple(features["image"].shape)
    if len(shape) != 3 or shape[2] is None:
        raise DatasetError(f"{name}: its images have the shape {shape}; needed are height, width and channels")
    names = ("train[:50%]", "train[50%:]", held_out)
    sizes = [splits[split].num_examples for split in names]
    found = pixels.to_uint8(name, [_supervised(builder, split) for split in names])
    origin = {"version": str(builder.info.full_name), "examples": sizes}
    return Source(list(zip(found, sizes, strict=True)), shape, tuple(features["label"].names), origin)


def _supervised(builder, split):
    import tensorflow_datasets as tfds

    examples = builder.as_dataset(split, read_config=tfds.ReadConfig(try_autocache=False))
    return examples.map(lambda e: (e["image"], e["label"]), tf.data.AUTOTUNE)


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
