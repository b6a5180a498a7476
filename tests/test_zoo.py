import inspect

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import larq_nas
from larq_nas import zoo
from larq_nas.zoo import bnas


def test_models_are_listed_by_pattern():
    assert zoo.list_models("bnas*") == [f"bnas_{letter}" for letter in "abcdefgh"]
    assert zoo.list_models("bnas_[ab]") == ["bnas_a", "bnas_b"]
    assert zoo.list_models("resnet*") == []
    assert set(zoo.list_models()) <= set(zoo.__all__)


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_model_has_the_signature_of_a_keras_application_and_says_what_its_authors_reported(name):
    function = getattr(zoo, name)
    parameters = inspect.signature(function).parameters
    assert list(parameters) == ["input_shape", "input_tensor", "weights", "include_top", "num_classes"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    variant = bnas.VARIANTS[name]
    for fact in ("Reported by the authors", variant.reported, f"{variant.parameters:,}", variant.dataset):
        assert fact in inspect.getdoc(function)


@pytest.mark.parametrize("name", zoo.list_models())
def test_genotypes_are_decided_and_published_in_two_sets_of_cells(name):
    genotype = zoo.genotype(name)
    assert genotype.decided
    assert genotype.cells == zoo.genotype("bnas_a" if name in ("bnas_a", "bnas_b", "bnas_c") else "bnas_d").cells


@pytest.mark.parametrize(
    "name", ["bnas_a", "bnas_d", *(pytest.param(f"bnas_{x}", marks=pytest.mark.slow) for x in "bcefgh")]
)
def test_the_listed_size_is_that_of_the_built_model(name):
    model, variant = getattr(zoo, name)(), bnas.VARIANTS[name]
    assert sum(weight.shape.num_elements() for weight in model.trainable_weights) == variant.parameters
    assert -(-lq.models.ModelProfile(model).memory // 8) == variant.memory


def test_binary_weights_are_all_but_stem_shortcuts_and_classifier():
    profile = lq.models.ModelProfile(zoo.bnas_a())
    assert profile.weight_count(1) == 4_708_368
    assert profile.op_count("mac", 1) == 696_729_600
    assert profile.op_count("mac", 32) == 84_934_656 + 2_985_984 + 5_760


def test_input_tensor_top_and_classes():
    images = tf.keras.layers.Input((16, 16, 3))
    model = zoo.bnas_a(input_tensor=images * 2.0, include_top=False)
    assert model.output_shape == (None, 4, 4, 576)
    assert zoo.bnas_a(input_shape=(16, 16, 1), num_classes=7).output_shape == (None, 7)


def test_weights_are_loaded_from_a_file_and_bad_files_are_named(tmp_path):
    shape = {"input_shape": (8, 8, 3)}
    model = zoo.bnas_a(**shape)
    model.save_weights(tmp_path / "a.h5")
    loaded = zoo.bnas_a(**shape, weights=tmp_path / "a.h5")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="imagenet.*no such file.*no pretrained weights"):
        zoo.bnas_a(weights="imagenet")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="text.h5: these are not weights of bnas_a"):
        zoo.bnas_a(weights=tmp_path / "text.h5")
    with pytest.raises(ValueError, match="not weights of bnas_a"):
        zoo.bnas_a(**shape, num_classes=3, weights=tmp_path / "a.h5")


def test_an_unknown_model_is_refused_with_the_accepted_names():
    with pytest.raises(ValueError, match="'resnet'.*bnas_a"):
        zoo.genotype("resnet")


def test_the_first_line_of_the_readme_works():
    assert larq_nas.zoo is zoo
