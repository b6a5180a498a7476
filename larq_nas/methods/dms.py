r"""DMS: the widths of a network as logistic distributions.

Each width has a ratio to that of a base network, and the ratio a logistic distribution of mean \\(\mu\\), which is
learnt, and scale \\(\sigma\\), which shrinks. Per round three candidates stand for the distribution; weights are
trained for some epochs with candidates mixed by Gumbel-softmax, then the means for one pass over the other half of the
data. Ratios have no upper bound: the next round's candidates lie around the new means, and the network grows or
shrinks with them, keeping what it can of its weights.

```
larq_nas search --method=dms --backbone=vgg11 --memory_target=0.12 --dataset=cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas import chains, costs, counting, expected_costs, latency, supernet, templates
from larq_nas.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.sampling import gumbel_softmax

# Filters of the networks for CIFAR-10, a quarter of those for ImageNet, in the order of `chains.WIDTHS`.
BASES = {
    "vgg11": (16, 32, 64, 64, 128, 128, 128, 128),
    "resnet18": (16, *(16, 16, 32, 32, 64, 64, 128, 128), 32, 64, 128),
}
# The least ratio, and the least value of it that counts as a candidate's; section B.2.1.
LEAST_RATIO, LEAST_EDGE = 0.3, 0.25
# Distance and half of the breadth of candidates, in scales; section 2.3.
DISTANCE, HALF_BREADTH = 0.8, 0.4
MEGABYTE = 2**20
# Widest layer of what is scaled to a size.
MOST_FILTERS = 1 << 15


def space(backbone, factor=1) -> Architecture:
    """The base network: ratios are to its widths, and have no upper bound.

    # Arguments
        backbone: `"vgg11"`, `"resnet18"`, or a genotype of BARS, of whose stages the widths are searched.
        factor: What all widths are multiplied by; 4 for the networks of ImageNet.

    # Returns
        A genotype, all ratios being 1.

    # References
        - DMS, sections 3.1 and A.3. It does not say whether the width that the stem and the first stage of ResNet-18
          share is searched; here it is.
    """
    if isinstance(backbone, Architecture):
        decided = backbone.decided
        if not decided or backbone.kind.method not in ("bars", "dms"):
            found = f"a genotype of {backbone.template}" if decided else "a space"
            raise ValueError(f"backbone: is {found}; accepted are genotypes of bars and of {', '.join(chains.WIDTHS)}")
        base = with_widths(backbone, base_widths(backbone)[:, np.newaxis] * factor)
        templates.check_layout(opened(base, [1] * len(base.stages)))
        return base
    if backbone not in BASES:
        raise ValueError(f"backbone={backbone!r}: accepted are {', '.join(BASES)}, or a genotype of bars")
    widths = zip(chains.WIDTHS[backbone], BASES[backbone], strict=True)
    return Architecture(backbone, (), tuple(Stage(name, (width * factor,), (1,)) for name, width in widths))


def base_widths(base: Architecture) -> np.ndarray:
    """The widths of a genotype, one for each stage."""
    return np.array([stage.widths[0] for stage in base.stages])


def with_widths(base: Architecture, widths) -> Architecture:
    """The same architecture with other candidate widths, a list for each stage."""
    stages = zip(base.stages, widths, strict=True)
    stages = (dataclasses.replace(stage, widths=tuple(map(int, candidates))) for stage, candidates in stages)
    return dataclasses.replace(base, stages=tuple(stages), provenance=None)


def derive(base: Architecture, ratios) -> Architecture:
    """The genotype of the mean ratios."""
    return with_widths(base, rounded(base, ratios)[:, np.newaxis])


def units(base: Architecture) -> np.ndarray:
    """What the widths are multiples of: with cells, which double their channels, a power of two for each stage."""
    return np.array([1 << index if base.cells else 1 for index in range(len(base.stages))])


def rounded(base: Architecture, ratios) -> np.ndarray:
    """Numbers of filters at given ratios, of shape `(widths, ...)`: the nearest multiples of `units`, at least one."""
    ratios = np.asarray(ratios)
    unit, width = (np.reshape(x, (-1, *[1] * (ratios.ndim - 1))) for x in (units(base), base_widths(base)))
    return (np.maximum(np.rint(ratios * width / unit), 1) * unit).astype(int)


def opened(base: Architecture, room) -> Architecture:
    """The space of all widths up to some number of units.

    Edges list all operations of their template, so that masks reach the kernels of cells.

    # Arguments
        base: The base network.
        room: The largest width in units, for each stage.
    """
    widths = [range(unit, unit * size + 1, unit) for unit, size in zip(units(base), room, strict=True)]
    names = base.kind.operations

    def with_all(node):
        return Node(tuple(Edge(edge.source, names) for edge in node.edges), node.keep)

    cells = tuple(Cell(cell.name, tuple(map(with_all, cell.nodes))) for cell in base.cells)
    return dataclasses.replace(with_widths(base, widths), cells=cells)


def cluster(mean: np.ndarray, scale: float):
    """The candidates of a round.

    # Arguments
        mean: The mean ratio of each width.
        scale: The scale of their distributions.

    # Returns
        Three ratios for each width, and the four edges of their bins. Where the least ratio binds, inner edges are
        midway between candidates.

    # References
        - DMS, sections 2.3 and B.2.1
    """
    ratios = np.maximum(mean[:, np.newaxis] + scale * DISTANCE * np.array([-1, 0, 1]), LEAST_RATIO)
    inner = (ratios[:, 1:] + ratios[:, :-1]) / 2
    lower = np.maximum(ratios[:, :1] - HALF_BREADTH * scale, LEAST_EDGE)
    return ratios, np.concatenate([lower, inner, ratios[:, -1:] + HALF_BREADTH * scale], axis=1)


def log_probabilities(mean, edges, scale):
    r"""The logarithms of the candidates' probabilities, as functions of the means alone.

    Candidates and bins must not move with the means: relative to a bin that does, a probability is constant.

    # Arguments
        mean: A tensor of shape `(widths,)`.
        edges: Edges of the bins, of shape `(widths, candidates + 1)`.
        scale: The scale of all distributions.

    # Returns
        A tensor of shape `(widths, candidates)`.

    # References
        - DMS, equations 4 and 5, whose printed forms have a wrong sign and a numerator of 0
    """
    z = (edges - mean[:, tf.newaxis]) / scale

    def log_mass(low, high):
        # F(high) - F(low) = F(high) F(-low) (1 - exp(low - high)), where nothing cancels.
        return tf.math.log_sigmoid(high) + tf.math.log_sigmoid(-low) + tf.math.log1p(-tf.exp(low - high))

    return log_mass(z[:, :-1], z[:, 1:]) - log_mass(z[:, :1], z[:, -1:])


def megabytes(base: Architecture, widths, input_shape, classes: int):
    """The size of a network, differentiable in its widths.

    # Arguments
        base: A genotype of a template without cells.
        widths: Numbers of filters by the name of the width, integers or tensors.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.

    # Returns
        Megabytes of 2^20 bytes: binary kernels at one bit and a float scale for each of their filters, first and last
        layer as floats, no BatchNorm. This reproduces table 1 for VGG-11 (`docs/costs.md`).
    """
    total = 0.0
    for row, _ in counting.rows(base, input_shape, classes, widths):
        if row.binary:
            total += row.weights / 8 + 4 * row.kernel[-1]
        elif row.kernel:
            total += 4 * row.weights + (4 * classes if row.kind == "dense" else 0)
    return total / MEGABYTE


def size(genotype: Architecture, input_shape, classes: int) -> float:
    """Megabytes of a genotype: `megabytes`, or with cells what `costs` counts."""
    if genotype.cells:
        return costs.count(genotype, input_shape, classes).bytes / MEGABYTE
    widths = {stage.cell: stage.widths[0] for stage in genotype.stages}
    return megabytes(genotype, widths, input_shape, classes)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How DMS searches.

    # Arguments
        rounds: How often candidates are drawn up.
        ratio: Mean ratio of all widths at first.
        scale: Scale of their distributions at first.
        final_scale: That of the last round; it falls by the same factor each round.
        memory_target: Megabytes above which memory costs; `None` for no target. The paper's are 0.12 and 1.
        memory_weight: Loss per megabyte above the target.
        temperature: Of the Gumbel-softmax.
        best_effort: Whether a new network starts with what it can keep of the old one's weights.
        genotype_megabytes: Size of the genotype; `None` for that of the ratios that were found.
        limit: How long the genotype may take, a `latency.Limit`; it takes the place of `memory_target`. Where the
            ratios that were found would take longer, all are multiplied by what it takes.

    # References
        - DMS, sections 2.4 and B.2.1
    """

    rounds: int = 50
    ratio: float = 1.5
    scale: float = 1.0
    final_scale: float = 0.3
    memory_target: float | None = None
    memory_weight: float = 0.01
    temperature: float = 1.0
    best_effort: bool = True
    genotype_megabytes: float | None = None
    limit: latency.Limit | None = None

    def __post_init__(self):
        if self.ratio < LEAST_RATIO:
            raise ValueError(f"ratio={self.ratio}: must be at least {LEAST_RATIO}")
        if not 0 < self.final_scale <= self.scale:
            raise ValueError(f"final_scale={self.final_scale}: must be positive and at most scale={self.scale}")

    def scale_at(self, number: int) -> float:
        """The scale in a round, counted from 0."""
        return self.scale * (self.final_scale / self.scale) ** (number / max(self.rounds - 1, 1))

    def check(self, base: Architecture, input_shape, classes: int):
        """Raises `ValueError` if no network of the base can have `genotype_megabytes` or keep the limit."""
        narrowest = derive(base, np.zeros(len(base.stages)))
        if self.limit and self.limit.ms(narrowest) > self.limit.most:
            raise ValueError(
                f"max_latency_ms={self.limit.most}: one filter in each layer is predicted to take "
                f"{self.limit.ms(narrowest):.3f} ms"
            )
        least = size(narrowest, input_shape, classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes < least:
            raise ValueError(
                f"genotype_megabytes={self.genotype_megabytes}: must be at least {least:.4f}, which one filter in each "
                "layer takes"
            )
        widest = size(derive(base, np.full(len(base.stages), self._most(base, 1.0))), input_shape, classes)
        if self.genotype_megabytes is not None and self.genotype_megabytes > widest:
            raise ValueError(f"genotype_megabytes={self.genotype_megabytes}: must be at most {widest:.4g}")

    def _most(self, base, ratios):
        """By what ratios can be multiplied at most."""
        return MOST_FILTERS / np.max(base_widths(base) * ratios)

    def derive(self, base: Architecture, ratios, input_shape, classes: int) -> Architecture:
        """The genotype of the mean ratios, or of a multiple of them that has `genotype_megabytes`."""
        most = self._most(base, ratios)
        if self.limit:
            factor = self._factor(lambda x: self.limit.ms(derive(base, ratios * x)) - self.limit.most, most)[0]
            return derive(base, ratios * min(factor, 1.0))
        if self.genotype_megabytes is None:
            return derive(base, ratios)

        def excess(factor):
            return size(derive(base, ratios * factor), input_shape, classes) - self.genotype_megabytes

        return derive(base, ratios * min(self._factor(excess, most), key=lambda factor: abs(excess(factor))))

    @staticmethod
    def _factor(excess, most):
        """Two factors close to each other, the lower of which has no excess and the higher has."""
        low, high = most * 1e-6, most
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if excess(middle) > 0 else (middle, high)
        return low, high


# Networks have room for a multiple of so many filters, so that many rounds can use the same one. What no candidate has
# is masked; its weights still count where the following kernel is standardized, as those of rare candidates do.
ROOM = 8


def room(base: Architecture, candidates: np.ndarray, present=None) -> np.ndarray:
    """How many filters a network should have room for, in `units`.

    # Arguments
        base: The base network.
        candidates: Numbers of filters of the candidates, of shape `(widths, candidates)`.
        present: What it has room for now.

    # Returns
        The widest candidates, each rounded up to a multiple of `ROOM` filters; or what there is, if the candidates fit
        in it and a smaller network would not save a fifth of the filters. The stages of cells have the same.
    """
    widest = candidates.max(axis=1) // units(base)
    needed = -(-widest // ROOM) * ROOM
    if base.cells:
        needed = np.full_like(needed, needed.max())
    if present is not None and np.all(widest <= present) and 5 * needed.sum() > 4 * present.sum():
        return present
    return needed


class Candidates(tf.Module):
    """The candidates of a round, for a `WidthSupernet`: in variables, so that the next round traces no step again.

    # Arguments
        strategy: The `Strategy`.
        base: The base network.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
    """

    batch_statistics = False
    warmup_epochs = 0
    normalize = False

    def __init__(self, strategy: Strategy, base: Architecture, input_shape, classes):
        super().__init__()
        self.strategy, self.base, self.input_shape, self.classes = strategy, base, input_shape, classes
        self.room, count = None, len(base.stages)
        names = base.kind.operations
        indices = {cell.name: [names.index(e.operations[0]) for e in cell.edges] for cell in base.cells}
        self.decided = {name: tf.one_hot(values, len(names)) for name, values in indices.items()}
        self.edges = tf.Variable(tf.zeros([count, 4]), trainable=False)
        self.filters = tf.Variable(tf.zeros([count, 3], tf.int32), trainable=False)
        self.scale = tf.Variable(1.0, trainable=False)

    def begin(self, mean: np.ndarray, scale: float):
        """Draws up the candidates and returns their numbers of filters."""
        ratios, edges = cluster(mean, scale)
        filters = rounded(self.base, ratios)
        self.edges.assign(edges)
        self.filters.assign(filters)
        self.scale.assign(scale)
        return filters

    def choice_weights(self, logits: dict, epoch, random=tf.random) -> dict:
        """Weights of the candidates of each width."""
        logits = log_probabilities(logits["mean"], self.edges, self.scale)
        return self._named(gumbel_softmax(logits, self.strategy.temperature, random))

    def evaluation_weights(self, logits: dict, epoch) -> dict:
        """The same without noise."""
        return self._named(tf.exp(log_probabilities(logits["mean"], self.edges, self.scale)))

    def _named(self, weights):
        """Weights of all numbers of filters up to the largest that there is room for, most of them 0."""
        named = dict(self.decided)
        places = tf.unstack(self.filters // units(self.base)[:, np.newaxis] - 1)
        for index, (size, indices, values) in enumerate(zip(self.room, places, tf.unstack(weights), strict=True)):
            named[templates.width_name(index)] = tf.linalg.matvec(tf.one_hot(indices, size), values, transpose_a=True)
        return named

    def memory(self, mean):
        """Megabytes at the mean ratios; with cells, what is expected of the candidates, as `costs` counts bytes."""
        if self.base.cells:
            return tf.cast(expected_costs.expected(*self._expectation(mean)).bytes, tf.float32) / MEGABYTE
        return megabytes(self.base, self._widths(mean), self.input_shape, self.classes)

    def _expectation(self, mean):
        """The space of the candidates, and their probabilities."""
        weights = self.evaluation_weights({"mean": mean}, None)
        space = with_widths(self.base, [stage.widths for stage in opened(self.base, self.room).stages])
        for cell in space.cells:
            weights[cell.name] = tf.ones([len(cell.edges), 1])
        return space, weights, self.input_shape, self.classes

    def _widths(self, mean):
        widths = tf.unstack(mean * tf.constant(base_widths(self.base), tf.float32))
        return {stage.cell: width for stage, width in zip(self.base.stages, widths, strict=True)}

    def ms(self, mean):
        """Milliseconds at the mean ratios; with cells, what is expected of the candidates."""
        table = self.strategy.limit.table
        if self.base.cells:
            return tf.cast(expected_costs.expected_ms(*self._expectation(mean), table), tf.float32) + table.overhead
        widths = self._widths(mean)
        rows = counting.rows(self.base, self.input_shape, self.classes, widths)
        return table.overhead + sum(table.fitted(row.block) for row, _ in rows if row.block)

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the means, given that of the validation batch.

        # References
            - DMS, equation 7
        """
        if self.strategy.limit:
            return loss * tf.maximum(self.ms(logits["mean"]) / self.strategy.limit.most, 1.0)
        if self.strategy.memory_target is None:
            return loss
        excess = tf.maximum(self.memory(logits["mean"]) - self.strategy.memory_target, 0.0)
        return loss + self.strategy.memory_weight * excess


class WidthSupernet(supernet.Supernet):
    """A network with room for many widths, whose steps train weights or, if `turn` is 1, the mean ratios.

    # Arguments
        candidates: The `Candidates`.
        room: Filters that there is room for, one number for each width.
    """

    def __init__(self, candidates: Candidates, room):
        candidates.room = tuple(map(int, room))
        space = opened(candidates.base, candidates.room)
        super().__init__(candidates, space, candidates.input_shape, candidates.classes)
        self.turn = tf.Variable(0, trainable=False, name="turn")

    def make_logits(self, shapes):
        ratio = tf.keras.initializers.Constant(self.strategy.strategy.ratio)
        return {"mean": self.add_weight("mean", (len(self.space.stages),), initializer=ratio)}

    def figures(self):
        return {}

    def train_step(self, data):
        images, labels = data
        tf.cond(
            self.turn == 0,
            lambda: self._weights_step(images, labels),
            lambda: self._means_step(images, labels),
        )
        return {metric.name: metric.result() for metric in self.metrics}

    def _means_step(self, images, labels):
        predictions = self._architecture_step(images, labels)
        self.compiled_loss(labels, predictions)
        self.compute_metrics(images, labels, predictions, None)
        mean = self.logits["mean"]
        mean.assign(tf.maximum(mean, LEAST_RATIO))


def best_effort(network: tf.keras.Model, values: dict, groups=None):
    """Copies what fits into a network: of each tensor the first entries along every axis.

    # Arguments
        network: The new network.
        values: Arrays of the old one's variables by name.
        groups: If channels come in groups, as with cells: how many there are in a group of the old network, and of the
            new one. Then the first of each group are copied.

    # References
        - DMS, equations 9 and 10, the first of which keeps as many entries as the new tensor has
    """
    for variable in network.variables:
        if variable.name in values:
            old, new = values[variable.name], np.array(variable)
            places = [_common(*sizes, groups) for sizes in zip(old.shape, new.shape, strict=True)]
            if places:
                new[np.ix_(*(to for _, to in places))] = old[np.ix_(*(of for of, _ in places))]
            variable.assign(new if places else old)


def _common(old, new, groups):
    """The indices along an axis of what is copied, in the old tensor and in the new one."""
    sizes = groups or (old, new)
    if old == new or old % sizes[0] or new % sizes[1] or old // sizes[0] != new // sizes[1]:
        sizes = old, new
    first = np.arange(min(sizes))
    return tuple(
        (np.arange(0, n, size)[:, np.newaxis] + first).ravel() for n, size in zip((old, new), sizes, strict=True)
    )
