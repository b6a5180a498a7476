"""Runs a `.tflite` file on this machine with the interpreter of Larq Compute Engine (LCE).

Importing this module imports neither TensorFlow nor LCE, which imports TensorFlow. So the worker processes can hide
what TensorFlow prints on import.
"""

import concurrent.futures
import contextlib
import multiprocessing
import sys
import time
import types
import warnings
from typing import Any

import numpy as np

from larq_nas import quiet
from larq_nas.messages import first_line


class ConversionError(RuntimeError):
    """A network cannot be converted, or a converted file is wrong or broken.

    # Arguments
        message: The text of the error.
        report: The `tflite.Report` on the file, if there is one.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


def require_lce() -> types.ModuleType:
    """Imports LCE.

    # Returns
        The module `larq_compute_engine`.

    # Raises
        ConversionError: If LCE is not installed.
    """
    try:
        import larq_compute_engine
    except ImportError:
        raise ConversionError(
            "Larq Compute Engine is not installed; it is needed to convert models and to run .tflite files: "
            "pip install larq-compute-engine (there are wheels for Linux x86-64, macOS and Windows)"
        ) from None
    return larq_compute_engine


# The interpreter and the file's content. The content is kept since the interpreter may read it without a copy.
_loaded: tuple | None = None


def predict(content: bytes, images: np.ndarray, processes: int | None = None) -> np.ndarray:
    """Runs a `.tflite` file on images with LCE's interpreter, using the faster one of its two kernels.

    # Arguments
        content: The file's content.
        images: Normalized images of shape `(n, height, width, channels)`, as floats even if the file takes integers.
        processes: Number of processes that share the images; one per CPU by default.

    # Returns
        The outputs of shape `(n, classes)`, as floats even if the file returns integers; a list of arrays if the file
        has several outputs.

    # Raises
        ConversionError: If LCE is missing or cannot run the file.
    """
    require_lce()
    images = np.ascontiguousarray(images, np.float32)
    options = _fastest_kernel(content, images[0])
    processes = min(processes or multiprocessing.cpu_count(), -(-len(images) // 64))
    if processes <= 1:
        _start(content, options)
        return _run(images)
    parts = np.array_split(images, processes)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, _start, (content, options)) as pool:
        with _hidden_script():
            results = pool.map(_run, parts)
        parts = list(results)
    if isinstance(parts[0], list):
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
    return np.concatenate(parts)


@contextlib.contextmanager
def _hidden_script():
    """Hides the user's script from processes that are started within the block, which would run the script again."""
    script, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def probe(content: bytes) -> None:
    """Runs a file once in a separate process, since a garbled file can crash the process that runs it.

    # Arguments
        content: The file's content.

    # Raises
        ConversionError: If LCE is missing or cannot run the file.
    """
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            with _hidden_script():
                future = pool.submit(_probe, content)
            future.result()
        except concurrent.futures.process.BrokenProcessPool:
            raise ConversionError(f"LCE cannot run this file: it ends the process; {_AGAIN}") from None


def _probe(content):
    with quiet.stderr():
        loaded = load(content)
        _predict(loaded, np.zeros((1, *loaded.input_shapes[0][1:]), loaded.input_types[0]))


_TFLITE = r"tensorflow\.lite\.python\.interpreter"
_AGAIN = "it is cut off or garbled, so convert or copy it again"
_NOT_WHOLE = f"LCE cannot run this file: it is no whole .tflite; {_AGAIN}"


