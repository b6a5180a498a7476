import math
import os
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from larq_nas import augmentations, datasets


def parts(data):
    return [*data.halves, data.test]


def arrays(examples):
    images, labels = zip(*examples.as_numpy_iterator(), strict=True)
    return np.stack(images), np.array(labels)


def unbatched(batches):
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def in_memory(pixels, image_shape=None):
    """A data set whose labels number the images and whose normalization leaves pixels as they are."""
    pixels = np.asarray(pixels, np.uint8)
    examples = tf.data.Dataset.from_tensor_slices((pixels, np.arange(len(pixels))))
    shape, channels = tuple(image_shape or pixels.shape[1:]), pixels.shape[-1]
    half = len(pixels) // 2
    halves, sizes = (examples.take(half), examples.skip(half)), (half, len(pixels) - half)
    names = tuple(map(str, range(len(pixels))))
    return datasets.Images(
        "here", halves, sizes, examples, len(pixels), shape, names, (0.0,) * channels, (1 / 255,) * channels
    )


def noise(count, height=16, width=16, channels=1):
    # No pixel is 0, the value of padding.
    return np.random.default_rng(3).integers(1, 256, (count, height, width, channels), dtype=np.uint8)


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
    with pytest.raises(datasets.DatasetError, match=f"{count}: digits has 2 to 1,437"):
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
    assert datasets.load("digits").describe() == {
        "name": "digits",
        "image_shape": (8, 8, 1),
        "class_names": tuple("0123456789"),
        "mean": (0.5,),
        "std": (0.5,),
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


@pytest.mark.parametrize("augmentation", augmentations.NAMES)
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
@pytest.mark.parametrize("augmentation", augmentations.NAMES)
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


@pytest.mark.parametrize("augmentation", augmentations.NAMES)
def test_training_images_take_the_size_of_the_network(augmentation):
    data = in_memory(noise(6, 40, 24, 3), image_shape=(16, 16, 3))
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


def test_evaluation_normalizes():
    data = datasets.load("digits")
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 64))
    np.testing.assert_allclose(images, arrays(data.test)[0] / 127.5 - 1, atol=1e-5)


def test_evaluation_takes_the_central_seven_eighths():
    pixels = noise(3)
    data = in_memory(pixels, image_shape=(14, 14, 1))
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 2))
    np.testing.assert_array_equal(images, pixels[:, 1:15, 1:15])


@pytest.mark.parametrize("height, width", [(16, 40), (40, 16), (64, 160), (5, 9)])
def test_evaluation_keeps_the_proportions_of_an_image(height, width):
    # Left and right (or upper and lower) thirds are dark: an image that is squeezed would show them.
    pixels = np.full((1, height, width, 1), 200, np.uint8)
    long = 2 if width > height else 1
    third = pixels.shape[long] // 5
    edge = [slice(None)] * 4
    for edge[long] in (slice(None, third), slice(-third, None)):
        pixels[tuple(edge)] = 0
    data = in_memory(pixels, image_shape=(14, 14, 1))
    images, _ = unbatched(datasets.evaluation_batches(data, data.test, 1))
    assert images.shape == (1, 14, 14, 1)
    assert images[0, 3:-3, 3:-3].min() > 150


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
            columns = {"image": np.stack([np.full(shape, p, np.uint8) for p in pixels]), "label": labels}
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
        datasets.DatasetError, match=f"{name} is not prepared in .*no network; give --data_dir"
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


# --- folders -------------------------------------------------------------------------------------------------


