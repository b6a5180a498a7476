"""The search methods: a module each, which holds the whole of its paper."""

import importlib

METHODS = ("bnas", "bars", "dms", "bats")


def get(name: str):
    """The module of a method.

    # Arguments
        name: One of `METHODS`.

    # Raises
        ValueError: If there is no such method.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; accepted: {', '.join(METHODS)}")
    return importlib.import_module(f"larq_nas.methods.{name}")
