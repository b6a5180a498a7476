import contextlib
import io
import logging
import re
import types

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from larq_nas import runs, training
from larq_nas.layers.drop_path import DropPath
from larq_nas.methods import bnas
from larq_nas.space.architecture import Architecture
from larq_nas.training import callbacks


class Rates(tf.keras.callbacks.Callback):
    """Notes the rates of all `DropPath` layers in every epoch's first step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        layers = [layer for layer in self.model.layers if isinstance(layer, DropPath)]
        self.seen.append([layer.get_config()["rate"] for layer in layers])


@pytest.mark.parametrize("first_epoch", [0, 3])
def test_linear_drop_path_rises_from_0_in_every_layer_and_so_after_a_restart(first_epoch):
    inputs = tf.keras.Input([2, 2, 3])
    outputs = DropPath()(tf.keras.layers.Conv2D(2, 1)(DropPath(0.7)(inputs)))
    model = tf.keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    rates = Rates()
    model.fit(
        tf.ones([4, 2, 2, 3]),
        tf.zeros([4, 2, 2, 2]),
        initial_epoch=first_epoch,
        epochs=5,
        verbose=0,
        callbacks=[callbacks.LinearDropPath(0.2, 5), rates],
    )
    expected = [[0.2 * epoch / 5] * 2 for epoch in range(first_epoch, 5)]
    np.testing.assert_allclose(rates.seen, expected, rtol=1e-6)


# --- epochs and genotypes ------------------------------------------------------------------------------------


def test_genotypes_are_written_for_every_epoch_and_variant(tmp_path):
    space = bnas.space(layers=3, filters=2)
    derived = {1.0: space.sample(1), 3.0: space.sample(3)}
    callback = callbacks.Genotypes(tmp_path / "genotypes", bnas.Strategy.variants)
    callback.set_model(types.SimpleNamespace(genotype=lambda gamma: derived[gamma]))
    for epoch in (0, 12):
        callback.on_epoch_end(epoch, {})
    files = ["epoch-000-gamma3.json", "epoch-000.json", "epoch-012-gamma3.json", "epoch-012.json"]
    assert sorted(path.name for path in (tmp_path / "genotypes").iterdir()) == files
    for name in files:
        expected = derived[3.0 if "gamma3" in name else 1.0]
        assert Architecture.load(tmp_path / "genotypes" / name) == expected


# --- loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    with pytest.raises(FloatingPointError, match="the loss became -?(nan|inf); use a lower learning_rate"):
        callbacks.FiniteLoss().on_train_batch_end(0, {"loss": loss})


@pytest.mark.parametrize("logs", [None, {}, {"loss": 0.0}, {"loss": 1e30}, {"loss": np.float32(-2), "accuracy": 0.0}])
def test_a_finite_loss_does_not(logs):
    callbacks.FiniteLoss().on_train_batch_end(0, logs)


def small_model(model=tf.keras.Sequential):
    model = model([tf.keras.layers.Dense(2, activation="softmax", input_shape=(3,))])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def small_batches(broken=None):
    """Three batches, of which one may be broken."""
    images = np.ones([3, 4, 3], np.float32)
    if broken is not None:
        images[broken] = np.nan
    return tf.data.Dataset.from_tensor_slices((images, np.zeros([3, 4], np.int64)))


def test_a_training_ends_in_the_very_step_whose_loss_is_no_number():
    steps = []
    count = tf.keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(batch))
    with pytest.raises(FloatingPointError, match="the loss became nan"):
        small_model().fit(small_batches(broken=1), verbose=0, callbacks=[callbacks.FiniteLoss(), count])
    assert steps == [0, 1]


# --- progress ------------------------------------------------------------------------------------------------


class Searching(tf.keras.Sequential):
    """What `Progress` sees of a supernet."""

    SPACE = bnas.space(layers=3, filters=2)
    GENOTYPE = SPACE.sample(0)

    def train_step(self, data):
        return {**super().train_step(data), "architecture_loss": tf.constant(9.0), "entropy": tf.constant(1.25)}


def _operations():
    return callbacks.operations(Searching.GENOTYPE, Searching.SPACE)


def show(model, epochs=2, **options):
    console = Console(file=io.StringIO(), soft_wrap=True, **options)
    searching = isinstance(model, Searching)
    progress = callbacks.Progress(epochs, 3, console, describe=_operations if searching else str)
    with logged(console.file):
        model.fit(small_batches(), epochs=epochs, verbose=0, callbacks=[progress])
    return console.file.getvalue()


@contextlib.contextmanager
def logged(file):
    """Writes what is logged to a file, as the command line does to stdout."""
    logger, handler = logging.getLogger("larq_nas"), logging.StreamHandler(file)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_progress_leaves_a_line_per_epoch_with_the_metrics_of_a_search():
    lines = show(small_model(Searching)).splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines[1:], start=1):
        assert line.startswith(f"epoch {number}/2 ")
        assert re.search(r"(?<!_)loss \d+\.\d{4} ", line)
        assert re.search(r" accuracy \d\.\d{4} ", line)
        assert " entropy 1.2500 " in line
        assert "architecture_loss" not in line


def test_progress_counts_the_operations_of_the_current_genotype():
    line = show(small_model(Searching)).splitlines()[-1]
    for cell in Searching.GENOTYPE.cells:
        shown = re.search(rf" {cell.name}((?: \w+:\d+)+)", line)[1]
        counts = {name: int(count) for name, count in re.findall(r"(\w+):(\d+)", shown)}
        operations = [edge.operations[0] for edge in cell.edges]
        assert counts == {name: operations.count(name) for name in operations}
        assert sum(counts.values()) == 8


def test_progress_of_a_training_has_no_operations():
    lines = show(small_model()).splitlines()
    assert [re.sub(r"\d\.\d{4}", "N", line).strip() for line in lines[1:]] == [
        "epoch 1/2 loss N accuracy N",
        "epoch 2/2 loss N accuracy N",
    ]


def test_progress_writes_no_control_characters_to_a_file():
    assert "\x1b" not in show(small_model(Searching))


def test_progress_follows_the_steps_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    progress = callbacks.Progress(2, 3, console, describe=_operations)
    with logged(console.file):
        progress.on_train_begin()
        progress.on_epoch_begin(1)
        progress.on_train_batch_end(1, {"loss": 0.5, "entropy": 1.25})
        # Rich would do so by and by.
        progress.live.refresh()
        progress.on_train_end()
    assert re.search(r"epoch 2/2 step 2/3 loss 0\.5000 entropy 1\.2500 normal \w+:\d+ ", console.file.getvalue())


def test_progress_leaves_epochs_and_the_cursor_on_a_terminal():
    shown = show(small_model(Searching), force_terminal=True, color_system=None, width=200)
    assert len(re.findall(r"epoch [12]/2 loss \d", shown)) == 2
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.parametrize("broken", [0, 2])
def test_an_error_in_a_training_gives_the_terminal_back(tmp_path, monkeypatch, broken):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(callbacks, "Console", lambda **options: console)
    with logged(console.file), pytest.raises(FloatingPointError):
        training.fit(
            small_model(), lambda epoch: small_batches(broken), runs.Run(tmp_path), epochs=1, steps_per_epoch=3
        )
    shown = console.file.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    # A live display that is left would refuse the next.
    with callbacks.Live(console=console):
        pass
