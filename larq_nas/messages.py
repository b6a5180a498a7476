"""Texts of errors for messages."""


def first_line(error: BaseException) -> str:
    """Returns the first line of the text of an error or, if it has no text, the name of its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
