import dataclasses
import math
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
from images import arrays, in_memory, noise, parts, unbatched
from PIL import Image
from sklearn.datasets import load_digits

from larq_nas import datasets, names

# --- digits --------------------------------------------------------------------------------------------------


def test_digits_are_split_into_three_disjoint_parts():
    data = datasets.load("digits")
    found = [image.tobytes() + bytes([y]) for part in parts(data) for image, y in part.as_numpy_iterator()]
    digits = load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    assert sorted(found) == sorted(p.tobytes() + bytes([label]) for p, label in zip(pixels, digits.target, strict=True))
    assert len(found) == 1797


def test_sizes_of_digits_are_those_of_their_parts():
    data = datasets.load("digits")
    assert [len(arrays(part)[1]) for part in parts(data)] == [*data.half_sizes, data.test_size]
    assert data.train_size == len(arrays(data.train)[1]) == 1437
    assert data.image_shape == (8, 8, 1) == arrays(data.test)[0].shape[1:]


def test_every_digit_is_in_every_part():
    data = datasets.load("digits")
    assert data.class_names == tuple("0123456789")
    for part in parts(data):
        assert set(arrays(part)[1]) == set(range(10))


def test_digits_are_split_the_same_way_at_every_load():
    tf.random.set_seed(1)
    np.random.seed(1)
    first = datasets.load("digits")
    tf.random.set_seed(2)
    np.random.seed(2)
    for one, other in zip(parts(first), parts(datasets.load("digits")), strict=True):
        np.testing.assert_array_equal(arrays(one)[0], arrays(other)[0])
        np.testing.assert_array_equal(arrays(one)[1], arrays(other)[1])


@pytest.mark.parametrize("count, sizes", [(2, (1, 1)), (100, (50, 50)), (101, (51, 50))])
def test_train_examples_takes_so_many_and_leaves_the_test_split(count, sizes):
    data = datasets.load("digits", train_examples=count)
    assert data.half_sizes == sizes == tuple(len(arrays(half)[1]) for half in data.halves)
    assert data.test_size == len(arrays(data.test)[1]) == 360


def test_train_examples_can_ask_for_all():
    data = datasets.load("digits", train_examples=1437)
    assert data.train_size == len(arrays(data.train)[1]) == 1437


@pytest.mark.parametrize("count", [-1, 0, 1, 1438])
def test_train_examples_out_of_bounds_is_refused_with_the_bounds(count):
    with pytest.raises(datasets.DatasetError, match=f"{count}: accepted for digits are 2 to 1,437"):
        datasets.load("digits", train_examples=count)


def test_image_size_resizes_every_part():
    data = datasets.load("digits", image_size=20)
    assert data.image_shape == (20, 20, 1)
    for part in parts(data):
        image, _ = next(iter(part))
        assert image.shape == (20, 20, 1)
        assert image.dtype == tf.uint8
    small, large = (arrays(each.test)[0].astype(float) for each in (datasets.load("digits"), data))
    # The same picture, larger.
    np.testing.assert_allclose(large.mean((1, 2, 3)), small.mean((1, 2, 3)), atol=4)


def test_image_size_of_the_images_themselves_changes_nothing():
    plain, resized = datasets.load("digits"), datasets.load("digits", image_size=8)
    np.testing.assert_array_equal(arrays(plain.test)[0], arrays(resized.test)[0])


def test_describe_says_what_a_deployed_network_needs():
    described = datasets.load("digits").describe()
    assert described.pop("resizing").startswith("scale the whole image")
    assert described == {
        "name": "digits",
        "image_shape": (8, 8, 1),
        "class_names": tuple("0123456789"),
        "mean": (0.5,),
        "std": (0.5,),
        "origin": {"examples": [718, 719, 360]},
    }


# --- normalization -------------------------------------------------------------------------------------------


def test_normalize_takes_pixels_of_digits_to_minus_one_and_one():
    pixels = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    normalized = datasets.normalize(datasets.load("digits"), pixels)
    assert normalized.dtype == tf.float32
    np.testing.assert_allclose(np.ravel(normalized), [-1, 1], atol=1e-6)


