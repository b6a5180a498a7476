"""Backups of the state of a training after each epoch, from which an interrupted training continues."""

import logging
import pathlib
import re
import shutil
import tempfile
import weakref

import tensorflow as tf

from larq_nas import runs

logger = logging.getLogger(__name__)

# Number of backups that are kept. If the newest one is broken, the one before it is used.
KEPT = 2


class Backup(tf.keras.callbacks.Callback):
    """Writes the variables of a model and of its optimizers after each epoch.

    This class differs from `tf.keras.callbacks.BackupAndRestore` in two points: the path may contain characters such as
    `[`, and a broken file is reported. The callback of Keras silently starts again.

    # Arguments
        directory: The directory of the backups.
    """

    def __init__(self, directory: pathlib.Path | str) -> None:
        super().__init__()
        self.directory = pathlib.Path(directory)
        self._alias: pathlib.Path | None = None

    def restore(self, model: tf.keras.Model) -> int:
        """Restores the state of a model from the newest readable backup.

        # Arguments
            model: A compiled model whose optimizers have already created their variables.

        # Returns
            The number of the first epoch that is not in the backup; 0 if there is no backup.

        # Raises
            RunError: If none of the backups can be read.
        """
        errors = {}
        for epoch in epochs(self.directory):
            prefix = _prefix(self.directory, epoch)
            try:
                tf.train.Checkpoint(model=model).read(
                    str(_prefix(self._readable(), epoch))
                ).assert_existing_objects_matched()
            except (tf.errors.OpError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
                errors[prefix] = error
                continue
            for broken in errors:
                logger.warning("%s: broken; going on after epoch %d", broken, epoch + 1)
            return epoch + 1
        for broken, reason in errors.items():
            raise runs.RunError(
                f"{broken}: is broken or of another version of larq_nas ({str(reason)[:100]}), and there is no "
                "readable earlier epoch; start again with overwrite=True"
            ) from None
        return 0

    def _readable(self):
        """A path of the directory without special characters, which TensorFlow would interpret as a pattern."""
        if not set("[]*?\\") & set(str(self.directory)):
            return self.directory
        if self._alias is None:
            folder = tempfile.mkdtemp(prefix="larq_nas_")
            # The path must exist as long as this object: the values of variables that are created later are read later.
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._alias = pathlib.Path(folder, "backup")
            self._alias.symlink_to(self.directory.resolve())
        return self._alias

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        tf.train.Checkpoint(model=self.model).write(str(_prefix(self.directory, epoch)))
        kept = [f"{_prefix(self.directory, epoch).name}." for epoch in epochs(self.directory)[:KEPT]]
        for path in self.directory.iterdir():
            if not path.name.startswith(tuple(kept)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def epochs(directory: pathlib.Path | str) -> list:
    """The numbers of the epochs of the backups in a directory, the newest first."""
    # TensorFlow writes the index file last.
    names = (re.fullmatch(r"epoch-(\d+)\.index", path.name) for path in pathlib.Path(directory).glob("*.index"))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _prefix(directory, epoch):
    return directory / f"epoch-{epoch:04}"
