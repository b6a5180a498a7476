"""Search spaces as hyperparameters of KerasTuner.

```python
from larq_nas.methods import bars
from larq_nas.tuning import spaces

space = bars.space(filters=8, cells_per_stage=2)
hyperparameters = spaces.hyperparameters(space)
hyperparameters.values["stage0/width"]  # 2
spaces.genotype(space, hyperparameters.values).decided  # True
```

Each choice of a space is a `Choice` of KerasTuner. Its name says what is chosen:

| name | values |
|---|---|
| `normal/node2/inputs` | the states from which the node keeps its edges, e.g. `"0+3"`, if it does not keep all edges |
| `normal/node2/input3` | the operation of the edge from state 3; active only if the node keeps this edge |
| `stage1/width`, `stage1/depth` | filters of a node, and number of cells |
"""

import dataclasses
import itertools

import keras_tuner

from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.space.checks import ArchitectureError


@dataclasses.dataclass(frozen=True)
class _Choice:
    name: str
    candidates: tuple
    # The name of another choice, and its values with which this choice is active.
    parent: str | None = None
    parent_values: tuple = ()


def hyperparameters(space: Architecture) -> keras_tuner.HyperParameters:
    """Makes the hyperparameters of a search space.

    # Arguments
        space: The space.

    # Returns
        A `keras_tuner.HyperParameters`. The values that they can have are the genotypes of the space.

    # Raises
        ArchitectureError: If the space leaves no choice open.
    """
    if space.decided:
        raise ArchitectureError("space: is a genotype; give a space, which has a choice of at least two candidates")
    found = keras_tuner.HyperParameters()
    for choice in _choices(space):
        options = {"parent_name": choice.parent, "parent_values": list(choice.parent_values)} if choice.parent else {}
        # The first operation is "none" in most spaces, with which no image would reach the classifier.
        found.Choice(choice.name, list(choice.candidates), default=choice.candidates[-1], **options)
    return found


def genotype(space: Architecture, values: dict) -> Architecture:
    """Makes the genotype that the values of hyperparameters describe.

    # Arguments
        space: The space from which the hyperparameters were made.
        values: The values of the hyperparameters by name. Further values are ignored.

    # Returns
        The genotype. If all edges of a node would be `"none"`, its first edge gets the next candidate instead, so that
        no node is empty.

    # Raises
        ArchitectureError: If a choice of the space has no value, or a value that is none of its candidates.
    """
    values, cells = _active(space, values), []
    for cell in space.cells:
        nodes = [_decided(node, f"{cell.name}/node{number}", values) for number, node in enumerate(cell.nodes)]
        cells.append(Cell(cell.name, tuple(nodes)))
    stages = []
    for number, stage in enumerate(space.stages):
        width = values.get(f"stage{number}/width", stage.widths[0])
        depth = values.get(f"stage{number}/depth", stage.depths[0])
        stages.append(dataclasses.replace(stage, widths=(width,), depths=(depth,)))
    return dataclasses.replace(space, cells=tuple(cells), stages=tuple(stages), provenance=None)


def values(space: Architecture, genotype: Architecture) -> dict:
    """The values of the hyperparameters of a space that describe one of its genotypes.

    # Arguments
        space: The space.
        genotype: A genotype of the space.

    # Returns
        A dictionary of names to values.

    # Raises
        ArchitectureError: If the genotype is not one of the space.
    """
    found = {}
    for cell in space.cells:
        for number, node in enumerate(genotype.cell(cell.name).nodes):
            place = f"{cell.name}/node{number}"
            found[f"{place}/inputs"] = _text(sorted(node.edges, key=lambda edge: edge.source))
            found |= {f"{place}/input{edge.source}": edge.operations[0] for edge in node.edges}
    for number, stage in enumerate(genotype.stages):
        found |= {f"stage{number}/width": stage.widths[0], f"stage{number}/depth": stage.depths[0]}
    return _active(space, found)


def _active(space, values):
    """Those of the values that the choices of a space use, which must be candidates of the choices."""
    active = {}
    for choice in _choices(space):
        if choice.parent and active[choice.parent] not in choice.parent_values:
            continue
        value = active[choice.name] = values.get(choice.name)
        if value not in choice.candidates:
            accepted = ", ".join(map(str, choice.candidates))
            raise ArchitectureError(f"{choice.name}: is {value!r}; candidates of the space are {accepted}")
    return active


def _choices(space):
    """Yields the choices of a space. The parent of a choice comes before the choice."""
    for cell in space.cells:
        for number, node in enumerate(cell.nodes):
            place, inputs, kept = f"{cell.name}/node{number}", None, {}
            if len({edge.source for edge in node.edges}) < len(node.edges):
                raise ArchitectureError(f"{place}: two of its edges come from the same state, which cannot be tuned")
            if node.keep < len(node.edges):
                inputs = f"{place}/inputs"
                kept = {_text(edges): edges for edges in itertools.combinations(node.edges, node.keep)}
                yield _Choice(inputs, tuple(kept))
            for edge in node.edges:
                if len(edge.operations) > 1:
                    active = tuple(text for text, edges in kept.items() if edge in edges)
                    yield _Choice(f"{place}/input{edge.source}", edge.operations, inputs, active)
    for number, stage in enumerate(space.stages):
        for name, candidates in (("width", stage.widths), ("depth", stage.depths)):
            if len(candidates) > 1:
                yield _Choice(f"stage{number}/{name}", candidates)


def _text(edges):
    return "+".join(str(edge.source) for edge in edges)


def _decided(node, place, values):
    """The node with the edges and operations that the values describe."""
    kept = values.get(f"{place}/inputs")
    edges = [edge for edge in node.edges if kept is None or str(edge.source) in kept.split("+")]
    decided = [Edge(e.source, (values.get(f"{place}/input{e.source}", e.operations[0]),)) for e in edges]
    if all(edge.operations == ("none",) for edge in decided):
        others = [name for name in edges[0].operations if name != "none"]
        decided[0] = Edge(edges[0].source, tuple(others[:1]) or ("none",))
    return Node(tuple(decided), node.keep)
