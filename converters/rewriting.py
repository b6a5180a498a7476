"""Rewrites a model for conversion: the same outputs, computed by fewer operators that a device runs faster.

The converter of Larq Compute Engine (LCE) merges a BatchNorm or an activation into the convolution in front of it, but
not into a sum or a concatenation. So this module replaces single layers of a model, where its graph allows it:

- A BatchNorm whose output is only read by signs becomes a threshold, which is one addition. Any other BatchNorm that
  does not follow a convolution becomes one depthwise convolution instead of a multiplication and an addition.
- A pool that only leaves out pixels moves from behind a BatchNorm to the front of it.
- A layer that pads with ones in front of a convolution becomes padding of the convolution.
- A convolution with dilation or groups becomes one operator.
- A convolution with groups that LCE would compute as float becomes one convolution per group.
- LCE wrongly computes a convolution that pads a small feature map with zeros. It becomes a convolution that pads with
  ones and subtracts what the ones add.
- A layer whose output is the same for all images becomes a constant.
"""

from collections.abc import Callable

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas.converters import copies
from larq_nas.layers import _keras, bitwidths
from larq_nas.layers.convolutional import NotCompiled, StartAt, XnorConv2D, Zeroise, convolve
from larq_nas.layers.grouped import ScaledConv2D
from larq_nas.layers.step_convolution import Step, StepConv2D
from larq_nas.networks.layer_costs import WORD

layers, keras = tf.keras.layers, tf.keras.activations


def rewrite(
    model: tf.keras.Model, split_all: bool = False, more: Callable[[tf.keras.Model], dict] = lambda model: {}
) -> tf.keras.Model:
    """Rewrites a model for inference.

    # Arguments
        model: A Keras model. A model that is not a graph of layers is returned unchanged.
        split_all: Whether to split also the groups that LCE computes natively.
        more: A function of a model that returns a dict from the names of further layers to their replacements.

    # Returns
        A Keras model that computes the same outputs: a copy, or `model` if nothing is replaced.
    """
    if not copies.is_graph(model):
        return model
    if _is_shared(model) or any(copies.is_graph(layer) for layer in model.layers):
        model = _copied(model, {})
    constants = _constants(model)
    model = _copied(model, constants) if constants else model
    found = {**_simpler(model), **_apart(model, split_all), **more(model)}
    return _copied(model, found) if found else model


def _is_shared(model):
    """Whether layers of a model also belong to another model, and thus have nodes outside of this model's graph."""
    nodes = {id(node) for node in _keras.nodes(model)}
    return any(id(node) not in nodes for layer in model.layers for node in layer.inbound_nodes)


def binary_layers(model: tf.keras.Model) -> list:
    """Returns the convolutions of a model whose input and kernel are both binary."""
    return [layer for layer in _keras.all_layers(model) if _is_binary(layer)]


def _is_binary(layer):
    return isinstance(layer, layers.Conv2D) and bitwidths.binary_kernel(layer) is not None


def _copied(model, replacements):
    """Copies a model without nested models, with some layers replaced by name."""
    by_layer = {id(layer): replacements[layer.name] for layer in model.layers if layer.name in replacements}
    return copies.copied(model, by_layer)


# --- constants -----------------------------------------------------------------------------------------------


def is_constant(layer: tf.keras.layers.Layer, known: dict | None = None) -> bool:
    """Finds out whether the output of a layer is the same for all images.

    # Arguments
        layer: A Keras layer.
        known: A dict that caches the results by the `id` of the layer.

    # Returns
        `True` if it is.
    """
    known = {} if known is None else known
    if id(layer) not in known:
        sources = [node.layer for node in layer.inbound_nodes[0].parent_nodes] if layer.inbound_nodes else []
        none = isinstance(layer, Zeroise)
        known[id(layer)] = none or bool(sources) and all(is_constant(source, known) for source in sources)
    return known[id(layer)]


