"""Limits on what a genotype costs: how the loss of a search grows above them, and where a quantity crosses them."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf
from scipy import optimize


@dataclasses.dataclass(frozen=True)
class Penalty:
    """How the loss of the architecture grows where a genotype is expected to cost more than it may.

    # Arguments
        expected: A function from the probabilities of all choices, by name, to the expected cost.
        most: The cost up to which the loss stays as it is.
        exponent: The loss is multiplied by the ratio of the cost to `most`, to this power.
        weight: If given, the loss is not multiplied; this times the excess over `most` is added.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 7, for the product. The text seems to exchange the two
          exponents; the authors' code does what stands here.
        - DMS, equation 7, for the sum
    """

    expected: Callable
    most: float
    exponent: float = 1.0
    weight: float | None = None

    def __call__(self, loss, probabilities):
        """The loss with what it grows by."""
        cost = tf.cast(self.expected(probabilities), tf.float32)
        if self.weight is None:
            return loss * tf.maximum(cost / self.most, 1.0) ** self.exponent
        return loss + self.weight * tf.maximum(cost - self.most, 0.0)


def crossing(is_past: Callable, low: float, high: float, tolerance: float = 1e-9) -> tuple[float, float]:
    """Two numbers close to each other, between which a condition begins to hold.

    # Arguments
        is_past: A function of a number that returns whether the condition holds.
        low: A number at which it does not.
        high: A larger number at which it does.
        tolerance: The distance of the two numbers, as a share of that of `low` and `high`.

    # Returns
        A number at which the condition does not hold, and one at which it does.
    """
    step = tolerance * (high - low) / 4
    found = optimize.bisect(lambda x: 1.0 if is_past(x) else -1.0, low, high, xtol=step / 2, rtol=1e-15)
    return max(found - step, low), min(found + step, high)