@pytest.mark.parametrize("name", datasets.NORMALIZATION)
def test_normalize_subtracts_the_mean_and_divides_by_the_deviation(name):
    mean, std = datasets.NORMALIZATION[name]
    empty = tf.data.Dataset.range(0)
    data = datasets.Images(name, (empty, empty), (0, 0), empty, 0, (4, 4, 3), ("a", "b"), mean, std)
    pixels = noise(5, 4, 4, 3)
    expected = (pixels / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(datasets.normalize(data, pixels), expected, atol=1e-5)


# --- training batches ----------------------------------------------------------------------------------------


def training(data, batch_size=8, **options):
    return datasets.training_batches(data, data.test, data.test_size, batch_size, **options)


@pytest.mark.parametrize("count, batch_size", [(50, 8), (48, 8), (5, 8), (3, 1)])
def test_an_epoch_has_ceil_of_size_over_batch_size_batches(count, batch_size):
    sizes = [len(y) for _, y in training(in_memory(noise(count)), batch_size, epochs=3)]
    steps = math.ceil(count / batch_size)
    assert len(sizes) == 3 * steps
    # No batch mixes two epochs.
    assert [sum(sizes[start : start + steps]) for start in range(0, 3 * steps, steps)] == [count] * 3


@pytest.mark.parametrize("count, batch_size", [(50, 8), (48, 8), (5, 8)])
def test_replicas_get_whole_batches_which_begin_with_each_example_once(count, batch_size):
    data = dataclasses.replace(in_memory(noise(count)), replicas=2)
    steps = math.ceil(count / batch_size)
    labels = np.stack([y for _, y in training(data, batch_size, epochs=2).as_numpy_iterator()])
    assert labels.shape == (2 * steps, batch_size)
    for epoch in labels.reshape(2, -1):
        np.testing.assert_array_equal(np.sort(epoch[:count]), np.arange(count))


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_every_epoch_holds_each_example_once(monkeypatch, memory):
    # A data set larger than the shuffle buffer must not lose or repeat anything either.
    monkeypatch.setattr(datasets, "_SHUFFLE_BYTES", memory)
    pixels = noise(1200)
    images, labels = unbatched(training(in_memory(pixels), batch_size=100, epochs=3))
    for epoch in labels.reshape(3, 1200):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(1200))
    # Labels stay with their images.
    np.testing.assert_array_equal(images, pixels[labels])


def test_epochs_and_seeds_have_orders_of_their_own():
    data = in_memory(noise(50))
    orders = [unbatched(training(data, epochs=3, seed=seed))[1].reshape(3, 50) for seed in (-1, 0, 1, 2)]
    assert len({order.tobytes() for order in np.concatenate(orders)}) == 12


@pytest.mark.parametrize("augmentation", names.AUGMENTATIONS)
def test_a_resumed_training_sees_the_very_batches_it_would_have_seen(augmentation):
    data = in_memory(noise(20, channels=3))
    options = {"epochs": 4, "seed": 5, "augmentation": augmentation}
    images, labels = unbatched(training(data, **options))
    resumed_images, resumed_labels = unbatched(training(data, first_epoch=2, **options))
    np.testing.assert_array_equal(resumed_labels, labels[40:])
    np.testing.assert_array_equal(resumed_images, images[40:])


def test_batches_do_not_depend_on_the_seed_of_the_program():
    data, seen = in_memory(noise(20)), set()
    for seed in (0, 1, 1234):
        tf.random.set_seed(seed)
        images, labels = unbatched(training(data, epochs=2, augmentation="crop_flip"))
        seen.add(images.tobytes() + labels.tobytes())
    assert len(seen) == 1


def test_reading_batches_leaves_the_seed_of_the_program_alone():
    def draws(read):
        tf.random.set_seed(7)
        if read:
            list(training(in_memory(noise(4)), epochs=1))
        return tf.random.uniform([3]).numpy().tolist()

    assert draws(True) == draws(False)


def test_training_starts_over_at_every_iteration_of_its_batches():
    batches = training(in_memory(noise(20)), epochs=2, augmentation="crop")
    np.testing.assert_array_equal(unbatched(batches)[0], unbatched(batches)[0])


