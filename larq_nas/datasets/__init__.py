"""Loads labelled images: the digits of scikit-learn, any image classification set of TFDS, or a folder of images.

```python
from larq_nas import datasets

data = datasets.load("digits")
for images, labels in datasets.evaluation_batches(data, data.test, batch_size=64):
    ...
```

The training split comes in two halves. A search trains the weights on the first half and the architecture on the second
half. A training uses both halves. Neither of them sees the test split.
"""

import dataclasses
import functools
import math
import pathlib

import numpy as np
import tensorflow as tf

from larq_nas.datasets import augmentations, folders, sources
from larq_nas.datasets.pixels import DatasetError

# Mean and standard deviation per channel, for pixels in [0, 1].
NORMALIZATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

_CACHE_BYTES = 1 << 30
_SHUFFLE_BYTES = 1 << 30


__all__ = ["DatasetError", "Images", "class_counts", "evaluation_batches", "load", "normalize", "training_batches"]
# How evaluation brings an image to `image_shape`, by `central_crop`; written into converted files.
_RESIZING = {
    False: "scale the whole image to the height and width of image_shape (bilinear, antialiased)",
    True: "scale the image, with its proportions, until it covers 8/7 of the height and width of image_shape "
    "(bilinear, antialiased), and take the central image_shape",
}


@dataclasses.dataclass(frozen=True)
class Images:
    """A data set of labelled images, and how to prepare the images for a network.

    # Arguments
        name: Name of the data set, as given to `load`.
        halves: The two halves of the training split: `tf.data.Dataset`s of `(image, label)` with `uint8` images.
        half_sizes: Number of examples in each half.
        test: The test split, a `tf.data.Dataset` of the same form.
        test_size: Number of examples in the test split.
        image_shape: Height, width and channels after resizing.
        class_names: One name per class.
        mean: Mean per channel that `normalize` subtracts, for pixels in [0, 1].
        std: Standard deviation per channel by which `normalize` divides, for pixels in [0, 1].
        central_crop: Whether images of another size are evaluated on their central 7/8. If false, the whole image is
            scaled.
        origin: A dict that identifies the examples (version or files), for a JSON file.
        note: A line for the user about the images that were read.
        class_weights: One weight per class in the loss, or `None` for equal weights.
        validation: The validation split, if there is one, see `validation.hold_out`.
        validation_size: Number of examples in the validation split.
        replicas: Number of replicas between which batches are divided. With more than one, all training batches have
            the same size: the last one of an epoch is filled up with the first examples.
    """

    name: str
    halves: tuple
    half_sizes: tuple
    test: tf.data.Dataset
    test_size: int
    image_shape: tuple
    class_names: tuple
    mean: tuple
    std: tuple
    central_crop: bool = False
    origin: dict = dataclasses.field(default_factory=dict)
    note: str = ""
    class_weights: tuple | None = None
    validation: tf.data.Dataset | None = None
    validation_size: int = 0
    replicas: int = 1

    @property
    def train(self) -> tf.data.Dataset:
        """The whole training split."""
        return self.halves[0].concatenate(self.halves[1])

    @property
    def train_size(self) -> int:
        """Number of examples in the training split."""
        return sum(self.half_sizes)

    def describe(self) -> dict:
        """Returns a dict for a JSON file: what a program must know to prepare images, and the origin of the data."""
        fields = ("name", "image_shape", "class_names", "mean", "std")
        described = {field: getattr(self, field) for field in fields}
        return {**described, "resizing": _RESIZING[self.central_crop], "origin": self.origin}


