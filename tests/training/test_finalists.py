import argparse
import itertools
import json
import math

import numpy as np
import pytest
from kill import Killed

from larq_nas import datasets, flags, runs
from larq_nas.methods import bats, bnas
from larq_nas.supernet import estimates
from larq_nas.training import finalists

SPACE = bnas.space(3, 4)
GENOTYPES = [SPACE.sample(seed) for seed in range(5)]
CONFIG = argparse.Namespace(
    **{"seed": 0, "batch_size": 32, "learning_rate": 0.05, "final_learning_rate": 0.0, "reference_batch_size": None},
    **{"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 5.0, "augmentation": "none"},
    finalist_epochs=2,
)


def test_each_round_keeps_the_better_half_and_trains_it_twice_as_long(tmp_path, monkeypatch):
    calls, final = [], {"1": 0.5, "2": 0.7, "3": 0.6, "4": 0.9, "5": 0.1}

    def trained(genotype, index, number, data, run, config, begin):
        assert genotype == GENOTYPES[int(index) - 1]
        calls.append((number, int(index)))
        if len(calls) == 4:
            raise Killed
        # The order changes in the last round.
        return final[index] if number < 2 else 1 - final[index]

    monkeypatch.setattr(finalists, "_trained", trained)
    run = runs.Run(tmp_path)
    with pytest.raises(Killed):
        finalists.choose(GENOTYPES, None, run, CONFIG)
    # Finished trainings are not repeated. Their accuracies stay those of their genotypes, even if losses that are
    # almost equal are in another order now.
    assert finalists.choose(GENOTYPES[::-1], None, run, CONFIG) == GENOTYPES[1]
    assert calls == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 4), (0, 5), (1, 4), (1, 2), (1, 3), (2, 4), (2, 2)]
    assert [row["epochs"] for row in json.loads(run.finalists.read_text())] == [2, 4, 8]
    assert finalists.choose(GENOTYPES[:1], None, runs.Run(tmp_path / "one"), CONFIG) == GENOTYPES[0]


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "[1]", '[{"finalists": ["1"]}]', '[{"epochs": 2, "finalists": ["1", "../2"], "accuracy": {}}]']
    + ['[{"epochs": 2, "finalists": ["1", "2"], "accuracy": {"1": "high"}}]'],
)
def test_a_table_of_another_form_is_one_clear_error(content, tmp_path):
    run = runs.Run(tmp_path)
    run.finalists.write_text(content)
    with pytest.raises(runs.RunError, match=r"finalists\.json: broken; start again"):
        finalists.choose(GENOTYPES[:2], None, run, CONFIG)


def test_finalists_learn_and_go_on_from_their_weights(tmp_path):
    data, run = datasets.load("digits", image_size=8, train_examples=400), runs.Run(tmp_path)
    begun = []
    chosen = finalists.choose(GENOTYPES[:3], data, run, CONFIG, lambda network, genotype: begun.append(genotype))
    assert begun == GENOTYPES[:3]  # Not in the second round.
    first, second = (row["accuracy"] for row in json.loads(run.finalists.read_text()))
    assert len(first) == 3 and len(second) == 2
    assert chosen == GENOTYPES[int(max(second, key=second.get)) - 1]
    assert max(first.values()) > 0.15
    # With weights that were drawn again, two further epochs would not be more accurate than the first two.
    assert np.mean(list(second.values())) > np.mean([first[index] for index in second]) + 0.05


def test_what_the_training_of_finalists_takes_is_said(monkeypatch):
    data = datasets.load("digits", image_size=8, train_examples=400)
    measured = estimates.Estimate(parameters=1, bytes=0, seconds_per_step=1.0, seconds_to_begin=100.0)
    monkeypatch.setattr(estimates, "measure", lambda *arguments: measured)
    # Building a network takes 50 seconds by this clock.
    monkeypatch.setattr(finalists, "time", argparse.Namespace(perf_counter=itertools.count(step=50).__next__))
    steps, epochs = math.ceil(data.half_sizes[0] / CONFIG.batch_size), CONFIG.finalist_epochs
    # Two of three go on to the second round, and are trained twice as long.
    seconds = 3 * (150 + epochs * steps) + 2 * (150 + 2 * epochs * steps)
    said = finalists.expected(GENOTYPES[0], 3, data, CONFIG).line()
    assert said == f"3 genotypes are trained for a short time, {seconds / 60:.0f} min"
    assert finalists.expected(GENOTYPES[0], 1, data, CONFIG).line() == ""
    batches = math.ceil(data.half_sizes[1] / CONFIG.batch_size)
    evaluated = "10 genotypes are evaluated with shared weights"
    assert (
        finalists.expected(GENOTYPES[0], 1, data, CONFIG, 10).line(20.0) == f"{evaluated}, {200 * batches / 60:.0f} min"
    )
    said = finalists.expected(GENOTYPES[0], 3, data, CONFIG, 10).line(20.0)
    minutes = (200 * batches + seconds) / 60
    assert said == f"{evaluated} and 3 genotypes are trained for a short time, {minutes:.0f} min"


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
    assert len(found) == len(set(found)) == 6 and found[0] == strategy.candidate(space, flat).genotype
    assert found == [candidate.genotype for candidate in strategy.candidates(space, flat, 0)]
    (only,) = strategy.candidates(space, sharp, 0)
    assert _sets(only.genotype) == _sets(strategy.derive(space, sharp))
    assert method.Strategy().candidates(space, flat, 0) == []


def _sets(genotype):
    return [[set(node.edges) for node in cell.nodes] for cell in genotype.cells]


def test_finalists_need_as_many_samples():
    config = flags.configure("search", method="bnas", dataset="cifar10", finalists=3)
    assert (config.samples, config.finalists) == (3, 3)
    assert flags.configure("search", method="bnas", dataset="cifar10", finalists=3, samples=9).samples == 9
