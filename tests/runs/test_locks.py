import subprocess
import sys

import pytest

from larq_nas.runs import locks

HOLD = """
import sys
from larq_nas.runs import locks
with locks.hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a directory."""
    started = []

    def hold(path):
        command = [sys.executable, "-c", HOLD, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_keeps_others_out_and_leaves_nothing(tmp_path):
    path = tmp_path / "new [1]" / "run"
    with locks.hold(path):
        with (
            pytest.raises(locks.LockError, match="is in use by process .*; wait .*choose another run_dir"),
            locks.hold(path),
        ):
            pass
        (path / "weights.h5").write_text("kept")
    assert [file.name for file in path.iterdir()] == ["weights.h5"]
    with locks.hold(path):
        pass


def test_a_directory_that_was_made_and_stayed_empty_is_removed(tmp_path):
    with pytest.raises(RuntimeError), locks.hold(tmp_path / "runs" / "a"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with locks.hold(tmp_path / "mine"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_another_process_is_named(holder, tmp_path):
    process = holder(tmp_path / "run")
    with pytest.raises(locks.LockError, match=f"process {process.pid} of "), locks.hold(tmp_path / "run"):
        pass
    assert [file.name for file in (tmp_path / "run").iterdir()] == [locks.NAME]


def test_the_lock_of_a_dead_process_is_taken_over(holder, tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    assert (tmp_path / locks.NAME).exists()
    with locks.hold(tmp_path):
        pass


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(locks.LockError, match="; run_dir must be a directory"), locks.hold(tmp_path / "file" / below):
        pass
    assert (tmp_path / "file").read_text() == "precious"


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with locks.hold(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
