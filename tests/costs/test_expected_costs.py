import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import costs
from larq_nas.costs import expected_costs
from larq_nas.methods import bars, bnas
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.space.choices import choice_shapes


def _totals(architecture, *arguments):
    counts = costs.count(architecture, *arguments)
    return np.array([getattr(counts, name) for name in costs.TOTALS], float)


def _probabilities(space, seed=0):
    generator = np.random.default_rng(seed)
    return {
        cell.name: tf.constant(generator.dirichlet(np.ones(len(cell.edges[0].operations)), len(cell.edges)))
        for cell in space.cells
    }


def _all_cells(cell, rows):
    """All cells of a space whose first node keeps one of two edges and whose second node both, with probabilities."""
    names = cell.edges[0].operations
    for kept, picks in itertools.product(range(2), itertools.product(range(len(names)), repeat=3)):
        edges = [cell.nodes[0].edges[kept], *cell.nodes[1].edges]
        chosen = [Edge(edge.source, (names[pick],)) for edge, pick in zip(edges, picks, strict=True)]
        yield rows[[kept, 2, 3], picks].prod() / 2, Cell(cell.name, (Node((chosen[0],), 1), Node(tuple(chosen[1:]), 2)))


def test_expected_costs_are_the_mean_over_all_genotypes():
    operations = ("none", "bin_conv_3x3", "bin_dil_conv_5x5")

    def cell(name, names):
        # One of two edges, then both.
        first, second = (Edge(0, names), Edge(1, names)), (Edge(1, names), Edge(2, names))
        return Cell(name, (Node(first, 1), Node(second, 2)))

    # Fewer operations in one of them, for time.
    cells = cell("normal", operations), cell("reduce", operations[::2])
    space = Architecture("bnas", cells, bnas.space(4, 5).stages)
    probabilities = _probabilities(space)
    mean = np.zeros(len(costs.TOTALS))
    weight = 0
    cells = [_all_cells(cell, probabilities[cell.name].numpy()) for cell in space.cells]
    for (likely, normal), (as_likely, reduce) in itertools.product(*cells):
        genotype = Architecture("bnas", (normal, reduce), space.stages)
        mean += likely * as_likely * _totals(genotype, (16, 16, 1), 7)
        weight += likely * as_likely
    assert weight == pytest.approx(1)
    np.testing.assert_allclose(expected_costs.expected(space, probabilities, (16, 16, 1), 7), mean, rtol=1e-12)


def test_expected_costs_are_the_mean_over_samples():
    space = bnas.space(5, 8)
    even = {cell.name: tf.fill([len(cell.edges), 7], 1 / 7) for cell in space.cells}
    samples = np.array([_totals(space.sample(seed)) for seed in range(2000)])
    error = samples.std(axis=0) / len(samples) ** 0.5
    difference = np.array(expected_costs.expected(space, even)) - samples.mean(axis=0)
    assert np.all(np.abs(difference) <= 4 * error + 1e-3)


def test_expected_costs_of_one_hot_choices_are_exact():
    space = bnas.space(5, 8)
    for seed in range(5):
        genotype = space.sample(seed)
        choice, kept = {}, {}
        for cell in space.cells:
            choice[cell.name], kept[cell.name] = np.zeros([len(cell.edges), 7]), np.zeros(len(cell.edges))
            row = 0
            for node, decided in zip(cell.nodes, genotype.cell(cell.name).nodes, strict=True):
                operations = {edge.source: edge.operations[0] for edge in decided.edges}
                for edge in node.edges:
                    kept[cell.name][row] = edge.source in operations
                    choice[cell.name][row, edge.operations.index(operations.get(edge.source, "none"))] = 1
                    row += 1
        counts = costs.count(genotype)
        expected = expected_costs.expected(space, choice, edge_probabilities=kept)
        assert [int(value) for value in expected] == [getattr(counts, name) for name in costs.TOTALS]
        assert (int(expected.biops), int(expected.flops)) == (counts.biops, counts.flops)


def _bars_probabilities(space, seed=0):
    generator = np.random.default_rng(seed)
    return {name: generator.dirichlet(np.ones(shape[-1]), shape[:-1]) for name, shape in choice_shapes(space).items()}


