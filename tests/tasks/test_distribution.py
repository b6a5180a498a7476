"""Searches, trainings and evaluations on several logical devices, which TensorFlow makes when it starts."""

import dataclasses
import functools
import gc
import os
import pathlib
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf

import larq_nas
from larq_nas import runs, supernet, training
from larq_nas.layers import quantizers, step_convolution
from larq_nas.methods.dms import searching
from larq_nas.supernet.sampling import Draws
from larq_nas.training import TrainedModel, recipes

DATA = {"dataset": "digits", "image_size": 8, "train_examples": 90, "batch_size": 8}
SEARCH = {"epochs": 2, "steps": None, "seed": 1, "finalist_epochs": 1}
# In a half of 45 examples, the last batch has 5 examples. The finalists of BATS and DMS take over shared weights.
SMALL = {
    "bnas": {"layers": 3, "filters": 4, "samples": 2, "finalists": 2, "warmup_epochs": 1},
    "bats": {"image_size": 32, "layers": 3, "filters": 4, "groups": "2", "samples": 2, "finalists": 2},
    "bars": {"filters": 4, "cells_per_stage": 1, "samples": 2, "finalists": 2, "budget": "60%"},
    "dms": {"backbone": "vgg11", "image_size": 32, "rounds": 2, "samples": 2, "scale": 0.3},
}
TRAINING = {
    "bats": {
        **{"stages": "activations,weights", "activations_epochs": 2},
        **{"drop_path": 0.3, "auxiliary_weight": 0.4},
    },
}


def _on_devices(call, *arguments):
    """Calls a function of this module in a process with several logical CPUs."""
    code = f"import test_distribution; test_distribution.{call}(*{arguments!r})"
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _devices(count):
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * count)


def draw():
    """All replicas draw the same numbers, which are those of one device, also after an interruption."""
    _devices(2)
    strategy = tf.distribute.MirroredStrategy()
    alone = Draws(5)
    with strategy.scope():
        replicated = Draws(5)

    @tf.function
    def drawn(draws):
        return draws.uniform([2, 3], minval=0.25)

    for _ in range(2):
        expected = drawn(alone).numpy()
        found = strategy.experimental_local_results(strategy.run(drawn, (replicated,)))
        assert len(found) == 2 and expected.min() > 0.25
        for each in found:
            np.testing.assert_array_equal(each, expected)
    assert not np.array_equal(drawn(alone), expected)
    alone.state.assign(replicated.state.numpy())
    following = drawn(alone).numpy()
    np.testing.assert_array_equal(strategy.run(drawn, (replicated,)).values[1], following)


def take_steps():
    """Two replicas divide a batch, clip the gradient of the whole batch, and follow the schedule of the momentum."""
    _devices(2)
    recipe = recipes.Recipe(epochs=1, steps_per_epoch=3, clip_norm=0.05, weight_decay=1e-4)

    def make():
        tf.keras.utils.set_random_seed(0)
        layers = tf.keras.layers
        # Without signs, which rounding would turn, and without statistics, which differ between replicas.
        network = tf.keras.Sequential([layers.Conv2D(6, 3, activation="tanh", input_shape=(8, 8, 1)), layers.Flatten()])
        network.add(layers.Dense(4, "softmax"))
        model = TrainedModel(network.input, network.output, clip_norm=recipe.clip_norm)
        model.compile(recipe.make_optimizer(), recipe.loss(4), metrics=["accuracy"])
        return model

    alone = make()
    with tf.distribute.MirroredStrategy().scope():
        replicated = make()
    generator = np.random.default_rng(0)
    images, labels = generator.normal(size=(3, 8, 8, 8, 1)).astype(np.float32), generator.integers(0, 4, size=(3, 8))
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    before = [variable.numpy() for variable in alone.trainable_variables]
    expected, found = (model.fit(batches, shuffle=False, verbose=0).history for model in (alone, replicated))
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    for a, b, start in zip(alone.trainable_variables, replicated.trainable_variables, before, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6, err_msg=a.name)
        assert not np.array_equal(a, start)


def use_own_variables():
    """Quantizers, which share a traced function, get the variables of their own network."""
    _devices(2)
    inputs, strategy = tf.constant([0.2, 0.6, 1.4]), tf.distribute.MirroredStrategy()
    for quantize, values in (
        (lambda variable: step_convolution.step(inputs, variable), (1.0, 2.0)),
        (quantizers.xnor_sign, (-np.ones([1, 1, 1, 2]), np.ones([1, 1, 1, 2]))),
    ):
        found = []
        for value in values:
            with strategy.scope():
                variable = tf.Variable(value, dtype=tf.float32)
            results = strategy.run(tf.function(functools.partial(quantize, variable)))
            first, second = strategy.experimental_local_results(results)
            np.testing.assert_array_equal(first, second)
            np.testing.assert_array_equal(first, quantize(tf.constant(value, tf.float32)))
            found.append(first)
        assert not np.array_equal(*found)


def be_freed():
    """TensorFlow does not keep a model of two replicas. A search by DMS makes one in many of its rounds."""
    _devices(2)
    with tf.distribute.MirroredStrategy().scope():
        model = tf.keras.Sequential([tf.keras.layers.Dense(4, "softmax", input_shape=(3,))])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    supernet.build_training_state(model, model)
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None


