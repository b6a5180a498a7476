"""BARS: joint search of cell topology and layout.

The topology of the cells, how many there are in a stage, and how wide they are, are searched together, under a budget
of operations. Against the collapse into shortcuts stand samples in place of mixtures (Gumbel-softmax), a warm-up of the
weights, and an entropy term that first rewards indecision and then punishes it.

```
larq_nas search --method=bars --dataset=cifar10 --budget=2096M   # the defaults are those of the recipe bars_cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - [BARS: Joint Search of Cell Topology and Layout for Accurate and Efficient Binary
      ARchitectures](https://arxiv.org/abs/2011.10804), Zhao, Ning et al.
"""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import costs, expected_costs, latency, templates
from larq_nas.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.sampling import gumbel_softmax

OPERATIONS = templates.BARS.operations
NODES, STAGES, WIDTHS = 4, 3, 4


def space(
    filters=56, cells_per_stage=3, shared_cells=False, width_search=True, depth_search=True, cell_shortcut=True
) -> Architecture:
    """The search space: topology, depth and width of three stages, and the topology of the reductions between them.

    # Arguments
        filters: Most channels of a node in the first stage, a multiple of 4; twice as many after each reduction. The
            candidate widths are a quarter, a half, three quarters and all of them.
        cells_per_stage: Most cells of a stage beside reductions. The least is none: the stage is its reduction alone.
        shared_cells: Whether all stages have the same cell, and all reductions.
        width_search: Whether widths are searched, or the largest is taken.
        depth_search: Whether depths are searched, or the largest is taken.
        cell_shortcut: Whether there is a shortcut around each cell.

    # Returns
        The space; its `size` counts genotypes.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1. Not public are the filters and the cells per stage
          (here as in the paper's example) and whether all stages have cells of their own (here: yes, as in its text).
    """
    if filters < WIDTHS or filters % WIDTHS:
        raise ValueError(f"filters={filters}: must be a multiple of {WIDTHS}, for widths of a quarter of them")
    if cells_per_stage < 1:
        raise ValueError(f"cells_per_stage={cells_per_stage}: must be at least 1")
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + 1)), index + 1) for index in range(NODES)
    )
    stages = []
    for index in range(STAGES):
        widths = tuple((filters << index) * step // WIDTHS for step in range(1, WIDTHS + 1))
        depths = tuple(range(cells_per_stage + 1))
        suffix = "" if shared_cells else str(index)
        stages.append(
            Stage(
                f"normal{suffix}",
                widths if width_search else widths[-1:],
                depths if depth_search else depths[-1:],
                f"reduce{suffix}" if index else None,
            )
        )
    names = dict.fromkeys(name for stage in stages for name in (stage.cell, stage.reduction) if name)
    cells = tuple(Cell(name, nodes) for name in names)
    return Architecture("bars", cells, tuple(stages), {"cell_shortcut": cell_shortcut})


def scale(architecture: Architecture, filters: int) -> Architecture:
    """The same cells and depths, with widths in the same proportion to another number of filters.

    # Arguments
        architecture: A space of `bars`.
        filters: As for `space`.

    # Returns
        A space of the given size.
    """
    most = max(architecture.stages[0].widths)
    stages = []
    for stage in architecture.stages:
        if any(width * filters % most for width in stage.widths):
            raise ValueError(f"filters={filters}: the widths {stage.widths} of {most} are no integers of it")
        stages.append(dataclasses.replace(stage, widths=tuple(width * filters // most for width in stage.widths)))
    return dataclasses.replace(architecture, stages=tuple(stages), provenance=None)


def binary_operations(space: Architecture, input_shape, classes) -> tuple[int, int]:
    """The binary operations of the smallest and of the largest network of a space."""
    found = []
    for index in (0, -1):
        # The first candidate of each choice is the cheapest, the last the most expensive.
        indices = {
            name: np.full(shape[:-1], index % shape[-1]) for name, shape in templates.choice_shapes(space).items()
        }
        found.append(costs.count(decide(space, indices), input_shape, classes).biops)
    return tuple(found)


def share_of_range(space: Architecture, share: float, input_shape, classes) -> float:
    """A budget: a share of the way from the smallest network of a space, 0, to the largest, 1, in binary operations."""
    smallest, largest = binary_operations(space, input_shape, classes)
    return smallest + share * (largest - smallest)


def entropy(probabilities: tf.Tensor) -> tf.Tensor:
    """The entropy of each row, in nats."""
    return -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=-1)


def capacity(cost, budget, exponent=1.0):
    """The factor of the loss: 1 below the budget, and the excess to the power of `exponent` above it.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 7. The text seems to exchange the two exponents; the
          authors' code does what stands here.
    """
    return tf.maximum(cost / budget, 1.0) ** exponent


@dataclasses.dataclass(frozen=True)
class Strategy:
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
        capacity_exponent: See `capacity`.
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
    counted: tuple | None = None
    samples: int = 8
    accepted: dict = dataclasses.field(default_factory=dict)
    tolerance: float = 0.02
    limit: latency.Limit | None = None

    # Samples would spoil moving averages.
    batch_statistics = True
    normalize = False
    variants = {"": {}}

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
        if self.budget is not None:
            cost = tf.cast(self.expected(probabilities).biops, tf.float32)
            loss *= capacity(cost, self.budget, self.capacity_exponent)
        if self.limit:
            loss *= capacity(self.limit.expected(probabilities), self.limit.most, self.capacity_exponent)
        total = tf.add_n([tf.reduce_sum(entropy(values)) for values in probabilities.values()])
        return loss + self.entropy_weight_at(epoch) * total

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
        indices = connected(space, _most_probable(probabilities), probabilities)
        return decide(self.counted[0] if self.counted else space, indices)

    def candidates(self, space: Architecture, probabilities: dict, seed: int) -> list:
        """The genotypes of which the one with the lowest validation loss is to be kept.

        # Arguments
            space: The space that was searched.
            probabilities: For each choice by name, those of its candidates.
            seed: The same seed draws the same genotypes.

        # Returns
            A list of `Candidate`.

        # References
            - [BARS](https://arxiv.org/abs/2011.10804), section 4.3, K = 8. "none" may win an edge, but not all edges of
              a node, see `connected`.
        """
        if not self.samples:
            return [self._candidate(space, connected(space, _most_probable(probabilities), probabilities))]
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
                changed = connected(space, _changed(indices, flat if late else even, generator), probabilities)
                candidate = self._candidate(space, changed)
                if self._excess(candidate.figures) <= self._excess(best.figures):
                    indices, best = changed, candidate
            if nearest is None or self._excess(best.figures) < self._excess(nearest.figures):
                nearest = best
        return nearest

    def _likelier(self, space, probabilities, indices, best, generator):
        for _ in range(CHANGES):
            changed = connected(space, _changed(indices, probabilities, generator), probabilities)
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
        return Candidate(genotype, one_hot(space, indices), figures)


# How often a genotype of accepted costs is looked for, and how many changes are tried each time.
STARTS, CHANGES = 10, 400


def _changed(indices, probabilities, generator):
    """One to three of the choices made again."""
    again = draw(probabilities, generator)
    for name in generator.choice(list(indices), generator.integers(1, 4)):
        values = indices[name]
        place = np.arange(np.size(values)).reshape(np.shape(values)) == generator.integers(np.size(values))
        indices = {**indices, name: np.where(place, again[name], values)}
    return indices


def connected(space: Architecture, indices: dict, probabilities: dict) -> dict:
    """The same choices without nodes that only add "none".

    Such a node gets the most probable other operation on its edge from the cell's input. Else a genotype might spend
    its budget on convolutions of zeros.

    # Arguments
        space: The space.
        indices: The choices, as `draw` returns them.
        probabilities: For each choice by name, those of its candidates.
    """
    for cell in space.cells:
        if cell.name not in indices:
            continue
        chosen, row = np.array(indices[cell.name]), 0
        for node in cell.nodes:
            names = [edge.operations[chosen[row + index]] for index, edge in enumerate(node.edges)]
            if all(name == "none" for name in names):
                operations, likely = node.edges[0].operations, np.array(probabilities[cell.name][row], np.float64)
                others = [index for index, name in enumerate(operations) if name != "none"]
                chosen[row] = max(others, key=likely.__getitem__) if others else chosen[row]
            row += len(node.edges)
        indices = {**indices, cell.name: chosen}
    return indices


def log_likelihood(probabilities: dict, indices: dict) -> float:
    """The logarithm of the probability that `draw` returns these indices."""
    chosen = (np.take_along_axis(p, np.expand_dims(indices[name], -1), axis=-1) for name, p in probabilities.items())
    return sum(np.sum(np.log(np.maximum(values, np.finfo(np.float32).tiny))) for values in chosen)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A genotype that a search may end with.

    # Arguments
        genotype: The genotype.
        weights: The choice weights with which a supernet computes as it does.
        figures: Its costs.
    """

    genotype: Architecture
    weights: dict
    figures: dict


def _most_probable(probabilities):
    return {name: np.argmax(values, axis=-1) for name, values in probabilities.items()}


def draw(probabilities: dict, generator: np.random.Generator) -> dict:
    """Draws all choices independently.

    # Arguments
        probabilities: For each choice by name, an array of shape `(..., candidates)`.
        generator: A random generator.

    # Returns
        For each choice by name the indices of the candidates, an array of shape `(...)`.
    """
    indices = {}
    for name, values in probabilities.items():
        steps = np.cumsum(np.asarray(values, np.float64), axis=-1)
        uniform = generator.random(steps.shape[:-1])[..., np.newaxis] * steps[..., -1:]
        indices[name] = np.sum(uniform >= steps, axis=-1)
    return indices


def decide(space: Architecture, indices: dict) -> Architecture:
    """The genotype of a space with the given candidates; `indices` are as `draw` returns them."""
    cells = []
    for cell in space.cells:
        rows = iter(np.zeros(len(cell.edges), int) if cell.name not in indices else indices[cell.name])
        nodes = (
            Node(tuple(Edge(edge.source, (edge.operations[next(rows)],)) for edge in node.edges), node.keep)
            for node in cell.nodes
        )
        cells.append(Cell(cell.name, tuple(nodes)))
    stages = []
    for number, stage in enumerate(space.stages):
        width, depth = indices.get(templates.width_name(number), 0), indices.get(templates.depth_name(number), 0)
        stages.append(dataclasses.replace(stage, widths=(stage.widths[width],), depths=(stage.depths[depth],)))
    return Architecture(space.template, tuple(cells), tuple(stages), space.options)


def one_hot(space: Architecture, indices: dict) -> dict:
    """Choice weights of a supernet that leave the chosen candidates; `indices` are as `draw` returns them."""
    shapes = templates.choice_shapes(space)
    return {name: np.eye(shapes[name][-1], dtype=np.float32)[values] for name, values in indices.items()}


def _candidates(space, name):
    stage = space.stages[int(name.partition("_")[0].removeprefix("stage"))]
    return stage.widths if name.endswith("_width") else stage.depths
