"""What oneDNN and threads are good for: searches, trainings and evaluations of all methods, in one table.

    python benchmarks/threads_and_onednn.py

Each method is measured in a process of its own for each of the four forms of TensorFlow: without oneDNN and with it
(`TF_ENABLE_ONEDNN_OPTS`), with one and with two threads for an operation (`TF_NUM_INTRAOP_THREADS`). The four make
their steps in turn, since the machine's speed drifts; a figure is the median of the milliseconds of a step. A ratio
above 1 says that the form it is named after is the faster one.
"""

import itertools
import json
import multiprocessing
import os
import pathlib
import statistics

import steps
from absl import app, flags
from rich.console import Console
from rich.table import Table

from larq_nas.__main__ import load_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("method", steps.METHODS, steps.METHODS, "Methods that are measured.")
flags.DEFINE_integer("channels", 12, "Channels of a node in the first stage; dms has those of VGG-11.", lower_bound=1)
flags.DEFINE_integer("cells", 3, "Cells of bnas and bats.", lower_bound=3)
flags.DEFINE_integer("cells_per_stage", 1, "Cells per stage of bars.", lower_bound=1)
flags.DEFINE_integer("batch", 16, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.", lower_bound=8)
flags.DEFINE_integer("steps", 9, "Steps that are timed.", lower_bound=1)
flags.DEFINE_string("json", None, "File to write the figures to.")

TASKS = ["search", "train", "evaluate"]
# oneDNN, threads of an operation.
FORMS = list(itertools.product((0, 1), (1, 2)))
RATIOS = {
    "oneDNN, 1 thread": ((0, 1), (1, 1)),
    "oneDNN, 2 threads": ((0, 2), (1, 2)),
    "2 threads, off": ((0, 1), (0, 2)),
    "2 threads, on": ((1, 1), (1, 2)),
}


def main(_):
    table = Table("method", "step", *(f"{'on' if onednn else 'off'}, {threads}" for onednn, threads in FORMS), *RATIOS)
    rows = []
    for method in FLAGS.method:
        for task, times in measure(method).items():
            milliseconds = {form: 1e3 * statistics.median(values) for form, values in times.items()}
            ratios = {name: milliseconds[slow] / milliseconds[fast] for name, (slow, fast) in RATIOS.items()}
            figures = {f"onednn={onednn} threads={threads}": milliseconds[onednn, threads] for onednn, threads in FORMS}
            rows.append({"method": method, "step": task, **figures, **ratios})
            values = [f"{value:,.1f}" for value in figures.values()] + [f"{value:.2f}" for value in ratios.values()]
            table.add_row(method, task, *values)
    Console(width=150).print(table)
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measure(method):
    """For each task, for each of the `FORMS` the seconds of its steps."""
    context, workers = multiprocessing.get_context("spawn"), {}
    cells = FLAGS.cells_per_stage if method == "bars" else FLAGS.cells
    for onednn, threads in FORMS:
        os.environ.update(TF_ENABLE_ONEDNN_OPTS=str(onednn), TF_NUM_INTRAOP_THREADS=str(threads))
        arguments = method, cells, FLAGS.channels, FLAGS.batch, FLAGS.image_size
        workers[onednn, threads], _ = steps.start(context, run, *arguments)
    times = {task: {form: [] for form in FORMS} for task in TASKS}
    for task in TASKS:
        for number in range(FLAGS.steps + 1):
            for form, worker in workers.items():
                seconds = steps.ask(worker, task)
                # The first one is no step like the others: memory is not yet there.
                if number:
                    times[task][form].append(seconds)
    for worker in workers.values():
        worker.send("end")
    return times


def run(method, cells, channels, batch, image_size, pipe):
    """The process of one form: answers with the time of the step that it is asked for."""
    tf = load_tensorflow()
    from larq_nas import networks
    from larq_nas.training import recipes

    tf.keras.utils.set_random_seed(0)
    supernet = steps.supernet(method, cells, channels, image_size)
    genotype = steps.space(method, cells, channels).sample(0)
    network, recipe = networks.build(genotype, (image_size, image_size, 3)), recipes.Recipe(600, 196)
    functions = {
        "search": steps.search_step(supernet, batch, image_size)[0],
        "train": steps.training_step(network, recipe.make_optimizer(), recipe.loss(10), batch, image_size),
        "evaluate": steps.evaluation_step(network, batch, image_size),
    }
    for function in functions.values():
        function()
    pipe.send("ready")
    while (task := pipe.recv()) != "end":
        pipe.send(steps.seconds(functions[task]))


if __name__ == "__main__":
    app.run(main)
