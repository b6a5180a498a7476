"""BNAS: learning architectures for binary networks.

A cell-based differentiable search whose three ideas are the *Zeroise* operation, which competes with the others to
the end, shortcuts between cells, and a *diversity regulariser*, which keeps binary convolutions from being passed
over early.

```
larq_nas search --method=bnas --dataset=cifar10     # the published search: 8 cells, 16 filters, 50 epochs
larq_nas train --genotype=bnas_a --dataset=cifar10  # reported by the authors: 92.70 % (README of their code: ~92.4 %)
```

# References
    - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), Kim, Singh, Choi, ECCV 2020
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency, templates
from larq_nas.architecture import Architecture, Cell, Edge, Node, thirds

OPERATIONS = templates.BNAS.operations
NODES, KEPT_EDGES, INPUTS = 4, 2, 2


def space(layers=8, filters=16) -> Architecture:
    """The search space: a normal and a reduction cell, 7 operations on each of 14 edges, 2 edges kept per node.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage; they double at each of the two reductions.

    # Returns
        The space; its `size` counts genotypes.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.1 (search space), 4.2 (cell template)
    """
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + INPUTS)), KEPT_EDGES) for index in range(NODES)
    )
    return scale(Architecture("bnas", (Cell("normal", nodes), Cell("reduce", nodes)), thirds(3, 1)), filters, layers)


def scale(architecture: Architecture, filters=None, layers=None) -> Architecture:
    """The same cells in a network of another size.

    # Arguments
        architecture: A space or a genotype of `bnas`.
        filters: Channels of a node in the first stage; as they are if `None`.
        layers: Number of cells, at least 3; as they are if `None`. Cells number `layers // 3` and
            `2 * layers // 3` are the reductions.

    # Returns
        An architecture of the given size.
    """
    if filters is None and layers is None:
        return architecture
    if architecture.template != "bnas":
        raise ValueError(f"only networks of bnas can be scaled, not one of {architecture.template}")
    if layers is None:
        layers = sum(stage.depths[0] + (stage.reduction is not None) for stage in architecture.stages)
    filters = filters or architecture.stages[0].widths[0]
    return Architecture(architecture.template, architecture.cells, thirds(layers, filters))


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
class Strategy:
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

    batch_statistics = False
    # What a search writes: file name suffix -> options of `derive`.
    variants = {"": {"gamma": 1.0}, "-gamma3": {"gamma": 3.0}}

    def choice_weights(self, logits: dict, epoch, random=None) -> dict:
        """What the candidates are weighted with in a training step."""
        return {name: tf.nn.softmax(values) for name, values in logits.items()}

    evaluation_weights = choice_weights

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the architecture, given that of the validation batch."""
        probabilities = self.choice_weights(logits, epoch)
        loss = loss * self.limit.factor(probabilities) if self.limit else loss
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