@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 20, 3)])
@pytest.mark.parametrize("augmentation", names.AUGMENTATIONS)
def test_augmentations_keep_the_shape_and_the_range_of_pixels(augmentation, shape):
    images, _ = unbatched(training(in_memory(noise(16, *shape)), epochs=2, augmentation=augmentation))
    assert images.shape == (32, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255


@pytest.mark.parametrize("augmentation", ["crop", "crop_flip", "imagenet"])
def test_augmentations_differ_between_epochs(augmentation):
    images, labels = unbatched(training(in_memory(noise(20)), epochs=2, augmentation=augmentation))
    first, second = images[np.argsort(labels[:20])], images[20:][np.argsort(labels[20:])]
    same = [np.array_equal(one, other) for one, other in zip(first, second, strict=True)]
    assert sum(same) < 10


def windows(image, margin):
    """All crops of an image padded with zeros, by how far they are shifted."""
    height, width, _ = image.shape
    padded = np.pad(image, [(margin, margin), (margin, margin), (0, 0)])
    shifts = [(y, x) for y in range(2 * margin + 1) for x in range(2 * margin + 1)]
    return {padded[y : y + height, x : x + width].tobytes(): (y - margin, x - margin) for y, x in shifts}


@pytest.mark.parametrize("augmentation, sides", [("crop", {False}), ("crop_flip", {False, True})])
def test_crops_shift_by_up_to_an_eighth_and_flips_mirror_half(augmentation, sides):
    pixels = noise(200)
    images, labels = unbatched(training(in_memory(pixels), epochs=1, augmentation=augmentation))
    shifts, mirrored = [], []
    for image, label in zip(images.astype(np.uint8), labels, strict=True):
        shift = windows(pixels[label], 2)
        mirrored.append(image.tobytes() not in shift)
        shifts.append(shift[(image[:, ::-1] if mirrored[-1] else image).tobytes()])
    assert {y for y, _ in shifts} == {x for _, x in shifts} == {-2, -1, 0, 1, 2}
    assert set(mirrored) == sides
    if True in sides:
        assert 70 < sum(mirrored) < 130


def test_no_augmentation_shows_images_as_they_are():
    pixels = noise(10, channels=3)
    images, labels = unbatched(training(in_memory(pixels), epochs=1, augmentation="none"))
    np.testing.assert_array_equal(images, pixels[labels])


@pytest.mark.parametrize("central_crop", [False, True])
@pytest.mark.parametrize("augmentation", names.AUGMENTATIONS)
def test_training_images_take_the_size_of_the_network(augmentation, central_crop):
    data = in_memory(noise(6, 40, 24, 3), (16, 16, 3), central_crop)
    images, _ = unbatched(training(data, epochs=1, augmentation=augmentation))
    assert images.shape == (6, 16, 16, 3)


# --- evaluation batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 30])
def test_evaluation_sees_each_example_once_in_order(batch_size):
    pixels = noise(20)
    data = in_memory(pixels)
    images, labels = unbatched(datasets.evaluation_batches(data, data.test, batch_size))
    np.testing.assert_array_equal(labels, np.arange(20))
    np.testing.assert_array_equal(images, pixels)


@pytest.mark.parametrize("count, batch_size", [(20, 8), (16, 8), (5, 8)])
def test_the_evaluation_of_replicas_has_whole_batches_and_the_same_figures(count, batch_size):
    data = in_memory(noise(count))
    classes = np.random.default_rng(0).integers(0, 3, size=count)
    examples = data.test.map(lambda image, number: (image, tf.gather(tf.constant(classes), number)))
    replicated = dataclasses.replace(data, replicas=2)
    shape = data.image_shape
    model = tf.keras.Sequential([tf.keras.layers.Flatten(input_shape=shape), tf.keras.layers.Dense(3, "softmax")])
    model.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(), weighted_metrics=["accuracy"])
    expected = model.evaluate(datasets.evaluation_batches(data, examples, batch_size, count), verbose=0)
    batches = datasets.evaluation_batches(replicated, examples, batch_size, count)
    assert {len(part) for batch in batches for part in batch} == {batch_size}
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), expected, rtol=1e-5)
    # Without the number of examples, batches have no weights.
    assert all(len(batch) == 2 for batch in datasets.evaluation_batches(replicated, examples, batch_size))


def test_evaluation_normalizes():
    data = datasets.load("digits")
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 64))
    np.testing.assert_allclose(images, arrays(data.test)[0] / 127.5 - 1, atol=1e-5)


def test_evaluation_takes_the_central_seven_eighths():
    pixels = noise(3)
    data = in_memory(pixels, (14, 14, 1), central_crop=True)
    assert "take the central image_shape" in data.describe()["resizing"]
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 2))
    np.testing.assert_array_equal(images, pixels[:, 1:15, 1:15])


