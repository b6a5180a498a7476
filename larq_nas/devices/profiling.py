"""Measures the operations of a search space on a device, each in a file of its own, for a `latency.Table`.

A file holds an operation several times, one behind the other if it keeps the shape of its input, side by side if not.
An empty file of the same input is subtracted. Weights are random: time does not depend on them.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas.converters import tflite
from larq_nas.latency import Table
from larq_nas.networks import blocks
from larq_nas.networks.builder import Builder
from larq_nas.networks.counting import Block

layers = tf.keras.layers

COPIES = 4


# Blocks of edges, whose outputs are added to others.
SUMMED = {
    "binary",
    "residual",
    "group_convolution",
    "real_group_convolution",
    "max_pool",
    "avg_pool",
    "shortcut",
    "add",
}
# Of these, copies side by side would be one, and behind each other not the same operation.
SINGLE = {"max_pool", "avg_pool", "shortcut", "concat", "dense"}


def network(block: Block) -> tuple:
    """A network of several copies of an operation.

    # Arguments
        block: The operation.

    # Returns
        A Keras model, and how often the operation is in it.
    """
    images = layers.Input((block.height * block.strides, block.width * block.strides, block.inputs))
    v, build = Builder(), blocks.block_builder(block.kind)
    # An own operation has the name of its kind, and stands on edges.
    summed = block.kind in SUMMED or block.kind in blocks.OPERATIONS
    keeps = block.inputs == block.filters and block.strides == 1 and block.kind not in ("concat", "dense")
    if keeps:
        # What comes first in both networks is no convolution, which would take in what stands behind it.
        x = start = _Shift()(images)
        for copy in range(COPIES):
            y = build(v, x, block, f"copy{copy}")
            x = layers.Add()([y, start]) if summed else y
        count = COPIES
    else:
        count = 1 if block.kind in SINGLE else COPIES
        x = _Shift()(images)
        parts = [build(v, x, block, f"copy{copy}") for copy in range(count)]
        x = layers.Add()(parts) if count > 1 else parts[0]
    return with_statistics(tf.keras.Model(images, _corner(x))), count


def empty(shape) -> tf.keras.Model:
    """The network without any operation that takes images of a shape."""
    images = layers.Input(shape)
    return tf.keras.Model(images, _corner(_Shift()(images)))


class _Shift(layers.Layer):
    """Adds a constant."""

    def call(self, inputs):
        return inputs + tf.constant(np.linspace(0.1, 0.2, inputs.shape[-1]), tf.float32)


def _corner(x):
    # So that no time goes into copying the output.
    return x if len(x.shape) == 2 else layers.Flatten()(x[:, :1, :1])


def with_statistics(model: tf.keras.Model) -> tf.keras.Model:
    """The model, with other statistics in each BatchNorm: what is equal would be computed once."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, layer.moving_variance.shape))
    return model


def measure(blocks, device, options, known: Table | None = None):
    """Measures operations one after the other.

    # Arguments
        blocks: What to measure.
        device: What `timing.open_device` gives.
        options: A `timing.Options`.
        known: A table of the same device and options; what is in it is not measured again.

    # Returns
        An iterator over a `Table` after each measurement, with all that is known by then.
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
        # To the nanosecond.
        taken = round(max(ms(model) - empties[shape], 0.0) / count, 6)
        overhead = round(min(*empties.values(), table.overhead if table.measured else empties[shape]), 6)
        table = dataclasses.replace(table, measured={**table.measured, block: taken}, overhead=overhead)
        yield table
