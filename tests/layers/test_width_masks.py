import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers.width_masks import CellWidths, SkippableAggregation, WidthMask

pytestmark = pytest.mark.onednn


def test_the_mask_keeps_the_first_channels_with_the_weight_of_those_that_keep_them():
    x = tf.ones([2, 3, 3, 8])
    masked = WidthMask([2, 4, 6, 8])([x, tf.constant([0.1, 0.2, 0.3, 0.4])])
    np.testing.assert_allclose(masked[1, 2, 0], [1, 1, 0.9, 0.9, 0.7, 0.7, 0.4, 0.4], rtol=1e-6)


@pytest.mark.parametrize("index", range(4))
def test_a_one_hot_width_keeps_channels_of_each_group_or_drops_them(index):
    x = np.random.default_rng(0).normal(size=(2, 12)).astype(np.float32)
    masked = WidthMask((1, 2, 3, 4))([x, np.eye(4, dtype=np.float32)[index]])
    np.testing.assert_array_equal(masked, np.where(np.arange(12) % 4 <= index, x, 0))


def test_the_mask_has_gradients_of_input_and_choice():
    x, choice = tf.random.normal([2, 4, 4, 4]), tf.constant([0.5, 0.5])
    with tf.GradientTape() as tape:
        tape.watch([x, choice])
        loss = tf.reduce_sum(WidthMask((1, 4))([x, choice]))
    to_x, to_choice = tape.gradient(loss, [x, choice])
    np.testing.assert_allclose(to_x[0, 0, 0], [1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(to_choice, [tf.reduce_sum(x[..., 0]), tf.reduce_sum(x)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [(), (0, 2), (1.5, 2)])
def test_widths_that_are_none_are_refused(widths):
    with pytest.raises(ValueError, match="must be positive integers"):
        WidthMask(widths)


def test_channels_that_are_no_groups_are_refused():
    with pytest.raises(ValueError, match="6 channels are not a multiple of 4"):
        WidthMask((2, 4))([tf.ones([1, 6]), tf.ones([2])])


def test_aggregation_weights_what_was_reached():
    tensors = [tf.fill([2, 3], value) for value in (1.0, 10.0, 100.0)]
    found = SkippableAggregation()([*tensors, tf.constant([0.5, 0.25, 0.25])])
    np.testing.assert_allclose(found, np.full([2, 3], 28.0))
    np.testing.assert_array_equal(SkippableAggregation()([*tensors, tf.constant([0.0, 1.0, 0.0])]), tensors[1])


@pytest.mark.parametrize("weights", [tf.ones([2]), tf.ones([1, 3])])
def test_aggregation_without_a_weight_for_each_is_refused(weights):
    with pytest.raises(ValueError, match="give a weight for each"):
        SkippableAggregation()([tf.ones([2])] * 3 + [weights])


@pytest.mark.parametrize("depths", [(0, 1, 2, 3), (1, 2, 3), (1, 3)])
def test_the_last_cell_of_a_one_hot_depth_has_the_following_width(depths):
    own, following = tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0])
    for index, depth in enumerate(depths):
        *cells, leaving = CellWidths(depths)([own, following, tf.one_hot(index, len(depths))])
        assert len(cells) == 3
        for number, width in enumerate(cells[:depth], start=1):
            np.testing.assert_array_equal(width, following if number == depth else own)
        np.testing.assert_array_equal(leaving, following if depth else own)


def test_the_widths_of_open_depths_are_weighted_by_being_the_last_of_those_that_are_there():
    own, following = tf.constant([1.0, 0.0]), tf.constant([0.0, 1.0])
    widths = CellWidths((0, 1, 2))([own, following, tf.constant([0.5, 0.2, 0.3])])
    np.testing.assert_allclose(widths, [[0.6, 0.4], [0, 1], [0.5, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("layer", [WidthMask((1, 2)), CellWidths((0, 2)), SkippableAggregation()])
def test_layers_come_back_from_their_configuration(layer):
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert type(again) is type(layer) and again.get_config() == layer.get_config()


def test_a_model_of_these_layers_is_saved_and_loaded(tmp_path):
    inputs = {"x": tf.keras.Input([4, 4, 4]), "width": tf.keras.Input(batch_shape=(2,))}
    x = WidthMask((2, 4))([inputs["x"], inputs["width"]])
    model = tf.keras.Model(inputs, SkippableAggregation()([inputs["x"], x, inputs["width"]]))
    values = {"x": tf.random.normal([2, 4, 4, 4]), "width": tf.constant([0.3, 0.7])}
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(values), model(values))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_choices_keep_their_32_bits_under_mixed_precision(policy):
    mask = WidthMask((1, 2), dtype=policy)
    with tf.GradientTape() as tape:
        choice = tf.Variable([0.25, 0.75])
        masked = mask([tf.ones([1, 2]), choice])
    assert masked.dtype == policy.removeprefix("mixed_")
    assert tape.gradient(masked, choice).dtype == tf.float32
