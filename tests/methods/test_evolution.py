import collections
import json

import numpy as np
import pytest
import tensorflow as tf

import larq_nas
from larq_nas import flags, methods, options, supernet
from larq_nas.methods import bars, bats, bnas
from larq_nas.methods.evolution import keys, pareto
from larq_nas.methods.evolution.sampled_supernet import SampledSupernet
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes

SPACES = {"bnas": bnas.space(3, 4), "bars": bars.space(8, 2), "bats": bats.space(3, 8, 4)}
STRATEGIES = {"bnas": bnas.Strategy(), "bars": bars.Strategy(), "bats": bats.Strategy()}


def test_fronts_and_crowding_are_those_of_nsga_2():
    #          front 0: a, b, d  1: c, e  2: f
    points = [(1, 5), (2, 3), (2, 4), (4, 1), (4, 2), (5, 5)]
    assert pareto.fronts(points).tolist() == [0, 0, 1, 0, 1, 2]
    # b lies between a and d: (4 - 1) / 3 + (5 - 1) / 4.
    assert pareto.crowding([points[0], points[1], points[3]]).tolist() == [np.inf, 2.0, np.inf]
    assert pareto.order(points).tolist() == [0, 3, 1, 2, 4, 5]
    # Equal points do not dominate each other.
    assert pareto.fronts([(1, 1), (1, 1)]).tolist() == [0, 0]


@pytest.mark.parametrize("method", SPACES)
def test_keys_give_genotypes_that_the_strategy_derives(method):
    space, strategy, generator = SPACES[method], STRATEGIES[method], np.random.default_rng(0)
    shapes = choice_shapes(space)
    first, second = (keys.draw(shapes, generator) for _ in range(2))
    child = keys.crossed(first, second, generator)
    for name, values in child.items():
        rows = [values == first[name], values == second[name]]
        assert np.all(np.all(rows[0], axis=-1) | np.all(rows[1], axis=-1))
    mutated = keys.mutated(first, 0.3, generator)
    changed = np.concatenate([np.ravel(np.any(mutated[name] != first[name], axis=-1)) for name in shapes])
    assert 0.1 < changed.mean() < 0.5
    for key in (first, child, mutated):
        candidate = strategy.candidate(space, key)
        assert candidate.genotype.decided
        back = strategy.candidate(space, keys.of_weights(candidate.weights, generator))
        assert back.genotype == candidate.genotype
        assert all(np.array_equal(back.weights[name], values) for name, values in candidate.weights.items())


def test_turns_are_fair_and_widths_have_their_extremes():
    space, generator = SPACES["bars"], np.random.default_rng(0)
    chosen = collections.defaultdict(list)
    for key in keys.in_turns(space, 240, generator):
        for name, values in key.items():
            chosen[name].append(values.argmax(axis=-1))
    cells = {name: np.array(values) for name, values in chosen.items() if np.ndim(values[0])}
    for values in cells.values():
        assert all(np.bincount(row).tolist() == [80, 80, 80] for row in values.T)
    widths = [values for name, values in chosen.items() if name.endswith("width")]
    assert all(row[0::4] == [3] * 60 and row[1::4] == [0] * 60 for row in widths)
    assert all(set(row[2::4]) == set(row[3::4]) == {0, 1, 2, 3} for row in widths)


def test_a_step_trains_the_weights_of_one_genotype():
    model = SampledSupernet(STRATEGIES["bats"], SPACES["bats"], (8, 8, 1), 10, seed=3)
    model.compile(
        optimizer=tf.keras.optimizers.SGD(0.1),
        architecture_optimizer=tf.keras.optimizers.Adam(),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
    )
    first = {name: weights[0] for name, weights in model.paths.items()}
    assert all(np.isin(values, (0, 1)).all() and values.any() for values in first.values())
    images = tf.random.normal((4, 8, 8, 1)), tf.range(4)
    with tf.GradientTape() as tape:
        predictions = model.network({"images": images[0], **first}, training=True)
        loss = tf.reduce_mean(model.loss.call(images[1], predictions))
    weights = model.network.trainable_variables
    gradients = tape.gradient(loss, weights)
    expected = [variable - 0.1 * gradient for variable, gradient in zip(weights, gradients, strict=True)]
    model.train_on_batch(*images)
    for variable, values in zip(weights, expected, strict=True):
        np.testing.assert_allclose(variable, values, atol=1e-4)


