import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import networks
from larq_nas.methods import bats, bnas
from larq_nas.methods.bnas.mixed_edges import MixedEdges
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder
from larq_nas.supernet import inheritance, selection

pytestmark = pytest.mark.onednn


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_that_inherits_computes_what_the_supernet_does(seed):
    # A real-valued supernet computes its operations as the final networks do, except that it normalizes pools.
    tf.keras.utils.set_random_seed(seed)
    space, shape = _without_pools(bats.space(4, 8, 4, binarize=False)), (13, 16, 3)
    genotype = space.sample(seed)
    supernet, network = (networks.build(architecture, shape, 4) for architecture in (space, genotype))
    inheritance.inherit(network, genotype, supernet, space)
    images = tf.random.normal([4, *shape])
    choices = {name: tf.constant(values) for name, values in selection.one_hot(space, genotype).items()}
    expected = supernet({"images": images, **choices}, training=True).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(network(images, training=True), expected, rtol=1e-3, atol=1e-5)


def test_scales_that_the_supernet_has_are_copied_as_they_are():
    # A genotype as its own space, whose kernels are binary already.
    genotype = bats.space(3, 8, 4).sample(0)
    supernet, network = (networks.build(genotype, (16, 16, 3), 4) for _ in range(2))
    scales = [(v, w) for v, w in zip(supernet.variables, network.variables, strict=True) if "process" in v.name]
    scales = [(v, w) for v, w in scales if v.name.endswith("/scale:0")]
    for variable, _ in scales:
        variable.assign(tf.random.uniform(variable.shape, 2, 3))
    inheritance.inherit(network, genotype, supernet, genotype)
    assert len(scales) > 3
    for variable, copy in scales:
        np.testing.assert_array_equal(variable, copy)


def _without_pools(space):
    def remaining(edge):
        return dataclasses.replace(edge, operations=tuple(name for name in edge.operations if "pool" not in name))

    def with_edges(part, **fields):
        return dataclasses.replace(part, **{name: tuple(values) for name, values in fields.items()})

    cells = [
        with_edges(cell, nodes=[with_edges(node, edges=map(remaining, node.edges)) for node in cell.nodes])
        for cell in space.cells
    ]
    return with_edges(space, cells=cells)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("name", [name for name in bnas.OPERATIONS if "pool" not in name])
def test_the_operation_of_an_edge_of_bnas_is_computed_with_its_part_of_the_kernel(name, strides):
    shared, x = MixedEdges(3, bnas.OPERATIONS, 2, strides), tf.random.normal([4, 8, 8, 3])
    choice = np.zeros((2, len(bnas.OPERATIONS)), np.float32)
    choice[1, bnas.OPERATIONS.index(name)] = 1
    expected = shared([x, tf.constant(choice)], training=True)[1]
    inputs = tf.keras.Input(x.shape[1:])
    model = tf.keras.Model(inputs, operations.apply(Builder(), name, inputs, 3, strides, layer_name="op"))
    weights = {f"op_{weight}:0": values for weight, values in shared.weights_of(1, name).items()}
    assert len(weights) == name.startswith("bin")
    inheritance.copy_weights(model, weights)
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-4)


def test_a_network_of_bnas_takes_the_kernels_of_its_cells():
    space = bnas.space(3, 4)
    genotype = space.sample(0)
    supernet, network = (networks.build(architecture, (16, 16, 3), 4) for architecture in (space, genotype))
    before = {variable.name: variable.numpy() for variable in network.variables}
    inheritance.inherit(network, genotype, supernet, space)
    kernels = [variable for variable in network.variables if variable.name.endswith("kernel:0")]
    edges = [variable for variable in kernels if "_edge" in variable.name]
    assert len(edges) > 3
    assert not any(np.array_equal(variable.numpy(), before[variable.name]) for variable in kernels)
    for variable in edges:
        cell, state, row, _ = variable.name.split("_")
        shared = supernet.get_layer(f"{cell}_{state}")
        name = ("normal", "reduce", "reduce")[int(cell.removeprefix("cell"))]
        operation = genotype.cell(name).edges[int(row.removeprefix("edge"))].operations[0]
        chosen, row, source = genotype.cell(name), int(row.removeprefix("edge")), int(state.removeprefix("state"))
        node = [index for index, node in enumerate(chosen.nodes) for _ in node.edges][row]
        # In the space of BNAS, every state has an edge to every later node.
        number = node if source < bnas.INPUTS else node - (source - bnas.INPUTS) - 1
        np.testing.assert_array_equal(variable, shared.weights_of(number, operation)["conv/kernel"])
