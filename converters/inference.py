"""The network that is converted: it computes what the given one does, in fewer operators that a device runs faster.

The converter of Larq Compute Engine (LCE) merges what stands behind a convolution into it, but not what stands behind
a sum or a concatenation. So the layers of a model are replaced one by one, where its graph allows it:

- a BatchNorm that only signs read is a threshold, one addition; any other one that follows no convolution is one
  depthwise operation in place of a multiplication and an addition,
- pixels are left out before a BatchNorm and not behind it,
- what is padded with ones in front of a convolution is padded by the convolution,
- a convolution with dilation or with groups is one operator from the beginning,
- groups of convolutions that LCE would compute as floats are a convolution each,
- what is the same for all images is a constant.
"""

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas.grouped import ScaledConv2D
from larq_nas.layouts import WORD
from larq_nas.operations import NotCompiled, StartAt, XnorConv2D, Zeroise, convolve
from larq_nas.steps import Step, StepConv2D

layers, keras = tf.keras.layers, tf.keras.activations


def rewrite(model: tf.keras.Model, split_all=False, more=lambda model: {}) -> tf.keras.Model:
    """The model that computes the same for inference.

    # Arguments
        model: A Keras model. Of one that is no graph of layers that can be copied, nothing is changed.
        split_all: Whether groups are split also where LCE computes them.
        more: A function of a model that gives further layers to replace, by name.

    # Returns
        A copy, or the model itself.
    """
    if not getattr(model, "_is_graph_network", False):
        return model
    if _is_shared(model):
        try:
            model = _copied(model, {})
        except (NotImplementedError, TypeError, ValueError):
            return model
    constants = _constants(model)
    model = _copied(model, constants) if constants else model
    needed = {**_groups(model, split_all), **more(model)}
    try:
        found = {**_simpler(model), **needed}
        return _copied(model, found) if found else model
    except (NotImplementedError, TypeError, ValueError):  # A layer of somebody else's that cannot be copied.
        return _copied(model, needed) if needed else model


def _is_shared(model):
    """Whether layers are part of another model, too, and so read and are read by more than the graph says."""
    nodes = {id(node) for depth in model._nodes_by_depth.values() for node in depth}
    return any(id(node) not in nodes for layer in model.layers for node in layer._inbound_nodes)


def binary_layers(model) -> list:
    """The convolutions of a model whose input and kernel are both binary."""
    return [layer for layer in model._flatten_layers(include_self=False) if _is_binary(layer)]


def _is_binary(layer):
    quantizers = [getattr(layer, f"{name}_quantizer", None) for name in ("input", "kernel")]
    return isinstance(layer, layers.Conv2D) and all(
        getattr(quantizer, "precision", None) == 1 for quantizer in quantizers
    )


def _copied(model, replacements):
    """A copy of a model with other layers in place of some, by name."""

    def clone(layer):
        return replacements.get(layer.name) or layer.__class__.from_config(layer.get_config())

    copy = tf.keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        new = copy.get_layer(layer.name)
        if new.weights:
            new.set_weights(layer.get_weights())
    return copy


# --- constants -----------------------------------------------------------------------------------------------


def is_constant(layer) -> bool:
    """Whether a layer gives the same for all images."""
    if isinstance(layer, Zeroise):
        return True
    sources = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
    return bool(sources) and all(is_constant(source) for source in sources)


