"""The strategy of BARS."""

import collections
import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import costs, latency
from larq_nas.configs import check_warmup
from larq_nas.costs import expected_costs
from larq_nas.costs.limits import Penalty
from larq_nas.methods.bars.derivation import (
    check_samples,
    connect,
    decide,
    draw,
    log_likelihood,
    most_probable,
    one_hot,
    redraw,
)
from larq_nas.methods.bars.search_space import binary_operations
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import candidates_of
from larq_nas.supernet import selection, strategy
from larq_nas.supernet.sampling import gumbel_softmax


def entropy(probabilities: tf.Tensor) -> tf.Tensor:
    """The entropy of each row, in nats."""
    return -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=-1)


@dataclasses.dataclass(frozen=True)
class Strategy(strategy.Strategy):
    """The strategy of BARS.

    The temperature and the weight of the entropy change once per epoch, from the end of the warm-up on.

    # Arguments
        epochs: Epochs of the search.
        warmup_epochs: Epochs at the beginning of the search in which only the weights are trained.
        temperature: Temperature of the Gumbel-softmax at first. It falls exponentially.
        final_temperature: Temperature of the Gumbel-softmax in the last epoch.
        entropy_weight: Weight of the entropy in the last epoch. The weight rises linearly from the negative of this.
        gumbel: Whether choices are sampled by Gumbel-softmax. Otherwise, candidates are mixed by a softmax.
        budget: Binary operations (two for each multiply-accumulate) above which the expected genotype is penalized;
            `None` for no budget.
        capacity_exponent: The exponent of the penalty for exceeding a budget, see `limits.Penalty`.
        capacity_exponent_below: The exponent below the budget. The authors' code has none.
        counted: A tuple of the space from which genotypes are derived, the shape of the images, and the number of
            classes. The space is the one that is searched, or a wider one with the same choices.
        samples: Number of genotypes that are drawn at the end of the search, of which the best is kept. With 0, the
            most probable genotype is kept.
        accepted: Costs that a drawn genotype should have, e.g. `{"biops": 1027e6, "params": 2.77e6}`. As long as it has
            others, some of its choices are drawn again. If no genotype fits in the end, the nearest one is taken.
        tolerance: The largest accepted relative difference from these costs.
        limit: A `latency.Limit` on the latency of a genotype, with the space of `counted`; `None` for no limit. It is
            used instead of the budget.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.2. The values of the arguments are not public.
    """

    epochs: int = 50
    warmup_epochs: int = 5
    temperature: float = 5.0
    final_temperature: float = 0.1
    entropy_weight: float = 0.01
    gumbel: bool = True
    budget: float | None = None
    capacity_exponent: float = 1.0
    capacity_exponent_below: float = 0.0
    counted: Any = None
    samples: int = 8
    accepted: dict = dataclasses.field(default_factory=dict)
    tolerance: float = 0.02
    limit: latency.Limit | None = None

    # Moving averages would mix the statistics of different samples.
    batch_statistics = True

    def __post_init__(self):
        check_warmup(self.warmup_epochs, self.epochs)
        if min(self.temperature, self.final_temperature) <= 0:
            raise ValueError("temperatures must be positive")
        check_samples(self.samples, self.limit is not None)
        if (self.budget is not None or self.accepted) and not self.counted:
            raise ValueError("budget, accepted: need `counted`, the space of the genotypes")
        if self.budget is not None:
            smallest, _ = binary_operations(*self.counted)
            if self.budget < smallest:
                raise ValueError(
                    f"budget={self.budget:,.0f}: the smallest network of this space has {smallest:,} binary operations"
                )

    def progress(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """The progress of the search: 0 until the first epoch after the warm-up, then rising to 1 in the last epoch."""
        after = tf.cast(epoch - self.warmup_epochs, tf.float32) / max(self.epochs - self.warmup_epochs - 1, 1)
        return tf.clip_by_value(after, 0.0, 1.0)

    def temperature_at(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """The temperature of an epoch, counted from 0."""
        return self.temperature * (self.final_temperature / self.temperature) ** self.progress(epoch)

    def entropy_weight_at(self, epoch: tf.Tensor | int) -> tf.Tensor:
        """The weight of the entropy in an epoch, counted from 0."""
        return self.entropy_weight * (2 * self.progress(epoch) - 1)

    def choice_weights(self, logits: dict, epoch: tf.Tensor | int, random: Any = tf.random) -> dict:
        """The weights of the candidates in a training step, by the name of the choice."""
        if not self.gumbel:
            return {name: tf.nn.softmax(values) for name, values in logits.items()}
        temperature = self.temperature_at(epoch)
        return {name: gumbel_softmax(values, temperature, random) for name, values in logits.items()}

    def evaluation_weights(self, logits: dict, epoch: tf.Tensor | int) -> dict:
        """The weights of the candidates in an evaluation: as in a training step, but without noise."""
        temperature = self.temperature_at(epoch) if self.gumbel else 1.0
        return {name: tf.nn.softmax(values / temperature) for name, values in logits.items()}

    def architecture_loss(self, loss: tf.Tensor, logits: dict, epoch: tf.Tensor | int) -> tf.Tensor:
        """The loss of the architecture: the loss of the validation batch, with penalties and the entropy term.

        # Arguments
            loss: The loss of the validation batch.
            logits: The logits of the choices, by name.
            epoch: The number of the epoch, counted from 0.

        # Returns
            A scalar tensor.

        # References
            - [BARS](https://arxiv.org/abs/2011.10804), equations 6 and 7. The entropy of the probabilities is summed
              over all edges, widths and depths. The authors' code omits the entropy while its weight is negative.
        """
        probabilities = {name: tf.nn.softmax(values) for name, values in logits.items()}
        for penalty in self.penalties:
            loss = penalty(loss, probabilities)
        total = tf.add_n([tf.reduce_sum(entropy(values)) for values in probabilities.values()])
        return loss + self.entropy_weight_at(epoch) * total

    @property
    def penalties(self) -> list:
        """A list with the `limits.Penalty` of each budget and the one of the limit, as far as they are set."""
        exponents, budgets = (self.capacity_exponent, self.capacity_exponent_below), dict(self.accepted)
        if self.budget is not None:
            budgets["biops"] = self.budget
        found = [Penalty(functools.partial(self._cost, name), maximum, *exponents) for name, maximum in budgets.items()]
        if self.limit:
            found.append(Penalty(self.limit.expected, self.limit.max_ms, *exponents))
        return found

    def _cost(self, name, probabilities):
        return getattr(self.expected(probabilities), name)

    def expected(self, probabilities: dict) -> expected_costs.Expected:
        """The expected costs of a genotype of the space in `counted`."""
        counted, input_shape, num_classes = self.counted
        return expected_costs.expected(counted, probabilities, input_shape, num_classes)

    def metrics(self, space: Architecture, probabilities: dict, epoch: tf.Tensor | int) -> dict:
        """The metrics that are logged after an epoch, by name.

        They are the mean entropies in nats, the temperature, the expected binary operations and the budget, the
        expected milliseconds if there is a limit, and the depth and width of each stage in the most probable genotype,
        with their probabilities. A name with a slash is written to files only.
        """
        kinds = collections.defaultdict(list)
        for name, values in probabilities.items():
            kind = name.rpartition("_")[2] if np.ndim(values) == 1 else "operations"
            kinds[kind] += np.ravel(entropy(values)).tolist()
        metrics = {f"entropy_{kind}": np.mean(values) for kind, values in kinds.items()}
        metrics["temperature"] = float(self.temperature_at(epoch))
        if self.counted:
            metrics["expected_biops"] = float(self.expected(probabilities).biops)
            metrics["budget"] = self.budget or float("nan")
        if self.limit:
            metrics["expected_ms"] = float(self.limit.expected(probabilities))
        for name, values in probabilities.items():
            if np.ndim(values) == 1:
                stage, _, kind = name.partition("_")
                best = int(np.argmax(values))
                metrics[f"{stage}/{kind}"] = candidates_of(space, name)[best]
                metrics[f"{stage}/{kind}_probability"] = float(values[best])
        return metrics

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """The most probable genotype. The paper draws genotypes instead, see `candidates`."""
        indices = connect(space, most_probable(probabilities), probabilities)
        return decide(self.counted[0] if self.counted else space, indices)

    def candidate(self, space: Architecture, probabilities: dict) -> strategy.Candidate:
        """The most probable genotype, with its choice weights and its costs."""
        return self._candidate(space, connect(space, most_probable(probabilities), probabilities))

    def weights_of(self, space: Architecture, genotype: Architecture) -> dict:
        """The choice weights that select a genotype, which is one of the space in `counted`."""
        return selection.one_hot(self.counted[0] if self.counted else space, genotype)

    def candidates(self, space: Architecture, probabilities: dict, seed: int, count: int | None = None) -> list:
        """Draws the genotypes of which the search keeps the one with the lowest validation loss.

        # Arguments
            space: The space that was searched.
            probabilities: The probabilities of the candidates of each choice, by the name of the choice.
            seed: The seed of the random generator.
            count: Number of candidates; by default `samples`.

        # Returns
            A list of `strategy.Candidate`. Their metric `log_likelihood` is the logarithm of the probability of a
            genotype minus that of the most probable genotype. A low value shows that the limits have forced improbable
            choices. If `count` is 0, the list holds only the most probable genotype, without this metric.

        # References
            - [BARS](https://arxiv.org/abs/2011.10804), section 4.3, K = 8. The operation "none" may be chosen on an
              edge, but not on all edges of a node, see `connect`.
        """
        count = self.samples if count is None else count
        if not count:
            return [self.candidate(space, probabilities)]
        generator = np.random.default_rng(seed)
        drawn = [self._draw(space, probabilities, generator) for _ in range(count)]
        most = log_likelihood(probabilities, most_probable(probabilities))
        for candidate in drawn:
            chosen = {name: np.argmax(weights, axis=-1) for name, weights in candidate.weights.items()}
            candidate.metrics["log_likelihood"] = float(log_likelihood(probabilities, chosen) - most)
        return drawn

    def _draw(self, space, probabilities, generator):
        """Draws a genotype. While its costs are not accepted, some of its choices are drawn again.

        These choices are drawn from more even probabilities, since the most probable choices may never fit. Afterwards,
        `_likelier` looks for more probable genotypes that still fit.
        """
        flat = {name: np.full_like(values, 1 / values.shape[-1]) for name, values in probabilities.items()}
        even = {name: (values + flat[name]) / 2 for name, values in probabilities.items()}
        nearest = None
        for start in range(STARTS):
            # There may be no fitting genotype near the most probable ones.
            late = start >= STARTS / 2
            indices = connect(space, draw(flat if late else probabilities, generator), probabilities)
            best = self._candidate(space, indices)
            for change in range(CHANGES):
                if not self._excess(best.metrics):
                    return self._likelier(space, probabilities, indices, best, generator) if change else best
                changed = connect(space, redraw(indices, flat if late else even, generator), probabilities)
                candidate = self._candidate(space, changed)
                if self._excess(candidate.metrics) <= self._excess(best.metrics):
                    indices, best = changed, candidate
            if nearest is None or self._excess(best.metrics) < self._excess(nearest.metrics):
                nearest = best
        return nearest

    def _likelier(self, space, probabilities, indices, best, generator):
        for _ in range(CHANGES):
            changed = connect(space, redraw(indices, probabilities, generator), probabilities)
            if log_likelihood(probabilities, changed) > log_likelihood(probabilities, indices):
                candidate = self._candidate(space, changed)
                if not self._excess(candidate.metrics):
                    indices, best = changed, candidate
        return best

    def _excess(self, metrics):
        """The sum of the relative differences from the accepted costs beyond the tolerance; 0 for accepted costs."""
        wanted = self.accepted.items()
        excess = sum(max(abs(metrics[name] / value - 1) - self.tolerance, 0) for name, value in wanted)
        if self.limit:
            excess += max(metrics["ms"] / self.limit.max_ms - 1, 0)
        return excess

    def _candidate(self, space, indices):
        counted, input_shape, num_classes = self.counted or (space, (32, 32, 3), 10)
        genotype = decide(counted, indices)
        counts = costs.count(genotype, input_shape, num_classes)
        metrics: dict[str, Any] = {"biops": counts.biops, "flops": counts.flops, "params": counts.params}
        if self.budget is not None:
            metrics["over_budget"] = counts.biops > self.budget
        if self.limit:
            metrics["ms"] = self.limit.ms(genotype)
        if self.accepted or self.limit:
            metrics["accepted"] = not self._excess(metrics)
        return strategy.Candidate(genotype, one_hot(space, indices), metrics)


# Number of attempts to find a genotype of accepted costs, and number of changes that each attempt tries.
STARTS, CHANGES = 10, 400
