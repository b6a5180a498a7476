"""Searches and trainings in processes of their own, since TensorFlow keeps the graphs of a process in memory."""

import logging
import os
import subprocess
import sys
from typing import Any

from larq_nas import runs
from larq_nas.tasks.errors import TaskError

logger = logging.getLogger(__name__)


class KilledError(TaskError):
    """The process of a search or a training was ended by a signal. The same command goes on."""


def share_gpus() -> None:
    """Keeps this process from taking the whole memory of a GPU, on which other processes train."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def call(command: str, run: runs.Run, **flags: Any) -> None:
    """Runs or resumes a search or a training in a process of its own.

    # Arguments
        command: `"search"` or `"train"`.
        run: The run directory.
        flags: Values of flags of the command, by name.

    # Raises
        TaskError: If the command fails. The message is its last line.
        KilledError: If the process is killed.
    """
    flags |= {"run_dir": run.path}
    words = [sys.executable, "-m", "larq_nas", command, *(f"--{key}={value}" for key, value in flags.items())]
    last = ""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                last = line.strip() or last
                logger.debug(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            # Until the process has ended, it holds the lock of its directory.
            process.wait()
            raise
    if process.returncode < 0:
        raise KilledError(
            f"{run.path}: its process was ended by signal {-process.returncode}; the same command goes on"
        )
    if process.returncode:
        raise TaskError(f"{run.path}: {last.removeprefix(f'larq_nas: {command}: ')}")
