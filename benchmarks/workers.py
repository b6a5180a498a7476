"""Trials per second of a chief and its workers, whose trials do nothing.

    python benchmarks/workers.py --trials=200 --workers=1,2,4

The space is that of BNAS. Each line is a tuning: the number of workers, trials per second from the second trial on, and
milliseconds of the chief's processor for each trial.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

import keras_tuner

import larq_nas  # noqa: F401
from larq_nas.methods import bnas
from larq_nas.tuning import _keras_tuner, resumable, spaces


class Idle(resumable.ResumableTuner):
    """A tuner whose trials do nothing."""

    def run_trial(self, trial, **kwargs):
        return {"val_accuracy": 0.5}


def take_part(name, port, trials):
    """Runs a chief, which prints its figures, or a worker."""
    variables = {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": port, "TUNER_ID": name}
    os.environ.update({f"KERASTUNER_{key}": value for key, value in variables.items()})
    ended, end_once = [], _keras_tuner.end_once

    def timed(*arguments):
        answer = end_once(*arguments)
        ended.append((time.perf_counter(), time.process_time()))
        return answer

    _keras_tuner.end_once = timed
    oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=trials, seed=1)
    tuner = Idle(oracle, hyperparameters=spaces.hyperparameters(bnas.space(20, 16)), directory=".", project_name="idle")
    tuner.search(verbose=0)
    if name == "chief":
        wall, cpu = (last - first for first, last in zip(ended[0], ended[-1], strict=True))
        print(f"{(trials - 1) / wall:.1f} trials per second, {1000 * cpu / (trials - 1):.1f} ms of the chief each")


def main(arguments):
    for count in map(int, arguments.workers.split(",")):
        with socket.socket() as server, tempfile.TemporaryDirectory() as directory:
            server.bind(("127.0.0.1", 0))
            port = str(server.getsockname()[1])
            server.close()
            names = ["chief", *(f"worker{number}" for number in range(count))]
            words = [sys.executable, os.path.abspath(__file__), f"--trials={arguments.trials}", f"--port={port}"]
            print(f"{count} workers:", end=" ", flush=True)
            processes = [subprocess.Popen([*words, f"--name={name}"], cwd=directory) for name in names]
            assert sum(process.wait() for process in processes) == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", default="1,2,4")
    # For the processes that this one starts.
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--port", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.name:
        take_part(given.name, given.port, given.trials)
    else:
        main(given)
