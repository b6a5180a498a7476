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
import math
import tempfile
import zipfile

import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas import precision
from larq_nas.converters import eight_bits, flatbuffer, inference, interpreter
from larq_nas.converters.inference import binary_layers, is_constant
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layouts import WORD
from larq_nas.operations import Zeroise

PACKED, FLOAT, UNUSED = "packed", "float", "unused"
TARGETS = ("arm", "xcore")


@dataclasses.dataclass(frozen=True)
class BinaryConvolution:
    """What became of a binary convolution.

    # Arguments
        name: Name of the Keras layer.
        kernel_shape: Height, width, input channels, filters.
        status: `"packed"`: an `LceBconv2d`; `"float"`: a convolution of 32-bit weights; `"unused"`: absent,
            since nothing but "none" operations reads it, or it reads nothing else.
        reason: Why it is not packed.
        groups: Its groups, if each is a convolution of its own in the file.
    """

    name: str
    kernel_shape: tuple
    status: str
    reason: str = ""
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Report:
    """What a converted file holds.

    # Arguments
        binary_convolutions: What became of each binary convolution of the network.
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

    @property
    def all_packed(self) -> bool:
        """Whether no binary convolution fell back to float."""
        return all(convolution.status != FLOAT for convolution in self.binary_convolutions)

    def count(self, status: str) -> int:
        """How many binary convolutions have a status."""
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
        lines = [f"binary convolutions: {counts}"]
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
        model: A Keras model with one image input of fixed size; the file takes one image at a time. A model of mixed
            precision is converted in 32 bits.
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
        ConversionError: If LCE is missing, the model cannot be converted, the file cannot be run, or a binary
            convolution is not bit-packed and `allow_float_fallback` is false.
    """
    if target not in TARGETS:
        raise ConversionError(f"target {target!r} is unknown; accepted: {', '.join(TARGETS)}")
    model = precision.float32(model)
    _check(model)
    if calibration is not None:
        calibration = np.asarray(calibration, np.float32)
    grouped = {layer.name for layer in binary_layers(model) if layer.groups > 1}
    # Where LCE does not pack the groups that it could compute natively, they are split, too.
    for everywhere in (False, True):
        content = to_flatbuffer(model, everywhere, target, calibration)
        read = flatbuffer.read(content)
        audited = tuple(_audit(model, read.kernels))
        if not any(c.status == FLOAT and c.name in grouped for c in audited):
            break
    ideal = -(-lq.models.ModelProfile(model).memory // 8)
    native = any(c.name in grouped and c.groups == 1 and c.status == PACKED for c in audited)
    padding = sum(_padding(c.kernel_shape) for c in audited if c.status == PACKED)
    types = {"target": target, "outputs": read.outputs, **_types(content, calibration)}
    content = _with_files(content, files) if files else content
    report = Report(audited, read.counts, read.operators, len(content), ideal, {}, padding, native, **types)
    fallen = [c for c in report.binary_convolutions if c.status == FLOAT]
    if fallen and not allow_float_fallback:
        reasons = "; ".join(f"{c.name}: {c.reason}" for c in fallen[:3]) + ("; …" if len(fallen) > 3 else "")
        raise ConversionError(
            f"{len(fallen)} of {len(report.binary_convolutions)} binary convolutions are not bit-packed ({reasons}). "
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
    return Conversion(content, dataclasses.replace(report, differences=differences))


def _check(model):
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ConversionError(f"the model's inputs {shapes} are not one image of fixed size")
    if any(tensor.shape.rank < 2 for tensor in model.outputs):
        raise ConversionError("an output of the model has no axis beside that of the images")
    if len({id(tensor) for tensor in model.outputs}) < len(model.outputs):
        raise ConversionError("two outputs of the model are the same tensor; leave one out")
    if any(not np.isfinite(weights).all() for weights in model.get_weights()):
        raise ConversionError("the model has weights that are not finite")


def _output_names(model):
    if isinstance(model._nested_outputs, dict):
        return list(model._nested_outputs)
    return model.output_names if len(model.outputs) > 1 else ["output"]


def to_flatbuffer(model, split_all=False, target="arm", calibration=None) -> bytes:
    """Converts a network without a look at the result.

    # Arguments
        model: A Keras model.
        split_all: See `inference.rewrite`.
        target, calibration: See `convert`.

    # Returns
        The file's content.
    """
    more = functools.partial(eight_bits.replacements, images=calibration)
    with precision.policy("float32"):
        model = inference.rewrite(model, split_all, (lambda model: {}) if calibration is None else more)
    lce = interpreter.require_lce()
    module = tf.Module()
    # Variables only: to save the layers, too, takes Keras longer than all the rest.
    module.variables_ = [getattr(v, "latent_variable", v) for v in model.variables]
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="images")
    names = _output_names(model)

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


# --- audit ---------------------------------------------------------------------------------------------------


def _audit(model, kernels):
    packed, floats = kernels["LceBconv2d"].copy(), kernels["CONV_2D"].copy()
    for layer in binary_layers(model):
        with lq.context.quantized_scope(True):
            kernel = np.array(layer.get_weights()[0])
        whole = flatbuffer.key(np.moveaxis(kernel, -1, 0) < 0)
        groups = 1 if packed[whole] or floats[whole] else layer.groups
        parts = np.split(np.moveaxis(kernel, -1, 0) < 0, groups)
        bits = collections.Counter(map(flatbuffer.key, parts))
        status, reason = PACKED, ""
        if bits <= packed:
            packed -= bits
        elif bits <= floats:
            floats -= bits
            status, reason = FLOAT, _reason(layer, kernel)
        elif _is_unused(layer):
            status, reason = UNUSED, 'only a "none" operation reads it'
        elif is_constant(layer):
            status, reason = UNUSED, 'it reads "none" operations only, so its output is a constant in the file'
        else:
            status, reason = FLOAT, "its kernel is not in the file as a binary convolution"
        yield BinaryConvolution(layer.name, tuple(kernel.shape), status, reason, groups)


def _padding(kernel_shape):
    *taps, channels, filters = kernel_shape
    return math.prod(taps) * filters * (-channels % WORD) // 8


def _reason(layer, kernel):
    magnitude = np.abs(kernel)
    if (magnitude.max(axis=(0, 1, 2)) < 1.2e-7).any():
        return "an output channel of its kernel is zero"
    if not np.allclose(magnitude, magnitude[:1, :1, :1], rtol=5e-3):
        return "the magnitude of its kernel differs within an output channel"
    if layer.groups > 1:
        return "its groups have a number of input channels that is no multiple of 32"
    padding = getattr(layer, "pad_values", 0.0)
    if layer.padding == "same" and padding not in (0.0, 1.0):
        return f"it pads with {padding}, neither 0 nor 1"
    return "LCE does not recognise its input as binary"


def _is_unused(layer) -> bool:
    """Whether all that is computed from the layer ends in a `Zeroise`."""
    consumers = [node.outbound_layer for node in layer._outbound_nodes]
    return bool(consumers) and all(isinstance(c, Zeroise) or _is_unused(c) for c in consumers)


def _compare(model, content, images, outputs):
    """The largest difference of any output, and on how many images the first output's largest value is the same."""
    expected, names = model.predict(images, verbose=0), _output_names(model)
    expected = list(expected.values()) if isinstance(expected, dict) else tf.nest.flatten(expected)
    actual = tf.nest.flatten(interpreter.predict(content, images, processes=1))
    if len(expected) > 1:
        actual = [actual[outputs.index(name)] for name in names]
    agreement = np.mean(expected[0].argmax(axis=-1) == actual[0].argmax(axis=-1))
    return max(float(np.abs(e - a).max()) for e, a in zip(expected, actual, strict=True)), float(agreement)
