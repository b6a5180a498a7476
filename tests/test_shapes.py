import pathlib
import subprocess
import sys

import numpy as np
import pytest
import small_cnn
from PIL import Image

from larq_nas import datasets

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "shapes.py"


def draw(folder, *words):
    subprocess.run([sys.executable, SCRIPT, folder, *words], check=True, stdout=subprocess.DEVNULL)
    paths = sorted(folder.rglob("*.png"))
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)) for path in paths}


def test_the_same_seed_draws_the_same_images_in_three_classes(tmp_path):
    drawn = [draw(tmp_path / name, "--images=31", f"--seed={seed}") for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert sorted(drawn[0]) == sorted(drawn[1]) == sorted(drawn[2])
    assert [sum(name.startswith(shape) for name in drawn[0]) for shape in ("cross", "ring", "wedge")] == [11, 10, 10]
    assert all(image.shape == (40, 48, 3) for image in drawn[0].values())
    assert all((drawn[0][name] == drawn[1][name]).all() for name in drawn[0])
    assert not any((drawn[0][name] == drawn[2][name]).all() for name in drawn[0])


@pytest.mark.slow
def test_a_small_float_network_learns_the_shapes_and_not_wholly(tmp_path):
    draw(tmp_path, "--images=900")
    accuracy = small_cnn.test_accuracy(datasets.load(f"folder:{tmp_path}", image_size=32))
    assert 0.8 < accuracy < 0.98
