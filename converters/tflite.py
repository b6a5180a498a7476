"""Conversion to a `.tflite` of Larq Compute Engine, and the audit that says what it really holds.

The converter of Larq Compute Engine (LCE) ships what it cannot bit-pack as float, without a word. So every conversion
here ends in an audit: each binary convolution of the network is looked up, by its very bits, in the written file, and
the file is run.

```python
from larq_nas.converters import tflite

conversion = tflite.convert(model)
conversion.report.all_packed        # True, or convert has raised
path.write_bytes(conversion.bytes)
```
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

from larq_nas.converters import audit, comparison, eight_bits, flatbuffer, inference, interpreter
from larq_nas.converters.accepted import accepted
from larq_nas.converters.audit import FLOAT, PACKED, UNUSED
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layers import bitwidths, precision
from larq_nas.networks.counting import WORD

TARGETS = ("arm", "xcore")


@dataclasses.dataclass(frozen=True)
class Report:
    """What a converted file holds.

    # Arguments
        binary_convolutions: What became of each layer of the network whose inputs and kernel are binary.
        operators: How often each operator stands in the file.
        layers: Each `Operator` of the file: output shape, kernel, packed or not, bytes, multiply-accumulates.
        file_bytes: Size of the file.
        ideal_bytes: Size of the network's weights, binary kernels at 1 bit and the rest at 32.
        differences: For random inputs (those of the calibration, if there is one) and for real ones (if given), the
            largest difference of a class probability between Keras and the file, and the fraction of inputs on which
            the most probable class agrees.
        padding_bytes: How many bytes of the packed kernels are padding: each tap of a filter has the bits of a multiple
            of 32 channels.
        use_indirect_bgemm: Whether only this kernel of LCE runs the file, as it is with native groups: give it to its
            interpreter, or `--use_indirect_bgemm=true` to its benchmark program.
        target: What the file was converted for, `"arm"` or `"xcore"`.
        input_type, output_type: The types of images and outputs in the file, as it says itself.
        input_scale, input_zero_point: What an image of 8 bits means: `(number - zero point) * scale`.
        outputs: The names of the outputs in the order in which an interpreter gives them.
        unstable: The fraction of the compared inputs on which Keras itself gives other outputs if weights and inputs
            are changed by one in a million: there the file's may be others, too.
    """

    binary_convolutions: tuple
    operators: dict
    layers: tuple
    file_bytes: int
    ideal_bytes: int
    differences: dict
    padding_bytes: int = 0
    use_indirect_bgemm: bool = False
    target: str = "arm"
    input_type: str = "float32"
    output_type: str = "float32"
    input_scale: float | None = None
    input_zero_point: int | None = None
    outputs: tuple = ("output",)
    unstable: float = 0.0

    @property
    def all_packed(self) -> bool:
        """Whether no layer whose inputs and kernel are binary is float in the file."""
        return all(convolution.status != FLOAT for convolution in self.binary_convolutions)

    def count(self, status: str) -> int:
        """How many binary layers have a status."""
        return sum(convolution.status == status for convolution in self.binary_convolutions)

    def table(self, ms=None) -> list:
        """A row for each kind of operator in the file, the costliest first, below a header.

        # Arguments
            ms: A function that estimates the milliseconds of an `Operator`, or `None` if it cannot.
        """
        kinds = collections.defaultdict(list)
        for layer in self.layers:
            kinds[dataclasses.replace(layer, bytes=0)].append(layer.bytes)
        rows = []
        for kind, sizes in kinds.items():
            kernel, shape = ("x".join(map(str, sizes)) for sizes in (kind.kernel, kind.shape))
            packed = {True: "packed", False: "float" if kind.kernel else ""}[kind.packed]
            time = ms and ms(kind)
            row = (kind.name, kernel, shape, packed, len(sizes), sum(sizes), kind.macs * len(sizes))
            rows.append((*row, "" if time is None else f"{time * len(sizes):.3f}") if ms else row)
        rows.sort(key=lambda row: (row[6], row[5]), reverse=True)
        header = ("operator", "kernel", "output", "packed?", "count", "bytes", "MACs")
        return [(*header, "estimated ms") if ms else header, *rows]

    def to_dict(self) -> dict:
        """The report for a JSON file."""
        return {"all_packed": self.all_packed, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(status)} {status}" for status in (PACKED, FLOAT, UNUSED))
        lines = [f"binary layers: {counts}"]
        lines += [f"  {c.name} {c.kernel_shape}: {c.status}, {c.reason}" for c in self.binary_convolutions if c.reason]
        lines.append("operators: " + ", ".join(f"{name} {count}" for name, count in self.operators.items()))
        ratio = self.file_bytes / self.ideal_bytes
        lines.append(
            f"file: {self.file_bytes:,} bytes, {ratio:.2f} times the weights' {self.ideal_bytes:,}; "
            f"{self.padding_bytes:,} pad kernels to multiples of {WORD} channels"
        )
        split = [c.groups for c in self.binary_convolutions if c.groups > 1 and c.status == PACKED]
        if split:
            lines.append(f"{len(split)} grouped convolutions are {sum(split)} in the file, one for each group")
        if self.input_type != "float32":
            lines.append(
                f"images are {self.input_type}, (number - {self.input_zero_point}) * {self.input_scale:.6g}; outputs "
                f"are {self.output_type}"
            )
        if self.use_indirect_bgemm:
            lines.append("groups of the file run with LCE's kernel use_indirect_bgemm only")
        for name, (difference, agreement) in self.differences.items():
            lines.append(f"Keras and file on {name} inputs: differ by {difference:.1e}, agree on {agreement:.1%}")
        if self.unstable:
            lines.append(
                f"on {self.unstable:.1%} of the inputs Keras, changed by a millionth, differs from itself, too"
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted network: the file's content and the report on it."""

    bytes: bytes
    report: Report


