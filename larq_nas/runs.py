"""The run directory: what a command leaves behind, and how the same command goes on from there.

Files appear whole or not at all: they are written under a temporary name and renamed.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import platform
import shutil
from importlib import metadata

PACKAGES = ("larq_nas", "tensorflow", "tf-keras", "larq", "larq-compute-engine", "tensorflow-datasets", "numpy")


class RunError(ValueError):
    """A run directory cannot be used for this command; the message says what to do."""


@contextlib.contextmanager
def atomic(path):
    """A temporary path beside `path`, which becomes `path` when the block ends without an error."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keeps the suffix: Keras chooses a file's format by it.
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path, content):
    """Writes text, bytes, or anything else as JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content, indent=2) + "\n"
    with atomic(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def read_json(path):
    """Reads a JSON file of a run; `RunError` if it is missing or broken."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path}: not readable as JSON: {error}") from None


class Run:
    """The paths in a run directory.

    # Arguments
        path: The directory.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.flags = self.path / "flags.txt"
        self.environment = self.path / "environment.json"
        self.dataset = self.path / "dataset.json"
        self.genotype = self.path / "genotype.json"
        self.genotypes = self.path / "genotypes"
        self.candidates = self.path / "candidates.json"
        self.metrics_csv = self.path / "metrics.csv"
        self.metrics = self.path / "metrics.json"
        self.logs = self.path / "logs"
        self.backup = self.path / "backup"
        self.weights = self.path / "weights.h5"
        self.tflite = self.path / "model.tflite"
        self.report = self.path / "model.report.json"

    def start(self, command: str, flags: dict, overwrite=False):
        """Opens the directory for a command, new or to go on.

        # Arguments
            command: Name of the command.
            flags: Everything that makes this run what it is: name to value.
            overwrite: Whether to remove what another run left there.

        # Raises
            RunError: If a run with other flags is in the directory, or it cannot be written.
        """
        lines = [f"# larq_nas {command}", *(f"--{key}={value}" for key, value in sorted(flags.items()))]
        try:
            if overwrite and self._holds_run():
                shutil.rmtree(self.path)
            if self._holds_run():
                self._check_same(lines)
            elif self.path.exists() and any(self.path.iterdir()):
                raise RunError(f"{self.path}: holds files but no run of larq_nas; choose another --run_dir")
            write(self.flags, "\n".join(lines) + "\n")
            write(self.environment, _environment())
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}; choose another --run_dir") from None

    def _holds_run(self):
        # Other programs have a flags.txt, too.
        return self.flags.exists() and self.flags.read_bytes().startswith(b"# larq_nas ")

    def _check_same(self, lines):
        old = self.flags.read_text(encoding="utf-8").splitlines()
        # Data may move.
        changed = sorted({line.split("=")[0] for line in set(old) ^ set(lines)} - {"--data_dir"})
        if changed:
            names = ", ".join(changed).replace("# ", "")
            raise RunError(
                f"{self.path}: holds a run that differs in {names} (see flags.txt there); "
                "choose another --run_dir, or start again with --overwrite"
            )

    def flag_values(self) -> dict:
        """The flags with which the run was started, as texts by name."""
        lines = self.flags.read_text(encoding="utf-8").splitlines()
        return dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--"))

    def provenance(self) -> dict:
        """What made this run what it is: its flags, but for `--data_dir`, and the versions of packages."""
        if not self.flags.exists():
            return {}
        flags = {name: value for name, value in self.flag_values().items() if name != "data_dir"}
        return {"flags": flags, "packages": read_json(self.environment)["packages"]}

    def rows(self) -> list:
        """What `metrics.csv` says of each finished epoch: a dict of numbers."""
        try:
            # Keras writes NA where it has no value.
            return [{k: float(v) for k, v in row.items() if v != "NA"} for row in self._table()]
        except (TypeError, ValueError):
            raise RunError(f"{self.metrics_csv}: broken; start again with --overwrite") from None

    def append_row(self, row: dict):
        """Adds a row to `metrics.csv`."""
        new = not self.metrics_csv.exists()
        with open(self.metrics_csv, "a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def drop_rows(self, first_epoch: int):
        """Forgets the rows of epochs that are run again."""
        try:
            rows = [row for row in self._table() if int(row["epoch"]) < first_epoch]
        except (KeyError, TypeError, ValueError):
            raise RunError(f"{self.metrics_csv}: broken; start again with --overwrite") from None
        if not rows:
            self.metrics_csv.unlink(missing_ok=True)
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(self.metrics_csv, text.getvalue())

    def _table(self):
        if not self.metrics_csv.exists():
            return []
        with open(self.metrics_csv, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def _environment():
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cpus": os.cpu_count()}
    return {"packages": versions, **machine}
