"""The distributions of the ratios of widths in DMS, and the genotypes that are derived and drawn from them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from larq_nas import costs, latency
from larq_nas.costs import limits
from larq_nas.methods.dms.search_space import base_widths, check_scales, derive, size
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import strategy

# The smallest ratio, and the smallest lower edge of a bin; section B.2.1.
LEAST_RATIO, LEAST_EDGE = 0.3, 0.25
# The distance of candidates, and half of the breadth of their bins, in multiples of the scale; section 2.3.
DISTANCE, HALF_BREADTH = 0.8, 0.4
# The most filters of a layer of a genotype that is scaled to a size.
MOST_FILTERS = 1 << 15


def cluster(mean: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The candidates of a round.

    # Arguments
        mean: The mean ratio of each width, of shape `(widths,)`.
        scale: The scale of the distributions of the ratios.

    # Returns
        Three ratios for each width, of shape `(widths, 3)`, and the four edges of their bins, of shape `(widths, 4)`.
        The inner edges are midway between the candidates, even where a candidate is limited to the smallest ratio.

    # References
        - DMS, sections 2.3 and B.2.1
    """
    ratios = np.maximum(mean[:, np.newaxis] + scale * DISTANCE * np.array([-1, 0, 1]), LEAST_RATIO)
    inner = (ratios[:, 1:] + ratios[:, :-1]) / 2
    lower = np.maximum(ratios[:, :1] - HALF_BREADTH * scale, LEAST_EDGE)
    return ratios, np.concatenate([lower, inner, ratios[:, -1:] + HALF_BREADTH * scale], axis=1)


