"""Images with labels: the embedded digits, any TFDS image classification set, or a folder of images.

```python
from larq_nas import datasets

data = datasets.load("digits")
for images, labels in datasets.evaluation_batches(data, data.test, batch_size=64):
    ...
```

The training split comes in two halves. A search trains weights on one and the architecture on the other, a training
uses both; neither sees the test split.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from larq_nas.datasets import augmentations, folders, sources
from larq_nas.datasets.pixels import DatasetError

# Mean and standard deviation per channel, of pixels in [0, 1].
NORMALIZATION = {
    "cifar10": ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

_CACHE_BYTES = 1 << 30
_SHUFFLE_BYTES = 1 << 30


__all__ = ["DatasetError", "Images", "evaluation_batches", "load", "normalize", "training_batches"]
# How an image becomes one of `image_shape`, for a file that travels with the network.
_RESIZING = {
    False: "scale the whole image to the height and width of image_shape (bilinear, antialiased)",
    True: "scale the image, with its proportions, until it covers 8/7 of the height and width of image_shape "
    "(bilinear, antialiased), and take the central image_shape",
}


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled images and how to present them to a network.

    # Arguments
        name: What the user asked for.
        halves: The two halves of the training split, `tf.data.Dataset`s of `(image, label)`; images are `uint8`.
        half_sizes: Number of examples in each half.
        test: The held-out split, of the same form.
        test_size: Number of its examples.
        image_shape: Height, width and channels after resizing.
        class_names: One name per class.
        mean: Mean per channel that `normalize` subtracts, of pixels in [0, 1].
        std: Standard deviation per channel that it divides by.
        central_crop: Whether images of another size are evaluated on their central 7/8, or scaled as a whole.
        origin: What tells these examples from others, for a JSON file.
        note: What a user should know of what was read.
        class_weights: A weight for each class in the loss; `None` if all count alike.
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

    @property
    def train(self) -> tf.data.Dataset:
        """The whole training split."""
        return self.halves[0].concatenate(self.halves[1])

    @property
    def train_size(self) -> int:
        """Number of examples in the training split."""
        return sum(self.half_sizes)

    def describe(self) -> dict:
        """What a deployed network must know of its input, and what tells the data set from others, for a JSON file."""
        fields = ("name", "image_shape", "class_names", "mean", "std")
        described = {field: getattr(self, field) for field in fields}
        return {**described, "resizing": _RESIZING[self.central_crop], "origin": self.origin}


def load(name: str, data_dir=None, image_size=None, train_examples=None, *, channels=None, central_crop=None) -> Images:
    """Loads a data set by name.

    # Arguments
        name: `"digits"` (1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn), the name of a TFDS
            image classification set such as `"cifar10"` or `"cifar10:3.*.*"`, or `"folder:PATH"`, a folder with
            one sub-folder of images per class.
        data_dir: Where TFDS finds or puts its data sets.
        image_size: Height and width to which images are resized; needed where they differ in size.
        train_examples: Uses only so many examples of the training split.
        channels: 1 for gray images, 3 for RGB; by default 3 for a folder, and what the images have for others.
        central_crop: Whether images are kept whole for the random crops of a training, and evaluated on their
            central 7/8; by default for `imagenet2012` only, as published. If not, images are scaled to `image_size`.

    # Returns
        The data set.

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
        raise DatasetError(f"{name}: its images differ in size; give one, e.g. --image_size=224")
    if train_examples is not None:
        parts = _fewer(name, parts, train_examples)
    target = (image_size or shape[0], image_size or shape[1], channels or shape[2])
    central_crop = central_crop and shape[:2] != target[:2]
    parts = [(_shaped(part, shape, target, central_crop), size) for part, size in parts]
    sizes = [size for _, size in parts]
    # The shorter side of images that stay whole is twice as long at most.
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


