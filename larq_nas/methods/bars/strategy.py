"""The strategy of BARS."""

import collections
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import costs, latency
from larq_nas.costs import expected_costs
from larq_nas.costs.limits import Penalty
from larq_nas.methods.bars.derivation import (
    connected,
    decide,
    draw,
    log_likelihood,
    most_probable,
    one_hot,
    redrawn,
)
from larq_nas.methods.bars.search_space import OPERATIONS, binary_operations
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import strategy
from larq_nas.supernet.sampling import gumbel_softmax


def entropy(probabilities: tf.Tensor) -> tf.Tensor:
    """The entropy of each row, in nats."""
    return -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=-1)


@dataclasses.dataclass(frozen=True)
class Strategy(strategy.Strategy):
    """How BARS searches.

    Temperature and entropy weight move over the epochs after the warm-up, once per epoch.

    # Arguments
        epochs: Epochs of the search.
        warmup_epochs: Epochs at its beginning in which only weights are trained.
        temperature: Temperature of the Gumbel-softmax at first.
        final_temperature: That of the last epoch; it falls exponentially.
        entropy_weight: Weight of the entropy in the last epoch; at first it is the negative of that.
        gumbel: Whether choices are sampled, or candidates mixed by a softmax.
        budget: Binary operations (two for each multiply-accumulate) that a genotype should have in the mean; `None`
            for any.
        capacity_exponent: The exponent of the penalty for exceeding the budget, see `limits.Penalty`.
        counted: The space from which genotypes are taken, and the shape of its images and the number of its classes:
            the one that is searched, or a wider one of the same choices.
        samples: How many genotypes are drawn in the end, to keep the best; 0 for the most probable one.
        accepted: What a drawn genotype should cost, e.g. `{"biops": 1027e6, "params": 2.77e6}`. Of others, choices are
            drawn again until they do.
        tolerance: By how much of these it may differ.
        limit: How long a genotype may take, a `latency.Limit` whose space is that of `counted`. It takes the place of
            the budget.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.2. The values are not public.
    """

    epochs: int = 50
    warmup_epochs: int = 5
    temperature: float = 5.0
    final_temperature: float = 0.1
    entropy_weight: float = 0.01
    gumbel: bool = True
    budget: float | None = None
    capacity_exponent: float = 1.0
    counted: Any = None
    samples: int = 8
    accepted: dict = dataclasses.field(default_factory=dict)
    tolerance: float = 0.02
    limit: latency.Limit | None = None

    # Samples would spoil moving averages.
    batch_statistics = True

    def __post_init__(self):
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs}: must be less than the {self.epochs} epochs")
        if min(self.temperature, self.final_temperature) <= 0:
            raise ValueError("temperatures must be positive")
        if self.limit and not self.samples:
            raise ValueError("samples=0: the most probable genotype may not keep max_latency_ms; draw some")
        if (self.budget is not None or self.accepted) and not self.counted:
            raise ValueError("budget, accepted: `counted` must say of which space")
        if self.budget is not None:
            smallest, _ = binary_operations(*self.counted)
            if self.budget < smallest:
                raise ValueError(
                    f"budget={self.budget:,.0f}: the smallest network of this space has {smallest:,} binary operations"
                )

    def progress(self, epoch):
        """How much of the time after the warm-up has passed: 0 in its first epoch and before, 1 in the last."""
        after = tf.cast(epoch - self.warmup_epochs, tf.float32) / max(self.epochs - self.warmup_epochs - 1, 1)
        return tf.clip_by_value(after, 0.0, 1.0)

    def temperature_at(self, epoch):
        """The temperature of an epoch, counted from 0."""
        return self.temperature * (self.final_temperature / self.temperature) ** self.progress(epoch)

    def entropy_weight_at(self, epoch):
        """The weight of the entropy in an epoch, counted from 0."""
        return self.entropy_weight * (2 * self.progress(epoch) - 1)

    def choice_weights(self, logits: dict, epoch, random=tf.random) -> dict:
        """What the candidates are weighted with in a training step."""
        if not self.gumbel:
            return {name: tf.nn.softmax(values) for name, values in logits.items()}
        temperature = self.temperature_at(epoch)
        return {name: gumbel_softmax(values, temperature, random) for name, values in logits.items()}

    def evaluation_weights(self, logits: dict, epoch) -> dict:
        """What they are weighted with in an evaluation: the same without noise."""
        temperature = self.temperature_at(epoch) if self.gumbel else 1.0
        return {name: tf.nn.softmax(values / temperature) for name, values in logits.items()}

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the architecture, given that of the validation batch.

        # References
            - [BARS](https://arxiv.org/abs/2011.10804), equations 6 and 7. The entropy is that of the probabilities,
              summed over all edges, widths and depths; the authors' code leaves it out while its weight is negative.
        """
        probabilities = {name: tf.nn.softmax(values) for name, values in logits.items()}
        for penalty in self.penalties:
            loss = penalty(loss, probabilities)
        total = tf.add_n([tf.reduce_sum(entropy(values)) for values in probabilities.values()])
        return loss + self.entropy_weight_at(epoch) * total

    @property
    def penalties(self) -> list:
        """The `limits.Penalty` of the budget and that of the limit, those of them that there are."""
        exponent, found = self.capacity_exponent, []
        if self.budget is not None:
            found.append(Penalty(lambda probabilities: self.expected(probabilities).biops, self.budget, exponent))
        if self.limit:
            found.append(Penalty(self.limit.expected, self.limit.most, exponent))
        return found

    def expected(self, probabilities: dict) -> expected_costs.Expected:
        """The expected costs of a genotype of the space that counts."""
        counted, input_shape, classes = self.counted
        return expected_costs.expected(counted, probabilities, input_shape, classes)

    def figures(self, space: Architecture, probabilities: dict, epoch) -> dict:
        """What is logged of an epoch.

        Mean entropies and the expected cost; for each stage depth and width of the most probable genotype and their
        probabilities; for each cell how many edges have which operation in it. Names with a slash are for files.
        """
        kinds = collections.defaultdict(list)
        for name, values in probabilities.items():
            kind = name.rpartition("_")[2] if np.ndim(values) == 1 else "operations"
            kinds[kind] += np.ravel(entropy(values)).tolist()
        figures = {f"entropy_{kind}": np.mean(values) for kind, values in kinds.items()}
        figures["temperature"] = float(self.temperature_at(epoch))
        if self.counted:
            figures["expected_biops"] = float(self.expected(probabilities).biops)
            figures["budget"] = self.budget or float("nan")
        if self.limit:
            figures["expected_ms"] = float(self.limit.expected(probabilities))
        for name, values in probabilities.items():
            if np.ndim(values) == 1:
                stage, _, kind = name.partition("_")
                best = int(np.argmax(values))
                figures[f"{stage}/{kind}"] = _candidates(space, name)[best]
                figures[f"{stage}/{kind}_probability"] = float(values[best])
            else:
                chosen = np.argmax(values, axis=-1)
                for index, operation in enumerate(OPERATIONS):
                    figures[f"{name}/{operation}"] = int(np.sum(chosen == index))
        return figures

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """The most probable genotype. See `candidates` for what the paper derives."""
        indices = connected(space, most_probable(probabilities), probabilities)
        return decide(self.counted[0] if self.counted else space, indices)

    def candidates(self, space: Architecture, probabilities: dict, seed: int) -> list:
        """The genotypes of which the one with the lowest validation loss is to be kept.

        # Arguments
            space: The space that was searched.
            probabilities: For each choice by name, those of its candidates.
            seed: The same seed draws the same genotypes.

        # Returns
            A list of `strategy.Candidate`.

        # References
            - [BARS](https://arxiv.org/abs/2011.10804), section 4.3, K = 8. "none" may win an edge, but not all edges of
              a node, see `connected`.
        """
        if not self.samples:
            return [self._candidate(space, connected(space, most_probable(probabilities), probabilities))]
        generator = np.random.default_rng(seed)
        return [self._draw(space, probabilities, generator) for _ in range(self.samples)]

    def _draw(self, space, probabilities, generator):
        """Draws a genotype; of one that differs too much from the accepted costs, choices are drawn anew until it fits.

        They are drawn more evenly, as the most probable ones may not fit at all. Then some are drawn once more, from
        their own probabilities, where that leads to a more probable genotype that still fits.
        """
        flat = {name: np.full_like(values, 1 / values.shape[-1]) for name, values in probabilities.items()}
        even = {name: (values + flat[name]) / 2 for name, values in probabilities.items()}
        nearest = None
        for start in range(STARTS):
            # Near the most probable genotypes there may be none that fits.
            late = start >= STARTS / 2
            indices = connected(space, draw(flat if late else probabilities, generator), probabilities)
            best = self._candidate(space, indices)
            for change in range(CHANGES):
                if not self._excess(best.figures):
                    return self._likelier(space, probabilities, indices, best, generator) if change else best
                changed = connected(space, redrawn(indices, flat if late else even, generator), probabilities)
                candidate = self._candidate(space, changed)
                if self._excess(candidate.figures) <= self._excess(best.figures):
                    indices, best = changed, candidate
            if nearest is None or self._excess(best.figures) < self._excess(nearest.figures):
                nearest = best
        return nearest

    def _likelier(self, space, probabilities, indices, best, generator):
        for _ in range(CHANGES):
            changed = connected(space, redrawn(indices, probabilities, generator), probabilities)
            if log_likelihood(probabilities, changed) > log_likelihood(probabilities, indices):
                candidate = self._candidate(space, changed)
                if not self._excess(candidate.figures):
                    indices, best = changed, candidate
        return best

    def _excess(self, figures):
        """By how much costs differ from what is accepted."""
        wanted = self.accepted.items()
        excess = sum(max(abs(figures[name] / value - 1) - self.tolerance, 0) for name, value in wanted)
        if self.limit:
            excess += max(figures["ms"] / self.limit.most - 1, 0)
        return excess

    def _candidate(self, space, indices):
        counted, input_shape, classes = self.counted or (space, (32, 32, 3), 10)
        genotype = decide(counted, indices)
        counts = costs.count(genotype, input_shape, classes)
        figures = {"biops": counts.biops, "flops": counts.flops, "params": counts.params}
        if self.budget is not None:
            figures["over_budget"] = counts.biops > self.budget
        if self.limit:
            figures["ms"] = self.limit.ms(genotype)
        if self.accepted or self.limit:
            figures["accepted"] = not self._excess(figures)
        return strategy.Candidate(genotype, one_hot(space, indices), figures)


# How often a genotype of accepted costs is looked for, and how many changes are tried each time.
STARTS, CHANGES = 10, 400


def _candidates(space, name):
    stage = space.stages[int(name.partition("_")[0].removeprefix("stage"))]
    return stage.widths if name.endswith("_width") else stage.depths
