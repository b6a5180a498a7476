import collections
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from kill import Killed

import larq_nas
from larq_nas import flags, methods, options, runs, supernet
from larq_nas.methods import bars, bats, bnas
from larq_nas.methods.evolution import keys, pareto, searching
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
    for key in itertools.islice(keys.in_turns(space, generator), 240):
        for name, values in key.items():
            chosen[name].append(values.argmax(axis=-1))
    cells = {name: np.array(values) for name, values in chosen.items() if np.ndim(values[0])}
    for values in cells.values():
        assert all(np.bincount(row).tolist() == [80, 80, 80] for row in values.T)
    widths = [values for name, values in chosen.items() if name.endswith("width")]
    assert all(row[0::4] == [3] * 60 and row[1::4] == [0] * 60 for row in widths)
    assert all(set(row[2::4]) == set(row[3::4]) == {0, 1, 2, 3} for row in widths)


def test_a_step_trains_the_weights_of_one_genotype():
    model = SampledSupernet(STRATEGIES["bars"], bars.space(4, 1), (8, 8, 1), 10, seed=3)
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


def test_a_smaller_genotype_learns_the_predictions_of_the_largest():
    model = SampledSupernet(STRATEGIES["bars"], bars.space(4, 1), (8, 8, 1), 10, seed=3, distill=True)
    loss = tf.keras.losses.SparseCategoricalCrossentropy()
    model.compile(optimizer=tf.keras.optimizers.SGD(0.1), architecture_optimizer=tf.keras.optimizers.Adam(), loss=loss)
    sizes = {"stage0_width", "stage1_width", "stage2_width", "stage0_depth", "stage1_depth", "stage2_depth"}
    assert set(model.largest) == {name for name in sizes if name in model.paths} != set()
    images, labels = tf.random.normal((4, 8, 8, 1)), tf.range(4)
    for turn, is_largest in enumerate([True, False]):
        weights = {name: values[turn] for name, values in model.paths.items()}
        model.optimizer.iterations.assign(turn)
        predictions = model.network({"images": images, **weights}, training=True)
        targets = model.network({"images": images, **weights, **model.largest}, training=True)
        expected = (
            loss(labels, predictions)
            if is_largest
            else -tf.reduce_mean(tf.reduce_sum(targets * tf.math.log(predictions), axis=-1))
        )
        np.testing.assert_allclose(model.weights_loss(images, labels, predictions), expected, rtol=1e-5)
        assert np.allclose(targets, predictions, atol=1e-6) == is_largest


OPTIONS = {"dataset": "digits", "train_examples": 120, "image_size": 8, "samples": 4, "generations": 2, "filters": 8}
OPTIONS |= {"steps": None, "epochs": 2, "warmup_epochs": 0, "finalists": 2, "finalist_epochs": 1, "batch_size": 32}


def test_an_evolution_leaves_a_front_and_goes_on_after_a_kill(tmp_path, monkeypatch):
    given = {"method": "evolution_bats", "layers": 3, **OPTIONS, "run_dir": str(tmp_path / "run")}
    judged, most = [], 6

    def judge(self, weights, batches):
        if len(judged) == most:
            raise Killed
        judged.append(weights)
        return original(self, weights, batches)

    original = supernet.Supernet.judge
    monkeypatch.setattr(supernet.Supernet, "judge", judge)
    with pytest.raises(Killed):
        larq_nas.search(**given)
    before = json.loads((tmp_path / "run/evaluations.json").read_text())
    assert len(before) == 4
    most = None
    genotype = larq_nas.search(**given)
    everyone = json.loads((tmp_path / "run/evaluations.json").read_text())
    rows = json.loads((tmp_path / "run/pareto.json").read_text())
    # The finished generation is not evaluated again.
    assert everyone[:4] == before and len(judged) == 6 + len(everyone) - 4
    genotypes = [Architecture.load(tmp_path / "run" / row["genotype"]) for row in rows]
    assert genotype in genotypes and len(set(genotypes)) == len(rows)
    metrics = [row["figures"] for row in everyone]
    assert 8 <= len(everyone) <= 12 and _points(rows) == sorted(_front(metrics), key=lambda point: point[1])


def _points(rows):
    return [(-row["validation_accuracy"], row["binary_macs"]) for row in rows]


def _front(rows):
    points = _points(rows)
    return {point for point, number in zip(points, pareto.fronts(points), strict=True) if not number}


def test_a_population_gets_better_within_the_budget(tmp_path):
    config = flags.configure("search", method="evolution_bars", dataset="digits", samples=8, generations=6)
    space = config.space()
    strategy = config.strategy(space, (8, 8, 1), 10)

    def judge(weights):
        # As if convolutions in the cells of the first stage were all that counts.
        share = weights["normal0"][:, bars.OPERATIONS.index("residual_bin_conv_3x3")].mean()
        return {"validation_loss": 1 - share, "validation_accuracy": float(share)}

    population = searching.Population(strategy, space, judge, runs.Run(tmp_path), config, (8, 8, 1), 10)
    best = []
    for generation in range(config.generations + 1):
        population.grow(generation)
        assert len(population.kept) == 8
        best.append(max(candidate.metrics["validation_accuracy"] for _, candidate in population.kept))
    assert best == sorted(best) and best[-1] > best[0]
    rows = [candidate.metrics for candidate in population.evaluated.values()]
    assert len(rows) == 8 * 7 and all(row["biops"] <= strategy.budget for row in rows)
    assert set(_points([candidate.metrics for candidate in population.front()])) == _front(rows)


def test_broken_evaluations_are_one_clear_error(tmp_path):
    config = flags.configure("search", method="evolution_bats", dataset="digits")
    wanted = dict.fromkeys(("validation_loss", "validation_accuracy", "biops", "flops", "params", "binary_macs"), 1)
    row = {"genotype": "{}", "figures": wanted}
    wrong = [{}, {"genotype": "{}"}, row | {"figures": {}}, row | {"figures": wanted | {"validation_loss": "low"}}]
    for rows in [1, *([row, other] for other in wrong)]:
        runs.write(tmp_path / "evaluations.json", rows)
        with pytest.raises(runs.RunError, match=r"evaluations\.json: broken; start again"):
            searching.Population(None, None, None, runs.Run(tmp_path), config, (8, 8, 1), 10)
    runs.write(tmp_path / "evaluations.json", [row])
    assert searching.Population(None, None, None, runs.Run(tmp_path), config, (8, 8, 1), 10).known == {"{}": wanted}


def test_objectives_are_checked():
    config = methods.get("evolution_bnas")
    assert config.method == "evolution_bnas" and issubclass(config, methods.get("bnas"))
    for wrong in ("bytes", "accuracy,bytes,bytes", "accuracy,size"):
        with pytest.raises(options.OptionError, match="objectives"):
            flags.configure("search", method="evolution_bnas", objectives=wrong)
    with pytest.raises(options.OptionError, match="ms needs latency_table"):
        flags.configure("search", method="evolution_bnas", objectives="accuracy,ms")
    with pytest.raises(options.OptionError, match="samples=1"):
        flags.configure("search", method="evolution_bnas", samples=1)
    recipe = flags.configure("search", method="evolution_bats", dataset="folder:x")
    assert recipe.learning_rate == 0.006 and recipe.epochs_factor == 8
    # A length that is asked for is not multiplied.
    asked = [flags.configure("search", method="evolution_bats", **length) for length in ({"epochs": 3}, {"steps": 9})]
    assert [config.epochs_factor for config in asked] == [1, 1]
    assert flags.configure("search", method="evolution_bats", epochs=3, epochs_factor=2).epochs_factor == 2
