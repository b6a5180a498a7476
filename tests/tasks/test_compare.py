"""Comparing networks: the statistics, the names of the networks, and the command with its run directory."""

import csv
import dataclasses
import json
import math
import subprocess
import sys
import time

import pytest
from scipy import stats

import larq_nas
from larq_nas import __main__ as main
from larq_nas import flags, options, zoo
from larq_nas.configs import RecipeConfig
from larq_nas.methods import bnas
from larq_nas.tasks import accuracies
from larq_nas.tasks.compare import labels
from larq_nas.tasks.errors import TaskError

SMALL = ["--train_examples=128", "--layers=3", "--filters=2", "--epochs=1"]


def test_statistics_are_those_computed_by_hand():
    summary = accuracies.summarize([0.5, 0.6, 0.7])
    # Student's t for two degrees of freedom is 4.3027.
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (summary["trainings"], summary["mean"], summary["deviation"]) == (3, pytest.approx(0.6), pytest.approx(0.1))
    assert summary["interval"] == pytest.approx([0.6 - half, 0.6 + half], abs=1e-6)
    # t = -0.3 / sqrt(2 * 0.01 / 3) = -3.6742 with four degrees of freedom.
    assert accuracies.p_value([0.5, 0.6, 0.7], [0.8, 0.9, 1.0]) == pytest.approx(0.021312, abs=1e-6)


def test_the_p_value_does_not_assume_equal_deviations():
    first, second = [0.5, 0.6, 0.7], [0.80, 0.81, 0.83]
    welch = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert accuracies.p_value(first, second) == pytest.approx(welch)
    assert welch != pytest.approx(stats.ttest_ind(first, second).pvalue, rel=0.1)


def test_without_deviations_there_is_no_p_value():
    assert accuracies.p_value([0.5, 0.5], [0.6, 0.6]) is None
    assert 0 < accuracies.p_value([0.5, 0.5], [0.6, 0.7]) < 1


def test_one_training_has_no_deviation_no_interval_and_no_p_value():
    costs = {"params": 10, "bytes": 20, "binary_macs": 30, "float_macs": 40}
    networks = {
        name: {"accuracies": [value], **accuracies.summarize([value]), **costs}
        for name, value in {"a": 0.5, "b": 0.75}.items()
    }
    pairs = accuracies.pairs(networks)
    assert pairs == [{"first": "a", "second": "b", "difference": -0.25, "p_value": None}]
    assert networks["a"]["deviation"] is None and networks["a"]["interval"] is None
    comparison = {"seeds": [7], "networks": networks, "pairs": pairs}
    lines = [line.split() for line in accuracies.table(comparison).splitlines()]
    assert lines[1] == ["a", "1", "50.00", "-", "-", "10", "20", "30", "40"]
    assert lines[-1] == ["a", "-", "b", "-25.00", "-"]
    first, _ = csv.DictReader(accuracies.to_csv(comparison).splitlines())
    assert first["mean"] == first["accuracy_seed7"] == "0.5"
    assert first["deviation"] == first["interval_low"] == first["p_value_b"] == ""


@pytest.mark.parametrize(
    ("genotypes", "names"),
    [
        (["a.json", "x/b.json", "bnas_a"], ["a", "b", "bnas_a"]),
        (["a/genotype.json", "b/genotype.json"], ["a", "b"]),
        (["x/a.json", "y/a.json", "c.json"], ["x-a", "y-a", "c"]),
        (["x/a/genotype.json", "y/a.json"], ["x-a", "y-a"]),
        (["bnas_a", "x/bnas_a.json"], ["bnas_a", "x-bnas_a"]),
        (["1/x/a.json", "2/x/a.json"], ["1-x-a", "2-x-a"]),
    ],
)
def test_networks_are_named_after_their_files_and_their_folders_where_needed(genotypes, names):
    assert labels(genotypes) == names


def test_files_that_cannot_be_told_apart_are_refused():
    with pytest.raises(TaskError, match="a.json and ./a.json have the same name"):
        labels(["a.json", "./a.json"])


