import argparse
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from dms_search import Fixed, width_supernet
from hypothesis import given, settings
from hypothesis import strategies as st

from larq_nas import costs, flags, methods, networks, zoo
from larq_nas.methods import bars, dms
from larq_nas.methods.dms.network import WIDTHS
from larq_nas.space.architecture import Architecture, ArchitectureError
from larq_nas.space.choices import choice_shapes
from larq_nas.supernet import inheritance
from larq_nas.training import optimizers

MEAN = np.array([1.5, 2.0, 3.25], np.float32)


def _log_probabilities(mean, clustered_at, scale):
    _, edges = dms.cluster(clustered_at, scale)
    return dms.log_probabilities(tf.constant(mean), tf.constant(edges, tf.float32), tf.constant(scale, tf.float32))


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_fresh_candidates_have_the_probabilities_and_gradients_of_the_logistic_distribution(scale):
    ratios, edges = dms.cluster(MEAN, scale)
    np.testing.assert_allclose(ratios[:, 1], MEAN)
    np.testing.assert_allclose(np.diff(edges), 0.8 * scale)
    mean = tf.constant(MEAN)
    p = tf.exp(dms.log_probabilities(mean, tf.constant(edges, tf.float32), scale))
    np.testing.assert_allclose(p, [[0.316241, 0.367518, 0.316241]] * 3, atol=2e-6)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(mean)
        log_p = dms.log_probabilities(mean, tf.constant(edges, tf.float32), scale)
        columns = [tf.reduce_sum(tf.exp(log_p[:, i])) for i in range(3)]
        upper = tf.reduce_sum(log_p[:, 2])
    for column, slope in zip(columns, (-0.116128, 0, 0.116128), strict=True):
        np.testing.assert_allclose(tape.gradient(column, mean), [slope / scale] * 3, atol=1e-5 / scale)
    np.testing.assert_allclose(tape.gradient(upper, mean), [0.367212 / scale] * 3, rtol=1e-4)


@given(
    st.floats(0.3, 8),
    st.floats(0.3, 8),
    st.floats(0.1, 2),
)
def test_probabilities_sum_to_1_and_are_numbers_however_far_the_mean_moves(mean, clustered_at, scale):
    log_p = _log_probabilities(np.array([mean], np.float32), np.array([clustered_at], np.float32), scale)
    assert np.all(np.isfinite(log_p))
    assert float(tf.reduce_sum(tf.exp(log_p))) == pytest.approx(1, abs=1e-3)


@given(st.floats(0.3, 1.5), st.floats(0.1, 1.0))
def test_candidates_keep_to_the_least_ratio_and_bins_in_order(mean, scale):
    ratios, edges = dms.cluster(np.array([mean]), scale)
    assert ratios.min() >= 0.3 and edges.min() >= 0.25
    assert np.all(np.diff(edges) > 0)
    assert np.all(edges[:, :-1] <= ratios) and np.all(ratios <= edges[:, 1:])


def test_the_scale_falls_by_the_same_factor_to_that_of_the_last_round():
    distributions = dms.Distributions()
    scales = [distributions.scale_at(number) for number in range(50)]
    assert scales[0] == 1 and scales[-1] == pytest.approx(0.3)
    np.testing.assert_allclose(np.array(scales[1:]) / scales[:-1], 0.975729, rtol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "factor", "sizes"),
    [
        # Bytes by convention R of table 1 on CIFAR-10 at 1 to 4 times the widths.
        ("vgg11", 1, (81_576, 307_112, 676_648, 1_190_184)),
        ("resnet18", 1, (98_792, 371_880, 819_304, 1_441_064)),
    ],
)
def test_sizes_of_uniform_widths_are_those_of_the_paper(backbone, factor, sizes):
    base = dms.space(backbone, factor)
    for ratio, size in enumerate(sizes, start=1):
        widths = dict(zip(WIDTHS[backbone], dms.base_widths(base) * ratio, strict=True))
        assert dms.megabytes(base, widths, (32, 32, 3), 10) * 2**20 == size


