import keras_tuner
import pytest

from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.space.checks import ArchitectureError
from larq_nas.tuning import spaces

SPACES = {
    "bnas": bnas.space(5, 8),
    "bars": bars.space(8, 2),
    "bars_shared": bars.space(8, 2, shared_cells=True, width_search=False),
    "bats": bats.space(3, 8, 4),
    "dms": dms.with_widths(dms.space("vgg11"), [(4, 8, 16)] * 8),
}


def _without_empty_nodes(space):
    """Some random genotypes of a space."""
    drawn = [space.sample(seed) for seed in range(200)]
    nodes = [[node for cell in genotype.cells for node in cell.nodes] for genotype in drawn]
    empty = [any(all(edge.operations == ("none",) for edge in node.edges) for node in each) for each in nodes]
    found = [genotype for genotype, is_empty in zip(drawn, empty, strict=True) if not is_empty][:20]
    assert found
    return found


@pytest.mark.parametrize("name", SPACES)
def test_genotypes_are_values_and_values_are_genotypes(name):
    space = SPACES[name]
    hyperparameters = spaces.hyperparameters(space)
    for genotype in _without_empty_nodes(space):
        hyperparameters.values = spaces.values(space, genotype)
        assert spaces.genotype(space, hyperparameters.values) == genotype
        # Each active hyperparameter has a value that it accepts, and no other one is there.
        active = {each.name for each in hyperparameters.space if hyperparameters.is_active(each)}
        assert active == set(hyperparameters.values)
        for each in hyperparameters.space:
            assert each.name not in active or hyperparameters.values[each.name] in each.values


@pytest.mark.parametrize("name", SPACES)
def test_what_an_oracle_draws_is_a_genotype(name):
    space = SPACES[name]
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=10,
        hyperparameters=spaces.hyperparameters(space),
        seed=1,
    )
    found = set()
    for _ in range(10):
        genotype = spaces.genotype(space, oracle._random_values())
        assert genotype.decided
        found.add(genotype)
    assert len(found) == 10


@pytest.mark.parametrize("name", ["bnas", "bars", "bats"])
def test_no_node_of_what_an_oracle_draws_is_empty(name):
    hyperparameters = spaces.hyperparameters(SPACES[name])
    for choice in hyperparameters.space:
        hyperparameters.values[choice.name] = "none" if "none" in choice.values else choice.values[0]
    genotype = spaces.genotype(SPACES[name], hyperparameters.values)
    for cell in genotype.cells:
        for node in cell.nodes:
            assert [edge.operations == ("none",) for edge in node.edges].count(False) == 1


def test_names_and_conditions_can_be_read():
    found = {each.name: each for each in spaces.hyperparameters(SPACES["bnas"]).space}
    assert found["normal/node2/inputs"].values == ["0+1", "0+2", "0+3", "1+2", "1+3", "2+3"]
    edge = found["normal/node2/input3"]
    assert "bin_conv_3x3" in edge.values
    (condition,) = edge.conditions
    assert (condition.name, condition.values) == ("normal/node2/inputs", ["0+3", "1+3", "2+3"])
    found = {each.name: each.values for each in spaces.hyperparameters(SPACES["bars"]).space}
    assert found["stage1/width"] == [4, 8, 12, 16] and found["stage1/depth"] == [0, 1, 2]


def test_a_genotype_and_foreign_values_are_clear_errors():
    with pytest.raises(ArchitectureError, match="is a genotype; give a space"):
        spaces.hyperparameters(SPACES["bats"].sample(0))
    foreign = spaces.hyperparameters(SPACES["bars"]).values
    with pytest.raises(ArchitectureError, match="normal/node0/input0: is None; candidates of the space are none, "):
        spaces.genotype(SPACES["bnas"], foreign)
    with pytest.raises(ArchitectureError, match="stage0/width: is [0-9]+; candidates of the space are 2, 4, 6"):
        spaces.values(bars.space(8, 2), bars.space(44, 2).sample(3))
    twice = Node((Edge(0, ("none", "shortcut")),) * 2, 1)
    with pytest.raises(ArchitectureError, match="normal/node0: two of its edges come from the same state"):
        spaces.hyperparameters(Architecture("bars", (Cell("normal", (twice,)),), (Stage("normal", (8,), (1,)),)))
