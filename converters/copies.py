"""Copies Keras models into one flat graph of layers, in which single layers can be replaced."""

import functools
import types
from typing import Any

import tensorflow as tf

from larq_nas.layers import _keras

# Layers of these packages can be rebuilt from their configuration. Layers of other packages are shared with the copy.
_KNOWN = ("keras", "tf_keras", "larq", "larq_nas")

_FUNCTIONS = types.FunctionType, types.MethodType, functools.partial


class Held(tf.keras.layers.Layer):
    """Calls a layer that cannot be copied, such as a layer of another library.

    # Arguments
        layer: The layer.
    """

    def __init__(self, layer: tf.keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer(*args, **kwargs)


def is_graph(model: Any) -> bool:
    """Whether a model is fully described by its graph of layers: functional or sequential, with Keras's own `call`."""
    kinds = _keras.functional(), tf.keras.Sequential
    return _keras.has_graph(model) and type(model).call in [kind.call for kind in kinds]


def copied(model: tf.keras.Model, replacements: dict) -> tf.keras.Model:
    """Copies a model and flattens the functional models nested in it.

    # Arguments
        model: A model for which `is_graph` is true.
        replacements: A dict from the `id` of a layer to the layer that replaces it.

    # Returns
        A functional model. It has weights of its own, except for layers of other libraries, which it shares with
        `model`.
    """
    made, names = {}, set()

    def unique(name):
        while name in names:
            name += "_"
        names.add(name)
        return name

    def copy(layer, prefix):
        if id(layer) not in made:
            name = unique(prefix + layer.name)
            made[id(layer)] = replacements.get(id(layer)) or _copy(layer, name)
        return made[id(layer)]

    def run(model, inputs, prefix=""):
        tensors = {id(tensor): x for tensor, x in zip(model.inputs, inputs, strict=True)}
        for node in _keras.nodes(model):
            if node.is_input:
                continue
            args, kwargs = tf.nest.map_structure(
                lambda x: tensors.get(id(x), x), (list(node.call_args), dict(node.call_kwargs))
            )
            if is_graph(node.layer):
                outputs = run(node.layer, tf.nest.flatten(args), f"{prefix}{node.layer.name}/")
            else:
                outputs = copy(node.layer, prefix)(*args, **kwargs)
            outputs = tf.nest.flatten(outputs)
            tensors.update(zip(map(id, tf.nest.flatten(node.outputs)), outputs, strict=True))
        return [tensors[id(tensor)] for tensor in model.outputs]

    image = model.inputs[0]
    inputs = tf.keras.Input(image.shape[1:], dtype=image.dtype, name=unique(model.input_names[0]))
    outputs = tf.nest.pack_sequence_as(model.output, run(model, [inputs]))
    copy_of_model = tf.keras.Model(inputs, outputs, name=model.name)
    for layer in _all_layers(model):
        new = made.get(id(layer))
        if new is not None and not isinstance(new, Held) and new.weights:
            new.set_weights(layer.get_weights())
    return copy_of_model


def is_known(layer: object) -> bool:
    """Whether a layer belongs to Keras, Larq or larq_nas, so that its configuration describes it fully."""
    return type(layer).__module__.split(".")[0] in _KNOWN


def _copy(layer, name):
    if isinstance(layer, Held):
        return Held(layer.layer, name=name)
    # The configuration of a Lambda layer holds its function as code.
    if is_known(layer) and not isinstance(layer, tf.keras.layers.Lambda):
        try:
            config = {**layer.get_config(), "name": name}
            # Keras cannot look up the user's own functions by name.
            own = {key: getattr(layer, key, None) for key in config}
            config |= {key: value for key, value in own.items() if isinstance(value, _FUNCTIONS)}
            return type(layer).from_config(config)
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
            pass
    return Held(layer, name=name)


def _all_layers(model):
    for layer in model.layers:
        if is_graph(layer):
            yield from _all_layers(layer)
        else:
            yield layer
