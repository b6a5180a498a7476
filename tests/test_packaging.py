import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import larq_nas

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("larq_nas", "zoo", "flags", "converters")


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """An sdist, and the wheel that is built from it and nothing else."""
    folder = tmp_path_factory.mktemp("build")
    # A copy, since building leaves files beside the sources.
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder / "source")
    # The environment's own setuptools needs no network.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "out", folder / "source"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    (sdist,), (wheel,) = (folder / "out").glob("*.tar.gz"), (folder / "out").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def site(distributions, tmp_path_factory):
    """A folder into which the wheel is installed."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder]
    subprocess.run([*pip, distributions[1]], check=True)
    return folder


@pytest.fixture
def elsewhere(site, tmp_path):
    """Runs Python in another folder, with the installed wheel before everything else."""

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def files(*patterns):
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}


SOURCES = [f"{name}/**/*.py" for name in FOLDERS]
DATA = ["larq_nas/py.typed", "zoo/genotypes/*.json", "flags/recipes/*/*.flags"]


def test_sdist_holds_all_that_a_build_needs(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files(*SOURCES, *DATA) | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names


def test_wheel_holds_one_package_with_its_data(distributions):
    names = set(zipfile.ZipFile(distributions[1]).namelist())
    installed = {name if name.startswith("larq_nas/") else f"larq_nas/{name}" for name in files(*SOURCES, *DATA)}
    assert len(files(*DATA)) >= 13
    # No top-level package `zoo` or `tests`, which would meet those of others.
    assert {name for name in names if not name.startswith(f"larq_nas-{larq_nas.__version__}.dist-info/")} == installed


def test_wheel_says_what_it_is_and_needs(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        folder = f"larq_nas-{larq_nas.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        assert any(pathlib.PurePath(name).name == "LICENSE" for name in archive.namelist())
    assert (metadata["Name"].replace("-", "_"), metadata["Version"]) == ("larq_nas", larq_nas.__version__)
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.13"}
    required = {re.match(r"[\w-]+", line).group().replace("_", "-") for line in metadata.get_all("Requires-Dist")}
    assert {"tensorflow", "tf-keras", "larq", "larq-compute-engine", "tensorflow-datasets", "absl-py"} <= required


def test_wheel_is_used_from_another_folder(elsewhere, site):
    code = """
import larq_nas
model = larq_nas.zoo.bnas_a()
print(sum(int(v.shape.num_elements()) for v in model.trainable_variables))
for module in (larq_nas, larq_nas.zoo, larq_nas.flags, larq_nas.converters, larq_nas.methods):
    print(module.__file__)
print(*larq_nas.flags.recipes("train"), sum(larq_nas.zoo.genotype(m).decided for m in larq_nas.zoo.GENOTYPES))
"""
    result = elsewhere("-c", code)
    assert result.returncode == 0, result.stderr
    parameters, *places, found = result.stdout.splitlines()
    assert parameters == "5578252"
    assert all(site / "larq_nas" in pathlib.Path(place).parents for place in places) and len(places) == 5
    assert (
        found == "bars_cifar10 bars_imagenet bars_images bars_quickstart bats_cifar10 bats_imagenet bats_images "
        "bats_quickstart bats_real_cifar10 bats_real_images bats_real_quickstart bnas_cifar10 bnas_cifar10_cpu "
        "bnas_imagenet bnas_images bnas_quickstart dms_cifar10 dms_cifar10_float dms_imagenet dms_images "
        "dms_quickstart 21"
    )


def test_installed_console_script_answers(elsewhere, site):
    (script,) = (site / "bin").glob("larq_nas*")
    result = elsewhere(script, "zoo", "--pattern=bnas_a")
    assert result.returncode == 0, result.stderr
    assert "bnas_a" in result.stdout
