"""Every method from the search to the file, with the recipes that a user gets who asks for none."""

import json
import pathlib
import subprocess
import sys

import pytest
import small_cnn

from larq_nas import datasets
from larq_nas.networks import cells
from larq_nas.space.architecture import Architecture

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
METHODS = ("bnas", "bars", "bats", "dms")
# Share of the accuracy of a small float network that a binary one must reach, which is small itself.
BAR = 0.8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A function from the name of a data set to its flags and the accuracy of a small float network on it."""
    found = {}

    def flags_and_accuracy(name):
        if name not in found:
            flags = {"digits": _digits, "shapes": _shapes, "cifar10": _cifar10}[name](tmp_path_factory.mktemp(name))
            examples = {"train_examples": 1_000} if name == "cifar10" else {}
            images = datasets.load(flags[0].removeprefix("--dataset="), image_size=32, **examples)
            found[name] = flags, small_cnn.test_accuracy(images)
        return found[name]

    return flags_and_accuracy


def _digits(path):
    return ["--dataset=digits"]


def _shapes(path):
    subprocess.run([sys.executable, EXAMPLES / "shapes.py", path / "shapes"], check=True)
    return [f"--dataset=folder:{path / 'shapes'}"]


def _cifar10(path):
    import tensorflow_datasets as tfds

    if not tfds.builder("cifar10").is_prepared():
        pytest.skip("cifar10 is not prepared; TFDS_DATA_DIR says where TFDS looks")
    return ["--dataset=cifar10", "--train_examples=1000"]


def _run(path, *words):
    done = subprocess.run(
        [sys.executable, "-m", "larq_nas", *words], cwd=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "shapes", "cifar10"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_finds_trains_and_converts_a_network(method, name, data, tmp_path):
    flags, float_accuracy = data(name)
    # The recipes of cifar10 are for days on a GPU.
    recipes = [f"--flagfile={method}_images" if method != "bnas" else "--flagfile=images"] * (name == "cifar10")
    _run(tmp_path, "search", f"--method={method}", *recipes, *flags)
    genotype = Architecture.load(tmp_path / "runs/search/genotype.json")
    assert all(cells.convolutions(cell) for cell in genotype.cells), str(genotype)
    sizes = ["--filters=12"] * (method == "bnas")
    _run(tmp_path, "train", "--genotype=runs/search/genotype.json", *recipes, *sizes, *flags)
    _run(tmp_path, "convert")
    _run(tmp_path, "evaluate")
    evaluation = json.loads((tmp_path / "runs/train/evaluation.json").read_text())
    report = json.loads((tmp_path / "runs/train/model.report.json").read_text())
    accuracy = evaluation["keras_accuracy"]
    print(f"{method} on {name}: {accuracy:.2%}, a small float network {float_accuracy:.2%}")
    chance = 1 / 3 if name == "shapes" else 0.1
    assert accuracy - chance > BAR * (float_accuracy - chance)
    assert evaluation["agreement"] > 0.99
    assert report["all_packed"]
