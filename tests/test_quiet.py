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
