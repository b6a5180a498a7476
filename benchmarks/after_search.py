"""What comes around a search: training, conversion, and how long the command line takes to answer.

    python benchmarks/after_search.py

Training compares `zoo.bnas_a` with a network of the same layers, in which Larq's own `QuantConv2D` stands for ours:
step by step in turn, in one process. Conversions run in a process of their own, whose memory is measured.
"""

import multiprocessing
import resource
import statistics
import subprocess
import sys
import time

import steps
from absl import app, flags

import larq_nas
from larq_nas import quiet
from larq_nas.__main__ import load_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_integer("batch", 64, "Images in a training step.", lower_bound=1)
flags.DEFINE_integer("steps", 10, "Training steps that are timed.", lower_bound=2)
flags.DEFINE_multi_enum("convert", ["bnas_a", "bnas_d"], larq_nas.zoo.list_models("bnas*"), "Networks to convert.")


def main(_):
    command_line()
    context = multiprocessing.get_context("spawn")
    jobs = [(training, (FLAGS.batch, FLAGS.steps)), *((conversion, (name,)) for name in FLAGS.convert)]
    for function, arguments in jobs:
        process = context.Process(target=function, args=arguments)
        process.start()
        process.join()


def command_line():
    """Prints the time of the command line's shortest answers."""
    for words in (["--help"], ["search", "--help"], ["zoo"]):
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "larq_nas", *words], stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - begin)
        print(f"larq_nas {' '.join(words)}: {statistics.median(times):.2f} s", flush=True)


def training(batch, count):
    """Prints images per second of both networks."""
    tf = load_tensorflow(batch)
    from larq_nas.training import recipes

    recipe = recipes.Recipe(epochs=600, steps_per_epoch=196)
    ours = larq_nas.zoo.bnas_a()
    runs = []
    for model, optimizer in ((ours, recipe.make_optimizer()), (plain(ours), tf.keras.optimizers.SGD(0.05, 0.9))):
        step = steps.training_step(model, optimizer, recipe.loss(10), batch)
        runs.append((step, steps.seconds(step), []))
    for _ in range(count + 1):
        for step, _, times in runs:
            times.append(steps.seconds(step))
    for name, (_, first, times) in zip(("zoo.bnas_a", "plain Larq"), runs, strict=True):
        seconds = statistics.median(times[1:])
        print(f"train {name}: {batch / seconds:.1f} images/s, first step after {first:.1f} s", flush=True)


def plain(model):
    """The same layers, with a convolution that is Larq's."""
    import larq as lq
    import tensorflow as tf

    from larq_nas.layers.convolutional import XnorConv2D

    def clone(layer):
        if not isinstance(layer, XnorConv2D):
            return layer.__class__.from_config(layer.get_config())
        names = ("name", "filters", "kernel_size", "strides", "padding", "pad_values", "dilation_rate", "use_bias")
        return lq.layers.QuantConv2D(
            **{name: getattr(layer, name) for name in names},
            activation="relu",
            input_quantizer="ste_sign",
            kernel_quantizer="magnitude_aware_sign",
            kernel_constraint="weight_clip",
        )

    return tf.keras.models.clone_model(model, clone_function=clone)


def conversion(name):
    """Prints time and memory of a conversion."""
    tf = load_tensorflow()
    from larq_nas.converters import tflite

    model = getattr(larq_nas.zoo, name)()
    for layer in model.layers:
        # As after a training: equal layers that read one tensor would be merged, and dilated ones then not packed.
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.moving_mean.assign(tf.random.normal(layer.moving_mean.shape))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    begin = time.perf_counter()
    with quiet.stderr():
        report = tflite.convert(model).report
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"convert {name}: {seconds:.1f} s, {before:.2f} GiB before, {peak:.2f} GiB at the highest", flush=True)
    print(f"  {report.count('packed')} packed, {report.file_bytes:,} bytes", flush=True)


if __name__ == "__main__":
    app.run(main)
