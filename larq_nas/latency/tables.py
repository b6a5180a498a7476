"""Tables of the times of operations on a device, and the predictions of the times of networks."""

import collections
import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from larq_nas.networks import counting, segments
from larq_nas.networks.blocks import kinds
from larq_nas.networks.layer_costs import WORD, Block
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
        counts = collections.Counter(block.kind for block in self.measured)
        alike = [name for name, kind in kinds().items() if name in counts and kind.operator == operator.name]
        if not alike:
            return None
        # The times of the kind that was measured most often are known best.
        kind = min(alike, key=lambda name: (-counts[name], name))
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
    for segment in segments.split(space, input_shape, num_classes):
        counts = [range(len(candidates)) for candidates in segment.choices.values()]
        for place in np.ndindex(*map(len, counts)):
            values = (candidates[index] for candidates, index in zip(segment.choices.values(), place, strict=True))
            found |= {row.block: None for row, _ in segment.rows(*values) if row.block}
    return list(found)
