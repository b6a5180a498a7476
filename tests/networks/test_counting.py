import numpy as np
import pytest

from larq_nas import costs, networks, zoo
from larq_nas.methods import bnas
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage

CIFAR, IMAGENET = ((32, 32, 3), 10), ((224, 224, 3), 1000)


def _same(architecture, input_shape, classes, model=None):
    built = costs.count(model or networks.build(architecture, input_shape, classes))
    ours = costs.count(architecture, input_shape, classes)
    assert sorted(ours.rows, key=lambda row: row.name) == sorted(built.rows, key=lambda row: row.name)


@pytest.mark.parametrize(
    "name", ["bnas_a", "bnas_d", *(pytest.param(f"bnas_{x}", marks=pytest.mark.slow) for x in "bcefgh")]
)
def test_a_genotype_costs_what_its_network_does(name):
    _same(zoo.genotype(name), *(CIFAR if name in ("bnas_a", "bnas_b", "bnas_c") else IMAGENET), getattr(zoo, name)())


@pytest.mark.parametrize("part", [*range(3), *(pytest.param(part, marks=pytest.mark.slow) for part in range(3, 20))])
def test_random_genotypes_cost_what_their_networks_do(part):
    for seed in range(10 * part, 10 * part + 10):
        generator = np.random.default_rng(seed)
        space = bnas.space(int(generator.integers(3, 5)), int(generator.integers(2, 9)))
        height, width = (128, 128) if seed % 10 == 0 else (int(side) for side in generator.integers(4, 12, 2))
        _same(space.sample(seed), (height, width, int(generator.integers(1, 4))), int(generator.integers(2, 12)))


@pytest.mark.parametrize("part", [*range(3), *(pytest.param(part, marks=pytest.mark.slow) for part in range(3, 10))])
def test_random_bars_genotypes_cost_what_their_networks_do(part):
    for seed in range(5 * part, 5 * part + 5):
        generator = np.random.default_rng(seed)
        operations = ("none", "shortcut", "residual_bin_conv_3x3")
        cell = tuple(
            Node(tuple(Edge(source, operations) for source in range(node + 1)), node + 1)
            for node in range(generator.integers(1, 4))
        )
        stages = tuple(
            Stage(f"n{index}", (2, 4, 6, 10), (0, 1, 2), f"r{index}" if index else None)
            for index in range(generator.integers(1, 4))
        )
        cells = tuple(Cell(f"n{index}", cell) for index in range(len(stages)))
        cells += tuple(Cell(f"r{index}", cell) for index in range(1, len(stages)))
        shape = (128, 129, 3) if seed % 10 == 0 else (int(generator.integers(4, 12)), 9, 2)
        _same(Architecture("bars", cells, stages).sample(seed), shape, 5)
