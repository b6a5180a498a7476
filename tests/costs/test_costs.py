import pathlib
import sys

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

from larq_nas import costs, networks, zoo
from larq_nas.converters import tflite
from larq_nas.layers.convolutional import binary_conv
from larq_nas.methods import bnas

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "experiments"))
import costs as published  # noqa: E402  (experiments/costs.py)

layers = tf.keras.layers
CIFAR, IMAGENET = ((32, 32, 3), 10), ((224, 224, 3), 1000)


def _of_zoo(name):
    return costs.count(zoo.genotype(name), *(CIFAR if name in ("bnas_a", "bnas_b", "bnas_c") else IMAGENET))


# --- published rows ---


@pytest.mark.parametrize(
    ("name", "binary", "shortcuts", "stem", "classifier", "millions"),
    [
        ("bnas_a", 696_729_600, 84_934_656, 2_985_984, 5_760, 15.205),
        ("bnas_b", 1_329_594_368, 268_435_456, 5_308_416, 10_240, 30.288),
        ("bnas_c", 5_028_397_056, 764_411_904, 8_957_952, 17_280, 99.488),
        ("bnas_d", 2_931_884_032, 205_520_896, 97_542_144, 1_024_000, 147.588),
        ("bnas_e", 3_309_822_208, 232_013_824, 109_396_224, 1_088_000, 165.825),
        ("bnas_f", 4_179_874_048, 232_013_824, 109_396_224, 1_088_000, 179.420),
        ("bnas_g", 3_576_222_272, 274_763_776, 128_447_424, 1_184_000, 189.803),
        ("bnas_h", 15_837_954_048, 822_083_584, 368_492_544, 2_048_000, 630.854),
    ],
)
def test_bnas_networks_cost_what_was_published(name, binary, shortcuts, stem, classifier, millions):
    counts = _of_zoo(name)
    assert counts.binary_macs == binary
    assert published.part(counts, "shortcut_conv") == shortcuts
    assert published.part(counts, "stem") == stem
    assert published.part(counts, "classifier") == classifier
    assert counts.float_macs == shortcuts + stem + classifier
    paper = stem + classifier + (binary + shortcuts) / 64
    assert paper / 1e6 == pytest.approx(millions, abs=6e-4)
    assert counts.params == zoo.bnas.VARIANTS[name].parameters
    assert counts.bytes == zoo.bnas.VARIANTS[name].memory