def verify(content: bytes) -> None:
    """Checks the structure of a file, which LCE reads without a check.

    # Arguments
        content: The file's content.

    # Raises
        ConversionError: If the content is not a complete `.tflite` file.
    """
    if content[4:8] != b"TFL3":
        raise ConversionError("LCE cannot run this file: it is no .tflite")
    with quiet.stderr(), warnings.catch_warnings():
        # TensorFlow announces that its interpreter will be in a package of its own; here it needs no replacement yet.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning, _TFLITE)
        import tensorflow as tf

        from larq_nas.converters import flatbuffer

        # TensorFlow 2.15 and LCE read a file without a check, so that a file that is cut off ends the process.
        if not flatbuffer.is_whole(content):
            raise ConversionError(_NOT_WHOLE)
        try:
            # Newer versions of TensorFlow verify the file here.
            tf.lite.Interpreter(model_content=content)
        except (RuntimeError, ValueError):
            raise ConversionError(_NOT_WHOLE) from None


def load(content: bytes) -> Any:
    """Loads a file into LCE's interpreter.

    # Arguments
        content: The file's content.

    # Returns
        An `Interpreter` of LCE.

    # Raises
        ConversionError: If LCE is missing or cannot run the file.
    """
    require_lce()
    try:
        _start(content, {})
    except ConversionError:
        # The default kernel cannot run files with native groups.
        _start(content, {"use_indirect_bgemm": True})
    assert _loaded is not None
    return _loaded[0]


def _fastest_kernel(content, image):
    """Times both kernels: LCE's default kernel is the faster one on ARM, its indirect kernel elsewhere."""
    seconds = {}
    for indirect in (True, False):
        try:
            _start(content, {"use_indirect_bgemm": indirect})
        except ConversionError:
            if indirect:
                raise
            continue
        _run(image[None])
        start = time.perf_counter()
        _run(image[None])
        seconds[indirect] = time.perf_counter() - start
    return {"use_indirect_bgemm": min(seconds, key=seconds.__getitem__)}


def _start(content, options):
    global _loaded
    with quiet.stderr():  # TensorFlow prints on import.
        lce = require_lce()
    verify(content)
    try:
        with quiet.stderr():  # LCE prints about a bad file before it raises.
            interpreter = lce.testing.Interpreter(content, **options)
    except (RuntimeError, ValueError) as error:
        raise ConversionError(f"LCE cannot run this file: {first_line(error)}") from None
    shapes = [tuple(shape) for shape in interpreter.input_shapes]
    if len(shapes) != 1 or len(shapes[0]) < 2 or shapes[0][0] != 1:
        raise ConversionError(
            f"the file has {len(shapes)} input(s) of the shapes {shapes}; accepted is one input, a batch of one image"
        )
    _loaded = interpreter, content


def _predict(interpreter, images):
    try:
        return interpreter.predict(images)
    except (RuntimeError, ValueError) as error:
        raise ConversionError(f"LCE cannot run this file: {first_line(error)}") from None


def _run(images):
    assert _loaded is not None
    interpreter, _ = _loaded
    expected = tuple(interpreter.input_shapes[0][1:])
    if images.shape[1:] != expected:
        raise ConversionError(f"the file takes images of shape {expected}, not {images.shape[1:]}")
    # LCE does not recognise the dtype of an array from another process, nor the dtype of its copies.
    own = np.empty(images.shape, interpreter.input_types[0])
    own[...] = _numbers(images, own.dtype, interpreter.input_scales[0], interpreter.input_zero_points[0])
    outputs = _predict(interpreter, own)
    if not isinstance(outputs, list):
        return _floats(outputs, interpreter, 0)
    return [_floats(output, interpreter, place) for place, output in enumerate(outputs)]


def _numbers(images, dtype, scale, zero_point):
    """Quantizes images if the file takes integers."""
    if dtype.kind == "f":
        return images
    if dtype.kind not in "iu" or not scale:
        raise ConversionError(
            f"the file takes images of {dtype} without a scale (raw pixels); accepted are floats and integers with a "
            "scale and a zero point"
        )
    limits = np.iinfo(dtype)
    return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max)


def _floats(output, interpreter, place):
    zero_point, scale = interpreter.output_zero_points[place], interpreter.output_scales[place]
    if output.dtype.kind not in "iu" or not scale:
        return output
    return ((output.astype(np.float32) - zero_point) * scale).astype(np.float32)
