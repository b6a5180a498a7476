"""A run and its data: what the commands say when images have come, gone, or changed their names."""

import json
import shutil

import command_line
import numpy as np
import pytest
from PIL import Image

from larq_nas import datasets, runs
from larq_nas.configs import TrainConfig
from larq_nas.datasets import folders
from larq_nas.methods import bars, bnas
from larq_nas.methods.dms import DmsConfig
from larq_nas.runs import fingerprints
from larq_nas.tasks import data, search
from larq_nas.tasks.errors import TaskError


def run(directory, *words, code=0):
    done = command_line.run(directory, *words, code=code)
    if code:
        assert len(done.stderr.splitlines()) == 1
    return done


def image(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def insects(folder):
    for value in range(45):
        image(folder / ("ants", "bees", "cats")[value % 3] / f"{value}.png", value)
    return folder


class User:
    """Who begins a run on a folder of insects, and comes back to it."""

    def __init__(self, directory):
        self.folder, self.run = insects(directory / "insects"), runs.Run(directory / "run")
        self.start()
        self.before = self.run.dataset.read_text(encoding="utf-8")

    def start(self, **changed):
        flags = {"dataset": f"folder:{self.folder}", "augmentation": "crop", **changed}
        config = TrainConfig(genotype="bnas_a", **flags)
        return data.start_run(self.run, "train", config, data.load_images(config))

    def evaluated(self):
        return data.load_same_classes(self.run, None)


@pytest.fixture
def user(tmp_path, caplog):
    caplog.set_level("INFO", "larq_nas")
    user = User(tmp_path)
    caplog.clear()
    return user


def test_a_run_goes_on_with_the_same_data(user, caplog):
    (user.folder / "Thumbs.db").write_bytes(b"x")
    (user.folder / "ants/._0.png").write_bytes(b"x")
    user.start()
    user.evaluated()
    printed = caplog.text
    assert "45 images of 3 classes, read as RGB" in printed and "changed" not in printed
    assert user.run.dataset.read_text(encoding="utf-8") == user.before


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda folder: (folder / "bees").rename(folder / "zebras"), "class bees is gone, class zebras is new"),
        (lambda folder: shutil.copytree(folder / "bees", folder / "dogs"), "class dogs is new, 15 files added"),
        (lambda folder: shutil.rmtree(folder / "bees"), "class bees is gone, 15 files removed"),
    ],
)
def test_classes_that_have_changed_are_named_and_nothing_is_overwritten(user, change, said):
    change(user.folder)
    for command in (user.start, user.evaluated):
        with pytest.raises(TaskError, match=said):
            command()
    assert user.run.dataset.read_text(encoding="utf-8") == user.before


def test_files_that_come_and_go_are_counted_and_none_is_tested_that_was_trained_on(user, caplog):
    for value in range(45, 60):
        image(user.folder / ("ants", "bees", "cats")[value % 3] / f"{value}.png", value)
    (user.folder / "ants/0.png").unlink()
    path = user.folder / "ants/3.png"
    path.write_bytes(path.read_bytes() + b"more")
    said = "15 files added, 1 file removed, 1 file changed"
    with pytest.raises(TaskError, match=said):
        user.start()
    user.evaluated()
    printed = caplog.text
    assert said in printed and "the test split is another one" in printed
    assert "were trained on" not in printed
    assert user.run.dataset.read_text(encoding="utf-8") == user.before


def test_images_of_the_test_split_that_were_trained_on_are_counted(user, caplog):
    stored = json.loads(user.before)
    files = stored["origin"]["files"]
    moved = list(files["test"])[:2]
    files["first"] |= {key: files["test"].pop(key) for key in moved}
    runs.write(user.run.dataset, stored)
    user.evaluated()
    printed = caplog.text
    assert "2 files moved between training and test" in printed and "2 of its images were trained on" in printed


def test_a_run_of_an_earlier_version_is_told_apart(user):
    stored = json.loads(user.before)
    del stored["origin"]
    runs.write(user.run.dataset, stored)
    with pytest.raises(TaskError, match="an earlier version"):
        user.start()


WRONG = {"name": None}, {"mean": "0.5"}, {"std": [0.5, 0.0, 0.5]}, {"std": [0.5]}, {"class_names": "ab"}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_description_with_a_wrong_value_is_refused(user, wrong):
    runs.write(user.run.dataset, {**json.loads(user.before), **wrong})
    with pytest.raises(ValueError, match="dataset.json: not the description of a data set"):
        user.start()


@pytest.mark.parametrize("text", ["[]", '{"image_shape": 3}', '{"image_shape": [8, 8, 3], "class_names": [1]}', "{"])
def test_a_description_that_is_none_is_refused(user, text):
    user.run.dataset.write_text(text)
    for command in (user.start, user.evaluated):
        with pytest.raises(ValueError, match="dataset.json: not"):
            command()


def test_a_version_of_a_tfds_set_is_compared():
    digits = datasets.load("digits").describe()
    other = {**digits, "origin": {"version": "digits/2.0.0", "examples": [718, 719, 361]}}
    assert fingerprints.difference(digits, digits) == ""
    assert "version: digits/2.0.0, was None" in fingerprints.difference(digits, other)


