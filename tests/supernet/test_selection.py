import dataclasses

import numpy as np
import pytest

from larq_nas.methods import bars, bats, bnas
from larq_nas.space.architecture import ArchitectureError
from larq_nas.space.choices import choice_shapes
from larq_nas.supernet.selection import one_hot

SPACES = {"bnas": bnas.space(4, 8), "bars": bars.space(8, 2), "bats": bats.space(4, 12, 4)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPACES)
def test_the_weights_select_the_operations_widths_and_depths_of_a_genotype(name, seed):
    space = SPACES[name]
    genotype = space.sample(seed)
    weights = one_hot(space, genotype)
    assert {name: values.shape for name, values in weights.items()} == choice_shapes(space)
    for cell in space.cells:
        found = []
        for edge, row in zip(cell.edges, weights[cell.name], strict=True):
            assert sorted(row)[-2:] in ([0, 0], [0, 1])
            found += [(edge.source, edge.operations[np.argmax(row)])] * int(row.sum())
        assert found == [(edge.source, edge.operations[0]) for edge in genotype.cell(cell.name).edges]
    for index, (stage, decided) in enumerate(zip(space.stages, genotype.stages, strict=True)):
        if len(stage.widths) > 1:
            assert weights[f"stage{index}_width"] @ np.array(stage.widths) == decided.widths[0]
            assert weights[f"stage{index}_depth"] @ np.array(stage.depths) == decided.depths[0]


def test_a_genotype_of_another_space_is_refused():
    space = SPACES["bars"]
    genotype = space.sample(0)
    wider = dataclasses.replace(genotype.stages[0], widths=(7,))
    with pytest.raises(ArchitectureError, match=r"stages\[0\].widths: 7 is not one of 2, 4, 6, 8"):
        one_hot(space, dataclasses.replace(genotype, stages=(wider, *genotype.stages[1:])))