def _assert_same_as_differences(strategy, mean, gradient, step=1e-2):
    values = mean.numpy()
    for index, moved in enumerate(step * np.eye(len(values), dtype=np.float32)):
        low, high = (float(strategy.memory(tf.constant(values + sign * moved))) for sign in (-1, 1))
        assert float(gradient[index]) == pytest.approx((high - low) / (2 * step), rel=0.02)


def test_memory_is_differentiable_in_the_ratios():
    strategy = dms.Strategy(dms.Distributions(), dms.space("vgg11"), (32, 32, 3), 10)
    mean = tf.Variable(np.full(8, 1.5, np.float32))
    with tf.GradientTape() as tape:
        memory = strategy.memory(mean)
    # By the convention of the scales at ratio 1.5.
    assert 0.16 < float(memory) < 0.18
    _assert_same_as_differences(strategy, mean, tape.gradient(memory, mean))


@pytest.mark.parametrize("backbone", ["vgg11", "resnet18"])
def test_costs_without_building_are_those_of_the_network_and_binary_convolutions_are_all_but_the_first(backbone):
    genotype = dms.derive(dms.space(backbone), np.linspace(0.4, 2, len(WIDTHS[backbone])))
    assert Architecture.from_json(genotype.to_json()) == genotype
    for shape in ((32, 32, 3), (40, 72, 1), (128, 160, 3)):
        model = networks.build(genotype, shape, 7)
        found = {(row.name, row) for row in costs.count(genotype, shape, 7).rows}
        assert found == {(row.name, row) for row in costs.count(model).rows}
        binary = [row.name for row in costs.count(model).rows if row.kind == "convolution" and not row.binary]
        assert binary == ["conv0_conv" if backbone == "vgg11" else "stem_conv"]
        twin = costs.count(networks.build(genotype, shape, 7, binary=False))
        assert twin.binary_macs == 0 and twin.float_macs == sum(row.macs for row in costs.count(model).rows)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda fields: fields["stages"].pop(), "stages: the cells must be conv0, conv1"),
        (lambda fields: fields["stages"][2].update(cell="conv0"), "stages: the cells must be"),
        (lambda fields: fields["stages"][2].update(depths=[2]), r"stages\[2\].depths: must be 1"),
        (lambda fields: fields["cells"].update(a={"nodes": []}), "cells: vgg11 has none"),
    ],
)
def test_a_chain_has_its_widths_in_order_and_nothing_else(change, problem):
    fields = json.loads(dms.space("vgg11").to_json())
    change(fields)
    with pytest.raises(ArchitectureError, match=problem):
        Architecture.from_json(json.dumps(fields))


def test_networks_are_kept_while_candidates_fit_and_not_much_room_is_wasted():
    base, candidates = dms.space("vgg11"), np.array([[3, 8, 13], [20, 30, 41]])
    base = argparse.Namespace(cells=(), stages=base.stages[:2])
    np.testing.assert_array_equal(dms.room(base, candidates), [16, 48])
    np.testing.assert_array_equal(dms.room(base, candidates, np.array([16, 56])), [16, 56])
    np.testing.assert_array_equal(dms.room(base, candidates, np.array([16, 40])), [16, 48])
    np.testing.assert_array_equal(dms.room(base, candidates, np.array([24, 64])), [16, 48])


@pytest.mark.onednn
def test_channels_that_no_candidate_has_do_not_matter():
    model, filters = width_supernet([24, 48, 64, 64, 128, 128, 128, 128])
    images = tf.random.stateless_normal([8, 32, 32, 3], [1, 2])
    before = model(images, training=True)
    widest = dict(zip(WIDTHS["vgg11"], filters.max(axis=1), strict=True))
    for variable in model.network.trainable_variables:
        name = variable.name.partition("_")[0]
        if "norm" in variable.name:
            values = variable.numpy()
            values[widest[name] :] += 1
            variable.assign(values)
    np.testing.assert_allclose(model(images, training=True), before, atol=1e-6)