def log_probabilities(mean: tf.Tensor, edges: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    r"""The logarithms of the probabilities of the candidates, as functions of the means.

    The candidates and their bins must be constant. If the bins moved with the means, the probabilities would not
    change.

    # Arguments
        mean: The mean ratios, a tensor of shape `(widths,)`.
        edges: The edges of the bins, of shape `(widths, candidates + 1)`.
        scale: The scale of all distributions.

    # Returns
        A tensor of shape `(widths, candidates)`.

    # References
        - DMS, equations 4 and 5. As printed, they have a wrong sign and a numerator of 0.
    """
    z = (edges - mean[:, tf.newaxis]) / scale

    def log_mass(low, high):
        # F(high) - F(low) = F(high) F(-low) (1 - exp(low - high)). The product has no cancellation.
        return tf.math.log_sigmoid(high) + tf.math.log_sigmoid(-low) + tf.math.log1p(-tf.exp(low - high))

    return log_mass(z[:, :-1], z[:, 1:]) - log_mass(z[:, :1], z[:, -1:])


@dataclasses.dataclass(frozen=True)
class Distributions:
    """The logistic distributions of the ratios of widths, from round to round, and the size that genotypes must have.

    # Arguments
        rounds: Number of rounds. Each of them has new candidates.
        ratio: Mean ratio of all widths at first.
        scale: Scale of the distributions of the ratios at first. It falls by the same factor after each round.
        final_scale: Scale of the distributions in the last round.
        memory_target: Megabytes above which memory adds to the loss; `None` for no target. The paper uses 0.12 and 1.
        memory_weight: Loss per megabyte above `memory_target`.
        temperature: Temperature of the Gumbel-softmax.
        best_effort: Whether a new network starts with those weights of the old one that fit.
        genotype_megabytes: Size of the genotype. The ratios that the search finds are multiplied by one factor to reach
            it. With `None`, they are not changed.
        limit: A `latency.Limit` on the latency of the genotype; `None` for no limit. It is used instead of
            `memory_target`. If the genotype would take longer, all ratios are multiplied by a factor below 1 to keep
            it.

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
        check_scales(self.scale, self.final_scale)

    def scale_at(self, number: int) -> float:
        """The scale of the distributions in a round. Rounds are counted from 0."""
        return self.scale * (self.final_scale / self.scale) ** (number / max(self.rounds - 1, 1))

    def check(self, base: Architecture, input_shape: Sequence[int], num_classes: int) -> None:
        """Checks that networks of the base network can have `genotype_megabytes` and keep the limit.

        # Arguments
            base: The base network.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Raises
            ValueError: If no network can.
        """
        narrowest = derive(base, np.zeros(len(base.stages)))
        if self.limit and self.limit.ms(narrowest) > self.limit.max_ms:
            raise ValueError(
                f"max_latency_ms={self.limit.max_ms}: one filter in each layer is predicted to take "
                f"{self.limit.ms(narrowest):.3f} ms"
            )
        least = size(narrowest, input_shape, num_classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes < least:
            raise ValueError(
                f"genotype_megabytes={self.genotype_megabytes}: must be at least {least:.4f}, which one filter in each "
                "layer takes"
            )
        widest = size(derive(base, np.full(len(base.stages), self._most(base, 1.0))), input_shape, num_classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes > widest:
            raise ValueError(f"genotype_megabytes={self.genotype_megabytes}: must be at most {widest:.4g}")

    def around(
        self,
        base: Architecture,
        ratios: np.ndarray,
        count: int,
        seed: int,
        input_shape: Sequence[int],
        num_classes: int,
    ) -> list:
        """Draws ratios from the distributions of the last round.

        Each genotype has the size of the genotype of the means or, if there is a limit, keeps the limit.

        # Arguments
            base: The base network.
            ratios: The mean ratios that the search has found.
            count: Number of genotypes, at least 1.
            seed: The seed of the random generator.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A list of `count` `strategy.Candidate`s. The first one has the mean ratios.
        """
        alike = self
        if self.limit is None and self.genotype_megabytes is None:
            found = self.derive(base, ratios, input_shape, num_classes)
            alike = dataclasses.replace(self, genotype_megabytes=float(size(found, input_shape, num_classes)))
        generator = np.random.default_rng(seed)
        drawn = np.maximum(generator.logistic(ratios, self.final_scale, size=(count - 1, len(ratios))), LEAST_RATIO)
        others = [alike._candidate(base, each, input_shape, num_classes) for each in drawn]
        return [self._candidate(base, ratios, input_shape, num_classes), *others]

    def draw(self, base: Architecture, count: int, seed: int, input_shape: Sequence[int], num_classes: int) -> list:
        """Draws ratios evenly, for a random search.

        The logarithms of the ratios have a uniform distribution. With a limit, the genotypes keep the limit. Otherwise,
        they all have one size: `genotype_megabytes` if it is given, else `memory_target` if it is given, else the size
        of the base network.

        # Arguments
            base: The base network.
            count: Number of genotypes.
            seed: The seed of the random generator.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A list of `count` `strategy.Candidate`s.

        # Raises
            ValueError: If no network has the size.
        """
        alike = self
        if self.limit is None:
            asked = self.genotype_megabytes or self.memory_target or float(size(base, input_shape, num_classes))
            alike = dataclasses.replace(self, genotype_megabytes=asked)
            try:
                alike.check(base, input_shape, num_classes)
            except ValueError as error:
                name = "genotype_megabytes" if self.genotype_megabytes else "memory_target"
                raise ValueError(str(error).replace("genotype_megabytes", name)) from None
        low, generator = np.log(LEAST_RATIO), np.random.default_rng(seed)
        drawn = np.exp(generator.uniform(low, -low, size=(count, len(base.stages))))
        return [alike._candidate(base, ratios, input_shape, num_classes) for ratios in drawn]

    def _candidate(self, base, ratios, input_shape, num_classes):
        genotype = self.derive(base, ratios, input_shape, num_classes)
        counts = costs.count(genotype, input_shape, num_classes)
        metrics = {name: getattr(counts, name) for name in ("biops", "flops", "binary_macs", "params", "bytes")}
        metrics |= {"megabytes": float(size(genotype, input_shape, num_classes)), "base": base_widths(base).tolist()}
        metrics["ratios"] = [float(ratio) for ratio in ratios]
        return strategy.Candidate(genotype, {}, metrics)

    def _most(self, base, ratios):
        """The largest factor by which the ratios can be multiplied."""
        return MOST_FILTERS / np.max(base_widths(base) * ratios)

    def derive(
        self, base: Architecture, ratios: np.ndarray, input_shape: Sequence[int], num_classes: int
    ) -> Architecture:
        """The genotype of the mean ratios, or of a multiple that has `genotype_megabytes` or keeps the limit."""
        most = self._most(base, ratios)
        limit, megabytes = self.limit, self.genotype_megabytes
        if limit:
            factor = _boundary(lambda x: limit.ms(derive(base, ratios * x)) - limit.max_ms, most)[0]
            return derive(base, ratios * min(factor, 1.0))
        if megabytes is None:
            return derive(base, ratios)

        def excess(factor):
            return size(derive(base, ratios * factor), input_shape, num_classes) - megabytes

        return derive(base, ratios * min(_boundary(excess, most), key=lambda factor: abs(excess(factor))))


def _boundary(excess, most):
    """Two factors close to each other. The smaller one has no excess, the larger one has."""
    if excess(most) <= 0:
        return most, most
    # Factors differ by orders of magnitude, so the bisection runs over their logarithms.
    low, high = np.log(most * 1e-6), np.log(most)
    return tuple(np.exp(x) for x in limits.crossing(lambda x: excess(np.exp(x)) > 0, low, high))
