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

import dataclasses
import math
import pathlib
import random
from typing import Any

from larq_nas.space import registry, serialization
from larq_nas.space.checks import ArchitectureError, changed_options, check_name, validate
from larq_nas.space.parts import Cell, Edge, Node, Stage

__all__ = ["Architecture", "ArchitectureError", "Cell", "Edge", "Node", "Stage"]


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
        check_name(self.template, "template", registry.templates())
        object.__setattr__(self, "options", changed_options(self.options, self.kind))
        validate(self)

    @property
    def kind(self) -> registry.Template:
        """The `registry.Template` whose name is `template`."""
        return registry.templates()[self.template]

    def option(self, name: str) -> Any:
        """Returns the value of an option of the template.

        # Arguments
            name: Name of the option.

        # Returns
            The value in `options` or, if `options` does not contain the name, the default.

        # Raises
            ArchitectureError: If the template has no such option.
        """
        defaults = {option.name: option.default for option in self.kind.options}
        check_name(name, f"options of template {self.template}", defaults)
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
        check_name(name, "cells", cells)
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
        return serialization.to_json(self)

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
        return cls(**serialization.from_json(text))

    @classmethod
    def load(cls, path: pathlib.Path | str) -> Architecture:
        """Reads and checks an architecture in a JSON file.

        # Arguments
            path: Path of the file.

        # Returns
            The architecture.

        # Raises
            ArchitectureError: If the file cannot be read, is larger than 1 MiB, or is not valid. The message names the
                file and the invalid field.
        """
        try:
            return cls.from_json(serialization.read(path))
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


def _node_size(node: Node) -> int:
    # The elementary symmetric polynomial of degree `keep`: the sum over all subsets of `keep` edges of the product of
    # their numbers of operations.
    ways = [1] + [0] * node.keep
    for edge in node.edges:
        for kept in range(node.keep, 0, -1):
            ways[kept] += ways[kept - 1] * len(edge.operations)
    return ways[node.keep]
