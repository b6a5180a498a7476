"""Locks a run directory, so that only one command at a time works in it."""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
import time
from collections.abc import Iterator

logger = logging.getLogger(__name__)

NAME = ".lock"


class LockError(ValueError):
    """A directory cannot be locked. The message says why."""


class InUseError(LockError):
    """Another process holds the lock of a directory."""


def wait(path: pathlib.Path | str, forever: bool = False) -> None:
    """Checks that no process holds the lock of a directory.

    # Arguments
        path: Path of the directory.
        forever: Whether to wait until the lock is free.

    # Raises
        InUseError: If another process holds the lock, and `forever` is false.
        LockError: If the directory cannot be written.
    """
    told = False
    while True:
        try:
            with hold(path):
                return
        except InUseError as error:
            if not forever:
                raise
            if not told:
                logger.info("waiting: %s", str(error).partition(";")[0])
            told = True
            time.sleep(1)


@contextlib.contextmanager
def hold(path: pathlib.Path | str) -> Iterator[None]:
    """Holds the lock of a directory within a `with` block.

    The operating system releases the lock when the process ends, even if it is killed. On a file system without locks,
    the directory is used without a lock.

    # Arguments
        path: Path of the directory. If it does not exist, it is created, and removed at the end if it is empty.

    # Raises
        LockError: If another process holds the lock, or the directory cannot be written.
    """
    path = pathlib.Path(path)
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    except OSError as error:
        raise LockError(f"{path}: {error.strerror}; run_dir must be a directory that can be made and written") from None
    try:
        yield
    finally:
        (path / NAME).unlink(missing_ok=True)
        file.close()
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


def _acquire(path):
    """Opens and locks the lock file; the file must stay open."""
    while True:
        file = open(path / NAME, "a+", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.seek(0)
                holder = file.read(200).strip() or "another process"
                file.close()
                raise InUseError(
                    f"{path}: is in use by {holder}; wait until it has ended, or choose another run_dir"
                ) from None
            # Any other error means that the file system has no locks.
        # The previous holder may have removed the file between opening and locking.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path / NAME)):
                file.truncate(0)
                print(f"process {os.getpid()} of {socket.gethostname()}", file=file, flush=True)
                return file
        file.close()
