"""Predicting the latency of networks on a device from a table of the latencies of operations.

`larq_nas benchmark --profile_operations --method=…` measures the operations of the space of a method on a device and
writes a table. Each operation is measured in files of its own. The latency of a network is the sum over its operations.
The latency of an operation that was not measured is fitted to the measured ones.

```python
from larq_nas import latency, zoo

table = latency.Table.load("latency.json")
table.predict(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), num_classes=10)  # milliseconds
```
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.optimize import nnls

from larq_nas import costs
from larq_nas.costs import expected_costs, limits
from larq_nas.networks import counting
from larq_nas.networks.blocks import kinds
from larq_nas.networks.counting import WORD, Block
from larq_nas.space.architecture import Architecture

SCHEMA = 1
# The longest accepted time of an operation: a day.
MOST_MS = 86_400_000.0


class LatencyError(ValueError):
    """A latency table cannot be used. The message says what to do."""


def _non_negative(x, y):
    """Returns the non-negative coefficients of the least squares of `x` times coefficients minus `y`."""
    # The features differ by orders of magnitude. Unless their columns have the same length, some versions of SciPy stop
    # before the minimum, or reach their maximum of iterations.
    lengths = np.linalg.norm(x, axis=0)
    lengths[lengths == 0] = 1
    return nnls(x / lengths, y)[0] / lengths


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table of the milliseconds of operations on a device.

    # Arguments
        measured: A dictionary of each measured `Block` to its milliseconds.
        overhead: The milliseconds of a network without operations.
        device: A description of the device.
        options: The options of the measurement.
    """

    measured: dict
    overhead: float = 0.0
    device: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)

    def ms(self, block: Block) -> float:
        """The milliseconds of an operation. If the operation was not measured, they are fitted.

        # Arguments
            block: The operation.

        # Returns
            The milliseconds, a float.

        # Raises
            LatencyError: If no operation of its kind was measured.
        """
        return self.measured[block] if block in self.measured else float(self.estimate(block))

    def estimate(self, block: Block) -> Any:
        """Predicts the milliseconds of an operation from its size, by a fit to the measured operations of its kind.

        # Arguments
            block: The operation. Its `inputs` and `filters` may be tensors.

        # Returns
            The milliseconds: a float, or a tensor if `inputs` or `filters` is one.

        # Raises
            LatencyError: If no operation of its kind was measured.
        """
        terms = zip(self._coefficients(block.kind), features(block), strict=True)
        return sum(coefficient * value for coefficient, value in terms if coefficient)

    def ms_of(self, operator: Any) -> float | None:
        """The milliseconds of a convolution in a `.tflite` file, including the layers that belong to it.

        # Arguments
            operator: A `converters.flatbuffer.Operator`.

        # Returns
            The milliseconds, or `None` if the operator is no convolution or dense layer of a measured kind.
        """
        alike = (name for name, kind in kinds().items() if kind.operator == operator.name)
        kind = next((name for name in alike if name in self._fits), None)
        if kind is None:
            return None
        *taps, channels, filters = operator.kernel
        height, width = operator.shape[:2] if len(operator.shape) == 3 else (1, 1)
        return self.ms(Block(kind, channels, filters, height, width, taps[0] if taps else 1, operator.strides))

    def predict(self, genotype: Architecture, input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10) -> float:
        """Predicts the milliseconds of the network of a genotype for one image.

        # Arguments
            genotype: The genotype.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            The milliseconds, a float.

        # Raises
            LatencyError: If no operation of a kind that the network has was measured.
        """
        rows = counting.rows(genotype, input_shape, num_classes)
        return self.overhead + sum(self.ms(row.block) for row, _ in rows if row.block)

    def _coefficients(self, kind):
        if kind not in self._fits:
            raise LatencyError(
                f"the latency table has no operation {kind!r}; it has {', '.join(sorted(self._fits))}. Measure "
                "those of this method, too: larq_nas benchmark with profile_operations=True and method=…"
            )
        return self._fits[kind]

    @functools.cached_property
    def _fits(self):
        by_kind, fits = {}, {}
        for block, ms in self.measured.items():
            by_kind.setdefault(block.kind, []).append((features(block), ms))
        for kind, pairs in by_kind.items():
            x, ms = np.array([x for x, _ in pairs], float), np.array([ms for _, ms in pairs])
            # The fit minimizes relative errors, since the fastest operations are the most frequent ones. The weights
            # are bounded, since a very short time may have been measured as 0.
            weights = 1 / np.maximum(ms, max(np.median(ms) / 4, 1e-4))
            fits[kind] = _non_negative(x * weights[:, np.newaxis], ms * weights)
        return fits

    def to_json(self) -> str:
        """The table as JSON, as `load` reads it."""
        rows = [{**dataclasses.asdict(block), "ms": ms} for block, ms in self.measured.items()]
        head = {"schema": SCHEMA, "device": self.device, "options": self.options, "overhead_ms": self.overhead}
        # Each operation is on a line of its own.
        lines = ",\n    ".join(json.dumps(row) for row in rows)
        return f'{json.dumps(head, indent=2)[:-2]},\n  "operations": [\n    {lines}\n  ]\n}}\n'

    @classmethod
    def load(cls, path: pathlib.Path | str) -> "Table":
        """Reads a table from a file.

        # Arguments
            path: The path of the file, `latency.json`.

        # Returns
            The `Table`.

        # Raises
            LatencyError: If the file is missing, or if it is not a latency table.
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
    """The features of an operation. Its time is fitted as a sum of them with non-negative coefficients.

    # Arguments
        block: The operation. Its `inputs` and `filters` may be tensors. If `inputs` is a tensor, the channels are not
            rounded up to multiples of a word.

    # Returns
        Five numbers or tensors: 1; the multiply-accumulates in millions; the input values, each counted once for every
        tap that reads it, in ten thousands; the values that are read and written, in ten thousands; and the number of
        groups.
    """
    positions, taps = block.height * block.width, block.kernel_size**2
    channels = block.inputs / block.groups
    kind = kinds().get(block.kind)
    if isinstance(block.inputs, int) and not (kind and kind.float_kernel):
        channels = -(-block.inputs // block.groups // WORD) * WORD
    moved = positions * (block.strides**2 * block.inputs + block.filters)
    return (
        1.0,
        positions * taps * channels * block.filters / 1e6,
        positions * taps * channels * block.groups / 1e4,
        moved / 1e4,
        float(block.groups),
    )


def blocks(space: Architecture, input_shape: Sequence[int], num_classes: int) -> list:
    """The operations of all networks of a space.

    # Arguments
        space: The space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        A list of different `Block`s.
    """
    found = {}
    for segment in counting.segments(space, input_shape, num_classes):
        counts = [range(len(candidates)) for candidates in segment.choices.values()]
        for place in np.ndindex(*map(len, counts)):
            values = (candidates[index] for candidates, index in zip(segment.choices.values(), place, strict=True))
            found |= {row.block: None for row, _ in segment.rows(*values) if row.block}
    return list(found)


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit on the predicted latency of the genotype that a search finds.

    # Arguments
        table: The `Table` from which latencies are predicted.
        max_ms: The most milliseconds that the network may take.
        space: The space to which the genotype belongs. It is the space that is searched, or one with the same choices
            in another size.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        excluded: Names of the operations of the space that the method never chooses.
    """

    table: Table
    max_ms: float
    space: Architecture
    input_shape: Sequence[int]
    num_classes: int
    excluded: Sequence[str] = ()

    def expected(self, probabilities: dict) -> tf.Tensor:
        """The expected milliseconds, a tensor that is differentiable in the probabilities of the choices."""
        found = expected_costs.expected_ms(self.space, probabilities, self.input_shape, self.num_classes, self.table)
        return tf.cast(found, tf.float32) + self.table.overhead

    @property
    def penalty(self) -> limits.Penalty:
        """The penalty that increases the loss of the architecture above the limit."""
        return limits.Penalty(self.expected, self.max_ms)

    def ms(self, genotype: Architecture) -> float:
        """The predicted milliseconds of a genotype."""
        return self.table.predict(genotype, self.input_shape, self.num_classes)

    def derive(self, derive: Callable[[dict], Architecture], probabilities: dict) -> Architecture:
        r"""Derives the most probable genotype within the limit.

        The probabilities are multiplied by \\(\exp(-\mu t)\\). There, \\(t\\) are the milliseconds by which an
        operation is slower than the fastest one of its edge, and \\(\mu\\) is the smallest number with which the
        genotype keeps the limit.

        # Arguments
            derive: A function that derives a genotype of `space` from probabilities by the name of the cell.
            probabilities: By the name of each cell, an array of shape `(edges, operations)`.

        # Returns
            The genotype.

        # Raises
            LatencyError: If even the genotype of the fastest operations exceeds the limit.
        """
        excess = self._excess()

        def at(strength):
            weights = {name: np.exp(-strength * values) for name, values in excess.items()}
            return derive({name: np.maximum(probabilities[name], 1e-30) * weights[name] for name in excess})

        if self.ms(at(0.0)) <= self.max_ms:
            return at(0.0)
        # This derives the genotype that has the fastest operation on each edge.
        one = {name: np.where(values > 0, 1e-270, 1.0) for name, values in excess.items()}
        found = derive({name: np.maximum(probabilities[name], 1e-30) * one[name] for name in excess})
        if self.ms(found) > self.max_ms:
            raise LatencyError(
                f"max_latency_ms={self.max_ms}: the network of the fastest operations is predicted to take "
                f"{self.ms(found):.6g} ms"
            )
        # Beyond this strength, the exponentials would underflow.
        high = 600 / max(values.max() for values in excess.values())
        if self.ms(at(high)) <= self.max_ms:
            _, strength = limits.crossing(lambda x: self.ms(at(x)) <= self.max_ms, 0.0, high)
            found = at(strength)
        return found

    def _excess(self):
        """By the name of each cell, how much slower each operation is than the fastest of its edge, in milliseconds."""
        times = costs.operation_ms(self.space, self.input_shape, self.num_classes, self.table)
        found = {}
        for cell in self.space.cells:
            taken = [name not in self.excluded for name in cell.edges[0].operations]
            least = times[cell.name][:, taken].min(axis=-1, keepdims=True)
            found[cell.name] = np.maximum(times[cell.name] - least, 0)
        return found


def fastest(limit: Limit) -> float:
    """A lower bound of the predicted milliseconds of all networks in the space of a limit."""
    total = limit.table.overhead
    for segment in counting.segments(limit.space, limit.input_shape, limit.num_classes):
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
            # An edge that a node may leave out counts 0.
            total += min(taken) if _is_kept(limit.space.cell(cell), edge) else 0.0
    return total


def _is_kept(cell, edge):
    """Whether the node of an edge keeps all of its edges."""
    for node in cell.nodes:
        if edge < len(node.edges):
            return node.keep == len(node.edges)
        edge -= len(node.edges)
    raise IndexError(edge)
