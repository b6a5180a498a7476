"""Silence for what users can do nothing about."""

import contextlib
import logging
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


@contextlib.contextmanager
def log(text):
    """Drops TensorFlow's log messages that hold a text."""

    def other(record):
        return text not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
