"""Measures the operations of a search space on a device, one file per operation, for a `latency.Table`.

A file holds several copies of an operation: in sequence if the operation keeps the shape of its input, in parallel if
not. If the converter would merge parallel copies, it holds one copy. The time of a file without the operation, for the
same input, is subtracted. Weights are random, since the time does not depend on them.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.converters import tflite
from larq_nas.devices.timing import Options
from larq_nas.latency import Table
from larq_nas.networks import operations
from larq_nas.networks.builder import Builder
from larq_nas.networks.layer_costs import WORD, Block

layers = tf.keras.layers

COPIES = 4


def has_native_groups(block: Block) -> bool:
    """Whether Larq Compute Engine computes the groups itself, which needs a multiple of 32 channels per group."""
    binary = not operations.block_kind(block.kind).float_kernel
    return binary and block.groups > 1 and block.inputs // block.groups % WORD == 0


def network(block: Block) -> tuple:
    """Builds a network with several copies of an operation.

    # Arguments
        block: The operation, a `layer_costs.Block`.

    # Returns
        A pair of a Keras model and the number of copies.
    """
    images = layers.Input((block.height * block.strides, block.width * block.strides, block.inputs))
    v, kind = Builder(), operations.block_kind(block.kind)
    if kind.chained and block.inputs == block.filters and block.strides == 1:
        # Both networks begin with `_Shift` and not with a convolution, into which LCE would merge what follows.
        x = start = _Shift()(images)
        for copy in range(COPIES):
            y = kind.build(v, x, block, f"copy{copy}")
            x = layers.Add()([y, start]) if kind.summed else y
        count = COPIES
    else:
        count = COPIES if kind.parallel else 1
        x = _Shift()(images)
        parts = [kind.build(v, x, block, f"copy{copy}") for copy in range(count)]
        x = layers.Add()(parts) if count > 1 else parts[0]
    return with_statistics(tf.keras.Model(images, _corner(x))), count


def empty(shape: Sequence[int]) -> tf.keras.Model:
    """Builds a network without the operation, whose time is subtracted, for inputs of `shape`."""
    images = layers.Input(shape)
    return tf.keras.Model(images, _corner(_Shift()(images)))


class _Shift(layers.Layer):
    """Adds a constant per channel."""

    def call(self, inputs):
        return inputs + tf.constant(np.linspace(0.1, 0.2, inputs.shape[-1]), tf.float32)


def _corner(x):
    # Outputs only one pixel, so that copying the output takes no time.
    return x if len(x.shape) == 2 else layers.Flatten()(x[:, :1, :1])


def with_statistics(model: tf.keras.Model) -> tf.keras.Model:
    """Gives the BatchNorms of a model random statistics, since the converter merges equal operations; returns it."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, layer.moving_variance.shape))
    return model


def measure(blocks: Iterable[Block], device: Any, options: Options, known: Table | None = None) -> Iterator[Table]:
    """Measures operations one after the other.

    # Arguments
        blocks: The operations, an iterable of `layer_costs.Block`s.
        device: A device, as `timing.open_device` returns it.
        options: A `timing.Options`.
        known: Optional table of the same device and options. Operations in it are not measured again.

    # Returns
        A generator that yields a `latency.Table` of all operations measured so far after each measurement.
    """
    table, empties = known or Table({}, 0.0, device.describe(), dataclasses.asdict(options)), {}

    def ms(model):
        content = tflite.to_flatbuffer(model)
        latency = device.measure(content, options).latency_ms
        return latency["median"] or latency["mean"]

    for block in blocks:
        if block in table.measured:
            continue
        model, count = network(block)
        shape = model.input_shape[1:]
        if shape not in empties:
            empties[shape] = ms(empty(shape))
        # Milliseconds, rounded to the nanosecond.
        taken = round(max(ms(model) - empties[shape], 0.0) / count, 6)
        overhead = round(min(*empties.values(), table.overhead if table.measured else empties[shape]), 6)
        table = dataclasses.replace(table, measured={**table.measured, block: taken}, overhead=overhead)
        yield table