OPTIONS = {"dataset": "digits", "train_examples": 120, "image_size": 8, "samples": 4, "generations": 2, "filters": 8}
OPTIONS |= {"steps": None, "epochs": 2, "warmup_epochs": 0, "finalist_epochs": 1, "batch_size": 32}


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", ["evolution_bars", "evolution_bats"])
def test_an_evolution_leaves_a_front_and_goes_on_after_a_kill(tmp_path, monkeypatch, method):
    own = {"budget": "50%", "cells_per_stage": 1} if "bars" in method else {"layers": 3}
    given = {"method": method, **OPTIONS, **own}
    whole = larq_nas.search(**given, run_dir=str(tmp_path / "whole"))
    judged = []

    def judge(self, weights, batches):
        if len(judged) == 6:
            raise Killed
        judged.append(weights)
        return original(self, weights, batches)

    original = supernet.Supernet.judge
    with monkeypatch.context() as patch:
        patch.setattr(supernet.Supernet, "judge", judge)
        with pytest.raises(Killed):
            larq_nas.search(**given, run_dir=str(tmp_path / "killed"))
    evaluated = json.loads((tmp_path / "killed/evaluations.json").read_text())
    assert len(evaluated) == 4
    assert larq_nas.search(**given, run_dir=str(tmp_path / "killed")) == whole
    rows = json.loads((tmp_path / "whole/pareto.json").read_text())
    assert rows == json.loads((tmp_path / "killed/pareto.json").read_text())
    points = [(-row["validation_accuracy"], row["binary_macs"]) for row in rows]
    assert not pareto.fronts(points).any() and points == sorted(points, key=lambda point: point[1])
    genotypes = [Architecture.load(tmp_path / "whole" / row["genotype"]) for row in rows]
    assert whole in genotypes and len(set(genotypes)) == len(rows)
    everyone = [row["figures"] for row in json.loads((tmp_path / "whole/evaluations.json").read_text())]
    assert 8 <= len(everyone) <= 12
    others = [(-row["validation_accuracy"], row["binary_macs"]) for row in everyone]
    assert {tuple(point) for point, number in zip(others, pareto.fronts(others), strict=True) if not number} == set(
        points
    )
    if "bars" in method:
        budget = bars.share_of_range(bars.space(8, 1), 0.5, (8, 8, 1), 10)
        assert all(row["biops"] <= budget for row in everyone)


def test_objectives_are_checked():
    config = methods.get("evolution_bnas")
    assert config.method == "evolution_bnas" and issubclass(config, methods.get("bnas"))
    for wrong in ("bytes", "accuracy,bytes,bytes", "accuracy,size"):
        with pytest.raises(options.OptionError, match="objectives"):
            flags.configure("search", method="evolution_bnas", objectives=wrong)
    with pytest.raises(options.OptionError, match="ms needs latency_table"):
        flags.configure("search", method="evolution_bnas", objectives="accuracy,ms")
    with pytest.raises(options.OptionError, match="at least 2"):
        flags.configure("search", method="evolution_bnas", samples=1)
    recipe = flags.configure("search", method="evolution_bats", dataset="folder:x")
    assert recipe.learning_rate == 0.003 and recipe.epochs_factor == 8
    # A length that is asked for is not multiplied.
    asked = [flags.configure("search", method="evolution_bats", **length) for length in ({"epochs": 3}, {"steps": 9})]
    assert [config.epochs_factor for config in asked] == [1, 1]
    assert flags.configure("search", method="evolution_bats", epochs=3, epochs_factor=2).epochs_factor == 2
