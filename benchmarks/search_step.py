"""How soon a search starts and how fast it runs, beside the time that its convolutions alone would take.

    python benchmarks/search_step.py --method=bnas --channels=16 --cells=8 --batch=16 --reference

Measures the training step of a supernet in a process of its own, as `fit` runs it: the time until the first step is
done, the median of the steps after it, the memory at its highest. The floor is the time that the step's convolutions
would take at the rate of a product of two large matrices in 32 bits, which is measured between the steps.
`--reference` measures the plain form, an operation per edge, in turn with the shared one. The shared form has the
threads that `larq_nas search` gives it, the plain form those of TensorFlow; `TF_NUM_INTRAOP_THREADS` in the environment
sets both. Nodes are counted as they are optimized: a function that is not inlined counts once.
"""

import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import time

import steps
from absl import app, flags
from rich.console import Console
from rich.table import Table

from larq_nas import quiet
from larq_nas.__main__ import load_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_enum("method", "bnas", steps.METHODS, "Method whose supernet is measured; of dms, VGG-11.")
flags.DEFINE_integer("channels", 16, "Channels of a node in the first stage.", lower_bound=1)
flags.DEFINE_multi_integer("cells", [8], "Cells of bnas, cells per stage of bars; several make a table.", lower_bound=1)
flags.DEFINE_multi_integer("batch", [16], "Images in each of a step's two batches; several make a table.", 1)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.", lower_bound=8)
flags.DEFINE_integer("steps", 10, "Steps that are timed.", lower_bound=2)
flags.DEFINE_string("precision", "float32", "Keras dtype policy.")
flags.DEFINE_bool("reference", False, "Measure the plain form, an operation per edge, too.")
flags.DEFINE_string("json", None, "File to write the figures to.")

# Both halves of a step run the network and need the gradients of its tensors, one those of its kernels, too.
PASSES = 5
COLUMNS = {
    "form": "form",
    "cells": "cells",
    "batch": "batch",
    "build_seconds": "build s",
    "trace_seconds": "trace s",
    "first_run_seconds": "first run s",
    "seconds_to_first_step": "to first step s",
    "graph_nodes": "nodes",
    "seconds_per_step": "step s",
    "images_per_second": "images/s",
    "floor_ratio": "times the floor",
    "peak_memory_gb": "peak GiB",
}


def main(_):
    rows = []
    for cells in FLAGS.cells:
        for batch in FLAGS.batch:
            rows += measure(cells, batch)
    table = Table()
    for header in COLUMNS.values():
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(*(_show(row[name]) for name in COLUMNS))
    Console(width=150).print(table)
    print(f"matrix product: {statistics.median(row['matmul_gflops'] for row in rows):.0f} GFLOP/s")
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _show(value):
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def measure(cells, batch):
    """The figures of one size, a row for each form."""
    if FLAGS.reference and FLAGS.method == "dms":
        raise app.UsageError("--reference: dms has no edges")
    forms = ["shared", "per edge"] if FLAGS.reference else ["shared"]
    context = multiprocessing.get_context("spawn")
    settings = {name: FLAGS[name].value for name in ("method", "channels", "image_size", "precision")}
    matrices, _ = steps.start(context, multiply)
    # One after the other, so that none disturbs the start of another.
    workers, results = zip(*(steps.start(context, run, form, cells, batch, settings) for form in forms), strict=True)
    # Step by step in turn, since the machine's speed drifts.
    times = {form: [] for form in forms}
    rates = []
    for _ in range(FLAGS.steps):
        rates.append(steps.ask(matrices, "rate"))
        for form, worker in zip(forms, workers, strict=True):
            times[form].append(steps.ask(worker, "step"))
    flops = results[0].pop("flops")
    floor = flops / statistics.median(rates)
    rows = []
    for form, worker, result in zip(forms, workers, results, strict=True):
        result.pop("flops", None)
        step = statistics.median(times[form])
        row = {"form": form, "cells": cells, "batch": batch, **result}
        row |= {
            "seconds_per_step": step,
            "images_per_second": 2 * batch / step,
            "floor_ratio": step / floor,
            "gflop_per_step": flops / 1e9,
            "matmul_gflops": statistics.median(rates) / 1e9,
            "peak_memory_gb": steps.ask(worker, "memory"),
        }
        rows.append(row)
    for worker in [matrices, *workers]:
        worker.send("end")
    return rows


def run(form, cells, batch, settings, pipe):
    """The process that holds one supernet: sends the figures of its start, then answers questions."""
    if form == "shared":
        load_tensorflow(batch)
    with quiet.stderr():
        import tensorflow as tf

    tf.keras.utils.set_random_seed(0)
    begin = time.perf_counter()
    tf.keras.mixed_precision.set_global_policy(settings["precision"])
    size = settings["image_size"]
    model = steps.supernet(settings["method"], cells, settings["channels"], size, form)
    step, function, batches = steps.search_step(model, batch, size)
    built = time.perf_counter()
    graph = function.get_concrete_function(batches).graph
    traced = time.perf_counter()
    step()
    done = time.perf_counter()
    pipe.send(
        {
            "build_seconds": built - begin,
            "trace_seconds": traced - built,
            "first_run_seconds": done - traced,
            "seconds_to_first_step": done - begin,
            "graph_nodes": nodes(graph),
            # Those of the shared form are the floor of both.
            "flops": 2 * PASSES * batch * multiply_accumulates(model.network) if form == "shared" else None,
        }
    )
    del graph
    while (question := pipe.recv()) != "end":
        if question == "step":
            pipe.send(steps.seconds(step))
        else:
            pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def multiply(pipe):
    """The process that answers with the rate of a matrix product, with all the machine's threads."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.pop(name, None)
    with quiet.stderr():
        import tensorflow as tf

    matrices = [tf.random.normal([2048, 2048]) for _ in range(2)]
    product = tf.function(tf.matmul)
    product(*matrices)
    pipe.send("ready")
    while pipe.recv() != "end":
        begin = time.perf_counter()
        product(*matrices).numpy()
        pipe.send(2 * 2048**3 / (time.perf_counter() - begin))


def multiply_accumulates(network) -> int:
    """Those of the convolutions and products of a supernet's forward pass, for one image."""
    total = 0
    for layer in network.layers:
        output = layer.output_shape[0] if isinstance(layer.output_shape, list) else layer.output_shape
        if len(output) == 4:
            kernels = [weight.shape for weight in layer.trainable_weights if weight.shape.rank > 1]
            total += output[1] * output[2] * sum(shape.num_elements() for shape in kernels)
    return total


def nodes(graph) -> int:
    """Nodes of a graph and of the functions that it calls."""
    definition = graph.as_graph_def()
    return len(definition.node) + sum(len(function.node_def) for function in definition.library.function)


if __name__ == "__main__":
    app.run(main)
