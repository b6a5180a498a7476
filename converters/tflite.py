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
import math
import tempfile

import larq as lq
import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers

from larq_nas import precision
from larq_nas.converters import inference, interpreter
from larq_nas.converters.inference import binary_layers, is_constant
from larq_nas.converters.interpreter import ConversionError
from larq_nas.layouts import WORD
from larq_nas.operations import Zeroise

PACKED, FLOAT, UNUSED = "packed", "float", "unused"


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
        file_bytes: Size of the file.
        ideal_bytes: Size of the network's weights, binary kernels at 1 bit and the rest at 32.
        differences: For random and for real inputs (if given), the largest difference of a class probability
            between Keras and the file, and the fraction of inputs on which the most probable class agrees.
        padding_bytes: How many bytes of the packed kernels are padding: each tap of a filter has the bits of a multiple
            of 32 channels.
        use_indirect_bgemm: Whether only this kernel of LCE runs the file, as it is with native groups: give it to its
            interpreter, or `--use_indirect_bgemm=true` to its benchmark program.
    """

    binary_convolutions: tuple
    operators: dict
    file_bytes: int
    ideal_bytes: int
    differences: dict
    padding_bytes: int = 0
    use_indirect_bgemm: bool = False

    @property
    def all_packed(self) -> bool:
        """Whether no binary convolution fell back to float."""
        return all(convolution.status != FLOAT for convolution in self.binary_convolutions)

    def count(self, status: str) -> int:
        """How many binary convolutions have a status."""
        return sum(convolution.status == status for convolution in self.binary_convolutions)

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


def convert(model: tf.keras.Model, *, samples=None, allow_float_fallback=False) -> Conversion:
    """Converts a network to a `.tflite` for Larq Compute Engine, audits the file and runs it.

    # Arguments
        model: A Keras model with one image input of fixed size. One of mixed precision is converted in 32 bits.
        samples: Real inputs of shape `(n, height, width, channels)` on which Keras and the file are compared,
            beside random ones.
        allow_float_fallback: Whether binary convolutions may become float ones.

    # Returns
        The file's content and the report.

    # Raises
        ConversionError: If LCE is missing, the model cannot be converted, the file cannot be run, or a binary
            convolution is not bit-packed and `allow_float_fallback` is false.
    """
    model = precision.float32(model)
    grouped = {layer.name for layer in binary_layers(model) if layer.groups > 1}
    # Where LCE does not pack the groups that it could compute natively, they are split, too.
    for everywhere in (False, True):
        content = _to_flatbuffer(inference.rewrite(model, everywhere))
        operators, kernels = _read(content)
        audited = tuple(_audit(model, kernels))
        if not any(c.status == FLOAT and c.name in grouped for c in audited):
            break
    ideal = -(-lq.models.ModelProfile(model).memory // 8)
    native = any(c.name in grouped and c.groups == 1 and c.status == PACKED for c in audited)
    padding = sum(_padding(c.kernel_shape) for c in audited if c.status == PACKED)
    report = Report(audited, operators, len(content), ideal, {}, padding, native)
    fallen = [c for c in report.binary_convolutions if c.status == FLOAT]
    if fallen and not allow_float_fallback:
        reasons = "; ".join(f"{c.name}: {c.reason}" for c in fallen[:3]) + ("; …" if len(fallen) > 3 else "")
        raise ConversionError(
            f"{len(fallen)} of {len(report.binary_convolutions)} binary convolutions are not bit-packed ({reasons}). "
            "Accept it with allow_float_fallback",
            report,
        )
    inputs = {"random": np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)}
    if samples is not None:
        inputs["real"] = np.asarray(samples, np.float32)
    differences = {name: _compare(model, content, images) for name, images in inputs.items()}
    return Conversion(content, dataclasses.replace(report, differences=differences))


def _to_flatbuffer(model) -> bytes:
    lce = interpreter.require_lce()
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ConversionError(f"the model's inputs {shapes} are not one image of fixed size")
    if any(not np.isfinite(weights).all() for weights in model.get_weights()):
        raise ConversionError("the model has weights that are not finite")
    module = tf.Module()
    # Variables only: to save the layers, too, takes Keras longer than all the rest.
    module.variables_ = [getattr(v, "latent_variable", v) for v in model.variables]
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="images")
    function = tf.function(lambda images: {"output": model(images, training=False)}, [signature])
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, function.get_concrete_function())
        try:
            return lce.convert_saved_model(directory)
        except Exception as error:
            raise ConversionError(f"LCE cannot convert the model: {str(error).splitlines()[0]}") from error


# --- audit ---------------------------------------------------------------------------------------------------


def _read(content):
    """Operator counts, and for each kind of convolution the kernels in the file."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    builtin = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    names = []
    for code in model.operatorCodes:
        name = builtin[max(code.builtinCode, code.deprecatedBuiltinCode)]
        names.append(code.customCode.decode() if name == "CUSTOM" else name)
    operators, kernels = collections.Counter(), collections.defaultdict(collections.Counter)
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = names[operator.opcodeIndex]
            operators[name] += 1
            if name in ("LceBconv2d", "CONV_2D"):
                kernel = graph.tensors[operator.inputs[1]]
                data = model.buffers[kernel.buffer].data
                if data is not None:
                    negative = _negative(name, np.asarray(data, np.uint8), kernel.shape, operator)
                    kernels[name][_key(negative)] += 1
    return dict(operators.most_common()), kernels


def _negative(name, data, shape, operator):
    """Where a kernel of the file is negative, in the shape (filters, height, width, channels)."""
    if name == "CONV_2D":
        return data.view(np.float32).reshape(shape) < 0
    channels = flexbuffers.Loads(bytes(bytearray(operator.customOptions)))["channels_in"]
    return np.unpackbits(data.reshape(*shape[:3], -1), axis=-1, bitorder="little")[..., :channels] > 0


def _key(negative):
    # LCE inverts a filter if the threshold behind it asks for that: two filters are one if all their bits differ.
    bits = negative.reshape(len(negative), -1)
    return negative.shape, np.packbits(bits ^ bits[:, :1]).tobytes()


def _audit(model, kernels):
    packed, floats = kernels["LceBconv2d"].copy(), kernels["CONV_2D"].copy()
    for layer in binary_layers(model):
        with lq.context.quantized_scope(True):
            kernel = np.array(layer.get_weights()[0])
        whole = _key(np.moveaxis(kernel, -1, 0) < 0)
        groups = 1 if packed[whole] or floats[whole] else layer.groups
        parts = np.split(np.moveaxis(kernel, -1, 0) < 0, groups)
        bits = collections.Counter(map(_key, parts))
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


def _compare(model, content, images):
    expected, actual = model.predict(images, verbose=0), interpreter.predict(content, images, processes=1)
    agreement = np.mean(expected.argmax(axis=-1) == actual.argmax(axis=-1))
    return float(np.abs(expected - actual).max()), float(agreement)
