"""Checks that a converted file computes the same outputs as Keras.

Rounding can flip the sign of a number near 0. In a deep binary network, one flipped sign flips others. So the outputs
of a correct file may differ from those of Keras. To tell rounding from errors, Keras is compared with itself after a
change of one in a million to weights and images. An image on which this change alters the outputs of Keras is called
unstable: the file may differ from Keras on unstable images, and must agree on all others.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from larq_nas.converters import copies, interpreter
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layers import _keras

# Relative size of the change to weights and images, and number of changed copies.
SHIFT, SHIFTS = 1e-6, 4
# A file is wrong if it differs on more than one image and on more than this share of the stable images. On a single
# image, an exact tie that no shift has hit may explain the difference.
FEW = 0.05
# A file is also wrong if it differs on more than this share of few images, or grossly on more than this share of all.
MOST = 0.25
# The rounding to 8 bits may change the class of at most this share of the images whose class Keras is sure of.
CHANGED = 0.25
# Number of layers that are compared if the outputs differ or are too unstable to tell.
LAYERS = 16


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Result of the comparison of a file with Keras.

    # Arguments
        wrong: Of the stable images, the share on which the file differs from Keras.
        unstable: The share of unstable images, on which Keras differs from itself after the small change.
        gross: The share of all images on which the file differs from Keras by more than twice the difference between
            Keras and its changed copies.
        stable: The number of stable images.
    """

    wrong: float
    unstable: float
    gross: float
    stable: int

    @property
    def is_wrong(self) -> bool:
        """Whether the file computes something else than Keras."""
        many = self.wrong * self.stable > max(1.5, FEW * self.stable)
        return self.stable > 0 and (many or self.wrong > MOST) or self.gross > MOST


def output_names(model: tf.keras.Model) -> list:
    """Returns the names that the outputs of a model have in a file, in the order of the model."""
    if isinstance(model.output, dict):
        return list(model.output)
    return model.output_names if len(model.outputs) > 1 else ["output"]


def of_keras(model: tf.keras.Model, images: np.ndarray) -> list:
    """Returns the outputs of a model for images, as a list of arrays in the order of `output_names`."""
    batch = model.inputs[0].shape[0] or 32
    missing = -len(images) % batch if model.inputs[0].shape[0] else 0
    outputs = model.predict(np.concatenate([images, images[:1].repeat(missing, 0)]), batch, verbose=0)
    outputs = list(outputs.values()) if isinstance(outputs, dict) else tf.nest.flatten(outputs)
    return [_numbers(output[: len(images)]) for output in outputs]


def of_file(content: bytes, images: np.ndarray, names: list[str], order: list[str]) -> list:
    """Runs a file on images.

    # Arguments
        content: The file's content.
        images: Images of shape `(n, height, width, channels)`.
        names: The names of the outputs in the wanted order.
        order: The names of the outputs in the order of the file.

    # Returns
        A list of arrays in the order of `names`.

    # Raises
        ConversionError: If the file lacks one of the outputs.
    """
    outputs = list(map(_numbers, tf.nest.flatten(interpreter.predict(content, images, processes=1))))
    if len(names) == 1:
        return outputs
    missing = [name for name in names if name not in order]
    if missing:
        raise ConversionError(f"some outputs of the model equal other outputs: {', '.join(missing)}; leave them out")
    return [outputs[order.index(name)] for name in names]


def _numbers(output):
    return output.astype(np.float32) if output.dtype == bool else output


