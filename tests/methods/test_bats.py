import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import costs, networks, supernet, zoo
from larq_nas.methods import bats
from larq_nas.methods.bats.network import stem_groups, with_auxiliary_classifier
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes
from larq_nas.training import optimizers


def test_the_space_holds_8_operations_on_14_edges_of_two_cells():
    space = bats.space()
    assert [len(cell.edges) for cell in space.cells] == [14, 14]
    assert all(len(edge.operations) == 8 for cell in space.cells for edge in cell.edges)
    assert [stage.groups for stage in space.stages] == [12, 12, 12]
    assert Architecture.from_json(space.to_json()) == space
    # Of each node's edges two are kept: 1, 3, 6 and 10 pairs.
    assert space.size == (1 * 3 * 6 * 10 * 8**8) ** 2


@pytest.mark.parametrize(
    ("width", "options", "expected"),
    [
        (36, {}, 12),
        (36, {"groups": 3}, 3),
        (36, {"channels_per_group": 3}, 12),
        (64, {"channels_per_group": 32}, 2),
        (64, {"groups": "lce"}, 2),
        (96, {"groups": "lce"}, 3),
        (36, {"groups": "lce"}, 1),
        (128, {"groups": "lce"}, 4),
        (48, {"groups": "lce"}, 1),
    ],
)
def test_groups_are_a_number_or_channels_or_what_lce_computes(width, options, expected):
    assert bats.groups_of(width, **options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": 16}, "groups=12: does not divide 16 filters"),
        ({"filters": 36, "channels_per_group": 5}, "channels_per_group=5: does not divide 36 filters"),
        ({"layers": 2}, "layers=2"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bats.space(**options)


def test_filters_that_cannot_be_shuffled_are_refused():
    with pytest.raises(ValueError, match="filters: 6 is no multiple of 4"):
        bats.space(3, 6, groups=3)
    genotype = zoo.genotype("bats")
    stages = tuple(dataclasses.replace(stage, widths=(6,), groups=1) for stage in genotype.stages)
    with pytest.raises(networks.NetworkError, match=r"stages\[0\].widths: 6 is no multiple of 4"):
        networks.build(dataclasses.replace(genotype, stages=stages), (8, 8, 3))


def test_groups_belong_to_networks_of_bats():
    genotype = zoo.genotype("bnas_a")
    stages = tuple(dataclasses.replace(stage, groups=2) for stage in genotype.stages)
    with pytest.raises(ValueError, match=r"stages\[0\].groups: must be 1 in bnas"):
        dataclasses.replace(genotype, stages=stages)
    with pytest.raises(ValueError, match=r"stages\[0\].groups: 5 do not divide the width 36"):
        genotype = zoo.genotype("bats")
        dataclasses.replace(genotype, stages=(dataclasses.replace(genotype.stages[0], groups=5), *genotype.stages[1:]))


def test_scaling_keeps_cells_and_groups():
    genotype = zoo.genotype("bats")
    scaled = bats.scale(genotype, filters=48, layers=8)
    assert scaled.cells == genotype.cells and [stage.groups for stage in scaled.stages] == [12] * 3
    assert [stage.groups for stage in bats.scale(genotype, 64, groups="lce").stages] == [2, 4, 8]
    other = dataclasses.replace(genotype.stages[2], widths=(60,))
    other = dataclasses.replace(genotype, stages=(*genotype.stages[:2], other))
    assert bats.scale(other) is other
    assert [s.widths[0] for s in bats.scale(other, groups=4).stages] == [36, 72, 60]
    with pytest.raises(ValueError, match="only networks whose reductions are at a third"):
        bats.scale(other, filters=24)
    with pytest.raises(ValueError, match="not one of bnas"):
        bats.scale(zoo.genotype("bnas_a"), 8)


def test_a_very_low_temperature_leaves_the_largest():
    space = bats.space(3, 12)
    rows = np.random.default_rng(0).dirichlet(np.ones(8), size=14)
    found = bats.Strategy(1e-3).metrics(space, {"normal": rows, "reduce": rows}, 0)["entropy"]
    assert found == pytest.approx(0, abs=1e-6)


def test_a_temperature_sharpens_the_softmax():
    logits = {"normal": tf.random.normal([14, 8])}
    cold, warm = (bats.Strategy(temperature).choice_weights(logits, 0)["normal"] for temperature in (0.2, 1.0))
    np.testing.assert_allclose(cold, tf.nn.softmax(5 * logits["normal"]), rtol=1e-5)
    np.testing.assert_allclose(warm, tf.nn.softmax(logits["normal"]), rtol=1e-5)
    space, probabilities = bats.space(3, 12), {name: tf.nn.softmax(logits["normal"]) for name in ("normal", "reduce")}
    entropies = [bats.Strategy(t).metrics(space, probabilities, 0)["entropy"] for t in (0.2, 1.0)]
    assert entropies[0] < entropies[1]
    rows = tf.nn.softmax(5 * logits["normal"]).numpy()
    assert entropies[0] == pytest.approx(float(np.mean(-np.sum(rows * np.log(rows), axis=-1))), rel=1e-4)


def test_derivation_takes_the_strongest_operations_but_none_and_the_two_strongest_edges():
    space, names = bats.space(3, 12), bats.OPERATIONS
    rows = np.full((14, 8), 0.01)
    rows[:, names.index("none")] = 0.9
    # The edges of the second node (rows 2 to 4) read the states 0, 1 and 2.
    rows[2, names.index("skip")] = 0.3
    rows[3, names.index("max_pool_3x3")] = 0.1
    rows[4, names.index("dil_group_conv_5x5")] = 0.2
    genotype = bats.derive(space, {"normal": rows, "reduce": rows})
    assert genotype.decided
    found = [(edge.source, edge.operations) for edge in genotype.cell("normal").nodes[1].edges]
    assert found == [(0, ("skip",)), (2, ("dil_group_conv_5x5",))]


def test_edges_are_ranked_at_the_temperature_of_the_search():
    space, names = bats.space(3, 12), bats.OPERATIONS
    logits = np.zeros((14, 8))
    # The edges of the second node: two rivals and nothing else; one that leads all others a little; a clear winner.
    logits[2] = -9.0
    logits[2, [names.index("skip"), names.index("max_pool_3x3")]] = 2.0, 1.9
    logits[3, names.index("skip")] = 1.5
    logits[4, names.index("skip")] = 9.0
    probabilities = dict.fromkeys(("normal", "reduce"), np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    for temperature, expected in ((1.0, [0, 2]), (0.2, [1, 2])):
        genotype = bats.Strategy(temperature).derive(space, probabilities)
        assert [edge.source for edge in genotype.cell("normal").nodes[1].edges] == expected


@pytest.mark.parametrize("options", [{}, {"preprocess": "float"}, {"binarize": False}])
@pytest.mark.parametrize("shape", [(32, 32, 3), (129, 128, 3)])
def test_costs_are_those_of_the_keras_model(options, shape):
    for seed, groups in ((0, 12), (1, 4), (2, "lce")):
        genotype = dataclasses.replace(bats.space(4, 12, groups).sample(seed), options=options)
        counts, expected = costs.count(genotype, shape, 10), costs.count(networks.build(genotype, shape, 10))
        assert {row.name: row for row in counts.rows} == {row.name: row for row in expected.rows}


def test_published_cells_have_the_known_numbers_of_weights():
    # An independent implementation's network of 20 cells, 36 filters and 12 groups.
    rows = costs.count(zoo.genotype("bats"), (32, 32, 3), 10).rows
    weights = {"preprocess": 0, "_state": 0, "stem": 0, "classifier": 0}
    for row in rows:
        weights[next(part for part in weights if part in row.name)] += row.weights
    assert weights == {"preprocess": 1_354_320, "_state": 2_058_912, "stem": 2_916, "classifier": 5_760}
    assert all(len(cell.edges) == 8 for cell in zoo.genotype("bats").cells)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, ()),
        ({"binarize_preprocess": False}, (("preprocess", "float"),)),
        ({"binarize": False}, (("binarize", False),)),
        ({"binarize": False, "binarize_preprocess": False}, (("binarize", False),)),
    ],
)
def test_the_space_sets_the_options_and_its_genotypes_keep_them(arguments, options):
    space = bats.space(3, 12, **arguments)
    even = {cell.name: np.full((len(cell.edges), len(bats.OPERATIONS)), 1 / 8) for cell in space.cells}
    derived = bats.Strategy().derive(space, even)
    assert space.binary == ("binarize" not in arguments)
    for architecture in (space, space.sample(0), derived, bats.scale(derived, 24)):
        assert architecture.template == "bats" and architecture.options == options


