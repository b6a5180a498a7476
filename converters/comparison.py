"""Whether a file computes what Keras does.

Rounding turns the sign of a number near 0, and in a deep binary network one sign turns others. So a file may differ
from Keras and be right. How much that explains is seen by comparing Keras with itself, with weights and images that
are changed by one in a million: where that changes the outputs, too, a file may do so, and elsewhere it may not.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from larq_nas.converters import copies, interpreter
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layers import _keras

# By how much weights and images are changed, and how often.
SHIFT, SHIFTS = 1e-6, 4
# Above which share of the images that differ a file is wrong: single ones may hold a tie that no shift has met.
MOST = 0.25
# How many layers are compared where the outputs say nothing or differ.
LAYERS = 16


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison says of a file.

    # Arguments
        wrong: The share of the images on which the file differs from Keras, of those on which Keras agrees with itself.
        unstable: The share of the images on which Keras, changed by a trifle, does not agree with itself.
        gross: The share of all images on which the file differs from Keras by more than twice what Keras does from
            itself.
    """

    wrong: float
    unstable: float
    gross: float

    @property
    def is_wrong(self) -> bool:
        """Whether the file computes something else."""
        return self.wrong > MOST and self.unstable < 1 or self.gross > MOST


def output_names(model) -> list:
    """The names of a model's outputs in a file, in the order of the model."""
    if isinstance(model._nested_outputs, dict):
        return list(model._nested_outputs)
    return model.output_names if len(model.outputs) > 1 else ["output"]


def of_keras(model, images) -> list:
    """The outputs of a model, in the order of `output_names`."""
    batch = model.inputs[0].shape[0] or 32
    missing = -len(images) % batch if model.inputs[0].shape[0] else 0
    outputs = model.predict(np.concatenate([images, images[:1].repeat(missing, 0)]), batch, verbose=0)
    outputs = list(outputs.values()) if isinstance(outputs, dict) else tf.nest.flatten(outputs)
    return [output[: len(images)] for output in outputs]


def of_file(content, images, names, order) -> list:
    """The outputs of a file, in the order of `names`; `order` is that of the file."""
    outputs = tf.nest.flatten(interpreter.predict(content, images, processes=1))
    if len(names) == 1:
        return outputs
    missing = [name for name in names if name not in order]
    if missing:
        raise ConversionError(f"outputs of the model are equal to others: {', '.join(missing)}; leave them out")
    return [outputs[order.index(name)] for name in names]


def shifted(model, images, eight_bits=None):
    """The outputs of a model whose weights and images are changed by a trifle, several times.

    # Arguments
        model: A Keras model.
        images: Images.
        eight_bits: The model whose layers have 8 bits, and the step of its images, if that is what the file holds.

    # Returns
        A generator of outputs as `of_keras` gives them.
    """
    generator = np.random.default_rng(0)
    if eight_bits is not None:
        network, step = eight_bits
        for size in (0, step / 2, step / 2, step / 2):
            noise = size * generator.uniform(-1, 1, images.shape)
            yield of_keras(network, (images + noise).astype(np.float32))
        return
    copy, others = copies.copied(model, {}), set(map(id, model.weights))
    weights = [(w, w.numpy()) for w in copy.weights if id(w) not in others and w.dtype.is_floating]
    for _ in range(SHIFTS):
        for weight, value in weights:
            # A factor turns no sign of a latent kernel.
            weight.assign(value * (1 + SHIFT * generator.uniform(-1, 1, value.shape)))
        for layer in copy.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                deviation = np.sqrt(layer.moving_variance.numpy())
                layer.moving_mean.assign_add(SHIFT * deviation * generator.uniform(-1, 1, deviation.shape))
        noise = SHIFT * np.abs(images).max() * generator.uniform(-1, 1, images.shape)
        yield of_keras(copy, (images + noise).astype(np.float32))


