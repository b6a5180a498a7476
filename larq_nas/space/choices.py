"""The choices of a space: their names, and the shapes of their weights. This module does not import TensorFlow."""

import numpy as np

from larq_nas.space.architecture import Architecture
from larq_nas.space.checks import ArchitectureError


def width_name(number: int) -> str:
    """Returns the name of the choice of a stage's width."""
    return f"stage{number}_width"


def depth_name(number: int) -> str:
    """Returns the name of the choice of a stage's depth."""
    return f"stage{number}_depth"


def choice_shapes(architecture: Architecture) -> dict:
    """Returns the shapes of the choice weights of an architecture's network, by name; see `networks.build`.

    # Arguments
        architecture: A genotype or a space.

    # Returns
        A dictionary, which is empty for a genotype.

    # Raises
        ArchitectureError: If the edges of a searched cell list different operations.
    """
    found: dict[str, tuple[int, ...]] = {}
    # Decided cells are skipped, because their edges may list different operations.
    for cell in architecture.cells:
        if all(node.keep == len(node.edges) for node in cell.nodes) and all(len(e.operations) == 1 for e in cell.edges):
            continue
        lists = {edge.operations for edge in cell.edges}
        if len(lists) != 1:
            raise ArchitectureError(
                f"cells.{cell.name}: all edges of a searched cell must list the same operations; "
                f"found {len(lists)} different lists"
            )
        found[cell.name] = (len(cell.edges), len(lists.pop()))
    for index, stage in enumerate(architecture.stages):
        for name, candidates in ((width_name(index), stage.widths), (depth_name(index), stage.depths)):
            if len(candidates) > 1:
                found[name] = (len(candidates),)
    return found


def one_hot(space: Architecture, genotype: Architecture) -> dict:
    """Returns the choice weights of a supernet that select a genotype.

    # Arguments
        space: The space that is searched.
        genotype: A genotype of the space.

    # Returns
        A dictionary of the names of the choices to arrays with the shapes of `choice_shapes`. The weights of edges that
        the genotype does not keep are 0.

    # Raises
        ArchitectureError: If the genotype is not one of the space.
    """
    weights = {name: np.zeros(shape, np.float32) for name, shape in choice_shapes(space).items()}
    for cell in space.cells:
        if cell.name not in weights:
            continue
        row = 0
        for node, chosen in zip(cell.nodes, genotype.cell(cell.name).nodes, strict=True):
            kept = {edge.source: edge.operations[0] for edge in chosen.edges}
            for edge in node.edges:
                if edge.source in kept:
                    place = _index(edge.operations, kept.pop(edge.source), cell.name)
                    weights[cell.name][row, place] = 1.0
                row += 1
            if kept:
                raise ArchitectureError(f"cells.{cell.name}: the space has no edge from state {min(kept)}")
    for number, (stage, decided) in enumerate(zip(space.stages, genotype.stages, strict=True)):
        for name, field in ((width_name(number), "widths"), (depth_name(number), "depths")):
            if name in weights:
                place = _index(getattr(stage, field), getattr(decided, field)[0], f"stages[{number}].{field}")
                weights[name][place] = 1.0
    return weights


def _index(candidates, value, where):
    if value not in candidates:
        raise ArchitectureError(f"{where}: {value} is not one of {', '.join(map(str, candidates))}")
    return candidates.index(value)
