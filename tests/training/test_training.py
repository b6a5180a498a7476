import argparse
import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from kill import Killed, kill_in

from larq_nas import costs, datasets, networks, runs, training
from larq_nas.converters import rewriting
from larq_nas.datasets import validation
from larq_nas.layers import quantizers
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.methods.bats.network import with_auxiliary_classifier
from larq_nas.training import final, recipes

TRAIN = argparse.Namespace(
    **{"seed": 0, "batch_size": 32, "drop_path": 0.0, "augmentation": "crop"},
    **{"full_precision": False, "initial_weights": None, "auxiliary_weight": 0.0},
)
SPACE = bnas.space(3, 2)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", train_examples=128)


def test_a_binary_network_begins_with_the_weights_of_its_float_twin(tmp_path, digits):
    data = datasets.load("digits", image_size=32, train_examples=64)
    genotype = dms.derive(dms.space("resnet18"), np.full(12, 0.3))
    recipe = _recipe(data, 1)
    settings = argparse.Namespace(**{**vars(TRAIN), "full_precision": True})
    twin = training.train(genotype, data, runs.Run(tmp_path / "float"), recipe, settings)
    assert costs.count(twin).binary_macs == 0
    settings = argparse.Namespace(**{**vars(TRAIN), "initial_weights": tmp_path / "float/weights.h5"})
    still = dataclasses.replace(recipe, learning_rate=1e-12)
    model = training.train(genotype, data, runs.Run(tmp_path / "binary"), still, settings)
    assert costs.count(model).binary_macs > 0
    values = {variable.name: variable.numpy() for variable in twin.trainable_variables}
    shared = [variable for variable in model.trainable_variables if variable.name in values]
    assert len(shared) == len(values) == len(model.trainable_variables) - 19
    for variable in shared:
        np.testing.assert_allclose(variable, values[variable.name], atol=1e-6)
    with pytest.raises(
        training.WeightsError, match="^initial_weights=.*of another network than this network or its float twin"
    ):
        other = dms.derive(dms.space("resnet18"), np.full(12, 0.4))
        training.train(other, data, runs.Run(tmp_path / "other"), recipe, settings)


