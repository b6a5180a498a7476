import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers.normalization import RmsNormalization
from larq_nas.layers.width_masks import WidthMask

pytestmark = pytest.mark.onednn


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_mean_square_becomes_one_and_the_ratios_of_channels_stay(policy):
    x = 30 * tf.random.stateless_normal([4, 5, 6, 8], [1, 2])
    masked = WidthMask((2, 8))([x, tf.constant([0.75, 0.25])])
    normalized = tf.cast(RmsNormalization(dtype=policy)(masked), tf.float32)
    tolerance = 1e-4 if policy == "float32" else 0.02
    assert np.mean(normalized**2) == pytest.approx(1, rel=tolerance)
    ratio = normalized / masked
    np.testing.assert_allclose(ratio, np.full(ratio.shape, np.median(ratio)), rtol=tolerance)


def test_a_tensor_of_zeros_stays_zero_and_has_a_gradient():
    x = tf.zeros([2, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(RmsNormalization()(x))
    assert np.all(np.isfinite(tape.gradient(loss, x)))
