import collections
import os
import pathlib
import unicodedata

import numpy as np
import pytest
from images import arrays, noise, parts, unbatched
from PIL import Image

from larq_nas import datasets, names
from larq_nas.datasets import folders, pixels
from larq_nas.runs import fingerprints


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
    assert (data.image_shape, data.class_names) == ((4, 6, 3), ("cat", "dog"))
    values = []
    for part, size in zip(parts(data), [*data.half_sizes, data.test_size], strict=True):
        images, labels = arrays(part)
        assert len(images) == size
        # Both classes, with the right names.
        assert set(labels) == {0, 1}
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
    relative, at_home = (datasets.load(f"folder:{path}") for path in ("pets", "~/pets"))
    assert relative.train_size + relative.test_size == at_home.train_size + at_home.test_size == 20


def test_a_folder_is_left_as_it_was(folder):
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    datasets.load(f"folder:{folder}")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG", "PNG", "webp", "bmp", "gif", "tiff", "ppm"])
def test_a_folder_may_hold_files_of_every_usual_format(tmp_path, suffix):
    for value in range(10):
        picture(tmp_path / "ab"[value % 2] / f"{value}.{suffix}", 20 * value)
        (tmp_path / "ab"[value % 2] / f"{value}.txt").write_text("no image")
    data = datasets.load(f"folder:{tmp_path}")
    assert data.train_size + data.test_size == 10
    assert "left out 10 .txt" in data.note
    # JPEG and WEBP keep a plain gray nearly.
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


@pytest.mark.parametrize("count", [0, 2])
def test_a_class_of_too_few_images_is_named(folder, count):
    (folder / "fox").mkdir()
    (folder / "fox" / "a.txt").touch()
    for value in range(count):
        picture(folder / "fox" / f"{value}.png")
    with pytest.raises(datasets.DatasetError, match=f"fox: needs at least 3 images .*; has {count}"):
        datasets.load(f"folder:{folder}")


@pytest.mark.parametrize("kind", ["empty", "text", "cut PNG", "cut JPEG"])
@pytest.mark.parametrize("index", [0, 7])
def test_a_broken_image_is_named_by_its_own_path(folder, kind, index):
    broken = sorted((folder / "dog").iterdir())[index]
    if kind.startswith("cut"):
        Image.fromarray(noise(1, 64, 64, 3)[0]).save(broken, format=kind[4:])
        broken.write_bytes(broken.read_bytes()[:1000])
    else:
        broken.write_bytes({"empty": b"", "text": b"no image"}[kind])
    with pytest.raises(datasets.DatasetError) as error:
        datasets.load(f"folder:{folder}", image_size=8)
    assert str(error.value).startswith(f"{broken}: not readable as an image (")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["link to nothing", "directory", "link to a folder"])
def test_what_has_the_name_of_an_image_but_is_no_file_is_passed_over(folder, kind):
    path = folder / "dog" / "looks.png"
    if kind == "directory":
        picture(path / "inside.png", 101)
    else:
        path.symlink_to(folder if kind == "link to a folder" else folder / "nothing.png")
    data = datasets.load(f"folder:{folder}")
    assert data.train_size + data.test_size == 20 + (kind == "directory")
    assert ("left out 1 links to" in data.note) == (kind != "directory")


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"caf\xe9"), "\x07"])
def test_a_class_whose_name_is_no_line_of_text_is_refused(folder, name):
    (folder / "cat").rename(folder / name)
    with pytest.raises(datasets.DatasetError, match="is no name for a class") as error:
        datasets.load(f"folder:{folder}")
    assert len(str(error.value).encode().splitlines()) == 1


def test_two_forms_of_the_name_of_a_class_are_refused(folder):
    for form in ("NFC", "NFD"):
        picture(folder / unicodedata.normalize(form, "é") / "1.png")
    with pytest.raises(datasets.DatasetError, match="another folder has this name in another form of Unicode"):
        datasets.load(f"folder:{folder}")


def test_folders_that_seem_to_be_splits_are_refused(tmp_path):
    for fold in ("fold1", "fold2"):
        for value in range(6):
            picture(tmp_path / fold / ("ant", "bee")[value % 2] / f"{value}.png", value)
    with pytest.raises(datasets.DatasetError, match="fold1, fold2 have the same sub-folders ant, bee; if these are"):
        datasets.load(f"folder:{tmp_path}")
    assert datasets.load(f"folder:{tmp_path}/fold1").class_names == ("ant", "bee")
    # Classes may have the same sub-folders.
    for fold, name in (("fold1", "cat"), ("fold2", "dog")):
        (tmp_path / fold).rename(tmp_path / name)
    assert datasets.load(f"folder:{tmp_path}").class_names == ("cat", "dog")
    # A split may lack a class.
    for fold, name in (("train", "cat"), ("holdout", "dog")):
        (tmp_path / name).rename(tmp_path / fold)
    picture(tmp_path / "train" / "wasp" / "0.png")
    with pytest.raises(datasets.DatasetError, match="holdout, train have the same sub-folders ant, bee; if these are"):
        datasets.load(f"folder:{tmp_path}")


