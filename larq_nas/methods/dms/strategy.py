"""The strategy of DMS."""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.costs import limits
from larq_nas.methods.dms.search_space import base_widths, derive, size
from larq_nas.space.architecture import Architecture

# The least ratio, and the least value of it that counts as a candidate's; section B.2.1.
LEAST_RATIO, LEAST_EDGE = 0.3, 0.25
# Distance and half of the breadth of candidates, in scales; section 2.3.
DISTANCE, HALF_BREADTH = 0.8, 0.4
# Widest layer of what is scaled to a size.
MOST_FILTERS = 1 << 15


def cluster(mean: np.ndarray, scale: float):
    """The candidates of a round.

    # Arguments
        mean: The mean ratio of each width.
        scale: The scale of their distributions.

    # Returns
        Three ratios for each width, and the four edges of their bins. Where the least ratio binds, inner edges are
        midway between candidates.

    # References
        - DMS, sections 2.3 and B.2.1
    """
    ratios = np.maximum(mean[:, np.newaxis] + scale * DISTANCE * np.array([-1, 0, 1]), LEAST_RATIO)
    inner = (ratios[:, 1:] + ratios[:, :-1]) / 2
    lower = np.maximum(ratios[:, :1] - HALF_BREADTH * scale, LEAST_EDGE)
    return ratios, np.concatenate([lower, inner, ratios[:, -1:] + HALF_BREADTH * scale], axis=1)


def log_probabilities(mean, edges, scale):
    r"""The logarithms of the candidates' probabilities, as functions of the means alone.

    Candidates and bins must not move with the means: relative to a bin that does, a probability is constant.

    # Arguments
        mean: A tensor of shape `(widths,)`.
        edges: Edges of the bins, of shape `(widths, candidates + 1)`.
        scale: The scale of all distributions.

    # Returns
        A tensor of shape `(widths, candidates)`.

    # References
        - DMS, equations 4 and 5, whose printed forms have a wrong sign and a numerator of 0
    """
    z = (edges - mean[:, tf.newaxis]) / scale

    def log_mass(low, high):
        # F(high) - F(low) = F(high) F(-low) (1 - exp(low - high)), where nothing cancels.
        return tf.math.log_sigmoid(high) + tf.math.log_sigmoid(-low) + tf.math.log1p(-tf.exp(low - high))

    return log_mass(z[:, :-1], z[:, 1:]) - log_mass(z[:, :1], z[:, -1:])


@dataclasses.dataclass(frozen=True)
class Strategy:
    """What a search of DMS is to find, and how its distributions change from round to round.

    # Arguments
        rounds: How often candidates are drawn up.
        ratio: Mean ratio of all widths at first.
        scale: Scale of their distributions at first.
        final_scale: That of the last round; it falls by the same factor each round.
        memory_target: Megabytes above which memory costs; `None` for no target. The paper's are 0.12 and 1.
        memory_weight: Loss per megabyte above the target.
        temperature: Of the Gumbel-softmax.
        best_effort: Whether a new network starts with what it can keep of the old one's weights.
        genotype_megabytes: Size of the genotype; `None` for that of the ratios that were found.
        limit: How long the genotype may take, a `latency.Limit`; it takes the place of `memory_target`. Where the
            ratios that were found would take longer, all are multiplied by what it takes.

    # References
        - DMS, sections 2.4 and B.2.1
    """

    rounds: int = 50
    ratio: float = 1.5
    scale: float = 1.0
    final_scale: float = 0.3
    memory_target: float | None = None
    memory_weight: float = 0.01
    temperature: float = 1.0
    best_effort: bool = True
    genotype_megabytes: float | None = None
    limit: latency.Limit | None = None

    def __post_init__(self):
        if self.ratio < LEAST_RATIO:
            raise ValueError(f"ratio={self.ratio}: must be at least {LEAST_RATIO}")
        if not 0 < self.final_scale <= self.scale:
            raise ValueError(f"final_scale={self.final_scale}: must be positive and at most scale={self.scale}")

    def scale_at(self, number: int) -> float:
        """The scale in a round, counted from 0."""
        return self.scale * (self.final_scale / self.scale) ** (number / max(self.rounds - 1, 1))

    def check(self, base: Architecture, input_shape, classes: int):
        """Raises `ValueError` if no network of the base can have `genotype_megabytes` or keep the limit."""
        narrowest = derive(base, np.zeros(len(base.stages)))
        if self.limit and self.limit.ms(narrowest) > self.limit.most:
            raise ValueError(
                f"max_latency_ms={self.limit.most}: one filter in each layer is predicted to take "
                f"{self.limit.ms(narrowest):.3f} ms"
            )
        least = size(narrowest, input_shape, classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes < least:
            raise ValueError(
                f"genotype_megabytes={self.genotype_megabytes}: must be at least {least:.4f}, which one filter in each "
                "layer takes"
            )
        widest = size(derive(base, np.full(len(base.stages), self._most(base, 1.0))), input_shape, classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes > widest:
            raise ValueError(f"genotype_megabytes={self.genotype_megabytes}: must be at most {widest:.4g}")

    def _most(self, base, ratios):
        """By what ratios can be multiplied at most."""
        return MOST_FILTERS / np.max(base_widths(base) * ratios)

    def derive(self, base: Architecture, ratios, input_shape, classes: int) -> Architecture:
        """The genotype of the mean ratios, or of a multiple of them that has `genotype_megabytes`."""
        most = self._most(base, ratios)
        if self.limit:
            factor = _boundary(lambda x: self.limit.ms(derive(base, ratios * x)) - self.limit.most, most)[0]
            return derive(base, ratios * min(factor, 1.0))
        if self.genotype_megabytes is None:
            return derive(base, ratios)

        def excess(factor):
            return size(derive(base, ratios * factor), input_shape, classes) - self.genotype_megabytes

        return derive(base, ratios * min(_boundary(excess, most), key=lambda factor: abs(excess(factor))))


def _boundary(excess, most):
    """Two factors close to each other, the lower of which has no excess and the higher has."""
    if excess(most) <= 0:
        return most, most
    # Factors differ by orders of magnitude.
    low, high = np.log(most * 1e-6), np.log(most)
    return tuple(np.exp(x) for x in limits.crossing(lambda x: excess(np.exp(x)) > 0, low, high))
