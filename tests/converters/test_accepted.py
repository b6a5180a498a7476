"""Other people's models: they are converted and counted, or refused in one line."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_nas import costs
from larq_nas.converters import tflite

layers = tf.keras.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}


def _sequential(*parts, shape=(6, 6, 32)):
    return tf.keras.Sequential([layers.Input(shape), *parts])


def _conv(**options):
    return lq.layers.QuantConv2D(8, 3, **{**BINARY, **options})


def _sign(x):
    return lq.math.sign(x)


class _Own(layers.Layer):
    def __init__(self):
        super().__init__()

    def call(self, inputs):
        return 2 * inputs


class _Subclassed(tf.keras.Model):
    def call(self, inputs):
        return inputs


GROUPS = {"groups": 2, "padding": "same", "pad_values": 1.0}


def _of_a_dict():
    images = layers.Input((6, 6, 32), name="x")
    return tf.keras.Model({"x": images}, {"b": layers.Flatten()(_conv()(images))})


@pytest.mark.parametrize(
    "build",
    [
        lambda: _sequential(_conv(input_quantizer=_sign, kernel_quantizer=_sign)),
        lambda: _sequential(_Own(), _conv(**GROUPS)),
        lambda: _sequential(_sequential(_conv(**GROUPS, name="inner"))),
        lambda: _sequential(layers.Lambda(lambda x: 2 * x), layers.Lambda(tf.nn.relu6), _conv(**GROUPS)),
        lambda: _sequential(
            _sequential(_Own(), _conv(**GROUPS)), _sequential(layers.Lambda(lambda x: x - 1), shape=(6, 6, 8))
        ),
        _of_a_dict,
    ],
)
def test_models_of_others_are_packed_and_counted(build):
    model = build()
    report = tflite.convert(model).report
    assert report.all_packed and report.binary_convolutions and report.differences["random"][0] < 1e-3
    assert costs.count(model).binary_macs


def test_a_layer_of_others_stands_beside_8_bits():
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)
    model = _sequential(layers.Conv2D(4, 3), _Own(), layers.Flatten(), layers.Dense(3), shape=(6, 6, 3))
    assert tflite.convert(model, calibration=images).report.output_type == "int8"


@pytest.mark.parametrize("dense", [layers.Dense, lq.layers.QuantDense])
def test_a_normalization_and_a_softmax_behind_a_dense_layer_have_8_bits(dense):
    images = np.random.default_rng(0).normal(size=(32, 6, 6, 3)).astype(np.float32)
    options = BINARY if dense is lq.layers.QuantDense else {}
    parts = layers.Flatten(), dense(5, **options), layers.BatchNormalization(), layers.Activation("softmax")
    report = tflite.convert(_sequential(*parts, shape=(6, 6, 3)), calibration=images).report
    assert report.input_type == report.output_type == "int8" and report.differences["calibration"][1] > 0.8


def _images(*shape, value=0.5):
    return np.full(shape, value, np.float32)


@pytest.mark.parametrize("name", ["samples", "calibration"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (_images(0, 6, 6, 32), r"has the shape \(0, 6, 6, 32\); accepted are images of the shape \(n, 6, 6, 32\)"),
        (_images(6, 6, 32), r"has the shape \(6, 6, 32\)"),
        (_images(2, 6, 6, 3), r"has the shape \(2, 6, 6, 3\)"),
        (_images(2, 6, 6, 32, value=np.nan), "infinite or not a number"),
        ("images", "is str and no array"),
    ],
)
def test_images_that_are_none_are_refused(name, images, message):
    with pytest.raises(tflite.ConversionError, match=f"^{name}: .*{message}"):
        tflite.convert(_sequential(_conv()), **{name: images})


def test_a_model_that_needs_its_batch_or_another_type_is_refused():
    images = layers.Input((6, 6, 32), batch_size=4)
    model = tf.keras.Model(images, layers.Dense(2)(tf.reshape(_conv()(images), (4, -1))))
    with pytest.raises(tflite.ConversionError, match="takes batches of 4 images and cannot take a single one"):
        tflite.convert(model)
    tf.keras.mixed_precision.set_global_policy("float16")
    try:
        model = _sequential(_conv(name="half"))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(tflite.ConversionError, match="^half/.*: a weight of float16; accepted are weights of float32"):
        tflite.convert(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("network.h5", "is a path"),
        (_Subclassed(), "no graph of layers"),
        (tf.Module(), "is no model"),
    ],
)
def test_what_is_no_functional_model_is_refused_in_one_line(model, message):
    with pytest.raises(tflite.ConversionError, match=message) as raised:
        tflite.convert(model)
    assert "\n" not in str(raised.value) and ("tf.keras" in str(raised.value) or "load_model" in str(raised.value))
    with pytest.raises(costs.CostError, match="functional"):
        costs.count(model)


def test_a_loaded_saved_model_and_a_model_of_keras_3_are_refused_in_one_line(tmp_path):
    tf.saved_model.save(_sequential(_conv()), str(tmp_path / "saved"))
    with pytest.raises(tflite.ConversionError, match="is what tf.saved_model.load gives"):
        tflite.convert(tf.saved_model.load(str(tmp_path / "saved")))
    keras = pytest.importorskip("keras", minversion="3")
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(tflite.ConversionError, match="is one of Keras 3, .* built after import larq_nas"):
        tflite.convert(model)


@pytest.mark.parametrize(
    ("side", "kernel", "options"),
    [
        ((2, 2), 3, {}),
        ((4, 9), 5, {"use_bias": True, "activation": "relu"}),
        ((4, 4), 3, {"dilation_rate": 2}),
        ((1, 7), 3, {"strides": 2, "groups": 4}),
        ((2, 2), 3, {"groups": 2}),
    ],
)
def test_zeros_around_a_small_map_are_right(side, kernel, options):
    layer = lq.layers.QuantConv2D(32, kernel, padding="same", **BINARY, **options)
    report = tflite.convert(_sequential(layer, layers.BatchNormalization(), shape=(*side, 64))).report
    assert report.all_packed and report.differences["random"][0] < 1e-3


def test_small_maps_of_a_layer_that_cannot_be_replaced_are_refused():
    class Own(lq.layers.QuantConv2D):
        pass

    with pytest.raises(tflite.ConversionError, match="pads with zeros, and its input is smaller than its kernel"):
        tflite.convert(_sequential(Own(32, 3, padding="same", **BINARY), shape=(2, 2, 32)))


def test_ternary_inputs_are_refused():
    with pytest.raises(tflite.ConversionError, match="SteTern gives more than two values"):
        tflite.convert(_sequential(_conv(input_quantizer="ste_tern")), allow_float_fallback=True)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: lq.layers.QuantDepthwiseConv2D(3, input_quantizer="ste_sign", depthwise_quantizer="ste_sign"),
        lambda: lq.layers.QuantConv2DTranspose(8, 3, **BINARY),
    ],
)
def test_binary_layers_of_other_kinds_are_listed_and_are_an_error(layer):
    with pytest.raises(tflite.ConversionError, match="packs no Quant"):
        tflite.convert(_sequential(layer()))
    report = tflite.convert(_sequential(layer()), allow_float_fallback=True).report
    assert not report.all_packed and report.binary_convolutions[0].status == tflite.FLOAT


def test_a_binary_dense_layer_is_a_row_that_says_what_it_costs():
    report = tflite.convert(_sequential(layers.Flatten(), lq.layers.QuantDense(8, **BINARY))).report
    (row,) = report.binary_convolutions
    assert row.dense and not report.all_packed and "36,864 bytes in 32 bits, 1,152 in one" in str(report)


def test_a_sign_of_a_layer_of_its_own_makes_inputs_binary():
    with pytest.raises(tflite.ConversionError, match="does not recognise its input"):
        tflite.convert(_sequential(lq.quantizers.SteSign(), layers.MaxPooling2D(), _conv(input_quantizer=None)))


def test_binary_layers_inside_of_layers_are_found_if_their_sign_is_a_layer_of_its_own():
    packed, grouped = (
        lq.layers.QuantConv2D(32, 3, groups=groups, kernel_quantizer="ste_sign", use_bias=False) for groups in (1, 4)
    )
    inner = _sequential(lq.quantizers.SteSign(), packed, shape=(8, 8, 32))
    report = tflite.convert(_sequential(inner, layers.Flatten(), layers.Dense(3), shape=(8, 8, 32))).report
    assert [row.name for row in report.binary_convolutions] == [packed.name] and report.all_packed
    inner = _sequential(lq.quantizers.SteSign(), grouped, shape=(8, 8, 32))
    with pytest.raises(tflite.ConversionError, match=f"{grouped.name}: .*no multiple of 32"):
        tflite.convert(_sequential(inner, layers.Flatten(), layers.Dense(3), shape=(8, 8, 32)))


def test_a_model_with_an_output_of_truth_values_is_converted():
    outputs = layers.Lambda(lambda x: x > 0)(layers.Dense(3)(layers.Flatten()(images := layers.Input((4, 4, 1)))))
    assert tflite.convert(tf.keras.Model(images, outputs)).report.differences["random"][0] == 0
