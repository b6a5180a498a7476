"""The `Architecture`, which describes both search spaces and genotypes.

An architecture names a network template, the cells of the network, and the stages that repeat these cells. In a search
space, an architecture lists several candidates: an edge lists operations, a node lists more edges than it keeps, a
stage lists widths and depths. An architecture that leaves no choice open is a genotype, and its property `decided` is
true. Architectures are immutable and hashable, and can be saved as JSON.

```python
from larq_nas.space.architecture import Architecture
from larq_nas.methods import bnas

space = bnas.space(layers=8, filters=16)
space.size                       # the number of genotypes in the space
genotype = space.sample(seed=0)
assert genotype.decided and Architecture.from_json(genotype.to_json()) == genotype
```

This module does not import TensorFlow.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
import pathlib
import random
import re
from typing import Any

from larq_nas.space import registry

SCHEMA = 2
MAX_JSON_BYTES = 1 << 20

_MAX_WIDTH, _MAX_CELLS, _MAX_NODES = 65_536, 1_000, 64


class ArchitectureError(ValueError):
    """An architecture is not valid; the message names the invalid field and the accepted values."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """An edge of a cell: one input of a node.

    # Arguments
        source: Index of the state that the edge reads. The inputs of the cell have the first indices, the nodes the
            following ones.
        operations: Names of the candidate operations of the edge.
    """

    source: int
    operations: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a cell: the sum of its edges.

    # Arguments
        edges: The candidate edges.
        keep: Number of edges that a genotype keeps.
    """

    edges: tuple[Edge, ...]
    keep: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """A named topology that one or more stages repeat.

    # Arguments
        name: Name in lower case, e.g. `"normal"`.
        nodes: The nodes in order. A node reads only inputs of the cell and earlier nodes.
    """

    name: str
    nodes: tuple[Node, ...]

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges of the cell, node by node. The rows of the cell's architecture logits have this order."""
        return tuple(itertools.chain.from_iterable(node.edges for node in self.nodes))

    @property
    def counts(self) -> str:
        """The number of edges of each operation in a decided cell, e.g. `"bin_conv_3x3:5 none:3"`."""
        counts = collections.Counter(edge.operations[0] for edge in self.edges)
        return " ".join(f"{name}:{count}" for name, count in counts.most_common())


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence of cells at one resolution.

    # Arguments
        cell: Name of the cell that the stage repeats. In a template without cells, this is the name of the stage's
            width.
        widths: Candidate numbers of filters of a node.
        depths: Candidate numbers of repetitions of the cell.
        reduction: Name of the stride-2 cell at the start of the stage, or `None`.
        groups: Number of groups of the convolutions on edges; 1 unless the template is `grouped`.
    """

    cell: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    reduction: str | None = None
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A search space or, if no choice is open, a genotype.

    # Arguments
        template: Name of the network template, a key of `registry.templates()`.
        cells: The cells that the stages use.
        stages: The stages from input to output.
        options: Options of the template that differ from their defaults, by name, e.g. `{"binarize": False}`. The
            options are stored as pairs sorted by name. See `registry.Template`.
        provenance: Where the architecture comes from, as a JSON object. For example, `larq_nas search` stores its
            flags, packages and costs here. The provenance does not affect whether two architectures are equal.

    # Raises
        ArchitectureError: If a field is not valid. The message starts with the field, e.g.
            `cells.normal.nodes[2].edges[0].source: 5 is not an earlier state`.
    """

    template: str
    cells: tuple[Cell, ...]
    stages: tuple[Stage, ...]
    options: Any = ()
    provenance: dict | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self):
        _check_name(self.template, "template", registry.templates())
        object.__setattr__(self, "options", _changed_options(self.options, self.kind))
        _validate(self)

    @property
    def kind(self) -> registry.Template:
        """The `registry.Template` whose name is `template`."""
        return registry.templates()[self.template]

    def option(self, name: str):
        """Returns the value of an option of the template.

        # Arguments
            name: Name of the option.

        # Returns
            The value in `options` or, if `options` does not contain the name, the default.

        # Raises
            ArchitectureError: If the template has no such option.
        """
        defaults = {option.name: option.default for option in self.kind.options}
        _check_name(name, f"options of template {self.template}", defaults)
        return dict(self.options).get(name, defaults[name])

    @property
    def binary(self) -> bool:
        """Whether the network has binary activations."""
        return all(option.name != "binarize" for option in self.kind.options) or self.option("binarize")

    def cell(self, name: str) -> Cell:
        """Returns the cell with the given name.

        # Arguments
            name: Name of the cell.

        # Returns
            The `Cell`.

        # Raises
            ArchitectureError: If the architecture has no such cell.
        """
        cells = {cell.name: cell for cell in self.cells}
        _check_name(name, "cells", cells)
        return cells[name]

    @property
    def decided(self) -> bool:
        """Whether no choice is open."""
        return all(
            node.keep == len(node.edges) and all(len(edge.operations) == 1 for edge in node.edges)
            for cell in self.cells
            for node in cell.nodes
        ) and all(len(stage.widths) == len(stage.depths) == 1 for stage in self.stages)

    @property
    def size(self) -> int:
        """The number of genotypes in the space; 1 for a genotype."""
        nodes = (_node_size(node) for cell in self.cells for node in cell.nodes)
        return math.prod(nodes) * math.prod(len(s.widths) * len(s.depths) for s in self.stages)

    def sample(self, seed: int) -> Architecture:
        """Draws a random genotype. All candidates of a choice are equally likely.

        # Arguments
            seed: Seed of the random generator. The same seed draws the same genotype.

        # Returns
            A decided architecture.
        """
        generator = random.Random(seed)

        def edges(node):
            kept = sorted(generator.sample(range(len(node.edges)), node.keep))
            return tuple(Edge(node.edges[i].source, (generator.choice(node.edges[i].operations),)) for i in kept)

        cells = tuple(
            Cell(cell.name, tuple(Node(edges(node), node.keep) for node in cell.nodes)) for cell in self.cells
        )
        stages = []
        for stage in self.stages:
            width, depth = generator.choice(stage.widths), generator.choice(stage.depths)
            stages.append(dataclasses.replace(stage, widths=(width,), depths=(depth,)))
        return dataclasses.replace(self, cells=cells, stages=tuple(stages), provenance=None)

    def to_json(self) -> str:
        """Returns the architecture as JSON text, which `from_json` reads."""
        fields = dataclasses.asdict(self)
        fields["cells"] = {cell["name"]: {"nodes": cell["nodes"]} for cell in fields["cells"]}
        if self.provenance is None:
            del fields["provenance"]
        del fields["options"]
        options = {"options": dict(self.options)} if self.options else {}
        for stage in fields["stages"]:
            if stage["groups"] == 1:
                del stage["groups"]
        return json.dumps({"schema": SCHEMA, "template": self.template, **options, **fields}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Reads and checks an architecture.

        # Arguments
            text: JSON text that `to_json` or a user has written.

        # Returns
            The architecture.

        # Raises
            ArchitectureError: If the text is not JSON, is larger than 1 MiB, or contains a field that is not valid.
        """
        if len(text) > MAX_JSON_BYTES:
            raise ArchitectureError(f"the text has {len(text):,} characters; at most {MAX_JSON_BYTES:,}")
        try:
            value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        except ArchitectureError:
            raise
        except (ValueError, RecursionError) as error:
            raise ArchitectureError(f"not readable as JSON: {error}") from None
        return _architecture(value)

    @classmethod
    def load(cls, path) -> Architecture:
        """Reads and checks an architecture in a JSON file.

        # Arguments
            path: Path of the file.

        # Returns
            The architecture.

        # Raises
            ArchitectureError: If the file cannot be read, is larger than 1 MiB, or is not valid. The message names the
                file and the invalid field.
        """
        path = pathlib.Path(path)
        try:
            if path.exists() and not path.is_file():
                raise ArchitectureError("not a file")
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ArchitectureError(f"larger than {MAX_JSON_BYTES:,} bytes, which no genotype is")
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ArchitectureError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ArchitectureError(f"{path}: not a text file") from None
        except ArchitectureError as error:
            raise ArchitectureError(f"{path}: {error}") from None

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options)
        lines = [f"options: {options}"] if options else []
        for cell in self.cells:
            lines.append(f"{cell.name} cell")
            for index, node in enumerate(cell.nodes, start=self.kind.inputs):
                terms = [f"{'|'.join(edge.operations)}({edge.source})" for edge in node.edges]
                kept = "" if node.keep == len(node.edges) else f"   (keeps {node.keep})"
                lines.append(f"  {index} = " + " + ".join(terms) + kept)
        for index, stage in enumerate(self.stages):
            opening = f"{stage.reduction} + " if stage.reduction else ""
            depths, widths = "|".join(map(str, stage.depths)), "|".join(map(str, stage.widths))
            groups = f" in {stage.groups} groups" if stage.groups > 1 else ""
            lines.append(f"stage {index}: {opening}{depths} x {stage.cell}, {widths} filters{groups}")
        return "\n".join(lines)


def round_widths(architecture: Architecture, multiple: int) -> Architecture:
    """Rounds the widths of a genotype to the nearest multiples of a number.

    Larq Compute Engine packs input channels into words of 32, so 36 channels take as long as 64.

    # Arguments
        architecture: A genotype. The stages of its template must not have groups.
        multiple: The number.

    # Returns
        A genotype with the same cells and depths. In BNAS, the widths still double from stage to stage. In BARS, the
        width after a reduction is a multiple of `2 * multiple`, because the cell before the reduction has half as many
        filters.

    # Raises
        ArchitectureError: If the stages of the template have groups.
    """
    if architecture.kind.grouped:
        raise ArchitectureError(
            f"template {architecture.template}: widths are not rounded in a template with groups, since LCE computes "
            "each group by itself; train with groups=lce or channels_per_group=32"
        )

    def nearest(width, unit):
        return max(int(width / unit + 0.5), 1) * unit

    stages, first = [], nearest(architecture.stages[0].widths[0], multiple)
    for index, stage in enumerate(architecture.stages):
        unit = 2 * multiple if stage.reduction and architecture.kind.method == "bars" else multiple
        width = first << index if architecture.template == "bnas" else nearest(stage.widths[0], unit)
        stages.append(dataclasses.replace(stage, widths=(width,)))
    return dataclasses.replace(architecture, stages=tuple(stages), provenance=None)


def sequence(architecture: Architecture):
    """Yields a tuple for each cell of a network, in order: its stage, its name, and whether it is a reduction."""
    for stage in architecture.stages:
        if stage.reduction:
            yield stage, stage.reduction, True
        yield from [(stage, stage.cell, False)] * stage.depths[0]


def thirds(layers: int, filters: int) -> tuple[Stage, ...]:
    """Returns the stages of a network with two reductions, as in DARTS.

    The cells with the numbers `layers // 3` and `2 * layers // 3` are the reductions.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage. The channels double at each reduction.

    # Returns
        Three stages.

    # Raises
        ValueError: If there are fewer than 3 cells.
    """
    if layers < 3:
        raise ValueError(f"layers={layers}: such a network has at least 3 cells, two of them reductions")
    first, second = layers // 3, 2 * layers // 3
    depths = (first, second - first - 1, layers - second - 1)
    reductions = (None, "reduce", "reduce")
    return tuple(
        Stage("normal", (filters << index,), (depth,), reduction)
        for index, (depth, reduction) in enumerate(zip(depths, reductions, strict=True))
    )


def _node_size(node: Node) -> int:
    # The elementary symmetric polynomial of degree `keep`: the sum over all subsets of `keep` edges of the product of
    # their numbers of operations.
    ways = [1] + [0] * node.keep
    for edge in node.edges:
        for kept in range(node.keep, 0, -1):
            ways[kept] += ways[kept - 1] * len(edge.operations)
    return ways[node.keep]


# --- checks --------------------------------------------------------------------------------------------------


def _require(condition: bool, where: str, problem: str):
    if not condition:
        raise ArchitectureError(f"{where}: {problem}")


def _show(value) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # More than 4,300 digits, or too deep to print.
        return "a huge value"
    return text if len(text) <= 60 else text[:57] + "..."


def _check_integer(value, where: str, low: int, high: int):
    _require(type(value) is int, where, f"{_show(value)} is not an integer")
    _require(low <= value <= high, where, f"{_show(value)} is not between {low} and {high}")


def _check_candidates(values, where: str, low: int, high: int):
    _require(isinstance(values, tuple), where, f"{_show(values)} is not a list of integers")
    _require(len(values) > 0, where, "has no candidates")
    for index, value in enumerate(values):
        _check_integer(value, f"{where}[{index}]", low, high)
    _require(len(set(values)) == len(values), where, "lists a candidate twice")


def _check_name(value, where: str, accepted):
    known = isinstance(value, str) and value in accepted
    _require(known, where, f"{_show(value)} is unknown; accepted: {', '.join(accepted) or 'none'}")


def _changed_options(options, template) -> tuple:
    """Returns pairs of name and value for the options that differ from their defaults, sorted by name."""
    try:
        options = dict(options)
    except (TypeError, ValueError):
        raise ArchitectureError(f"options: {_show(options)} is not a mapping of names to values") from None
    known = {option.name: option for option in template.options}
    for name, value in options.items():
        _check_name(name, f"options of template {template.name}", known)
        # 1 equals True.
        accepted = any(type(value) is type(other) and value == other for other in known[name].values)
        values = ", ".join(map(repr, known[name].values))
        _require(accepted, f"options.{name}", f"{_show(value)} is unknown; accepted: {values}")
    return tuple(sorted((name, value) for name, value in options.items() if value != known[name].default))


def _validate(architecture: Architecture):
    template = architecture.kind
    chain = template.widths
    for field, kind in (("cells", Cell), ("stages", Stage)):
        values = getattr(architecture, field)
        is_tuple = isinstance(values, tuple) and all(isinstance(value, kind) for value in values)
        _require(is_tuple, field, f"is not a tuple of {kind.__name__}")
        if chain and field == "cells":
            _require(not values, field, f"{architecture.template} has none")
            continue
        _require(0 < len(values) <= _MAX_CELLS, field, f"has {len(values)} entries, not 1 to {_MAX_CELLS}")
    for cell in architecture.cells:
        valid = isinstance(cell.name, str) and re.fullmatch("[a-z][a-z0-9_]{0,31}", cell.name)
        _require(bool(valid), "cells", f"{_show(cell.name)} is not a name of up to 32 characters a-z, 0-9, _")
        _check_cell(cell, f"cells.{cell.name}", template.inputs, template.operations)
    names = chain or [cell.name for cell in architecture.cells]
    _require(len(set(names)) == len(names), "cells", "lists a name twice")
    if architecture.provenance is not None:
        _require(isinstance(architecture.provenance, dict), "provenance", "is not an object")
    used, total = set(), 0
    for index, stage in enumerate(architecture.stages):
        where = f"stages[{index}]"
        _check_name(stage.cell, f"{where}.cell", names)
        if stage.reduction is not None:
            _check_name(stage.reduction, f"{where}.reduction", names)
        _check_candidates(stage.widths, f"{where}.widths", 1, _MAX_WIDTH)
        _check_candidates(stage.depths, f"{where}.depths", 0, _MAX_CELLS)
        _check_groups(stage, f"{where}.groups", template)
        used |= {stage.cell, stage.reduction}
        total += max(stage.depths) + (stage.reduction is not None)
    if chain:
        _check_chain(architecture, chain)
    for name in names:
        _require(name in used, f"cells.{name}", "no stage uses it")
    _require(total <= _MAX_CELLS, "stages", f"hold {total} cells; at most {_MAX_CELLS}")


def _check_groups(stage, where, template):
    _check_integer(stage.groups, where, 1, _MAX_WIDTH)
    _require(stage.groups == 1 or template.grouped, where, f"must be 1 in {template.name}")
    for width in stage.widths:
        _require(width % stage.groups == 0, where, f"{stage.groups} do not divide the width {width}")


def _check_chain(architecture, names):
    found = tuple(stage.cell for stage in architecture.stages)
    _require(found == names, "stages", f"the cells must be {', '.join(names)}, in this order")
    for index, stage in enumerate(architecture.stages):
        _require(stage.depths == (1,), f"stages[{index}].depths", "must be 1")
        _require(stage.reduction is None, f"stages[{index}].reduction", f"{architecture.template} has none")


def _check_cell(cell: Cell, where: str, inputs: int, operations):
    _require(isinstance(cell.nodes, tuple), f"{where}.nodes", "is not a tuple of Node")
    _require(0 < len(cell.nodes) <= _MAX_NODES, f"{where}.nodes", f"has not 1 to {_MAX_NODES} nodes")
    for index, node in enumerate(cell.nodes):
        place = f"{where}.nodes[{index}]"
        _require(isinstance(node, Node), place, "is not a Node")
        _require(isinstance(node.edges, tuple), f"{place}.edges", "is not a tuple of Edge")
        _require(0 < len(node.edges) <= 2 * _MAX_NODES, f"{place}.edges", f"has not 1 to {2 * _MAX_NODES} edges")
        for number, edge in enumerate(node.edges):
            _check_edge(edge, f"{place}.edges[{number}]", index + inputs, operations)
        _check_integer(node.keep, f"{place}.keep", 1, len(node.edges))


def _check_edge(edge: Edge, where: str, state: int, operations):
    _require(isinstance(edge, Edge), where, "is not an Edge")
    _require(type(edge.source) is int, f"{where}.source", f"{_show(edge.source)} is not an integer")
    _require(0 <= edge.source < state, f"{where}.source", f"{_show(edge.source)} is not an earlier state")
    place = f"{where}.operations"
    _require(isinstance(edge.operations, tuple), place, f"{_show(edge.operations)} is not a list of names")
    _require(len(edge.operations) > 0, place, "has no candidates")
    for number, operation in enumerate(edge.operations):
        _check_name(operation, f"{place}[{number}]", operations)
    _require(len(set(edge.operations)) == len(edge.operations), place, "lists a candidate twice")


# --- JSON ----------------------------------------------------------------------------------------------------

# Schema 1 had separate templates instead of options.
_TEMPLATES_OF_SCHEMA_1 = {
    "bars_no_shortcut": ("bars", {"cell_shortcut": False}),
    "bats_float_preprocess": ("bats", {"preprocess": "float"}),
    "bats_real": ("bats", {"binarize": False}),
}


def _unique_keys(pairs):
    value = {}
    for key, item in pairs:
        _require(key not in value, "JSON", f"key {_show(key)} stands twice in one object")
        value[key] = item
    return value


def _refuse_constant(name):
    raise ArchitectureError(f"JSON: {name} is not a number that an architecture may hold")


def _fields(value, where: str, required, optional=()):
    place = where or "JSON"
    _require(isinstance(value, dict), place, f"{_show(value)} is not an object")
    for key in value:
        known = key in required or key in optional
        _require(known, place, f"unknown key {_show(key)}; accepted: {', '.join([*required, *optional])}")
    for key in required:
        _require(key in value, place, f"key '{key}' is missing")
    return value


def _list(value, where: str) -> list:
    _require(isinstance(value, list), where, f"{_show(value)} is not a list")
    return value


def _architecture(value) -> Architecture:
    fields = _fields(value, "", ("schema", "template", "cells", "stages"), ("options", "provenance"))
    schema, template, options = fields["schema"], fields["template"], fields.get("options", {})
    known = type(schema) is int and 1 <= schema <= SCHEMA
    _require(known, "schema", f"{_show(schema)} is unknown; this version reads 1 and {SCHEMA}")
    _require(isinstance(options, dict), "options", f"{_show(options)} is not an object")
    if schema == 1:
        _require("options" not in fields, "options", f"schema 1 has none; write schema {SCHEMA}")
        if isinstance(template, str):
            template, options = _TEMPLATES_OF_SCHEMA_1.get(template, (template, {}))
    _require(isinstance(fields["cells"], dict), "cells", f"{_show(fields['cells'])} is not an object")
    cells = tuple(_cell(name, cell, f"cells.{_show(name)[1:-1]}") for name, cell in fields["cells"].items())
    stages = []
    for index, stage in enumerate(_list(fields["stages"], "stages")):
        where = f"stages[{index}]"
        stage = _fields(stage, where, ("cell", "widths", "depths"), ("reduction", "groups"))
        candidates = {key: tuple(_list(stage[key], f"{where}.{key}")) for key in ("widths", "depths")}
        stages.append(Stage(**{**stage, **candidates}))
    return Architecture(template, cells, tuple(stages), options, fields.get("provenance"))


def _cell(name: str, value, where: str) -> Cell:
    nodes = []
    for index, node in enumerate(_list(_fields(value, where, ("nodes",))["nodes"], f"{where}.nodes")):
        place = f"{where}.nodes[{index}]"
        node = _fields(node, place, ("edges", "keep"))
        edges = []
        for number, edge in enumerate(_list(node["edges"], f"{place}.edges")):
            spot = f"{place}.edges[{number}]"
            edge = _fields(edge, spot, ("source", "operations"))
            edges.append(Edge(edge["source"], tuple(_list(edge["operations"], f"{spot}.operations"))))
        nodes.append(Node(tuple(edges), node["keep"]))
    return Cell(name, tuple(nodes))
