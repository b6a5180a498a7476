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

import atexit
import dataclasses
import difflib
import functools
import math
import os
import pathlib
import shutil
import socket
import tempfile

import numpy as np
import tensorflow as tf

from larq_nas import augmentations

# Mean and standard deviation per channel, of pixels in [0, 1].
NORMALIZATION = {
    "cifar10": ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

_CACHE_BYTES = 1 << 30
_SHUFFLE_BYTES = 1 << 30


class DatasetError(ValueError):
    """A data set cannot be used; the message says what was given and what to do."""


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

    @property
    def train(self) -> tf.data.Dataset:
        """The whole training split."""
        return self.halves[0].concatenate(self.halves[1])

    @property
    def train_size(self) -> int:
        """Number of examples in the training split."""
        return sum(self.half_sizes)

    def describe(self) -> dict:
        """What a deployed network must know of its input, for a JSON file."""
        fields = ("name", "image_shape", "class_names", "mean", "std")
        return {field: getattr(self, field) for field in fields}


def load(name: str, data_dir=None, image_size=None, train_examples=None) -> Images:
    """Loads a data set by name.

    # Arguments
        name: `"digits"` (1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn), the name of a TFDS
            image classification set such as `"cifar10"` or `"cifar10:3.*.*"`, or `"folder:PATH"`, a folder with
            one sub-folder of images per class.
        data_dir: Where TFDS finds or puts its data sets.
        image_size: Height and width to which images are resized; needed where they differ in size.
        train_examples: Uses only so many examples of the training split.

    # Returns
        The data set.

    # Raises
        DatasetError: If there is no such data set or it cannot be used.
    """
    if name == "digits":
        parts, shape, names = _digits()
    elif name.startswith("folder:"):
        parts, shape, names = _folder(pathlib.Path(name.removeprefix("folder:")).expanduser())
    else:
        parts, shape, names = _tfds(name, data_dir)
    if len(names) < 2:
        raise DatasetError(f"{name}: has {len(names)} class; a classifier needs at least two")
    if image_size is None and None in shape:
        raise DatasetError(f"{name}: its images differ in size; give one, e.g. --image_size=224")
    if train_examples is not None:
        most = sum(size for _, size in parts[:2])
        if not 2 <= train_examples <= most:
            raise DatasetError(f"--train_examples={train_examples}: {name} has 2 to {most:,} of them")
        first = min(max(train_examples - train_examples // 2, train_examples - parts[1][1]), parts[0][1])
        counts = (first, train_examples - first)
        parts = [(part.take(n), min(n, size)) for (part, size), n in zip(parts, counts, strict=False)] + [parts[2]]
    if image_size is not None:
        # Images of one size are resized here, once; others stay whole for the random crops of a training.
        resize = functools.partial(augmentations.resize, size=(image_size, image_size))
        if None not in shape:
            parts = [(part.map(lambda x, y: (resize(x), y), tf.data.AUTOTUNE), size) for part, size in parts]
        cached, shape = None not in shape, (image_size, image_size, shape[2])
    else:
        cached = True
    sizes = [size for _, size in parts]
    if cached and sum(sizes) * np.prod(shape) <= _CACHE_BYTES:
        parts = [(part.cache(), size) for part, size in parts]
    first, second, test = (part for part, _ in parts)
    mean, std = NORMALIZATION.get(name.split(":")[0], ((0.5,) * shape[2],) * 2)
    return Images(name, (first, second), tuple(sizes[:2]), test, sizes[2], tuple(shape), tuple(names), mean, std)


# --- sources -------------------------------------------------------------------------------------------------


def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    splits = np.split(order, [718, 1437])
    parts = [(tf.data.Dataset.from_tensor_slices((images[s], labels[s])), len(s)) for s in splits]
    return parts, (8, 8, 1), [str(digit) for digit in range(10)]


def _tfds(name, data_dir):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name.lower(), ["digits", *tfds.list_builders()], n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see the TFDS catalogue."
        raise DatasetError(f"unknown data set {name!r}; {hint} A folder is folder:PATH") from None
    except (AssertionError, ImportError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{name}: {_first_line(error)}") from None
    if not builder.is_prepared():
        _prepare(name, builder)
    return _tfds_parts(name, builder)


def _prepare(name, builder):
    advice = "give --data_dir where it is, or prepare it on a machine with a network"
    try:
        # TFDS would try again for minutes before it says that there is no network.
        if not any(proxy in os.environ for proxy in ("https_proxy", "HTTPS_PROXY")):
            socket.getaddrinfo("www.tensorflow.org", 443)
    except OSError:
        raise DatasetError(f"{name} is not prepared in {builder.data_dir}, and no network; {advice}") from None
    try:
        builder.download_and_prepare()
    except Exception as error:
        reason = _first_line(error)
        raise DatasetError(f"{name}: could not be prepared in {builder.data_dir} ({reason}); {advice}") from None


def _has_labels(builder, split):
    # TFDS labels the examples of a split whose labels are secret with -1.
    return all(label >= 0 for _, label in _supervised(builder, split).take(1))


def _tfds_parts(name, builder):
    import tensorflow_datasets as tfds

    features, splits = builder.info.features, builder.info.splits
    missing = {"image", "label"} - set(features)
    if missing:
        raise DatasetError(
            f"{name} has no {' and no '.join(sorted(missing))}; its features are {', '.join(features)}, "
            "and a classifier needs image and label"
        )
    if not isinstance(features["label"], tfds.features.ClassLabel):
        raise DatasetError(f"{name}: its label is {type(features['label']).__name__}, and a classifier needs one class")
    held_out = next((s for s in ("test", "validation") if s in splits and _has_labels(builder, s)), None)
    if "train" not in splits or held_out is None:
        raise DatasetError(f"{name} has the splits {', '.join(splits)}; needed are train and test or validation")

    names = ("train[:50%]", "train[50%:]", held_out)
    parts = [(_supervised(builder, split), splits[split].num_examples) for split in names]
    return parts, features["image"].shape, features["label"].names


def _supervised(builder, split):
    import tensorflow_datasets as tfds

    examples = builder.as_dataset(split, read_config=tfds.ReadConfig(try_autocache=False))
    return examples.map(lambda e: (e["image"], e["label"]), tf.data.AUTOTUNE)


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _folder(path):
    import tensorflow_datasets as tfds

    if not path.is_dir():
        raise DatasetError(f"folder:{path}: there is no such folder")
    suffixes = (".jpg", ".jpeg", ".png")
    files = {
        sub.name: sorted(file for file in sub.iterdir() if file.suffix.lower() in suffixes and file.is_file())
        for sub in sorted(path.iterdir())
        if sub.is_dir() and not sub.name.startswith(".")
    }
    if len(files) < 2:
        raise DatasetError(f"folder:{path}: needs a sub-folder per class and at least two; has {len(files)}")
    few = [name for name, found in files.items() if len(found) < 5]
    if few:
        raise DatasetError(f"folder:{path}/{few[0]}: needs at least 5 images ({', '.join(suffixes)})")
    # TFDS reads folders of splits of classes: show it the user's folder that way, a fifth of each class held out.
    staging = tempfile.TemporaryDirectory(prefix="larq_nas-")
    atexit.register(staging.cleanup)
    for name, found in files.items():
        for index, file in enumerate(found):
            split = ("test", "first", "second", "first", "second")[index % 5]
            target = pathlib.Path(staging.name, split, name)
            target.mkdir(parents=True, exist_ok=True)
            try:
                (target / file.name).symlink_to(file.resolve())
            except OSError:  # Windows allows links to developers only.
                shutil.copyfile(file, target / file.name)
    builder = tfds.ImageFolder(staging.name, shape=(None, None, 3))
    parts, shapes = [], set()
    for split in ("first", "second", "test"):
        shapes |= _decoded_shapes(builder, split, path)
        parts.append((_supervised(builder, split), builder.info.splits[split].num_examples))
    shape = (*shapes.pop(), 3) if len(shapes) == 1 else (None, None, 3)
    return parts, shape, builder.info.features["label"].names


def _decoded_shapes(builder, split, path):
    """Decodes every image once, so that a broken one is named before the training and not in it."""
    import tensorflow_datasets as tfds

    shapes = set()
    files = builder.as_dataset(split, decoders={"image": tfds.decode.SkipDecoding()})
    try:
        for shape in builder.as_dataset(split).map(
            lambda e: tf.reshape(tf.shape(e["image"])[:-1], [2]), tf.data.AUTOTUNE
        ):
            shapes.add(tuple(shape.numpy().tolist()))
    except tf.errors.InvalidArgumentError:
        for example in files.as_numpy_iterator():
            try:
                tf.ensure_shape(tf.io.decode_image(example["image"], channels=3), (None, None, 3))
            except (ValueError, tf.errors.InvalidArgumentError):
                link = pathlib.Path(example["image/filename"].decode())
                file = path / link.parent.name / link.name
                raise DatasetError(f"{file}: not readable as a JPEG or PNG image") from None
        raise
    return shapes


# --- batches -------------------------------------------------------------------------------------------------


def normalize(images: Images, pixels):
    """Pixels of 0 to 255 as the network's float input."""
    scale = 1 / (255 * np.array(images.std, np.float32))
    return tf.cast(pixels, tf.float32) * scale - np.array(images.mean, np.float32) / images.std


def evaluation_batches(images: Images, examples, batch_size: int) -> tf.data.Dataset:
    """Normalized batches in order, each example once."""

    def prepare(image, label):
        return augmentations.central(image, images.image_shape), label

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
    augment = augmentations.get(augmentation, images.image_shape)
    steps = steps or -(-size // batch_size)
    # All of a small set, and of large images as many as memory holds.
    image_bytes = math.prod(length or 512 for length in examples.element_spec[0].shape)
    buffer = min(size, max(1_000, _SHUFFLE_BYTES // image_bytes))

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
