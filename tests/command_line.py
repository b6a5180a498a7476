"""Commands as a user types them, in the process of the tests, where TensorFlow is loaded already."""

import contextlib
import io
import os
import types

from larq_nas import __main__ as main


def run(directory, *words, code=0):
    """Runs a command in a directory, and returns what it prints; its exit code must be `code`."""
    here, out, err = os.getcwd(), io.StringIO(), io.StringIO()
    os.chdir(directory)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exit_code = main.main(list(words))
    finally:
        os.chdir(here)
    assert exit_code == code, out.getvalue() + err.getvalue()
    return types.SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())
