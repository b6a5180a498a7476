"""Resizing and random augmentation of images. A random augmentation is a function of an image and a seed."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def resize(image: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Resizes a `uint8` image to `size`, a pair of height and width."""
    resized = tf.image.resize(tf.cast(image, tf.float32), size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def central(image: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Scales an image to 8/7 of the size of `shape` and crops the centre, e.g. 224 of 256 pixels.

    An image that has the shape already is returned unchanged.
    """
    if image.shape == shape:
        return image
    height, width = shape[:2]
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.reduce_max(tf.constant([height * 8 / 7, width * 8 / 7]) / size)
    image = resize(image, tf.cast(tf.math.ceil(size * scale), tf.int32))
    return tf.ensure_shape(tf.image.resize_with_crop_or_pad(image, height, width), shape)


def fit(image: tf.Tensor, shape: Sequence[int], central_crop: bool) -> tf.Tensor:
    """Brings an image to the shape of the network's input.

    # Arguments
        image: A `uint8` tensor of shape `(height, width, channels)`.
        shape: Height, width and channels of the result.
        central_crop: Whether the central 7/8 of the image are used. Otherwise, the whole image is scaled.

    # Returns
        A `uint8` tensor of the given shape. An image of this shape is returned unchanged.
    """
    if central_crop or image.shape == shape:
        return central(image, shape)
    return tf.ensure_shape(resize(image, shape[:2]), shape)


def shrink(image: tf.Tensor, side: int) -> tf.Tensor:
    """Scales an image down until its shorter side has at most `side` pixels, and keeps its proportions."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    factor = tf.cast(side, tf.float32) / tf.reduce_min(size)
    smaller = tf.cast(tf.maximum(tf.round(size * factor), 1), tf.int32)
    return tf.cond(factor < 1, lambda: resize(image, smaller), lambda: image)


def get(name: str, shape: Sequence[int], central_crop: bool = True) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns an augmentation by its name.

    # Arguments
        name: One of `names.AUGMENTATIONS`.
        shape: Height, width and channels of the result.
        central_crop: Whether images of another size are reduced to their central 7/8. If false, the whole image is
            scaled. The augmentation `"imagenet"` ignores this, since it crops at random itself.

    # Returns
        A function that maps an image and a seed, an integer tensor of shape `(2,)`, to an image.
    """
    height, width, _ = shape

    def crop(image, seed):
        # Pads an eighth on each side: 4 pixels for a CIFAR image.
        pad = [[height // 8] * 2, [width // 8] * 2, [0, 0]]
        return tf.image.stateless_random_crop(tf.pad(fit(image, shape, central_crop), pad), shape, seed)

    def crop_flip(image, seed):
        seeds = tf.random.split(seed, 2)
        return tf.image.stateless_random_flip_left_right(crop(image, seeds[0]), seeds[1])

    def crop_flip_cutout(image, seed):
        # The square has half the side of the image, 16 pixels for CIFAR. Its centre lies anywhere in the image, so that
        # the square may reach beyond the border.
        seeds = tf.random.split(seed, 3)
        inside = []
        for side, own in zip(shape[:2], tf.unstack(seeds[1:]), strict=True):
            centre = tf.random.stateless_uniform([], own, 0, side, tf.int32)
            inside.append((tf.range(side) >= centre - side // 4) & (tf.range(side) < centre + side // 4))
        hole = (inside[0][:, tf.newaxis] & inside[1])[:, :, tf.newaxis]
        return tf.where(hole, tf.zeros([], tf.uint8), crop_flip(image, seeds[0]))

    def imagenet(image, seed):
        seeds = tf.random.split(seed, 6)
        whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
        ranges = {"aspect_ratio_range": (3 / 4, 4 / 3), "area_range": (0.08, 1.0), "min_object_covered": 0.0}
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(tf.shape(image), whole, seeds[0], **ranges)
        image = tf.ensure_shape(resize(tf.slice(image, begin, size), (height, width)), shape)
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
        if shape[2] == 3:
            brightness = tf.random.stateless_uniform([], seeds[2], 0.6, 1.4)
            image = tf.cast(tf.clip_by_value(tf.cast(image, tf.float32) * brightness, 0, 255), tf.uint8)
            image = tf.image.stateless_random_contrast(image, 0.6, 1.4, seeds[3])
            image = tf.image.stateless_random_saturation(image, 0.6, 1.4, seeds[4])
            image = tf.image.stateless_random_hue(image, 0.2, seeds[5])
        return image

    functions = {"none": lambda image, seed: fit(image, shape, central_crop), "crop": crop, "crop_flip": crop_flip}
    return {**functions, "crop_flip_cutout": crop_flip_cutout, "imagenet": imagenet}[name]
