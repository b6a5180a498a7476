"""Inheritance: the network of a genotype begins with the weights of a supernet."""

import re

import numpy as np
import tensorflow as tf

from larq_nas.layers.grouped import ScaledConv2D
from larq_nas.networks.cells import rows_of, targets_of
from larq_nas.networks.shared_edges import SharedEdges
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.stages import sequence


def inherit(network: tf.keras.Model, genotype: Architecture, supernet: tf.keras.Model, space: Architecture) -> None:
    """Copies the weights of a supernet to the network of a genotype.

    Each layer takes the weights of the layer at the same place in the supernet, and each edge takes those of its
    operation. If the genotype has fewer channels, the first channels of each group are copied, since the supernet masks
    the others. Weights without a counterpart in the supernet do not change.

    # Arguments
        network: The network of the genotype.
        genotype: A genotype of the space.
        supernet: The network of the space, e.g. `Supernet.network`.
        space: The space.
    """
    places, values = _places(space, genotype), {}
    edges = [_edges(space.cell(name), genotype.cell(name)) for _, name, _ in sequence(genotype)] if space.cells else []
    for layer in supernet.layers:
        found = re.fullmatch(r"cell(\d+)_(.+)", layer.name)
        if not found:
            values |= _values(layer, layer.name)
        elif int(found[1]) in places:
            place = places[int(found[1])]
            values |= _in_cell(layer, f"cell{place:0{len(found[1])}}", found[2], edges[place])
    copy_weights(network, values, max(space.stages[0].widths) if space.cells else None)
    for layer in network.layers:
        # The convolutions of the supernet have no such scale if their kernels are float.
        has_kernel, has_scale = (f"{layer.name}/{weight}:0" in values for weight in ("kernel", "scale"))
        if isinstance(layer, ScaledConv2D) and has_kernel and not has_scale:
            layer.binarize()


def copy_weights(network: tf.keras.Model, values: dict, group: int | None = None) -> None:
    """Copies weights to a network: the first entries along each axis, as many as both tensors have.

    # Arguments
        network: The network.
        values: Weights as arrays, by the name of the variable. Names that the network does not have are ignored.
        group: If the channels of the tensors are concatenated groups, as in networks of cells, the channels of a group
            in `values`. The first channels of each group are then copied.

    # References
        - [Differentiable Model Scaling](https://arxiv.org/abs/2405.07194), equations 9 and 10. The first of them keeps
          as many entries as the new tensor has.
    """
    for variable in network.variables:
        if variable.name in values:
            old, new = values[variable.name], np.array(variable.numpy())
            places = [_common(*sizes, group) for sizes in zip(old.shape, new.shape, strict=True)]
            new[np.ix_(*(to for _, to in places))] = old[np.ix_(*(of for of, _ in places))]
            variable.assign(new)


def _common(old, new, group):
    """The indices of the copied entries along an axis, in the old tensor and in the new one."""
    groups = old // group if group and old % group == 0 and new % (old // group) == 0 else 1
    sizes = old // groups, new // groups
    first = np.arange(min(sizes))
    return [(size * np.arange(groups)[:, np.newaxis] + first).ravel() for size in sizes]


def _places(space, genotype):
    """Maps the numbers of the supernet's cells to those of the same cells in the network of a genotype."""
    places, first = {}, 0
    for stage, chosen in zip(space.stages, genotype.stages, strict=True):
        reductions = int(stage.reduction is not None)
        for number in range(reductions + chosen.depths[0]):
            places[first + number] = len(places)
        first += reductions + max(stage.depths)
    return places


def _edges(cell: Cell, chosen: Cell) -> dict:
    """The edges that a genotype keeps.

    # Arguments
        cell: A cell of the space.
        chosen: The same cell of the genotype.

    # Returns
        A dictionary of pairs: for the state and the number of an edge among those that leave the state in the space,
        its index and its operation in the genotype.
    """
    edges, all_nodes, nodes = {}, targets_of(cell), targets_of(chosen)
    for source in {edge.source for edge in chosen.edges}:
        numbers = {all_nodes[row]: number for number, row in enumerate(rows_of(cell, source))}
        for row in rows_of(chosen, source):
            edges[source, numbers[nodes[row]]] = row, chosen.edges[row].operations[0]
    return edges


def _in_cell(layer, cell, rest, edges):
    """The weights of a layer of a cell, by the names that they have in the network of the genotype.

    # Arguments
        layer: A layer of the supernet.
        cell: The name of the cell in the network of the genotype.
        rest: The name of the layer without the name of the cell.
        edges: The edges that the genotype keeps; see `_edges`.
    """
    state = re.fullmatch(r"state(\d+)(?:_edge(\d+)_(.+))?", rest)
    if not state:
        return _values(layer, f"{cell}_{rest}")
    source, values = int(state[1]), {}
    if state[2]:
        # The supernet computes the operations of this edge one by one.
        kept = edges.get((source, int(state[2])))
        if kept and state[3].startswith(f"{kept[1]}_"):
            values = _values(layer, f"{cell}_state{source}_edge{kept[0]}_{state[3].removeprefix(f'{kept[1]}_')}")
    elif isinstance(layer, SharedEdges):
        for (leaves, number), (row, operation) in edges.items():
            if leaves == source and number < layer.edges:
                weights = layer.weights_of(number, operation).items()
                values |= {f"{cell}_state{source}_edge{row}_{name}:0": weight for name, weight in weights}
    return values


def _values(layer, name):
    """The weights of a layer by their names in a layer of another name."""
    return {name + weight.name.removeprefix(layer.name): weight.numpy() for weight in layer.weights}
