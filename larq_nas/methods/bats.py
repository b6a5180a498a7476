r"""BATS: binary architecture search, with grouped binary operations.

A differentiable search in the manner of DARTS whose operations are grouped convolutions that need no 1x1 convolution
beside them. A temperature below 1 keeps the distribution over operations sharp, so that operations without weights do
not win by near-ties. Activations are binary and kernels float while it searches; the derived network is trained in two
stages, first with binary activations, then with binary kernels, too. Without any quantizer it searches real networks.

```
larq_nas search --method=bats --dataset=cifar10
larq_nas train --genotype=bats --dataset=cifar10    # reported by the authors: 96.1 %
larq_nas search --method=bats --nobinarize --dataset=cifar10
```

What the paper and its supplement leave open is taken from the library of its first author.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711), Bulat, Martinez, Tzimiropoulos, ECCV 2020
    - github.com/1adrianb/binary-networks-pytorch, by its first author
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import latency, templates
from larq_nas.architecture import Architecture, Cell, Edge, Node, thirds
from larq_nas.blocks import SHUFFLE
from larq_nas.counting import WORD

OPERATIONS = templates.BATS.operations
NODES, KEPT_EDGES, INPUTS = 4, 2, 2
GROUPS = 12


def space(
    layers=8, filters=36, groups=None, channels_per_group=None, binarize=True, binarize_preprocess=True
) -> Architecture:
    """The search space: a normal and a reduction cell, 8 operations on each of 14 edges, 2 edges kept per node.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage, a multiple of 4; they double at each of the two reductions.
        groups, channels_per_group: See `groups_of`.
        binarize: Whether the network is binary; if not, it has no quantizer anywhere.
        binarize_preprocess: Whether the 1x1 convolutions at the entrances of cells are binary, too. BARS says of BATS
            that they are not; the library of the first author binarizes them, and the published number of operations
            fits that.

    # Returns
        The space; its `size` counts genotypes.
    """
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + INPUTS)), KEPT_EDGES) for index in range(NODES)
    )
    options = {"preprocess": "binary" if binarize_preprocess else "float"} if binarize else {"binarize": False}
    cells = Cell("normal", nodes), Cell("reduce", nodes)
    smallest = Architecture("bats", cells, thirds(3, 4), options)
    return scale(smallest, filters, layers, groups or GROUPS, channels_per_group)


def scale(architecture: Architecture, filters=None, layers=None, groups=None, channels_per_group=None) -> Architecture:
    """The same cells in a network of another size.

    # Arguments
        architecture: A space or a genotype of `bats`.
        filters: Channels of a node in the first stage; as they are if `None`.
        layers: Number of cells, at least 3; as they are if `None`. Cells number `layers // 3` and
            `2 * layers // 3` are the reductions.
        groups, channels_per_group: See `groups_of`; if neither is given, the numbers of groups stay.

    # Returns
        An architecture of the given size.
    """
    if not architecture.kind.grouped:
        raise ValueError(f"only networks of bats can be scaled, not one of {architecture.template}")
    if filters is layers is groups is channels_per_group is None:
        return architecture
    old = new = architecture.stages
    if filters is not None or layers is not None:
        present = sum(stage.depths[0] + (stage.reduction is not None) for stage in old)
        plain = tuple(dataclasses.replace(stage, groups=1) for stage in old)
        if plain != thirds(max(present, 3), old[0].widths[0]):
            raise ValueError("filters, layers: only networks whose reductions are at a third and two thirds are scaled")
        new = thirds(present if layers is None else layers, filters or old[0].widths[0])
    stages = []
    for before, stage in zip(old, new, strict=True):
        if stage.widths[0] % SHUFFLE:
            raise ValueError(f"filters: {stage.widths[0]} is no multiple of {SHUFFLE}, and channels cannot be shuffled")
        kept = before.groups if groups is channels_per_group is None else groups
        stages.append(dataclasses.replace(stage, groups=groups_of(stage.widths[0], kept, channels_per_group)))
    return dataclasses.replace(architecture, stages=tuple(stages), provenance=None)


def groups_of(width: int, groups=GROUPS, channels_per_group=None) -> int:
    """In how many groups convolutions of a number of channels work.

    # Arguments
        width: Number of channels.
        groups: Number of groups, or `"lce"` for the most that Larq Compute Engine computes natively: groups of
            multiples of 32 channels; one group if there are none.
        channels_per_group: Channels of a group, in place of `groups`.

    # Returns
        The number of groups.

    # Raises
        ValueError: If the channels cannot be divided so.
    """
    if channels_per_group is not None:
        if width % channels_per_group:
            raise ValueError(f"channels_per_group={channels_per_group}: does not divide {width} filters")
        return width // channels_per_group
    if groups == "lce":
        return next((n for n in range(width // WORD, 1, -1) if width % n == 0 and width // n % WORD == 0), 1)
    if width % groups:
        raise ValueError(f"groups={groups}: does not divide {width} filters; choose --filters or --groups otherwise")
    return groups


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
class Strategy:
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

    batch_statistics = False
    # What a search writes: file name suffix -> options of `derive`.
    variants = {"": {}}

    def choice_weights(self, logits: dict, epoch, random=None) -> dict:
        """What the candidates are weighted with in a training step."""
        return {name: tf.nn.softmax(values / self.temperature) for name, values in logits.items()}

    evaluation_weights = choice_weights

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the architecture, given that of the validation batch: without a limit, the same."""
        return loss * self.limit.factor(self.choice_weights(logits, epoch)) if self.limit else loss

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
