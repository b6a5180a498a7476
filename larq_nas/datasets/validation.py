"""A validation split, which is held out of the training split.

```python
from larq_nas import datasets
from larq_nas.datasets import validation

data = validation.hold_out(datasets.load("digits"), 0.1)
data.train_size, data.validation_size  # (1298, 139)
```
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas.datasets import DatasetError, Images, class_counts

# Products of counts and fractions are rounded down. This keeps 10 * 0.1 from becoming 0.
_ROUNDING = 1e-9


def hold_out(images: Images, fraction: float) -> Images:
    """Moves a share of the examples of each class from the training split to a validation split.

    The examples are taken at equal distances, so that the same data set always has the same split.

    # Arguments
        images: The data set. Its training split is read once.
        fraction: The share of the training split, from 0 to 1.

    # Returns
        An `Images` with smaller halves, and with the held-out examples as `validation`.

    # Raises
        DatasetError: If no class has enough examples.
    """
    halves, held, sizes = [], [], []
    before = np.zeros(len(images.class_names), np.int64)
    for examples in images.halves:
        marked = examples.scan(before, _marker(fraction))
        halves.append(marked.filter(lambda image, label, is_held: tf.logical_not(is_held)).map(_unmarked))
        held.append(marked.filter(lambda image, label, is_held: is_held).map(_unmarked))
        after = before + class_counts(examples, len(before))
        sizes.append(int(np.sum(_held(after, fraction) - _held(before, fraction))))
        before = after
    if not sum(sizes):
        raise DatasetError(
            f"{images.name}: validation_fraction={fraction} of {images.train_size:,} training images is less than one "
            "image of each class; give a larger share"
        )
    return dataclasses.replace(
        images,
        halves=tuple(halves),
        half_sizes=tuple(size - own for size, own in zip(images.half_sizes, sizes, strict=True)),
        validation=held[0].concatenate(held[1]),
        validation_size=sum(sizes),
    )


def _held(counts, fraction):
    """The number of examples that are held out of the first `counts` of a class."""
    return np.floor(counts * fraction + _ROUNDING)


def _marker(fraction):
    """A function that adds to each example whether it is held out."""

    def mark(seen, example):
        image, label = example
        count = tf.cast(seen[label], tf.float64)
        held_before, held_after = (tf.floor((count + more) * fraction + _ROUNDING) for more in (0, 1))
        return seen + tf.one_hot(label, len(seen), dtype=tf.int64), (image, label, held_after > held_before)

    return mark


def _unmarked(image, label, is_held):
    return image, label
