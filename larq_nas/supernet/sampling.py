"""Relaxed samples of categorical distributions."""

from typing import Any

import numpy as np
import tensorflow as tf


def gumbel_softmax(logits: tf.Tensor, temperature: tf.Tensor | float, random: Any = tf.random) -> tf.Tensor:
    """Draws a relaxed one-hot sample for each row of logits. A higher temperature makes the samples softer.

    # Arguments
        logits: A tensor of shape `(..., candidates)`.
        temperature: A positive number.
        random: The source of random numbers, `tf.random` or a `tf.random.Generator`.

    # Returns
        A tensor of the shape of `logits`. Its last axis sums to 1.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 5
    """
    uniform = random.uniform(tf.shape(logits), minval=np.finfo(np.float32).tiny)
    return tf.nn.softmax((logits - tf.math.log(-tf.math.log(uniform))) / temperature)
