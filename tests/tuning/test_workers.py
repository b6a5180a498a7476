"""A chief and its workers, which are processes on this machine."""

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras_tuner
import pytest

import larq_nas
from larq_nas import configs, runs, tuning
from larq_nas.methods import bnas
from larq_nas.tuning import workers

# A training takes a second, holds the lock of its directory, and can be killed with its worker.
PROGRAM = """
import json, logging, os, sys, time

trials = int(sys.argv[3])
os.environ.update(KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_ORACLE_PORT=sys.argv[1], KERASTUNER_TUNER_ID=sys.argv[2])
import larq_nas
from larq_nas.runs import locks
from larq_nas.tasks import processes
from larq_nas.tuning import workers

workers.BEAT, workers.SILENCE, workers.PATIENCE = 0.2, 15.0, 200.0


def call(command, run, **flags):
    with locks.hold(run.path):
        with open("trained.txt", "a") as file:
            print(sys.argv[2], run.path.parent.name, file=file)
        time.sleep(1)
        run.metrics.write_text(json.dumps({"val_accuracy": 0.5, "val_loss": 1.0}))
        run.weights.touch()


processes.call = call
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
options = {"method": "bnas", "layers": 3, "filters": 4, "dataset": "digits", "train_examples": 64, "epochs": 1}
found = larq_nas.tune(**options, max_trials=trials, run_dir="run")
print(len(found["trials"]))
"""


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


class _Group:
    """The processes of one tuning."""

    def __init__(self, path, trials):
        self.path, self.trials, self.port, self.processes = path, trials, _free_port(), {}

    def start(self, name):
        words = [sys.executable, "-c", PROGRAM, self.port, name, str(self.trials)]
        with open(self.path / f"{name}.txt", "a") as output:
            self.processes[name] = subprocess.Popen(words, cwd=self.path, stdout=output, stderr=output)

    def kill(self, name):
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()

    def trained(self):
        """Pairs of worker and trial, in the order in which the trainings began."""
        file = self.path / "trained.txt"
        return [tuple(line.split()) for line in file.read_text().splitlines()] if file.exists() else []

    def until_trained(self, count):
        for _ in range(6000):
            if len(self.trained()) >= count:
                return
            time.sleep(0.05)
        pytest.fail(f"{self.trained()}\n{self.output('chief')}")

    def output(self, name):
        return (self.path / f"{name}.txt").read_text()

    def wait(self):
        for name, process in self.processes.items():
            assert process.wait(300) == 0, self.output(name)


@pytest.fixture
def group(tmp_path):
    started = _Group(tmp_path, trials=9)
    yield started
    for name in list(started.processes):
        started.kill(name)


def test_no_trial_is_lost_or_counted_twice_if_a_worker_and_the_chief_are_killed(group):
    for name in ("chief", "a", "b", "c"):
        group.start(name)
    group.until_trained(3)
    # The workers do not start at the same time. One that trains just now is killed.
    killed, lost = group.trained()[-1]
    group.kill(killed)
    group.until_trained(6)
    group.kill("chief")
    group.start("chief")
    group.wait()
    result = json.loads((group.path / "run/tuning.json").read_text())
    assert len(result["trials"]) == 9 and {trial["status"] for trial in result["trials"]} == {"completed"}
    names = collections.Counter(name for _, name in group.trained())
    assert len(names) == 9 and names.pop(lost) == 2 and set(names.values()) == {1}
    first, second = (name for name, trial in group.trained() if trial == lost)
    assert first == killed != second
    assert f"worker {killed}: silent; trial {lost[-1]} goes to another worker" in group.output("chief")
    others = [name for name in "abc" if name != killed]
    assert sum(int(group.output(name).split()[-1]) for name in others) + 1 >= 8
    # A finished tuning is read again, and needs no workers.
    group.processes.clear()
    group.start("chief")
    group.wait()
    assert group.output("chief").split()[-1] == "9"


@pytest.fixture
def worker(monkeypatch):
    """Makes this process a worker, or a chief, of an address at which nobody listens."""

    def become(name="worker", **variables):
        given = {"IP": "127.0.0.1", "PORT": _free_port(), **variables}
        for key, value in given.items():
            monkeypatch.setenv(f"KERASTUNER_ORACLE_{key}", value)
        monkeypatch.setenv("KERASTUNER_TUNER_ID", name)

    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    return become


RECIPE = configs.RecipeConfig(dataset="digits", train_examples=64, epochs=1, drop_path=0.0, validation_fraction=0.25)


def _tuner(path):
    oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=2, seed=1)
    return tuning.ArchitectureTuner(oracle, bnas.space(3, 4), RECIPE, directory=str(path))


def test_a_chief_that_does_not_answer_is_one_clear_error(worker, tmp_path):
    worker()
    with pytest.raises(tuning.TuningError, match=r"^127.0.0.1:\d+: no chief answers there; start the chief with"):
        _tuner(tmp_path)
    with pytest.raises(tuning.TuningError, match="no chief answers there"):
        larq_nas.tune(method="bnas", dataset="digits", epochs=1, run_dir=str(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "variables", "said"),
    [
        (
            "worker",
            {"PORT": ""},
            "KERASTUNER_ORACLE_PORT: is not set; a chief and its workers need KERASTUNER_ORACLE_IP",
        ),
        ("", {}, "KERASTUNER_TUNER_ID: is not set"),
        ("worker", {"PORT": "http"}, "KERASTUNER_ORACLE_PORT=http: is no port; give a number from 1 to 65535"),
        ("w\u00f6rker", {}, "is no name; give letters and digits"),
    ],
)
def test_variables_that_are_missing_or_wrong_are_clear_errors(name, variables, said, worker, tmp_path):
    worker(name, **variables)
    with pytest.raises(tuning.TuningError, match=said):
        larq_nas.tune(method="bnas", dataset="digits", epochs=1, run_dir=str(tmp_path / "run"))


def test_a_port_that_is_in_use_is_one_clear_error(worker, tmp_path):
    worker("chief")
    with socket.socket() as server:
        server.bind(("127.0.0.1", int(os.environ["KERASTUNER_ORACLE_PORT"])))
        server.listen()
        with pytest.raises(tuning.TuningError, match="the chief cannot listen there; give an address of this machine"):
            _tuner(tmp_path).search()


def test_a_worker_joins_the_same_run_only(tmp_path):
    run = runs.Run(tmp_path / "run")
    with pytest.raises(runs.RunError, match="holds no run of larq_nas; give the run_dir of the chief"):
        run.check("tune", {"seed": 0})
    run.start("tune", {"seed": 0})
    run.check("tune", {"seed": 0})
    with pytest.raises(runs.RunError, match="differs in seed "):
        run.check("tune", {"seed": 1})