@pytest.mark.onednn
def test_the_widest_candidates_alone_compute_what_the_network_of_their_genotype_does():
    model, filters = width_supernet(None)
    network = networks.build(dms.with_widths(dms.space("vgg11"), filters[:, 2:]), (32, 32, 3), 3)
    inheritance.copy_weights(network, {variable.name: variable.numpy() for variable in model.network.variables})
    only = tf.constant([[0.0, 0.0, 1.0]] * 8)
    images = tf.random.stateless_normal([8, 32, 32, 3], [1, 2])
    outputs = model.network({"images": images, **model.strategy._named(only)}, training=True)
    np.testing.assert_allclose(outputs, network(images, training=True), atol=1e-5)


@pytest.mark.onednn
def test_accuracy_alone_moves_the_means_and_steps_of_weights_do_not():
    model, _ = width_supernet(None)
    x = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype(np.float32)
    y = np.arange(64) % 3
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32).repeat()
    before, weights = model.logits["mean"].numpy(), model.network.get_weights()
    model.fit(data, steps_per_epoch=2, verbose=0)
    np.testing.assert_array_equal(model.logits["mean"], before)
    assert not np.array_equal(weights[0], model.network.get_weights()[0])
    model.turn.assign(1)
    trained = {v.name: v.numpy() for v in model.network.trainable_variables}
    model.fit(data, steps_per_epoch=2, verbose=0)
    assert np.all(model.logits["mean"].numpy() != before)
    for variable in model.network.trainable_variables:
        np.testing.assert_array_equal(variable, trained[variable.name])


@pytest.mark.onednn
def test_the_gradient_of_a_mean_is_that_of_the_mixture():
    """Against finite differences, with the same noise."""
    model, _ = width_supernet(None)

    def weights(mean):
        return model.strategy.choice_weights({"mean": mean}, 0, Fixed)

    mean = tf.constant(model.logits["mean"])
    with tf.GradientTape() as tape:
        tape.watch(mean)
        total = tf.add_n([tf.reduce_sum(w * tf.range(1.0, w.shape[0] + 1)) for w in weights(mean).values()])
    gradient = tape.gradient(total, mean)
    for index in range(3):
        ends = []
        for sign in (1, -1):
            moved = weights(mean + sign * 0.01 * tf.one_hot(index, 8))
            ends.append(sum(float(tf.reduce_sum(w * tf.range(1.0, w.shape[0] + 1))) for w in moved.values()))
        assert float(gradient[index]) == pytest.approx((ends[0] - ends[1]) / 0.02, rel=0.02, abs=0.02)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=2), st.lists(st.integers(1, 6), min_size=2, max_size=2))
def test_best_effort_copies_the_common_part(before, after):
    def network(widths):
        x = images = tf.keras.layers.Input((4, 4, 2))
        for index, width in enumerate(widths):
            x = tf.keras.layers.Conv2D(width, 1, use_bias=False, name=f"conv{index}")(x)
            x = tf.keras.layers.BatchNormalization(name=f"norm{index}")(x)
        return tf.keras.Model(images, tf.keras.layers.Dense(3, name="classifier")(x))

    old, new = network(before), network(after)
    for variable in old.variables:
        variable.assign(tf.random.normal(variable.shape))
    fresh = {variable.name: variable.numpy() for variable in new.variables}
    inheritance.copy_weights(new, {variable.name: variable.numpy() for variable in old.variables})
    for a, b in zip(old.variables, new.variables, strict=True):
        part = tuple(slice(min(sizes)) for sizes in zip(a.shape, b.shape, strict=True))
        np.testing.assert_array_equal(a.numpy()[part], b.numpy()[part])
        rest = np.ones(b.shape, bool)
        rest[part] = False
        np.testing.assert_array_equal(b.numpy()[rest], fresh[b.name][rest])


