import numpy as np
import pytest
import tensorflow as tf
from images import in_memory, noise

from larq_nas import datasets
from larq_nas.training import class_weights, recipes


def test_balanced_weights_are_inverse_to_the_share_of_a_class():
    images = noise(12)
    labels = np.array([0] * 6 + [1] * 4 + [2] * 2)
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    data = datasets.Images(
        **{**vars(in_memory(images)), "halves": (examples.take(5), examples.skip(5)), "class_names": ("a", "b", "c")}
    )
    assert class_weights.balanced(data) == pytest.approx((12 / 18, 12 / 12, 12 / 6))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_weighted_loss_counts_an_example_as_often_as_its_class_says(smoothing):
    plain = recipes.Recipe(epochs=1, steps_per_epoch=1, label_smoothing=smoothing).loss(3)
    weighted = class_weights.weighted(plain, (1.0, 2.0, 0.0))
    predictions = tf.constant([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    labels = tf.constant([0, 1, 2])
    repeated = plain(tf.constant([0, 1, 1]), tf.gather(predictions, [0, 1, 1]))
    np.testing.assert_allclose(weighted(labels, predictions), repeated, rtol=1e-6)
    again = class_weights.WeightedLoss.from_config(weighted.get_config())
    np.testing.assert_allclose(again(labels, predictions), repeated, rtol=1e-6)
    assert class_weights.weighted(plain, None) is plain