def test_a_comparison_has_the_recipes_of_trainings():
    assert flags.recipes("compare") == flags.recipes("train") != []
    line = flags.parse("compare", ["--genotypes=bars_a,zoo:bars_b", "--dataset=cifar10", "--seeds=4,5"])
    train = flags.parse("train", ["--genotype=bars_a", "--dataset=cifar10"])
    assert line.recipe == train.recipe == "bars_cifar10" and line.config.seeds == (4, 5)
    for name in set(options.options(RecipeConfig)) - {"run_dir"}:
        assert getattr(line.config, name) == getattr(train.config, name), name
    genotype = zoo.genotype("bars_c")
    config = flags.configure("compare", genotypes=[genotype, "bars_a"], dataset="cifar10")
    assert config.genotypes == (genotype, "bars_a") and config.epochs == train.config.epochs
    assert config.texts()["genotypes"].startswith("sha256:") and config.texts()["genotypes"].endswith(",bars_a")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A directory with the genotypes a/genotype.json and b/genotype.json, and with files that are none."""
    path = tmp_path_factory.mktemp("user")
    for seed, name in enumerate("ab"):
        (path / name).mkdir()
        (path / name / "genotype.json").write_text(bnas.space(layers=3, filters=2).sample(seed).to_json())
    (path / "broken.json").write_text("{")
    (path / "space.json").write_text(bnas.space().to_json())
    dead = json.loads((path / "a/genotype.json").read_text())
    for cell in dead["cells"].values():
        for node in cell["nodes"]:
            for edge in node["edges"]:
                edge["operations"] = ["none"]
    (path / "dead.json").write_text(json.dumps(dead))
    return path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--genotypes=bnas_a,nope.json"], 3, "nope.json: no such file, and no network of the zoo (bars_a, "),
        (["--genotypes=bnas_a,zoo:bnas_aa"], 3, "zoo:bnas_aa: no network of the zoo; did you mean bnas_a"),
        (["--genotypes=bnas_a,broken.json"], 3, "broken.json: not readable as JSON"),
        (["--genotypes=bnas_a,space.json"], 3, "space.json: is a search space, not a genotype"),
        (["--genotypes=bnas_a,dead.json"], 3, "dead.json: no image reaches the classifier"),
        (["--genotypes=bnas_a,zoo:bnas_a"], 3, "bnas_a and bnas_a have the same name; give each genotype once"),
        (["--genotypes=bnas_a,bnas_b", *SMALL], 3, "bnas_a and bnas_b are the same network"),
        (["--genotypes=vgg11,dms_vgg11_a", "--image_size=16"], 3, "at least 32 pixels in height and width"),
        (["--genotypes="], 1, "give at least one, e.g. a.json,b.json,bnas_a"),
        ([], 1, "genotypes"),
        (["--genotypes=bnas_a", "--seeds=1,2,1"], 1, "give different numbers of at least 0, e.g. 1,2,3"),
        (["--genotypes=bnas_a", "--seeds=one"], 1, "give different numbers of at least 0, e.g. 1,2,3"),
        (["--genotypes=bnas_a", "--seed=1"], 1, "'seed'"),
        (
            ["--genotypes=bnas_a,bars_a", "--dataset=cifar10"],
            1,
            "(the defaults of the flags, bars_cifar10); choose one for all, e.g. --flagfile=bars_cifar10",
        ),
        (
            ["--genotypes=bnas_a,bars_a"],
            1,
            "have different recipes (bnas_quickstart, bars_quickstart); choose one for all, e.g. "
            "--flagfile=bnas_quickstart",
        ),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_trained(files, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(files)
    assert main.main(["compare", *words, "--run_dir=refused"]) == code
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert not (files / "refused").exists()


def _start(directory, *words):
    command = [sys.executable, "-m", "larq_nas", "compare", *words]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_interrupted_comparison_goes_on_and_does_not_train_again(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    words = ["--genotypes=a/genotype.json,b/genotype.json", "--seeds=1,2", "--run_dir=all of it", *SMALL]
    run, process = files / "all of it", _start(files, *words)
    first = run / "a-seed1/weights.h5"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 3 and "goes on after the last finished training" in errors
    assert not (run / "comparison.json").exists() and not (run / "b-seed2").exists()
    before = first.stat().st_mtime_ns
    assert main.main(["compare", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all of it/comparison.json"
    assert first.stat().st_mtime_ns == before

    comparison = json.loads((run / "comparison.json").read_text())
    assert list(comparison["networks"]) == ["a", "b"] and comparison["seeds"] == [1, 2]
    for name, network in comparison["networks"].items():
        values = [json.loads((run / f"{name}-seed{seed}/metrics.json").read_text())["test_accuracy"] for seed in (1, 2)]
        assert network["accuracies"] == values and network["mean"] == pytest.approx(sum(values) / 2)
        counts = larq_nas.costs.count(larq_nas.Architecture.load(run / f"{name}-seed1/genotype.json"), (8, 8, 1), 10)
        assert (network["params"], network["binary_macs"]) == (counts.params, counts.binary_macs)
    assert len((run / "comparison.csv").read_text().splitlines()) == 3
    assert (run / "comparison.png").read_bytes().startswith(b"\x89PNG")

    # In Python, the same comparison has finished.
    values = {"train_examples": 128, "layers": 3, "filters": 2, "epochs": 1, "run_dir": run.name}
    genotypes = ["a/genotype.json", "b/genotype.json"]
    assert larq_nas.compare(genotypes=genotypes, seeds=[1, 2], **values) == comparison
    # Another comparison in the same directory is refused.
    assert main.main(["compare", *words, "--seeds=1,3"]) == 3
    assert "differs in seeds " in capsys.readouterr().err
    genotype = files / "a/genotype.json"
    other = dataclasses.replace(bnas.space(layers=3, filters=2).sample(5), provenance=None)
    genotype.write_text(other.to_json())
    assert main.main(["compare", *words]) == 3
    assert "another genotype than a/genotype.json is now" in capsys.readouterr().err


def test_a_training_that_fails_is_named(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    words = ["--genotypes=bnas_a", "--seeds=1", "--run_dir=failing", *SMALL]
    (files / "failing/bnas_a-seed1").mkdir(parents=True)
    (files / "failing/flags.txt").write_text("# larq_nas compare\n" + _flags_of(words))
    (files / "failing/bnas_a-seed1/photo.txt").write_text("not of larq_nas")
    assert main.main(["compare", *words]) == 3
    shown = capsys.readouterr().err
    assert "failing/bnas_a-seed1: holds files but no run of larq_nas" in shown and shown.count("\n") == 1


def _flags_of(words):
    texts = flags.parse("compare", words).config.texts()
    return "".join(f"--{name}={value}\n" for name, value in sorted(texts.items()))
