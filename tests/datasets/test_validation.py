import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import datasets
from larq_nas.datasets import validation


def _imbalanced():
    """Images that are their own number: 90 of class 0, 20 of class 1 and 5 of class 2."""
    data, halves, first = datasets.load("digits"), [], 0
    for size in (58, 57):
        numbers = np.arange(first, first + size)
        labels = np.where(numbers % 23 < 18, 0, np.where(numbers % 23 < 22, 1, 2)).astype(np.int64)
        images = np.tile(numbers.astype(np.uint8)[:, None, None, None], (1, 8, 8, 1))
        halves.append(tf.data.Dataset.from_tensor_slices((images, labels)))
        first += size
    return dataclasses.replace(data, halves=tuple(halves), half_sizes=(58, 57), class_names=("a", "b", "c"))


def _numbers(examples):
    return [int(image[0, 0, 0]) for image, _ in examples.as_numpy_iterator()]


def test_a_share_of_each_class_is_held_out():
    data = _imbalanced()
    split = validation.hold_out(data, 0.2)
    trained, held = _numbers(split.train), _numbers(split.validation)
    assert sorted(trained + held) == list(range(115)) and not set(trained) & set(held)
    assert (len(trained), len(held)) == (split.train_size, split.validation_size)
    assert [len(_numbers(half)) for half in split.halves] == list(split.half_sizes)
    assert datasets.class_counts(split.validation, 3).tolist() == [18, 4, 1]
    assert _numbers(validation.hold_out(data, 0.2).validation) == held


def test_a_share_without_any_image_is_an_error():
    with pytest.raises(datasets.DatasetError, match="validation_fraction=0.001 of 115 training images"):
        validation.hold_out(_imbalanced(), 0.001)
