"""How long networks take on a device, predicted from a table of its operations.

`larq_nas benchmark --profile_operations --method=…` measures the operations of a method's space on a device, each in
files of its own, and leaves a table. What a network takes is the sum of its operations; what was not measured is fitted
to what was.

```python
from larq_nas import latency, zoo

table = latency.Table.load("latency.json")
table.predict(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)  # milliseconds
```
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import tensorflow as tf
from scipy.optimize import nnls

from larq_nas import costs
from larq_nas.costs import expected_costs, limits
from larq_nas.networks import counting
from larq_nas.networks.blocks import FLOATS
from larq_nas.networks.counting import WORD, Block
from larq_nas.space.architecture import Architecture

SCHEMA = 1
# Kinds of operations that are a binary convolution with what belongs to it.
BINARY = ("binary", "residual", "step", "preprocess")
# The longest time of an operation that is believed: a day.
MOST_MS = 86_400_000.0


class LatencyError(ValueError):
    """A table cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Milliseconds of operations on a device.

    # Arguments
        measured: `Block` to milliseconds.
        overhead: Milliseconds of a network without operations.
        device: What is known of the device.
        options: How it was measured.
    """

    measured: dict
    overhead: float = 0.0
    device: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)

    def ms(self, block: Block) -> float:
        """Milliseconds of an operation, measured or else fitted.

        # Raises
            LatencyError: If no operation of its kind was measured.
        """
        return self.measured[block] if block in self.measured else float(self.fitted(block))

    def fitted(self, block: Block):
        """Milliseconds of an operation, as a function of its size that was fitted to all measured ones of its kind.

        # Arguments
            block: The operation; `inputs` and `filters` may be tensors.

        # Returns
            A number, or a tensor.
        """
        terms = zip(self._coefficients(block.kind), features(block), strict=True)
        return sum(coefficient * value for coefficient, value in terms if coefficient)

    def ms_of(self, operator):
        """Milliseconds of a convolution of a file, with what belongs to it, or `None` of any other operator.

        # Arguments
            operator: A `converters.flatbuffer.Operator`.
        """
        kinds = {"LceBconv2d": BINARY, "CONV_2D": ("float",), "FULLY_CONNECTED": ("dense",)}.get(operator.name, ())
        kind = next((kind for kind in kinds if kind in self._fits), None)
        if kind is None:
            return None
        *taps, channels, filters = operator.kernel
        height, width = operator.shape[:2] if len(operator.shape) == 3 else (1, 1)
        return self.ms(Block(kind, channels, filters, height, width, *taps[:1], strides=operator.strides))

    def predict(self, genotype: Architecture, input_shape=(32, 32, 3), classes=10) -> float:
        """Milliseconds of the network of a genotype for one image."""
        rows = counting.rows(genotype, input_shape, classes)
        return self.overhead + sum(self.ms(row.block) for row, _ in rows if row.block)

    def _coefficients(self, kind):
        if kind not in self._fits:
            raise LatencyError(
                f"the latency table has no operation {kind!r}; it has {', '.join(sorted(self._fits))}. Measure "
                "those of this method, too: larq_nas benchmark --profile_operations --method=…"
            )
        return self._fits[kind]

    @functools.cached_property
    def _fits(self):
        kinds, fits = {}, {}
        for block, ms in self.measured.items():
            kinds.setdefault(block.kind, []).append((features(block), ms))
        for kind, pairs in kinds.items():
            x, ms = np.array([x for x, _ in pairs], float), np.array([ms for _, ms in pairs])
            # Relative errors count: the fastest operations are the most frequent ones. But what takes next to no time
            # may have been measured as none.
            weights = 1 / np.maximum(ms, max(np.median(ms) / 4, 1e-4))
            fits[kind] = nnls(x * weights[:, np.newaxis], ms * weights)[0]
        return fits

    def to_json(self) -> str:
        """The text that `load` reads."""
        rows = [{**dataclasses.asdict(block), "ms": ms} for block, ms in self.measured.items()]
        head = {"schema": SCHEMA, "device": self.device, "options": self.options, "overhead_ms": self.overhead}
        # A line for each operation.
        lines = ",\n    ".join(json.dumps(row) for row in rows)
        return f'{json.dumps(head, indent=2)[:-2]},\n  "operations": [\n    {lines}\n  ]\n}}\n'

    @classmethod
    def load(cls, path) -> "Table":
        """Reads a table.

        # Raises
            LatencyError: If the file is missing or no such table.
        """
        try:
            value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise LatencyError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise LatencyError(f"{path}: not readable as JSON: {error}") from None
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise LatencyError(f"{path}: no latency table of schema {SCHEMA}; larq_nas benchmark writes them")
        try:
            measured = dict(_measured(row, f"operations[{index}]") for index, row in enumerate(value["operations"]))
            device, options = dict(value.get("device", {})), dict(value.get("options", {}))
            return cls(measured, _ms(value["overhead_ms"], "overhead_ms"), device, options)
        except (KeyError, TypeError) as error:
            raise LatencyError(f"{path}: no latency table: {error} is missing or of a wrong kind") from None
        except LatencyError as error:
            raise LatencyError(f"{path}: {error}") from None


def _measured(row, where):
    names = {field.name for field in dataclasses.fields(Block)}
    row = dict(row)
    ms = _ms(row.pop("ms"), f"{where}.ms")
    unknown = set(row) - names
    if unknown:
        raise LatencyError(f"{where}: unknown key {sorted(unknown)[0]!r}")
    for name, value in row.items():
        good = isinstance(value, str) if name == "kind" else type(value) is int and value > 0
        if not good:
            raise LatencyError(
                f"{where}.{name}: {value!r} is not {'a name' if name == 'kind' else 'a positive integer'}"
            )
    return Block(**row), ms


def _ms(value, where):
    if type(value) not in (int, float) or not 0 <= value <= MOST_MS:
        raise LatencyError(f"{where}: {value!r} is no number of milliseconds")
    return float(value)


def features(block: Block) -> tuple:
    """What the time of an operation is a sum of: being there, multiplying, reading and writing, and groups.

    # Arguments
        block: The operation; `inputs` and `filters` may be tensors, whose channels then are not rounded up to words.
    """
    positions, taps = block.height * block.width, block.kernel_size**2
    channels = block.inputs / block.groups
    if isinstance(block.inputs, int) and not block.kind.startswith(FLOATS):
        channels = -(-block.inputs // block.groups // WORD) * WORD
    moved = positions * (block.strides**2 * block.inputs + block.filters)
    return (
        1.0,
        positions * taps * channels * block.filters / 1e6,
        positions * taps * channels * block.groups / 1e4,
        moved / 1e4,
        float(block.groups),
    )


def blocks(space: Architecture, input_shape, classes: int) -> list:
    """All different operations of the networks of a space."""
    found = {}
    for segment in counting.segments(space, input_shape, classes):
        counts = [range(len(candidates)) for candidates in segment.choices.values()]
        for place in np.ndindex(*map(len, counts)):
            values = (candidates[index] for candidates, index in zip(segment.choices.values(), place, strict=True))
            found |= {row.block: None for row, _ in segment.rows(*values) if row.block}
    return list(found)


@dataclasses.dataclass(frozen=True)
class Limit:
    """How long the network that a search finds may take.

    # Arguments
        table: The `Table`.
        most: Milliseconds.
        space: The space whose genotypes count: the one that is searched, or one of the same choices in another size.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        excluded: Operations of the space that the method never takes.
    """

    table: Table
    most: float
    space: Architecture
    input_shape: tuple
    classes: int
    excluded: tuple = ()

    def expected(self, probabilities: dict):
        """The expected milliseconds, given the probabilities of all choices. Differentiable."""
        found = expected_costs.expected_ms(self.space, probabilities, self.input_shape, self.classes, self.table)
        return tf.cast(found, tf.float32) + self.table.overhead

    @property
    def penalty(self) -> limits.Penalty:
        """How the loss of the architecture grows above the limit."""
        return limits.Penalty(self.expected, self.most)

    def ms(self, genotype: Architecture) -> float:
        """The predicted milliseconds of a genotype."""
        return self.table.predict(genotype, self.input_shape, self.classes)

    def derive(self, derive, probabilities: dict) -> Architecture:
        r"""The genotype within the limit that is the most probable by a method's own rule.

        Probabilities are weighted with \\(\exp(-\mu t)\\), where \\(t\\) are the milliseconds of an operation and
        \\(\mu\\) is the smallest number that keeps the limit.

        # Arguments
            derive: A function from the probabilities of operations, by cell, to a genotype of `space`.
            probabilities: For each cell, an array of shape `(edges, operations)`.

        # Raises
            LatencyError: If there is none, or it has a cell without any operation.
        """
        excess = self._excess()

        def at(strength):
            weights = {name: np.exp(-strength * values) for name, values in excess.items()}
            return derive({name: np.maximum(probabilities[name], 1e-30) * weights[name] for name in excess})

        if self.ms(at(0.0)) <= self.most:
            return at(0.0)
        # Of each edge the fastest operation.
        one = {name: np.where(values > 0, 1e-270, 1.0) for name, values in excess.items()}
        found = derive({name: np.maximum(probabilities[name], 1e-30) * one[name] for name in excess})
        if self.ms(found) > self.most:
            raise LatencyError(
                f"max_latency_ms={self.most}: the network of the fastest operations is predicted to take "
                f"{self.ms(found):.6g} ms"
            )
        # Beyond this strength, exponentials would vanish.
        high = 600 / max(values.max() for values in excess.values())
        if self.ms(at(high)) <= self.most:
            _, strength = limits.crossing(lambda x: self.ms(at(x)) <= self.most, 0.0, high)
            found = at(strength)
        return found

    def _excess(self):
        """For each cell, by how much each operation is slower than the fastest one of its edge."""
        times = costs.operation_costs(self.space, self.input_shape, self.classes, self.table)
        found = {}
        for cell in self.space.cells:
            taken = [name not in self.excluded for name in cell.edges[0].operations]
            least = times[cell.name][:, taken].min(axis=-1, keepdims=True)
            found[cell.name] = np.maximum(times[cell.name] - least, 0)
        return found


def fastest(limit: Limit) -> float:
    """The milliseconds below which no network of the space of a limit is, as far as operations go."""
    total = limit.table.overhead
    for segment in counting.segments(limit.space, limit.input_shape, limit.classes):
        values = [candidates[0] for candidates in segment.choices.values()]
        edges = {}
        for row, choice in segment.rows(*values):
            ms = limit.table.ms(row.block) if row.block else 0.0
            if choice is None:
                total += ms
            else:
                cell, edge, candidate = choice
                edges.setdefault((cell, edge), {}).setdefault(candidate, 0.0)
                edges[cell, edge][candidate] += ms
        for (cell, edge), known in edges.items():
            operations = limit.space.cell(cell).edges[edge].operations
            taken = [known.get(i, 0.0) for i, name in enumerate(operations) if name not in limit.excluded]
            # Edges that a node may leave out cost nothing at best.
            total += min(taken) if _is_kept(limit.space.cell(cell), edge) else 0.0
    return total


def _is_kept(cell, edge):
    """Whether the node of an edge keeps all of its edges."""
    for node in cell.nodes:
        if edge < len(node.edges):
            return node.keep == len(node.edges)
        edge -= len(node.edges)
    raise IndexError(edge)