class _Constant(layers.Layer):
    """Replaces a layer whose output is the same for all images: returns that output for every image."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def call(self, inputs):
        batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
        return tf.tile(self.value, [batch, *[1] * (self.value.ndim - 1)])

    def get_config(self):
        return {**super().get_config(), "value": self.value}


class _Sum(layers.Layer):
    """A sum in which some terms are constants.

    LCE must not fuse the sum into a convolution, since a convolution can only add a vector. A second ReLU behind a
    convolution with ReLU prevents the fusion.

    # Arguments
        rectified: For each input, whether it is the output of a convolution with ReLU.
    """

    def __init__(self, rectified, **kwargs):
        super().__init__(**kwargs)
        self.rectified = rectified

    def call(self, inputs):
        return tf.add_n([tf.nn.relu(x) if apart else x for x, apart in zip(inputs, self.rectified, strict=True)])

    def get_config(self):
        return {**super().get_config(), "rectified": self.rectified}


def _constants(model):
    """Makes `_Constant`s that replace layers whose output is the same for all images.

    The file of LCE does not run if a binary convolution reads a constant or is added to one.
    """
    known = {}
    if not any(is_constant(layer, known) for layer in binary_layers(model)):
        return {}
    constant = {layer for layer in model.layers if is_constant(layer, known)}
    used = [
        layer
        for layer in constant
        if any(node.outbound_layer not in constant for node in layer.outbound_nodes) and not isinstance(layer, Zeroise)
    ]
    if not used:
        return {}
    values = tf.keras.Model(model.input, [layer.output for layer in used])(tf.zeros([1, *model.input_shape[1:]]))
    found = {
        layer.name: _Constant(value.numpy(), name=layer.name)
        for layer, value in zip(used, tf.nest.flatten(values), strict=True)
    }
    for layer in model.layers:
        if isinstance(layer, layers.Add):
            sources = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
            if any(source.name in found for source in sources):
                found[layer.name] = _Sum([_is_rectified(source) for source in sources], name=layer.name)
    return found


def _is_rectified(layer):
    return isinstance(layer, XnorConv2D) and layer.activation is tf.keras.activations.relu


# --- normalizations and paddings -----------------------------------------------------------------------------


class _Affine(layers.Layer):
    """Computes a BatchNorm at inference by one operator: an addition if only the sign of the output matters.

    # Arguments
        scale: Array of factors, one per channel.
        offset: Array that is added after the multiplication.
        sign_only: Whether only the sign of the output matters.
    """

    def __init__(self, scale, offset, sign_only, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.offset, self.sign_only = scale, offset, sign_only

    def call(self, inputs):
        if self.sign_only and (self.scale > 0).all():
            return inputs + tf.constant(self.offset / self.scale, tf.float32)
        kernel = tf.constant(self.scale.reshape(1, 1, -1, 1), tf.float32)
        # A depthwise convolution computes scale and offset in one operator.
        return tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "VALID") + tf.constant(self.offset, tf.float32)


class _Subtracted(Step):
    """A `Step` computed by one subtraction, for inputs that LCE does not merge into a convolution."""

    def call(self, inputs):
        return lq.math.sign(self.alpha / 2 - inputs)


class Links:
    """Looks up which layers read the output of a layer.

    `once` is a dict of the layers that the model calls exactly once, by name.

    # Arguments
        model: A functional Keras model.
    """

    def __init__(self, model: tf.keras.Model) -> None:
        nodes = _keras.nodes(model)
        names = [node.layer.name for node in nodes]
        self.once = {node.layer.name: node.layer for node in nodes if names.count(node.layer.name) == 1}
        self.readers = {name: [] for name in names}
        for node in nodes:
            for parent in node.parent_nodes:
                self.readers[parent.layer.name].append(node.layer)
        self.outputs = set(model.output_names)

    def of(self, layer: tf.keras.layers.Layer) -> list[tf.keras.layers.Layer]:
        """Returns the layers that read a layer; an empty list if the layer is an output of the model."""
        return [] if layer.name in self.outputs else self.readers[layer.name]

    def source(self, layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer | None:
        """Returns the layer that a layer reads, or `None` if it reads several."""
        parents = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
        return parents[0] if len(parents) == 1 else None


def _simpler(model):
    """Makes simpler layers for normalizations, steps, paddings, and convolutions with dilation or groups."""
    links, found = Links(model), {}
    for name, layer in links.once.items():
        if is_plain_norm(layer) and len(layer.input_shape) == 4:
            found |= _normalization(layer, links)
        elif type(layer) is StepConv2D and not merges(links.source(layer), links):
            config = {**layer.get_config(), "input_quantizer": _Subtracted(name=layer.input_quantizer.name)}
            found[name] = StepConv2D.from_config(config)
        elif isinstance(layer, StartAt):
            found |= _padding(layer, links)
        elif _is_indirect(layer):
            found[name] = _direct(layer)
    return found


def _normalization(layer, links):
    if _folds(layer, links):
        return {}
    scale, offset = scale_and_offset(layer)
    readers = links.of(layer)
    if len(readers) == 1 and _leaves_out_pixels(readers[0], links):
        # The BatchNorm and the pool change places.
        last = readers[0]
        found = {layer.name: last.__class__.from_config({**last.get_config(), "name": layer.name})}
    else:
        last, found = layer, {}
    found[last.name] = _Affine(scale, offset, _only_signs(last, links), name=last.name)
    return found


def scale_and_offset(layer: tf.keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scale and the offset of a BatchNorm at inference, one value per channel."""
    scale = (layer.gamma.numpy() if layer.scale else 1.0) / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return scale, (layer.beta.numpy() if layer.center else 0.0) - layer.moving_mean.numpy() * scale


