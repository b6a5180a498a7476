"""One command at a time in a run directory."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket

NAME = ".lock"


class LockError(ValueError):
    """A directory cannot be locked; the message says why."""


@contextlib.contextmanager
def hold(path):
    """Holds the lock of a directory while the block runs.

    The lock is one of the operating system, which frees it when a process ends, however it ends. A file system that
    knows no locks is used without.

    # Arguments
        path: The directory. It is made, and removed again if it is empty in the end.

    # Raises
        LockError: If another process holds the lock, or the directory cannot be written.
    """
    path = pathlib.Path(path)
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    except OSError as error:
        raise LockError(
            f"{path}: {error.strerror}; --run_dir must be a directory that can be made and written"
        ) from None
    try:
        yield
    finally:
        (path / NAME).unlink(missing_ok=True)
        file.close()
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


def _acquire(path):
    """The open file that is locked."""
    while True:
        file = open(path / NAME, "a+", encoding="utf-8")  # noqa: SIM115 (it stays open as long as the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.seek(0)
                holder = file.read(200).strip() or "another process"
                file.close()
                raise LockError(
                    f"{path}: is in use by {holder}; wait until it has ended, or choose another --run_dir"
                ) from None
            # The file system knows no locks.
        # Who held it may have removed it since it was opened.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path / NAME)):
                file.truncate(0)
                print(f"process {os.getpid()} of {socket.gethostname()}", file=file, flush=True)
                return file
        file.close()
