import collections
import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

from larq_nas import networks, zoo
from larq_nas.layers import convolutional
from larq_nas.layers.drop_path import DropPath
from larq_nas.methods import bars, bnas
from larq_nas.space.architecture import Architecture, ArchitectureError, Cell, Edge, Node, Stage
from larq_nas.space.choices import choice_shapes

# Trainable parameters, cell by cell, then of stem and head; counted by the authors' code.
PARAMETERS = {
    "bnas_a": (
        [31680, 33048, *[34416] * 4, 187776, 208224, *[136224] * 5, 748800, 831168, *[542016] * 5],
        2922,
        5770,
    ),
    "bnas_b": (
        [99328, 103552, *[107776] * 2, 591872, 656896, *[428544] * 2, 2363392, 2624512, *[1709056] * 2],
        5190,
        10250,
    ),
    "bnas_c": (
        [281664, 293544, *[305424] * 3, 1683072, 1868832, *[1217376] * 3, 6725376, 7470144, *[4860864] * 4],
        8754,
        17290,
    ),
    "bnas_d": (
        [337152, 317056, *[329728] * 2, 1035008, 1543680, *[1314816] * 2, 4134400, 6167552, *[5251072] * 2],
        19488 + 36992,
        1025000,
    ),
    "bnas_e": (None, None, None),
    "bnas_f": (
        [380528, 357816, *[372096] * 3, 1168240, 1742432, *[1484032] * 3, 4666976, 6962112, *[5927424] * 3],
        21930 + 41752,
        1089000,
    ),
    "bnas_g": (
        [450512, 423576, 440448, 1383208, 2063120, *[1757056] * 2, 5526320, 8244192, *[7018752] * 2],
        25863 + 49432,
        1185000,
    ),
    "bnas_h": (
        [
            *[1346048, 1264896, *[1314816] * 3, 4134400, 6167552, *[5251072] * 3],
            *[16526336, 24655872, *[20987904] * 4],
        ],
        75840 + 147712,
        2049000,
    ),
}
TOTALS = {
    "bnas_a": 5_578_252,
    "bnas_b": 10_945_744,
    "bnas_c": 42_360_532,
    "bnas_d": 28_407_560,
    "bnas_e": 31_997_890,
    "bnas_f": 39_781_442,
    "bnas_g": 37_343_287,
    "bnas_h": 160_016_936,
}


def _counts(model):
    counts = collections.Counter()
    for layer in model.layers:
        part = re.match("cell[0-9]+|stem|classifier|", layer.name)[0]
        counts[part] += sum(weight.shape.num_elements() for weight in layer.trainable_weights)
    return counts


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in ("bnas_c", "bnas_e", "bnas_f", "bnas_g", "bnas_h") else ())
        for n in TOTALS
    ],
)
def test_parameters_are_those_of_the_authors_cell_by_cell(name):
    counts = _counts(getattr(zoo, name)())
    assert sum(counts.values()) == TOTALS[name]
    expected, stem, head = PARAMETERS[name]
    if expected is not None:
        assert [counts[f"cell{index:02}"] for index in range(len(expected))] == expected
        assert (counts["stem"], counts["classifier"]) == (stem, head)


def test_the_published_supernet_counts_its_parameters():
    counts = _counts(networks.build(bnas.space(8, 16)))
    cell_counts = [245248, 245504, 1011968, 997376, 983040, 4047360, 3989504, 3932160]
    assert [counts[f"cell{index:02}"] for index in range(8)] == cell_counts
    assert (counts["stem"], counts["classifier"], sum(counts.values())) == (1302, 2570, 15_456_032)


@pytest.fixture(scope="module")
def small_a():
    """BNAS-A with fewer filters and cells."""
    return networks.build(bnas.scale(zoo.genotype("bnas_a"), filters=8, layers=8), (16, 16, 3))


@pytest.mark.onednn
def test_zeroise_silences_nodes_and_dead_layers_have_zero_gradient(small_a):
    # Nodes 4 and 5 add nothing but zeros, so before the first reduction the upper half of each output is 0.
    inner = tf.keras.Model(small_a.input, [small_a.get_layer(f"cell0{i}_concat").output for i in range(2)])
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    for output in inner(images, training=True):
        assert np.any(output[..., :16]) and not np.any(output[..., 16:])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(small_a(images, training=True) ** 2)
    names = [v.name for v in small_a.trainable_variables]
    gradients = dict(zip(names, tape.gradient(loss, small_a.trainable_variables), strict=True))
    dead = [n for n in gradients if re.match("cell0[25]_preprocess1", n)]
    assert len(dead) == 6
    assert all(gradients[name] is not None and not np.any(gradients[name]) for name in dead)
    assert np.any(gradients["cell01_preprocess1_conv/kernel:0"])


