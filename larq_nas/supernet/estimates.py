"""Estimates of the memory and the time of a search or a training, which are made before its first step.

Memory and time are measured. The model takes some steps with random images, and then gets its state back. Therefore,
the estimate depends on no knowledge of the method or of the machine. The search or the training uses the step that was
traced and compiled for the estimate.
"""

import dataclasses
import logging
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.layers import _larq

logger = logging.getLogger(__name__)

# Time of a validation batch, which runs forward only, relative to that of a training step.
VALIDATION = 0.2
# Steps are timed until this number of steps or this time is reached.
STEPS, SECONDS = 5, 3.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimated memory and time of a search or a training.

    # Arguments
        parameters: Number of trained weights of the network.
        bytes: Peak memory of the process in bytes, without the memory of GPUs; 0 if the system does not report it.
        seconds_per_step: Seconds of a training step after the first one.
        seconds_to_begin: Seconds in addition that the first training step takes, in which the graph is traced.
    """

    parameters: int
    bytes: int
    seconds_per_step: float
    seconds_to_begin: float = 0.0

    def line(
        self,
        steps: int,
        validation_steps: int = 0,
        unit: str = "epoch",
        units: int = 1,
        network: str = "supernet",
        rebuilt: float = 0.0,
        then: "Afterwards | None" = None,
    ) -> str:
        """The estimate as a line of text for the user.

        # Arguments
            steps: Number of training steps in a unit.
            validation_steps: Number of validation batches in a unit.
            unit: The unit of the time, `"epoch"` or `"round"`.
            units: Number of units to come. If there are several, the text also says how long all of them take.
            network: What the network is called.
            rebuilt: The share of the units that begin with a new network, whose first step takes longer.
            then: What follows after the last unit.

        # Returns
            A text.
        """
        seconds = self.seconds_per_step * (steps + VALIDATION * validation_steps)
        more = rebuilt * units * self.seconds_to_begin
        memory = "host memory" if tf.config.list_physical_devices("GPU") else "memory"
        needed = f"{self.bytes / 1e9:.1f} GB of {memory} and " if self.bytes else ""
        time_needed = f"{seconds:,.{0 if seconds > 10 else 1}f} s per {unit} of {steps:,} steps"
        in_all = f", {duration(units * seconds + more)} for {units:,} {unit}s" if units > 1 else ""
        text = then.line(VALIDATION * self.seconds_per_step) if then else ""
        after = f"; then {text}" if text else ""
        return f"{network} of {self.parameters:,} parameters: about {needed}{time_needed}{in_all}{after}"


@dataclasses.dataclass(frozen=True)
class Afterwards:
    """What a search does at its end.

    # Arguments
        finalists: Number of genotypes that are trained for a short time; fewer than 2 if none is trained.
        seconds: The time of these trainings.
        candidates: Number of genotypes that are evaluated with shared weights before these trainings.
        batches: Number of validation batches on which each of them is evaluated.
    """

    finalists: int = 0
    seconds: float = 0.0
    candidates: int = 0
    batches: int = 0

    def line(self, seconds_per_batch: float = 0.0) -> str:
        """A text for the user; empty if nothing is done. `seconds_per_batch` is the time of a validation batch."""
        counts = {"evaluated with shared weights": self.candidates, "trained for a short time": self.finalists}
        parts = [f"{count} genotypes are {what}" for what, count in counts.items() if count > 1]
        seconds = self.seconds + self.candidates * self.batches * seconds_per_batch
        return " and ".join(parts) + f", {duration(seconds)}" if parts else ""


def duration(seconds: float) -> str:
    """A time as a text."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def measure(
    model: tf.keras.Model, batches: tf.data.Dataset, batch_size: int, network: tf.keras.Model | None = None
) -> Estimate:
    """Measures the memory and time of the steps of a compiled model, and restores the state of the model.

    # Arguments
        model: A compiled `Supernet`, or a compiled model whose weights are trained.
        batches: The batches that `fit` will get. Only their types and shapes are used.
        batch_size: Number of images in a batch.
        network: The network whose parameters are counted; by default, that of the `Supernet`.

    # Returns
        An `Estimate`.
    """
    state = [(variable, variable.numpy()) for variable in _variables(model)]
    # In the same scope as in `fit`, so that `fit` does not trace the function again.
    with model.distribute_strategy.scope():
        step = model.make_train_function()
        if network is None:
            # In the warm-up, a step does not train the architecture, and would be too fast.
            model.epoch.assign(model.strategy.warmup_epochs)
        random = iter(
            model.distribute_strategy.experimental_distribute_dataset(_random(batches.element_spec, batch_size))
        )
        begin = time.perf_counter()
        tf.nest.map_structure(np.array, step(random))
        first, times = time.perf_counter() - begin, []
        while len(times) < STEPS and sum(times) < SECONDS:
            begin = time.perf_counter()
            tf.nest.map_structure(np.array, step(random))
            times.append(time.perf_counter() - begin)
    for variable, value in state:
        variable.assign(value)
    counted = model.network if network is None else network
    weights = sum(variable.shape.num_elements() for variable in counted.trainable_weights)
    each = float(np.median(times))
    return Estimate(weights, _used(), each, max(first - each, 0.0))


def announce(
    model: tf.keras.Model,
    batches: tf.data.Dataset,
    batch_size: int,
    steps: int,
    units: int,
    *,
    network: tf.keras.Model | None = None,
    **options: Any,
) -> None:
    """Measures the steps of a compiled model, and logs what the rest of the search or the training will take.

    # Arguments
        model, batches, batch_size, network: See `measure`.
        steps: Number of training steps in an epoch or round.
        units: Number of epochs or rounds to come. If there are none, nothing is measured.
        options: Further arguments of `Estimate.line`.
    """
    if units <= 0:
        return
    logger.info("compiling and timing the training step")
    expected = measure(model, batches, batch_size, network)
    named = "supernet" if network is None else "network"
    logger.info(expected.line(steps, units=units, network=named, **options))


def _variables(model):
    """All variables that a backup of the model contains."""
    found = tf.train.TrackableView(model).descendants()
    # Larq wraps the variables of quantized kernels.
    return [_larq.latent(x) for x in found if isinstance(x, tf.Variable)]


def _random(spec, batch_size):
    """An endless data set of random batches of the types and shapes of `spec`, so that `fit` does not trace again."""
    random = np.random.default_rng(0)

    def tensor(part):
        shape = [batch_size if size is None else size for size in part.shape]
        images = random.normal(size=shape) if part.dtype.is_floating else np.zeros(shape)
        return images.astype(part.dtype.as_numpy_dtype)

    batch = tf.nest.map_structure(tensor, spec)

    def forever():
        while True:
            yield batch

    return tf.data.Dataset.from_generator(forever, output_signature=spec)


def _used():
    """The peak memory of the process in bytes; 0 if it is unknown."""
    try:
        import resource
    except ImportError:  # On Windows.
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
