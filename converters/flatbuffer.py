"""Reads the operators of a `.tflite` file and the kernels of its convolutions."""

from __future__ import annotations

import collections
import dataclasses
import math
import struct

import numpy as np
from flatbuffers import flexbuffers

from larq_nas import _tensorflow
from larq_nas.networks.layer_costs import WORD

schema = _tensorflow.tflite_schema()

CONVOLUTIONS = ("LceBconv2d", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a file.

    # Arguments
        name: Name of the operator.
        shape: Shape of the output, without the batch.
        kernel: Height, width, input channels (of a group) and filters; empty for operators without a kernel.
        packed: Whether the kernel is packed to bits.
        bytes: Size of the operator's constants. Constants that several operators share count for the first one.
        macs: Number of multiply-accumulates; padding of packed kernels does not count.
        strides: Strides of a convolution.
    """

    name: str
    shape: tuple
    kernel: tuple = ()
    packed: bool = False
    bytes: int = 0
    macs: int = 0
    strides: int = 1


@dataclasses.dataclass(frozen=True)
class File:
    """Contents of a `.tflite` file.

    # Arguments
        operators: The `Operator`s in the order of the file.
        kernels: A dict from the name of a convolution operator to a counter of its kernels, by their `key`.
        outputs: The names of the outputs, in the order in which the interpreter returns them.
        miscomputed: The `key`s of the binary kernels that LCE computes wrongly.
    """

    operators: tuple
    kernels: dict
    outputs: tuple
    miscomputed: frozenset = frozenset()

    @property
    def counts(self) -> dict:
        """Number of operators of each name, the most frequent name first."""
        return dict(collections.Counter(operator.name for operator in self.operators).most_common())


def is_whole(content: bytes) -> bool:
    """Whether all tables and vectors of a `.tflite` file can be read."""
    try:
        _model(content)
    except (AttributeError, IndexError, MemoryError, OverflowError, TypeError, ValueError, struct.error):
        return False
    return True


def _model(content):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))


def read(content: bytes) -> File:
    """Reads a `.tflite` file that holds one graph.

    # Arguments
        content: The file's content.

    # Returns
        A `File`.
    """
    model = _model(content)
    builtin = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    names = []
    for code in model.operatorCodes:
        name = builtin[max(code.builtinCode, code.deprecatedBuiltinCode)]
        names.append(code.customCode.decode() if name == "CUSTOM" else name)
    graph, seen = model.subgraphs[0], set()
    operators, kernels, miscomputed = [], collections.defaultdict(collections.Counter), set()
    for operator in graph.operators:
        name = names[operator.opcodeIndex]
        buffers = {graph.tensors[i].buffer for i in operator.inputs if i >= 0} - seen
        seen |= buffers
        size = sum(len(model.buffers[i].data) for i in buffers if model.buffers[i].data is not None)
        shape = tuple(int(n) for n in graph.tensors[operator.outputs[0]].shape[1:])
        more = _convolution(name, operator, graph) if name in CONVOLUTIONS else {}
        operators.append(Operator(name, shape, bytes=size, **more))
        if name in ("LceBconv2d", "CONV_2D"):
            kernel = graph.tensors[operator.inputs[1]]
            data = model.buffers[kernel.buffer].data
            if data is not None:
                found = key(_negative(name, np.asarray(data, np.uint8), kernel, operator))
                kernels[name][found] += 1
                if name == "LceBconv2d" and _is_miscomputed(operator, graph):
                    miscomputed.add(found)
    return File(tuple(operators), kernels, _outputs(model, graph), frozenset(miscomputed))


def _is_miscomputed(operator, graph):
    """Whether LCE computes a binary convolution wrongly: zero padding of a feature map smaller than the kernel."""
    options = _options(operator)
    if options["padding"] != schema.Padding.SAME or options["pad_values"] != 0:
        return False
    sides, taps = (graph.tensors[index].shape[1:3] for index in operator.inputs[:2])
    rates = options["dilation_height_factor"], options["dilation_width_factor"]
    return any(side < (n - 1) * rate + 1 for side, n, rate in zip(sides, taps, rates, strict=True))


def _convolution(name, operator, graph):
    shape = [int(n) for n in graph.tensors[operator.inputs[1]].shape]
    positions = math.prod(int(n) for n in graph.tensors[operator.outputs[0]].shape[1:-1])
    if name == "FULLY_CONNECTED":
        return {"kernel": tuple(shape[::-1]), "macs": math.prod(shape) * positions}
    strides = operator.builtinOptions and operator.builtinOptions.strideH
    filters, *taps, channels = shape
    if name == "DEPTHWISE_CONV_2D":
        filters, channels = channels, 1
    if name == "LceBconv2d":
        options = _options(operator)
        channels, strides = min(int(options["channels_in"]), channels * WORD), options["stride_height"]
    kernel = (*taps, channels, filters)
    return {
        "kernel": kernel,
        "packed": name == "LceBconv2d",
        "macs": math.prod(kernel) * positions,
        "strides": int(strides),
    }


def _options(operator):
    return flexbuffers.Loads(bytes(bytearray(operator.customOptions)))


def _negative(name, data, kernel, operator):
    """Returns a boolean array of shape (filters, height, width, channels), true where the kernel is negative."""
    if name == "CONV_2D":
        numbers = np.int8 if kernel.type == schema.TensorType.INT8 else np.float32
        return data.view(numbers).reshape(kernel.shape) < 0
    bits = np.unpackbits(data.reshape(*kernel.shape[:3], -1), axis=-1, bitorder="little")
    return bits[..., : _options(operator)["channels_in"]] > 0


def key(negative: np.ndarray) -> tuple:
    """Returns a hashable value that identifies a binary kernel.

    # Arguments
        negative: A boolean array of shape (filters, height, width, channels), true where the kernel is negative.

    # Returns
        A tuple of the shape and the packed bits.
    """
    # LCE may invert a filter to suit the threshold behind it, so a filter and its inverse have the same key.
    bits = negative.reshape(len(negative), -1)
    return negative.shape, np.packbits(bits ^ bits[:, :1]).tobytes()


def _outputs(model, graph):
    """Reads the names of the outputs from the signature, since LCE changes the order of the outputs."""
    tensors = {tensor.tensorIndex: tensor.name.decode() for s in model.signatureDefs or () for tensor in s.outputs}
    return tuple(tensors.get(index, f"output{index}") for index in graph.outputs)
