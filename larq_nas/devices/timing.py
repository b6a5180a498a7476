"""Measures how long a `.tflite` file takes for one image, on this machine or on a device.

On this machine, the Python interpreter of Larq Compute Engine (LCE) runs the file. Its timings are only meaningful on a
Mac of the M series, since LCE has portable stand-in kernels elsewhere. On a device, LCE's benchmark program
`lce_benchmark_model` runs the file. It is TensorFlow Lite's `benchmark_model` with LCE's operators, and must be
downloaded to this machine first.

```python
with timing.open_device("ssh:pi@raspberrypi", "lce_benchmark_model_aarch64") as device:
    print(device.measure(content, timing.Options(threads=4)).latency_ms)
```
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from larq_nas import devices, quiet
from larq_nas.converters import interpreter
from larq_nas.devices.benchmark_program import PROGRAM, BenchmarkError, check_program, complaint, parse, read_program
from larq_nas.messages import first_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a measurement.

    # Arguments
        threads: Number of threads of the interpreter.
        runs: Least number of inferences that are timed.
        warmup_runs: Number of inferences before the timed ones.
        use_xnnpack: Whether XNNPACK runs the float operators.
        use_indirect_bgemm: Whether to use LCE's indirect kernel for binary convolutions, the only kernel that runs
            native groups. `None` chooses the faster kernel on this machine, and the default kernel on a device.
        timeout: Seconds that a measurement may take.
    """

    threads: int = 1
    runs: int = 50
    warmup_runs: int = 10
    use_xnnpack: bool = False
    use_indirect_bgemm: bool | None = None
    timeout: int = 300

    def __post_init__(self):
        if self.threads < 1 or self.runs < 1 or self.warmup_runs < 0:
            raise ValueError(
                f"threads={self.threads}, runs={self.runs}, warmup_runs={self.warmup_runs}: must be at least 1, 1 and 0"
            )


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Result of a measurement.

    # Arguments
        latency_ms: A dict with `mean`, `min`, `max`, `std` and `median` of the runs, in milliseconds. `median` is
            `None` if the benchmark program does not print it.
        first_ms: Milliseconds of the very first inference.
        init_ms: Milliseconds of loading the file.
        runs: Number of timed inferences.
        threads: Number of threads of the interpreter.
        kernel: LCE's kernel: `"default"` or `"indirect"`.
        peak_memory_mb: Peak memory of the process in megabytes, or `None` if unknown.
        operators: A list with a dict of `type`, `name`, `ms` and `percent` (of an inference) for each operator, in the
            order of the file; empty if unknown.
        device: The dict that `Device.describe` returns.
        warnings: A list of lines of text that say why the timings may be unreliable.
    """

    latency_ms: dict
    first_ms: float
    init_ms: float
    runs: int
    threads: int
    kernel: str
    peak_memory_mb: float | None
    operators: list
    device: dict
    warnings: list

    def to_dict(self) -> dict:
        """Returns the measurement as a dict for a JSON file."""
        return dataclasses.asdict(self)


@contextlib.contextmanager
def open_device(text: str, binary: pathlib.Path | str | None = None) -> "Iterator[_Host | _Remote]":
    """Opens a device on which files can be measured, as a context manager.

    # Arguments
        text: `host` for this machine, or the name of a device as for `devices.find`.
        binary: Path of LCE's benchmark program for the device; not needed for `host`.

    # Returns
        An object with the methods `describe()`, which returns a dict, and `measure(content, options)`, which returns
        the `Measurement` of a file with that content.

    # Raises
        BenchmarkError: If the benchmark program is missing or not one for the device, or a file cannot be timed.
        DeviceError: If the device cannot be reached or used.
    """
    if text == "host":
        yield _Host()
        return
    device = devices.find(text)
    program = read_program(text, binary)
    with device:
        yield _Remote(device, program)


class _Host:
    """This machine."""

    threads = 0  # Threads of the previous measurement.

    def describe(self):
        names = ("abis", "bits", "model", "free_bytes", "governor", "temperature")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        known = {"device": "host", "machine": platform.machine(), "cores": os.cpu_count(), "load": load}
        return {**dict.fromkeys(names), **known}

    def measure(self, content, options):
        device = self.describe()
        warnings = devices.warnings(device, self.threads)
        self.threads = options.threads
        if device["machine"] not in ("arm64", "aarch64"):
            warnings.append("host: LCE only has portable kernels for this machine; their times say nothing about ARM")
        end = time.perf_counter() + options.timeout
        interpreter.verify(content)
        indirect = options.use_indirect_bgemm
        if indirect is None:
            indirect = _faster_kernel(content, options)
        start = time.perf_counter()
        run = _load(content, options, indirect)
        init = time.perf_counter() - start
        times = [_timed(run, end, options) for _ in range(options.warmup_runs + options.runs)]
        first, ms = times[0], times[options.warmup_runs :]
        latency = {"mean": statistics.fmean(ms), "min": min(ms), "max": max(ms), "std": statistics.pstdev(ms)}
        latency["median"] = statistics.median(ms)
        kernel = _kernel(indirect)
        return Measurement(latency, first, init * 1e3, len(ms), options.threads, kernel, None, [], device, warnings)


def _load(content, options, indirect):
    """Loads a file and returns a function that runs it once, on a random image."""
    with quiet.stderr():  # TensorFlow prints on import.
        lce = interpreter.require_lce()
    try:
        with quiet.stderr():  # LCE prints about a bad file before it raises.
            loaded = lce.testing.Interpreter(content, options.threads, False, indirect, options.use_xnnpack)
    except (RuntimeError, ValueError) as error:
        raise BenchmarkError(f"LCE cannot run this file: {first_line(error)}") from None
    shape = (1, *loaded.input_shapes[0][1:])
    image = np.random.default_rng(0).normal(size=shape).astype(loaded.input_types[0])
    return lambda: loaded.predict(image)


def _timed(run, end, options):
    start = time.perf_counter()
    if start > end:
        raise BenchmarkError(
            f"host: not done within timeout={options.timeout} seconds; give a longer timeout, or fewer runs"
        )
    run()
    return (time.perf_counter() - start) * 1e3


def _faster_kernel(content, options):
    best = {}
    for indirect in (True, False):
        try:
            run = _load(content, options, indirect)
        except BenchmarkError:
            # The default kernel cannot run files with native groups.
            if indirect:
                raise
            continue
        run()
        best[indirect] = min(_timed(run, math.inf, options) for _ in range(3))
    return min(best, key=best.__getitem__)


def _kernel(indirect):
    return "indirect" if indirect else "default"


class _Remote:
    """A device with LCE's benchmark program, which is pushed before the first measurement."""

    def __init__(self, device, program):
        self.device, self.program = device, program
        self.describe = device.describe
        self.threads = 0  # Threads of the previous measurement.

    def measure(self, content, options):
        description = self.describe()
        needed = len(content) + (0 if self.threads else len(self.program))
        devices.check(description, needed)
        check_program(self.program, description)
        if not self.threads:
            self.device.push(self.program, PROGRAM)
        self.device.push(content, "model.tflite")
        warnings = devices.warnings(description, self.threads)
        self.threads = options.threads
        output, code = self.device.run([f"./{PROGRAM}", *_arguments(options)], options.timeout)
        if code:
            raise BenchmarkError(f"{self.device.text}: {PROGRAM} ended with code {code}: {complaint(output)}")
        kernel = _kernel(options.use_indirect_bgemm)
        return Measurement(
            **parse(output), threads=options.threads, kernel=kernel, device=description, warnings=warnings
        )