def test_a_training_begins_with_the_weights_of_an_earlier_one(tmp_path, digits):
    first = training.train(SPACE.sample(0), digits, runs.Run(tmp_path / "first"), _recipe(digits, 1), TRAIN)
    settings = argparse.Namespace(**{**vars(TRAIN), "initial_weights": tmp_path / "first/weights.h5"})
    still = dataclasses.replace(_recipe(digits, 1), learning_rate=1e-12)
    again = training.train(SPACE.sample(0), digits, runs.Run(tmp_path / "again"), still, settings)
    for a, b in zip(first.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(training.WeightsError, match="of another network than this network \\("):
        training.train(SPACE.sample(1), digits, runs.Run(tmp_path / "other"), still, settings)


def _recipe(data, epochs=2, **options):
    return recipes.Recipe(epochs, math.ceil(data.train_size / TRAIN.batch_size), learning_rate=0.01, **options)


@pytest.mark.parametrize(
    "options",
    [pytest.param({}, marks=pytest.mark.slow), {"label_smoothing": 0.1, "clip_norm": 5.0, "schedule": "restarts"}],
)
def test_a_killed_training_goes_on_to_the_same_result(tmp_path, digits, monkeypatch, options):
    genotype, recipe = SPACE.sample(0), _recipe(digits, 3, **options)
    data = validation.hold_out(digits, 0.2) if options else digits
    whole, broken = runs.Run(tmp_path / "whole"), runs.Run(tmp_path / "broken")
    expected = training.train(genotype, data, whole, recipe, TRAIN)
    with monkeypatch.context() as patch:
        kill_in(1, patch)
        with pytest.raises(Killed):
            training.train(genotype, data, broken, recipe, TRAIN)
    actual = training.train(genotype, data, broken, recipe, TRAIN)
    for a, b in zip(expected.get_weights(), actual.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    model = networks.build(genotype, digits.image_shape, 10)
    model.load_weights(broken.weights)
    metrics = json.loads(broken.metrics.read_text())
    assert metrics["test_accuracy"] == pytest.approx(_correct(model, data, data.test) / 360, abs=1e-6)
    assert metrics["test_examples"] == 360
    assert ("val_accuracy" in metrics) == bool(options)
    if options:
        expected = _correct(model, data, data.validation) / data.validation_size
        assert metrics["val_accuracy"] == pytest.approx(expected, abs=1e-6)


def _correct(model, data, examples):
    batches = datasets.evaluation_batches(data, examples, 64).as_numpy_iterator()
    return sum((model.predict_on_batch(x).argmax(axis=-1) == y).sum() for x, y in batches)


STAGES = (recipes.Recipe(2, 2, "cosine", 0.01), recipes.Recipe(2, 2, "cosine", 0.02))


STAGED = bats.space(3, 8, 4).sample(0)


def _train_in_stages(run):
    digits = datasets.load("digits", image_size=32, train_examples=64)
    settings = argparse.Namespace(**{**vars(TRAIN), "auxiliary_weight": 0.4})
    return training.train(STAGED, digits, run, STAGES[1], settings, STAGES[0])


@pytest.fixture(scope="module")
def in_stages(tmp_path_factory):
    """The run directory of a training in two stages that nothing kills."""
    run = runs.Run(tmp_path_factory.mktemp("stages"))
    _train_in_stages(run)
    return run


@pytest.mark.parametrize(
    ("stage", "epoch"), [(0, 1), *(pytest.param(1, epoch, marks=pytest.mark.slow) for epoch in (0, 1))]
)
def test_a_training_killed_in_either_stage_goes_on_to_the_same_weights(tmp_path, monkeypatch, in_stages, stage, epoch):
    whole, broken = in_stages, runs.Run(tmp_path / "broken")
    seen, original = [], final._train

    def killed(network, architecture, data, run, *rest):
        seen.append(run.path.name)
        with monkeypatch.context() as patch:
            if len(seen) == stage + 1:
                kill_in(epoch, patch)
            original(network, architecture, data, run, *rest)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(final, "_train", killed)
        _train_in_stages(broken)
    assert seen == ["activations", "broken"][: stage + 1] and not broken.weights.exists()
    network = _train_in_stages(broken)
    for run in ("activations", "."):
        paths = [directory.path / run / "metrics.csv" for directory in (whole, broken)]
        assert len(paths[0].read_text().splitlines()) == 3
        rows = [runs.Run(path.parent).rows() for path in paths]
        assert all(a == pytest.approx(b, rel=1e-3) for a, b in zip(*rows, strict=True))
    expected = networks.build(STAGED, (32, 32, 1), 10)
    expected.load_weights(whole.weights)
    for a, b in zip(expected.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def _genotypes():
    decided = {"bnas": bnas.space(3, 4), "bars": bars.space(8, 1), "bats": bats.space(3, 8, 4)}
    return {**{name: space.sample(1) for name, space in decided.items()}, "vgg11": dms.space("vgg11")}


@pytest.mark.onednn
@pytest.mark.parametrize("name", ["bnas", "bars", "bats", "vgg11"])
def test_the_first_stage_has_binary_activations_and_float_kernels_in_every_method(name):
    network = networks.build(_genotypes()[name], (32, 32, 3), 3)
    floats = networks.with_float_kernels(network)
    binary = {layer.name for layer in rewriting.binary_layers(network)}
    assert binary and not rewriting.binary_layers(floats)
    floats.set_weights(network.get_weights())
    assert [w.shape for w in floats.weights] == [w.shape for w in network.weights]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    # Each convolution sees the same signs, and multiplies them with its kernel itself.
    layer, twin = (model.get_layer(sorted(binary)[0]) for model in (network, floats))
    assert twin.input_quantizer.precision == 1 and twin.kernel_quantizer.precision == 32
    assert not np.allclose(network(x), floats(x))
    kernel = layer.get_weights()[0]
    np.testing.assert_array_equal(twin.kernel_quantizer(kernel), kernel)


@pytest.mark.onednn
def test_a_second_classifier_takes_part_in_training_and_not_in_the_result(tmp_path):
    data = datasets.load("digits", image_size=32, train_examples=64)
    genotype = bats.space(3, 8, 4).sample(0)
    settings = argparse.Namespace(**{**vars(TRAIN), "auxiliary_weight": 0.4})
    run = runs.Run(tmp_path)
    training.train(genotype, data, run, recipes.Recipe(1, 2, "cosine", 0.01), settings)
    network = networks.build(genotype, data.image_shape, 10)
    network.load_weights(run.weights)
    both = with_auxiliary_classifier(network, genotype, 10)
    x, y = np.zeros((4, 32, 32, 1), np.float32), np.array([0, 1, 2, 3])
    model = training.TrainedModel(network.input, network.output, auxiliary=both, auxiliary_weight=0.4)
    sgd = tf.keras.optimizers.SGD(1.0)
    model.compile(sgd, tf.keras.losses.SparseCategoricalCrossentropy(), run_eagerly=True)
    given = []
    sgd.apply_gradients = lambda pairs, **options: given.extend(pairs)
    model.train_on_batch(x, y)
    moved = {variable.name: gradient for gradient, variable in given}
    assert np.any(moved["auxiliary_classifier/kernel:0"]) and np.any(moved["classifier/kernel:0"])
    assert model.predict_on_batch(x).shape == (4, 10)


@tf.custom_gradient
def _sign_of_scaled(kernel):
    return quantizers.sign(kernel), lambda gradient: gradient / quantizers.xnor_scale(kernel)


@pytest.mark.onednn
def test_clipped_training_clips_before_the_gradients_are_rewritten(monkeypatch):
    network = networks.build(SPACE.sample(0), (8, 8, 1), num_classes=3)
    model = training.TrainedModel(network.input, network.output, clip_norm=0.5)
    sgd = tf.keras.optimizers.SGD(1.0)
    model.compile(sgd, tf.keras.losses.SparseCategoricalCrossentropy(), run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    y = np.array([0, 1, 2, 0])
    given = []
    sgd.apply_gradients = lambda pairs, **options: given.extend(pairs)
    model.train_on_batch(x, y)
    # The plain order: a quantizer that hands on the gradient of the scaled binary kernel, clipping, then the rewriting.
    with monkeypatch.context() as patch, tf.GradientTape() as tape:
        patch.setattr(quantizers.XnorSign, "call", lambda self, kernel: _sign_of_scaled(kernel))
        loss = tf.reduce_mean(tf.keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
    gradients, norm = tf.clip_by_global_norm(gradients, 0.5)
    assert norm > 0.5
    rewritten = 0
    for (actual, variable), clipped in zip(given, gradients, strict=True):
        if hasattr(variable, "latent_variable"):
            clipped = quantizers.xnor_gradient(variable.latent_variable, clipped)
            rewritten += 1
        np.testing.assert_allclose(actual, clipped, rtol=1e-3, atol=1e-4)
    assert rewritten >= 6
