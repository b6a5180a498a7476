"""Converts models to `.tflite` files for Larq Compute Engine (LCE) and checks the files.

LCE's converter silently writes a binary convolution as float if it cannot bit-pack it. So every conversion here ends
with an audit, which searches the written file for the kernel bits of each binary convolution, and with a run of the
file, whose outputs are compared with Keras.

```python
from larq_nas.converters import tflite

conversion = tflite.convert(model)
conversion.report.all_packed        # True, unless there are binary dense layers, which LCE never packs
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
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from larq_nas.converters import audit, comparison, eight_bits, flatbuffer, interpreter, rewriting
from larq_nas.converters.accepted import accepted
from larq_nas.converters.audit import FLOAT, PACKED, UNUSED
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layers import _keras, _larq, bitwidths, precision
from larq_nas.messages import first_line
from larq_nas.networks.layer_costs import WORD

TARGETS = ("arm", "xcore")


@dataclasses.dataclass(frozen=True)
class Report:
    """Report on a converted file.

    # Arguments
        binary_convolutions: A `BinaryLayer` for each layer of the network whose inputs and kernel are both binary.
        operators: A dict from the name of an operator to the number of such operators in the file.
        layers: The `Operator`s of the file: output shape, kernel, packed or not, bytes, multiply-accumulates.
        file_bytes: Size of the file.
        ideal_bytes: Size of the network's weights, with binary kernels at 1 bit and all other weights at 32 bits.
        differences: A dict with the key `"random"` (`"calibration"` for 8-bit files) and, if samples were given,
            `"real"`. Each value is a pair: the largest difference of an output between Keras and the file, and the
            fraction of inputs on which the most probable class agrees.
        padding_bytes: Number of padding bytes in the packed kernels. A packed kernel stores the bits of a multiple of
            32 input channels.
        use_indirect_bgemm: Whether the file has native groups, which only LCE's kernel `use_indirect_bgemm` runs. Pass
            it to LCE's interpreter, or `--use_indirect_bgemm=true` to LCE's benchmark program.
        target: The target of the conversion, `"arm"` or `"xcore"`.
        input_type: The dtype of the images in the file.
        output_type: The dtype of the outputs in the file.
        input_scale: Scale of 8-bit images: a number means `(number - input_zero_point) * input_scale`.
        input_zero_point: Zero point of 8-bit images.
        outputs: The names of the outputs, in the order in which an interpreter returns them.
        unstable: The fraction of the compared inputs on which the outputs of Keras differ after a change of one in a
            million to weights and inputs. On these inputs the outputs of the file may differ, too.
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
        """Whether the file computes no binary layer as float."""
        return all(convolution.status != FLOAT for convolution in self.binary_convolutions)

    def count(self, status: str) -> int:
        """Returns the number of binary layers with a status: `"packed"`, `"float"` or `"unused"`."""
        return sum(convolution.status == status for convolution in self.binary_convolutions)

    def table(self, ms: Callable[[flatbuffer.Operator], float | None] | None = None) -> list:
        """Returns a table of the kinds of operators in the file, the costliest first.

        # Arguments
            ms: Optional function that estimates the milliseconds of an `Operator`. It may return `None`.

        # Returns
            A list of tuples: a header, and a row for each kind of operator.
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
        """Returns the report as a dict for a JSON file."""
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
                f"on {self.unstable:.1%} of the inputs, a change of one in a million also alters the outputs of Keras"
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted network.

    # Arguments
        bytes: The file's content.
        report: The `Report` on the file.
    """

    bytes: bytes
    report: Report


def convert(
    model: tf.keras.Model,
    *,
    samples: np.ndarray | None = None,
    allow_float_fallback: bool = False,
    target: str = "arm",
    calibration: np.ndarray | None = None,
    files: dict[str, str] | None = None,
) -> Conversion:
    """Converts a model to a `.tflite` file for Larq Compute Engine, audits the file and runs it.

    # Arguments
        model: A functional or sequential Keras model with one image input of fixed size. The file takes one image at a
            time. A model of mixed precision is converted in 32 bits.
        samples: Optional real inputs of shape `(n, height, width, channels)`. Keras and the file are compared on them
            in addition to random inputs.
        allow_float_fallback: Whether binary convolutions may become float convolutions.
        target: `"arm"`, or `"xcore"` for the processors of XMOS.
        calibration: Optional images of shape `(n, height, width, channels)`. If given, images, outputs, and the kernels
            of float convolutions and dense layers have 8 bits, and their ranges are calibrated on these images.
        files: Optional dict from file names to texts. The texts are appended to the file as a ZIP archive, as
            TensorFlow Lite does with label files; `unzip` extracts them.

    # Returns
        A `Conversion`.

    # Raises
        ConversionError: If LCE is missing, the model cannot be converted, the file cannot be run or computes something
            else than Keras, or a binary convolution is not bit-packed and `allow_float_fallback` is false.
    """
    if target not in TARGETS:
        raise ConversionError(f"target {target!r} is unknown; accepted: {', '.join(TARGETS)}")
    model = accepted(model)
    calibration, samples = _images("calibration", calibration, model), _images("samples", samples, model)
    # If LCE computes groups as float that it could compute natively, the second conversion splits all groups.
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
        # Random inputs may lie outside of the calibrated range.
        inputs = {"calibration": calibration[:32]}
    if samples is not None:
        inputs["real"] = samples
    differences = {name: _compare(model, content, images, read.outputs) for name, images in inputs.items()}
    report = dataclasses.replace(report, differences=differences)
    unstable = _check(model, content, np.concatenate([*inputs.values()]), read.outputs, target, calibration, report)
    return Conversion(complete, dataclasses.replace(report, unstable=unstable))


