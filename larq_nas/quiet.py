"""Silence for the time of an import."""

import contextlib
import os


@contextlib.contextmanager
def stderr():
    """Drops what is written to the process's stderr meanwhile, by C++ code, too.

    On import, TensorFlow writes lines about missing accelerators there that none of its settings turns off.
    """
    with open(os.devnull, "wb") as null:
        saved = os.dup(2)
        try:
            os.dup2(null.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