def judge(expected, actual, others, tolerance=1e-2) -> Verdict:
    """Compares the outputs of a file with those of Keras.

    # Arguments
        expected: The outputs of Keras, as all others a list of arrays.
        actual: Those of the file.
        others: Those of Keras changed by a trifle, several times.
        tolerance: How much of the spread of an output over the images may differ.

    # Returns
        A `Verdict`.
    """

    def distance(ones, twos):
        """For each image, the largest difference of any output, in units of what is tolerated."""
        found = [np.zeros(len(expected[0]))]
        for one, two, like in zip(ones, twos, expected, strict=True):
            spread = np.abs(like - like.mean(axis=0, keepdims=True)).max()
            unit = tolerance * spread + 1e-4 * np.abs(like).max() + 1e-6
            difference = np.where(np.isnan(one) & np.isnan(two), 0, np.abs(one - two)) / unit
            found.append(np.nan_to_num(difference, nan=np.inf).reshape(len(like), -1).max(axis=1))
        return np.max(found, axis=0)

    own = np.max([distance(other, expected) for other in others], axis=0)
    nearest = np.min([distance(actual, outputs) for outputs in (expected, *others)], axis=0)
    stable = own <= 1
    wrong = float(np.mean(nearest[stable] > 1)) if stable.any() else 0.0
    return Verdict(wrong, float(np.mean(~stable)), float(np.mean(nearest > 1 + 2 * own)))


def check(model, content, images, order, convert, eight_bits=None) -> float:
    """Compares a file with Keras, and the layers of the network one by one where the outputs do not say enough.

    # Arguments
        model: A functional Keras model.
        content: The file's content.
        images: Images of shape `(n, height, width, channels)`.
        order: The names of the file's outputs, in its order.
        convert: A function of a model that gives the content and the order of the outputs of its file.
        eight_bits: See `shifted`.

    # Returns
        The share of the images on which Keras does not agree with itself.

    # Raises
        ConversionError: If the file computes something else than Keras.
    """
    tolerance = 1e-2 if eight_bits is None else 0.1
    others = list(shifted(model, images, eight_bits))
    actual = of_file(content, images, output_names(model), order)
    verdict = judge(of_keras(model, images), actual, others, tolerance)
    if not verdict.is_wrong and (verdict.unstable <= 0.5 or eight_bits is not None):
        return verdict.unstable
    first = None if eight_bits is not None else _first_wrong(model, images[:8], convert, verdict.is_wrong)
    if first is None and not verdict.is_wrong:
        return verdict.unstable
    share = f"{max(verdict.wrong, verdict.gross):.0%} of {len(images)} images" if verdict.is_wrong else "its images"
    where = f"the first layer whose outputs differ is {first}; replace it" if first else "convert without 8 bits"
    raise ConversionError(f"the file computes something else than Keras on {share}: {where}")


def _first_wrong(model, images, convert, is_wrong):
    """The name of the first layer whose outputs differ from those of Keras where these are stable, or `None`."""
    plain = copies.copied(model, {})
    found = {}
    for node in _keras.nodes(plain):
        output = tf.nest.flatten(node.outputs)[0]
        if not node.is_input and output.shape.rank in (2, 4) and output.dtype == tf.float32:
            found.setdefault(node.layer.name, output)
    names, stable = list(found), _stable(plain, list(found.values()), images)
    judged = [name for name, is_stable in zip(names, stable, strict=True) if is_stable]
    judged = (
        [judged[place] for place in np.unique(np.linspace(0, len(judged) - 1, LAYERS).astype(int))] if judged else []
    )
    for name, wrong in zip(judged, _are_wrong(plain, [found[name] for name in judged], images, convert), strict=False):
        if wrong:
            return name
    if not is_wrong:
        return None
    # LCE may be right where a tensor is an output, too, and wrong where it is merged: one after the other.
    right, wrong = -1, len(names) - 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if any(_are_wrong(plain, [found[names[middle]]], images, convert)):
            wrong = middle
        else:
            right = middle
    return names[wrong]


def _stable(plain, tensors, images):
    """For each tensor of a model, whether Keras agrees with itself on most of two images."""
    network, images = tf.keras.Model(plain.inputs[0], tensors), images[:2]
    expected, changed = of_keras(network, images), next(shifted(network, images))
    return [judge([like], [like], [[other]]).unstable < 1 for like, other in zip(expected, changed, strict=True)]


def _are_wrong(plain, tensors, images, convert):
    """For each tensor of a model, whether a file gives it wrongly; nothing if it cannot be said."""
    if not tensors:
        return []
    network = tf.keras.Model(plain.inputs[0], {str(place): tensor for place, tensor in enumerate(tensors)})
    try:
        content, order = convert(network)
        # Equal tensors are one output.
        places = [place for place in range(len(tensors)) if len(tensors) == 1 or str(place) in order]
        actual = of_file(content, images, [str(place) for place in places], order)
    except ConversionError:
        return []  # Not all that a network computes can be an output.
    expected, others = of_keras(network, images), list(shifted(network, images))
    wrong = [False] * len(tensors)
    for place, own in zip(places, actual, strict=True):
        wrong[place] = judge([expected[place]], [own], [[other[place]] for other in others]).is_wrong
    return wrong