def test_expected_costs_of_a_bars_space_are_the_mean_over_all_its_genotypes():
    nodes = (Node((Edge(0, bars.OPERATIONS),), 1), Node((Edge(1, ("shortcut",)),), 1))
    nodes = (nodes[0], Node((Edge(0, bars.OPERATIONS), Edge(1, bars.OPERATIONS)), 2))
    stages = (Stage("n", (2, 4), (0, 1, 2)), Stage("n", (4, 8), (0, 1), "r"), Stage("n", (8, 16), (1, 3), "r"))
    space = Architecture("bars", (Cell("n", nodes[:1]), Cell("r", nodes[:1])), stages)
    probabilities = _bars_probabilities(space)
    mean, weight = np.zeros(len(costs.TOTALS)), 0
    shapes = choice_shapes(space)
    for picks in itertools.product(*(range(shape[-1]) for shape in shapes.values())):
        likely = math.prod(np.ravel(probabilities[name])[pick] for name, pick in zip(shapes, picks, strict=True))
        indices = {
            name: np.array([pick]) if len(shape) == 2 else pick
            for (name, shape), pick in zip(shapes.items(), picks, strict=True)
        }
        mean += likely * _totals(bars.decide(space, indices), (17, 16, 1), 7)
        weight += likely
    assert weight == pytest.approx(1)
    np.testing.assert_allclose(expected_costs.expected(space, probabilities, (17, 16, 1), 7), mean, rtol=1e-12)


@pytest.mark.parametrize("input_shape", [(32, 32, 3), (224, 224, 3)])
@pytest.mark.parametrize("options", [{}, {"shared_cells": True}, {"cell_shortcut": False}, {"depth_search": False}])
def test_expected_costs_of_one_hot_bars_choices_are_exact(options, input_shape):
    space = bars.space(filters=8, **options)
    uniform = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    generator = np.random.default_rng(0)
    for _ in range(10):
        indices = bars.draw(uniform, generator)
        counts = costs.count(bars.decide(space, indices), input_shape)
        expected = expected_costs.expected(space, bars.one_hot(space, indices), input_shape)
        assert [int(value) for value in expected] == [getattr(counts, name) for name in costs.TOTALS]
        assert int(expected.params) == counts.params


def test_expected_costs_have_the_gradient_of_every_choice():
    space = bars.space(filters=8)
    probabilities = {name: tf.constant(value) for name, value in _bars_probabilities(space).items()}
    with tf.GradientTape() as tape:
        tape.watch(list(probabilities.values()))
        biops = expected_costs.expected(space, probabilities).biops
    gradients = dict(zip(probabilities, tape.gradient(biops, list(probabilities.values())), strict=True))
    for stage in range(3):
        # Wider and deeper costs more.
        assert np.all(np.diff(gradients[f"stage{stage}_width"]) > 0), stage
        assert np.all(np.diff(gradients[f"stage{stage}_depth"]) > 0), stage
    for name in ("normal0", "normal1", "normal2", "reduce1", "reduce2"):
        np.testing.assert_array_equal(gradients[name][:, :2], 0)
        assert np.all(gradients[name][:, 2] > 0)


def test_bad_probabilities_are_named():
    space = bnas.space(3, 4)
    good = {cell.name: tf.fill([len(cell.edges), 7], 1 / 7) for cell in space.cells}
    with pytest.raises(costs.CostError, match="probabilities: missing for reduce"):
        expected_costs.expected(space, {"normal": good["normal"]})
    with pytest.raises(costs.CostError, match=r"probabilities of reduce: shape \(7,\), not \(14, 7\)"):
        expected_costs.expected(space, {**good, "reduce": [1 / 7] * 7})
    with pytest.raises(costs.CostError, match="edge_probabilities: missing for normal"):
        expected_costs.expected(space, good, edge_probabilities={})
    uneven = Cell("reduce", (Node((Edge(0, ("none",)), Edge(1, ("none", "bin_conv_3x3"))), 2),))
    with pytest.raises(costs.CostError, match="cells.reduce: all edges must list the same number of operations"):
        expected_costs.expected(Architecture("bnas", (space.cell("normal"), uneven), space.stages), good)


def test_expected_costs_are_differentiable():
    space = bnas.space(3, 4)
    logits = {cell.name: tf.Variable(tf.zeros([len(cell.edges), 7])) for cell in space.cells}
    with tf.GradientTape() as tape:
        probabilities = {name: tf.nn.softmax(value) for name, value in logits.items()}
        biops = expected_costs.expected(space, probabilities, (8, 8, 1)).biops
    gradient = tape.gradient(biops, logits["normal"]).numpy()
    names = space.cell("normal").edges[0].operations
    assert np.all(gradient[:, names.index("bin_conv_5x5")] > gradient[:, names.index("bin_conv_3x3")])
    assert np.all(gradient[:, names.index("none")] < 0)
