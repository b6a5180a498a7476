"""Checks that a model can be converted: a functional or sequential model of Keras 2 with one image of fixed size."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas.converters import copies
from larq_nas.converters.interpreter import ConversionError
from larq_nas.converters.rewriting import is_constant
from larq_nas.layers import precision
from larq_nas.messages import first_line

_ACCEPTED = "accepted is a functional or sequential model of tf.keras"


def accepted(model: Any) -> tf.keras.Model:
    """Checks a model and brings it into the form that is converted.

    # Arguments
        model: The object that the user wants to convert.

    # Returns
        A Keras model with a single input tensor that computes in 32 bits.

    # Raises
        ConversionError: If the object is not a model that can be converted.
    """
    _check_kind(model)
    _check_ends(model)
    if isinstance(model.input, (dict, list, tuple)):
        model = tf.keras.Model(model.inputs[0], model.output, name=model.name)
    if any(not np.isfinite(weights).all() for weights in model.get_weights() if weights.dtype.kind == "f"):
        raise ConversionError("the model has weights that are not finite")
    wrong = [weight for weight in model.weights if weight.dtype.is_floating and weight.dtype != tf.float32]
    if wrong:
        raise ConversionError(
            f"{wrong[0].name}: a weight of {wrong[0].dtype.name}; accepted are weights of float32, which models of "
            "mixed precision have, too"
        )
    try:
        return precision.float32(model)
    except (KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise ConversionError(
            f"the model is of mixed precision and cannot be copied in 32 bits ({first_line(error)}); build it "
            "under the policy float32 and give it the weights"
        ) from None


def _check_kind(model):
    if isinstance(model, (str, pathlib.PurePath)):
        raise ConversionError(f"{model} is a path; {_ACCEPTED}: larq_nas.load_model({str(model)!r}) gives it")
    if not isinstance(model, tf.keras.Model):
        if any(kind.__module__.split(".")[0] == "keras" for kind in type(model).__mro__):
            raise ConversionError(
                f"the model is one of Keras 3, Larq and Larq Compute Engine need Keras 2; {_ACCEPTED}, built after "
                "import larq_nas"
            )
        if hasattr(model, "signatures"):
            raise ConversionError(
                "this is what tf.saved_model.load gives, which has no layers; "
                f"{_ACCEPTED}: load it with tf.keras.models.load_model"
            )
        raise ConversionError(f"{type(model).__name__} is no model; {_ACCEPTED}")
    if not copies.is_graph(model):
        raise ConversionError(
            f"{type(model).__name__} {model.name} has no graph of layers: it is subclassed, or sequential without an "
            f"input shape; {_ACCEPTED} that begins with tf.keras.Input"
        )


def _check_ends(model):
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ConversionError(f"the model's inputs {shapes} are not one image of fixed size")
    if not model.inputs[0].dtype.is_floating:
        raise ConversionError(f"the model's input is {model.inputs[0].dtype.name}; accepted are floats")
    if any(tensor.shape.rank < 2 for tensor in model.outputs):
        raise ConversionError("an output of the model has no axis except the batch axis; accepted are two or more axes")
    if len({id(tensor) for tensor in model.outputs}) < len(model.outputs):
        raise ConversionError("two outputs of the model are the same tensor; leave one out")
    known = {}
    if all(is_constant(tensor.node.layer, known) for tensor in model.outputs):
        raise ConversionError('no image reaches the outputs of the model: all that they read are "none" operations')