def _arguments(options):
    flags = {
        "graph": "model.tflite",
        "num_threads": options.threads,
        "num_runs": options.runs,
        "warmup_runs": options.warmup_runs,
        "use_xnnpack": options.use_xnnpack,
        "use_indirect_bgemm": bool(options.use_indirect_bgemm),
        "enable_op_profiling": True,
        "report_peak_memory_footprint": True,
    }
    return [f"--{name}={str(value).lower()}" for name, value in flags.items()]


def summarize(measurements: list) -> dict:
    """Summarizes several measurements of one file.

    # Arguments
        measurements: A list of `Measurement`s.

    # Returns
        A dict with `ms` (the median of the means), `spread_ms` (the difference between the highest and the lowest
        mean), `min_ms` and `max_ms` (of all single runs), `peak_memory_mb` (or `None`), and `kernel`.
    """
    means = [measurement.latency_ms["mean"] for measurement in measurements]
    peaks = [m.peak_memory_mb for m in measurements if m.peak_memory_mb is not None]
    return {
        "ms": statistics.median(means),
        "spread_ms": max(means) - min(means),
        "min_ms": min(measurement.latency_ms["min"] for measurement in measurements),
        "max_ms": max(measurement.latency_ms["max"] for measurement in measurements),
        "peak_memory_mb": max(peaks, default=None),
        "kernel": ", ".join(sorted({measurement.kernel for measurement in measurements})),
    }


def draw(axes: "Axes", summaries: dict, title: str) -> None:
    """Draws a bar chart of latencies, with a line from the fastest to the slowest run of each file.

    # Arguments
        axes: A matplotlib `Axes`.
        summaries: A dict from names of files to the dicts that `summarize` returns.
        title: Title of the chart.
    """
    rows = list(summaries.values())
    ms = [row["ms"] for row in rows]
    lower = [row["ms"] - row["min_ms"] for row in rows]
    upper = [row["max_ms"] - row["ms"] for row in rows]
    axes.barh(list(summaries), ms, xerr=[lower, upper], capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("ms per image (line: fastest to slowest run)")
    axes.set_title(title)
