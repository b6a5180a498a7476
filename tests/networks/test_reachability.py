import dataclasses

import numpy as np
import pytest

from larq_nas import networks, zoo
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.networks.reachability import reaches_classifier
from larq_nas.space.architecture import Architecture, Cell, Edge, Node

SPACES = {
    "bnas": bnas.space(3, 4),
    "bats": bats.space(3, 8, 4),
    "bars": bars.space(4, 1),
    "bars_no_shortcut": bars.space(4, 1, cell_shortcut=False),
}
LIVE = {"bnas": "max_pool_3x3", "bats": "max_pool_3x3", "bars": "shortcut", "bars_no_shortcut": "shortcut"}


def genotype(template, normal=(), reduce=()):
    """A genotype of which only some edges have an operation: pairs of a node and its source."""
    sample = SPACES[template].sample(0)

    def cell(old):
        kept = normal if old.name.startswith("normal") else reduce
        nodes = []
        for index in range(len(old.nodes)):
            sources = [source for number, source in kept if number == index] or [0]
            live = any(number == index for number, _ in kept)
            edges = tuple(Edge(source, (LIVE[template] if live else "none",)) for source in sources)
            nodes.append(Node(edges, len(edges)))
        return Cell(old.name, tuple(nodes))

    return dataclasses.replace(sample, cells=tuple(map(cell, sample.cells)))


CASES = [
    ("bnas", {}, False),
    ("bats", {}, False),
    ("bars_no_shortcut", {}, False),
    # The shortcut of each cell.
    ("bars", {}, True),
    # The shortcut of each cell but the first.
    ("bnas", {"normal": [(0, 0)]}, True),
    ("bats", {"normal": [(0, 0)]}, False),
    ("bars_no_shortcut", {"normal": [(0, 0)]}, False),
    # The second cell reads the stem past the first, and the third the stem's successor, which is dead.
    ("bnas", {"reduce": [(0, 0)]}, True),
    ("bats", {"reduce": [(0, 0)]}, False),
    ("bats", {"reduce": [(0, 0), (1, 1)]}, True),
    ("bnas", {"reduce": [(0, 1)]}, False),
    # Node 1 reads node 0, which is dead.
    ("bnas", {"normal": [(1, 2)]}, False),
    ("bnas", {"normal": [(0, 1), (1, 2)]}, True),
    ("bats", {"normal": [(0, 0)], "reduce": [(0, 1)]}, True),
    ("bats", {"normal": [(3, 4)], "reduce": [(3, 4)]}, False),
]


@pytest.mark.parametrize(("template", "live", "expected"), CASES)
def test_what_reaches_the_classifier_is_what_the_network_computes(template, live, expected):
    architecture = genotype(template, **live)
    assert reaches_classifier(architecture) is expected
    network = networks.build(architecture, (8, 8, 1), 3)
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    # In training BatchNorm centres what it reads; without that, signs behind a ReLU are alike.
    outputs = network(images, training=True).numpy()
    assert bool(np.ptp(outputs, axis=0).max() > 1e-6) is expected


@pytest.mark.parametrize("name", zoo.GENOTYPES)
def test_images_reach_the_classifier_of_every_network_of_the_zoo(name):
    assert reaches_classifier(zoo.genotype(name))


@pytest.mark.parametrize("space", [*SPACES.values(), dms.space("vgg11"), dms.space("resnet18")])
def test_a_space_counts_what_its_edges_could_be(space):
    assert reaches_classifier(space)


def test_stages_without_cells_pass_everything_on():
    cells = genotype("bars_no_shortcut").cells
    stages = (dataclasses.replace(SPACES["bars_no_shortcut"].sample(0).stages[0], depths=(0,)),)
    names = {stages[0].cell}
    cells = tuple(cell for cell in cells if cell.name in names)
    architecture = Architecture("bars", cells, stages, {"cell_shortcut": False})
    assert reaches_classifier(architecture)
