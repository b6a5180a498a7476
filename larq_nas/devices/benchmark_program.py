"""Checks that LCE's benchmark program fits a device, and parses its output.

`lce_benchmark_model` is TensorFlow Lite's `benchmark_model` with the operators of Larq Compute Engine (LCE).
"""

import math
import pathlib
import re

from larq_nas import devices

PROGRAM = "lce_benchmark_model"
# The machine in the output of `uname -m` -> the `e_machine` of an ELF file.
_MACHINES = {"aarch64": 183, "arm64": 183, "x86_64": 62}
_ELF_NAMES: dict[int | None, str] = {183: "64-bit ARM", 62: "x86-64", 40: "32-bit ARM"}


class BenchmarkError(RuntimeError):
    """A file cannot be timed. The message says what to do."""


def read_program(text: str, binary: pathlib.Path | str | None) -> bytes:
    """Reads the file of the benchmark program.

    # Arguments
        text: Name of the device, for error messages.
        binary: Path of the program, or `None`.

    # Returns
        The file's content.

    # Raises
        BenchmarkError: If `binary` is `None`, the file cannot be read, or it is not an ELF file.
    """
    if binary is None:
        raise BenchmarkError(
            f"{text}: needs LCE's benchmark program as benchmark_binary: download lce_benchmark_model_aarch64 "
            "(Raspberry Pi) or lce_benchmark_model_android_arm64 from https://github.com/larq/compute-engine/releases, "
            "of the version that pip show larq-compute-engine prints"
        )
    try:
        content = pathlib.Path(binary).read_bytes()
    except OSError as error:
        raise BenchmarkError(f"{binary}: {error.strerror}; benchmark_binary must be LCE's benchmark program") from None
    if elf_machine(content) is None:
        raise BenchmarkError(f"{binary}: not a program for Linux or Android (no ELF file); download it again")
    return content


def elf_machine(content: bytes) -> int | None:
    """Returns `e_machine`, the number of the CPU architecture of an ELF file, or `None` for other files."""
    if len(content) < 20 or content[:4] != b"\x7fELF":
        return None
    return int.from_bytes(content[18:20], "big" if content[5] == 2 else "little")


def check_program(program: bytes, description: dict) -> None:
    """Raises an error if a program is not for the CPU of a device.

    # Arguments
        program: Content of an ELF file.
        description: The dict that `Device.describe` returns.

    # Raises
        BenchmarkError: If the program is for another kind of CPU.
    """
    machine, found = description["machine"], elf_machine(program)
    if machine in _MACHINES and found != _MACHINES[machine]:
        name = _ELF_NAMES.get(found, f"ELF machine {found}")
        raise BenchmarkError(
            f"{description['device']}: benchmark_binary is a program for {name}, the device is {machine}; "
            "take lce_benchmark_model_aarch64 for Linux and lce_benchmark_model_android_arm64 for Android"
        )


def parse(output: str) -> dict:
    """Parses the output of the benchmark program.

    # Arguments
        output: The text. Lines may begin with `INFO: `.

    # Returns
        A dict with `latency_ms`, `first_ms`, `init_ms`, `runs`, `peak_memory_mb` and `operators`, as in
        `timing.Measurement`.

    # Raises
        BenchmarkError: If the output lacks one of them, as that of an unknown version of the program may.
    """
    lines = [re.sub(r"^[A-Z]+: ", "", line) for line in output.splitlines()]
    summary = [line for line in lines if line.startswith("Inference timings in us: ")]
    # The first line that begins with "count=" belongs to the warm-up, the last one to the runs.
    counts = [line for line in lines if line.startswith("count=")]
    try:
        fields = dict(re.findall(r"(\w+)=([^\s(]+)", counts[-1]))
        # If all runs take the same time, the program prints a single value, `curr`.
        same = fields.get("curr")
        us = {name: fields.get(key, same) for name, key in (("mean", "avg"), ("min", "min"), ("max", "max"))}
        us |= {"std": fields.get("std", "0"), "median": fields.get("median", same if "avg" not in fields else None)}
        latency = {name: text and _ms(text, name != "std") for name, text in us.items()}
        times = dict(re.findall(r"(Init|First inference): ([^,\s]+)", summary[0]))
        return {
            "latency_ms": latency,
            "first_ms": _ms(times["First inference"]),
            "init_ms": _ms(times["Init"], positive=False),
            "runs": int(fields["count"]),
            "peak_memory_mb": _memory(lines),
            "operators": _operators(lines),
        }
    except (IndexError, KeyError, TypeError, ValueError):
        raise BenchmarkError(
            f"the output of {PROGRAM} was not understood; use the version that pip show larq-compute-engine prints"
        ) from None


def _ms(text, positive=True):
    return _number(text, positive) / 1e3


def _number(text, positive=False):
    number = float(text)
    if not math.isfinite(number) or number < 0 or positive and number == 0:
        raise ValueError(text)
    return number


def _memory(lines):
    title = "Overall peak memory footprint (MB) via periodic monitoring: "
    found = [line for line in lines if line.startswith(title)]
    return _number(found[0].removeprefix(title)) if found else None


def _operators(lines):
    """Parses the table of operators of the runs. An earlier table in the output belongs to the initialization."""
    title = "Operator-wise Profiling Info for Regular Benchmark Runs"
    start = next((index for index, line in enumerate(lines) if line.startswith(title)), len(lines))
    header, operators = None, []
    for line in lines[start + 1 :]:
        # The columns differ between versions. A terminal may turn tabs into spaces, and types contain single spaces.
        cells = re.split(r"\s*\t\s*|\s{2,}", line.strip(), maxsplit=len(header) - 1 if header else 0)
        if header is None and cells[0] == "[node type]":
            header = cells
        elif header and len(cells) < len(header):
            break
        elif header:
            row = dict(zip(header, cells, strict=True))
            # The table has the time of one call. The oldest programs print 0 calls.
            calls = max(int(row["[times called]"]), 1)
            ms, percent = _number(row["[avg ms]"]) * calls, _number(row["[%]"].rstrip("%"))
            operators.append({"type": row["[node type]"], "name": row["[Name]"], "ms": ms, "percent": percent})
    return operators


def complaint(output: str) -> str:
    """Returns the line of a failed program's output that says why it failed."""
    # The last line only says that the program failed.
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    line = errors[0] if errors else devices.last_line(output)
    return line + ("; this file needs use_indirect_bgemm, as its report says" if "Grouped binary" in line else "")