def is_plain_norm(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a BatchNorm over channels and not a subclass, which may compute something else."""
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, [-1], 3, [3])


def _leaves_out_pixels(layer, links):
    return layer.name in links.once and type(layer) is layers.MaxPooling2D and layer.pool_size == (1, 1)


def _folds(norm, links):
    """Whether LCE merges a BatchNorm into the convolution before it."""
    source = links.source(norm)
    return isinstance(source, (layers.Conv2D, layers.DepthwiseConv2D)) and len(links.of(source)) == 1


def merges(layer: tf.keras.layers.Layer, links: Links) -> bool:
    """Whether LCE merges the reader of a layer into a convolution: `layer` itself or the one before its BatchNorm."""
    if layer is None or len(links.of(layer)) != 1:
        return False
    return _folds(layer, links) if isinstance(layer, layers.BatchNormalization) else isinstance(layer, layers.Conv2D)


def _only_signs(layer, links):
    """Whether only the sign of a layer's output matters."""
    # The padding of these layers has the sign +1.
    through = (StartAt, layers.MaxPooling2D, layers.Cropping2D, layers.ZeroPadding2D)
    readers = links.of(layer)
    return bool(readers) and all(
        _is_binary(reader)
        and type(reader.input_quantizer) is lq.quantizers.SteSign
        or isinstance(reader, through)
        and _only_signs(reader, links)
        for reader in readers
    )


def _padding(layer, links):
    """Removes a `StartAt` if the convolution behind it can pad with ones instead."""
    readers, (height, width) = links.of(layer), layer.input_shape[1:3]
    starts = -(height % 2), -(width % 2)
    if len(readers) != 1 or type(readers[0]) is not XnorConv2D or readers[0].name not in links.once:
        return {}
    if starts != (layer.first, layer.first):
        return {}
    padded = XnorConv2D.from_config({**readers[0].get_config(), "padding": "same", "pad_values": 1.0})
    return {layer.name: layers.Activation("linear", name=layer.name), padded.name: padded}


def _is_indirect(layer):
    """Whether a layer computes its convolution by several operators in order to have a gradient on CPUs."""
    # A subclass may compute its convolution in another way.
    own = getattr(type(layer), "convolution_op", None) in (layers.Conv2D.convolution_op, NotCompiled.convolution_op)
    in_groups = isinstance(layer, NotCompiled) and layer.groups > 1
    return (
        isinstance(layer, layers.Conv2D)
        and own
        and copies.is_known(layer)
        and (max(layer.dilation_rate) > 1 or in_groups)
    )


def _direct(layer):
    """Copies a layer for which `_is_indirect` is true; the copy computes its convolution by one operator.

    Keras changes the layout of images around a dilated convolution. LCE undoes this change, but not if two convolutions
    share it, as they do after two equal BatchNorms. The layer may compute its groups by one convolution each.
    """
    copy = layer.__class__.from_config(layer.get_config())
    data_format = {"channels_last": "NHWC", "channels_first": "NCHW"}[layer.data_format]

    def convolution_op(x, kernel):
        return tf.nn.conv2d(x, kernel, copy.strides, copy.padding.upper(), data_format, copy.dilation_rate)

    # Only inference may use this operator: on CPUs it may lack a gradient.
    copy.convolution_op = convolution_op
    return copy


# --- groups and small maps -----------------------------------------------------------------------------------


class _Apart(layers.Layer):
    """Computes a binary convolution by one convolution per group.

    The kernels are constants, since saving thousands of variables takes minutes.
    """

    def __init__(self, layer):
        super().__init__(name=layer.name)
        self.convolution = layer
        with lq.context.quantized_scope(True):
            kernel, *others = layer.get_weights()
        if isinstance(layer, XnorConv2D):
            others.append(layer.scale().numpy())
        # For each group: the kernel, the bias if there is one, and the scale if there is one.
        parts = (np.split(values, layer.groups, axis=-1) for values in (kernel, *others))
        self.values = list(zip(*parts, strict=True))

    def call(self, inputs):
        layer, outputs = self.convolution, []
        for x, (kernel, *others) in zip(tf.split(inputs, layer.groups, axis=-1), self.values, strict=True):
            y = self._convolve(layer.input_quantizer(x), kernel)
            y = y + others.pop(0) if layer.use_bias else y
            y = layer.activation(y)
            outputs.append(y * others.pop(0) if others else y)
        return tf.concat(outputs, axis=-1)

    def _convolve(self, x, kernel):
        layer = self.convolution
        arguments = kernel, layer.strides, layer.dilation_rate, layer.padding
        if not _is_too_small(layer, x.shape):
            return convolve(x, *arguments, layer.pad_values, tf.nn.conv2d)
        # The convolution pads with ones. What the ones add is subtracted, in a form that LCE does not merge into it.
        with tf.init_scope():
            added = convolve(tf.zeros([1, *x.shape[1:]]), *arguments, 1.0, tf.nn.conv2d).numpy()
        return tf.add_n([convolve(x, *arguments, 1.0, tf.nn.conv2d), tf.tile(-added, [tf.shape(x)[0], 1, 1, 1])])


def _is_too_small(layer, shape):
    """Whether a convolution zero-pads a feature map smaller than its kernel, which LCE computes wrongly."""
    zeros = layer.padding == "same" and isinstance(layer.pad_values, (int, float)) and layer.pad_values == 0
    sides = zip(shape[1:3], layer.kernel_size, layer.dilation_rate, strict=True)
    return zeros and any(side < (taps - 1) * rate + 1 for side, taps, rate in sides)


def _apart(model, split_all):
    """Makes `_Apart` layers for small feature maps, and for groups that LCE computes as float (or all groups)."""
    found = {}
    for node in _keras.nodes(model):
        layer = node.layer
        if type(layer) not in (lq.layers.QuantConv2D, ScaledConv2D, XnorConv2D) or not _is_binary(layer):
            continue
        if layer.data_format != "channels_last":
            continue
        small = _is_too_small(layer, tf.nest.flatten(node.input_tensors)[0].shape)
        grouped = layer.groups > 1 and (small or split_all or layer.kernel.shape[-2] % WORD)
        # Other activations may mix channels, and would then see the channels of one group only.
        if grouped and layer.activation in (keras.linear, keras.relu) or small and layer.groups == 1:
            found[layer.name] = _Apart(layer)
    return found