def load(
    name: str,
    data_dir: pathlib.Path | str | None = None,
    image_size: int | None = None,
    train_examples: int | None = None,
    *,
    channels: int | None = None,
    central_crop: bool | None = None,
) -> Images:
    """Loads a data set by name.

    # Arguments
        name: `"digits"` (1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn), the name of a TFDS
            image classification set such as `"cifar10"` or `"cifar10:3.*.*"`, or `"folder:PATH"` for a folder with
            one sub-folder of images per class.
        data_dir: Directory of the TFDS data sets.
        image_size: Height and width to which images are resized. Required if the images differ in size.
        train_examples: Number of examples of the training split to use; all by default.
        channels: 1 for gray images, 3 for RGB. By default 3 for a folder, and the images' own number for other data.
        central_crop: Whether images keep their proportions. If true, evaluations use the central 7/8 of an image, to
            suit a training with random crops. If false, whole images are scaled to `image_size`. Without `image_size`,
            it has no effect. By default true only for `imagenet2012`, as published.

    # Returns
        An `Images`.

    # Raises
        DatasetError: If there is no such data set or it cannot be used.
    """
    if central_crop is None:
        central_crop = name.split(":")[0] == "imagenet2012"
    central_crop = central_crop and image_size is not None
    if name == "digits":
        source = sources.digits()
    elif name.startswith("folder:"):
        source = folders.source(name.removeprefix("folder:"), channels, image_size, central_crop)
    else:
        source = sources.tfds_set(name, data_dir)
    shape, names, parts = source.shape, source.class_names, source.parts
    if len(names) < 2:
        raise DatasetError(f"{name}: has {len(names)} class; a classifier needs at least two")
    if image_size is None and None in shape:
        raise DatasetError(f"{name}: its images differ in size; give one, e.g. image_size=224")
    if train_examples is not None:
        parts = _fewer(name, parts, train_examples)
    target = (image_size or shape[0], image_size or shape[1], channels or shape[2])
    central_crop = central_crop and shape[:2] != target[:2]
    parts = [(_shaped(part, shape, target, central_crop), size) for part, size in parts]
    sizes = [size for _, size in parts]
    # Images for random crops have a shorter side of up to twice the target, and thus more pixels.
    if sum(sizes) * math.prod(target) * (6 if central_crop else 1) <= _CACHE_BYTES:
        parts = [(part.cache(), size) for part, size in parts]
    first, second, test = (part for part, _ in parts)
    mean, std = NORMALIZATION.get(name.split(":")[0], ((0.5,), (0.5,)))
    if len(mean) != target[2]:
        mean = std = (0.5,) * target[2]
    return Images(
        name, (first, second), tuple(sizes[:2]), test, sizes[2], target, names, mean, std,
        central_crop, source.origin, source.note,
    )  # fmt: skip


def class_counts(examples: tf.data.Dataset, num_classes: int) -> np.ndarray:
    """Counts the examples of each class.

    # Arguments
        examples: A `tf.data.Dataset` of `(image, label)`. It is read once.
        num_classes: Number of classes.

    # Returns
        An array of `num_classes` integers.
    """
    counts = np.zeros(num_classes, np.int64)
    for labels in examples.map(lambda image, label: label).batch(1024).as_numpy_iterator():
        counts += np.bincount(labels, minlength=num_classes)
    return counts