def test_the_imagenet_cell_has_no_dead_parameters():
    model = networks.build(bnas.scale(zoo.genotype("bnas_d"), filters=8, layers=3), (128, 128, 3), num_classes=7)
    images = np.random.default_rng(0).normal(size=(2, 128, 128, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True)[:, 0])
    names = [v.name for v in model.trainable_variables]
    gradients = zip(names, tape.gradient(loss, model.trainable_variables), strict=True)
    assert [name for name, gradient in gradients if not np.any(gradient)] == []


def test_the_size_of_the_image_decides_the_stem():
    genotype = bnas.scale(zoo.genotype("bnas_d"), filters=4, layers=3)
    for size, expected in ((224, 7), (32, 8), (127, 32)):
        assert networks.build(genotype, (size, size, 3), include_top=False).output_shape == (
            None,
            expected,
            expected,
            64,
        )


@pytest.mark.onednn
@pytest.mark.parametrize("size", [(8, 8, 1), (9, 7, 3), (4, 4, 3), (5, 6, 1)])
def test_any_image_size_works(size):
    model = networks.build(bnas.space(3, 2).sample(0), size, num_classes=3)
    assert model(np.zeros((2, *size), np.float32)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(32, 32), (None, None, 3), (0, 32, 3), (32.0, 32, 3), (2, 2, 3)])
def test_a_bad_input_shape_is_named(shape):
    with pytest.raises(networks.NetworkError, match=re.escape(str(shape))):
        networks.build(zoo.genotype("bnas_a"), shape)


def test_a_space_of_widths_is_no_bnas_space():
    cell = Cell("normal", (Node((Edge(0, ("none",)),), 1),))
    space = Architecture("bnas", (cell,), (Stage("normal", (4, 8), (1,)),))
    with pytest.raises(networks.NetworkError, match="one width and one depth"):
        networks.build(space)


def test_edges_with_different_candidates_are_refused():
    node = Node((Edge(0, ("none", "max_pool_3x3")), Edge(1, ("none", "bin_conv_3x3"))), 2)
    space = Architecture("bnas", (Cell("normal", (node,)),), (Stage("normal", (4,), (1,)),))
    with pytest.raises(ArchitectureError, match="cells.normal: .* 2 different lists"):
        networks.build(space)


