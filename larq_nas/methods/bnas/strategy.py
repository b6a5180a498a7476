"""The strategy of BNAS."""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.supernet import strategy


def entropy(probabilities: dict, reduce_index_bug: bool = False) -> tf.Tensor:
    """The mean entropy of all edges of all cells, in nats.

    # Arguments
        probabilities: By the name of each cell, choice weights of shape `(edges, operations)`.
        reduce_index_bug: Whether the entropy of the last edge of the reduction cell replaces that of all its edges, as
            in the authors' code.

    # Returns
        A scalar, at most ln 7.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.3 (search objective)
    """
    entropies = {name: -tf.reduce_sum(tf.math.xlogy(values, values), axis=-1) for name, values in probabilities.items()}
    if reduce_index_bug:
        entropies["reduce"] = tf.fill(tf.shape(entropies["reduce"]), entropies["reduce"][-1])
    return tf.reduce_mean(tf.concat(list(entropies.values()), axis=0))


def diversity_loss(
    probabilities: dict,
    epoch: tf.Tensor | int,
    strength: float = 1.0,
    decay: float = 7.7,
    reduce_index_bug: bool = False,
) -> tf.Tensor:
    r"""The diversity regulariser \\(-\lambda H \exp(-t/\tau)\\), which is added to the loss of the architecture.

    # Arguments
        probabilities: By the name of each cell, choice weights of shape `(edges, operations)`.
        epoch: The number of epochs that have passed, \\(t\\).
        strength: The strength \\(\lambda\\).
        decay: The time \\(\tau\\), in epochs.
        reduce_index_bug: See `entropy`, which computes \\(H\\).

    # Returns
        A scalar.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.3, equation 4
    """
    fading = tf.exp(-tf.cast(epoch, tf.float32) / decay)
    return -strength * fading * entropy(probabilities, reduce_index_bug)


def derive(space: Architecture, probabilities: dict, gamma: float = 1.0) -> Architecture:
    """Derives the genotype: each node keeps the two edges with the most probable operations.

    Zeroise competes like any other operation. If a node would keep Zeroise on both edges, the most probable other
    operation replaces one of the two. This function divides the probability of Zeroise on each edge by gamma, as the
    paper describes; the published cells agree with this. The authors' code divides the probabilities of the first edge
    instead, which changes nothing.

    # Arguments
        space: The space that was searched.
        probabilities: By the name of each cell, choice weights of shape `(edges, operations)`.
        gamma: Zeroise is kept only if it is this many times as probable as the best other operation. The authors use 1
            for CIFAR-10 and 3 for ImageNet.

    # Returns
        A genotype.

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
    options = sorted(options, key=lambda option: -option[0])  # The sort is stable: in a tie, the first one wins.
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
    """The strategy of BNAS.

    # Arguments
        strength: Strength of the diversity regulariser.
        decay: Epochs in which the strength of the diversity regulariser falls to 1/e.
        reduce_index_bug: See `entropy`.
        limit: A `latency.Limit` on the latency of the genotype; `None` for no limit.
        warmup_epochs: Epochs at the beginning in which only the weights are trained. The published search has none.
        normalize: Whether the outputs of convolutions are normalized, as those of pools are, and the input of the
            classifier, too, see `networks.build`. The published search does not normalize them. On small data sets,
            without normalization, pools win before the convolutions are trained.
        samples: See `strategy.Strategy`. The published search has none.
    """

    strength: float = 1.0
    decay: float = 7.7
    reduce_index_bug: bool = False
    limit: latency.Limit | None = None
    warmup_epochs: int = 0
    normalize: bool = False
    samples: int = 0

    # The genotypes that a search writes after each epoch: suffix of the file name -> arguments of `derive`.
    variants = {"": {"gamma": 1.0}, "-gamma3": {"gamma": 3.0}}

    def architecture_loss(self, loss: tf.Tensor, logits: dict, epoch: tf.Tensor | int) -> tf.Tensor:
        """The loss of the architecture: the loss of the validation batch, with the regulariser and the penalty."""
        probabilities = self.choice_weights(logits, epoch)
        loss = self.limit.penalty(loss, probabilities) if self.limit else loss
        passed = epoch - self.warmup_epochs
        return loss + diversity_loss(probabilities, passed, self.strength, self.decay, self.reduce_index_bug)

    def metrics(self, space: Architecture, probabilities: dict, epoch: tf.Tensor | int) -> dict:
        """The metrics that are logged after an epoch: the mean entropy of the edges, in nats, and the expected time."""
        expected = {"expected_ms": float(self.limit.expected(probabilities))} if self.limit else {}
        return {"entropy": float(entropy(probabilities)), **expected}

    def derive(self, space: Architecture, probabilities: dict, gamma: float = 1.0) -> Architecture:
        """The genotype, as by the function `derive`. With a limit, the most probable genotype that keeps the limit."""
        limit = self.limit
        if limit:
            return limit.derive(lambda values: derive(limit.space, values, gamma), probabilities)
        return derive(space, probabilities, gamma)
