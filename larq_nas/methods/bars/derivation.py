"""Deriving the genotypes of BARS: drawing choices, changing them, and building genotypes from them.

Choices are a dictionary. It maps the name of each choice to the index of the chosen candidate. For the operations of a
cell, it is an array of indices of shape `(edges,)`.
"""

import dataclasses

import numpy as np

from larq_nas.options import OptionError
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.space.choices import choice_shapes, depth_name, width_name


def check_samples(samples: int, limited: bool) -> None:
    """Raises an `OptionError` if no genotypes are drawn although the latency of the genotype is limited."""
    if limited and not samples:
        raise OptionError("samples=0: the most probable genotype may not keep max_latency_ms; draw some")


def redraw(indices: dict, probabilities: dict, generator: np.random.Generator) -> dict:
    """Draws new candidates for one to three choices, which are chosen at random."""
    again = draw(probabilities, generator)
    for name in generator.choice(list(indices), generator.integers(1, 4)):
        values = indices[name]
        place = np.arange(np.size(values)).reshape(np.shape(values)) == generator.integers(np.size(values))
        indices = {**indices, name: np.where(place, again[name], values)}
    return indices


def connect(space: Architecture, indices: dict, probabilities: dict) -> dict:
    """Changes the choices so that no node has only edges with the operation "none".

    Such a node gets the most probable other operation on its first edge, from the cell's input. Otherwise, a genotype
    might spend its budget on convolutions of zeros.

    # Arguments
        space: The search space.
        indices: The choices, as `draw` returns them.
        probabilities: The probabilities of the candidates of each choice, by the name of the choice.

    # Returns
        The changed choices.
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


def most_probable(probabilities: dict) -> dict:
    """The index of the most probable candidate of each choice, by the name of the choice."""
    return {name: np.argmax(values, axis=-1) for name, values in probabilities.items()}


def draw(probabilities: dict, generator: np.random.Generator) -> dict:
    """Draws all choices independently.

    # Arguments
        probabilities: By the name of each choice, an array of shape `(..., candidates)`.
        generator: A random generator.

    # Returns
        The indices of the drawn candidates: by the name of each choice, an array of shape `(...)`.
    """
    indices = {}
    for name, values in probabilities.items():
        steps = np.cumsum(np.asarray(values, np.float64), axis=-1)
        uniform = generator.random(steps.shape[:-1])[..., np.newaxis] * steps[..., -1:]
        indices[name] = np.sum(uniform >= steps, axis=-1)
    return indices


def decide(space: Architecture, indices: dict) -> Architecture:
    """The genotype of a space that has the candidates `indices`, as `draw` returns them."""
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
        width, depth = indices.get(width_name(number), 0), indices.get(depth_name(number), 0)
        stages.append(dataclasses.replace(stage, widths=(stage.widths[width],), depths=(stage.depths[depth],)))
    return Architecture(space.template, tuple(cells), tuple(stages), space.options)


def one_hot(space: Architecture, indices: dict) -> dict:
    """The choice weights of a supernet that select the candidates `indices`, as `draw` returns them."""
    shapes = choice_shapes(space)
    return {name: np.eye(shapes[name][-1], dtype=np.float32)[values] for name, values in indices.items()}