def test_random_crops_are_evaluated_on_the_centre_and_the_file_says_so(user):
    shutil.rmtree(user.run.path)
    user.start(image_size=4, augmentation="imagenet")
    assert "take the central image_shape" in json.loads(user.run.dataset.read_text())["resizing"]
    found, changed = data.load_data(user.run, None)
    assert found.central_crop and not changed


TRAIN = ["train", "--genotype=genotype.json", "--filters=2", "--layers=3", "--epochs=1", "--dataset=folder:insects"]


def test_a_finished_run_is_converted_with_its_own_classes_though_the_data_have_changed(tmp_path):
    insects(tmp_path / "insects")
    (tmp_path / "genotype.json").write_text(bnas.space(3, 2).sample(0).to_json())
    done = run(tmp_path, *TRAIN, "--class_weights=balanced")
    assert "weights of classes: ants " in done.stdout
    (tmp_path / "insects/bees").rename(tmp_path / "insects/zebras")
    assert "class bees is gone, class zebras is new" in run(tmp_path, "evaluate", code=3).stderr
    done = run(tmp_path, "convert")
    assert "has changed since the training (class bees is gone" in done.stdout
    assert "compared on random inputs only" in done.stdout
    report = json.loads((tmp_path / "runs/train/model.report.json").read_text())
    assert report["preprocessing"]["class_names"] == ["ants", "bees", "cats"]
    assert set(report["differences"]) == {"random"} and "origin" not in report["preprocessing"]


def test_an_image_whose_middle_is_broken_is_named_in_one_line(tmp_path):
    insects(tmp_path / "insects")
    (tmp_path / "genotype.json").write_text(bnas.space(3, 2).sample(0).to_json())
    for number in range(0, 45, 3):
        path = tmp_path / f"insects/ants/{number}.png"
        content = bytearray(path.read_bytes())
        start = content.index(b"IDAT") + 6
        content[start : start + 40] = bytes(40)
        path.write_bytes(content)
    message = run(tmp_path, *TRAIN, code=3).stderr
    assert message.startswith("larq_nas: train: insects/ants/")
    assert ".png: not readable as an image (" in message and message.endswith("mend or remove it\n")


def test_files_of_the_same_name_in_training_and_test_are_told_apart(tmp_path, caplog):
    for value in range(12):
        for part in ("train", "test"):
            image(tmp_path / "split" / part / "ab"[value % 2] / f"{value}.png", value + 100 * (part == "test"))
    run = runs.Run(tmp_path / "run")
    config = TrainConfig(genotype="bnas_a", dataset=f"folder:{tmp_path / 'split'}", run_dir=str(run.path))

    def start():
        return data.start_run(run, "train", config, data.load_images(config))

    start()
    image(tmp_path / "split/train/a/0.png", 77)
    with pytest.raises(TaskError, match="1 file changed"):
        start()
    image(tmp_path / "split/train/a/0.png", 0)
    start()
    image(tmp_path / "split/test/a/more.png", 300)
    (tmp_path / "split/train/b/1.png").unlink()
    caplog.clear()
    data.load_same_classes(run, None)
    assert "1 file added, 1 file removed" in caplog.text and "were trained on" not in caplog.text


@pytest.mark.parametrize("suffix", ["bmp", "png", "ppm"])
def test_pixels_that_change_in_the_middle_of_a_large_file_are_seen(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    for value in range(8):
        path = tmp_path / "data" / "ab"[value % 2] / f"{value}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    before = datasets.load(f"folder:{tmp_path / 'data'}").describe()
    pixels[30:45] = 0
    Image.fromarray(pixels).save(path)
    after = datasets.load(f"folder:{tmp_path / 'data'}").describe()
    assert fingerprints.difference(before, after) == "1 file changed"
    # Earlier versions recorded a single checksum.
    for files in before["origin"]["files"].values():
        files.update({key: content[:2] for key, content in files.items()})
    changed = "1 file changed" if suffix == "png" else ""
    assert fingerprints.difference(before, after) == changed


def test_a_run_directory_in_the_folder_of_the_images_is_refused(tmp_path):
    folder = insects(tmp_path / "insects")
    done = command_line.run(folder, "train", "--genotype=bnas_a", "--dataset=folder:.", code=3)
    assert "run_dir=runs/train: is in the folder of the images, folder:.; choose another" in done.stderr
    assert not (folder / "runs").exists()
    # Hidden folders, and folders beside those of a split, are not read.
    assert not folders.would_read(folder, folder / ".runs/a")
    assert folders.would_read(folder, folder) and not folders.would_read(folder, tmp_path)
    for part in ("train", "test"):
        shutil.copytree(folder, tmp_path / "split" / part)
    assert not folders.would_read(tmp_path / "split", tmp_path / "split/runs/a")
    assert folders.would_read(tmp_path / "split", tmp_path / "split/train/runs")


def test_a_search_of_the_widths_of_a_genotype_does_not_go_on_with_another_one(tmp_path):
    first, second = (bars.space(filters, cells_per_stage=1).sample(0) for filters in (8, 16))
    run_directory = runs.Run(tmp_path)
    for backbone in (first, first):
        search._keep_genotypes(run_directory, DmsConfig(backbone=backbone, dataset="digits"))
    with pytest.raises(TaskError, match="backbone: is another genotype than when this search began"):
        search._keep_genotypes(run_directory, DmsConfig(backbone=second, dataset="digits"))