def convert(
    model: tf.keras.Model,
    *,
    samples=None,
    allow_float_fallback=False,
    target="arm",
    calibration=None,
    files=None,
) -> Conversion:
    """Converts a network to a `.tflite` for Larq Compute Engine, audits the file and runs it.

    # Arguments
        model: A functional or sequential Keras model with one image input of fixed size; the file takes one image at a
            time. A model of mixed precision is converted in 32 bits.
        samples: Real inputs of shape `(n, height, width, channels)` on which Keras and the file are compared,
            beside random ones.
        allow_float_fallback: Whether binary convolutions may become float ones.
        target: `"arm"`, or `"xcore"` for the processors of XMOS.
        calibration: Images of shape `(n, height, width, channels)`: then images, outputs, and kernels of float
            convolutions and dense layers have 8 bits, with ranges that are calibrated on them.
        files: Texts by file name that are put into the file as a ZIP archive behind the network, as TensorFlow Lite
            does it with label files; `unzip` takes them out.

    # Returns
        The file's content and the report.

    # Raises
        ConversionError: If LCE is missing, the model cannot be converted, the file cannot be run or computes something
            else than Keras, or a binary convolution is not bit-packed and `allow_float_fallback` is false.
    """
    if target not in TARGETS:
        raise ConversionError(f"target {target!r} is unknown; accepted: {', '.join(TARGETS)}")
    model = accepted(model)
    if calibration is not None:
        calibration = np.asarray(calibration, np.float32)
    # Where LCE does not pack the groups that it could compute natively, they are split, too.
    for everywhere in (False, True):
        content = to_flatbuffer(model, everywhere, target, calibration)
        read = flatbuffer.read(content)
        audited = audit.audit(model, read)
        if not any(row.status == FLOAT and getattr(layer, "groups", 1) > 1 for layer, row in audited):
            break
    rows = tuple(row for _, row in audited)
    native = any(layer.groups > 1 and row.groups == 1 for layer, row in audited if row.status == PACKED)
    padding = sum(row.padding_bytes for row in rows)
    types = {"target": target, "outputs": read.outputs, **_types(content, calibration)}
    complete = _with_files(content, files) if files else content
    report = Report(rows, read.counts, read.operators, len(complete), _ideal_bytes(model), {}, padding, native, **types)
    fallen = [row for row in rows if row.status == FLOAT and not row.dense]
    if fallen and not allow_float_fallback:
        reasons = "; ".join(f"{c.name}: {c.reason}" for c in fallen[:3]) + ("; …" if len(fallen) > 3 else "")
        raise ConversionError(
            f"{len(fallen)} of {len(rows)} binary convolutions are not bit-packed ({reasons}). "
            "Accept it with allow_float_fallback",
            report,
        )
    if calibration is None:
        inputs = {"random": np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)}
    else:
        # Others may lie outside of the range of 8 bits.
        inputs = {"calibration": calibration[:32]}
    if samples is not None:
        inputs["real"] = np.asarray(samples, np.float32)
    differences = {name: _compare(model, content, images, read.outputs) for name, images in inputs.items()}
    report = dataclasses.replace(report, differences=differences)
    unstable = _check(model, content, np.concatenate([*inputs.values()]), read.outputs, target, calibration, report)
    return Conversion(complete, dataclasses.replace(report, unstable=unstable))


