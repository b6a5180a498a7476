"""Drop path, which training sets between epochs."""

import tensorflow as tf

from larq_nas.layers.quantizers import register

layers = tf.keras.layers


@register
class DropPath(layers.Layer):
    """Drops a whole path for some samples in training, and scales it up for the others.

    # Arguments
        rate: Probability of a sample to be dropped. `set_rate` changes it between epochs.

    # References
        - [FractalNet](https://arxiv.org/abs/1605.07648), section 4.1
    """

    def __init__(self, rate=0.0, **kwargs):
        super().__init__(**kwargs)
        variable = tf.Variable(rate, trainable=False, dtype=tf.float32)
        # Held by a function, the rate is no weight: networks with and without drop path share weight files. Saving
        # must find it all the same.
        self._rate = lambda: variable
        self._track_trackable(variable, "rate")

    def set_rate(self, rate: float):
        """Sets the probability of a sample to be dropped."""
        self._rate().assign(rate)

    def call(self, inputs, training=None):
        if not training:
            return inputs
        # In 32 bits: in 16, small rates are none.
        keep = 1 - self._rate()
        kept = tf.floor(tf.random.uniform([tf.shape(inputs)[0], 1, 1, 1]) + keep) / keep
        return inputs * tf.cast(kept, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": float(self._rate())}