def test_a_file_of_the_same_size_with_other_pixels_has_changed(folder):
    picture(folder / "cat" / "00.bmp", 7)
    then = datasets.load(f"folder:{folder}").describe()
    assert fingerprints.difference(then, datasets.load(f"folder:{folder}").describe()) == ""
    picture(folder / "cat" / "00.bmp", 8)
    assert fingerprints.difference(then, datasets.load(f"folder:{folder}").describe()) == "1 file changed"
    # Descriptions of earlier versions hold sizes only.
    files = then["origin"]["files"]
    then["origin"] = {"files": {part: {key: size for key, (size, *_) in files[part].items()} for part in files}}
    assert fingerprints.difference(then, datasets.load(f"folder:{folder}").describe()) == ""


def test_images_of_several_sizes_need_one(folder):
    picture(folder / "cat" / "large.png", size=(30, 20))
    with pytest.raises(datasets.DatasetError, match="images differ in size; give one, e.g. image_size=224"):
        datasets.load(f"folder:{folder}")


@pytest.mark.parametrize("augmentation", names.AUGMENTATIONS)
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


# --- folders as people have them -----------------------------------------------------------------------------


def test_files_of_systems_are_passed_over(folder):
    for name in ("._00.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/00.png"):
        for place in (folder, folder / "cat", folder / "dog"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(b"\0\5\x16\7")
    picture(folder / "__MACOSX" / "cat" / "._00.png")
    data = datasets.load(f"folder:{folder}")
    assert data.class_names == ("cat", "dog") and data.train_size + data.test_size == 20
    assert "left out" not in data.note


def test_sub_folders_of_a_class_belong_to_it_and_what_is_left_out_is_counted(folder):
    for value in range(6):
        picture(folder / "dog" / "2020" / "may" / f"{value}.png", 101 + 2 * value)
        (folder / "cat" / f"{value}.heic").write_text("of a telephone")
    picture(folder / "poster.png")
    data = datasets.load(f"folder:{folder}")
    labels = np.concatenate([arrays(part)[1] for part in parts(data)])
    assert np.bincount(labels).tolist() == [10, 16]
    assert "26 images of 2 classes" in data.note
    assert "6 .heic" in data.note and "1 images beside the class folders" in data.note


def held_out(root):
    """The names of the files in the test split, within their class."""
    files = folders._parts(pathlib.Path(root), collections.Counter())[0]
    return [{f"{file.class_name}/{file.name}" for file in files[part]} for part in (2, 0)]


def test_files_that_are_added_move_no_other_file(tmp_path):
    def add(count, prefix):
        for index in range(count):
            picture(tmp_path / "ab"[index % 2] / f"{prefix}{index:03}.png", size=(1, 1))

    add(200, "m")
    test, first = held_out(tmp_path)
    assert all(12 <= sum(name.startswith(c) for name in test) <= 30 for c in "ab")
    assert all(25 <= sum(name.startswith(c) for name in first) <= 55 for c in "ab")
    add(60, "a")
    (tmp_path / "c").mkdir()
    for index in range(3):
        picture(tmp_path / "c" / f"{index}.png", size=(1, 1))
    more, more_first = held_out(tmp_path)
    old = {name for name in more if name[2:].startswith("m")}
    assert old == test and len(more) > len(test)
    assert {name for name in more_first if name[2:].startswith("m")} == first
    (tmp_path / "b").rename(tmp_path / "bees")
    assert {name.replace("bees/", "b/") for name in held_out(tmp_path)[0]} == more


@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_classes_are_in_every_part(tmp_path, count):
    for name in ("a", "b", "c"):
        for index in range(count):
            picture(tmp_path / name / f"{name}{index}.png")
    data = datasets.load(f"folder:{tmp_path}")
    for part in parts(data):
        assert set(arrays(part)[1]) == {0, 1, 2}


@pytest.mark.parametrize(
    "names, tested",
    [
        (("train", "test"), "test"),
        (("Training", "valid"), "valid"),
        (("train", "val", "test"), "test"),
        (("training_set", "test_set"), "test_set"),
        (("train2017", "val2017"), "val2017"),
        (("train", "dev"), "dev"),
    ],
)
def test_a_folder_that_is_split_already_keeps_its_split(tmp_path, names, tested):
    for part, name in enumerate(names):
        for value in range(6):
            picture(tmp_path / name / ("ant", "bee")[value % 2] / f"{value}.png", 50 * part + value)
    data = datasets.load(f"folder:{tmp_path}")
    assert data.class_names == ("ant", "bee") and data.half_sizes[0] + data.half_sizes[1] == 6
    assert sorted(arrays(data.train)[0][:, 0, 0, 0]) == list(range(6))
    start = 50 * names.index(tested)
    assert sorted(arrays(data.test)[0][:, 0, 0, 0]) == list(range(start, start + 6))
    assert f"tested on {tested}/" in data.note and ("val not used" in data.note) == (len(names) == 3)


def test_a_test_folder_without_classes_is_not_used(tmp_path):
    for value in range(10):
        picture(tmp_path / "train" / "ab"[value % 2] / f"{value}.png", value)
        picture(tmp_path / "test" / f"{value}.png", value)
    data = datasets.load(f"folder:{tmp_path}")
    assert data.class_names == ("a", "b") and data.train_size + data.test_size == 10
    assert "train/ alone" in data.note


def test_classes_may_be_called_train_and_test(tmp_path):
    for value in range(12):
        picture(tmp_path / ("train", "test")[value % 2] / f"{value}.png", value)
    assert datasets.load(f"folder:{tmp_path}").class_names == ("test", "train")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["cats/train", "cats/test", "dogs"], "cats: is split into test, train; put the classes into"),
        (["train/cats", "train/dogs", "holdout/cats", "holdout/dogs"], "its folders holdout, train have the same"),
    ],
)
def test_a_split_in_an_unusual_place_or_of_an_unusual_name_is_refused(tmp_path, paths, said):
    for path in paths:
        for value in range(4):
            picture(tmp_path / path / f"{value}.png", value)
    with pytest.raises(datasets.DatasetError, match=said):
        datasets.load(f"folder:{tmp_path}")


