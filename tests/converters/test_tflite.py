import functools
import io
import zipfile

import larq as lq
import larq_compute_engine
import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

from larq_nas import costs, networks, zoo
from larq_nas.converters import eight_bits, interpreter, rewriting, tflite
from larq_nas.layers import precision
from larq_nas.methods import bats, bnas
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage

layers = tf.keras.layers


@pytest.fixture(autouse=True)
def seed():
    tf.keras.utils.set_random_seed(0)


def _trained(model, seed=0):
    """A model with the moving statistics and parameters of something trained: no value is exactly 0."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers_with_statistics):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0.3, 0.3, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            if layer.gamma is not None:
                layer.gamma.assign(generator.normal(1, 0.3, shape))
                layer.beta.assign(generator.normal(0, 0.3, shape))
    return model


layers_with_statistics = layers.BatchNormalization


def _conv(filters=32, **options):
    options = {"padding": "same", "pad_values": 1.0, "input_quantizer": "ste_sign", **options}
    quantizer = options.pop("kernel_quantizer", "ste_sign")
    return lq.layers.QuantConv2D(
        filters, 3, use_bias=False, kernel_quantizer=quantizer, kernel_constraint="weight_clip", **options
    )


def _sequential(*parts, shape=(8, 8, 32)):
    return tf.keras.Sequential([layers.Input(shape), *parts, layers.GlobalAveragePooling2D()])


def test_groups_that_lce_would_leave_float_are_a_convolution_each():
    model = _trained(networks.build(bats.scale(zoo.genotype("bats"), 12, 3, 4), (16, 16, 3)))
    conversion = tflite.convert(model, samples=np.random.default_rng(1).normal(size=(4, 16, 16, 3)))
    report = conversion.report
    grouped = [c for c in report.binary_convolutions if c.groups > 1]
    assert report.all_packed and len(grouped) == sum(layer.groups > 1 for layer in rewriting.binary_layers(model)) > 10
    assert report.operators["LceBconv2d"] == sum(c.groups for c in report.binary_convolutions)
    assert all(agreement == 1 for _, agreement in report.differences.values())
    # Each tap of a filter takes 4 bytes for a group's 3, 6 or 12 channels.
    taps = sum(np.prod(c.kernel_shape[:2]) * c.kernel_shape[3] * -(-c.kernel_shape[2] // 32) * 4 for c in grouped)
    bits = sum(np.prod(c.kernel_shape) for c in grouped) / 8
    others = [c for c in report.binary_convolutions if c.groups == 1]
    rest = sum(np.prod(c.kernel_shape[:2]) * c.kernel_shape[3] * (-c.kernel_shape[2] % 32) // 8 for c in others)
    assert report.padding_bytes == pytest.approx(taps - bits + rest, abs=2 * len(report.binary_convolutions))
    assert f"{report.padding_bytes:,} pad kernels" in str(report) and f"{len(grouped)} grouped conv" in str(report)
    assert not report.use_indirect_bgemm


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 3},
        {"groups": 4, "strides": 2},
        {"groups": 4, "strides": (1, 2)},
        {"groups": 4, "dilation_rate": (1, 2)},
    ],
)
def test_split_groups_compute_the_same(options):
    groups = options["groups"]
    model = _trained(_sequential(_conv(24, **options), layers.BatchNormalization(), shape=(9, 9, 24)))
    report = tflite.convert(model).report
    assert report.count(tflite.PACKED) == 1 and report.operators["LceBconv2d"] == groups
    assert report.differences["random"][0] < 1e-4


def test_groups_and_constants_of_one_network_are_converted():
    genotype = bats.space(3, 8, 4).sample(1)
    assert any(edge.operations == ("none",) for cell in genotype.cells for edge in cell.edges)
    report = tflite.convert(_trained(networks.build(genotype, (8, 8, 3)))).report
    assert report.all_packed and report.differences["random"][1] == 1


def test_native_groups_are_one_convolution_and_the_report_names_their_kernel():
    model = _trained(networks.build(bats.scale(zoo.genotype("bats"), 64, 3, "lce"), (8, 8, 3)))
    conversion = tflite.convert(model)
    assert conversion.report.all_packed and conversion.report.use_indirect_bgemm
    assert conversion.report.operators["LceBconv2d"] == len(conversion.report.binary_convolutions)
    assert "use_indirect_bgemm only" in str(conversion.report)
    assert conversion.report.to_dict()["use_indirect_bgemm"] is True
    assert conversion.report.differences["random"][1] == 1


# TensorFlow announces that its interpreter moves to another package. Here it shows that the file runs without LCE.
@pytest.mark.filterwarnings(
    r"ignore:\s*Warning. tf\.lite\.Interpreter is deprecated:UserWarning:tensorflow\.lite\.python\.interpreter"
)
def test_a_real_valued_network_is_an_ordinary_tflite():
    genotype = bats.space(3, 12, 4, binarize=False).sample(1)
    model = _trained(networks.build(genotype, (16, 16, 3)))
    conversion = tflite.convert(model)
    assert conversion.report.binary_convolutions == () and not any("Lce" in op for op in conversion.report.operators)
    interpreter = tf.lite.Interpreter(model_content=conversion.bytes)
    interpreter.allocate_tensors()
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(outputs, model(x), atol=1e-5)


@pytest.mark.slow
def test_all_binary_convolutions_of_bnas_a_are_packed():
    conversion = tflite.convert(_trained(zoo.bnas_a()))
    report = conversion.report
    assert report.all_packed and not report.count(tflite.FLOAT)
    # Two preprocess convolutions feed only Zeroise; stem and two shortcuts are float by design.
    assert [c.name for c in report.binary_convolutions if c.status == tflite.UNUSED] == [
        "cell06_preprocess1_conv",
        "cell13_preprocess1_conv",
    ]
    assert report.count(tflite.PACKED) == report.operators["LceBconv2d"] == 74
    assert report.operators["CONV_2D"] == 3
    assert report.file_bytes == len(conversion.bytes) < 1.1 * report.ideal_bytes
    # In a deep binary network the rounding of a sum near 0 turns signs behind it.
    difference, agreement = report.differences["random"]
    assert difference < 0.05 and agreement == 1
    assert report.to_dict()["all_packed"] is True
    assert "74 packed, 0 float, 2 unused" in str(report)


def test_a_network_that_no_image_passes_is_refused():
    nodes = (Node((Edge(0, ("none",)), Edge(1, ("none",))), 2),)
    model = networks.build(Architecture("bnas", (Cell("normal", nodes),), (Stage("normal", (12,), (8,)),)), (8, 8, 3))
    with pytest.raises(tflite.ConversionError, match="no image reaches the outputs"):
        tflite.convert(model)


@pytest.mark.parametrize("operation", sorted(set(bnas.OPERATIONS) - {"none"}))
def test_every_operation_is_packed_and_exact_normal_and_strided(operation):
    nodes = (Node((Edge(0, (operation,)), Edge(1, (operation,))), 2),)
    cells = (Cell("normal", nodes), Cell("reduce", nodes))
    stages = (Stage("normal", (12,), (2,)), Stage("normal", (20,), (1,), "reduce"))
    model = _trained(networks.build(Architecture("bnas", cells, stages), (10, 10, 3)))
    samples = np.random.default_rng(1).normal(size=(16, 10, 10, 3))
    report = tflite.convert(model, samples=samples).report
    assert report.all_packed
    binary = 2 * 4 * (1 + ("conv" in operation))
    assert len(report.binary_convolutions) == binary
    for difference, agreement in report.differences.values():
        assert difference < 1e-4 and agreement == 1


@pytest.mark.parametrize("operation", ["bin_conv_3x3", "bin_dil_conv_5x5"])
def test_convolutions_of_nothing_but_zeros_are_constants_in_the_file(operation):
    none, pool = ("none",), ("avg_pool_3x3",)
    nodes = (
        Node((Edge(0, none), Edge(1, none)), 2),
        Node((Edge(2, (operation,)), Edge(0, pool)), 2),
        # Of a constant that is not zero.
        Node((Edge(2, (operation,)), Edge(2, none)), 2),
        Node((Edge(4, (operation,)), Edge(1, ("bin_conv_3x3",))), 2),
    )
    cells = (Cell("normal", nodes),)
    model = _trained(networks.build(Architecture("bnas", cells, (Stage("normal", (12,), (2,)),)), (8, 8, 3)))
    report = tflite.convert(model).report
    assert report.all_packed
    constant = [c.name for c in report.binary_convolutions if c.status == "unused"]
    names = ("state2_edge2", "state2_edge4", "state4_edge6")
    assert sorted(constant) == [f"cell{cell:02}_{name}_conv" for cell in range(2) for name in names]
    assert report.differences["random"][0] < 1e-4


def test_a_bars_network_is_packed_and_agrees():
    model = _trained(
        networks.build(bars_architecture((8, 12, 20), (1, 2, 1), (10, 6, 0), ((4, 6), (1, 0))), (13, 16, 3))
    )
    report = tflite.convert(model).report
    assert report.all_packed
    assert len(report.binary_convolutions) == sum(row.binary for row in costs.count(model).rows)
    difference, agreement = report.differences["random"]
    assert difference < 1e-3 and agreement == 1


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 40))])
def test_random_genotypes_are_packed_and_agree(seed):
    model = _trained(networks.build(bnas.space(3, 6).sample(seed), (8, 8, 1)), seed)
    report = tflite.convert(model).report
    assert report.all_packed
    assert report.differences["random"][0] < 1e-3


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((_conv, {"pad_values": -1.0}), "pads with -1.0"),
        ((_conv, {"kernel_quantizer": "magnitude_aware_sign"}), "channel of its kernel is zero"),
        ((_conv, {"input_quantizer": "ste_heaviside"}), "does not recognise its input"),
    ],
)
def test_a_float_fallback_is_an_error_that_says_why(parts, reason):
    function, options = parts
    layer = function(**options)
    model = _sequential(layer)
    if options.get("kernel_quantizer"):
        kernel = layer.get_weights()[0]
        kernel[..., 3] = 0
        layer.set_weights([kernel])
    with pytest.raises(tflite.ConversionError, match=f"1 of 1 binary convolutions.*{reason}.*allow_float_fallback"):
        tflite.convert(model)
    report = tflite.convert(model, allow_float_fallback=True).report
    assert not report.all_packed and report.binary_convolutions[0].status == tflite.FLOAT
    assert reason in str(report)


def test_a_dead_output_channel_is_packed():
    model = _trained(networks.build(bnas.scale(zoo.genotype("bnas_a"), 8, 3), (8, 8, 1)))
    layer = next(layer for layer in model.layers if "edge" in layer.name and "conv" in layer.name)
    kernel = layer.get_weights()[0]
    kernel[..., 2] = 0
    layer.set_weights([kernel])
    assert tflite.convert(model).report.all_packed


def test_a_miscompiled_file_is_an_error_that_names_the_layer():
    # LCE computes symmetric padding before a strided convolution wrongly.
    model = _sequential(
        layers.Conv2D(8, 3, name="right"),
        layers.ZeroPadding2D(1),
        layers.Conv2D(8, 3, 2, name="wrong"),
        shape=(10, 10, 3),
    )
    for allow_float_fallback in (False, True):
        with pytest.raises(tflite.ConversionError, match="first layer whose outputs differ is wrong;") as raised:
            tflite.convert(model, allow_float_fallback=allow_float_fallback)
    assert raised.value.report.differences["random"][0] > 0.01


@pytest.mark.parametrize(
    ("padding", "where"),
    [(1, "first layer whose outputs differ is wrong;"), (0, "no layer differs without 8 bits; convert without")],
)
def test_the_error_about_a_file_of_8_bits_names_a_layer_that_is_wrong_without_8_bits_too(monkeypatch, padding, where):
    def network():
        convs = layers.Conv2D(8, 3, name="right"), layers.Conv2D(8, 3, 2, name="wrong")
        return _sequential(convs[0], *[layers.ZeroPadding2D(1)] * padding, convs[1], shape=(10, 10, 3))

    model, other, convert = network(), network(), tflite.to_flatbuffer

    def convert_other(model, split_all, target, calibration=None):
        return convert(model if calibration is None else other, split_all, target, calibration)

    monkeypatch.setattr(tflite, "to_flatbuffer", convert_other)
    images = np.random.default_rng(2).normal(size=(16, 10, 10, 3)).astype(np.float32)
    with pytest.raises(tflite.ConversionError, match=where):
        tflite.convert(model, calibration=images)


def test_a_file_that_is_wrong_on_every_fifth_image_is_refused(monkeypatch):
    predict = interpreter.predict

    def sometimes_wrong(content, images, processes=1):
        outputs = predict(content, images, processes)
        # The first output is that of the whole network, or of one of its layers.
        first = outputs[0] if isinstance(outputs, list) else outputs
        first[::5] = -first[::5]
        return outputs

    model = tf.keras.Sequential([layers.Input((6, 6, 3)), layers.Flatten(), layers.Dense(4)])
    samples = np.random.default_rng(3).normal(size=(32, 6, 6, 3)).astype(np.float32)
    assert tflite.convert(model, samples=samples).report.differences["real"][1] == 1.0
    monkeypatch.setattr(interpreter, "predict", sometimes_wrong)
    with pytest.raises(tflite.ConversionError, match="something else than Keras on 2.% of 40 images"):
        tflite.convert(model, samples=samples)


def test_8_bits_that_change_the_classes_are_refused():
    dense = layers.Dense(4, bias_initializer=tf.keras.initializers.Constant([0.0, 0.0, 0.0, -1000.0]))
    model = tf.keras.Sequential([layers.Input((6, 6, 3)), layers.Conv2D(8, 3), layers.Flatten(), dense])
    images = np.random.default_rng(4).normal(size=(64, 6, 6, 3)).astype(np.float32)
    with pytest.raises(tflite.ConversionError, match="^8 bits change the most probable class of .* convert without"):
        tflite.convert(model, calibration=images[:32], samples=images[32:])
    assert tflite.convert(model, samples=images[32:]).report.differences["real"][1] == 1.0


def test_bad_models_are_refused():
    with pytest.raises(tflite.ConversionError, match="are not one image of fixed size"):
        tflite.convert(tf.keras.Sequential([layers.Input((None, None, 3)), layers.GlobalAveragePooling2D()]))
    model = _sequential(_conv())
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(tflite.ConversionError, match="not finite"):
        tflite.convert(model)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_converted_in_32_bits(name):
    with precision.policy(name):
        model = _trained(networks.build(bnas.scale(zoo.genotype("bnas_a"), 8, 3), (16, 16, 3), 10))
    report = tflite.convert(model).report
    assert report.all_packed and report.count(tflite.PACKED) == 6
    # The file is compared with Keras in 32 bits, the precision it is meant for.
    difference, agreement = report.differences["random"]
    assert difference < 1e-4 and agreement == 1
    assert model.layers[2].compute_dtype == name.removeprefix("mixed_")


def test_nested_models_are_audited():
    inner = tf.keras.Sequential([layers.Input((8, 8, 32)), _conv()])
    report = tflite.convert(_sequential(inner)).report
    assert report.count(tflite.PACKED) == 1


def _small(template="bnas", size=16):
    genotype = bnas.space(3, 12).sample(1)
    if template == "bars":
        genotype = bars_architecture((8, 16), (1, 1), (10, 6), ((1, 0),))
    return _trained(networks.build(genotype, (size, size, 3)))


@pytest.mark.parametrize("template", ["bnas", "bars"])
def test_in_8_bits_images_outputs_and_float_kernels_have_8_bits(template):
    model = _small(template)
    images = np.random.default_rng(2).normal(size=(64, 16, 16, 3)).astype(np.float32)
    plain, conversion = tflite.convert(model), tflite.convert(model, calibration=images, samples=images[:32])
    report = conversion.report
    assert report.all_packed and report.input_type == report.output_type == "int8"
    assert plain.report.input_type == "float32" and plain.report.input_scale is None
    low, high = images.min(), images.max()
    assert report.input_scale == pytest.approx((high - low) / 255, rel=0.01)
    assert (-128 - report.input_zero_point) * report.input_scale == pytest.approx(low, abs=report.input_scale)
    float_kernels = [layer for layer in plain.report.layers if layer.name in ("CONV_2D", "FULLY_CONNECTED")]
    in_8_bits = [layer for layer in report.layers if layer.name in ("CONV_2D", "FULLY_CONNECTED")]
    for before, after in zip(float_kernels, in_8_bits, strict=True):
        assert before.kernel == after.kernel and after.bytes < np.prod(after.kernel) + 8 * after.kernel[-1] + 100
    # The weights are random, so that small differences change the most probable class.
    assert report.differences["real"][1] > 0.8
    assert "images are int8" in str(report)


def test_it_is_an_error_where_lce_leaves_images_float_in_spite_of_8_bits(monkeypatch):
    class Silent:
        testing = larq_compute_engine.testing

        def convert_saved_model(self, directory, target, **types):
            return larq_compute_engine.convert_saved_model(directory, target=target)

    monkeypatch.setattr(interpreter, "require_lce", Silent)
    with pytest.raises(tflite.ConversionError, match="images float32 .* convert without 8 bits"):
        tflite.convert(_small(), calibration=np.random.default_rng(2).normal(size=(8, 16, 16, 3)))


@pytest.mark.parametrize("template", ["bnas", "bars"])
def test_for_xcore_all_binary_convolutions_are_packed_too(template):
    report = tflite.convert(_small(template), target="xcore").report
    assert report.all_packed and report.target == "xcore" and report.differences["random"][0] < 1e-3


def test_an_unknown_target_is_refused():
    with pytest.raises(tflite.ConversionError, match="'riscv' is unknown; accepted: arm, xcore"):
        tflite.convert(_small(), target="riscv")


def test_several_outputs_keep_their_names_and_are_compared_each():
    images = layers.Input((8, 8, 32))
    x = _conv(96)(images)
    outputs = [layers.GlobalAveragePooling2D(name=f"of_{n}")(_conv(n, name=f"conv_{n}")(x)) for n in (64, 32, 48)]
    model = tf.keras.Model(images, outputs)
    conversion = tflite.convert(model)
    assert sorted(conversion.report.outputs) == ["of_32", "of_48", "of_64"]
    assert conversion.report.differences["random"][0] < 1e-3
    loaded = interpreter.load(conversion.bytes)
    for name, shape in zip(conversion.report.outputs, loaded.output_shapes, strict=True):
        assert shape[-1] == int(name.removeprefix("of_"))


def test_files_travel_behind_the_network_and_it_runs_all_the_same():
    model = _small()
    conversion = tflite.convert(model, files={"labels.txt": "cat\ndog\n", "genotype.json": "{}"})
    with zipfile.ZipFile(io.BytesIO(conversion.bytes)) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n" and archive.namelist() == ["labels.txt", "genotype.json"]
    assert conversion.report.file_bytes == len(conversion.bytes)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(interpreter.predict(conversion.bytes, images), model(images), atol=1e-4)
    # The same network is the same file.
    again = tflite.convert(model, files={"labels.txt": "cat\ndog\n", "genotype.json": "{}"})
    assert again.bytes[-300:] == conversion.bytes[-300:]


def test_the_operators_of_the_report_add_up_to_the_costs_of_the_network():
    model = _small("bars")
    report = tflite.convert(model).report
    assert sum(layer.macs for layer in report.layers if layer.packed) == costs.count(model).binary_macs
    header, *rows = report.table()
    assert header[:2] == ("operator", "kernel") and sum(row[4] for row in rows) == len(report.layers)
    assert sum(row[6] for row in rows) == sum(layer.macs for layer in report.layers)
    assert [row[6] for row in rows] == sorted((row[6] for row in rows), reverse=True)
    timed = report.table(lambda layer: 0.5 if layer.packed else None)
    assert {row[-1] for row in timed[1:] if row[3] != "packed"} == {""}
    assert sum(float(row[-1]) for row in timed[1:] if row[3] == "packed") == report.operators["LceBconv2d"] / 2


def test_a_dict_of_outputs_keeps_its_keys():
    images = layers.Input((8, 8, 32))
    x = _conv(32)(images)
    outputs = {"logits": layers.GlobalAveragePooling2D()(x), "boxes": layers.Flatten()(x)}
    report = tflite.convert(tf.keras.Model(images, outputs)).report
    assert sorted(report.outputs) == ["boxes", "logits"] and report.differences["random"][0] < 1e-3


@pytest.mark.parametrize("outputs, message", [(2, "the same tensor"), (1, "no axis")])
def test_outputs_that_cannot_be_told_apart_or_compared_are_refused(outputs, message):
    images = layers.Input((8, 8, 32))
    x = layers.GlobalAveragePooling2D()(_conv(32)(images))
    x = [x] * outputs if outputs > 1 else tf.reduce_sum(x, axis=-1)
    with pytest.raises(tflite.ConversionError, match=message):
        tflite.convert(tf.keras.Model(images, x))


RELU = layers.ReLU()


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x)),
        lambda x: layers.ReLU(negative_slope=0.3)(layers.Conv2D(8, 3)(x)),
        lambda x: layers.ReLU(max_value=2.0)(layers.BatchNormalization()(layers.Conv2D(8, 3)(x))),
        lambda x: layers.BatchNormalization(axis=2)(layers.Conv2D(6, 3)(x)),
        lambda x: layers.Dense(5)(layers.Conv2D(8, 3)(x)),
        lambda x: layers.Add()(
            [RELU(layers.Conv2D(8, 3)(x)), RELU(layers.BatchNormalization()(layers.Conv2D(8, 3)(x)))]
        ),
    ],
)
def test_8_bits_are_close_to_32_whatever_stands_behind_a_convolution(parts):
    images = layers.Input((8, 8, 3))
    model = _trained(tf.keras.Model(images, layers.Flatten()(parts(images))))
    calibration = np.random.default_rng(0).normal(size=(70, 8, 8, 3)).astype(np.float32)
    with precision.policy("float32"):
        more = functools.partial(eight_bits.replacements, images=calibration)
        rewritten = rewriting.rewrite(model, more=more)
    expected = model(calibration).numpy()
    assert np.abs(rewritten(calibration) - expected).max() < 0.05 * np.abs(expected).max()
