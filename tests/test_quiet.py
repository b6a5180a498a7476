import logging
import os

import pytest

from larq_nas import quiet


def test_what_any_code_writes_to_stderr_meanwhile_is_dropped(capfd):
    os.write(2, b"before ")
    with quiet.stderr():
        os.write(2, b"meanwhile ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_an_error_gives_stderr_back(capfd):
    with pytest.raises(KeyError), quiet.stderr():
        raise KeyError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_message_of_tensorflow_is_dropped_and_others_stay(caplog, monkeypatch):
    logger = logging.getLogger("tensorflow")
    monkeypatch.setattr(logger, "propagate", True)
    # Another test of this process may have run a command, which shows errors only.
    caplog.set_level(logging.WARNING, "tensorflow")
    with quiet.log("of no use"):
        logger.warning("this is of no use")
        logger.warning("this is of use")
    logger.warning("this is of no use, but comes later")
    assert [record.getMessage() for record in caplog.records] == [
        "this is of use",
        "this is of no use, but comes later",
    ]
