import json
import os
import platform
import re
import sys

import pytest
from absl import flags

import larq_nas
from larq_nas import runs
from larq_nas.runs import locks

FLAGS = {"epochs": 2, "seed": 0}


@pytest.fixture
def run(tmp_path):
    run = runs.Run(tmp_path / "runs" / "a")
    run.start("search", FLAGS)
    return run


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


# --- atomic writes -------------------------------------------------------------------------------------------


def test_atomic_shows_the_file_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.h5"
    with runs.atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        # Keras chooses the format by it.
        assert temporary.suffix == ".h5"
        temporary.write_text("whole")
    assert files(path.parent) == ["weights.h5"] and path.read_text() == "whole"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [[], ["old"]], ids=["new", "existing"])
def test_crash_while_writing_leaves_what_was_there(tmp_path, before, error):
    path = tmp_path / "metrics.json"
    for text in before:
        path.write_text(text)
    with pytest.raises(error), runs.atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [file.read_text() for file in tmp_path.iterdir()] == before


@pytest.mark.parametrize(
    ("content", "written"),
    [("täxt\n", "täxt\n".encode()), (b"\x00\xff", b"\x00\xff"), ({"a": [1]}, b'{\n  "a": [\n    1\n  ]\n}\n')],
    ids=["text", "bytes", "json"],
)
def test_write_takes_text_bytes_and_json(tmp_path, content, written):
    runs.write(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == written


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"{", "not readable as JSON"), (b"\xff", "not readable as JSON")],
    ids=["missing", "cut", "binary"],
)
def test_read_json_names_the_file_and_the_problem(tmp_path, content, problem):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(runs.RunError, match="^" + re.escape(f"{path}: {problem}")):
        runs.read_json(path)


# --- start ---------------------------------------------------------------------------------------------------


def test_start_leaves_flags_and_environment(run):
    assert files(run.path) == ["environment.json", "flags.txt"]
    assert run.flags.read_text() == "# larq_nas search\n--epochs=2\n--seed=0\n"


def test_start_takes_an_empty_directory(tmp_path):
    runs.Run(tmp_path).start("search", FLAGS)
    assert (tmp_path / "flags.txt").exists()


def test_same_flags_go_on_in_any_order(run):
    run.weights.write_text("kept")
    run.start("search", dict(reversed(FLAGS.items())))
    assert run.weights.read_text() == "kept"


@pytest.mark.parametrize(
    ("command", "changed", "named"),
    [
        ("search", {"epochs": 3}, ["epochs"]),
        ("search", {"layers": 5}, ["layers"]),
        ("search", {"epochs": 3, "seed": 1}, ["epochs", "seed"]),
        ("train", {}, ["larq_nas search", "larq_nas train"]),
    ],
    ids=["value", "new", "two", "command"],
)
def test_other_flags_are_refused_by_name_and_nothing_changes(run, command, changed, named):
    run.weights.write_text("kept")
    before = run.flags.read_text()
    with pytest.raises(runs.RunError) as caught:
        run.start(command, {**FLAGS, **changed})
    listed = re.search(r"differs in (.*) \(see", str(caught.value)).group(1)
    assert listed.split(", ") == named
    assert "overwrite=True" in str(caught.value)
    assert ("there, which lacks layers: perhaps an earlier version" in str(caught.value)) == (named == ["layers"])
    assert run.weights.exists() and run.flags.read_text() == before


def test_a_run_goes_on_without_flags_that_changed_nothing_when_it_began(run):
    run.weights.write_text("kept")
    run.start("search", {**FLAGS, "warmup_epochs": 0, "skip": True, "distill": False})
    assert run.weights.exists()
    with pytest.raises(runs.RunError, match="differs in zeroise "):
        run.start("search", {**FLAGS, "zeroise": False})


def test_flag_that_is_gone_is_named(run):
    with pytest.raises(runs.RunError, match="differs in seed "):
        run.start("search", {"epochs": 2})


def test_overwrite_starts_again(run):
    run.weights.write_text("old")
    runs.write(run.genotypes / "epoch-0.json", "old")
    run.start("search", {"epochs": 3}, overwrite=True)
    assert files(run.path) == ["environment.json", "flags.txt"]
    assert "--epochs=3" in run.flags.read_text()


