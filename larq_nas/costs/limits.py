"""Limits on the costs of a genotype: the penalty above a limit, and the point at which a quantity crosses a limit."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from scipy import optimize


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A penalty that increases the loss of the architecture if the expected cost exceeds a limit.

    Above the limit, the loss is multiplied by `(cost / maximum) ** exponent`, and below it by
    `(cost / maximum) ** below`. If `weight` is given, `weight * (cost - maximum)` is added to the loss above the limit
    instead.

    # Arguments
        expected: A function from the probabilities of all choices, by name, to the expected cost.
        maximum: The limit.
        exponent: The exponent of the factor above the limit.
        below: The exponent of the factor below the limit. With 0, the loss does not change there. With a negative
            exponent, costs below the limit are penalized, too.
        weight: The weight of the excess over the limit.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 7, for the product. The text seems to exchange the two
          exponents. This class follows the authors' code.
        - DMS, equation 7, for the sum
    """

    expected: Callable
    maximum: float
    exponent: float = 1.0
    below: float = 0.0
    weight: float | None = None

    def __call__(self, loss: tf.Tensor, probabilities: Any) -> tf.Tensor:
        """Returns the loss with the penalty."""
        cost = tf.cast(self.expected(probabilities), tf.float32)
        if self.weight is None:
            share = cost / self.maximum
            factor = tf.maximum(share, 1.0) ** self.exponent
            return loss * factor * tf.minimum(share, 1.0) ** self.below if self.below else loss * factor
        return loss + self.weight * tf.maximum(cost - self.maximum, 0.0)


def crossing(is_past: Callable, low: float, high: float, tolerance: float = 1e-9) -> tuple[float, float]:
    """Finds the number at which a condition begins to hold, by bisection.

    # Arguments
        is_past: A function of a number that returns whether the condition holds.
        low: A number at which the condition does not hold.
        high: A larger number at which the condition holds.
        tolerance: The distance of the two results, relative to the distance of `low` and `high`.

    # Returns
        Two numbers close to each other. The condition does not hold at the first one, and holds at the second one.
    """
    step = tolerance * (high - low) / 4
    found = optimize.bisect(lambda x: 1.0 if is_past(x) else -1.0, low, high, xtol=step / 2, rtol=1e-15)
    return max(found - step, low), min(found + step, high)
