"""The commands as a user types them, one after the other, in one directory."""

import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
import time
import zipfile

import command_line
import pytest
from reference import bars_architecture

from larq_nas import __main__ as main
from larq_nas import runs, zoo
from larq_nas.methods import bars, bnas, dms
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import trained
from larq_nas.tasks.search import _warn_if_undecided, _warn_of_collapse

SMALL = ["--train_examples=128", "--layers=3", "--filters=2", "--epochs=1"]
SEARCH = ["--samples=0", *SMALL]


def _run_in_a_process(directory, *words, code=0):
    command = [sys.executable, "-m", "larq_nas", *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where a search, a training and a conversion have run."""
    path = tmp_path_factory.mktemp("user")
    for words in (
        ["search", "--method=bnas", *SEARCH],
        ["train", "--genotype=runs/search/genotype.json", *SMALL],
        ["convert"],
    ):
        done = _run_in_a_process(path, *words)
        artefact = done.stdout.splitlines()[-1]
        assert (path / artefact).is_file(), f"the last line {artefact!r} names the artefact"
        assert done.stderr == ""
    (path / "space.json").write_text(bnas.space().to_json())
    genotype = bars_architecture((8, 12, 20), (1, 2, 1), (10, 6, 2), ((4, 6), (1, 0)))
    (path / "bars.json").write_text(genotype.to_json())
    return path


def test_search_says_what_it_will_take_draws_the_genotype_and_its_costs_and_follows_the_epochs(directory):
    words = [*SMALL, "--samples=3", "--finalists=2", "--run_dir=runs/other", "--seed=1"]
    words.append("--precision=mixed_bfloat16")
    done = command_line.run(directory, "search", *words)
    before, _, _ = done.stdout.partition("tracing the training step")
    size = r"supernet of [\d,]+ parameters: about \d+\.\d GB of memory and [\d.,]+ s per epoch of 2 steps"
    assert re.search(
        size + ".*; then 3 genotypes are evaluated with shared weights and 2 genotypes are trained for a short time, ",
        before,
    ), before
    assert "precision=mixed_bfloat16" in (directory / "runs/other/flags.txt").read_text(encoding="utf-8")
    for part in (
        "candidate: loss",
        "round 1, finalist 2",
        "normal cell",
        "reduce cell",
        "parameters",
        "binary and",
        "entropy",
        "val_accuracy",
        "none:",
    ):
        assert part in done.stdout


def test_the_run_directory_holds_what_it_promises(directory):
    search = {path.name for path in (directory / "runs/search").iterdir()}
    assert search >= {"flags.txt", "environment.json", "genotype.json", "genotype-gamma3.json", "genotypes"}
    train = {path.name for path in (directory / "runs/train").iterdir()}
    assert train >= {"genotype.json", "weights.h5", "metrics.json", "metrics.csv", "logs", "dataset.json"}
    assert train >= {"model.tflite", "model.report.json"}
    # A backup is of use only until the run has ended.
    assert "backup" not in search | train


def test_a_finished_command_shows_its_result_again(directory):
    before = (directory / "runs/train/weights.h5").stat().st_mtime_ns
    done = command_line.run(directory, "train", "--genotype=runs/search/genotype.json", *SMALL)
    assert "test accuracy" in done.stdout and "epoch" not in done.stdout
    assert (directory / "runs/train/weights.h5").stat().st_mtime_ns == before


def test_other_flags_in_the_same_directory_are_refused_by_name(directory):
    done = command_line.run(directory, "search", *SEARCH, "--seed=7", code=3)
    assert "differs in seed " in done.stderr and "overwrite=True" in done.stderr and len(done.stderr.splitlines()) == 1


def test_evaluate_measures_keras_and_file_alike(directory):
    _run_in_a_process(directory, "evaluate", "--max_examples=100", "--processes=2")
    result = json.loads((directory / "runs/train/evaluation.json").read_text())
    assert result["examples"] == 100
    assert result["agreement"] >= 0.98
    assert abs(result["keras_accuracy"] - result["tflite_accuracy"]) <= 0.02


def test_the_report_accounts_for_every_binary_convolution(directory):
    report = json.loads((directory / "runs/train/model.report.json").read_text())
    assert report["all_packed"] is True
    assert report["operators"]["LceBconv2d"] == sum(c["status"] == "packed" for c in report["binary_convolutions"])
    assert set(report["differences"]) == {"random", "real"}
    assert report["preprocessing"]["image_shape"] == [8, 8, 1]
    assert (directory / "runs/train/model.tflite").stat().st_size == report["file_bytes"]


def test_the_file_carries_labels_preprocessing_genotype_and_provenance(directory):
    with zipfile.ZipFile(directory / "runs/train/model.tflite") as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert texts["labels.txt"].split() == list("0123456789")
    assert json.loads(texts["preprocessing.json"])["mean"] == [0.5]
    genotype = Architecture.load(directory / "runs/train/genotype.json")
    assert Architecture.from_json(texts["genotype.json"]) == dataclasses.replace(genotype, provenance=None)
    provenance = json.loads(texts["provenance.json"])
    assert provenance["flags"]["epochs"] == "1" and "larq" in provenance["packages"]
    assert str(directory) not in "".join(texts.values())


def test_convert_in_8_bits_and_a_genotype_of_rounded_widths(directory):
    # Of a network that has learned little, 8 bits change many answers.
    learned = ["--train_examples=1000", "--filters=8", "--epochs=20", "--run_dir=runs/train8"]
    command_line.run(directory, "train", "--genotype=runs/search/genotype.json", *SMALL, *learned)
    done = command_line.run(directory, "convert", "--run_dir=runs/train8", "--int8", "--round_filters=32")
    report = json.loads((directory / "runs/train8/model.report.json").read_text())
    assert report["input_type"] == report["output_type"] == "int8" and report["all_packed"]
    rounded = Architecture.load(directory / "runs/train8/genotype-round32.json")
    assert [stage.widths for stage in rounded.stages] == [(32,), (64,), (128,)]
    assert "as LCE computes them" in done.stdout and "multiples of 32" in done.stdout
    command_line.run(directory, "evaluate", "--run_dir=runs/train8")
    result = json.loads((directory / "runs/train8/evaluation.json").read_text())
    assert result["agreement"] >= 0.9


def test_operations_are_timed_and_a_search_keeps_within_a_latency(directory):
    words = ["benchmark", "--profile_operations", "--filters=2", "--layers=3", "--input_shape=8,8,1"]
    words += ["--runs=2", "--warmup_runs=1", "--run_dir=runs/table"]
    first = command_line.run(directory, *words)
    table = json.loads((directory / "runs/table/latency.json").read_text())
    assert first.stdout.splitlines()[-1] == "runs/table/latency.json"
    # Nothing is left to measure.
    again = command_line.run(directory, *words)
    assert f"{len(table['operations'])} operations" in again.stdout and "Block" not in again.stdout
    assert json.loads((directory / "runs/table/latency.json").read_text()) == table
    other = command_line.run(directory, *words, "--threads=2", code=3)
    assert "holds times of another device or with other options" in other.stderr
    limit = ["--latency_table=runs/table/latency.json", "--run_dir=runs/fast"]
    found = command_line.run(directory, "search", *SEARCH, *limit, "--max_latency_ms=1000")
    predicted = float(re.search(r"predicted to take ([\d.]+) ms on host; max_latency_ms is 1000.0", found.stdout)[1])
    assert 0 < predicted < 1000 and "expected_ms" in found.stdout
    slow = command_line.run(directory, "search", *SEARCH, *limit, "--max_latency_ms=0.000002", "--overwrite", code=3)
    assert "the fastest network of this space is predicted to take" in slow.stderr
    assert len(slow.stderr.splitlines()) == 1
    half = command_line.run(directory, "search", *SEARCH, limit[0], code=1)
    assert "each needs the other" in half.stderr
    done = command_line.run(directory, "convert", limit[0])
    assert "estimated ms" in done.stdout and "milliseconds are estimates for host" in done.stdout


def test_costs_of_a_genotype(directory):
    words = ["costs", "--genotype=runs/search/genotype.json", "--input_shape=8,8,1"]
    lines = command_line.run(directory, *words).stdout.splitlines()
    assert lines[0].split() == ["layer", "kernel", "binary", "MACs", "float", "MACs", "parameters", "bytes"]
    counts = json.loads(command_line.run(directory, *words, "--json").stdout)
    total = next(line for line in lines if line.startswith("total"))
    names = ("binary_macs", "float_macs", "params", "bytes")
    assert total.split()[1:] == [f"{counts[name]:,}" for name in names]
    assert [line.split()[0] for line in lines[1 : len(counts["layers"]) + 1]] == [x["name"] for x in counts["layers"]]
    # A search prints the same.
    assert lines[-2] in command_line.run(directory, "search", *SEARCH).stdout


def test_costs_of_the_zoo(directory):
    lines = command_line.run(directory, "zoo", "--costs", "--pattern=*[a1]*").stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["bnas_a"][2:4] == ["175,852,800", "1,393,459,200"]
    assert rows["vgg11"][1:4] == ["32x32x3", "887,296", "18,874,368"]
    counts = json.loads(command_line.run(directory, "zoo", "--costs", "--json", "--pattern=bnas_d").stdout)
    assert counts["bnas_d"]["biops"] == 5_863_768_064
    # That of a model is counted at its own image size.
    assert json.loads(command_line.run(directory, "costs", "--json", "--genotype=bnas_d").stdout) == counts["bnas_d"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--genotype=nope.json"], "nope.json: no such file, and no network of the zoo (bars_a, "),
        (["train", "--genotype=bi-real_resnet18"], "no network of the zoo; did you mean bireal_resnet18 or "),
        (
            ["costs", "--genotype=VGG16"],
            "costs: genotype=VGG16: no such file, and no network of the zoo; did you mean vgg11?",
        ),
        (["benchmark", "--models=resnet50"], "and no network of the zoo; did you mean resnet18"),
        (
            ["train", "--genotype=vgg11", "--image_size=16"],
            "at least 32 pixels in height and width; the option image_size",
        ),
        (
            ["train", "--genotype=xnor_resnet18", "--image_size=4"],
            "at least 8 pixels in height and width; the option image_size",
        ),
        (["costs", "--genotype=bireal_resnet18", "--input_shape=4,8,3"], "input_shape (4, 8, 3) is too small"),
        (["train", "--genotype=xnor_resnet34", "--layers=5"], "bnas and bats, and xnor_resnet34 is none"),
        (
            ["train", "--genotype=resnet18", "--groups=2"],
            "train: groups: is for networks of bats, and resnet18 is none",
        ),
        (
            ["train", "--genotype=bireal_resnet18", "--full_precision"],
            "of vgg11 and resnet18, and bireal_resnet18 is none",
        ),
        (
            ["train", "--genotype=vgg11", "--drop_path=0.1"],
            "train: drop_path: is for networks of cells, and vgg11 is none; use drop_path=0",
        ),
        (
            ["train", "--genotype=bars.json", "--filters=4"],
            "train: filters: is for networks of bnas and bats, and bars.json is none",
        ),
        (
            ["train", "--genotype=vgg11", "--width=2"],
            "train: width: is for genotypes, and vgg11 is a network made by hand",
        ),
        (["train", "--genotype=bnas_a", "--width=2"], "train: width: is for networks of dms, and bnas_a is none"),
        (["train", "--genotype=bnas_a", "--groups=2"], "train: groups: is for networks of bats, and bnas_a is none"),
        (["train", "--genotype=bats", "--filters=40"], "groups=12: does not divide 40 filters; choose other filters"),
        (
            ["train", "--genotype=bats", "--groups=2", "--channels_per_group=5"],
            "channels_per_group=5: does not divide 36",
        ),
        (["train", "--genotype=bats", "--precision=mixed_float16"], "use float32 or mixed_bfloat16"),
        (["search", "--method=dms", "--genotype_megabytes=80000", "--run_dir=runs/x"], "must be at most"),
        (["train", "--genotype=bats_real_2_5m", "--stages=activations,weights"], "has no binary activations"),
        (
            ["search", "--method=bats", "--filters=16", "--groups=12", "--run_dir=runs/x"],
            "groups=12: does not divide 16",
        ),
        (["search", "--method=bats", "--filters=6", "--groups=3", "--run_dir=runs/x"], "6 is no multiple of 4"),
        (
            ["train", "--genotype=bnas_a", "--full_precision"],
            "train: full_precision: is for networks of vgg11 and resnet18",
        ),
        (["search", "--method=dms", "--backbone=vgg16", "--run_dir=runs/x"], "accepted are vgg11, resnet18"),
        (["search", "--method=dms", "--backbone=bnas_a", "--run_dir=runs/x"], "backbone: is a genotype of bnas"),
        (["costs", "--genotype=space.json"], "space.json: is a search space, not a genotype; search it first"),
        (["costs", "--genotype=bnas_a", "--input_shape=2,2,3"], "input_shape (2, 2, 3) is too small"),
        (["train", "--genotype=runs/train/flags.txt"], "flags.txt: not readable as JSON"),
        (["costs", "--genotype=runs/search"], "is a directory; name its file, e.g. runs/search/genotype.json"),
        (["rank", "--run_dir=runs/train", "--draw=3"], "holds no search; run_dir must be the directory of a finished"),
        (["convert", "--run_dir=runs/search"], "must be the directory of a finished larq_nas train"),
        (["evaluate", "--tflite=nope.tflite"], "nope.tflite: no such file"),
        (["evaluate", "--tflite=runs/train/flags.txt"], "cannot run this file"),
        (["search", "--dataset=folder:nowhere", "--run_dir=runs/x"], "nowhere: there is no such folder"),
        (["search", "--train_examples=99999", "--run_dir=runs/x"], "search: train_examples=99999: accepted"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_to_do(directory, monkeypatch, capfd, words, said):
    monkeypatch.chdir(directory)
    capfd.readouterr()
    assert main.main(words) == 3
    shown = capfd.readouterr().err
    assert said in shown and len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["search", "--warmup_epochs=12", "--run_dir=runs/x"],
            "search: warmup_epochs=12: must be at least 0",
        ),
        (
            ["search", "--method=dms", "--rounds=7", "--run_dir=runs/x"],
            "search: epochs=10: must be a multiple of rounds=7",
        ),
        (
            ["search", "--method=dms", "--scale=0.1", "--run_dir=runs/x"],
            "final_scale=0.3: must be positive and at most",
        ),
    ],
)
def test_flags_that_do_not_fit_together_are_bad_flags(directory, words, said):
    done = command_line.run(directory, *words, code=1)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_broken_weights_are_named(directory):
    weights = directory / "runs/train/weights.h5"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[: len(content) // 2])
        done = command_line.run(directory, "convert", code=3)
        assert "weights.h5: not the weights of" in done.stderr and "overwrite=True" in done.stderr
    finally:
        weights.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "command", "said"),
    [
        ("weights.h5", b"", "evaluate", "weights.h5: not the weights of"),
        ("weights.h5", b"garbage", "convert", "weights.h5: not the weights of"),
        ("genotype.json", b"", "convert", "genotype.json: not readable as JSON"),
        ("genotype.json", b"\xff", "train", "genotype.json: not a text file"),
        ("dataset.json", b"[]", "convert", "dataset.json: not the description of a data set"),
        ("environment.json", b"{}", "convert", "environment.json: broken"),
        ("metrics.json", b"[]", "train", "metrics.json: broken"),
        ("flags.txt", b"# larq_nas train\n\xff", "train", "flags.txt: broken"),
        ("flags.txt", b"# larq_nas train\n", "convert", "flags.txt: broken"),
        ("flags.txt", b"# larq_nas train\n--dataset=digits\n--image_size=abc\n", "evaluate", "flags.txt: broken"),
    ],
)
def test_a_broken_file_of_a_run_is_named(directory, tmp_path, monkeypatch, capsys, name, content, command, said):
    monkeypatch.chdir(directory)
    shutil.copytree("runs/train", tmp_path / "train")
    words = ["--genotype=runs/search/genotype.json", *SMALL] if command == "train" else []
    (tmp_path / "train" / name).write_bytes(content)
    assert main.main([command, *words, f"--run_dir={tmp_path}/train"]) == 3
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_an_evaluation_that_cannot_be_written_is_shown(directory, tmp_path, monkeypatch, capsys):
    shutil.copytree(directory / "runs/train", tmp_path / "train")

    def refuse(path, content):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(runs, "write", refuse)
    assert main.main(["evaluate", f"--run_dir={tmp_path}/train", "--max_examples=20"]) == 0
    note, result = capsys.readouterr().out.splitlines()
    assert json.loads(result)["examples"] == 20
    assert "evaluation.json: could not be written (Read-only file system)" in note


def test_a_genotype_that_no_image_passes_is_refused_before_anything_is_written(directory, tmp_path, capsys):
    dead = json.loads((directory / "runs/search/genotype.json").read_text())
    for cell in dead["cells"].values():
        for node in cell["nodes"]:
            for edge in node["edges"]:
                edge["operations"] = ["none"]
    file = tmp_path / "dead.json"
    file.write_text(json.dumps(dead))
    for words in (["train", f"--genotype={file}"], ["search", "--method=dms", f"--backbone={file}"]):
        assert main.main([*words, f"--run_dir={tmp_path}/run"]) == 3
        assert "dead.json: no image reaches the classifier" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    # A search that ended so says so, too.
    shutil.copytree(directory / "runs/search", tmp_path / "search")
    (tmp_path / "search/genotype.json").write_text(json.dumps(dead))
    assert main.main(["search", "--method=bnas", *SEARCH, f"--run_dir={tmp_path}/search"]) == 3
    assert "search/genotype.json: no image reaches the classifier" in capsys.readouterr().err


def test_a_search_killed_by_the_system_goes_on_with_the_same_command(tmp_path):
    words = ["search", *SEARCH[:-1], "--epochs=3", "--run_dir=lr[1] *"]
    process = subprocess.Popen([sys.executable, "-m", "larq_nas", *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    rows = tmp_path / "lr[1] */metrics.csv"
    while not (rows.exists() and len(rows.read_text().splitlines()) > 1):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "lr[1] */genotype.json").exists()
    assert command_line.run(tmp_path, *words).stdout.splitlines()[-1] == "lr[1] */genotype.json"
    assert [line.split(",")[0] for line in rows.read_text().splitlines()] == ["epoch", "0", "1", "2"]


def test_another_genotype_under_the_same_name_is_refused(directory):
    genotype = directory / "runs/search/genotype.json"
    content = genotype.read_text()
    try:
        genotype.write_text(content.replace("max_pool_3x3", "avg_pool_3x3").replace('"none"', '"max_pool_3x3"'))
        done = command_line.run(directory, "train", "--genotype=runs/search/genotype.json", *SMALL, code=3)
        assert "another genotype" in done.stderr and "overwrite=True" in done.stderr
    finally:
        genotype.write_text(content)


def test_a_network_is_converted_where_its_data_are_not(directory, tmp_path):
    shutil.copytree(directory / "runs/train", tmp_path / "train")
    flags = tmp_path / "train/flags.txt"
    flags.write_text(flags.read_text().replace("--dataset=digits", "--dataset=folder:/nowhere"))
    done = command_line.run(tmp_path, "convert", "--run_dir=train")
    assert "compared on random inputs only: folder:/nowhere" in done.stdout
    assert set(json.loads((tmp_path / "train/model.report.json").read_text())["differences"]) == {"random"}


def test_a_model_of_the_zoo_is_trained_by_name(directory):
    done = command_line.run(directory, "train", "--genotype=bnas_a", *SMALL, "--run_dir=runs/zoo")
    assert done.stdout.splitlines()[-1] == "runs/zoo/weights.h5"


def test_a_network_made_by_hand_is_trained_converted_evaluated_and_counted_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Files and folders of the same name do not hide it.
    words = ["--genotype=vgg11", "--run_dir=vgg11", "--train_examples=64", "--epochs=1", "--validation_fraction=0.5"]
    assert main.main(["train", *words]) == 0
    printed = capsys.readouterr().out
    assert "recipe dms_quickstart" in printed and " validation images" in printed and " val_accuracy 0." in printed
    genotype = Architecture.load("vgg11/genotype.json")
    assert genotype == dms.space("vgg11")
    for command in ("convert", "evaluate"):
        assert main.main([command, "--run_dir=vgg11"]) == 0
    assert json.loads((tmp_path / "vgg11/model.report.json").read_text())["all_packed"]
    assert json.loads((tmp_path / "vgg11/evaluation.json").read_text())["agreement"] > 0.9
    with zipfile.ZipFile("vgg11/model.tflite") as archive:
        assert json.loads(archive.read("provenance.json"))["flags"]["genotype"] == "vgg11"
    assert main.main(["train", *words]) == 0


@pytest.mark.parametrize("name", ["bireal_resnet18", "xnor_resnet18"])
def test_a_run_knows_a_network_without_a_genotype_by_its_name(tmp_path, name):
    run, network = runs.Run(tmp_path), zoo.Baseline(name)
    run.start("train", {"genotype": name})
    described = {"name": "folder", "image_shape": [8, 8, 1], "class_names": ["ant", "bee", "cat"]}
    runs.write(run.dataset, {**described, "mean": [0.5], "std": [0.5]})
    model = network.build((8, 8, 1), 3)
    model.save_weights(run.weights)
    loaded, _ = trained.load_trained(run)
    assert loaded.name == name and loaded.output_shape == (None, 3)
    assert all((a == b).all() for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True))


@pytest.mark.parametrize("name", [name for name in zoo.VARIANTS if name not in zoo.GENOTYPES])
def test_costs_counts_networks_made_by_hand(name, capsys):
    assert main.main(["costs", f"--genotype={name}", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["params"], counts["bytes"]) == (zoo.VARIANTS[name].parameters, zoo.VARIANTS[name].memory)


def test_benchmark_converts_a_network_of_the_zoo_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--input_shape=32,32,1", "--num_classes=3", "--runs=1", "--warmup_runs=1"]
    assert main.main(["benchmark", "--models=vgg11", *words]) == 0
    said = "vgg11: the network of the zoo for images of 32x32x1, with untrained weights"
    assert capsys.readouterr().out.splitlines()[0] == said
    (model,) = json.loads((tmp_path / "runs/benchmark/benchmark.json").read_text())["models"]
    assert model["name"] == "vgg11" and model["summary"]["ms"] > 0
    (tmp_path / "vgg11").mkdir()
    assert main.main(["benchmark", "--models=vgg11"]) == 3
    assert "vgg11/model.tflite: No such file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_resnet_made_by_hand_is_trained_in_two_stages_converted_and_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--genotype=bireal_resnet18", "--train_examples=64", "--epochs=1", "--stages=activations,weights"]
    for command in (["train", *words], ["convert"], ["evaluate"], ["train", *words]):
        assert main.main(command) == 0
    assert not (tmp_path / "runs/train/genotype.json").exists()
    assert json.loads((tmp_path / "runs/train/model.report.json").read_text())["all_packed"]
    assert json.loads((tmp_path / "runs/train/evaluation.json").read_text())["agreement"] > 0.9


def test_a_collapse_is_said_in_one_line_with_the_operations_of_the_cells(caplog):
    genotype = zoo.genotype("bnas_d")
    _warn_of_collapse(genotype, bnas.space())
    assert caplog.messages == []
    edge = dataclasses.replace(genotype.cells[0].edges[0], operations=("max_pool_3x3",))
    nodes = tuple(
        dataclasses.replace(n, edges=(edge, dataclasses.replace(edge, source=1))) for n in genotype.cells[0].nodes
    )
    cells = (dataclasses.replace(genotype.cells[0], nodes=nodes), genotype.cells[1])
    _warn_of_collapse(dataclasses.replace(genotype, cells=cells), bnas.space())
    (line,) = caplog.messages
    assert "collapsed" in line and "(normal: max_pool_3x3:8)" in line
    caplog.clear()
    one = dataclasses.replace(nodes[0], edges=(genotype.cells[0].edges[0], nodes[0].edges[1]))
    assert genotype.cells[0].edges[0].operations[0].startswith("bin_conv")
    cells = (dataclasses.replace(cells[0], nodes=(one, *nodes[1:])), genotype.cells[1])
    _warn_of_collapse(dataclasses.replace(genotype, cells=cells), bnas.space())
    assert "no or one convolution (normal: max_pool_3x3:7" in caplog.messages[0]
    caplog.clear()
    # A search of widths has not chosen the cells.
    backbone = zoo.genotype("bars_b")
    _warn_of_collapse(backbone, dms.space(backbone))
    assert caplog.messages == []


@pytest.mark.parametrize(("entropies", "warned"), [((0.95, 0.95), True), ((0.5, 1.0), False)])
def test_a_search_that_has_hardly_decided_says_so(tmp_path, caplog, entropies, warned):
    run, space = runs.Run(tmp_path), bars.space(8, 2)
    _warn_if_undecided(run, bars.Strategy(), space)
    # Three operations on each edge; four widths and three depths of each stage.
    row = {"epoch": 7, "entropy_operations": entropies[0] * math.log(3), "entropy_width": entropies[1] * math.log(4)}
    run.append_row({**row, "entropy_depth": entropies[1] * math.log(3), "val_accuracy": 0.5})
    _warn_if_undecided(run, bars.Strategy(), space)
    assert [message.startswith("warning: the search has hardly decided") for message in caplog.messages] == [
        True
    ] * warned
