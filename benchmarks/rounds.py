"""Time and memory of the rounds of a search by DMS, which rebuilds its network when it must.

    python benchmarks/rounds.py --rounds=50

A small VGG-11 on the embedded digits; each line is a round: seconds, memory of the process in GiB, room for channels.
"""

import argparse
import pathlib
import tempfile
import time

import larq_nas  # noqa: F401
from larq_nas import datasets, runs
from larq_nas.methods import dms


class TimedRun(runs.Run):
    """A run directory that prints what each round took."""

    def append_row(self, row):
        super().append_row(row)
        now = time.perf_counter()
        pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        print(f"round {row['epoch'] + 1}: {now - self.begin:.1f} s, {pages * 4096 / 2**30:.3f} GiB", flush=True)
        self.begin = now


def main(arguments):
    config = dms.DmsConfig(
        rounds=arguments.rounds,
        epochs=arguments.rounds,
        batch_size=32,
        architecture_learning_rate=0.01,
        augmentation="crop",
        ratio=0.7,
        scale=0.5,
        memory_target=0.04,
        best_effort=not arguments.rebuild,
    )
    data = datasets.load("digits", image_size=32, train_examples=arguments.examples)
    with tempfile.TemporaryDirectory() as directory:
        run = TimedRun(directory)
        run.begin = time.perf_counter()
        base = config.space()
        config.search(base, config.strategy(base, data.image_shape, len(data.class_names)), data, run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--rebuild", action="store_true", help="build a new network for every round")
    main(parser.parse_args())
