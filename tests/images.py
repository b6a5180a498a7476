"""Small data sets, and what they hold."""

import numpy as np
import tensorflow as tf

from larq_nas import datasets


def parts(data):
    return [*data.halves, data.test]


def arrays(examples):
    images, labels = zip(*examples.as_numpy_iterator(), strict=True)
    return np.stack(images), np.array(labels)


def unbatched(batches):
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def in_memory(pixels, image_shape=None, central_crop=False):
    """A data set whose labels number the images and whose normalization leaves pixels as they are."""
    pixels = np.asarray(pixels, np.uint8)
    examples = tf.data.Dataset.from_tensor_slices((pixels, np.arange(len(pixels))))
    shape, channels = tuple(image_shape or pixels.shape[1:]), pixels.shape[-1]
    half = len(pixels) // 2
    halves, sizes = (examples.take(half), examples.skip(half)), (half, len(pixels) - half)
    names = tuple(map(str, range(len(pixels))))
    return datasets.Images(
        "here",
        halves,
        sizes,
        examples,
        len(pixels),
        shape,
        names,
        (0.0,) * channels,
        (1 / 255,) * channels,
        central_crop,
    )


def noise(count, height=16, width=16, channels=1):
    # No pixel is 0, the value of padding.
    return np.random.default_rng(3).integers(1, 256, (count, height, width, channels), dtype=np.uint8)