def test_the_rows_of_bnas_in_the_tables_of_bars():
    a, d = _of_zoo("bnas_a"), _of_zoo("bnas_d")
    assert ((a.flops - 2 * 5_760) // 10**6, a.biops // 10**6) == (175, 1393)
    # The classifier is left out, the float shortcuts counted as binary.
    shortcuts, stem = 205_520_896, 97_542_144
    assert (2 * stem // 10**6, (d.biops + 2 * shortcuts) // 10**6) == (195, 6274)


@pytest.mark.parametrize(
    ("name", "options", "flops", "biops", "params", "in_blocks"),
    [
        ("xnor_resnet18", {}, 16_132_096, 1_094_713_344, 11_173_066, 11_166_080),
        ("xnor_resnet34", {}, 16_132_096, 2_302_672_896, 21_281_226, 21_274_240),
        # BatchNorm behind the convolutions.
        ("bireal_resnet18", {}, 16_132_096, 1_094_713_344, 11_173_962, 11_166_976),
        (
            "xnor_resnet18",
            {"downsample": "binary", "input_shape": (224, 224, 3)},
            138_305_536,
            3_699_376_128,
            13_073_928,
            12_541_440,
        ),
    ],
)
def test_resnets_cost_what_the_table_of_bars_says(name, options, flops, biops, params, in_blocks):
    counts = costs.count(getattr(zoo, name)(**options))
    assert (counts.flops, counts.biops, counts.params) == (flops, biops, params)
    assert params - published.part(counts, "stem", "classifier", field="params") == in_blocks


@pytest.mark.parametrize("name", sorted(set(published.EQUIVALENT) - set(published.NOT_EQUIVALENT)))
def test_equivalent_operations_are_those_of_the_table_of_bars(name):
    flops, biops, equivalent = published.EQUIVALENT[name]
    assert costs.equivalent_ops(flops, biops) == pytest.approx(equivalent, abs=0.11)
    # By the caption, it would be another sum.
    assert costs.equivalent_ops_64(flops, biops) != pytest.approx(equivalent, abs=0.11)


VGG, RESNET = ("vgg11", {}), ("resnet18", {})
LARGE_RESNET = ("resnet18", {"input_shape": (224, 224, 3)})


@pytest.mark.parametrize(
    ("model", "scales", "first_bits", "sizes", "megabytes"),
    [
        (VGG, True, 32, (81_576, 307_112, 676_648, 1_190_184), (0.08, 0.29, 0.65, 1.14)),
        (VGG, False, 32, (78_888, 301_736, 668_584, 1_179_432), ()),
        (RESNET, False, 32, (94_056, 362_408, 805_096, 1_422_120), (0.09,)),
        (RESNET, True, 32, (98_792, 371_880, 819_304, 1_441_064), (0.09,)),
        (LARGE_RESNET, False, 32, (3_484_320, 9_754_016), (3.29, 9.24)),
        (LARGE_RESNET, False, 8, (3_456_096, 9_697_568), ()),
    ],
)
def test_widths_take_the_bytes_of_dms(model, scales, first_bits, sizes, megabytes):
    _takes_the_bytes_of_dms(model, scales, first_bits, sizes, megabytes, 1)


@pytest.mark.slow
def test_large_widths_take_the_bytes_of_dms():
    _takes_the_bytes_of_dms(LARGE_RESNET, False, 32, (18_813_088, 30_661_536), (17.8, 29.1), 3)
    _takes_the_bytes_of_dms(LARGE_RESNET, False, 8, (18_728_416, 30_548_640), (), 3)


def _takes_the_bytes_of_dms(model, scales, first_bits, sizes, megabytes, first_width):
    name, options = model
    for width, size in enumerate(sizes, start=first_width):
        counts = costs.count(getattr(zoo, name)(width=width, **options))
        assert published.dms_bytes(counts, scales, first_bits) == size
        for printed in megabytes[width - first_width : width - first_width + 1]:
            assert size / 2**20 == pytest.approx(printed, abs=0.011 * printed if options else 0.0055)


@pytest.mark.parametrize(
    ("model", "parameters", "megabytes"),
    [(VGG, 577_722, 2.20), (RESNET, 699_066, 2.67), (LARGE_RESNET, 11_679_912, 44.5)],
)
def test_full_precision_twins_have_the_weights_of_dms(model, parameters, megabytes):
    name, options = model
    counts = costs.count(getattr(zoo, name)(binary=False, **options))
    assert counts.binary_macs == counts.binary_params == 0
    assert sum(row.params for row in counts.rows if row.kernel) == parameters
    assert published.dms_bytes(counts) == 4 * parameters
    assert 4 * parameters / 2**20 == pytest.approx(megabytes, abs=0.06)


@pytest.mark.parametrize(
    ("normal", "reduce", "flops", "biops", "in_cells", "params"),
    [
        (10, (4, 6), 2_987_008, 450_887_680, 1_761_664, 1_765_850),
        (0, (0, 0), 2_987_008, 92_274_688, 419_328, 423_514),
    ],
)
def test_bars_networks_cost_what_their_rules_say(normal, reduce, flops, biops, in_cells, params):
    architecture = bars_architecture((16, 32, 64), (2, 2, 2), (normal,) * 3, (reduce,) * 2)
    counts = costs.count(architecture)
    assert (counts.flops, counts.biops, counts.params) == (flops, biops, params)
    assert params - published.part(counts, "stem", "classifier", field="params") == in_cells
    large = bars_architecture((48, 96, 192), (2, 2, 2), (10,) * 3, ((4, 6),) * 2)
    counts = costs.count(large, *IMAGENET)
    assert (counts.flops, counts.biops, counts.params) == (129_785_856, 3_106_897_920, 16_614_112)


# Networks within the budgets of BARS-A … BARS-E, which are not those of its authors.
@pytest.mark.parametrize(
    ("arguments", "large", "figures"),
    [
        (((14, 84, 112), (1, 1, 1), (10, 3, 1), ((3, 3), (1, 5))), False, (2.389, 1026.2, 2.772, 2.778)),
        (((14, 112, 168), (2, 2, 1), (6, 3, 3), ((4, 6), (4, 0))), False, (2.393, 2094.5, 6.074, 6.082)),
        (((16, 128, 256), (3, 2, 1), (9, 9, 1), ((1, 1), (2, 0))), False, (3.002, 3775.9, 10.823, 10.835)),
        (((48, 72, 192), (1, 2, 2), (7, 7, 5), ((4, 0), (4, 3))), True, (129.79, 1495.6, 9.494, 10.305)),
        (((60, 120, 240), (1, 2, 2), (5, 4, 3), ((3, 4), (4, 4))), True, (197.23, 2520.4, 13.998, 15.023)),
        (((48, 48, 192), (2, 1, 2), (9, 8, 6), ((4, 2), (1, 1))), True, (129.79, 1498.4, 8.660, 9.470)),
        (((60, 90, 240), (2, 3, 1), (6, 5, 3), ((2, 5), (4, 6))), True, (197.23, 2521.1, 12.999, 14.024)),
    ],
)
def test_bars_networks_within_the_published_budgets(arguments, large, figures):
    counts = costs.count(bars_architecture(*arguments), *(IMAGENET if large else CIFAR))
    in_cells = counts.params - published.part(counts, "stem", "classifier", field="params")
    flops, biops, cells, total = figures
    assert counts.flops / 1e6 == pytest.approx(flops, abs=0.005 if large else 0.0005)
    assert counts.biops / 1e6 == pytest.approx(biops, abs=0.05)
    assert (in_cells / 1e6, counts.params / 1e6) == pytest.approx((cells, total), abs=0.0006)


@pytest.mark.slow
def test_the_document_is_what_its_command_writes(tmp_path):
    published.main(tmp_path / "costs.md")
    document = pathlib.Path(__file__).parents[2] / "docs" / "costs.md"
    assert (tmp_path / "costs.md").read_text() == document.read_text()


# --- layers ---


def _counted(*stack, shape=(9, 9, 4)):
    return costs.count(tf.keras.Sequential([layers.Input(shape), *stack]))


def test_convolutions_of_all_kinds():
    assert _counted(layers.Conv2D(6, 3, strides=2, padding="same")).float_macs == 5 * 5 * 9 * 4 * 6
    assert _counted(layers.Conv2D(6, 3, groups=2, padding="same")).float_macs == 81 * 9 * 2 * 6
    assert _counted(layers.Conv2D(6, 3, dilation_rate=2)).float_macs == 25 * 9 * 4 * 6
    assert _counted(layers.DepthwiseConv2D(3, padding="same")).float_macs == 81 * 9 * 4
    assert _counted(layers.SeparableConv2D(5, 3, padding="same")).float_macs == 81 * (9 * 4 + 4 * 5)
    assert _counted(layers.Conv2DTranspose(6, 3, strides=2)).float_macs == 81 * 9 * 4 * 6
    assert _counted(layers.Conv1D(6, 3, padding="same"), shape=(9, 4)).float_macs == 9 * 3 * 4 * 6
    assert _counted(layers.Conv1DTranspose(6, 3, strides=2), shape=(9, 4)).float_macs == 9 * 3 * 4 * 6
    assert _counted(layers.Conv3D(6, 3), shape=(3, 3, 3, 4)).float_macs == 27 * 4 * 6
    assert _counted(layers.Conv3DTranspose(6, 3, strides=2), shape=(3, 3, 3, 4)).float_macs == 27 * 27 * 4 * 6


def test_an_operation_is_binary_where_kernel_and_input_are():
    options = {"padding": "same", "use_bias": False}
    both = _counted(lq.layers.QuantConv2D(6, 3, input_quantizer="ste_sign", kernel_quantizer="ste_sign", **options))
    assert (both.binary_macs, both.float_macs) == (81 * 9 * 4 * 6, 0)
    assert (both.binary_params, both.float_params) == (9 * 4 * 6, 0)
    for quantizers in ({"kernel_quantizer": "ste_sign"}, {"input_quantizer": "ste_sign"}):
        one = _counted(lq.layers.QuantConv2D(6, 3, **quantizers, **options))
        assert one.binary_macs == one.binary_params == 0
        assert one.bytes == 4 * 9 * 4 * 6
    # Behind the depthwise half nothing is ±1.
    quantizers = {f"{name}_quantizer": "ste_sign" for name in ("input", "depthwise", "pointwise")}
    separable = _counted(lq.layers.QuantSeparableConv2D(6, 3, **quantizers, **options))
    assert (separable.binary_macs, separable.float_macs) == (81 * 9 * 4, 81 * 4 * 6)
    ternary = _counted(lq.layers.QuantConv2D(6, 3, input_quantizer="ste_sign", kernel_quantizer="ste_tern", **options))
    assert ternary.binary_macs == 0


@pytest.mark.parametrize(("channels", "words"), [(4, 1), (32, 1), (36, 2), (64, 2)])
def test_kernels_take_whole_words_of_channels(channels, words):
    layer = lq.layers.QuantConv2D(
        6, 3, input_quantizer="ste_sign", kernel_quantizer="ste_sign", use_bias=False, pad_values=1.0, padding="same"
    )
    assert _counted(layer, shape=(9, 9, channels)).bytes == 9 * words * 4 * 6


def test_what_the_engine_stores_as_floats_takes_their_bytes_and_groups_are_padded_to_words():
    binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}
    dense = _counted(layers.Flatten(), lq.layers.QuantDense(10, **binary))
    assert (dense.binary_macs, dense.bytes) == (324 * 10, 4 * 324 * 10)
    grouped = _counted(lq.layers.QuantConv2D(6, 3, groups=2, **binary))
    assert grouped.bytes == 9 * 4 * 6
    assert _counted(lq.layers.QuantConv2D(64, 3, groups=2, **binary), shape=(9, 9, 64)).bytes == 9 * 4 * 64


def test_other_parameters():
    norm = _counted(layers.BatchNormalization())
    assert (norm.params, norm.bytes) == (8, 32)
    fixed = _counted(layers.BatchNormalization(center=False, scale=False))
    assert (fixed.params, fixed.bytes) == (0, 32)
    assert _counted(layers.PReLU(shared_axes=[1, 2])).params == 4
    assert _counted(layers.Dense(3)).params == 15


def test_frozen_layers_cost_the_same():
    model = zoo.resnet18(input_shape=(8, 8, 3))
    counts = costs.count(model)
    model.trainable = False
    assert costs.count(model) == counts


def test_calls_elsewhere_do_not_count():
    images = layers.Input((9, 9, 4))
    convolution = layers.Conv2D(4, 3, padding="same", use_bias=False)
    model = tf.keras.Model(images, convolution(images))
    convolution(layers.Input((18, 18, 4)))
    assert costs.count(model).float_macs == 81 * 9 * 16


def test_models_that_are_used_twice():
    inner = tf.keras.Sequential([layers.Input((9, 9, 4)), layers.Conv2D(4, 3, padding="same", use_bias=False)])
    images = layers.Input((9, 9, 4))
    counts = costs.count(tf.keras.Model(images, inner(inner(images))))
    assert (counts.float_macs, counts.params) == (2 * 81 * 9 * 16, 9 * 16)


def test_layers_that_are_used_twice_and_models_in_models():
    images = layers.Input((9, 9, 4))
    convolution = layers.Conv2D(4, 3, padding="same", name="bias_free", use_bias=False)
    model = tf.keras.Model(images, convolution(convolution(images)), name="inner")
    counts = costs.count(model)
    assert (counts.float_macs, counts.params) == (2 * 81 * 9 * 16, 9 * 16)
    outer = costs.count(tf.keras.Sequential([layers.Input((9, 9, 4)), model, layers.Conv2D(2, 1)]))
    assert outer.float_macs == counts.float_macs + 81 * 8
    assert outer.rows[0].name == "inner/bias_free"


def test_what_cannot_be_counted_is_named():
    with pytest.raises(costs.CostError, match="layer lstm.*LSTM is of a kind"):
        _counted(layers.LSTM(3, name="lstm"), shape=(9, 4))
    with pytest.raises(costs.CostError, match="model early: has no graph of layers; only functional and sequential"):
        costs.count(tf.keras.Sequential([layers.Conv2D(3, 3)], name="early"))
    with pytest.raises(costs.CostError, match="layer conv.*no fixed size"):
        _counted(layers.Conv2D(3, 3, name="conv"), shape=(None, None, 3))
    with pytest.raises(costs.CostError, match="search space; count a genotype"):
        costs.count(bnas.space())
    with pytest.raises(costs.CostError, match="bnas_a is neither an Architecture nor a functional"):
        costs.count("bnas_a")


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_subclassed_model_is_refused():
    model = Subclassed()
    model(tf.zeros([1, 2]))
    with pytest.raises(costs.CostError, match="only functional and sequential models"):
        costs.count(model)


@pytest.mark.parametrize("shape", [32, (32, 32), (0, 32, 3), (32.0, 32, 3), "rgb"])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(networks.NetworkError, match="is not .height, width, channels. of positive integers"):
        costs.count(zoo.genotype("bnas_a"), shape)


@pytest.mark.parametrize("classes", [0, -5, 2.5, None])
def test_what_is_no_number_of_classes_is_refused(classes):
    for function in (costs.count, networks.build):
        with pytest.raises(networks.NetworkError, match="is no number of classes; give a positive integer"):
            function(bnas.scale(zoo.genotype("bnas_a"), 2, 3), (8, 8, 1), classes)


def test_sizes_may_be_numpy_integers():
    assert costs.count(zoo.genotype("bnas_a"), np.array([32, 32, 3]), np.int64(10)) == _of_zoo("bnas_a")


@pytest.mark.parametrize("shape", [(3, 32, 3), (32, 2, 3), (128, 16, 3)])
def test_too_small_images_are_refused_alike(shape):
    genotype = zoo.genotype("bnas_a")
    for function in (costs.count, networks.build):
        with pytest.raises(networks.NetworkError, match="too small: the network halves images . times and needs at"):
            function(genotype, shape, 10)


def test_the_json_holds_totals_and_layers():
    counts = _of_zoo("bnas_a")
    values = counts.to_dict()
    assert (values["biops"], values["params"]) == (2 * 696_729_600, 5_578_252)
    for name in ("params", "bytes"):
        assert sum(layer[name] for layer in values["layers"]) == values[name]


def test_a_file_takes_the_counted_bytes():
    def sizes(channels):
        convolution = lq.layers.QuantConv2D(
            256,
            3,
            input_quantizer="ste_sign",
            kernel_quantizer="ste_sign",
            use_bias=False,
            pad_values=1,
            padding="same",
        )
        model = tf.keras.Sequential([layers.Input((8, 8, channels)), convolution])
        return costs.count(model).bytes, tflite.convert(model).report.file_bytes

    small, large, same = (sizes(channels) for channels in (32, 64, 36))
    assert large[0] - small[0] == same[0] - small[0] == 9 * 256 * 4
    # What is not kernel is the same in all files.
    assert large[1] - small[1] == pytest.approx(9 * 256 * 4, abs=100)
    assert same[1] - small[1] == pytest.approx(9 * 256 * 4, abs=100)


def test_binary_convolutions_as_lce_computes_them():
    images = layers.Input((8, 8, 36))
    counts = costs.count(tf.keras.Model(images, binary_conv(10, 3)(images)))
    assert counts.binary_macs == 64 * 9 * 36 * 10
    assert counts.padded_binary_macs == 64 * 9 * 64 * 10