def test_drop_path_follows_every_operation_and_adds_no_weights():
    genotype = bnas.space(3, 2).sample(0)
    plain, dropping = (networks.build(genotype, (8, 8, 1), drop_path=value) for value in (False, True))
    assert sum(isinstance(layer, DropPath) for layer in dropping.layers) == 3 * 8
    dropping.set_weights(plain.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(plain(x), dropping(x))


def test_a_network_is_saved_and_loaded_whole(tmp_path):
    model = networks.build(bnas.space(3, 2).sample(1), (8, 8, 1), drop_path=True)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    for name in ("model.keras", "model"):
        model.save(tmp_path / name)
        np.testing.assert_allclose(tf.keras.models.load_model(tmp_path / name)(x), model(x), atol=1e-6)


def test_the_skip_carries_the_previous_cell_and_the_first_cell_has_none():
    names = {layer.name for layer in zoo.bnas_a().layers}
    assert "cell00_skip" not in names and "cell01_skip" in names
    assert [n for n in sorted(names) if n.endswith("shortcut_conv")] == ["cell06_shortcut_conv", "cell13_shortcut_conv"]


# --- bars ---


def _bars(depths=(2, 1, 1), widths=(4, 6, 10), **arguments):
    genotype = bars_architecture(widths, depths, (10, 5, 2), ((4, 6), (2, 0)))
    return networks.build(genotype, (16, 12, 3), 5, **arguments)


def test_widths_of_a_bars_network():
    model = _bars()
    # The last cell before a reduction has half of the filters behind it, a reduction those of its stage.
    outputs = [model.get_layer(f"cell{index:02}_skip").output_shape[1:] for index in range(6)]
    assert outputs == [(16, 12, 16), (16, 12, 12), (8, 6, 24), (8, 6, 20), (4, 3, 40), (4, 3, 40)]
    assert model(np.zeros((2, 16, 12, 3), np.float32)).shape == (2, 5)


def test_a_bars_cell_adds_its_input_where_no_operation_does():
    none = tuple(Node(tuple(Edge(source, ("none",)) for source in range(node + 1)), node + 1) for node in range(4))
    model = networks.build(Architecture("bars", (Cell("n", none),), (Stage("n", (4,), (1,)),)), (8, 8, 3))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    before, after = (model.get_layer(name).output for name in ("stem_out_norm", "cell00_skip"))
    before, after = tf.keras.Model(model.input, [before, after])(x)
    np.testing.assert_array_equal(before, after)


@pytest.mark.onednn
@pytest.mark.parametrize("depths", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_stages_of_depth_0_are_their_reduction_alone(depths):
    model = _bars(depths)
    assert sum(layer.name.endswith("_skip") for layer in model.layers) == sum(depths) + 2
    assert model.get_layer("pool").input_shape == (None, 4, 3, 40)


def test_what_the_bars_template_cannot_build_is_named():
    with pytest.raises(networks.NetworkError, match=r"stages\[1\].widths: 7 filters behind a reduction must be even"):
        _bars(widths=(4, 7, 10))
    space = bars.space(filters=8)
    stages = [dataclasses.replace(stage, widths=(8, 16)) for stage in space.stages]
    with pytest.raises(networks.NetworkError, match=r"stages\[1\].widths: must double .* and be \(16, 32\)"):
        networks.build(dataclasses.replace(space, stages=tuple(stages)))
    stages = [dataclasses.replace(stage, reduction=None) for stage in space.stages]
    cells = tuple(cell for cell in space.cells if cell.name.startswith("normal"))
    with pytest.raises(networks.NetworkError, match=r"stages\[1\].reduction: where widths or depths are searched"):
        networks.build(Architecture("bars", cells, tuple(stages)))


def test_a_bars_space_takes_the_weights_of_all_that_is_open():
    network = networks.build(bars.space(filters=4, cells_per_stage=2), (16, 12, 3), 7)
    shapes = {name: shape for name, shape in network.input_shape.items() if name != "images"}
    cell_names = ("normal0", "normal1", "normal2", "reduce1", "reduce2")
    expected = dict.fromkeys(cell_names, (10, 3))
    for stage in range(3):
        expected |= {f"stage{stage}_width": (4,), f"stage{stage}_depth": (3,)}
    assert shapes == expected
    narrow = networks.build(bars.space(4, 2, width_search=False, depth_search=False, shared_cells=True), (16, 12, 3), 7)
    assert set(narrow.input_shape) == {"images", "normal", "reduce"}


@pytest.mark.onednn
@pytest.mark.parametrize("options", [{"width_search": False}, {"depth_search": False}, {"cell_shortcut": False}])
@pytest.mark.parametrize("image_size", [16, 128])
def test_every_bars_space_computes_probabilities(options, image_size):
    space = bars.space(filters=8, cells_per_stage=1, **options)
    network = networks.build(space, (image_size, image_size, 3), 7)
    weights = {name: tf.fill(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    outputs = network({"images": tf.random.normal([2, image_size, image_size, 3]), **weights}, training=True)
    np.testing.assert_allclose(tf.reduce_sum(outputs, axis=-1), [1, 1], rtol=1e-5)


def test_drop_path_follows_the_operations_of_bars_but_identities():
    plain, dropped = (_bars(drop_path=drop_path) for drop_path in (False, True))
    assert not any(isinstance(layer, DropPath) for layer in plain.layers)
    # Of normal cells the convolutions; of reductions all edges with strides, and the other convolutions.
    expected = 2 * 10 + 5 + 2 + (4 + 6) + (4 + 0)
    assert sum(isinstance(layer, DropPath) for layer in dropped.layers) == expected
    assert {w.name for w in plain.weights} == {w.name for w in dropped.weights}


@pytest.mark.onednn
def test_a_bars_network_learns_with_all_its_kernels():
    tf.keras.utils.set_random_seed(0)
    model = _bars()
    kernels = [layer.kernel.latent_variable for layer in model.layers if isinstance(layer, convolutional.XnorConv2D)]
    before = [kernel.numpy() for kernel in kernels]
    x = np.random.default_rng(0).normal(size=(32, 16, 12, 3)).astype(np.float32)
    y = np.arange(32) % 2
    x[y == 1, :8] += 1
    model.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    losses = model.fit(x, y, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < np.log(2) / 2
    for kernel, values in zip(kernels, before, strict=True):
        assert np.mean(kernel.numpy() != values) > 0.5, kernel.name


def test_a_bars_network_of_other_cells():
    nodes = tuple(Node((Edge(0, ("residual_bin_conv_3x3",)),), 1) for _ in range(2))
    model = networks.build(Architecture("bars", (Cell("n", nodes),), (Stage("n", (4,), (1,)),)), (8, 8, 3))
    assert model.get_layer("stem_out_norm").output_shape == model.get_layer("cell00_skip").output_shape


@pytest.mark.parametrize("ending", ["keras", pytest.param("tf", marks=pytest.mark.slow)])
def test_a_bars_network_is_saved_and_loaded(ending, tmp_path):
    model = _bars()
    x = np.random.default_rng(0).normal(size=(2, 16, 12, 3)).astype(np.float32)
    path = tmp_path / ("model.keras" if ending == "keras" else "model")
    model.save(path)
    np.testing.assert_allclose(tf.keras.models.load_model(path)(x), model(x), atol=1e-6)
