"""The choice weights of a supernet that select one genotype."""

import numpy as np

from larq_nas.space.architecture import Architecture
from larq_nas.space.checks import ArchitectureError
from larq_nas.space.choices import choice_shapes, depth_name, width_name


def one_hot(space: Architecture, genotype: Architecture) -> dict:
    """Returns the choice weights of a supernet that select a genotype.

    # Arguments
        space: The space that is searched.
        genotype: A genotype of the space.

    # Returns
        A dictionary of the names of the choices to arrays with the shapes of `choices.choice_shapes`. The weights of
        edges that the genotype does not keep are 0.

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
