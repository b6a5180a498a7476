"""The strategy of BNAS."""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.supernet import strategy


def entropy(probabilities: dict, reduce_index_bug=False) -> tf.Tensor:
    """Mean entropy of all edges of all cells, in nats.

    # Arguments
        probabilities: For each cell, choice weights of shape `(edges, candidates)`.
        reduce_index_bug: Count the last edge of the reduction cell in place of each of its edges, as the
            authors' code does.

    # Returns
        A scalar, at most ln 7.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.3 (search objective)
    """
    entropies = {name: -tf.reduce_sum(tf.math.xlogy(values, values), axis=-1) for name, values in probabilities.items()}
    if reduce_index_bug:
        entropies["reduce"] = tf.fill(tf.shape(entropies["reduce"]), entropies["reduce"][-1])
    return tf.reduce_mean(tf.concat(list(entropies.values()), axis=0))


def architecture_loss(probabilities: dict, epoch, strength=1.0, decay=7.7, reduce_index_bug=False) -> tf.Tensor:
    r"""The diversity regulariser \\(-\lambda H \exp(-t/\tau)\\), added to the loss of the architecture.

    # Arguments
        probabilities: For each cell, choice weights of shape `(edges, candidates)`.
        epoch: Epochs that have passed, \\(t\\).
        strength: \\(\lambda\\).
        decay: \\(\tau\\), in epochs.
        reduce_index_bug: See `entropy`.

    # Returns
        A scalar.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.3, equation 4
    """
    fading = tf.exp(-tf.cast(epoch, tf.float32) / decay)
    return -strength * fading * entropy(probabilities, reduce_index_bug)


def derive(space: Architecture, probabilities: dict, gamma=1.0) -> Architecture:
    """The genotype: per node the two edges with the most probable operation, on each edge that operation.

    Zeroise competes like any other operation, but a node does not keep it on both edges: the most probable other
    operation then takes the place of one. The authors' code divides the first edge's row by gamma, which
    changes nothing; the published cells fit the paper's intent, the column of Zeroise, which is what stands here.

    # Arguments
        space: The space that was searched.
        probabilities: For each cell, choice weights of shape `(edges, candidates)`.
        gamma: How much more probable than the best other operation Zeroise must be to be kept. The authors use 1
            for CIFAR-10 and 3 for ImageNet.

    # Returns
        A decided architecture.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.1 (transferability of Zeroise)
    """
    cells = []
    for cell in space.cells:
        rows, nodes = iter(np.array(probabilities[cell.name], np.float64)), []
        for node in cell.nodes:
            options = [
                (row[index] / (gamma if name == "none" else 1), Edge(edge.source, (name,)))
                for edge, row in zip(node.edges, rows, strict=False)
                for index, name in enumerate(edge.operations)
            ]
            nodes.append(Node(tuple(_kept(options, node.keep)), node.keep))
        cells.append(Cell(cell.name, tuple(nodes)))
    return Architecture(space.template, tuple(cells), space.stages, space.options)


def _kept(options, keep):
    """The edges that a node keeps, given the probability of each operation of each edge."""
    options = sorted(options, key=lambda option: -option[0])  # Stable: the first wins a tie.
    best = {}
    for _, edge in options:
        best.setdefault(edge.source, edge)
    kept = list(best.values())[:keep]
    others = [edge for _, edge in options if edge.operations != ("none",)]
    if others and all(edge.operations == ("none",) for edge in kept):
        kept = [*[edge for edge in kept if edge.source != others[0].source][: keep - 1], others[0]]
    return kept


@dataclasses.dataclass(frozen=True)
class Strategy(strategy.Strategy):
    """How BNAS searches.

    # Arguments
        strength: Strength of the diversity regulariser.
        decay: Epochs in which it falls to 1/e.
        reduce_index_bug: See `entropy`.
        limit: How long the network may take, a `latency.Limit`; `None` for any time.
        warmup_epochs: Epochs at the beginning in which only weights are trained.
        normalize: Whether candidates enter the sum of an edge at one scale, and the classifier reads normalized
            features, see `networks.build`. As published, they do not: on small data, pools then win before
            convolutions are trained. The same holds for the warm-up.
    """

    strength: float = 1.0
    decay: float = 7.7
    reduce_index_bug: bool = False
    limit: latency.Limit | None = None
    warmup_epochs: int = 0
    normalize: bool = False

    # What a search writes: file name suffix -> options of `derive`.
    variants = {"": {"gamma": 1.0}, "-gamma3": {"gamma": 3.0}}

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the architecture, given that of the validation batch."""
        probabilities = self.choice_weights(logits, epoch)
        loss = self.limit.penalty(loss, probabilities) if self.limit else loss
        passed = epoch - self.warmup_epochs
        return loss + architecture_loss(probabilities, passed, self.strength, self.decay, self.reduce_index_bug)

    def figures(self, space: Architecture, probabilities: dict, epoch) -> dict:
        """What is logged of an epoch."""
        expected = {"expected_ms": float(self.limit.expected(probabilities))} if self.limit else {}
        return {"entropy": float(entropy(probabilities)), **expected}

    def derive(self, space: Architecture, probabilities: dict, gamma=1.0) -> Architecture:
        """See `derive`; with a limit, the most probable genotype that keeps it."""
        if self.limit:
            return self.limit.derive(lambda values: derive(self.limit.space, values, gamma), probabilities)
        return derive(space, probabilities, gamma)
