"""Drop path with a rate that training can change between epochs."""

from typing import Any

import tensorflow as tf

from larq_nas.layers import _keras
from larq_nas.layers.quantizers import register

layers = tf.keras.layers


@register
class DropPath(layers.Layer):
    """Drops a path for random samples during training, and scales the path up for the other samples.

    # Arguments
        rate: Probability that a sample is dropped. `set_rate` changes the rate between epochs.

    # References
        - [FractalNet](https://arxiv.org/abs/1605.07648), section 4.1
    """

    def __init__(self, rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        variable = tf.Variable(rate, trainable=False, dtype=tf.float32)
        # The function hides the rate from Keras, so that the rate is not a weight: networks with and without drop path
        # can load the same weight files. Saving a model must still find the variable.
        self._rate = lambda: variable
        _keras.track(self, variable, "rate")

    def set_rate(self, rate: float) -> None:
        """Sets the probability that a sample is dropped."""
        self._rate().assign(rate)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return inputs
        # Computed in 32 bits, because small rates would have no effect in 16 bits.
        keep = 1 - self._rate()
        kept = tf.floor(tf.random.uniform([tf.shape(inputs)[0], 1, 1, 1]) + keep) / keep
        return inputs * tf.cast(kept, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": float(self._rate().numpy())}
