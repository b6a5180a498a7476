"""Context managers that hide messages which users cannot act on."""

import contextlib
import logging
import os
from collections.abc import Iterator


@contextlib.contextmanager
def stderr() -> Iterator[None]:
    """Discards everything that the process writes to stderr inside the context, including messages from C++ code.

    When TensorFlow is imported, it writes lines about missing accelerators to stderr. No setting of TensorFlow turns
    these lines off.
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
def log(text: str) -> Iterator[None]:
    """Discards TensorFlow's log messages that contain a text.

    # Arguments
        text: The text.
    """

    def other(record):
        return text not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
