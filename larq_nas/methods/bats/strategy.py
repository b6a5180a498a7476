"""The strategy of BATS."""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.supernet import strategy


def derive(space: Architecture, probabilities: dict) -> Architecture:
    """The genotype: per edge the most probable operation but "none", per node the two edges that have the highest.

    # Arguments
        space: The space.
        probabilities: For each cell, probabilities of shape `(edges, operations)`.

    # Returns
        A decided architecture.

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
    r"""How BATS searches.

    # Arguments
        temperature: \\(T\\) of the softmax over the operations of an edge; 1 is DARTS. It is named by the paper and its
            value by nobody: 0.2 is that of an independent implementation.
        limit: How long the network may take, a `latency.Limit`; `None` for any time.
        warmup_epochs: Epochs at the beginning in which only weights are trained.
        normalize: Whether the classifier reads normalized features, see `networks.build`. The papers normalize none.
    """

    temperature: float = 0.2
    limit: latency.Limit | None = None
    warmup_epochs: int = 0
    normalize: bool = False

    def choice_weights(self, logits: dict, epoch, random=None) -> dict:
        """What the candidates are weighted with in a training step."""
        return {name: tf.nn.softmax(values / self.temperature) for name, values in logits.items()}

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the architecture, given that of the validation batch: without a limit, the same."""
        return self.limit.penalty(loss, self.choice_weights(logits, epoch)) if self.limit else loss

    def _sharpened(self, probabilities):
        """The softmax at the temperature, given that at 1."""
        values = {name: np.array(rows, np.float64) for name, rows in probabilities.items()}
        # The largest is 1, so that not all of them vanish.
        sharp = {
            name: (rows / rows.max(axis=-1, keepdims=True)) ** (1 / self.temperature) for name, rows in values.items()
        }
        return {name: rows / rows.sum(axis=-1, keepdims=True) for name, rows in sharp.items()}

    def figures(self, space: Architecture, probabilities: dict, epoch) -> dict:
        """What is logged of an epoch: the mean entropy of the edges, in nats."""
        sharp = self._sharpened(probabilities)
        rows = np.concatenate(list(sharp.values()))
        expected = {"expected_ms": float(self.limit.expected(sharp))} if self.limit else {}
        return {"entropy": float(np.mean(np.sum(-rows * np.log(np.maximum(rows, 1e-30)), axis=-1))), **expected}

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """See `derive`; with a limit, the most probable genotype that keeps it."""
        if self.limit:
            return self.limit.derive(lambda values: derive(self.limit.space, values), self._sharpened(probabilities))
        return derive(space, self._sharpened(probabilities))