def shifted(
    model: tf.keras.Model, images: np.ndarray, eight_bits: tuple[tf.keras.Model, float] | None = None
) -> Iterator[list]:
    """Yields the outputs of several copies of a model, each after a small random change to weights and images.

    # Arguments
        model: A Keras model.
        images: Images of shape `(n, height, width, channels)`.
        eight_bits: For a file with 8-bit layers, a pair of the Keras model of that file and the quantization step of
            its images. Then only the images are changed.

    # Returns
        A generator of outputs as `of_keras` returns them.
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
            # Multiplication does not flip the signs of a latent kernel.
            weight.assign(value * (1 + SHIFT * generator.uniform(-1, 1, value.shape)))
        for layer in copy.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                deviation = np.sqrt(layer.moving_variance.numpy())
                layer.moving_mean.assign_add(SHIFT * deviation * generator.uniform(-1, 1, deviation.shape))
        noise = SHIFT * np.abs(images).max() * generator.uniform(-1, 1, images.shape)
        yield of_keras(copy, (images + noise).astype(np.float32))


def judge(
    expected: list[np.ndarray], actual: list[np.ndarray], others: list[list[np.ndarray]], tolerance: float = 1e-2
) -> Verdict:
    """Compares the outputs of a file with the outputs of Keras.

    # Arguments
        expected: The outputs of Keras, a list of arrays.
        actual: The outputs of the file, a list of arrays.
        others: The outputs of the changed copies, a list of arrays for each copy.
        tolerance: The tolerated difference, as a fraction of the spread of an output over the images.

    # Returns
        A `Verdict`.
    """

    def distance(ones, twos):
        """Returns for each image the largest difference of any output, in units of the tolerated difference."""
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
    return Verdict(wrong, float(np.mean(~stable)), float(np.mean(nearest > 1 + 2 * own)), int(stable.sum()))


def check(
    model: tf.keras.Model,
    content: bytes,
    images: np.ndarray,
    order: list[str],
    convert: Callable[[tf.keras.Model], tuple[bytes, list[str]]],
    eight_bits: tuple[tf.keras.Model, float] | None = None,
) -> float:
    """Compares a file with Keras, and single layers of the network if the outputs are too unstable to tell or differ.

    # Arguments
        model: A functional Keras model.
        content: The file's content.
        images: Images of shape `(n, height, width, channels)`.
        order: The names of the outputs, in the order of the file.
        convert: A function that converts a model without 8 bits, and returns the content of its file and the order of
            its outputs.
        eight_bits: See `shifted`.

    # Returns
        The share of unstable images, on which Keras differs from itself after a small change.

    # Raises
        ConversionError: If the file computes something else than Keras.
    """
    tolerance = 1e-2 if eight_bits is None else 0.1
    others = list(shifted(model, images, eight_bits))
    expected, actual = of_keras(model, images), of_file(content, images, output_names(model), order)
    verdict = judge(expected, actual, others, tolerance)
    if eight_bits is not None and not verdict.is_wrong:
        _check_classes(expected[0], actual[0], tolerance)
    if not verdict.is_wrong and (verdict.unstable <= 0.5 or eight_bits is not None):
        return verdict.unstable
    is_wrong = verdict.is_wrong
    if eight_bits is not None:
        # Layers are compared without 8 bits, so the network must be wrong without them, too.
        is_wrong = any(_are_wrong(model, model.outputs, images[:8], convert))
    first = _first_wrong(model, images[:8], convert, is_wrong)
    if first is None and not verdict.is_wrong:
        return verdict.unstable
    share = f"{max(verdict.wrong, verdict.gross):.0%} of {len(images)} images" if verdict.is_wrong else "its images"
    where = "no layer differs without 8 bits; convert without 8 bits"
    if first:
        where = f"the first layer whose outputs differ is {first}; replace it"
    raise ConversionError(f"the file computes something else than Keras on {share}: {where}")


def _check_classes(expected, actual, tolerance):
    """Raises if 8 bits change the most probable class of many images, although LCE has rounded as it should."""
    if expected.ndim != 2 or expected.shape[1] < 2:
        return
    first, second = np.sort(expected, axis=1)[:, :-3:-1].T
    # The rounding decides the class of images whose best classes differ by less than the tolerance.
    sure = first - second > tolerance * np.abs(expected - expected.mean(axis=0)).max()
    changed = (expected.argmax(axis=1) != actual.argmax(axis=1))[sure]
    if changed.sum() > 1 and changed.mean() > CHANGED:
        raise ConversionError(
            f"8 bits change the most probable class of {changed.mean():.0%} of {len(changed)} images: some outputs or "
            "features are much larger than the others, so that a step of 8 bits is too coarse; convert without 8 bits"
        )


def _first_wrong(model, images, convert, is_wrong):
    """Returns the name of the first layer whose stable outputs differ between file and Keras, or `None`."""
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
    # LCE may compute a tensor correctly if it is an output and wrongly if it is merged into the next operator. So each
    # layer is converted as the only output.
    right, wrong = -1, len(names) - 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if any(_are_wrong(plain, [found[names[middle]]], images, convert)):
            wrong = middle
        else:
            right = middle
    return names[wrong]


def _stable(plain, tensors, images):
    """Returns for each tensor of a model whether Keras agrees with itself on at least one of two images."""
    network, images = tf.keras.Model(plain.inputs[0], tensors), images[:2]
    expected, changed = of_keras(network, images), next(shifted(network, images))
    return [judge([like], [like], [[other]]).unstable < 1 for like, other in zip(expected, changed, strict=True)]


def _are_wrong(plain, tensors, images, convert):
    """Returns for each tensor of a model whether a file computes it wrongly; an empty list if that is unknown."""
    if not tensors:
        return []
    network = tf.keras.Model(plain.inputs[0], {str(place): tensor for place, tensor in enumerate(tensors)})
    try:
        content, order = convert(network)
        # The converter merges equal tensors into one output.
        places = [place for place in range(len(tensors)) if len(tensors) == 1 or str(place) in order]
        actual = of_file(content, images, [str(place) for place in places], order)
    except ConversionError:
        return []  # Some tensors cannot be outputs of a file.
    expected, others = of_keras(network, images), list(shifted(network, images))
    wrong = [False] * len(tensors)
    for place, own in zip(places, actual, strict=True):
        wrong[place] = judge([expected[place]], [own], [[other[place]] for other in others]).is_wrong
    return wrong