class _Constant(layers.Layer):
    """The same output for all images: that of the layer in whose place it stands."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def call(self, inputs):
        batch = tf.shape(tf.nest.flatten(inputs)[0])[0]
        return tf.tile(self.value, [batch, *[1] * (self.value.ndim - 1)])

    def get_config(self):
        return {**super().get_config(), "value": self.value}


class _Sum(layers.Layer):
    """A sum with constants, which LCE must not fuse into convolutions: it can add vectors only.

    # Arguments
        rectified: For each input, whether it is a rectified convolution: a further ReLU then keeps it apart.
    """

    def __init__(self, rectified, **kwargs):
        super().__init__(**kwargs)
        self.rectified = rectified

    def call(self, inputs):
        return tf.add_n([tf.nn.relu(x) if apart else x for x, apart in zip(inputs, self.rectified, strict=True)])

    def get_config(self):
        return {**super().get_config(), "rectified": self.rectified}


def _constants(model):
    """Values in place of layers that compute the same for all images.

    LCE writes a file that does not run where a binary convolution reads or is added to a constant.
    """
    if not any(is_constant(layer) for layer in binary_layers(model)):
        return {}
    constant = {layer for layer in model.layers if is_constant(layer)}
    used = [
        layer
        for layer in constant
        if any(node.outbound_layer not in constant for node in layer._outbound_nodes) and not isinstance(layer, Zeroise)
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
    """A BatchNorm at inference as one operator; one addition if only the sign of its output counts.

    # Arguments
        scale, offset: What its input is multiplied by, and what is then added.
        sign_only: Whether only the sign of its output counts.
    """

    def __init__(self, scale, offset, sign_only, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.offset, self.sign_only = scale, offset, sign_only

    def call(self, inputs):
        if self.sign_only and (self.scale > 0).all():
            return inputs + tf.constant(self.offset / self.scale, tf.float32)
        kernel = tf.constant(self.scale.reshape(1, 1, -1, 1), tf.float32)
        # A depthwise convolution has scale and offset in one, in whatever order it stands.
        return tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "VALID") + tf.constant(self.offset, tf.float32)


class _Subtracted(Step):
    """A `Step` as one subtraction, which LCE does not merge with what stands before it."""

    def call(self, inputs):
        return lq.math.sign(self.alpha / 2 - inputs)


class Links:
    """Who reads whom in a model, by name; layers that are used several times are not linked."""

    def __init__(self, model):
        nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
        names = [node.layer.name for node in nodes]
        self.once = {node.layer.name: node.layer for node in nodes if names.count(node.layer.name) == 1}
        self.readers = {name: [] for name in names}
        for node in nodes:
            for parent in node.parent_nodes:
                self.readers[parent.layer.name].append(node.layer)
        # The outputs are read from outside.
        self.outputs = set(model.output_names)

    def of(self, layer):
        """The readers of a layer; none if it is an output, too."""
        return [] if layer.name in self.outputs else self.readers[layer.name]

    def source(self, layer):
        """The only layer that a layer reads, or `None`."""
        parents = [node.layer for node in layer.inbound_nodes[0].parent_nodes]
        return parents[0] if len(parents) == 1 else None


def _simpler(model):
    """Simpler layers in place of normalizations, steps, paddings, and convolutions with dilation or groups."""
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
        # They change places.
        last = readers[0]
        found = {layer.name: last.__class__.from_config({**last.get_config(), "name": layer.name})}
    else:
        last, found = layer, {}
    found[last.name] = _Affine(scale, offset, _only_signs(last, links), name=last.name)
    return found


def scale_and_offset(layer):
    """What a BatchNorm multiplies by and adds at inference."""
    scale = (layer.gamma.numpy() if layer.scale else 1.0) / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return scale, (layer.beta.numpy() if layer.center else 0.0) - layer.moving_mean.numpy() * scale


def is_plain_norm(layer):
    """Whether a layer is a BatchNorm of channels, and no subclass that may compute something else."""
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, [-1], 3, [3])


def _leaves_out_pixels(layer, links):
    return layer.name in links.once and type(layer) is layers.MaxPooling2D and layer.pool_size == (1, 1)


def _folds(norm, links):
    """Whether LCE merges a BatchNorm into the convolution before it."""
    source = links.source(norm)
    return isinstance(source, (layers.Conv2D, layers.DepthwiseConv2D)) and len(links.of(source)) == 1


def merges(layer, links):
    """Whether LCE merges what stands behind a layer into a convolution before it."""
    if layer is None or len(links.of(layer)) != 1:
        return False
    return _folds(layer, links) if isinstance(layer, layers.BatchNormalization) else isinstance(layer, layers.Conv2D)


def _only_signs(layer, links):
    """Whether only the sign of a layer's output counts."""
    # What these pad with has the sign +1.
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
    """Where the convolution behind can pad as much by itself."""
    readers, (height, width) = links.of(layer), layer.input_shape[1:3]
    starts = -(height % 2), -(width % 2)
    if len(readers) != 1 or type(readers[0]) is not XnorConv2D or readers[0].name not in links.once:
        return {}
    if starts != (layer.first, layer.first):
        return {}
    padded = XnorConv2D.from_config({**readers[0].get_config(), "padding": "same", "pad_values": 1.0})
    return {layer.name: layers.Activation("linear", name=layer.name), padded.name: padded}


