"""Random numbers of a search, and relaxed samples of categorical distributions."""

from typing import Any

import numpy as np
import tensorflow as tf


class Draws(tf.Module):
    """A source of random numbers that draws the same numbers on all replicas of `tf.distribute`.

    A `tf.random.Generator` would draw other numbers on each replica, which would then train other networks.

    # Arguments
        seed: Any integer.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        # The seed, and the number of draws. Each replica counts its own draws, and all of them draw equally often.
        self.state = tf.Variable(
            np.array([seed, 0], np.int64),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="draws",
        )

    def uniform(self, shape: Any, minval: float = 0.0) -> tf.Tensor:
        """Draws numbers evenly from `minval` to 1."""
        self.state.assign_add([0, 1])
        return tf.random.stateless_uniform(shape, self.state.read_value(), minval=minval)


def gumbel_softmax(logits: tf.Tensor, temperature: tf.Tensor | float, random: Any = tf.random) -> tf.Tensor:
    """Draws a relaxed one-hot sample for each row of logits. A higher temperature makes the samples softer.

    # Arguments
        logits: A tensor of shape `(..., candidates)`.
        temperature: A positive number.
        random: The source of random numbers, `tf.random` or a `Draws`.

    # Returns
        A tensor of the shape of `logits`. Its last axis sums to 1.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 5
    """
    uniform = random.uniform(tf.shape(logits), minval=np.finfo(np.float32).tiny)
    return tf.nn.softmax((logits - tf.math.log(-tf.math.log(uniform))) / temperature)
