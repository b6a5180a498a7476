"""The run directory: the files that a command writes, and from which the same command resumes.

Files are written under a temporary name and then renamed, so that a file is either complete or absent.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from larq_nas.runs import locks

PACKAGES = ("larq_nas", "tensorflow", "tf-keras", "larq", "larq-compute-engine", "tensorflow-datasets", "numpy")


# Flags that earlier versions did not have, and that had no effect with these values.
ADDED = {
    "--distill=False",
    "--distribute=none",
    "--permute_labels=False",
    "--skip=True",
    "--validation_fraction=0.0",
    "--warmup_epochs=0",
    "--zeroise=True",
}


class RunError(ValueError):
    """A run directory cannot be used for this command. The message says what to do."""


@contextlib.contextmanager
def atomic(path: pathlib.Path | str) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the directory of `path`, and renames it to `path` if the block raises no error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The temporary path keeps the suffix, by which Keras chooses the format of the file.
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: pathlib.Path | str, content: Any) -> None:
    """Writes a file as `atomic` does.

    # Arguments
        path: Path of the file.
        content: A text, bytes, or any other object, which is written as JSON.
    """
    if not isinstance(content, str | bytes):
        content = json.dumps(content, indent=2) + "\n"
    with atomic(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def read_json(path: pathlib.Path | str) -> Any:
    """Reads a JSON file of a run.

    # Raises
        RunError: If the file is missing or broken.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path}: not readable as JSON: {error}") from None