def _is_indirect(layer):
    """Whether a layer computes its convolution by several operators, so that it has a gradient on CPUs."""
    # A subclass may compute its convolution in another way.
    own = getattr(type(layer), "convolution_op", None) in (layers.Conv2D.convolution_op, NotCompiled.convolution_op)
    in_groups = isinstance(layer, NotCompiled) and layer.groups > 1
    return isinstance(layer, layers.Conv2D) and own and (max(layer.dilation_rate) > 1 or in_groups)


def _direct(layer):
    """A copy of such a layer that computes its convolution by one operator.

    Keras changes the layout around a dilated convolution. LCE undoes that change, but not where two convolutions share
    it, which is so after two equal BatchNorms. A convolution with groups may be one convolution for each group.
    """
    copy = layer.__class__.from_config(layer.get_config())

    def convolution_op(x, kernel):
        return tf.nn.conv2d(x, kernel, copy.strides, copy.padding.upper(), copy._tf_data_format, copy.dilation_rate)

    # Here only: this operator may have no gradient on CPUs.
    copy.convolution_op = convolution_op
    return copy


# --- groups --------------------------------------------------------------------------------------------------


class _Groups(layers.Layer):
    """A grouped convolution as one convolution for each group, side by side, of constants: thousands of variables take
    minutes to save."""

    def __init__(self, layer):
        super().__init__(name=layer.name)
        self.convolution = layer
        with lq.context.quantized_scope(True):
            kernel, *others = layer.get_weights()
        if isinstance(layer, XnorConv2D):
            others.append(layer.scale().numpy())
        # Of the kernel, then of the bias if there is one, then of the scale.
        parts = (np.split(values, layer.groups, axis=-1) for values in (kernel, *others))
        self.values = list(zip(*parts, strict=True))

    def call(self, inputs):
        layer, outputs = self.convolution, []
        for x, (kernel, *others) in zip(tf.split(inputs, layer.groups, axis=-1), self.values, strict=True):
            arguments = layer.strides, layer.dilation_rate, layer.padding, layer.pad_values
            y = convolve(layer.input_quantizer(x), tf.constant(kernel), *arguments, function=tf.nn.conv2d)
            y = y + others.pop(0) if layer.use_bias else y
            y = layer.activation(y)
            outputs.append(y * others.pop(0) if others else y)
        return tf.concat(outputs, axis=-1)


def _groups(model, split_all):
    """A convolution for each group, where LCE would compute groups as floats or everywhere."""
    known = lq.layers.QuantConv2D, ScaledConv2D, XnorConv2D
    grouped = (layer for layer in model.layers if _is_binary(layer) and layer.groups > 1)
    # An activation that looks at other channels would see those of its group only.
    grouped = (layer for layer in grouped if layer.activation in (keras.linear, keras.relu))
    grouped = (layer for layer in grouped if split_all or layer.kernel.shape[-2] % WORD)
    return {layer.name: _Groups(layer) for layer in grouped if type(layer) in known}
