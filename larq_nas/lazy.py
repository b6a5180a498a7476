"""Names of a package that are loaded on first use, because their modules import TensorFlow or NumPy."""

import importlib
from collections.abc import Callable


def attributes(package: str, modules: dict) -> Callable:
    """Makes the function `__getattr__` of a package.

    # Arguments
        package: The name of the package.
        modules: The module of each name, relative to the package.

    # Returns
        A function that imports the module of a name and returns its attribute of this name.
    """

    def get(name):
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
