"""The strategy of DMS."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.costs import expected_costs
from larq_nas.costs.limits import Penalty
from larq_nas.methods.dms.distributions import Distributions, cluster, log_probabilities
from larq_nas.methods.dms.search_space import MEGABYTE, base_widths, megabytes, opened, rounded, units, with_widths
from larq_nas.networks import counting
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import width_name
from larq_nas.supernet import strategy
from larq_nas.supernet.sampling import gumbel_softmax


class Strategy(tf.Module, strategy.Strategy):
    """The strategy of DMS, which holds the candidates of a round.

    The candidates are variables, so that the training step is not traced again in the next round.

    # Arguments
        distributions: The `Distributions`.
        base: The base network.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
    """

    def __init__(
        self, distributions: Distributions, base: Architecture, input_shape: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        self.distributions, self.limit = distributions, distributions.limit
        self.base, self.input_shape, self.num_classes = base, input_shape, num_classes
        self.room: tuple[int, ...] = ()
        count = len(base.stages)
        names = base.kind.operations
        indices = {cell.name: [names.index(e.operations[0]) for e in cell.edges] for cell in base.cells}
        self.decided = {name: tf.one_hot(values, len(names)) for name, values in indices.items()}
        self.edges = tf.Variable(tf.zeros([count, 4]), trainable=False)
        self.filters = tf.Variable(tf.zeros([count, 3], tf.int32), trainable=False)
        self.scale = tf.Variable(1.0, trainable=False)

    def begin(self, mean: np.ndarray, scale: float) -> np.ndarray:
        """Sets the candidates of a round and returns their numbers of filters, of shape `(widths, 3)`."""
        ratios, edges = cluster(mean, scale)
        filters = rounded(self.base, ratios)
        self.edges.assign(edges)
        self.filters.assign(filters)
        self.scale.assign(scale)
        return filters

    def choice_weights(self, logits: dict, epoch: tf.Tensor | int | None, random: Any = tf.random) -> dict:
        """The weights of the candidates in a training step, by the name of the choice."""
        logits = log_probabilities(logits["mean"], self.edges, self.scale)
        return self._named(gumbel_softmax(logits, self.distributions.temperature, random))

    def evaluation_weights(self, logits: dict, epoch: tf.Tensor | int | None) -> dict:
        """The weights of the candidates in an evaluation: as in a training step, but without noise."""
        return self._named(tf.exp(log_probabilities(logits["mean"], self.edges, self.scale)))

    def _named(self, weights):
        """Returns the choice weights of all widths of the network. They are 0 for widths that are no candidates."""
        named = dict(self.decided)
        places = tf.unstack(self.filters // units(self.base)[:, np.newaxis] - 1)
        for index, (size, indices, values) in enumerate(zip(self.room, places, tf.unstack(weights), strict=True)):
            named[width_name(index)] = tf.linalg.matvec(tf.one_hot(indices, size), values, transpose_a=True)
        return named

    def memory(self, mean: tf.Tensor) -> tf.Tensor:
        """The megabytes of the network at the mean ratios. With cells, their expectation over the candidates."""
        if self.base.cells:
            return tf.cast(expected_costs.expected(*self._expectation(mean)).bytes, tf.float32) / MEGABYTE
        return megabytes(self.base, self._widths(mean), self.input_shape, self.num_classes)

    def _expectation(self, mean) -> tuple[Architecture, dict, Sequence[int], int]:
        """The arguments of `expected_costs.expected`: the space of all widths and the probabilities of its choices."""
        weights = self.evaluation_weights({"mean": mean}, None)
        space = with_widths(self.base, [stage.widths for stage in opened(self.base, self.room).stages])
        for cell in space.cells:
            weights[cell.name] = tf.ones([len(cell.edges), 1])
        return space, weights, self.input_shape, self.num_classes

    def _widths(self, mean):
        widths = tf.unstack(mean * tf.constant(base_widths(self.base), tf.float32))
        return {stage.cell: width for stage, width in zip(self.base.stages, widths, strict=True)}

    def ms(self, mean: tf.Tensor) -> tf.Tensor:
        """The milliseconds of the network at the mean ratios. With cells, their expectation over the candidates."""
        assert self.limit is not None
        table = self.limit.table
        if self.base.cells:
            return tf.cast(expected_costs.expected_ms(*self._expectation(mean), table), tf.float32) + table.overhead
        widths = self._widths(mean)
        rows = counting.rows(self.base, self.input_shape, self.num_classes, widths)
        return table.overhead + sum(table.estimate(row.block) for row, _ in rows if row.block)

    def architecture_loss(self, loss: tf.Tensor, logits: dict, epoch: tf.Tensor | int | None) -> tf.Tensor:
        """The loss of the means: the loss of the validation batch, with the penalty of the limit or of the memory.

        # References
            - DMS, equation 7
        """
        mean, limit, target = logits["mean"], self.limit, self.distributions.memory_target
        if limit:
            return Penalty(self.ms, limit.max_ms)(loss, mean)
        if target is None:
            return loss
        return Penalty(self.memory, target, weight=self.distributions.memory_weight)(loss, mean)

    def metrics(self, space: Architecture, probabilities: dict, epoch: tf.Tensor | int | None) -> dict:
        """The metrics that are logged after a round: the megabytes and the mean ratios (`probabilities`)."""
        mean = probabilities["mean"]
        names = [f"stage{i}" if self.base.cells else stage.cell for i, stage in enumerate(self.base.stages)]
        ratios = {f"ratio/{name}": float(ratio) for name, ratio in zip(names, mean, strict=True)}
        return {"megabytes": float(self.memory(tf.constant(mean))), **ratios}

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """Derives the genotype of the mean ratios, which are in `probabilities`."""
        return self.distributions.derive(self.base, probabilities["mean"], self.input_shape, self.num_classes)