@contextlib.contextmanager
def expected_form(path: pathlib.Path | str) -> Iterator[None]:
    """A context that reads the content of a file. Errors of the content become a `RunError` that names the file."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise RunError(f"{path}: broken; start again with overwrite=True") from None


def _lines(command, flags):
    """The lines of `flags.txt`."""
    return [f"# larq_nas {command}", *(f"--{key}={value}" for key, value in sorted(flags.items()))]


class Run:
    """A run directory, with the paths of its files as attributes.

    # Arguments
        path: Path of the directory.
    """

    def __init__(self, path: pathlib.Path | str) -> None:
        self.path = pathlib.Path(path)
        self.flags = self.path / "flags.txt"
        self.environment = self.path / "environment.json"
        self.dataset = self.path / "dataset.json"
        self.genotype = self.path / "genotype.json"
        self.genotypes = self.path / "genotypes"
        self.probabilities = self.path / "probabilities"
        self.candidates = self.path / "candidates.json"
        self.finalists = self.path / "finalists.json"
        self.supernet = self.path / "supernet.h5"
        self.metrics_csv = self.path / "metrics.csv"
        self.metrics = self.path / "metrics.json"
        self.logs = self.path / "logs"
        self.backup = self.path / "backup"
        self.weights = self.path / "weights.h5"
        self.tflite = self.path / "model.tflite"
        self.report = self.path / "model.report.json"

    def start(self, command: str, flags: dict, overwrite: bool = False) -> None:
        """Prepares the directory for a new run, or for a run that resumes.

        # Arguments
            command: Name of the command.
            flags: A dict of all flags that determine the result of the run, from names to values.
            overwrite: Whether to remove the files of an earlier run first.

        # Raises
            RunError: If the directory holds a run with other flags or files of other programs, or cannot be written.
        """
        lines = _lines(command, flags)
        try:
            if overwrite and self._holds_run():
                self._clear()
            if self._holds_run():
                self._check_same(lines)
            elif self.path.exists() and any(path.name != locks.NAME for path in self.path.iterdir()):
                raise RunError(f"{self.path}: holds files but no run of larq_nas; choose another run_dir")
            write(self.flags, "\n".join(lines) + "\n")
            write(self.environment, _environment())
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; choose another run_dir") from None

    def check(self, command: str, flags: dict) -> None:
        """Checks that another process has begun a run in the directory, with the same command and flags.

        # Arguments
            command: Name of the command.
            flags: See `start`.

        # Raises
            RunError: If the directory holds no run, or a run with other flags.
        """
        if not self._holds_run():
            raise RunError(f"{self.path}: holds no run of larq_nas; give the run_dir of the chief")
        self._check_same(_lines(command, flags))

    def _clear(self):
        """Removes everything except the lock; `flags.txt` is last, since it marks the directory as a run."""
        if self.path.is_symlink():
            raise RunError(f"{self.path}: is a symbolic link, which overwrite=True does not follow; name its directory")
        for path in sorted(self.path.iterdir(), key=lambda path: path == self.flags):
            if path.name != locks.NAME:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _holds_run(self):
        # Other programs may write a flags.txt, too.
        return self.flags.exists() and self.flags.read_bytes().startswith(b"# larq_nas ")

    def _check_same(self, lines):
        old = self._flag_lines()
        # --data_dir may differ, since data may move.
        differing = (set(old) ^ set(lines)) - ADDED
        changed = sorted({line.split("=")[0] for line in differing} - {"--data_dir"})
        if not changed:
            return
        known = {line.split("=")[0] for line in old}
        # If the first lines differ, the directory holds a run of another command.
        unknown = [name for name in changed if name not in known] if old[:1] == lines[:1] else []
        names, new = (", ".join(each).replace("# ", "").replace("--", "") for each in (changed, unknown))
        lacks = f", which lacks {new}: perhaps an earlier version of larq_nas has begun the run" if unknown else ""
        raise RunError(
            f"{self.path}: holds a run that differs in {names} (see flags.txt there{lacks}); "
            "choose another run_dir, or start again with overwrite=True"
        )

    def is_of(self, command: str) -> bool:
        """Whether the directory holds a run of a command, e.g. `"search"`."""
        return self._flag_lines()[:1] == [f"# larq_nas {command}"]

    def flag_values(self) -> dict:
        """Returns the flags with which the run was started: a dict from names to texts."""
        lines = self._flag_lines()
        return dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--") and "=" in line)

    def _flag_lines(self):
        try:
            return self.flags.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            raise RunError(f"{self.flags}: broken; start again with overwrite=True") from None

    def provenance(self) -> dict:
        """Returns the flags of the run, without `data_dir`, and the versions of packages; `{}` if there is no run."""
        if not self.flags.exists():
            return {}
        flags = {name: value for name, value in self.flag_values().items() if name != "data_dir"}
        return {"flags": flags, "packages": self.packages()}

    def packages(self) -> dict:
        """Returns the versions of packages at the last start of the run: a dict from names to texts.

        # Raises
            RunError: If `environment.json` is missing or broken.
        """
        environment = read_json(self.environment)
        if not isinstance(environment, dict) or not isinstance(environment.get("packages"), dict):
            raise RunError(f"{self.environment}: broken; the command of this directory writes it anew")
        return environment["packages"]

    def rows(self) -> list:
        """Reads `metrics.csv`.

        # Returns
            A list with a dict of numbers for each finished epoch.

        # Raises
            RunError: If the file is broken.
        """
        return [self._numbers(row) for row in self._table()]

    def append_row(self, row: dict) -> None:
        """Appends a row to `metrics.csv`, with a header if the file is new."""
        new = not self.metrics_csv.exists()
        with open(self.metrics_csv, "a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def drop_rows(self, first_epoch: int) -> None:
        """Removes from `metrics.csv` the rows of epochs that will run again.

        # Arguments
            first_epoch: Number of the first epoch that runs again.

        # Raises
            RunError: If the table is broken, or if all epochs run again although the table lists more than one.
        """
        table = self._table(mend=True)
        rows = [row for row in table if self._numbers(row)["epoch"] < first_epoch]
        if first_epoch == 0 and len(table) > 1:
            raise RunError(
                f"{self.backup}: holds none of the {len(table)} epochs that {self.metrics_csv.name} lists as finished; "
                "start again with overwrite=True"
            )
        if not rows:
            self.metrics_csv.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(self.metrics_csv, text.getvalue())

    def _table(self, mend=False):
        """Reads the rows as texts. `mend` drops an incomplete last row, left by a process that was killed."""
        try:
            text = self.metrics_csv.read_bytes().decode() if self.metrics_csv.exists() else ""
            if mend and not text.endswith("\n"):
                text = text[: text.rfind("\n") + 1]
            return list(csv.DictReader(io.StringIO(text, newline="")))
        except (csv.Error, ValueError):
            raise self._broken_table() from None

    def _numbers(self, row):
        try:
            # Keras writes NA for a missing value.
            return {"epoch": float(row["epoch"]), **{k: float(v) for k, v in row.items() if v != "NA"}}
        except (KeyError, TypeError, ValueError):
            raise self._broken_table() from None

    def _broken_table(self):
        return RunError(f"{self.metrics_csv}: broken; remove its broken lines, or start again with overwrite=True")


def _environment():
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count()}
    return {"packages": versions, **machine}
