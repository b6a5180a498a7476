"""LCE's benchmark program: whether a file is one for a device, and what it prints.

`lce_benchmark_model` is a `benchmark_model` of TensorFlow Lite that knows the operators of Larq Compute Engine (LCE).
"""

import math
import pathlib
import re

from larq_nas import devices

PROGRAM = "lce_benchmark_model"
# As `uname -m` says it -> as an ELF file says it, the name of LCE's program.
_MACHINES = {"aarch64": 183, "arm64": 183, "x86_64": 62}
_ELF_NAMES = {183: "64-bit ARM", 62: "x86-64", 40: "32-bit ARM"}


class BenchmarkError(RuntimeError):
    """A file cannot be timed; the message says what to do."""


def read_program(text, binary) -> bytes:
    """The content of a benchmark program for the device of a name; `BenchmarkError` if the file is none."""
    if binary is None:
        raise BenchmarkError(
            f"{text}: needs LCE's benchmark program as --benchmark_binary: download lce_benchmark_model_aarch64 "
            "(Raspberry Pi) or lce_benchmark_model_android_arm64 from https://github.com/larq/compute-engine/releases, "
            "of the version that pip show larq-compute-engine prints"
        )
    try:
        content = pathlib.Path(binary).read_bytes()
    except OSError as error:
        raise BenchmarkError(f"{binary}: {error.strerror}; --benchmark_binary is LCE's benchmark program") from None
    if elf_machine(content) is None:
        raise BenchmarkError(f"{binary}: not a program for Linux or Android (no ELF file); download it again")
    return content


def elf_machine(content: bytes):
    """For which kind of CPU an ELF file is: its `e_machine`, or `None` if it is no ELF file."""
    if len(content) < 20 or content[:4] != b"\x7fELF":
        return None
    return int.from_bytes(content[18:20], "big" if content[5] == 2 else "little")


def check_program(program: bytes, description: dict):
    """Refuses a program that is not for a device.

    # Arguments
        program: Content of an ELF file.
        description: What `describe` says of the device.

    # Raises
        BenchmarkError: If it is for another kind of CPU.
    """
    machine, found = description["machine"], elf_machine(program)
    if machine in _MACHINES and found != _MACHINES[machine]:
        name = _ELF_NAMES.get(found, f"ELF machine {found}")
        raise BenchmarkError(
            f"{description['device']}: --benchmark_binary is a program for {name}, the device is {machine}; "
            "take lce_benchmark_model_aarch64 for Linux and lce_benchmark_model_android_arm64 for Android"
        )


def parse(output: str) -> dict:
    """Reads what the benchmark program prints.

    # Arguments
        output: The text. Lines may begin with `INFO: `.

    # Returns
        `latency_ms`, `first_ms`, `init_ms`, `runs`, `peak_memory_mb` and `operators`, as in a `Measurement`.

    # Raises
        BenchmarkError: If it does not hold them, as with a program of an unknown version.
    """
    lines = [re.sub(r"^[A-Z]+: ", "", line) for line in output.splitlines()]
    summary = [line for line in lines if line.startswith("Inference timings in us: ")]
    # One such line is of the warm-up, the next of the runs.
    counts = [line for line in lines if line.startswith("count=")]
    try:
        fields = dict(re.findall(r"(\w+)=([^\s(]+)", counts[-1]))
        # Where all runs take the same time, only that is printed.
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
            f"the output of {PROGRAM} was not understood; its version must be that of pip show larq-compute-engine"
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
    """The table of the runs in order of the file; another one before it is of the initialization."""
    title = "Operator-wise Profiling Info for Regular Benchmark Runs"
    start = next((index for index, line in enumerate(lines) if line.startswith(title)), len(lines))
    header, operators = None, []
    for line in lines[start + 1 :]:
        # Columns came and went with versions. Terminals turn tabs into spaces, and types hold single ones.
        cells = re.split(r"\s*\t\s*|\s{2,}", line.strip(), maxsplit=len(header) - 1 if header else 0)
        if header is None and cells[0] == "[node type]":
            header = cells
        elif header and len(cells) < len(header):
            break
        elif header:
            row = dict(zip(header, cells, strict=True))
            # Its times are those of one call. The oldest programs count no calls.
            calls = max(int(row["[times called]"]), 1)
            ms, percent = _number(row["[avg ms]"]) * calls, _number(row["[%]"].rstrip("%"))
            operators.append({"type": row["[node type]"], "name": row["[Name]"], "ms": ms, "percent": percent})
    return operators


def complaint(output: str) -> str:
    """What a program that failed says of it, as one line."""
    # What it prints last only says that it failed.
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    line = errors[0] if errors else devices.last_line(output)
    return line + ("; this file needs use_indirect_bgemm, as its report says" if "Grouped binary" in line else "")