@pytest.mark.parametrize("options", [{}, {"binarize": False}, {"binarize_preprocess": False}])
def test_only_what_is_asked_for_is_binary(options):
    space = bats.space(3, 12, **options)
    for architecture in (space, space.sample(0)):
        model = networks.build(architecture, (8, 8, 3))
        inputs = [layer for layer in model.layers if getattr(layer, "input_quantizer", None) is not None]
        kernels = [layer for layer in model.layers if getattr(layer, "kernel_quantizer", None) is not None]
        signs = [layer.name for layer in model.layers if getattr(layer, "binary", False)]
        preprocessing = [layer for layer in inputs if "preprocess" in layer.name]
        assert bool(preprocessing) == (options == {})
        assert bool([layer for layer in inputs if "state" in layer.name] or signs) == ("binarize" not in options)
        # A search has float kernels.
        assert bool(kernels) == (architecture.decided and "binarize" not in options)


@pytest.mark.onednn
def test_a_search_step_moves_weights_and_logits():
    tf.keras.utils.set_random_seed(0)
    model = supernet.Supernet(bats.Strategy(), bats.space(3, 8, groups=4), (8, 8, 3), 3)
    model.compile(
        optimizers.Adam(1e-3),
        architecture_optimizer=optimizers.Adam(0.01),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((x, np.arange(16) % 3)).batch(8).repeat()
    logits, weights = [v.numpy() for v in model.logits.values()], model.network.get_weights()
    model.fit(tf.data.Dataset.zip((data, data)), steps_per_epoch=2, verbose=0)
    assert all(np.any(a != b) for a, b in zip(logits, model.logits.values(), strict=True))
    moved = [np.any(a != b) for a, b in zip(weights, model.network.get_weights(), strict=True) if a.size]
    assert np.mean(moved) > 0.9
    assert model.genotype().decided


@pytest.mark.onednn
def test_an_auxiliary_classifier_shares_the_layers_of_its_network():
    genotype = bats.scale(zoo.genotype("bats"), 12, 3)
    network = networks.build(genotype, (32, 32, 3), 7)
    both = with_auxiliary_classifier(network, genotype, 7)
    assert both.output_shape == [(None, 7), (None, 7)]
    further = {layer.name for layer in both.layers} - {layer.name for layer in network.layers}
    assert further and all(name.startswith("auxiliary") for name in further)
    small = networks.build(genotype, (16, 16, 3), 7)
    with pytest.raises(networks.NetworkError, match="auxiliary classifier.*image_size=32"):
        with_auxiliary_classifier(small, genotype, 7)


def test_groups_of_the_large_stem_divide_its_filters():
    assert [stem_groups(filters) for filters in (48, 60, 72, 84, 96, 120, 12)] == [2, 3, 3, 3, 4, 6, 1]


@pytest.mark.onednn
def test_normalized_states_do_not_grow_from_node_to_node():
    """Each convolution adds its input to its output, so that without normalization late nodes are larger."""
    space = bats.space(3, 12, 4)
    images = tf.random.stateless_normal([16, 16, 16, 3], [1, 2])
    growth = {}
    for normalize in (False, True):
        tf.keras.utils.set_random_seed(0)
        network = networks.build(space, (16, 16, 3), 7, normalize=normalize)
        choices = {name: tf.fill(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
        nodes = [layer.output for layer in network.layers if layer.name.startswith("cell00_node")]
        values = tf.keras.Model(network.input, nodes)({"images": images, **choices}, training=True)
        deviations = [np.std(value) for value in values]
        growth[normalize] = deviations[-1] / deviations[0]
    # Later nodes also have more edges.
    assert growth[True] < 0.75 * growth[False]
