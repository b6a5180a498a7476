import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from dms_search import width_supernet
from test_supernet import _supernet


def _batches(copies=1):
    """Three pairs of batches of four images, each of which stands in its batch so many times."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 3, 4, 8, 8, 1)).astype(np.float32)
    labels = generator.integers(0, 4, size=(2, 3, 4))
    parts = [np.concatenate([part] * copies, axis=2) for part in (images, labels)]
    halves = [tf.data.Dataset.from_tensor_slices(half) for half in zip(*parts, strict=True)]
    return tf.data.Dataset.zip(tuple(halves))


def _trained(model):
    return [*model.logits.values(), *model.network.trainable_variables]


@pytest.mark.slow
def test_steps_that_are_traced_in_two_threads_at_once_do_not_disturb_each_other():
    def steps():
        models = [_supernet(seed, filters=5) for seed in (0, 1)]
        return models, (models[0]._architecture_step, models[1]._weights_step)

    (batch, _), *_ = _batches()
    alone, functions = steps()
    before = [[variable.numpy() for variable in _trained(model)] for model in alone]
    together, same_functions = steps()
    meeting = threading.Barrier(2, timeout=300)
    for model in together:
        # Both are traced up to the middle of their networks before either goes on.
        layer = model.network.get_layer("cell01_state0")
        layer.call = _after(meeting, layer.call)
    threads = [threading.Thread(target=tf.function(function), args=batch) for function in same_functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meeting.n_waiting == 0 and not meeting.broken
    for function in functions:
        tf.function(function)(*batch)
    for model, expected, start in zip(together, alone, before, strict=True):
        for a, b in zip(_trained(model), _trained(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7, err_msg=b.name)
        assert any(not np.array_equal(a, b) for a, b in zip(_trained(expected), start, strict=True))


def _after(meeting, function):
    def call(*arguments, **options):
        meeting.wait()
        return function(*arguments, **options)

    return call


def _warmup():
    """A search of BNAS whose first epoch trains only the weights."""
    yield _supernet(warmup_epochs=1)
    yield lambda model: model.fit(_batches(copies=2), verbose=0), (_weights,)
    yield lambda model: model.fit(_batches(copies=2), verbose=0, initial_epoch=1, epochs=2), (_weights, _logits)


def _weights(model):
    return model.network.trainable_variables, model.optimizer


def _logits(model):
    return list(model.logits.values()), model.architecture_optimizer


@pytest.mark.parametrize(
    "call", [pytest.param("replicate(test_replicas._warmup)", marks=pytest.mark.slow), "replicate_dms()"]
)
def test_two_replicas_take_the_steps_of_one_device(call):
    # Logical devices are made before TensorFlow starts.
    code = f"import test_replicas; test_replicas.{call}"
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def replicate(search):
    """Compares each part of a search in two replicas with that on one device."""
    strategy = _two_devices()
    alone, *parts = search()
    with strategy.scope():
        replicated = next(search())
    for fit, trained in parts:
        before = [[variable.numpy() for variable in _all(*kind(alone))] for kind in (_weights, _logits)]
        # Both replicas get the same images, so that their statistics are those of all images.
        expected, found = (fit(model).history for model in (alone, replicated))
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)
        for kind, start in zip((_weights, _logits), before, strict=True):
            variables, optimizer = kind(alone)
            for a, b in zip(_all(variables, optimizer), _all(*kind(replicated)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5, err_msg=a.name)
            same = [np.array_equal(a, b) for a, b in zip(_all(variables, optimizer), start, strict=True)]
            # The variables of the optimizer, such as its learning rate, may stay the same.
            assert not any(same[: len(variables)]) if kind in trained else all(same), kind


def _all(variables, optimizer):
    return [*variables, *optimizer.variables]


def _two_devices():
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def replicate_dms():
    """Compares the two turns of DMS in two replicas with those on one device."""
    with _two_devices().scope():
        replicated, _ = width_supernet(None)
    images = np.random.default_rng(0).normal(size=(1, 4, 32, 32, 3)).astype(np.float32)
    parts = images, np.array([[0, 1, 2, 0]])
    batches = tf.data.Dataset.from_tensor_slices(tuple(np.concatenate([part] * 2, axis=1) for part in parts))
    alone, _ = width_supernet(None)
    for turn, trained, kept in ((1, _logits, _weights), (0, _weights, _logits)):
        losses, before = [], [variable.numpy() for variable in _all(*kept(alone))]
        for model in (alone, replicated):
            # Both draw the same numbers, and so do the replicas.
            model.random.state.assign([7, 0])
            model.turn.assign(turn)
            losses.append(model.fit(batches, verbose=0).history["loss"])
        np.testing.assert_allclose(*losses, rtol=1e-3)
        for a, b, same in zip(_all(*kept(alone)), _all(*kept(replicated)), before, strict=True):
            np.testing.assert_array_equal(a, same)
            np.testing.assert_array_equal(a, b)
        a, b = (_gradients(trained(model)[1]) for model in (alone, replicated))
        # Even on one device, gradients differ by one percent if the same four images stand twice in a batch, because
        # rounding turns a few signs.
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(a)
        alone.logits["mean"].assign(replicated.logits["mean"].numpy())
        for a, b in zip(
            alone.architecture_optimizer.variables, replicated.architecture_optimizer.variables, strict=True
        ):
            a.assign(b.numpy())


def _gradients(optimizer):
    """The slots of an optimizer, to which the first step has added the gradients."""
    return np.concatenate([np.ravel(variable) for variable in optimizer.variables if variable.shape.rank])