def test_classes_with_the_same_sub_folders_may_be_called_train(tmp_path):
    for name in ("bus", "car", "plane", "train"):
        for side in ("front", "side"):
            for value in range(2):
                picture(tmp_path / name / side / f"{value}.png", value)
    assert datasets.load(f"folder:{tmp_path}").class_names == ("bus", "car", "plane", "train")


def test_a_folder_whose_path_is_no_text_is_refused(tmp_path):
    for value in range(8):
        picture(tmp_path / os.fsdecode(b"caf\xe9") / "ab"[value % 2] / f"{value}.png", value)
    with pytest.raises(datasets.DatasetError, match="udce9.*: the path is no text in UTF-8; rename the folder"):
        datasets.load(f"folder:{tmp_path / os.fsdecode(b'caf' + bytes([0xE9]))}")


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    for part, classes in (("train", "ab"), ("test", "abc")):
        for value in range(9):
            picture(tmp_path / part / classes[value % len(classes)] / f"{value}.png", value)
    with pytest.raises(datasets.DatasetError, match="test/ has the class c, which train/ lacks"):
        datasets.load(f"folder:{tmp_path}")


def test_a_folder_within_the_folder_is_proposed(folder):
    with pytest.raises(datasets.DatasetError, match=f"did you mean folder:{folder}"):
        datasets.load(f"folder:{folder.parent}")


def test_names_are_alike_however_a_system_composes_letters(tmp_path):
    names = [f"é{index}.png" for index in range(40)]
    for form in ("NFC", "NFD"):
        for index, name in enumerate(names):
            picture(tmp_path / form / unicodedata.normalize(form, "äb"[index % 2]) / unicodedata.normalize(form, name))
    one, other = (held_out(tmp_path / form) for form in ("NFC", "NFD"))
    assert one == other


# --- pixels --------------------------------------------------------------------------------------------------


def classes_of(tmp_path, image, **options):
    """A folder in which each file is the same image; what is read of it."""
    for index in range(6):
        path = tmp_path / "ab"[index % 2] / f"{index}.{options.get('format', 'png')}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **{key: value for key, value in options.items() if key != "format"})
    return lambda **load: arrays(datasets.load(f"folder:{tmp_path}", **load).test)[0][0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_whole_images_are_not_decoded_to_find_their_size(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 30), "red").save(path)
    # Pillow reads the transparency of a WebP file only when it decodes the file.
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    assert pixels.header(path) == ((30, 40), False, False)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("image_size", [None, 10])
def test_photographs_stand_upright(tmp_path, orientation, suffix, image_size):
    upright = np.zeros((20, 40, 3), np.uint8)
    upright[:10, :20], upright[:10, 20:], upright[10:, :20] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    turned = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    image = Image.fromarray(upright)
    for operation in turned:
        image = image.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = classes_of(tmp_path, image, format=suffix, exif=exif)(image_size=image_size).astype(int)
    height, width = read.shape[:2]
    assert (height, width) == ((20, 40) if image_size is None else (10, 10))
    corners = read[[2, 2, -3, -3], [2, -3, 2, -3]]
    np.testing.assert_allclose(corners, [(250, 0, 0), (0, 250, 0), (0, 0, 250), (0, 0, 0)], atol=25)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("value", [0, 5000, 40000, 65535])
