import math

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import costs, supernet
from larq_nas.costs import expected_costs
from larq_nas.methods import bars
from larq_nas.methods.bars import strategy as bars_strategy
from larq_nas.space.choices import choice_shapes
from larq_nas.supernet import sampling
from larq_nas.training import optimizers


def _uniform(space):
    return {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}


# --- space ---------------------------------------------------------------------------------------------------


def test_the_space_holds_topologies_of_five_cells_and_depths_and_widths_of_three_stages():
    assert bars.space().size == 3**50 * 4**3 * 4**3
    assert bars.space(shared_cells=True).size == 3**20 * 4**6
    assert bars.space(width_search=False).size == 3**50 * 4**3
    assert bars.space(depth_search=False, cells_per_stage=2).size == 3**50 * 4**3
    stages = bars.space().stages
    assert [stage.widths for stage in stages] == [(14, 28, 42, 56), (28, 56, 84, 112), (56, 112, 168, 224)]
    assert {stage.depths for stage in stages} == {(0, 1, 2, 3)}
    assert [len(node.edges) for node in bars.space().cells[0].nodes] == [1, 2, 3, 4]


@pytest.mark.parametrize("filters", [0, 2, 30])
def test_filters_without_quarters_are_refused(filters):
    with pytest.raises(ValueError, match=f"filters={filters}: must be a multiple of 4"):
        bars.space(filters)


def test_scaling_changes_widths_only():
    space = bars.space(8)
    assert bars.scale(space, 56) == bars.space(56)
    with pytest.raises(ValueError, match="filters=6: the widths .*, scaled by 6/8, are not integers; give"):
        bars.scale(space, 6)


def test_a_budget_as_a_share_lies_between_the_smallest_network_and_the_largest():
    space, shape = bars.space(8), (32, 32, 3)
    costs_of = [costs.count(space.sample(seed), shape, 10).biops for seed in range(50)]
    smallest, largest = bars.binary_operations(space, shape, 10)
    assert smallest < min(costs_of) and max(costs_of) < largest
    assert bars.share_of_range(space, 0.25, shape, 10) == pytest.approx(smallest + (largest - smallest) / 4)
    # Any share is a budget that the strategy accepts.
    bars.Strategy(budget=bars.share_of_range(space, 0.01, shape, 10), counted=(space, shape, 10))


# --- strategy ------------------------------------------------------------------------------------------------


def test_samples_have_the_probabilities_of_the_logits_and_are_nearly_one_hot_when_cold():
    tf.random.set_seed(0)
    logits = tf.tile([[0.0, 1.0, 2.0]], [20_000, 1])
    cold = sampling.gumbel_softmax(logits, 0.05)
    np.testing.assert_allclose(tf.reduce_sum(cold, axis=-1), 1, rtol=1e-5)
    frequencies = np.bincount(np.argmax(cold, axis=-1)) / 20_000
    np.testing.assert_allclose(frequencies, tf.nn.softmax(logits[0]), atol=0.015)
    assert np.mean(np.max(cold, axis=-1)) > 0.95 > 0.6 > np.mean(np.max(sampling.gumbel_softmax(logits, 5.0), axis=-1))


def test_temperature_falls_exponentially_and_the_entropy_weight_rises_from_negative_after_the_warm_up():
    strategy = bars.Strategy(epochs=11, warmup_epochs=2, temperature=4.0, final_temperature=0.25, entropy_weight=0.02)
    temperatures = [float(strategy.temperature_at(tf.constant(epoch))) for epoch in range(11)]
    np.testing.assert_allclose(temperatures, [4, 4] + [4 * 2 ** (-epoch / 2) for epoch in range(9)], rtol=1e-5)
    weights = [float(strategy.entropy_weight_at(tf.constant(epoch))) for epoch in range(11)]
    np.testing.assert_allclose(weights, [-0.02] * 2 + list(np.linspace(-0.02, 0.02, 9)), atol=1e-7)


