"""The annotations of the package hold, as far as `[tool.mypy]` in `pyproject.toml` asks."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("mypy", path=pathlib.Path(sys.executable).parent) is None, reason="needs mypy")
def test_annotations_hold(tmp_path):
    # As it is installed: these folders lie beside the package in the repository.
    shutil.copytree(ROOT / "larq_nas", tmp_path / "larq_nas")
    for folder in ("zoo", "flags", "converters"):
        shutil.copytree(ROOT / folder, tmp_path / "larq_nas" / folder)
    words = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run([*words, "larq_nas"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
