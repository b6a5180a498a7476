"""Relaxed samples of categorical distributions."""

import numpy as np
import tensorflow as tf


def gumbel_softmax(logits: tf.Tensor, temperature, random=tf.random) -> tf.Tensor:
    """A relaxed sample of each row of logits: the softer, the higher the temperature.

    # Arguments
        logits: A tensor of shape `(..., candidates)`.
        temperature: A positive number.
        random: `tf.random` or a `tf.random.Generator`.

    # Returns
        A tensor of that shape.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 5
    """
    uniform = random.uniform(tf.shape(logits), minval=np.finfo(np.float32).tiny)
    return tf.nn.softmax((logits - tf.math.log(-tf.math.log(uniform))) / temperature)
