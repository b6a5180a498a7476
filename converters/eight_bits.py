"""Quantizes the float convolutions, the classifier, the images and the outputs of a network to 8 bits.

Binary convolutions and the sums and normalizations between them stay as they are. Calibration fixes a range for each
tensor that enters or leaves an 8-bit layer: the range of the tensor's values on given images.
"""

import numpy as np
import tensorflow as tf

from larq_nas.converters.rewriting import Links, is_plain_norm, merges, scale_and_offset

layers = tf.keras.layers

# TensorFlow Lite's range of probabilities, in steps of 1/256.
PROBABILITIES = (0.0, 255 / 256)


def replacements(model: tf.keras.Model, images: np.ndarray) -> dict:
    """Makes 8-bit layers that replace the float layers of a model.

    # Arguments
        model: A functional Keras model.
        images: Images of shape `(n, height, width, channels)` on which ranges are calibrated.

    # Returns
        A dict from the name of a float layer to the layer that replaces it.
    """
    links = Links(model)
    chains = [_chain(layer, links) for layer in links.once.values() if _can_have_eight_bits(layer)]
    found, ranges = {}, _ranges(model, chains, images)
    for conv, *behind in chains:
        found[conv.name] = _EightBits(conv, behind, *ranges[conv.name], name=conv.name)
        found |= {layer.name: layers.Activation("linear", name=layer.name) for layer in behind}
    return found


def with_outputs(model: tf.keras.Model, images: np.ndarray) -> tf.keras.Model:
    """Quantizes the outputs of a model to 8 bits.

    Outputs of layers that `replacements` does not quantize are quantized here, for example those of
    Dense → BatchNorm → softmax.

    # Arguments
        model: A model in which the layers of `replacements` have been replaced.
        images: See `replacements`.

    # Returns
        A Keras model.
    """
    outputs = tf.nest.flatten(model.output)
    flat = tf.keras.Model(model.input, outputs)
    parts = (tf.nest.flatten(flat.predict(images[at : at + 32], verbose=0)) for at in range(0, len(images), 32))
    ranges = [limits(np.concatenate(values)) for values in zip(*parts, strict=True)]
    eight = [
        output
        if isinstance(output.node.layer, _EightBits)
        else on_range(output, *(PROBABILITIES if _is_softmax(output.node.layer) else own))
        for output, own in zip(outputs, ranges, strict=True)
    ]
    return tf.keras.Model(model.input, tf.nest.pack_sequence_as(model.output, eight), name=model.name)


def _is_softmax(layer):
    return isinstance(layer, layers.Softmax) or getattr(layer, "activation", None) is tf.keras.activations.softmax


def _can_have_eight_bits(layer):
    if type(layer) is layers.Dense:
        return len(layer.input_shape) == 2
    return type(layer) is layers.Conv2D and layer.data_format == "channels_last"


def _ranges(model, chains, images):
    """Returns for each chain the ranges of its inputs and of its outputs."""
    tensors = {chain[0].name: (chain[0].input, chain[-1].output) for chain in chains}
    network, found = tf.keras.Model(model.input, tensors), {}
    # Batch by batch: all tensors of all images would not fit into memory.
    for start in range(0, len(images), 32):
        values = network.predict(images[start : start + 32], verbose=0)
        for conv, *_ in chains:
            entering, leaving = values[conv.name]
            if isinstance(conv, layers.Dense):
                # The range of a dense layer is that before its activation.
                leaving = entering @ conv.kernel.numpy() + (conv.bias.numpy() if conv.use_bias else 0)
            before = found.get(conv.name, ((0.0, 0.0), (0.0, 0.0)))
            found[conv.name] = tuple(
                (min(low, limits(x)[0]), max(high, limits(x)[1]))
                for (low, high), x in zip(before, (entering, leaving), strict=True)
            )
    return found


def limits(values: np.ndarray) -> tuple:
    """Returns the lowest and the highest value of a tensor, widened to include 0."""
    return min(float(np.min(values)), 0.0), max(float(np.max(values)), 1e-6)


def on_range(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Rounds a tensor to 256 values between `low` and `high`."""
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


def _chain(layer, links):
    """Returns a layer with the BatchNorm and the ReLU behind it that can be merged into it."""
    chain = [layer]
    for fits in (is_plain_norm, _is_plain_relu):
        if layer.activation is tf.keras.activations.linear and merges(chain[-1], links):
            (reader,) = links.of(chain[-1])
            if reader.name in links.once and fits(reader):
                chain.append(reader)
    return chain


def _is_plain_relu(layer):
    return type(layer) is layers.ReLU and layer.max_value is None and not layer.negative_slope and not layer.threshold


class _EightBits(layers.Layer):
    """A convolution or dense layer with 8-bit kernel, inputs and outputs.

    # Arguments
        layer: The float layer that it replaces.
        behind: A list of the BatchNorm and the ReLU behind `layer` that are merged into it; may be empty.
        entering: Range of the inputs.
        leaving: Range of the outputs; for a dense layer, before its activation.
    """

    def __init__(self, layer, behind, entering, leaving, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.entering, self.leaving = layer, entering, leaving
        self.kernel, *bias = layer.get_weights()
        self.bias = bias[0] if bias else np.zeros(self.kernel.shape[-1], np.float32)
        for norm in behind:
            if isinstance(norm, layers.BatchNormalization):
                scale, offset = scale_and_offset(norm)
                self.kernel, self.bias = self.kernel * scale, self.bias * scale + offset
        self.rectified = any(isinstance(after, layers.ReLU) for after in behind)

    def call(self, inputs):
        x, layer = on_range(inputs, *self.entering), self.layer
        if isinstance(layer, layers.Dense):
            most = float(np.abs(self.kernel).max())
            kernel = tf.quantization.fake_quant_with_min_max_vars(self.kernel, -most, most, narrow_range=True)
            y = layer.activation(on_range(tf.matmul(x, kernel) + tf.constant(self.bias, tf.float32), *self.leaving))
            softmax = layer.activation is tf.keras.activations.softmax
            return on_range(y, *PROBABILITIES) if softmax else y
        most = np.maximum(np.abs(self.kernel).max(axis=(0, 1, 2)), 1e-8)
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(self.kernel, -most, most, narrow_range=True)
        y = tf.nn.conv2d(x, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
        y = layer.activation(y + tf.constant(self.bias, tf.float32))
        return on_range(tf.nn.relu(y) if self.rectified else y, *self.leaving)