def test_finalists_with_cells_inherit_the_kernels_of_their_edges():
    base = dms.space(bars.space(8, cells_per_stage=1).sample(1))
    model = dms.WidthSupernet(dms.Strategy(dms.Distributions(), base, (16, 16, 3), 3), [8] * 3)
    genotype = dms.with_widths(base, [(4,), (8,), (16,)])
    network = networks.build(genotype, (16, 16, 3), 3)
    before = {variable.name: variable.numpy() for variable in network.variables}
    inheritance.inherit(network, genotype, model.network, model.space)
    kernels = [variable for variable in network.variables if variable.shape.rank == 4]
    assert sum("_edge" in variable.name for variable in kernels) > 3
    assert not any(np.array_equal(variable.numpy(), before[variable.name]) for variable in kernels)


def test_best_effort_keeps_the_groups_of_channels_of_cells():
    base = dms.space(bars.space(8, cells_per_stage=1).sample(1))

    def network(room):
        return dms.WidthSupernet(dms.Strategy(dms.Distributions(), base, (16, 16, 3), 3), [room] * 3).network

    small, large = network(8), network(16)
    for variable in small.variables:
        variable.assign(tf.random.normal(variable.shape))
    inheritance.copy_weights(large, {variable.name: variable.numpy() for variable in small.variables}, 8)
    widened = 0
    for old, new in zip(small.variables, large.variables, strict=True):
        # The first 8 of each group of 16, along every axis of channels.
        axes = [
            np.arange(n) if n == m else np.arange(m).reshape(-1, 16)[:, :8].ravel()
            for n, m in zip(old.shape, new.shape, strict=True)
        ]
        np.testing.assert_array_equal(new.numpy()[np.ix_(*axes)], old)
        widened += new.shape != old.shape
    assert widened > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ratio": 0.2}, "ratio=0.2: must be at least 0.3"), ({"final_scale": 2.0}, "final_scale=2.0: must be positive")],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dms.Distributions(**options)


@pytest.mark.parametrize(("backbone", "wanted"), [("vgg11", 0.08), ("resnet18", 0.84), ("bars_a", 0.3)])
def test_ratios_are_scaled_to_a_size(backbone, wanted):
    base = dms.space(zoo.genotype(backbone) if backbone in zoo.GENOTYPES else backbone)
    ratios = np.random.default_rng(0).uniform(0.5, 2.0, len(base.stages))
    distributions = dms.Distributions(genotype_megabytes=wanted)
    distributions.check(base, (32, 32, 3), 10)
    genotype = distributions.derive(base, ratios, (32, 32, 3), 10)
    assert float(dms.size(genotype, (32, 32, 3), 10)) == pytest.approx(wanted, rel=0.03)
    # All by the same factor, up to rounding.
    factors = dms.base_widths(genotype) / (dms.base_widths(base) * ratios)
    assert np.ptp(factors) < 0.2 * factors.mean()
    assert dms.Distributions().derive(base, ratios, (32, 32, 3), 10) == dms.derive(base, ratios)


