"""What it is good for to rewrite a network before its conversion: operators, bytes and time, with and without it.

    python benchmarks/inference_graph.py

Without it, only what LCE needs is done: constants are computed, and groups are split. The two files run in turn, image
by image, in one process, with LCE's kernel use_indirect_bgemm. Ratios are medians over these turns. Then the same for
single steps that can be written in several ways, ten of them in a row.
"""

import statistics
import time
from unittest import mock

import numpy as np
from absl import app, flags

import larq_nas
from larq_nas import quiet
from larq_nas.__main__ import load_tensorflow

FLAGS = flags.FLAGS
MODELS = ["bnas_a", "bars_c", "bats", "dms_resnet18_b"]
flags.DEFINE_multi_enum("model", MODELS, larq_nas.zoo.list_models(), "Networks to convert.")
flags.DEFINE_integer("runs", 50, "Runs of each file that are timed.", lower_bound=1)


def main(_):
    load_tensorflow()
    for name in FLAGS.model:
        networks(name)
    for title, ways in steps().items():
        print(f"{title}, ten in a row, 32x32x36, ms:", flush=True)
        files = [in_a_row(way) for way in ways.values()]
        for use_xnnpack in (False, True):
            times = measure(files, use_xnnpack)
            ms = (f"{way} {1e3 * statistics.median(t):.3f}" for way, t in zip(ways, times, strict=True))
            print(f"  {_with(use_xnnpack)}: {', '.join(ms)}", flush=True)


def networks(name):
    """Prints what the files of a network hold and how long they take."""
    from larq_nas.converters import rewriting, tflite

    model = getattr(larq_nas.zoo, name)()
    settle(model)
    with mock.patch.object(rewriting, "_simpler", lambda model: {}):
        plain = tflite.convert(model)
    files = plain, tflite.convert(model)
    counts = [file.report.operators for file in files]
    names = sorted((set(counts[0]) | set(counts[1])) - {"LceBconv2d"})
    binary, total = (
        _arrow(value(c) for c in counts) for value in (lambda c: c["LceBconv2d"], lambda c: sum(c.values()))
    )
    print(f"{name}: {total} operators, {binary} of them binary convolutions", flush=True)
    print(f"  {', '.join(f'{other} {_arrow(count.get(other, 0) for count in counts)}' for other in names)}")
    print(f"  {_arrow(f'{len(file.bytes):,}' for file in files)} bytes")
    for use_xnnpack in (False, True):
        times = measure([file.bytes for file in files], use_xnnpack)
        ratio = statistics.median(after / before for before, after in zip(*times, strict=True))
        ms = _arrow(f"{1e3 * statistics.median(seconds):.2f}" for seconds in times)
        print(f"  {_with(use_xnnpack)}: {ms} ms, ratio {ratio:.3f}", flush=True)


def settle(model):
    """Gives BatchNorms statistics, scales and offsets: equal ones would share their constants in the file."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0, 0.3, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            if layer.scale:
                layer.gamma.assign(generator.uniform(0.5, 1.5, shape))
            if layer.center:
                layer.beta.assign(generator.normal(0, 0.3, shape))


def measure(contents, use_xnnpack):
    """Seconds of each run of some files."""
    from larq_compute_engine.testing import Interpreter

    with quiet.stderr():
        loaded = [Interpreter(content, use_indirect_bgemm=True, use_xnnpack=use_xnnpack) for content in contents]
    image = np.random.default_rng(0).normal(size=loaded[0].input_shapes[0]).astype(np.float32)
    times = [[] for _ in loaded]
    for run in range(FLAGS.runs + 3):
        for interpreter, seconds in zip(loaded, times, strict=True):
            begin = time.perf_counter()
            interpreter.predict(image)
            if run >= 3:
                seconds.append(time.perf_counter() - begin)
    return times


def steps():
    """Steps, and the ways to compute them from the last four tensors of 36 channels."""
    import tensorflow as tf

    generator = np.random.default_rng(0)

    def vector():
        return tf.constant(generator.uniform(0.5, 1.5, 36), tf.float32)

    def depthwise(x):
        kernel = tf.reshape(vector(), (1, 1, 36, 1))
        return tf.nn.relu(tf.nn.depthwise_conv2d(x[-1], kernel, [1, 1, 1, 1], "VALID") + vector())

    def transpose(x):
        apart = tf.reshape(x[-1], (-1, 32, 32, 4, 9))
        return tf.reshape(tf.transpose(apart, (0, 1, 2, 4, 3)), (-1, 32, 32, 36))

    order = np.arange(36).reshape(4, 9).T.reshape(-1)
    return {
        "BatchNorm and ReLU": {
            "MUL and ADD": lambda x: tf.nn.relu(x[-1] * vector() + vector()),
            "DEPTHWISE_CONV_2D": depthwise,
            "ADD alone": lambda x: tf.nn.relu(x[-1] + vector()),
        },
        "sum of four": {"chain of ADD": lambda x: x[0] + x[1] + x[2] + x[3], "ADD_N": tf.add_n},
        "channel shuffle": {"TRANSPOSE": transpose, "GATHER": lambda x: tf.gather(x[-1], order, axis=-1)},
    }


def in_a_row(way):
    """A file in which a step is done ten times."""
    import tensorflow as tf

    from larq_nas.converters import tflite

    images = tf.keras.Input((32, 32, 4 * 36))
    tensors = tf.split(images, 4, axis=-1)
    for _ in range(10):
        tensors.append(way(tensors[-4:]))
    return tflite.convert(tf.keras.Model(images, tensors[-1])).bytes


def _with(use_xnnpack):
    return "with XNNPACK" if use_xnnpack else "without XNNPACK"


def _arrow(values):
    return " → ".join(map(str, values))


if __name__ == "__main__":
    app.run(main)