@pytest.mark.parametrize("epoch", [0, 9])
def test_the_loss_of_the_architecture_is_that_of_the_paper(epoch):
    space = bars.space(8)
    counted = (space, (32, 32, 3), 10)
    budget = float(expected_costs.expected(space, _uniform(space)).biops) / 2
    strategy = bars.Strategy(epochs=10, warmup_epochs=0, budget=budget, counted=counted, entropy_weight=0.5)
    logits = {name: tf.zeros(shape) for name, shape in choice_shapes(space).items()}
    entropy = 50 * math.log(3) + 6 * math.log(4)
    expected = 3.0 * 2 + (0.5 if epoch else -0.5) * entropy
    assert float(strategy.architecture_loss(tf.constant(3.0), logits, tf.constant(epoch))) == pytest.approx(expected)


def test_each_budget_has_a_penalty():
    space = bars.space(8)
    expected = expected_costs.expected(space, _uniform(space))
    accepted = {
        "biops": float(expected.biops),
        "flops": float(expected.flops) / 2,
        "params": float(expected.params) * 2,
    }
    options = {"budget": accepted["biops"], "accepted": accepted, "counted": (space, (32, 32, 3), 10)}
    loss = tf.constant(3.0)
    for below, factor in ((0.0, 2), (-1.0, 4)):
        strategy = bars.Strategy(**options, capacity_exponent_below=below)
        found = loss
        for penalty in strategy.penalties:
            found = penalty(found, _uniform(space))
        assert len(strategy.penalties) == 3 and float(found) == pytest.approx(3 * factor, rel=1e-4)


