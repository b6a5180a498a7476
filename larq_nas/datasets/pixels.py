"""Converts images of files and data sets to `uint8` pixels from 0 to 255."""

import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from larq_nas.messages import first_line

# The largest values that 1, 8, 10, 12, 14 and 16 bits can hold.
_INTEGER_RANGES = (1, 255, 1023, 4095, 16383, 65535)
_SIDEWAYS = (5, 6, 7, 8)
# The bytes that mark the end of an image.
_END = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class DatasetError(ValueError):
    """A data set cannot be used. The message says what was given and what to do."""


def to_uint8(name: str, parts: list[tf.data.Dataset]) -> list[tf.data.Dataset]:
    """Converts images of any type to `uint8`, scaled by the range of the values in all parts.

    # Arguments
        name: Name of the data set, for error messages.
        parts: A list of `tf.data.Dataset`s of `(image, label)`. Images of `uint8` stay as they are.

    # Returns
        A list of `tf.data.Dataset`s with `uint8` images.

    # Raises
        DatasetError: If the dtype is not numeric, or the values are not in a range that images have.
    """
    dtype = parts[0].element_spec[0].dtype
    if dtype == tf.uint8:
        return parts
    if not (dtype.is_bool or dtype.is_integer or dtype.is_floating):
        raise DatasetError(f"{name}: its images are of {dtype.name}; accepted are numbers")
    low, high = _range(parts)
    if dtype.is_floating:
        # Values slightly above 1 come from rounding. Photographs from 0 to 255 have at least one bright pixel.
        full = 1 if high <= 1.001 else 255 if 128 <= high <= 255.5 else None
    else:
        full = next((limit for limit in _INTEGER_RANGES if high <= limit), None)
    if full is None or low < 0:
        accepted = "0 to 1 or 0 to 255" if dtype.is_floating else "0 to 65,535"
        raise DatasetError(
            f"{name}: its images are of {dtype.name} with pixels from {low:g} to {high:g}; accepted are {accepted}"
        )

    def convert(image, label):
        pixels = tf.round(tf.cast(image, tf.float32) * (255 / full))
        return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), label

    return [part.map(convert, tf.data.AUTOTUNE) for part in parts]


def _range(parts):
    """Returns the smallest and the largest value of all images; NaN and infinite values count as infinite."""

    def extremes(image, label):
        values = tf.cast(image, tf.float64)
        values = tf.where(tf.math.is_finite(values), values, np.inf)
        return tf.stack([tf.reduce_min(values), tf.reduce_max(values)])

    found = [batch for part in parts for batch in part.map(extremes, tf.data.AUTOTUNE).batch(1024).as_numpy_iterator()]
    found = np.concatenate(found)
    return found[:, 0].min(), found[:, 1].max()


class Header(NamedTuple):
    """What the beginning of an image file says.

    # Arguments
        shape: Height and width of the upright image.
        gray: Whether the image is gray.
        deep: Whether the image is gray with 16 bits.
    """

    shape: tuple[int, int]
    gray: bool
    deep: bool


def header(path: pathlib.Path | str) -> Header:
    """Reads size and colours of an image file without decoding the image, if possible.

    # Arguments
        path: Path of the file.

    # Returns
        A `Header`.

    # Raises
        DatasetError: If the file is not an image, or is cut off.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Other formats have 16 bits in mode I.
            if image.mode == "F" or image.mode == "I" and image.format == "TIFF":
                raise ValueError("pixels of 32 bits; save the image with 8 or 16 bits")
            end = _end(path)
            if not _is_whole(path, image.format, end):
                image.load()
            # Pillow decodes a PNG file that has no EXIF data in order to search for an orientation.
            may_turn = image.format != "PNG" or b"eXIf" in end or any("xmp" in str(key).lower() for key in image.info)
            may_turn = may_turn or "exif" in image.info
            if may_turn and image.getexif().get(0x0112, 1) in _SIDEWAYS:
                width, height = height, width
            deep = image.mode in ("I;16", "I;16B", "I")
            return Header((height, width), deep or image.mode in ("1", "L", "LA"), deep)
    except Exception as error:
        raise _broken(path, error) from None


def from_file(path: pathlib.Path | str, channels: int, size: int | None = None, crop: bool = False) -> np.ndarray:
    """Reads an image file.

    The image is turned upright by its EXIF orientation, and transparent parts become white. For an animation, the first
    picture is read.

    # Arguments
        path: Path of the file.
        channels: 1 for gray, 3 for RGB.
        size: Height and width to which the image is scaled; `None` keeps its size.
        crop: If true, the image keeps its proportions and is only scaled down until its shorter side has at most twice
            `size` pixels.

    # Returns
        A `uint8` array of shape `(height, width, channels)`.

    # Raises
        DatasetError: If the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            if size is not None:
                # JPEG files decode faster at a fraction of their size.
                image.draft(None, (4 * size, 4 * size))
            image = _plain(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
            if size is not None:
                target = (size, size)
                if crop:
                    factor = min(1, 2 * size / min(image.size))
                    target = tuple(max(round(side * factor), 1) for side in image.size)
                if target != image.size:
                    image = image.resize(target, Image.Resampling.BILINEAR)
            return np.asarray(image).reshape(image.height, image.width, channels)
    except Exception as error:
        raise _broken(path, error) from None


def _plain(image, mode):
    """Converts an image to mode L or RGB, with white behind transparent parts."""
    if image.mode.startswith("I;16") or image.mode == "I":
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("pixels of more than 16 bits")
        transparent = image.info.get("transparency")
        image = Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
        if transparent is not None:
            image = Image.merge("LA", (image, Image.fromarray(np.uint8(255) * (pixels != transparent))))
    if "a" in image.mode.lower() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _is_whole(path, kind, end):
    """Whether a file of some format is seen to be whole without decoding it."""
    if kind == "WEBP":
        with open(path, "rb") as file:
            stated = int.from_bytes(file.read(8)[4:], "little")
        return path.stat().st_size >= stated + 8
    return kind in _END and _END[kind] in end


def _end(path):
    """The last bytes of a file, which show whether it is cut off."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        # Some cameras write further data behind the image.
        file.seek(max(file.tell() - (1 << 16), 0))
        return file.read()


def _broken(path, error):
    if isinstance(error, Image.UnidentifiedImageError) or not str(error):
        reason = "no image, or broken"
    else:
        reason = first_line(error).rstrip(".")
    return DatasetError(f"{path}: not readable as an image ({reason}); mend or remove it")