def _images(name, images, model):
    """Checks images for a model, and converts them to an array. `None` is returned as it is."""
    if images is None:
        return None
    try:
        images = np.asarray(images, np.float32)
    except (TypeError, ValueError):
        raise ConversionError(f"{name}: is {type(images).__name__} and no array of images") from None
    shape = tuple(model.inputs[0].shape[1:])
    if images.shape[1:] != shape or not len(images):
        accepted = ", ".join(["n", *map(str, shape)])
        raise ConversionError(f"{name}: has the shape {images.shape}; accepted are images of the shape ({accepted})")
    if not np.isfinite(images).all():
        raise ConversionError(f"{name}: has values that are infinite or not a number; give finite images")
    return images


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
    """Bytes of the weights: binary kernels at 1 bit, others at 32, and two of the four vectors of each BatchNorm."""
    bits = sum(bitwidths.of_weight(weight) * weight.shape.num_elements() for weight in model.weights)
    for layer in _keras.all_layers(model):
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            bits -= 32 * sum(weight.shape.num_elements() for weight in layer.trainable_weights)
    return -(-bits // 8)


def to_flatbuffer(
    model: tf.keras.Model, split_all: bool = False, target: str = "arm", calibration: np.ndarray | None = None
) -> bytes:
    """Converts a model without auditing or running the file.

    # Arguments
        model: A functional Keras model.
        split_all: See `rewriting.rewrite`.
        target: See `convert`.
        calibration: See `convert`.

    # Returns
        The file's content.

    # Raises
        ConversionError: If LCE is missing or cannot convert the model.
    """
    with precision.policy("float32"):
        model = _rewritten(model, split_all, calibration)
    lce = interpreter.require_lce()
    module = tf.Module()
    # The module tracks variables only. Saving the layers, too, would take Keras longer than the whole conversion.
    module.variables_ = [_larq.latent(v) for v in model.variables]
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="images")
    names = comparison.output_names(model)

    def call(images):
        if calibration is not None:
            images = eight_bits.on_range(images, *eight_bits.limits(calibration))
        outputs = model(images, training=False)
        return outputs if isinstance(outputs, dict) else dict(zip(names, tf.nest.flatten(outputs), strict=True))

    try:
        function = tf.function(call, [signature]).get_concrete_function()
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        batch = model.inputs[0].shape[0]
        if batch in (None, 1):
            raise
        raise ConversionError(
            f"the model takes batches of {batch} images and cannot take a single one, as a file does "
            f"({first_line(error)}); build it without a fixed batch size"
        ) from None
    types = tf.float32 if calibration is None else tf.int8
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, function)
        try:
            options = {"inference_input_type": types, "inference_output_type": types, "target": target}
            return lce.convert_saved_model(directory, **options)
        except Exception as error:
            raise ConversionError(f"LCE cannot convert the model: {first_line(error)}") from error


def _rewritten(model, split_all, calibration):
    if calibration is None:
        return rewriting.rewrite(model, split_all)
    more = functools.partial(eight_bits.replacements, images=calibration)
    return eight_bits.with_outputs(rewriting.rewrite(model, split_all, more), calibration)


def _in_eight_bits(model, calibration):
    """Returns the Keras model that computes the same as an 8-bit file."""
    with precision.policy("float32"):
        network = _rewritten(model, False, calibration)
    images = tf.keras.Input(model.input_shape[1:])
    inner = eight_bits.on_range(images, *eight_bits.limits(calibration))
    return tf.keras.Model(images, network(inner))


def _types(content, calibration):
    """Returns the dtypes of images and outputs in the file. Raises if they are float although 8 bits were asked for."""
    loaded = interpreter.load(content)
    types = {"input_type": str(loaded.input_types[0]), "output_type": str(loaded.output_types[0])}
    if calibration is None:
        return types
    if set(types.values()) != {"int8"}:
        raise ConversionError(
            f"LCE left images {types['input_type']} and outputs {types['output_type']} although 8 bits were asked for; "
            "convert without 8 bits"
        )
    scale, zero_point = float(loaded.input_scales[0]), int(loaded.input_zero_points[0])
    return {**types, "input_scale": scale, "input_zero_point": zero_point}


def _with_files(content, files):
    archive = io.BytesIO(content)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            # No time stamp, so that the same network gives the same file.
            zipped.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _compare(model, content, images, order):
    """Returns the largest difference of any output, and the share of images whose most probable class agrees."""
    expected = comparison.of_keras(model, images)
    actual = comparison.of_file(content, images, comparison.output_names(model), order)
    agreement = np.mean(expected[0].argmax(axis=-1) == actual[0].argmax(axis=-1))
    return max(float(np.abs(e - a).max()) for e, a in zip(expected, actual, strict=True)), float(agreement)
