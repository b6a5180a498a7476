import numpy as np
import pytest
import tensorflow as tf

from larq_nas import names
from larq_nas.datasets import augmentations

SHAPE = (16, 16, 3)


def _image(height=16, width=16):
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", names.AUGMENTATIONS)
@pytest.mark.parametrize("size", [(16, 16), (40, 23)])
def test_every_augmentation_gives_the_asked_shape_and_follows_its_seed(name, size):
    augment = augmentations.get(name, SHAPE)
    images = [augment(tf.constant(_image(*size)), tf.constant([3, seed])).numpy() for seed in (1, 1, *range(2, 12))]
    assert all(image.shape == SHAPE and image.dtype == np.uint8 for image in images)
    np.testing.assert_array_equal(images[0], images[1])
    assert (len({image.tobytes() for image in images}) > 5) == (name != "none")


def test_a_crop_is_a_window_of_the_padded_image_and_a_flip_mirrors_it():
    image = _image()
    padded = np.pad(image, [(2, 2), (2, 2), (0, 0)])
    windows = {padded[i : i + 16, j : j + 16].tobytes(): (i, j) for i in range(5) for j in range(5)}
    mirrored = {padded[i : i + 16, j : j + 16][:, ::-1].tobytes() for i in range(5) for j in range(5)}
    for name in ("crop", "crop_flip"):
        results = [augmentations.get(name, SHAPE)(tf.constant(image), tf.constant([0, s])).numpy() for s in range(60)]
        seen = {windows[r.tobytes()] for r in results if r.tobytes() in windows}
        assert len(seen) > 10
        assert all(r.tobytes() in windows or r.tobytes() in mirrored for r in results)
        assert any(r.tobytes() in mirrored for r in results) == (name == "crop_flip")


def test_cutout_makes_a_square_of_half_of_each_side_black():
    image = np.full((32, 32, 3), 255, np.uint8)
    cut, plain = (augmentations.get(name, (32, 32, 3)) for name in ("crop_flip_cutout", "crop_flip"))
    sizes = set()
    for number in range(40):
        seed = tf.constant([1, number])
        black = (cut(tf.constant(image), seed).numpy() == 0).all(axis=-1)
        margin = (plain(tf.constant(image), tf.random.split(seed, 3)[0]).numpy() == 0).all(axis=-1)
        rows, columns = (np.flatnonzero((black & ~margin).any(axis=axis)) for axis in (1, 0))
        assert black[np.ix_(rows, columns)].all() and 0 < len(rows) <= 16 and 0 < len(columns) <= 16
        assert (black | margin).sum() == black.sum()
        sizes.add((len(rows), len(columns)))
    assert (16, 16) in sizes and len(sizes) > 3


def test_the_centre_of_a_larger_image_is_seven_eighths_of_its_shorter_side():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 32:96] = 255
    central = augmentations.central(tf.constant(image), (28, 28, 3)).numpy()
    # 64 x 128 becomes 32 x 64, of which the 28 in the middle are white.
    assert (central > 250).all()
