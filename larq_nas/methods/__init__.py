"""The search methods: those of larq_nas, each in a package of this folder, and your own.

A method is a subclass of `configs.SearchConfig`, which defines what is searched and how. `register` gives it a name, so
that `larq_nas search --method=NAME` finds it. The fields of the class become the flags of the search.

```python
import dataclasses

from larq_nas import methods
from larq_nas.methods import bnas


@methods.register("wide_bnas")
@dataclasses.dataclass(frozen=True, kw_only=True)
class WideBnasConfig(bnas.BnasConfig):
    def space(self):
        return bnas.space(self.layers, 2 * self.filters)


methods.get("wide_bnas") is WideBnasConfig  # True
methods.unregister("wide_bnas")
```

An installed package can register methods without a call of `register`, by the entry point group `larq_nas.methods`:

```
[options.entry_points]
larq_nas.methods =
    mine = my_package.my_module:MyConfig
```
"""

import contextlib
import functools
import importlib
from collections.abc import Callable
from importlib import metadata

from larq_nas.configs import CellSearchConfig, SearchConfig
from larq_nas.methods import evolution, random
from larq_nas.options import OptionError
from larq_nas.space import registry

ENTRY_POINTS = "larq_nas.methods"
# The methods of larq_nas that search cells. Each command needs their names, for which no method is imported.
_OF_CELLS = ("bnas", "bars", "bats")
# The other ways in which the spaces of methods can be searched. An evolution needs cells.
OVER: dict[str, Callable[..., type[SearchConfig]]] = {"random": random.over, "evolution": evolution.over}
_OWN = {}


class MethodError(OptionError):
    """A method is unknown, or it cannot be registered."""


def names() -> tuple[str, ...]:
    """The names of all methods.

    They include `random_NAME` and `evolution_NAME` for the spaces of other methods, see `spaces`.
    """
    return _names() + tuple(f"{way}_{name}" for way in OVER for name in spaces(way))


def spaces(way: str) -> tuple[str, ...]:
    """The names of the methods whose spaces can also be searched in one of the ways `OVER`.

    Methods of installed packages are listed without importing them. `get` refuses those that do not search cells.
    """
    own = tuple(name for name, config in _OWN.items() if issubclass(config, CellSearchConfig))
    found = (*_OF_CELLS, *_installed(), *own)
    return (*found, "dms") if way == "random" else found


def space_of(name: str) -> str:
    """The name of the method whose space a method searches: `"bnas"` for `"random_bnas"`, else the name itself."""
    return name.removeprefix(f"{_way(name)}_")


def _way(name):
    """The way in which a search searches the space of another method; an empty string for other searches."""
    own = name in _installed() or name in _OWN
    return next((way for way in OVER if name.startswith(f"{way}_") and not own), "")


def _names():
    return tuple(dict.fromkeys([*registry.METHODS, *_installed(), *_OWN]))


@functools.cache
def get(name: str) -> type[SearchConfig]:
    """The class of the configuration of a method.

    # Arguments
        name: One of `names()`.

    # Returns
        A subclass of `SearchConfig`.

    # Raises
        MethodError: If there is no method of this name, or if its entry point cannot be loaded.
    """
    if way := _way(name):
        searched = get(space_of(name))
        if not issubclass(searched, CellSearchConfig) and searched.method not in spaces(way):
            accepted = ", ".join(spaces(way))
            raise MethodError(f"method {name}: {way} searches the spaces of {accepted}, not of {searched.method}")
        return _named(name, OVER[way](searched))
    if name in registry.METHODS:
        module = importlib.import_module(f"larq_nas.methods.{name}.config")
        return _named(name, getattr(module, f"{name.capitalize()}Config"))
    if name in _OWN:
        return _OWN[name]
    if name in _installed():
        return _named(name, _load(_installed()[name]))
    raise MethodError(f"unknown method {name!r}; accepted: {', '.join(names())}")


def loadable() -> list[type[SearchConfig]]:
    """The classes of the configurations of all methods, without those of installed packages that cannot be imported.

    Searches at random and by evolution, whose options are those of their methods, are not among them.
    """
    found = []
    for name in _names():
        with contextlib.suppress(MethodError):
            found.append(get(name))
    return found


def register(name: str) -> Callable[[type[SearchConfig]], type[SearchConfig]]:
    """A decorator that registers a subclass of `SearchConfig` as a method.

    It replaces a method of the same name that you have registered before.

    # Arguments
        name: The name of the method.

    # Returns
        The decorator, which returns the class itself.

    # Raises
        MethodError: If larq_nas has a method of this name, or if the class is not a subclass of `SearchConfig`.
    """
    try:
        registry.check_name(name)
    except ValueError as error:
        raise MethodError(f"method {error}") from None
    if name in registry.METHODS or name in OVER:
        raise MethodError(f"method {name} is one of larq_nas; choose another name")
    if name.startswith(tuple(f"{way}_" for way in OVER)):
        reserved = " or ".join(f"{way}_" for way in OVER)
        raise MethodError(f"method {name}: names that begin with {reserved} are reserved; choose another name")

    def known(config):
        _OWN[name] = _named(name, config)
        get.cache_clear()
        return config

    return known


def unregister(name: str) -> None:
    """Removes a method that was registered by `register`."""
    _OWN.pop(name).method = ""
    get.cache_clear()


def _load(point):
    try:
        return point.load()
    # Code of others may raise anything when it is imported.
    except Exception as error:
        raise MethodError(f"method {point.name}: {point.value} cannot be loaded ({error})") from None


def _named(name, config):
    if not (isinstance(config, type) and issubclass(config, SearchConfig)):
        raise MethodError(f"method {name}: {config!r} is not a subclass of larq_nas.SearchConfig")
    if vars(config).get("method", "") not in ("", name):
        raise MethodError(
            f"method {name}: {config.__name__} is the method {config.method}; register a subclass of it instead"
        )
    config.method = name
    return config


@functools.cache
def _installed():
    """The entry points of the methods that installed packages declare, by the name of the method."""
    found = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
    return {name: point for name, point in found.items() if name not in registry.METHODS}
