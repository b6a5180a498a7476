"""Converts every model of the zoo, and writes `docs/zoo.md` and a report per model in `docs/reports`.

python experiments/zoo.py [--overwrite]

Without `--overwrite`, models that have a report are not converted again.
"""

import collections
import dataclasses
import multiprocessing
import pathlib
import sys

import numpy as np

import larq_nas
from larq_nas import runs
from larq_nas.__main__ import load_tensorflow
from larq_nas.devices import timing
from larq_nas.devices.timing import Options

DOCS = pathlib.Path(__file__).parents[1] / "docs"
REPORTS = DOCS / "reports"
OPTIONS = Options(runs=20, warmup_runs=3, timeout=600)
IMAGES = 32
# Size of the change to images and BatchNorms whose effect on the outputs is measured.
NOISE = 1e-6
HEAD = (
    *("model", "images", "packed / all", "file bytes", "padding", "1-bit ideal", "ratio", "ms"),
    *("difference", "agreement", "noise: difference", "agreement", "notes"),
)


def settle(model, generator):
    """Gives an untrained model statistics, so that its outputs depend on its images.

    BatchNorms get random scales and offsets, and the statistics of random images. Each output of the classifier gets
    mean 0 and standard deviation 2 over these images.
    """
    import tensorflow as tf

    for norm in norms(model):
        norm.momentum = 0.0
        if norm.scale:
            norm.gamma.assign(generator.uniform(0.5, 1.5, norm.gamma.shape))
        if norm.center:
            norm.beta.assign(generator.normal(0, 0.3, norm.beta.shape))
    images = _images(model, generator)
    # Without momentum, one training step sets the statistics to those of its batch.
    model(images, training=True)
    classifier = model.layers[-1]
    features = tf.keras.Model(model.input, classifier.input).predict(images, verbose=0)
    logits = features @ classifier.kernel.numpy()
    kernel = classifier.kernel.numpy() * 2 / logits.std(axis=0)
    classifier.set_weights([kernel, -(features @ kernel).mean(axis=0)])


def norms(model):
    """Returns the BatchNorms of a model."""
    import tensorflow as tf

    return [layer for layer in model.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]


def _images(model, generator):
    return generator.normal(size=(IMAGES, *model.input_shape[1:])).astype(np.float32)


def convert(name):
    """Converts, runs and times a model, and writes its report."""
    tf = load_tensorflow()
    from larq_nas.converters import interpreter, tflite

    tf.keras.utils.set_random_seed(0)
    model, generator = getattr(larq_nas.zoo, name)(), np.random.default_rng(0)
    settle(model, generator)
    conversion = tflite.convert(model, allow_float_fallback=True)
    images = _images(model, generator)
    noisy = (images + NOISE * generator.normal(size=images.shape)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    compared = {"random": _compare(expected, interpreter.predict(conversion.bytes, images, processes=1))}
    means, worst = [norm.moving_mean.numpy() for norm in norms(model)], []
    for factor in (1 - NOISE, 1 + NOISE):
        for norm, mean in zip(norms(model), means, strict=True):
            norm.moving_mean.assign(mean * np.float32(factor))
        worst.append(_compare(expected, model.predict(noisy, verbose=0)))
    differences, agreements = zip(*worst, strict=True)
    compared["Keras_noise"] = max(differences), min(agreements)
    with timing.open_device("host") as device:
        measured = device.measure(conversion.bytes, OPTIONS)
    report = dataclasses.replace(conversion.report, differences=compared).to_dict()
    # The list of operators would be most of the file.
    del report["layers"]
    report |= {"input_shape": model.input_shape[1:], "host": measured.to_dict()}
    runs.write(REPORTS / f"{name}.json", report)


def _compare(expected, actual):
    agreement = np.mean(expected.argmax(axis=-1) == actual.argmax(axis=-1))
    return float(np.abs(expected - actual).max()), float(agreement)


def row(name):
    """Returns the row of a model in the table."""
    report = runs.read_json(REPORTS / f"{name}.json")
    convolutions = report["binary_convolutions"]
    packed = sum(c["status"] == "packed" for c in convolutions)
    height, width, _ = report["input_shape"]
    ratio = report["file_bytes"] / report["ideal_bytes"]
    compared = (f"{difference:.1e} | {agreement:.1%}" for difference, agreement in report["differences"].values())
    others = collections.Counter(f"{c['status']}: {c['reason']}" for c in convolutions if c["status"] != "packed")
    notes = [f"{count} {text}" for text, count in others.items()]
    split = [c["groups"] for c in convolutions if c["groups"] > 1]
    if split:
        notes.append(f"{len(split)} grouped ones are {sum(split)} in the file")
    if report["use_indirect_bgemm"]:
        notes.append("needs `use_indirect_bgemm`")
    if not convolutions:
        notes.append("a real-valued network")
    sizes = (f"{report[name]:,}" for name in ("file_bytes", "padding_bytes", "ideal_bytes"))
    ms = f"{report['host']['latency_ms']['median']:,.1f}"
    cells = (name, f"{height}x{width}", f"{packed} / {len(convolutions)}", *sizes, f"{ratio:.2f}", ms, *compared)
    return f"| {' | '.join(cells)} | {'; '.join(notes)} |"


def main(overwrite):
    names = larq_nas.zoo.list_models()
    context = multiprocessing.get_context("spawn")
    for name in names:
        if overwrite or not (REPORTS / f"{name}.json").exists():
            # A separate process frees its memory at its end.
            process = context.Process(target=convert, args=(name,))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"{name} was not converted")
            print(row(name), flush=True)
    (DOCS / "zoo.md").write_text(TEXT + "".join(f"{row(name)}\n" for name in names), encoding="utf-8")


TEXT = f"""# The zoo as files

This page was written by `python experiments/zoo.py`, which converts every model of `larq_nas zoo` for Larq Compute
Engine (LCE), audits the files, runs them and times them. The reports are in [`docs/reports`](reports), without their
lists of operators.

- **Packed / all** counts the binary convolutions of the network. The column "notes" says why others are not packed.
- **1-bit ideal** is the size of the weights alone, with binary kernels at 1 bit and all other weights at 32 bits. A
  file also holds the graph, and pads the input channels of each binary kernel to a multiple of 32 (**padding**, in
  bytes of the file). On the other hand, its BatchNorms are merged into adjacent operators.
- **ms** is the median of {OPTIONS.runs} runs of LCE's Python interpreter with one thread, on two cores of an
  x86 CPU that were shared with other programs. LCE has only portable kernels for x86; the faster one was used. So the
  times can at best compare the models with each other, and say nothing about a Raspberry Pi or a phone.
- **Difference** is the largest difference of a class probability between Keras and the file over {IMAGES} random
  images. **Agreement** is the share of these images on which both predict the same class. There are no weights to
  download, so the models are untrained. Their BatchNorms have random scales and the statistics of random images. The
  outputs of their classifiers are normalized over random images, since otherwise all images would give the same class.
- **Noise** is the same comparison between Keras and Keras. Noise of {NOISE} is added to the images, whose standard
  deviation is 1, and the means of all BatchNorms are changed by a factor of 1 + {NOISE} or 1 - {NOISE}; the worse case
  is shown. The rounding of sums in a file differs by about as much. If this changes the sign of a value near 0, more
  and more signs change in the following layers. So the deeper a network is, and the more classes it has, the less two
  computations of the network agree on random images.

| {" | ".join(HEAD)} |
|{"---|" * len(HEAD)}
"""

if __name__ == "__main__":
    main("--overwrite" in sys.argv[1:])
