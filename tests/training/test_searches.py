import argparse
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from kill import Killed, kill_in

from larq_nas import costs, datasets, runs, supernet, training
from larq_nas.methods import bars, bnas
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import inheritance, strategy
from larq_nas.training import results, searching

SEARCH = argparse.Namespace(
    **{"seed": 3, "batch_size": 32, "epochs": 3, "learning_rate": 0.01, "final_learning_rate": 0.001},
    **{"momentum": 0.9, "weight_decay": 3e-4, "architecture_learning_rate": 3e-3},
    **{"architecture_weight_decay": 1e-3, "optimizer": "sgd", "clip_norm": 0.0, "augmentation": "crop"},
    **{"reference_batch_size": None, "finalists": 0, "finalist_epochs": 1, "permute_labels": False},
)
SPACE = bnas.space(3, 2)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", train_examples=128)


def test_a_killed_search_goes_on_to_the_same_result(tmp_path, digits, monkeypatch):
    whole, broken = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "broken")
    training.search(bnas.Strategy(), SPACE, digits, whole, SEARCH)
    with monkeypatch.context() as patch:
        kill_in(2, patch)
        with pytest.raises(Killed):
            training.search(bnas.Strategy(), SPACE, digits, broken, SEARCH)
    assert training.resume_epoch(broken) == 2 and not broken.genotype.exists()
    # As if the kill had come between the row and the backup of an epoch: the row is written again, not twice.
    with open(broken.metrics_csv, "a", encoding="utf-8") as file:
        file.write(broken.metrics_csv.read_text(encoding="utf-8").splitlines()[-1].replace("1,", "2,", 1) + "\n")
    training.search(bnas.Strategy(), SPACE, digits, broken, SEARCH)
    assert [row["epoch"] for row in broken.rows()] == [0, 1, 2]
    for a, b in zip(whole.rows(), broken.rows(), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    assert broken.genotype.read_text() == whole.genotype.read_text()


@pytest.mark.onednn
def test_a_search_leaves_the_genotypes_of_the_best_epoch_with_both_gammas(tmp_path, digits):
    run = runs.Run(tmp_path)
    genotype = training.search(bnas.Strategy(), SPACE, digits, run, SEARCH)
    accuracy = [row["val_accuracy"] for row in run.rows()]
    best = accuracy.index(max(accuracy))
    for suffix in ("", "-gamma3"):
        kept = Architecture.load(tmp_path / f"genotype{suffix}.json")
        assert kept == Architecture.load(run.genotypes / f"epoch-{best:03}{suffix}.json")
        assert kept.provenance["result"] == {"epoch": best + 1, "validation_accuracy": accuracy[best]}
    assert genotype == Architecture.load(run.genotype) and genotype.decided
    assert len(list(run.genotypes.iterdir())) == 6
    assert [path.name for path in sorted(run.probabilities.iterdir())] == [
        f"epoch-00{epoch}.json" for epoch in range(3)
    ]
    assert {"loss", "accuracy", "entropy", "architecture_loss", "val_loss"} <= set(run.rows()[0])
    assert list(run.logs.rglob("events.out.tfevents.*"))


def _bars_search(digits, run):
    space = bars.space(4, cells_per_stage=1)
    strategy = bars.Strategy(epochs=3, warmup_epochs=1, budget=1e5, counted=(space, digits.image_shape, 10), samples=4)
    settings = argparse.Namespace(**{**vars(SEARCH), "clip_norm": 5.0})
    return training.search(strategy, space, digits, run, settings)


@pytest.fixture(scope="module")
def bars_search(tmp_path_factory, digits):
    """The run directory and the genotype of a search that nothing kills."""
    run = runs.Run(tmp_path_factory.mktemp("bars"))
    return run, _bars_search(digits, run)


@pytest.mark.parametrize("killed_in", [2, pytest.param("candidates", marks=pytest.mark.slow)])
def test_a_killed_bars_search_goes_on_and_keeps_the_candidate_of_the_lowest_loss(
    tmp_path, digits, bars_search, monkeypatch, killed_in
):
    (whole, expected), run = bars_search, runs.Run(tmp_path)
    with monkeypatch.context() as patch:
        if killed_in == "candidates":
            patch.setattr(supernet.Supernet, "judge", lambda *arguments, **options: (_ for _ in ()).throw(Killed()))
        else:
            kill_in(killed_in, patch)
        with pytest.raises(Killed):
            _bars_search(digits, run)
    assert not run.genotype.exists()
    genotype = _bars_search(digits, run)
    assert [row["epoch"] for row in run.rows()] == [0, 1, 2]
    # It draws what it would have drawn.
    assert genotype == expected
    for a, b in zip(whole.rows(), run.rows(), strict=True):
        assert a == pytest.approx(b, rel=1e-4, nan_ok=True)
    candidates = json.loads(run.candidates.read_text())
    (chosen,) = (candidate for candidate in candidates if candidate["chosen"])
    assert len(candidates) == 4 and chosen["validation_loss"] == min(c["validation_loss"] for c in candidates)
    counts = costs.count(genotype, digits.image_shape, 10)
    assert (chosen["biops"], chosen["params"]) == (counts.biops, counts.params)
    assert genotype.provenance["examples"] == [64, 64]
    assert genotype.provenance["result"] == {key: value for key, value in chosen.items() if key != "chosen"}
    assert all(candidate["over_budget"] == (candidate["biops"] > 1e5) for candidate in candidates)
    columns = {"temperature", "expected_biops", "budget", "stage0/depth_probability", "normal0/shortcut", "val_loss"}
    assert columns <= set(run.rows()[-1])


@pytest.mark.parametrize(("accepted", "chosen"), [((False, True, True), 2), ((False, False, False), 0)])
def test_a_candidate_that_costs_what_was_asked_for_wins_over_better_ones_that_do_not(tmp_path, accepted, chosen):
    genotypes = [bars.space(4).sample(seed) for seed in range(3)]
    costs = {"biops": 1, "flops": 1, "params": 1}
    candidates = [
        strategy.Candidate(genotype, index, {**costs, "accepted": fits})
        for index, (genotype, fits) in enumerate(zip(genotypes, accepted, strict=True))
    ]
    losses = (1.0, 3.0, 2.0)
    run = runs.Run(tmp_path)
    config = argparse.Namespace(finalists=0)
    results.of_candidates(candidates, None, run, config, {}, lambda weights: {"validation_loss": losses[weights]})
    assert Architecture.load(run.genotype) == genotypes[chosen]
    assert [c["chosen"] for c in json.loads(run.candidates.read_text())] == [index == chosen for index in range(3)]


def test_a_search_chooses_among_finalists_that_it_trains(tmp_path, digits, monkeypatch):
    run, begun, inherit = runs.Run(tmp_path), [], inheritance.inherit

    def recorded(network, genotype, supernet, space):
        before = network.get_weights()
        inherit(network, genotype, supernet, space)
        begun.append((genotype, not all(map(np.array_equal, before, network.get_weights()))))

    monkeypatch.setattr(inheritance, "inherit", recorded)
    settings = argparse.Namespace(**{**vars(SEARCH), "epochs": 1, "finalists": 2})
    genotype = training.search(bnas.Strategy(samples=5), SPACE, digits, run, settings)
    candidates = json.loads(run.candidates.read_text())
    losses = [row["validation_loss"] for row in candidates]
    assert len(candidates) == 5 and [row["chosen"] for row in candidates].count(True) == 1
    chosen = next(index for index, row in enumerate(candidates) if row["chosen"])
    # One of the two with the lowest losses, and the more accurate one of these after its training.
    place = str(sorted(losses).index(losses[chosen]) + 1)
    accuracy = json.loads(run.finalists.read_text())[-1]["accuracy"]
    assert place in "12" and accuracy[place] == max(accuracy.values())
    assert genotype == Architecture.load(run.genotype) == Architecture.load(tmp_path / f"finalists/{place}.json")
    assert begun == [(Architecture.load(tmp_path / f"finalists/{number}.json"), True) for number in (1, 2)]


def test_a_control_chooses_nothing_by_true_labels(tmp_path, digits, monkeypatch):
    run = runs.Run(tmp_path)
    settings = argparse.Namespace(**{**vars(SEARCH), "epochs": 2, "finalists": 2, "permute_labels": True})
    monkeypatch.setattr(supernet.Supernet, "judge", lambda *arguments, **options: (_ for _ in ()).throw(Killed()))
    genotype = training.search(bnas.Strategy(samples=3), SPACE, digits, run, settings)
    assert genotype.provenance["result"]["epoch"] == 2 and not run.finalists.exists()


def test_permuted_labels_are_those_of_the_architecture_alone(digits):
    plain, permuted, resumed = (
        list(searching._search_batches(digits, argparse.Namespace(**{**vars(SEARCH), "permute_labels": on}), 2, first))
        for on, first in ((False, 0), (True, 0), (True, 1))
    )
    for (weights, half), (same, other) in zip(plain, permuted, strict=True):
        assert np.array_equal(weights[0], same[0]) and np.array_equal(weights[1], same[1])
        assert np.array_equal(half[0], other[0]) and sorted(half[1].numpy()) == sorted(other[1].numpy())
        assert not np.array_equal(half[1], other[1])
    # A resumed search permutes as it would have done.
    for first, second in zip(permuted[2:], resumed, strict=True):
        assert np.array_equal(first[1][1], second[1][1])


def test_a_search_never_reads_the_test_split(tmp_path, digits):
    def refuse():
        raise AssertionError("the test split was read")
        yield

    spec = tf.data.DatasetSpec(digits.test.element_spec).element_spec
    test = tf.data.Dataset.from_generator(refuse, output_signature=spec)
    data = datasets.Images(**{**vars(digits), "test": test})
    settings = argparse.Namespace(**{**vars(SEARCH), "epochs": 1})
    assert training.search(bnas.Strategy(), SPACE, data, runs.Run(tmp_path), settings).decided


@pytest.mark.parametrize("sizes", [(33, 32), (32, 33)])
def test_halves_of_unequal_numbers_of_batches_make_whole_epochs(tmp_path, digits, sizes):
    halves = tuple(half.take(size) for half, size in zip(digits.halves, sizes, strict=True))
    data = datasets.Images(**{**vars(digits), "halves": halves, "half_sizes": sizes})
    settings = argparse.Namespace(**{**vars(SEARCH), "epochs": 4})
    steps = math.ceil(sizes[0] / 32)
    batches = list(searching._search_batches(data, settings, steps, 0))
    assert len(batches) == 4 * steps
    resumed = list(searching._search_batches(data, settings, steps, 2))
    for a, b in zip(batches[2 * steps :], resumed, strict=True):
        np.testing.assert_array_equal(a[0][0], b[0][0])
        np.testing.assert_array_equal(a[1][0], b[1][0])