def _fewer(name, parts, count):
    most = sum(size for _, size in parts[:2])
    if not 2 <= count <= most:
        raise DatasetError(f"train_examples={count}: accepted for {name} are 2 to {most:,}")
    first = min(max(count - count // 2, count - parts[1][1]), parts[0][1])
    counts = (first, count - first)
    return [(part.take(n), min(n, size)) for (part, size), n in zip(parts, counts, strict=False)] + [parts[2]]


def _shaped(part, shape, target, central_crop):
    """Converts images to the target's channels and to its size. Images for random crops keep their proportions."""
    conversions = []
    if shape[2] != target[2]:
        colours = {(3, 1): tf.image.rgb_to_grayscale, (1, 3): tf.image.grayscale_to_rgb}
        if (shape[2], target[2]) not in colours:
            raise DatasetError(f"channels={target[2]}: images of {shape[2]} channels cannot be converted to it")
        conversions.append(colours[shape[2], target[2]])
    if central_crop:
        conversions.append(functools.partial(augmentations.shrink, side=2 * target[0]))
    elif shape[:2] != target[:2]:
        conversions.append(functools.partial(augmentations.fit, shape=target, central_crop=False))
    for convert in conversions:
        part = part.map(lambda x, y, convert=convert: (convert(x), y), tf.data.AUTOTUNE)
    return part


# --- batches -------------------------------------------------------------------------------------------------


def normalize(images: Images, pixels: tf.Tensor) -> tf.Tensor:
    """Normalizes pixels for a network.

    # Arguments
        images: The data set, for its mean and standard deviation.
        pixels: A tensor of pixels from 0 to 255, with channels last.

    # Returns
        A `float32` tensor: `(pixels / 255 - mean) / std`.
    """
    scale = 1 / (255 * np.array(images.std, np.float32))
    return tf.cast(pixels, tf.float32) * scale - np.array(images.mean, np.float32) / images.std


def evaluation_batches(
    images: Images, examples: tf.data.Dataset, batch_size: int, size: int | None = None
) -> tf.data.Dataset:
    """Makes normalized batches of all examples in their order, without augmentation.

    # Arguments
        images: The data set, for its normalization.
        examples: The `tf.data.Dataset` to read, e.g. `images.test`.
        batch_size: Examples per batch; the last batch may be smaller.
        size: Number of examples. If it is given and there are several replicas, the last batch is filled up, so that
            no replica gets an empty part.

    # Returns
        A `tf.data.Dataset` of batches of `(image, label)`. With `size` and several replicas, the batches are
        `(image, label, weight)`: the last one is filled up with examples of weight 0.
    """

    def prepare(image, label):
        return augmentations.fit(image, images.image_shape, images.central_crop), label

    prepared = examples.map(prepare, tf.data.AUTOTUNE)
    if size and images.replicas > 1:
        prepared = _filled_up(prepared, size, batch_size)
    batches = prepared.batch(batch_size)
    return batches.map(lambda x, *rest: (normalize(images, x), *rest), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _filled_up(examples, size, batch_size):
    """Adds examples of weight 0 until all batches are full.

    The other examples have a weight above 1, so that the mean loss, which Keras divides by the number of all examples,
    is that of the real examples.
    """
    full = size + -size % batch_size

    def weighted(index, example):
        return *example, tf.where(index < size, full / size, 0.0)

    return examples.repeat().take(full).enumerate().map(weighted, tf.data.AUTOTUNE)


def training_batches(
    images: Images,
    examples: tf.data.Dataset,
    size: int,
    batch_size: int,
    *,
    epochs: int,
    first_epoch: int = 0,
    seed: int = 0,
    augmentation: str = "none",
    steps: int | None = None,
) -> tf.data.Dataset:
    """Makes shuffled, augmented and normalized batches of all epochs, one epoch after the other.

    The order and the augmentation of an epoch depend only on `seed` and on the number of the epoch. So an interrupted
    training continues with the same batches that it would have seen.

    # Arguments
        images: The data set, for its normalization.
        examples: The `tf.data.Dataset` to read, e.g. `images.train`.
        size: Number of examples in `examples`.
        batch_size: Examples per batch; the last batch of an epoch may be smaller, see `Images.replicas`.
        epochs: The number of the last epoch, counted from 1.
        first_epoch: Number of the first epoch.
        seed: Any integer.
        augmentation: One of `names.AUGMENTATIONS`.
        steps: Batches per epoch; `ceil(size / batch_size)` by default. If there are fewer batches, they repeat from the
            first.

    # Returns
        A `tf.data.Dataset` with `steps` batches of `(image, label)` per epoch.
    """
    augment = augmentations.get(augmentation, images.image_shape, images.central_crop)
    steps = steps or -(-size // batch_size)
    # The shuffle buffer holds all of a small data set, and as many large images as fit into `_SHUFFLE_BYTES`.
    shape = zip(examples.element_spec[0].shape, images.image_shape, strict=True)
    image_bytes = math.prod(length or 2.5 * own for length, own in shape)
    buffer = int(min(size, max(16, _SHUFFLE_BYTES // image_bytes)))

    def epoch_batches(epoch):
        # Sets the seed of this graph only, so that the order does not depend on the seed of the program.
        tf.compat.v1.set_random_seed(1)
        epoch_seed = seed * 1_000_003 + epoch
        shuffled = examples.shuffle(buffer, epoch_seed, reshuffle_each_iteration=False)
        if images.replicas > 1:
            shuffled = shuffled.repeat().take(size + -size % batch_size)

        def prepare(index, example):
            image, label = example
            return augment(image, tf.stack([epoch_seed, index])), label

        batches = shuffled.enumerate().map(prepare, tf.data.AUTOTUNE).batch(batch_size).repeat().take(steps)
        return batches.map(lambda x, y: (normalize(images, x), y), tf.data.AUTOTUNE)

    return tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches).prefetch(tf.data.AUTOTUNE)
