"""The state of a training after each epoch, from which an interrupted one goes on."""

import logging
import pathlib
import re
import shutil
import tempfile
import weakref

import tensorflow as tf

from larq_nas import runs

logger = logging.getLogger(__name__)

# How many are kept: if the newest is broken, the one before it is of use.
KEPT = 2


class Backup(tf.keras.callbacks.Callback):
    """Writes the variables of a model and of its optimizers after each epoch.

    `tf.keras.callbacks.BackupAndRestore` takes characters such as `[` in a path for a pattern, and begins again without
    a word if one of its files is broken.

    # Arguments
        directory: Where to.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self._alias = None

    def restore(self, model) -> int:
        """Gives a model the state of the newest backup that can be read.

        # Arguments
            model: A compiled model whose optimizers have their variables.

        # Returns
            The number of the first epoch that is not in it; 0 if there is none.

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
                f"{broken}: broken ({str(reason)[:100]}), and no earlier epoch is kept that is not; start again with "
                "--overwrite"
            ) from None
        return 0

    def _readable(self):
        """A path of the directory that TensorFlow does not take for a pattern when it reads."""
        if not set("[]*?\\") & set(str(self.directory)):
            return self.directory
        if self._alias is None:
            folder = tempfile.mkdtemp(prefix="larq_nas_")
            # Not earlier, since a variable that is made later is read later.
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._alias = pathlib.Path(folder, "backup")
            self._alias.symlink_to(self.directory.resolve())
        return self._alias

    def on_epoch_end(self, epoch, logs=None):
        self.directory.mkdir(parents=True, exist_ok=True)
        tf.train.Checkpoint(model=self.model).write(str(_prefix(self.directory, epoch)))
        kept = [f"{_prefix(self.directory, epoch).name}." for epoch in epochs(self.directory)[:KEPT]]
        for path in self.directory.iterdir():
            if not path.name.startswith(tuple(kept)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def epochs(directory) -> list:
    """The numbers of the epochs after which there is a backup, the newest first."""
    # TensorFlow writes this file last.
    names = (re.fullmatch(r"epoch-(\d+)\.index", path.name) for path in pathlib.Path(directory).glob("*.index"))
    return sorted((int(name[1]) for name in names if name), reverse=True)


def _prefix(directory, epoch):
    return directory / f"epoch-{epoch:04}"
