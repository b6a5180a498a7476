"""The strategy of BATS."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.supernet import strategy


def derive(space: Architecture, probabilities: dict) -> Architecture:
    """Derives the genotype.

    Each edge gets its most probable operation except "none". Each node keeps the two edges with the most probable
    operations.

    # Arguments
        space: The space that was searched.
        probabilities: By the name of each cell, an array of shape `(edges, operations)`.

    # Returns
        A genotype.

    # References
        - [DARTS](https://arxiv.org/abs/1806.09055), section 2.4
    """
    cells = []
    for cell in space.cells:
        rows, nodes = iter(np.array(probabilities[cell.name], np.float64)), []
        for node in cell.nodes:
            found = []
            for edge in node.edges:
                row = next(rows)
                allowed = [index for index, name in enumerate(edge.operations) if name != "none"]
                best = max(allowed, key=row.__getitem__)
                found.append((row[best], Edge(edge.source, (edge.operations[best],))))
            kept = sorted(range(len(found)), key=lambda index: -found[index][0])[: node.keep]
            nodes.append(Node(tuple(found[index][1] for index in sorted(kept)), node.keep))
        cells.append(Cell(cell.name, tuple(nodes)))
    return dataclasses.replace(space, cells=tuple(cells))


@dataclasses.dataclass(frozen=True)
class Strategy(strategy.Strategy):
    r"""The strategy of BATS.

    # Arguments
        temperature: The temperature \\(T\\) of the softmax over the operations of an edge. With 1, the search is that
            of DARTS. The paper mentions the temperature without giving a value. The default is the value of an
            independent implementation.
        limit: A `latency.Limit` on the latency of the genotype; `None` for no limit.
        warmup_epochs: Epochs at the beginning in which only the weights are trained.
        normalize: Whether the states of the cells and the input of the classifier are normalized, see `networks.build`.
            The papers do not normalize them. On small data sets, without normalization, pools win before the
            convolutions are trained.
        samples: See `strategy.Strategy`. The published search has none.
    """

    temperature: float = 0.2
    limit: latency.Limit | None = None
    warmup_epochs: int = 0
    normalize: bool = False
    samples: int = 0

    def choice_weights(self, logits: dict, epoch: tf.Tensor | int, random: Any = None) -> dict:
        """The weights of the candidates in a training step, by the name of the choice."""
        return {name: tf.nn.softmax(values / self.temperature) for name, values in logits.items()}

    def architecture_loss(self, loss: tf.Tensor, logits: dict, epoch: tf.Tensor | int) -> tf.Tensor:
        """The loss of the architecture: the loss of the validation batch, with a penalty if there is a limit."""
        return self.limit.penalty(loss, self.choice_weights(logits, epoch)) if self.limit else loss

    def _sharpened(self, probabilities):
        """Converts the softmax at temperature 1 to the softmax at `temperature`."""
        values = {name: np.array(rows, np.float64) for name, rows in probabilities.items()}
        # The largest value is scaled to 1, so that the power of it does not underflow.
        sharp = {
            name: (rows / rows.max(axis=-1, keepdims=True)) ** (1 / self.temperature) for name, rows in values.items()
        }
        return {name: rows / rows.sum(axis=-1, keepdims=True) for name, rows in sharp.items()}

    def metrics(self, space: Architecture, probabilities: dict, epoch: tf.Tensor | int) -> dict:
        """The metrics that are logged after an epoch: the mean entropy of the edges, in nats, and the expected time."""
        sharp = self._sharpened(probabilities)
        rows = np.concatenate(list(sharp.values()))
        expected = {"expected_ms": float(self.limit.expected(sharp))} if self.limit else {}
        return {"entropy": float(np.mean(np.sum(-rows * np.log(np.maximum(rows, 1e-30)), axis=-1))), **expected}

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """The genotype, as by the function `derive`. With a limit, the most probable genotype that keeps the limit."""
        limit = self.limit
        if limit:
            return limit.derive(lambda values: derive(limit.space, values), self._sharpened(probabilities))
        return derive(space, self._sharpened(probabilities))