def test_without_gumbel_candidates_are_mixed_by_a_softmax():
    logits = {"normal0": tf.constant([[0.0, 1.0, 2.0]])}
    weights = bars.Strategy(gumbel=False).choice_weights(logits, tf.constant(0))
    np.testing.assert_allclose(weights["normal0"], tf.nn.softmax(logits["normal0"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs=5: must be at least 0 and less than epochs=5"),
        ({"temperature": 0.0}, "temperatures must be positive"),
        ({"budget": 1e9}, "need `counted`, the space of the genotypes"),
        (
            {"budget": 10.0, "counted": (bars.space(8), (32, 32, 3), 10)},
            "budget=10: the smallest network of this space",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bars.Strategy(**options)


# --- derivation ----------------------------------------------------------------------------------------------


def test_draws_have_their_probabilities():
    probabilities = {"a": np.tile([0.2, 0.0, 0.8], (50_000, 1)), "stage0_width": np.array([0.0, 1.0])}
    indices = bars.draw(probabilities, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(indices["a"]) / 50_000, [0.2, 0, 0.8], atol=0.01)
    assert indices["stage0_width"] == 1


def test_what_is_decided_is_what_was_chosen():
    space = bars.space(8)
    indices = bars.draw(_uniform(space), np.random.default_rng(0))
    genotype = bars.decide(space, indices)
    assert genotype.decided
    for cell in genotype.cells:
        assert [edge.operations[0] for edge in cell.edges] == [bars.OPERATIONS[i] for i in indices[cell.name]]
    for number, (stage, before) in enumerate(zip(genotype.stages, space.stages, strict=True)):
        assert stage.widths[0] == before.widths[indices[f"stage{number}_width"]]
        assert stage.depths[0] == before.depths[indices[f"stage{number}_depth"]]


@pytest.mark.parametrize("learned", [pytest.param(1.0, marks=pytest.mark.slow), 0.1])
def test_candidates_cost_what_is_accepted(learned):
    space, counted = bars.space(8), (bars.space(56), (32, 32, 3), 10)
    accepted = {"biops": 1027e6, "params": 2.77e6, "flops": 2.4e6}
    strategy = bars.Strategy(budget=1027e6, accepted=accepted, counted=counted, samples=3)
    generator = np.random.default_rng(0)
    shapes = choice_shapes(space).items()
    probabilities = {name: generator.dirichlet(np.full(shape[-1], learned), shape[:-1]) for name, shape in shapes}
    candidates = strategy.candidates(space, probabilities, seed=1)
    assert len(candidates) == 3
    for candidate in candidates:
        counts = costs.count(candidate.genotype)
        nodes = [node for cell in candidate.genotype.cells for node in cell.nodes]
        assert all(any(edge.operations != ("none",) for edge in node.edges) for node in nodes)
        for name, value in accepted.items():
            assert candidate.metrics[name] == getattr(counts, name) == pytest.approx(value, rel=0.02)
        assert candidate.metrics["over_budget"] == (counts.biops > 1027e6) and candidate.metrics["accepted"]
    again = strategy.candidates(space, probabilities, seed=1)
    assert [candidate.genotype for candidate in again] == [candidate.genotype for candidate in candidates]


def test_candidates_that_were_fitted_are_as_probable_as_they_can_be(monkeypatch):
    space = bars.space(8, cells_per_stage=1)
    generator = np.random.default_rng(0)
    shapes = choice_shapes(space).items()
    probabilities = {name: generator.dirichlet(np.full(shape[-1], 0.3), shape[:-1]) for name, shape in shapes}
    accepted = {"biops": 20e6}
    strategy = bars.Strategy(accepted=accepted, counted=(space, (32, 32, 3), 10), samples=1)

    def likelihoods():
        for seed in range(5):
            (candidate,) = strategy.candidates(space, probabilities, seed)
            assert candidate.metrics["biops"] == pytest.approx(20e6, rel=0.02)
            indices = {name: weights.argmax(axis=-1) for name, weights in candidate.weights.items()}
            yield bars.log_likelihood(probabilities, indices)

    likelier = list(likelihoods())
    monkeypatch.setattr(bars.Strategy, "_likelier", lambda self, space, probabilities, indices, best, generator: best)
    assert all(after > before for after, before in zip(likelier, likelihoods(), strict=True))
    chosen = {"a": np.array([0, 1]), "b": np.array(1)}
    known = {"a": np.array([[0.5, 0.5], [0.75, 0.25]]), "b": np.array([0.9, 0.1])}
    assert bars.log_likelihood(known, chosen) == pytest.approx(math.log(0.5 * 0.25 * 0.1))


def test_no_node_only_adds_none():
    space, generator = bars.space(8), np.random.default_rng(0)
    none, likely = bars.OPERATIONS.index("none"), bars.OPERATIONS.index("residual_bin_conv_3x3")
    drawn = bars.draw(_uniform(space), generator)
    # Node 1 has one edge, node 2 the following two.
    chosen = drawn["normal0"].copy()
    chosen[:3] = none
    probabilities = _uniform(space)
    probabilities["normal0"][:3, likely] += 0.1
    kept = bars.connect(space, {**drawn, "normal0": chosen}, probabilities)
    assert kept["normal0"].tolist() == [likely, likely, none, *chosen[3:]]
    cells = bars.decide(space, kept).cells
    assert all(any(edge.operations != ("none",) for edge in node.edges) for cell in cells for node in cell.nodes)


def test_costs_that_cannot_be_had_leave_the_nearest_and_say_so(monkeypatch):
    monkeypatch.setattr(bars_strategy, "STARTS", 1)
    monkeypatch.setattr(bars_strategy, "CHANGES", 20)
    space = bars.space(8)
    strategy = bars.Strategy(accepted={"params": 1.0}, counted=(space, (32, 32, 3), 10), samples=1)
    (candidate,) = strategy.candidates(space, _uniform(space), seed=0)
    assert candidate.genotype.decided and candidate.metrics["accepted"] is False


def test_without_samples_the_most_probable_genotype_is_the_only_candidate():
    space = bars.space(8)
    probabilities = bars.one_hot(space, bars.draw(_uniform(space), np.random.default_rng(3)))
    (candidate,) = bars.Strategy(samples=0).candidates(space, probabilities, seed=0)
    indices = {name: values.argmax(axis=-1) for name, values in probabilities.items()}
    assert candidate.genotype == bars.decide(space, bars.connect(space, indices, probabilities))


# --- search --------------------------------------------------------------------------------------------------


def _search(**options):
    tf.keras.utils.set_random_seed(0)
    space = bars.space(4, cells_per_stage=1)
    counted = (space, (8, 8, 1), 4)
    settings = {"epochs": 3, "warmup_epochs": 1, "budget": 1e5, "counted": counted, **options}
    model = supernet.Supernet(bars.Strategy(**settings), space, (8, 8, 1), 4)
    model.compile(
        optimizer=optimizers.SGD(0.01, momentum=0.9, l2=3e-4, global_clipnorm=5.0),
        architecture_optimizer=optimizers.Adam(0.02, beta_1=0.5, epsilon=1e-8, l2=1e-3),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    generator = np.random.default_rng(0)
    half = tf.data.Dataset.from_tensor_slices(
        (generator.normal(size=(24, 8, 8, 1)).astype(np.float32), generator.integers(0, 4, 24))
    ).batch(8)
    return model, half


@pytest.mark.onednn
def test_a_search_warms_up_then_moves_every_choice_and_logs_what_it_does():
    model, half = _search()
    seen = []
    callback = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append({name: logit.numpy() for name, logit in model.logits.items()})
    )
    before = {name: logit.numpy() for name, logit in model.logits.items()}
    weights = [weight.numpy() for weight in model.network.trainable_variables]
    halves = tf.data.Dataset.zip((half, half))
    logs = model.fit(halves, validation_data=half, epochs=3, verbose=0, callbacks=[callback]).history
    for name, values in before.items():
        np.testing.assert_array_equal(seen[0][name], values)
        assert np.abs(seen[1][name] - values).max() > 1e-3, name
    for old, new in zip(weights, model.network.trainable_variables, strict=True):
        assert not np.array_equal(old, new), new.name
    np.testing.assert_allclose(logs["temperature"], [5, 5, 0.1], rtol=1e-5)
    for name in ("entropy_operations", "entropy_width", "entropy_depth", "expected_biops", "budget", "val_loss"):
        assert len(logs[name]) == 3 and np.all(np.isfinite(logs[name])), name
    for stage in range(3):
        assert 0 < logs[f"stage{stage}/width_probability"][-1] < 1
        assert logs[f"stage{stage}/depth"][-1] in (0, 1)
    assert sum(logs[f"normal0/{operation}"][-1] for operation in bars.OPERATIONS) == 10


def test_candidates_say_how_far_they_are_from_the_most_probable_genotype():
    space = bars.space(4, 1)
    shapes = choice_shapes(space)
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in shapes.items()}
    sure = {name: 0.98 * np.eye(shape[-1])[0] + 0.02 / shape[-1] + np.zeros(shape) for name, shape in shapes.items()}
    assert all(c.metrics["log_likelihood"] == 0 for c in bars.Strategy().candidates(space, even, 0))
    for candidate in bars.Strategy().candidates(space, sure, 0):
        others = sum(int(np.sum(weights[..., 1:])) for weights in candidate.weights.values())
        expected = sum(
            float(np.sum(np.log(np.sum(weights * sure[name], -1)) - np.log(sure[name].max(-1))))
            for name, weights in candidate.weights.items()
        )
        assert candidate.metrics["log_likelihood"] == pytest.approx(expected) and (expected < 0) == (others > 0)


def test_the_loss_of_a_candidate_is_that_of_its_choices():
    model, half = _search()
    first, second = model.candidates(seed=0)[:2]
    assert first.genotype != second.genotype
    losses = [model.judge(candidate.weights, half)["validation_loss"] for candidate in (first, second, first)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[2], rel=1e-5)
