"""What a search will take: memory and time per epoch, said before its first step.

The work of a network is counted from its layers, the machine's speed is measured in a fraction of a second, and the
factors between the two were fitted to measured searches (`benchmarks/NOTES.md`).
"""

import dataclasses
import sys
import time

import tensorflow as tf

from larq_nas import grouped_edges, mixed, residual

# Both halves of a search step run the network and need the gradients of its tensors, one those of its kernels, too.
PASSES = 5

# What a step takes beside its convolutions: multiplications of two long vectors for each element of an activation, and
# tiny operations for each state.
PER_ELEMENT, PER_STATE, PER_RESIDUAL_EDGE = 22, 20, 2
# What a search adds to the memory that its process has: activations are kept for the backward pass.
BYTES_PER_ELEMENT, BYTES_PER_WEIGHT, BYTES_AT_LEAST = 1.1, 16, 330e6
# A validation batch runs forward only.
VALIDATION = 0.2


_STATES = (mixed.MixedEdges, residual.ResidualEdges, grouped_edges.GroupedEdges)


@dataclasses.dataclass(frozen=True)
class Work:
    """What the forward pass of one image computes.

    # Arguments
        macs: Multiply-accumulates of the convolutions.
        elements: Elements of the tensors that layers and candidate operations put out.
        states: Number of layers that compute the edges of a state.
    """

    macs: int
    elements: int
    states: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a search will take.

    # Arguments
        parameters: Trained weights of the supernet.
        bytes: Memory of the process at its highest.
        seconds_per_step: Time of a step, once the first is done.
    """

    parameters: int
    bytes: float
    seconds_per_step: float

    def seconds_per_epoch(self, steps: int, validation_steps: int) -> float:
        """Time of an epoch after the first."""
        return self.seconds_per_step * (steps + VALIDATION * validation_steps)


def work(network: tf.keras.Model) -> Work:
    """Counts the work of a supernet's network."""
    macs = elements = states = 0
    for layer in network.layers:
        output = layer.output_shape[0] if isinstance(layer.output_shape, list) else layer.output_shape
        if len(output) != 4:
            continue
        _, height, width, channels = output
        if isinstance(layer, mixed.MixedEdges):
            states += 1
            channels *= layer.edges * (len(layer.taps) + 1)
        if isinstance(layer, grouped_edges.GroupedEdges):
            states += 1
            channels *= layer.edges * (len(layer.operations) - 1)
        if isinstance(layer, residual.ResidualEdges):
            states += 1
            # Each edge normalizes, masks and binarizes for itself.
            channels *= layer.edges * PER_RESIDUAL_EDGE
        kernels = [weight.shape for weight in layer.trainable_weights if weight.shape.rank > 1]
        macs += height * width * sum(shape.num_elements() for shape in kernels)
        elements += height * width * channels
    return Work(macs, elements, states)


def estimate(network: tf.keras.Model, batch_size: int) -> Estimate:
    """Estimates what the search of a supernet will take on this machine.

    # Arguments
        network: The network of a `Supernet`.
        batch_size: Images in each of a step's two batches.

    # Returns
        An `Estimate`; its memory is that of the process, which a GPU's is not part of.
    """
    counted = work(network)
    states = [layer for layer in network.layers if isinstance(layer, _STATES)]
    if not states:
        raise ValueError(f"{network.name}: nothing is open in it; only the network of a Supernet can be estimated")
    dtype = tf.as_dtype(states[0].compute_dtype)
    _, height, width, filters = states[0].input_shape[0]
    convolution = _convolution_seconds([batch_size, height, width, filters], [5, 5, filters, 4 * filters], dtype)
    tiny = _convolution_seconds([2, 4, 4, 4], [3, 3, 4, 4], dtype, side_by_side=16)
    elements = batch_size * counted.elements
    weights = sum(weight.shape.num_elements() for weight in network.trainable_weights)
    seconds = PASSES * counted.macs * convolution / (height * width * 25 * filters * 4 * filters)
    seconds += PER_ELEMENT * elements * _seconds_per_element(dtype) + PER_STATE * tiny * counted.states
    used = _used() + BYTES_AT_LEAST + BYTES_PER_ELEMENT * dtype.size * elements + BYTES_PER_WEIGHT * weights
    return Estimate(weights, used, seconds)


def _used():
    """Bytes that the process takes now."""
    try:
        import resource
    except ImportError:  # On Windows; about what TensorFlow takes.
        return 0.7e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _convolution_seconds(shape, kernel_shape, dtype, side_by_side=4):
    """The time of a convolution where several run side by side, as candidates of a state do."""
    kernels = [tf.ones(kernel_shape, dtype) for _ in range(side_by_side)]
    x = tf.ones(shape, dtype)
    seconds = _seconds(lambda *kernels: [tf.nn.conv2d(x, kernel, 1, "SAME") for kernel in kernels], *kernels)
    return seconds / side_by_side


def _seconds_per_element(dtype):
    vectors = [tf.ones([1 << 20], dtype) for _ in range(4)]
    return _seconds(lambda *vectors: [x * x for x in vectors], *vectors) / (1 << 22)


def _seconds(function, *arguments):
    """The time of an operation, without that of the call."""
    return max(_shortest(function, *arguments) - _shortest(tf.identity, tf.zeros([])), 1e-6)


def _shortest(function, *arguments):
    # Of some runs: others share the machine, too.
    function, times = tf.function(function), []
    for _ in range(12):
        begin = time.perf_counter()
        function(*arguments)
        tf.test.experimental.sync_devices()
        times.append(time.perf_counter() - begin)
    return min(times)