def picture(path, value=100, size=(6, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = {"RGBA": (*[value] * 3, 255), "LA": (value, 255), "RGB": (value,) * 3}.get(mode, value)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten PNG images of 6 x 4 pixels in each of two classes; every image is of one value of its own."""
    for value in range(20):
        picture(tmp_path / "pets" / ("cat", "dog")[value % 2] / f"{value:02}.png", value)
    return tmp_path / "pets"


def test_a_folder_is_split_into_disjoint_parts_of_all_its_images(folder):
    data = datasets.load(f"folder:{folder}")
    assert (data.half_sizes, data.test_size) == ((8, 8), 4)
    assert (data.image_shape, data.class_names) == ((4, 6, 3), ("cat", "dog"))
    values = []
    for part, size in zip(parts(data), [8, 8, 4], strict=True):
        images, labels = arrays(part)
        assert len(images) == size
        # Both classes, in equal numbers, with the right names.
        assert np.bincount(labels).tolist() == [size // 2] * 2
        np.testing.assert_array_equal(images[:, 0, 0, 0] % 2, labels)
        values += images[:, 0, 0, 0].tolist()
    assert sorted(values) == list(range(20))


def test_a_folder_is_split_the_same_way_at_every_load(folder):
    one, other = (datasets.load(f"folder:{folder}") for _ in range(2))
    for part, same in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(arrays(part)[0], arrays(same)[0])


def test_a_folder_may_be_relative_or_at_home(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert datasets.load("folder:pets").train_size == datasets.load("folder:~/pets").train_size == 16


def test_a_folder_is_left_as_it_was(folder):
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    datasets.load(f"folder:{folder}")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG", "PNG"])
def test_a_folder_may_hold_jpeg_and_png_files(tmp_path, suffix):
    for value in range(10):
        picture(tmp_path / "ab"[value % 2] / f"{value}.{suffix}", 20 * value)
        (tmp_path / "ab"[value % 2] / f"{value}.txt").write_text("no image")
    data = datasets.load(f"folder:{tmp_path}")
    assert data.train_size + data.test_size == 10
    # JPEG keeps a plain gray nearly.
    values = sorted(float(image[0, 0, 0]) for part in parts(data) for image in arrays(part)[0])
    np.testing.assert_allclose(values, np.arange(0, 200, 20), atol=2)


@pytest.mark.parametrize(
    "class_name, file_name",
    [("mes chats", "a b"), ("чат-猫-é", "é ü 犬"), ("100% [x]*?", "{0} #1 [a]*?"), ("first", "test")],
)
def test_names_of_files_and_classes_may_be_anything(tmp_path, class_name, file_name):
    for value in range(5):
        picture(tmp_path / class_name / f"{file_name}{value}.png", value)
        # The other class has files of the same names.
        picture(tmp_path / "zzz" / f"{file_name}{value}.png", 100 + value)
    data = datasets.load(f"folder:{tmp_path}")
    assert sorted(data.class_names) == sorted([class_name, "zzz"])
    values = {
        (int(image[0, 0, 0]), data.class_names[label])
        for part in parts(data)
        for image, label in part.as_numpy_iterator()
    }
    assert values == {(v, class_name) for v in range(5)} | {(100 + v, "zzz") for v in range(5)}


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "RGB"])
def test_gray_transparent_and_indexed_images_become_rgb(tmp_path, mode):
    for value in range(10):
        path = tmp_path / "ab"[value % 2] / f"{value}.png"
        picture(path, 20 * value, mode="L" if mode == "P" else mode)
        if mode == "P":
            Image.open(path).convert("P").save(path)
    data = datasets.load(f"folder:{tmp_path}")
    assert data.image_shape == (4, 6, 3)
    values = []
    for part in parts(data):
        images, _ = arrays(part)
        assert images.shape[1:] == (4, 6, 3)
        assert (images == images[:, :1, :1, :1]).all()
        values += images[:, 0, 0, 0].tolist()
    assert sorted(values) == list(range(0, 200, 20))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_printed_jpegs_become_rgb(tmp_path, mode):
    for value in range(10):
        path = tmp_path / "ab"[value % 2] / f"{value}.jpg"
        picture(path, 20 * value)
        Image.open(path).convert(mode).save(path)
    assert datasets.load(f"folder:{tmp_path}").image_shape == (4, 6, 3)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(datasets.DatasetError, match="folder:.*nowhere: there is no such folder"):
        datasets.load(f"folder:{tmp_path}/nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file.png").touch()
    with pytest.raises(datasets.DatasetError, match="file.png: there is no such folder"):
        datasets.load(f"folder:{tmp_path}/file.png")


@pytest.mark.parametrize("classes", [0, 1])
def test_a_folder_needs_two_classes(tmp_path, classes):
    for value in range(5 * classes):
        picture(tmp_path / "cat" / f"{value}.png")
    picture(tmp_path / "outside.png")
    with pytest.raises(datasets.DatasetError, match=f"a sub-folder per class and at least two; has {classes}"):
        datasets.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("count", [0, 4])
def test_a_class_of_too_few_images_is_named(folder, count):
    (folder / "fox").mkdir()
    (folder / "fox" / "a.txt").touch()
    for value in range(count):
        picture(folder / "fox" / f"{value}.png")
    with pytest.raises(datasets.DatasetError, match="fox: needs at least 5 images"):
        datasets.load(f"folder:{folder}")


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "animation", "webp"])
@pytest.mark.parametrize("index", [0, 7])
def test_a_broken_image_is_named_by_its_own_path(folder, kind, index):
    broken = sorted((folder / "dog").iterdir())[index]
    if kind == "animation":
        # TensorFlow decodes GIF files, whatever their name, to images with one more axis.
        Image.new("P", (6, 4)).save(broken, format="GIF", save_all=True, append_images=[Image.new("P", (6, 4), 3)])
    elif kind == "webp":
        Image.new("RGB", (6, 4)).save(broken, format="WEBP")
    elif kind == "truncated":
        Image.fromarray(noise(1, 64, 64, 3)[0]).save(broken)
        broken.write_bytes(broken.read_bytes()[:200])
    else:
        broken.write_bytes({"empty": b"", "text": b"no image"}[kind])
    with pytest.raises(datasets.DatasetError) as error:
        datasets.load(f"folder:{folder}", image_size=8)
    assert str(error.value) == f"{broken.resolve()}: not readable as a JPEG or PNG image"


@pytest.mark.parametrize("kind", ["link to nothing", "directory"])
def test_what_has_the_name_of_an_image_but_is_no_file_is_passed_over(folder, kind):
    path = folder / "dog" / "looks.png"
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(folder / "nothing.png")
    data = datasets.load(f"folder:{folder}")
    assert data.train_size + data.test_size == 20


def test_images_of_several_sizes_need_one(folder):
    picture(folder / "cat" / "large.png", size=(30, 20))
    with pytest.raises(datasets.DatasetError, match="images differ in size; give one, e.g. --image_size"):
        datasets.load(f"folder:{folder}")


@pytest.mark.parametrize("augmentation", augmentations.NAMES)
def test_images_of_several_sizes_are_brought_to_one(folder, augmentation):
    for value in range(10):
        picture(folder / "cat" / f"large{value}.png", 60, size=(30 + value, 20))
    data = datasets.load(f"folder:{folder}", image_size=8)
    assert data.image_shape == (8, 8, 3)
    evaluated, _ = unbatched(datasets.evaluation_batches(data, data.test, 4))
    assert evaluated.shape == (data.test_size, 8, 8, 3)
    options = {"epochs": 1, "augmentation": augmentation}
    trained, _ = unbatched(datasets.training_batches(data, data.train, data.train_size, 4, **options))
    assert trained.shape == (data.train_size, 8, 8, 3)