def test_png_files_of_16_bits_keep_their_range(tmp_path, value, channels):
    read = classes_of(tmp_path, Image.fromarray(np.full((4, 6), value, np.uint16)))(channels=channels)
    assert read.shape == (4, 6, channels or 3)
    np.testing.assert_allclose(read, value / 257, atol=0.51)


@pytest.mark.parametrize("mode, value", [("1", 1), ("L", 255), ("P", 255), ("LA", (255, 255)), ("RGBA", (255,) * 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_white_is_white_in_every_mode(tmp_path, mode, value, channels):
    image = Image.new("L", (6, 4), 255).convert("P") if mode == "P" else Image.new(mode, (6, 4), value)
    read = classes_of(tmp_path, image)(channels=channels)
    assert read.shape == (4, 6, channels) and (read == 255).all()


def test_transparent_parts_become_white_and_not_what_is_hidden_below(tmp_path):
    image = Image.new("RGBA", (6, 4), (10, 20, 30, 0))
    image.paste((200, 100, 50, 255), (0, 0, 3, 4))
    read = classes_of(tmp_path, image)()
    assert (read[:, :3] == (200, 100, 50)).all() and (read[:, 3:] == 255).all()


def test_printed_photographs_keep_their_colours(tmp_path):
    image = Image.new("RGB", (16, 16), (200, 60, 30))
    read = classes_of(tmp_path, image.convert("CMYK"), format="jpg", quality=95)()
    np.testing.assert_allclose(read[8, 8], (200, 60, 30), atol=12)


def test_of_an_animation_the_first_picture_is_read(tmp_path):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
    read = classes_of(tmp_path, frames[0], format="gif", save_all=True, append_images=frames[1:])()
    assert (read == (255, 0, 0)).all()


def test_large_photographs_are_read_small(tmp_path):
    image = Image.fromarray(np.repeat(np.repeat(noise(1, 6, 8, 3)[0], 100, 0), 100, 1))
    read = classes_of(tmp_path, image, format="jpg", quality=95)
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(read(image_size=8) - expected).mean() < 4
    # Whole images for random crops are small, too.
    assert read(image_size=8, central_crop=True).shape == (16, 21, 3)


def test_images_of_16_bits_are_counted_and_their_transparent_parts_become_white(tmp_path):
    pixels_of_16_bits = np.full((4, 4), 20_000, np.uint16)
    pixels_of_16_bits[:2] = 7
    image = Image.fromarray(pixels_of_16_bits)
    read = classes_of(tmp_path, image, transparency=7)
    assert "16-bit images: 6;" in datasets.load(f"folder:{tmp_path}").note
    assert read()[:, 0, 0].tolist() == [255, 255, 78, 78]


def test_a_folder_of_gray_images_says_so(tmp_path):
    classes_of(tmp_path, Image.new("L", (6, 4), 3))
    assert "all images are gray; use channels=1" in datasets.load(f"folder:{tmp_path}").note
    gray = datasets.load(f"folder:{tmp_path}", channels=1)
    assert gray.image_shape == (4, 6, 1) and "all images are gray" not in gray.note


def test_pixels_of_32_bits_are_refused_by_name(tmp_path):
    classes_of(tmp_path, Image.fromarray(np.full((4, 6), 0.5, np.float32)), format="tiff")
    with pytest.raises(datasets.DatasetError, match=r"\.tiff: not readable as an image \(pixels of 32 bits"):
        datasets.load(f"folder:{tmp_path}")
    classes_of(tmp_path, Image.fromarray(np.full((4, 6), 200, np.int32)), format="tiff")
    with pytest.raises(datasets.DatasetError, match=r"\.tiff: not readable as an image \(pixels of 32 bits"):
        datasets.load(f"folder:{tmp_path}")


def test_an_orientation_behind_the_pixels_of_a_png_file_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "early.png"
    Image.new("RGB", (6, 4)).save(path, exif=exif)
    content = path.read_bytes()
    # A chunk is a length of 4 bytes, a name of 4 bytes, the data, and a checksum of 4 bytes.
    at = content.index(b"eXIf") - 4
    chunk = content[at : at + 12 + int.from_bytes(content[at : at + 4], "big")]
    end = content.index(b"IEND") - 4
    late = content[:at] + content[at + len(chunk) : end] + chunk + content[end:]
    path.write_bytes(late)
    assert pixels.header(path)[0] == (6, 4) == pixels.from_file(path, 3).shape[:2]