def _fewer(name, parts, count):
    most = sum(size for _, size in parts[:2])
    if not 2 <= count <= most:
        raise DatasetError(f"--train_examples={count}: {name} has 2 to {most:,} of them")
    first = min(max(count - count // 2, count - parts[1][1]), parts[0][1])
    counts = (first, count - first)
    return [(part.take(n), min(n, size)) for (part, size), n in zip(parts, counts, strict=False)] + [parts[2]]


def _shaped(part, shape, target, central_crop):
    """Examples with images of the target's channels and, but for random crops, its size."""
    conversions = []
    if shape[2] != target[2]:
        colours = {(3, 1): tf.image.rgb_to_grayscale, (1, 3): tf.image.grayscale_to_rgb}
        if (shape[2], target[2]) not in colours:
            raise DatasetError(f"--channels={target[2]}: the images have {shape[2]}")
        conversions.append(colours[shape[2], target[2]])
    if central_crop:
        conversions.append(functools.partial(augmentations.shrink, side=2 * target[0]))
    elif shape[:2] != target[:2]:
        conversions.append(functools.partial(augmentations.fit, shape=target, central_crop=False))
    for convert in conversions:
        part = part.map(lambda x, y, convert=convert: (convert(x), y), tf.data.AUTOTUNE)
    return part


# --- batches -------------------------------------------------------------------------------------------------


def normalize(images: Images, pixels):
    """Pixels of 0 to 255 as the network's float input."""
    scale = 1 / (255 * np.array(images.std, np.float32))
    return tf.cast(pixels, tf.float32) * scale - np.array(images.mean, np.float32) / images.std


def evaluation_batches(images: Images, examples, batch_size: int) -> tf.data.Dataset:
    """Normalized batches in order, each example once."""

    def prepare(image, label):
        return augmentations.fit(image, images.image_shape, images.central_crop), label

    batches = examples.map(prepare, tf.data.AUTOTUNE).batch(batch_size)
    return batches.map(lambda x, y: (normalize(images, x), y), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def training_batches(
    images: Images, examples, size, batch_size, *, epochs, first_epoch=0, seed=0, augmentation="none", steps=None
) -> tf.data.Dataset:
    """Shuffled, augmented, normalized batches of all epochs, one epoch after the other.

    Order and augmentation of an epoch depend on `seed` and the epoch's number alone, so that an interrupted
    training goes on with the very batches that it would have seen.

    # Arguments
        images: The data set, for its normalization.
        examples: The part to read.
        size: Number of its examples.
        batch_size: Examples per batch; the last batch of an epoch may be smaller.
        epochs: Number of the epoch to end before.
        first_epoch: Number of the epoch to start with.
        seed: Any integer.
        augmentation: One of `augmentations.NAMES`.
        steps: Batches per epoch, `ceil(size / batch_size)` by default; the first ones come again if there are fewer.

    # Returns
        A data set of `steps` batches per epoch.
    """
    augment = augmentations.get(augmentation, images.image_shape, images.central_crop)
    steps = steps or -(-size // batch_size)
    # All of a small set, and of large images as many as memory holds.
    shape = zip(examples.element_spec[0].shape, images.image_shape, strict=True)
    image_bytes = math.prod(length or 2.5 * own for length, own in shape)
    buffer = int(min(size, max(16, _SHUFFLE_BYTES // image_bytes)))

    def epoch_batches(epoch):
        # Of this graph alone: the order must not depend on the seed of the program.
        tf.compat.v1.set_random_seed(1)
        epoch_seed = seed * 1_000_003 + epoch
        shuffled = examples.shuffle(buffer, epoch_seed, reshuffle_each_iteration=False)

        def prepare(index, example):
            image, label = example
            return augment(image, tf.stack([epoch_seed, index])), label

        batches = shuffled.enumerate().map(prepare, tf.data.AUTOTUNE).batch(batch_size).repeat().take(steps)
        return batches.map(lambda x, y: (normalize(images, x), y), tf.data.AUTOTUNE)

    return tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches).prefetch(tf.data.AUTOTUNE)
