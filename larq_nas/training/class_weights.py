"""Weights of classes in the loss, for data sets that have few images of some classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.datasets import Images, class_counts
from larq_nas.layers.quantizers import register


def balanced(data: Images) -> tuple:
    """The weights with which all classes have the same influence on the loss.

    The weight of a class is the inverse of its share of the training split, scaled so that the mean weight of the
    images is 1.

    # Arguments
        data: The data set. Its training split is read once.

    # Returns
        A tuple with a weight for each class.
    """
    counts = class_counts(data.train, len(data.class_names))
    return tuple((counts.sum() / (len(counts) * np.maximum(counts, 1))).tolist())


@register
class WeightedLoss(tf.keras.losses.Loss):
    """A loss of integer labels in which each example is multiplied by the weight of its class.

    # Arguments
        loss: A loss of `tf.keras.losses`.
        weights: A weight for each class.
    """

    def __init__(self, loss: tf.keras.losses.Loss, weights: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss, self.weights = loss, tuple(weights)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        losses = self.loss.call(y_true, y_pred)
        labels = tf.cast(tf.reshape(y_true, [-1]), tf.int32)
        return losses * tf.gather(tf.constant(self.weights, losses.dtype), labels)

    def get_config(self) -> dict[str, Any]:
        loss = tf.keras.losses.serialize(self.loss)
        return {**super().get_config(), "loss": loss, "weights": self.weights}

    @classmethod
    def from_config(cls, config: dict) -> "WeightedLoss":
        return cls(**{**config, "loss": tf.keras.losses.deserialize(config["loss"])})


def weighted(loss: tf.keras.losses.Loss, weights: Sequence[float] | None) -> tf.keras.losses.Loss:
    """The loss with the given weights of classes. If they are `None`, it is the loss itself."""
    return loss if weights is None else WeightedLoss(loss, weights)
