"""The steps that benchmarks time, and the processes in which they do."""

import importlib
import os
import pathlib
import sys
import time

import larq_nas  # noqa: F401  (before TensorFlow)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
METHODS = ["bnas", "bars", "bats", "dms"]


def start(context, function, *arguments):
    """A pipe to a process, and the first that it says."""
    ours, theirs = context.Pipe()
    context.Process(target=function, args=(*arguments, theirs), daemon=True).start()
    theirs.close()
    return ours, ours.recv()


def ask(worker, question):
    """The answer of a process."""
    worker.send(question)
    return worker.recv()


def seconds(function) -> float:
    """The time of a call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def random_batches(batch, image_size):
    """The same images and labels, again and again."""
    import tensorflow as tf

    data = tf.random.normal([batch, image_size, image_size, 3]), tf.random.uniform([batch], 0, 10, tf.int64)
    return tf.data.Dataset.from_tensors(data).repeat()


def space(method, cells, channels):
    """The search space of a method; of `dms` the base network, which has neither cells nor a number of channels."""
    module = importlib.import_module(f"larq_nas.methods.{method}")
    if method == "dms":
        return module.space("vgg11")
    make = module.space
    return make(channels, cells) if method == "bars" else make(cells, channels)


def supernet(method, cells, channels, image_size, form="shared"):
    """A supernet with the optimizers of the published search of BNAS."""
    import tensorflow as tf

    from larq_nas import supernet
    from larq_nas.methods.bars import residual_edges
    from larq_nas.methods.bats import grouped_edges
    from larq_nas.methods.bnas import mixed_edges
    from larq_nas.training import optimizers

    if form == "per edge":
        sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
        from reference import PerEdge, PerGroupedEdge, PerResidualEdge

        mixed_edges.MixedEdges, residual_edges.ResidualEdges = PerEdge, PerResidualEdge
        grouped_edges.GroupedEdges = PerGroupedEdge
    searched, shape = space(method, cells, channels), (image_size, image_size, 3)
    strategies = importlib.import_module(f"larq_nas.methods.{method}")
    if method == "dms":
        model = _width_supernet(strategies, searched, shape)
    else:
        options = {"warmup_epochs": 0, "budget": 1e9, "counted": (searched, shape, 10)} if method == "bars" else {}
        model = supernet.Supernet(strategies.Strategy(**options), searched, shape, 10)
    model.compile(
        optimizer=optimizers.SGD(optimizers.EpochCosine(0.025, 0.001, 50, 1563), momentum=0.9, l2=3e-4),
        architecture_optimizer=optimizers.Adam(3e-4, beta_1=0.5, epsilon=1e-8, l2=1e-3),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def _width_supernet(dms, base, shape):
    import numpy as np

    distributions = dms.Distributions()
    strategy = dms.Strategy(distributions, base, shape, 10)
    filters = strategy.begin(np.full(len(base.stages), distributions.ratio, np.float32), distributions.scale)
    return dms.WidthSupernet(strategy, dms.room(base, filters))


def search_step(model, batch, image_size):
    """A function that makes one step of a search, architecture and weights; what it traces, and its batches."""
    import tensorflow as tf

    batches, step = random_batches(batch, image_size), model.make_train_function()
    if not hasattr(model, "turn"):
        batches = iter(tf.data.Dataset.zip((batches, batches)))
        return lambda: step(batches), step, batches
    batches = iter(batches)

    def both_turns():
        for turn in (0, 1):
            model.turn.assign(turn)
            step(batches)

    return both_turns, step, batches


def training_step(model, optimizer, loss, batch, image_size=32):
    """A function that makes one step of training a model, which it compiles."""
    model.compile(optimizer, loss)
    batches, step = iter(random_batches(batch, image_size)), model.make_train_function()
    return lambda: step(batches)


def evaluation_step(model, batch, image_size):
    """A function that evaluates a compiled model on one batch."""
    batches, step = iter(random_batches(batch, image_size)), model.make_test_function()
    return lambda: step(batches)
