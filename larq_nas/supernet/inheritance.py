"""Inheritance: the network of a genotype begins with the weights of a supernet."""

import re

import numpy as np
import tensorflow as tf

from larq_nas.networks.cells import rows_of
from larq_nas.networks.shared_edges import SharedEdges
from larq_nas.space.architecture import Architecture, Cell
from larq_nas.space.stages import sequence


def inherit(network: tf.keras.Model, genotype: Architecture, supernet: tf.keras.Model, space: Architecture) -> None:
    """Copies the weights of a supernet to the network of a genotype.

    Each layer takes the weights of the layer at the same place in the supernet, and each edge those of its operation.
    If the genotype has fewer channels, the first channels are copied: those that the supernet does not mask. Weights
    without a counterpart in the supernet do not change, e.g. those of operations that a supernet computes one by one.

    # Arguments
        network: The network of the genotype.
        genotype: A genotype of the space.
        supernet: The network of the space, e.g. `Supernet.network`.
        space: The space.
    """
    values, places = {}, _places(space, genotype)
    names = [name for _, name, _ in sequence(genotype)]
    for layer in supernet.layers:
        new, found = layer.name, re.match(r"cell(\d+)_", layer.name)
        if found:
            number = int(found[1])
            if number not in places:
                continue
            new = f"cell{places[number]:02}_{layer.name[found.end() :]}"
        if found and isinstance(layer, SharedEdges):
            name = names[places[number]]
            values |= _of_edges(layer, new, space.cell(name), genotype.cell(name))
        else:
            values |= {new + weight.name.removeprefix(layer.name): weight.numpy() for weight in layer.weights}
    copy_weights(network, values, max(space.stages[0].widths))


def copy_weights(network: tf.keras.Model, values: dict, group: int | None = None) -> None:
    """Copies weights to a network: along each axis of a tensor, as many entries as both tensors have, the first ones.

    # Arguments
        network: The network.
        values: Weights as arrays, by the name of the variable of the network. Others are left out.
        group: If the channels of the tensors are concatenated groups, as in networks of cells, the channels of a group
            in `values`. The first channels of each group are then copied.

    # References
        - [Differentiable Model Scaling](https://arxiv.org/abs/2405.07194), equations 9 and 10. The first of them keeps
          as many entries as the new tensor has.
    """
    for variable in network.variables:
        if variable.name in values:
            old, new = values[variable.name], np.array(variable)
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


def _of_edges(shared: SharedEdges, new: str, cell: Cell, chosen: Cell) -> dict:
    """The weights of the edges that leave a state, by the names that they have in the network of the genotype."""
    source, values = int(new.rpartition("_state")[2]), {}
    nodes = [_targets(cell)[row] for row in rows_of(cell, source)]
    for row in rows_of(chosen, source):
        edge = nodes.index(_targets(chosen)[row])
        weights = shared.weights_of(edge, chosen.edges[row].operations[0])
        values |= {f"{new}_edge{row}_{name}:0": weight for name, weight in weights.items()}
    return values


def _targets(cell):
    """The index of the node to which each edge leads."""
    return [index for index, node in enumerate(cell.nodes) for _ in node.edges]