def _check(model, content, images, order, target, calibration, report):
    def convert(network):
        content = to_flatbuffer(network, False, target)
        return content, flatbuffer.read(content).outputs

    eight = None
    if calibration is not None:
        eight = _in_eight_bits(model, calibration), report.input_scale
    try:
        return comparison.check(model, content, images, order, convert, eight)
    except ConversionError as error:
        raise ConversionError(str(error), report) from None


def _ideal_bytes(model):
    """Binary kernels at 1 bit, all else at 32; of the four vectors of a BatchNorm, inference needs two."""
    bits = sum(bitwidths.of_weight(weight) * weight.shape.num_elements() for weight in model.weights)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            bits -= 32 * sum(weight.shape.num_elements() for weight in layer.trainable_weights)
    return -(-bits // 8)


def to_flatbuffer(model, split_all=False, target="arm", calibration=None) -> bytes:
    """Converts a network without a look at the result.

    # Arguments
        model: A functional Keras model.
        split_all: See `inference.rewrite`.
        target, calibration: See `convert`.

    # Returns
        The file's content.
    """
    with precision.policy("float32"):
        model = _rewritten(model, split_all, calibration)
    lce = interpreter.require_lce()
    module = tf.Module()
    # Variables only: to save the layers, too, takes Keras longer than all the rest.
    module.variables_ = [getattr(v, "latent_variable", v) for v in model.variables]
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="images")
    names = comparison.output_names(model)

    def call(images):
        if calibration is not None:
            images = eight_bits.on_range(images, *eight_bits.limits(calibration))
        outputs = model(images, training=False)
        return outputs if isinstance(outputs, dict) else dict(zip(names, tf.nest.flatten(outputs), strict=True))

    function = tf.function(call, [signature])
    types = tf.float32 if calibration is None else tf.int8
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, function.get_concrete_function())
        try:
            options = {"inference_input_type": types, "inference_output_type": types, "target": target}
            return lce.convert_saved_model(directory, **options)
        except Exception as error:
            raise ConversionError(f"LCE cannot convert the model: {str(error).splitlines()[0]}") from error


def _rewritten(model, split_all, calibration):
    if calibration is None:
        return inference.rewrite(model, split_all)
    more = functools.partial(eight_bits.replacements, images=calibration)
    return eight_bits.with_outputs(inference.rewrite(model, split_all, more), calibration)


def _in_eight_bits(model, calibration):
    """The Keras model of a file of 8 bits."""
    with precision.policy("float32"):
        network = _rewritten(model, False, calibration)
    images = tf.keras.Input(model.input_shape[1:])
    inner = eight_bits.on_range(images, *eight_bits.limits(calibration))
    return tf.keras.Model(images, network(inner))


def _types(content, calibration):
    """The types of images and outputs in the file; LCE leaves them float, with no more than a warning, if it must."""
    loaded = interpreter.load(content)
    types = {"input_type": str(loaded.input_types[0]), "output_type": str(loaded.output_types[0])}
    if calibration is None:
        return types
    if set(types.values()) != {"int8"}:
        raise ConversionError(
            f"LCE left images {types['input_type']} and outputs {types['output_type']} in spite of 8 bits; "
            "convert without --int8"
        )
    scale, zero_point = float(loaded.input_scales[0]), int(loaded.input_zero_points[0])
    return {**types, "input_scale": scale, "input_zero_point": zero_point}


def _with_files(content, files):
    archive = io.BytesIO(content)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            # Without the time of day: the same network is the same file.
            zipped.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _compare(model, content, images, order):
    """The largest difference of any output, and on how many images the first output's largest value is the same."""
    expected = comparison.of_keras(model, images)
    actual = comparison.of_file(content, images, comparison.output_names(model), order)
    agreement = np.mean(expected[0].argmax(axis=-1) == actual[0].argmax(axis=-1))
    return max(float(np.abs(e - a).max()) for e, a in zip(expected, actual, strict=True)), float(agreement)