@pytest.mark.parametrize("height, width", [(16, 40), (40, 16), (64, 160), (5, 9)])
def test_a_central_crop_keeps_the_proportions_of_an_image(height, width):
    # Left and right (or upper and lower) thirds are dark: an image that is squeezed would show them.
    pixels = np.full((1, height, width, 1), 200, np.uint8)
    long = 2 if width > height else 1
    third = pixels.shape[long] // 5
    edge = [slice(None)] * 4
    for edge[long] in (slice(None, third), slice(-third, None)):
        pixels[tuple(edge)] = 0
    data = in_memory(pixels, (14, 14, 1), central_crop=True)
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 1))
    assert images.shape == (1, 14, 14, 1)
    assert images[0, 3:-3, 3:-3].min() > 150


@pytest.mark.parametrize("height, width", [(16, 40), (40, 16)])
def test_evaluation_scales_the_whole_image_as_the_description_says(height, width):
    # A frame of one pixel would be lost in a crop.
    pixels = noise(2, height, width, 3)
    data = in_memory(pixels, (8, 8, 3))
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 2))
    scaled = [Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR) for image in pixels]
    np.testing.assert_allclose(images, np.stack(scaled).astype(float), atol=1.01)


# --- TFDS ----------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def store(tmp_path, offline):
    """Writes a TFDS data set: `splits` maps a name to the pixels of its images, or to (pixels, labels)."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def write(name, splits, shape=(6, 6, 3), features=None):
        features = features or {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names="ab"),
        }

        def examples(pixels, labels):
            dtype = tf.as_dtype(features["image"].dtype).as_numpy_dtype
            columns = {"image": np.stack([np.full(shape, p, dtype) for p in pixels]), "label": labels}
            kept = {key: columns.get(key, np.zeros(len(pixels), np.int64)) for key in features}
            return tf.data.Dataset.from_tensor_slices(kept)

        pairs = {split: v if isinstance(v, tuple) else (v, np.array(v) % 2) for split, v in splits.items()}
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            data_dir=tmp_path,
            features=tfds.features.FeaturesDict(features),
            split_datasets={split: examples(*pair) for split, pair in pairs.items()},
        )
        return tmp_path

    return write


@pytest.mark.parametrize("shape", [(6, 6, 3), (6, 6, 1)])
def test_a_tfds_set_is_read_with_its_train_split_halved(store, shape):
    data_dir = store("tiny", {"train": range(20), "test": range(20, 26)}, shape)
    data = datasets.load("tiny", data_dir=data_dir)
    assert (data.half_sizes, data.test_size) == ((10, 10), 6)
    assert (data.image_shape, data.class_names) == (shape, ("a", "b"))
    assert len(data.mean) == len(data.std) == shape[-1]
    first, second, test = (arrays(part) for part in parts(data))
    assert first[0].shape == (10, *shape)
    # Each image is of one value, which tells it apart, and whose parity is its label.
    assert sorted([*first[0][:, 0, 0, 0], *second[0][:, 0, 0, 0]]) == list(range(20))
    assert sorted(test[0][:, 0, 0, 0]) == list(range(20, 26))
    for images, labels in (first, second, test):
        np.testing.assert_array_equal(images[:, 0, 0, 0] % 2, labels)


@pytest.mark.parametrize("name", ["tiny", "tiny:1.0.0", "tiny:1.*.*"])
def test_a_tfds_set_may_be_named_with_a_version(store, name):
    data_dir = store("tiny", {"train": range(8), "test": range(4)})
    assert datasets.load(name, data_dir=data_dir).train_size == 8


def test_a_tfds_set_of_an_odd_number_of_examples_loses_none(store):
    data = datasets.load("tiny", data_dir=store("tiny", {"train": range(13), "test": range(4)}))
    assert data.train_size == 13
    assert [len(arrays(half)[1]) for half in data.halves] == list(data.half_sizes)
    assert sorted(arrays(data.train)[0][:, 0, 0, 0]) == list(range(13))


def test_validation_stands_in_for_a_missing_test_split(store):
    data_dir = store("tiny", {"train": range(8), "validation": range(100, 105)})
    assert sorted(arrays(datasets.load("tiny", data_dir=data_dir).test)[0][:, 0, 0, 0]) == list(range(100, 105))


def test_the_test_split_is_preferred_to_validation(store):
    data_dir = store("tiny", {"train": range(8), "validation": range(9), "test": range(5)})
    assert datasets.load("tiny", data_dir=data_dir).test_size == 5


def test_a_test_split_without_labels_is_not_evaluated_on(store):
    # As TFDS has it for imagenet2012, whose test labels are secret.
    secret = (range(5), np.full(5, -1))
    data_dir = store("tiny", {"train": range(8), "validation": range(100, 106), "test": secret})
    data = datasets.load("tiny", data_dir=data_dir)
    assert set(arrays(data.test)[1]) == {0, 1}


def of_type(dtype, shape=(6, 6, 1)):
    import tensorflow_datasets as tfds

    if dtype in ("uint8", "uint16", "float32"):
        image = tfds.features.Image(shape=shape, dtype=np.dtype(dtype))
    else:
        image = tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype))
    return {"image": image, "label": tfds.features.ClassLabel(names="ab")}


@pytest.mark.parametrize(
    "dtype, most",
    [
        *[("uint8", 255), ("uint16", 65535), ("uint16", 4095), ("uint16", 255), ("float32", 1.0), ("float32", 255.0)],
        *[("float64", 1.0), ("float16", 1.0), ("int32", 255), ("int64", 1023), ("bool", 1)],
    ],
)
def test_pixels_of_every_type_and_range_end_as_bytes(store, dtype, most):
    values = np.array([0, 1] * 8 if dtype == "bool" else np.arange(16) / 15) * most
    values = (np.round(values) if dtype.startswith(("int", "uint")) else values).astype(dtype)
    splits = {split: (values, np.arange(16) % 2) for split in ("train", "test")}
    data = datasets.load("tiny", data_dir=store("tiny", splits, (6, 6, 1), of_type(dtype)))
    images, _ = arrays(data.test)
    assert images.dtype == np.uint8
    expected = sorted(np.round(values.astype(float) * 255 / most))
    np.testing.assert_allclose(sorted(images[:, 0, 0, 0]), expected, atol=1)
    batches, _ = unbatched(datasets.evaluation_batches(data, data.test, 4))
    assert (batches.min(), batches.max()) == (-1, 1)


@pytest.mark.parametrize(
    "dtype, values, said",
    [
        ("float32", (-1, 1), "pixels from -1 to 1; accepted are 0 to 1 or 0 to 255"),
        ("float32", (0, 16), "pixels from 0 to 16"),
        ("float32", (0, 1000), "pixels from 0 to 1000"),
        ("float32", (0, np.nan), "inf"),
        ("int32", (-5, 100), "pixels from -5 to 100; accepted are 0 to 65,535"),
        ("int32", (0, 70000), "pixels from 0 to 70000"),
    ],
)
def test_pixels_of_no_range_of_images_are_refused_in_one_line(store, dtype, values, said):
    splits = {split: (np.array(values, dtype), np.array([0, 1])) for split in ("train", "test")}
    with pytest.raises(datasets.DatasetError, match=said) as error:
        datasets.load("tiny", data_dir=store("tiny", splits, (6, 6, 1), of_type(dtype)))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_changed_where_asked(store, channels):
    data_dir = store("tiny", {"train": range(8), "test": range(100, 104)}, (6, 6, 4 - channels))
    data = datasets.load("tiny", data_dir=data_dir, channels=channels)
    assert data.image_shape == (6, 6, channels) and len(data.mean) == channels
    assert sorted(arrays(data.test)[0][:, 0, 0, 0]) == list(range(100, 104))


def test_large_images_do_not_wait_whole_in_the_shuffle_buffer(store):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(names="ab")}
    splits = {split: (range(8), np.arange(8) % 2) for split in ("train", "test")}
    data_dir = store("tiny", splits, (100, 160, 3), features)
    data = datasets.load("tiny", data_dir=data_dir, image_size=8)
    assert data.train.element_spec[0].shape == (8, 8, 3)
    whole = datasets.load("tiny", data_dir=data_dir, image_size=8, central_crop=True)
    assert {image.shape for image, _ in whole.train} == {(16, 26, 3)}


@pytest.mark.parametrize("splits", [{"train": range(8)}, {"test": range(8)}, {"train": range(8), "extra": range(4)}])
def test_a_tfds_set_without_the_splits_is_refused_with_those_it_has(store, splits):
    data_dir = store("tiny", splits)
    with pytest.raises(datasets.DatasetError, match=f"tiny has the splits {', '.join(splits)}; needed are train and"):
        datasets.load("tiny", data_dir=data_dir)


def test_a_tfds_set_without_labels_is_refused_with_the_features_it_has(store):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {"image": tfds.features.Image(shape=(6, 6, 3)), "boxes": tfds.features.Scalar(tf.int64)}
    data_dir = store("tiny", {"train": range(8), "test": range(4)}, features=features)
    with pytest.raises(datasets.DatasetError, match="tiny has no label; its features are .*boxes"):
        datasets.load("tiny", data_dir=data_dir)


@pytest.mark.parametrize("label", ["number", "several"])
def test_a_tfds_set_whose_label_is_no_class_is_refused(store, label):
    tfds = pytest.importorskip("tensorflow_datasets")
    several = tfds.features.Sequence(tfds.features.ClassLabel(names="ab"), length=2)
    kinds = {"number": tfds.features.Scalar(tf.int64), "several": several}
    features = {"image": tfds.features.Image(shape=(6, 6, 3)), "label": kinds[label]}
    splits = {split: (range(8), np.zeros((8, 2) if label == "several" else 8, int)) for split in ("train", "test")}
    data_dir = store("tiny", splits, features=features)
    with pytest.raises(datasets.DatasetError, match="label"):
        datasets.load("tiny", data_dir=data_dir)


def test_a_tfds_set_of_one_class_is_refused(store):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {"image": tfds.features.Image(shape=(6, 6, 3)), "label": tfds.features.ClassLabel(names=["only"])}
    data_dir = store("tiny", {"train": ([1, 2], [0, 0]), "test": ([3], [0])}, features=features)
    with pytest.raises(datasets.DatasetError, match="tiny: has 1 class; a classifier needs at least two"):
        datasets.load("tiny", data_dir=data_dir)


@pytest.mark.parametrize(
    "name, close", [("cifr10", "cifar10"), ("digit", "digits"), ("fashion_mnits", "fashion_mnist")]
)
def test_an_unknown_name_is_refused_with_the_closest_names(tmp_path, offline, name, close):
    with pytest.raises(datasets.DatasetError, match=f"unknown data set '{name}'; did you mean .*{close}") as error:
        datasets.load(name, data_dir=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "qqqzzz", "no/such", "cifar10:9.9.9", "cifar10/nothing", "a b", "../x"])
def test_a_name_that_is_nothing_is_refused_in_one_line(tmp_path, offline, name):
    with pytest.raises(datasets.DatasetError) as error:
        datasets.load(name, data_dir=tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["mnist", "imagenet2012"])
def test_a_set_that_is_not_prepared_is_refused_at_once_without_a_network(tmp_path, offline, monkeypatch, name):
    import tensorflow_datasets as tfds

    # TFDS would try for minutes.
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *a, **k: pytest.fail("tried"))
    with pytest.raises(
        datasets.DatasetError, match=f"{name} is not prepared in .*without a network; give its directory as data_dir"
    ) as error:
        datasets.load(name, data_dir=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "failure, reason",
    [
        (AssertionError("Put the files\ninto that folder"), "Put the files"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
)
def test_a_preparation_that_fails_says_why(tmp_path, monkeypatch, failure, reason):
    import tensorflow_datasets as tfds

    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [])
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(datasets.DatasetError, match=f"mnist.*{reason}") as error:
        datasets.load("mnist", data_dir=tmp_path)
    assert "no network;" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif("LARQ_NAS_TEST_DATA" not in os.environ, reason="LARQ_NAS_TEST_DATA names no TFDS data_dir")
def test_cifar10_has_its_published_sizes():
    data = datasets.load("cifar10", data_dir=os.environ["LARQ_NAS_TEST_DATA"])
    assert (data.half_sizes, data.test_size) == ((25_000, 25_000), 10_000)
    assert data.image_shape == (32, 32, 3)
    assert len(data.class_names) == 10
    images, labels = unbatched(datasets.evaluation_batches(data, data.test, 500))
    assert np.bincount(labels).tolist() == [1000] * 10
    # The constants are those of the training split; the test split comes close.
    np.testing.assert_allclose(images.mean((0, 1, 2)), 0, atol=0.03)
    np.testing.assert_allclose(images.std((0, 1, 2)), 1, atol=0.03)
