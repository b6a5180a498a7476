"""Keras callbacks for searches and trainings."""

import json
import logging
import pathlib
from collections.abc import Callable, Mapping

import tensorflow as tf
from rich.console import Console
from rich.live import Live

from larq_nas import runs
from larq_nas.layers.drop_path import DropPath
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import candidates_of

logger = logging.getLogger(__name__)


class LinearDropPath(tf.keras.callbacks.Callback):
    """Raises the rate of all `DropPath` layers linearly from 0 towards `rate`.

    # Arguments
        rate: The rate that would be reached after the last epoch.
        epochs: Number of epochs.
    """

    def __init__(self, rate: float, epochs: int) -> None:
        super().__init__()
        self.rate, self.epochs = rate, epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        for layer in self.model.layers:
            if isinstance(layer, DropPath):
                layer.set_rate(self.rate * epoch / self.epochs)


class Genotypes(tf.keras.callbacks.Callback):
    """Writes the genotypes that a `Supernet` would derive after each epoch.

    # Arguments
        directory: The directory of the files.
        variants: A dictionary of file name suffixes to keyword arguments of `Supernet.genotype`.
    """

    def __init__(self, directory: pathlib.Path, variants: Mapping[str, dict]) -> None:
        super().__init__()
        self.directory, self.variants = directory, variants

    @staticmethod
    def file_name(epoch: float, suffix: str) -> str:
        """The name of the file of an epoch. Epochs are counted from 0."""
        return f"epoch-{int(epoch):03}{suffix}.json"

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for suffix, options in self.variants.items():
            genotype = self.model.genotype(**options)
            runs.write(self.directory / self.file_name(epoch, suffix), genotype.to_json())


class Probabilities(tf.keras.callbacks.Callback):
    """Writes the probabilities of the choices of a `Supernet` after each epoch, for `plots.search`.

    The file of an epoch has an entry for each choice, by its name: the list of `candidates`, their `probabilities` and,
    for the choice of a cell, the `edges` to which the rows of the probabilities belong, as pairs of the number of the
    node and that of the state that the edge reads.

    # Arguments
        directory: The directory of the files.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self.directory = directory

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        space, written = self.model.space, {}
        for name, values in self.model.probabilities().items():
            written[name] = {"candidates": candidates_of(space, name), "probabilities": values.numpy().tolist()}
            if values.shape.rank == 2:
                nodes = enumerate(space.cell(name).nodes)
                written[name]["edges"] = [(number, edge.source) for number, node in nodes for edge in node.edges]
        runs.write(self.directory / Genotypes.file_name(epoch, ""), json.dumps(written) + "\n")


class LossError(FloatingPointError):
    """The loss of a training has become infinite or NaN."""


class ReplicaStatistics(tf.keras.callbacks.Callback):
    """Gives all replicas the mean of their moving statistics before an evaluation and at the end of each epoch.

    Each replica updates its own statistics, and evaluates its images with them. But weights are saved with the mean.
    """

    def on_test_begin(self, logs: dict | None = None) -> None:
        for variable in self.model.weights:
            if variable.synchronization == tf.VariableSynchronization.ON_READ:
                variable.assign(variable.read_value())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.on_test_begin()


class FiniteLoss(tf.keras.callbacks.Callback):
    """Raises a `LossError` when the loss of a training becomes infinite or NaN."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not loss == loss or abs(loss) == float("inf"):
            raise LossError(f"the loss became {loss}; use a lower learning_rate")


class Progress(tf.keras.callbacks.Callback):
    """Logs a line for each epoch. In a terminal, it also shows the progress of the steps in a line of their own.

    # Arguments
        epochs: Number of epochs.
        steps: Number of steps in an epoch.
        console: The `rich` console of the line of steps; by default, that of stdout.
        traced: Whether the training step has already been traced.
        describe: A function without arguments. It returns a text that ends each line, e.g. of `operations`.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        console: Console | None = None,
        traced: bool = False,
        describe: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self.begin = "training" if traced else "tracing the training step"
        self.epochs, self.steps, self.console = epochs, steps, console or Console(soft_wrap=True)
        self.epoch, self.describe, self.described = 0, describe, ""
        self.live: Live | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.console.is_terminal and logger.isEnabledFor(logging.INFO):
            self.live = Live(self.begin, console=self.console, transient=True)
            self.live.start()
        else:
            logger.info(self.begin)

    def on_train_end(self, logs: dict | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the line of steps from the terminal."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch, self.described = epoch, self.describe()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.live is not None:
            self.live.update(f"{self._head()} step {batch + 1}/{self.steps} {self._described(logs)}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.described = self.describe()
        logger.info("%s %s", self._head(), self._described(logs))

    def _head(self):
        return f"epoch {self.epoch + 1}/{self.epochs}"

    def _described(self, logs):
        # Metrics whose name has a slash are written to files only.
        hidden = [key for key in logs or {} if key.endswith("architecture_loss") or "/" in key]
        shown = {key: float(value) for key, value in (logs or {}).items() if key not in hidden}
        return " ".join([*(f"{key} {value:{_form(value)}}" for key, value in shown.items()), self.described])


def operations(genotype: Architecture, space: Architecture) -> str:
    """Returns the number of edges of each operation in each cell and, if stages are searched, depths and widths."""
    words = [f"{cell.name} {cell.counts}" for cell in genotype.cells]
    if space.stages != genotype.stages:
        sizes = (f"{stage.depths[0]}x{stage.widths[0]}" for stage in genotype.stages)
        words.append(f"stages:{','.join(sizes)}")
    return " ".join(words)


def _form(value):
    return ".4f" if abs(value) < 10_000 else ",.0f"
