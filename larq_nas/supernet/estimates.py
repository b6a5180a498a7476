"""What a search will take: memory and time per epoch, said before its first step.

Both are measured: some steps are taken with random images, and all that they changed is put back. So the estimate needs
to know neither the method nor the machine. The search goes on with the step that was traced and compiled.
"""

import dataclasses
import sys
import time

import numpy as np
import tensorflow as tf

# A validation batch runs forward only.
VALIDATION = 0.2
# Steps are timed until there are so many, or they have taken so long.
STEPS, SECONDS = 5, 3.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a search will take.

    # Arguments
        parameters: Trained weights of the supernet.
        bytes: Memory of the process at its highest, which a GPU's is not part of; 0 where the system does not tell it.
        seconds_per_step: Time of a step, once the first is done.
    """

    parameters: int
    bytes: int
    seconds_per_step: float

    def line(self, steps: int, validation_steps=0, unit="epoch") -> str:
        """What is said to the user.

        # Arguments
            steps: Training steps in an epoch.
            validation_steps: Batches in an epoch that run forward only.
            unit: Name of what consists of the steps.
        """
        seconds = self.seconds_per_step * (steps + VALIDATION * validation_steps)
        memory = "host memory" if tf.config.list_physical_devices("GPU") else "memory"
        needed = f"{self.bytes / 1e9:.1f} GB of {memory} and " if self.bytes else ""
        time_needed = f"{seconds:,.{0 if seconds > 10 else 1}f} s per {unit} of {steps:,} steps"
        return f"supernet of {self.parameters:,} parameters: about {needed}{time_needed}"


def measure(model: tf.keras.Model, batches: tf.data.Dataset, batch_size: int) -> Estimate:
    """Measures what the steps of a compiled supernet take, and leaves the supernet as it was.

    # Arguments
        model: A `Supernet`.
        batches: Batches as `fit` will get them, of which only types and shapes are used.
        batch_size: Images in a batch.

    # Returns
        An `Estimate`.
    """
    state = [(variable, variable.numpy()) for variable in _variables(model)]
    # As `fit` does, so that it finds the function traced.
    with model.distribute_strategy.scope():
        step = model.make_train_function()
        # Before it, steps train no architecture.
        model.epoch.assign(model.strategy.warmup_epochs)
        random = iter(_random(batches.element_spec, batch_size))
        step(random)
        times = []
        while len(times) < STEPS and sum(times) < SECONDS:
            begin = time.perf_counter()
            tf.nest.map_structure(np.array, step(random))
            times.append(time.perf_counter() - begin)
    for variable, value in state:
        variable.assign(value)
    weights = sum(variable.shape.num_elements() for variable in model.network.trainable_weights)
    return Estimate(weights, _used(), float(np.median(times)))


def _variables(model):
    """All that a backup of the model would hold."""
    found = tf.train.TrackableView(model).descendants()
    # Larq wraps the variables of kernels.
    return [getattr(x, "latent_variable", x) for x in found if isinstance(x, tf.Variable)]


def _random(spec, batch_size):
    """Endless random batches of exactly the types and shapes of others, so that no step is traced again."""
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
    """Bytes that the process has taken at its highest; 0 if unknown."""
    try:
        import resource
    except ImportError:  # On Windows.
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