@pytest.mark.parametrize("overwrite", [False, True])
# Another program may call its settings flags.txt, too.
@pytest.mark.parametrize("name", ["thesis.tex", "flags.txt"])
def test_directory_that_holds_no_run_is_refused_and_kept(tmp_path, name, overwrite):
    (tmp_path / name).write_text("precious\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(runs.RunError, match="choose another run_dir"):
        runs.Run(tmp_path).start("search", FLAGS, overwrite)
    assert files(tmp_path) == sorted(["folder", name])
    assert (tmp_path / name).read_text() == "precious\n"


@pytest.mark.parametrize("below", ["", "run"], ids=["file", "below"])
def test_file_in_the_place_of_the_directory_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(runs.RunError, match="choose another run_dir"):
        runs.Run(tmp_path / "file" / below).start("search", FLAGS)
    assert (tmp_path / "file").read_text() == "precious"


def test_overwrite_of_a_symbolic_link_is_refused_with_the_reason(run, tmp_path):
    (tmp_path / "link").symlink_to(run.path)
    with pytest.raises(runs.RunError, match="symbolic link"):
        runs.Run(tmp_path / "link").start("search", {"epochs": 3}, overwrite=True)


@pytest.mark.parametrize("written", [0, 1])
def test_start_that_was_interrupted_can_be_repeated(tmp_path, monkeypatch, written):
    run = runs.Run(tmp_path / "run")

    remaining = [runs.write] * written

    def write(*arguments):
        if not remaining:
            raise KeyboardInterrupt
        remaining.pop()(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "write", write)
        run.start("search", FLAGS)
    run.start("search", FLAGS)
    assert files(run.path) == ["environment.json", "flags.txt"]


def test_flags_txt_works_as_a_flagfile(tmp_path):
    values = {
        "dataset": "folder:/a path/with=sign, comma",
        "epochs": 12,
        "learning_rate": 3e-05,
        "overwrite": False,
        "reduce_index_bug": True,
    }
    run = runs.Run(tmp_path / "run")
    run.start("search", values)
    settings = flags.FlagValues()
    flags.DEFINE_string("dataset", None, "", flag_values=settings)
    flags.DEFINE_integer("epochs", None, "", flag_values=settings)
    flags.DEFINE_float("learning_rate", None, "", flag_values=settings)
    flags.DEFINE_bool("overwrite", True, "", flag_values=settings)
    flags.DEFINE_bool("reduce_index_bug", False, "", flag_values=settings)
    assert settings(["program", f"--flagfile={run.flags}"]) == ["program"]
    assert {name: settings[name].value for name in values} == values


def test_environment_says_what_the_run_ran_on(run):
    environment = json.loads(run.environment.read_text())
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["platform"] == platform.platform()
    assert environment["cpus"] == os.cpu_count()
    assert environment["packages"]["larq_nas"] == larq_nas.__version__
    assert {"tensorflow", "larq", "numpy"} <= set(environment["packages"])


# --- metrics.csv ---------------------------------------------------------------------------------------------

TABLE = "epoch,accuracy,val_accuracy\n0,0.5,0.25\n1,0.625,NA\n2,0.75,0.5\n"


def test_rows_are_numbers_and_leave_out_what_keras_did_not_know(run):
    assert run.rows() == []
    run.metrics_csv.write_text(TABLE)
    assert run.rows() == [
        {"epoch": 0.0, "accuracy": 0.5, "val_accuracy": 0.25},
        {"epoch": 1.0, "accuracy": 0.625},
        {"epoch": 2.0, "accuracy": 0.75, "val_accuracy": 0.5},
    ]


@pytest.mark.parametrize("first", [3, 2, 1])
def test_drop_rows_keeps_the_epochs_before(run, first):
    run.metrics_csv.write_text(TABLE)
    run.drop_rows(first)
    assert run.metrics_csv.read_text() == "".join(TABLE.splitlines(keepends=True)[: first + 1])


def test_drop_rows_of_all_epochs_leaves_no_file(run):
    # Keras writes the header only into a new file.
    run.metrics_csv.write_text("".join(TABLE.splitlines(keepends=True)[:2]))
    run.drop_rows(0)
    assert not run.metrics_csv.exists()
    run.drop_rows(0)
    assert run.rows() == []


@pytest.mark.parametrize("read", [runs.Run.rows, lambda run: run.drop_rows(1)], ids=["rows", "drop_rows"])
@pytest.mark.parametrize(
    "text",
    [
        b"garbage\nx\n",
        b"epoch,loss\nx,1\n",
        b"epoch\n\xff\n",
        b"epoch,loss\n0\n",
        b"epoch,loss\n0,1,2\n",
        b"a\0b\n\0\n",
    ],
)
def test_broken_table_is_refused_with_a_way_out(run, text, read):
    run.metrics_csv.write_bytes(text)
    with pytest.raises(runs.RunError, match="overwrite=True"):
        read(run)


def test_row_that_was_cut_off_is_not_read_as_numbers(run):
    run.metrics_csv.write_text(TABLE[:-5])
    with pytest.raises(runs.RunError, match="overwrite=True"):
        run.rows()


@pytest.mark.parametrize("cut", ["1", "12", "12,0.", "12,0.5,0.2"])
def test_a_row_that_was_cut_off_while_it_was_written_is_forgotten(run, cut):
    run.metrics_csv.write_text(TABLE + cut)
    run.drop_rows(3)
    assert run.metrics_csv.read_text() == TABLE


def test_epochs_without_a_backup_are_not_begun_again_in_silence(run):
    run.metrics_csv.write_text(TABLE)
    with pytest.raises(runs.RunError, match="backup: holds none of the 3 epochs that metrics.csv .*overwrite=True"):
        run.drop_rows(0)
    assert run.metrics_csv.read_text() == TABLE


# --- locks and broken files ----------------------------------------------------------------------------------


def test_overwrite_keeps_the_lock_and_a_lock_is_no_file_of_others(tmp_path):
    with locks.hold(tmp_path / "run"):
        run = runs.Run(tmp_path / "run")
        run.start("search", FLAGS)
        runs.write(run.genotypes / "epoch-0.json", "old")
        run.start("search", {"epochs": 3}, overwrite=True)
        assert files(run.path) == [".lock", "environment.json", "flags.txt"]


def test_broken_flags_are_named(run):
    run.flags.write_bytes(b"# larq_nas search\n\xff\n")
    for read in (run.flag_values, lambda: run.start("search", FLAGS)):
        with pytest.raises(runs.RunError, match="flags.txt: broken; .*overwrite=True"):
            read()


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_broken_environment_is_named(run, text):
    run.environment.write_text(text)
    with pytest.raises(runs.RunError, match="environment.json: "):
        run.packages()