def test_a_size_that_no_network_has_is_refused():
    with pytest.raises(ValueError, match="genotype_megabytes=0.0001: must be at least 0.00.*one filter in each layer"):
        dms.Distributions(genotype_megabytes=1e-4).check(dms.space("vgg11"), (32, 32, 3), 10)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="backbone='vgg16': accepted are vgg11, resnet18, or a genotype of bars"):
        dms.space("vgg16")
    assert math.prod(dms.base_widths(dms.space("resnet18", 4)) // dms.base_widths(dms.space("resnet18"))) == 4**12


def test_widths_of_a_genotype_of_bars_are_searched_stage_by_stage():
    genotype = bars.decide(
        bars.space(8, cells_per_stage=1),
        {name: np.full(shape[:-1], shape[-1] - 1) for name, shape in choice_shapes(bars.space(8, 1)).items()},
    )
    base = dms.space(genotype)
    assert dms.base_widths(base).tolist() == [8, 16, 32]
    tf.keras.utils.set_random_seed(0)
    strategy = dms.Strategy(dms.Distributions(ratio=0.8, memory_target=0.0), base, (8, 8, 3), 3)
    filters = strategy.begin(np.full(3, 0.8), 0.3)
    assert np.all(filters % [[1], [2], [4]] == 0) and np.all(np.diff(filters) > 0)
    model = dms.WidthSupernet(strategy, dms.room(base, filters))
    model.compile(
        optimizers.SGD(0.05),
        architecture_optimizer=optimizers.Adam(0.01),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((x, np.arange(32) % 3)).batch(16).repeat()
    before = model.logits["mean"].numpy()
    model.turn.assign(1)
    model.fit(data, steps_per_epoch=1, verbose=0)
    assert np.all(model.logits["mean"].numpy() != before)
    mean = tf.Variable(np.full(3, 0.8, np.float32))
    with tf.GradientTape() as tape:
        memory = strategy.memory(mean)
    gradient = tape.gradient(memory, mean)
    _assert_same_as_differences(strategy, mean, gradient)
    assert np.all(gradient > 0)
    sizes = [costs.count(dms.with_widths(base, filters[:, [i]]), (8, 8, 3), 3).bytes / 2**20 for i in range(3)]
    assert sizes[0] < float(memory) < sizes[2]
    assert networks.build(dms.derive(base, [0.7, 0.9, 1.3]), (8, 8, 3), 3).output_shape == (None, 3)
    with pytest.raises(ValueError, match="backbone: is a genotype of bnas; accepted are genotypes of bars"):
        dms.space(zoo.genotype("bnas_a"))
    with pytest.raises(ValueError, match="backbone: is a space"):
        dms.space(bars.space(8))


@pytest.mark.parametrize("options", [{}, {"genotype_megabytes": 0.05}, {"memory_target": 0.08}])
def test_genotypes_are_drawn_around_the_means_or_evenly_with_the_same_size(options):
    base, ratios, images = dms.space("vgg11"), np.linspace(0.5, 1.2, 8), ((32, 32, 3), 10)
    distributions = dms.Distributions(final_scale=0.2, **options)
    first, *others = distributions.around(base, ratios, 6, 0, *images)
    assert first.genotype == distributions.derive(base, ratios, *images) and first.metrics["ratios"] == list(ratios)
    wanted = options.get("genotype_megabytes") or dms.size(first.genotype, *images)
    assert all(dms.size(each.genotype, *images) == pytest.approx(wanted, rel=0.02) for each in (first, *others))
    assert len({each.genotype for each in others}) == 5
    # With a scale of 0.2, half of the ratios are within 0.22 of their mean.
    assert 0.05 < np.median([np.abs(np.array(each.metrics["ratios"]) - ratios) for each in others]) < 0.5
    drawn = distributions.draw(base, 40, 0, *images)
    asked = options.get("genotype_megabytes") or options.get("memory_target") or dms.size(base, *images)
    assert all(dms.size(each.genotype, *images) == pytest.approx(asked, rel=0.02) for each in drawn)
    logarithms = np.log([each.metrics["ratios"] for each in drawn])
    assert abs(logarithms.mean()) < 0.1 and np.abs(logarithms).max() <= -np.log(0.3)
    assert drawn[0].metrics["binary_macs"] == costs.count(drawn[0].genotype, *images).binary_macs


def test_a_training_can_widen_a_genotype():
    genotype = zoo.genotype("dms_vgg11_a")
    config = methods.get("dms")
    wide = config.scaled(genotype, flags.configure("train", genotype="dms_vgg11_a", dataset="digits", width=4))
    assert dms.base_widths(wide).tolist() == (4 * dms.base_widths(genotype)).tolist()
    assert config.scaled(genotype, flags.configure("train", genotype="dms_vgg11_a", dataset="digits")) == genotype
