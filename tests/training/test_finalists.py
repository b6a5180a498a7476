import argparse
import json

import numpy as np
import pytest

from larq_nas import datasets, runs
from larq_nas.methods import bats, bnas
from larq_nas.training import finalists

SPACE = bnas.space(3, 4)
GENOTYPES = [SPACE.sample(seed) for seed in range(5)]
CONFIG = argparse.Namespace(
    **{"seed": 0, "batch_size": 32, "learning_rate": 0.05, "final_learning_rate": 0.0, "reference_batch_size": None},
    **{"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 5.0, "augmentation": "none"},
    finalist_epochs=2,
)


class Killed(Exception):
    pass


def test_each_round_keeps_the_better_half_and_trains_it_twice_as_long(tmp_path, monkeypatch):
    calls, final = [], {0: 0.5, 1: 0.7, 2: 0.6, 3: 0.9, 4: 0.1}

    def trained(genotype, index, number, data, run, config):
        assert genotype == GENOTYPES[index]
        calls.append((number, index))
        if len(calls) == 4:
            raise Killed
        # The order changes in the last round.
        return final[index] if number < 2 else 1 - final[index]

    monkeypatch.setattr(finalists, "_trained", trained)
    run = runs.Run(tmp_path)
    with pytest.raises(Killed):
        finalists.choose(GENOTYPES, None, run, CONFIG)
    # Finished trainings are not repeated.
    assert finalists.choose(GENOTYPES, None, run, CONFIG) == 1
    assert calls == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 3), (0, 4), (1, 3), (1, 1), (1, 2), (2, 3), (2, 1)]
    assert [row["epochs"] for row in json.loads(run.finalists.read_text())] == [2, 4, 8]
    assert finalists.choose(GENOTYPES[:1], None, runs.Run(tmp_path / "one"), CONFIG) == 0


def test_finalists_learn_and_go_on_from_their_weights(tmp_path):
    data, run = datasets.load("digits", image_size=8, train_examples=400), runs.Run(tmp_path)
    chosen = finalists.choose(GENOTYPES[:3], data, run, CONFIG)
    first, second = (row["accuracy"] for row in json.loads(run.finalists.read_text()))
    assert len(first) == 3 and len(second) == 2 and second[str(chosen)] == max(second.values())
    assert max(first.values()) > 0.15
    # With weights that were drawn again, two further epochs would not be more accurate than the first two.
    assert np.mean(list(second.values())) > np.mean([first[index] for index in second]) + 0.05


@pytest.mark.parametrize("method", [bnas, bats])
def test_candidates_are_drawn_from_what_was_learnt(method):
    space = method.space(3, 4) if method is bnas else method.space(3, 8, 4)
    strategy = method.Strategy(samples=6)
    generator = np.random.default_rng(0)
    flat, sharp = {}, {}
    for cell in space.cells:
        logits = generator.normal(size=(len(cell.edges), len(cell.edges[0].operations)))
        for values, scale in ((flat, 1.0), (sharp, 1000.0)):
            likely = np.exp(scale * (logits - logits.max(axis=-1, keepdims=True)))
            values[cell.name] = likely / likely.sum(axis=-1, keepdims=True)
    found = [candidate.genotype for candidate in strategy.candidates(space, flat, 0)]
    assert len(found) == len(set(found)) == 6 and found[0] == strategy.derive(space, flat)
    assert found == [candidate.genotype for candidate in strategy.candidates(space, flat, 0)]
    (only,) = strategy.candidates(space, sharp, 0)
    assert only.genotype == strategy.derive(space, sharp)
    assert method.Strategy().candidates(space, flat, 0) == []