def _interrupted(owner, name, call):
    """Interrupts a call after `owner.name` has written its first backup, and repeats it. Returns the backups then."""
    write, written = getattr(owner, name), []

    def stop(*arguments, **options):
        write(*arguments, **options)
        written.append(arguments)
        if len(written) == 1:
            raise KeyboardInterrupt

    setattr(owner, name, stop)
    try:
        call()
        raise AssertionError("was not interrupted")
    except KeyboardInterrupt:
        result = call()
    setattr(owner, name, write)
    return result, written[1:]


def do_commands(directory, method, precision):
    """A search, a training and an evaluation on two devices. The search and the training are interrupted and go on."""
    _devices(2)
    directory, options = pathlib.Path(directory), {**DATA, **SMALL[method]}
    options |= {"precision": precision, "distribute": "mirrored"}
    backup = training.backups.Backup, "on_epoch_end"
    writer = (searching, "_save") if method == "dms" else backup
    found, losses = [], []
    for name in ("straight", "interrupted"):
        run = str(directory / name)
        search = functools.partial(larq_nas.search, method=method, **{**SEARCH, **options}, run_dir=run)
        if name == "straight":
            genotype = search()
        else:
            genotype, after = _interrupted(*writer, search)
            # The first epoch, or round, is not done again.
            assert len(after) == 1
        found.append(dataclasses.replace(genotype, provenance=None))
        losses.append(runs.Run(run).rows()[-1]["loss"])
    assert found[0] == found[1]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    trained = {**DATA, "image_size": options["image_size"], "precision": precision, "distribute": "mirrored"}
    trained |= {"epochs": 2, "steps": None, "clip_norm": 1.0, "drop_path": 0.0, **TRAINING.get(method, {})}
    train = functools.partial(larq_nas.train, genotype=found[0], **trained)
    straight, interrupted = str(directory / "straight-train"), str(directory / "interrupted-train")
    model = train(run_dir=straight)
    assert model.distribute_strategy.num_replicas_in_sync == 2
    resumed, after = _interrupted(*backup, functools.partial(train, run_dir=interrupted))
    # The first epoch is not trained again.
    assert len(after) == (3 if "stages" in trained else 1)
    if not trained["drop_path"]:
        for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    evaluated = larq_nas.evaluate(run_dir=straight, distribute="mirrored", batch_size=64, max_examples=65)
    assert evaluated["examples"] == 65
    if precision == "float32":
        # The training measures the accuracy of the weights that it saves. `evaluate` computes in 32 bits.
        measured = larq_nas.evaluate(run_dir=straight)
        assert measured["keras_accuracy"] == pytest.approx(runs.read_json(runs.Run(straight).metrics)["test_accuracy"])
    assert evaluated == larq_nas.evaluate(run_dir=straight, max_examples=65)


def be_refused(directory):
    """Wrong values are refused before anything is written."""
    _devices(2)
    directory = pathlib.Path(directory)
    search = functools.partial(larq_nas.search, method="bnas", run_dir=str(directory / "search"))
    train = functools.partial(larq_nas.train, genotype="bnas_a", run_dir=str(directory / "train"))
    evaluate = functools.partial(larq_nas.evaluate, run_dir=str(directory / "train"))
    mirrored = tf.distribute.MirroredStrategy()
    for call in (search, train, evaluate):
        for message, options in (
            ("batch_size=9: cannot be divided between 2 replicas; give a multiple of 2", {"strategy": mirrored}),
            ("strategy='mirrored': accepted are", {"strategy": "mirrored"}),
        ):
            with pytest.raises(ValueError, match=message):
                call(**options, batch_size=9)
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(ValueError, match="the scope of another tf.distribute.Strategy is open"),
    ):
        search(strategy=mirrored)
    assert not list(directory.iterdir())


def test_replicas_draw_the_same_numbers():
    _on_devices("draw")


def test_replicas_take_the_steps_of_one_device():
    _on_devices("take_steps")


def test_quantizers_of_two_networks_have_variables_of_their_own():
    _on_devices("use_own_variables")


def test_a_model_of_two_replicas_is_freed():
    _on_devices("be_freed")


@pytest.mark.parametrize(
    "call",
    [
        functools.partial(larq_nas.compare, genotypes=["bnas_a", "bnas_b"]),
        functools.partial(larq_nas.tune, what="recipe", genotype="bnas_a", validation_fraction=0.2),
        functools.partial(larq_nas.tune, what="search", method="bnas", validation_fraction=0.2),
    ],
)
def test_a_batch_that_replicas_cannot_divide_is_refused_before_the_first_training(call, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * 3)
    with pytest.raises(ValueError, match="batch_size=64: cannot be divided between 3 replicas; give a multiple of 3"):
        call(dataset="digits", batch_size=64, distribute="mirrored", run_dir=str(tmp_path / "run"))


@pytest.mark.slow
def test_wrong_values_for_replicas_are_refused(tmp_path):
    _on_devices("be_refused", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "precision"),
    [*((method, "float32") for method in SMALL), ("bnas", "mixed_bfloat16"), ("bnas", "mixed_float16")],
)
def test_a_search_a_training_and_an_evaluation_on_two_devices(method, precision, tmp_path):
    printed = _on_devices("do_commands", str(tmp_path), method, precision)
    assert "eagerly has significant overhead" not in printed.stderr
