"""Options of a task, declared once as fields of a frozen dataclass. The command line turns each field into a flag.

```python
import dataclasses

from larq_nas import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.Config):
    epochs: int = options.option(50, "passes over the training examples", least=1)
    optimizer: str = options.option("sgd", "optimizer of the weights", choices=("sgd", "adam"))


Config(epochs=3).optimizer  # "sgd"
```

A wrong value raises an `OptionError`, both in Python and on the command line. This module does not import TensorFlow.
"""

import dataclasses
import functools
import hashlib
import math
import os
import types
import typing
from collections.abc import Callable


class OptionError(ValueError):
    """An option does not accept a value. The message says what the option accepts."""


@dataclasses.dataclass(frozen=True)
class Option:
    """The properties of an option in addition to its name, type and default.

    # Arguments
        help: The text for the help, without a full stop.
        least, most: The bounds of a number.
        choices: The accepted values. If it is empty, any value is accepted.
        check: A function that takes a value and returns whether the value is accepted.
        accepted: What `check` accepts, as advice to the user, e.g. "give a number, or lce".
        is_path: Whether the value is a path, in which `~` stands for the home directory.
        is_genotype: Whether the value may be a genotype, the name of a genotype of the zoo, or the path of a file.
        in_epochs: Whether the value is a number of epochs, which is scaled when the option `steps` is given.
        identity: Whether a run with another value is another run, so that it cannot continue the earlier one.
        profiled: Whether the value changes what the operations of a search method compute.
    """

    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple = ()
    check: Callable | None = None
    accepted: str = ""
    is_path: bool = False
    in_epochs: bool = False
    is_genotype: bool = False
    identity: bool = True
    profiled: bool = False


def option(default: typing.Any = dataclasses.MISSING, help: str = "", **details: typing.Any) -> typing.Any:
    """Declares a field of a `Config`.

    # Arguments
        default: The default value. Without it, the option is required.
        help: The text for the help, without a full stop.
        details: Further arguments of `Option`.

    # Returns
        A `dataclasses.field`.
    """
    return dataclasses.field(default=default, metadata={"option": Option(help, **details)})


def changed_default(config: "type[Config]", name: str, default: typing.Any) -> typing.Any:
    """Declares a field again in a subclass, with another default and otherwise the same properties.

    # Arguments
        config: The base class that declares the field.
        name: Name of the field.
        default: The new default.

    # Returns
        A `dataclasses.field`.
    """
    return dataclasses.field(default=default, metadata=config.__dataclass_fields__[name].metadata)


def values_of(config: "Config", base: "type[Config]") -> dict:
    """The values of those options of a configuration that one of its base classes has, by name."""
    return {name: getattr(config, name) for name in options(base)}


def copied_option(config: "type[Config]", name: str) -> tuple:
    """A field of a configuration, for `dataclasses.make_dataclass`.

    # Arguments
        config: The class that declares the field.
        name: Name of the field.

    # Returns
        A tuple of the name, the type and the `dataclasses.field`.
    """
    field = config.__dataclass_fields__[name]
    kind = typing.get_type_hints(config)[name]
    return name, kind, dataclasses.field(default=field.default, metadata=field.metadata)


# A configuration and its copy have the same class.
_Same = typing.TypeVar("_Same", bound="Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The base class of configurations.

    # Raises
        OptionError: If a value has a wrong type or is not accepted.
    """

    # The help lists the options that a class adds under this heading.
    heading: typing.ClassVar[str] = "options"

    def __post_init__(self):
        config: type = type(self)
        for field in dataclasses.fields(self):
            option, kind = field.metadata["option"], kind_of(config, field.name)
            value = _plain(getattr(self, field.name), option, kind)
            object.__setattr__(self, field.name, value)
            _check(field.name, value, option, kind)

    def replace(self: _Same, **values: typing.Any) -> _Same:
        """Returns a copy of the configuration in which the given fields have other values."""
        return dataclasses.replace(self, **values)

    def texts(self) -> dict:
        """The options that identify a run: name to text, for all such options that have a value."""
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["option"].identity and value is not None and value != ():
                found[field.name] = _text(value)
        return found


def options(config: "Config | type[Config]") -> dict:
    """The `Option` of each field of a configuration, or of a class of configurations, by name."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(config)}


def heading_of(config: type[Config], name: str) -> str:
    """The heading of the base class that first declares an option."""
    classes = (cls for cls in reversed(config.__mro__) if issubclass(cls, Config))
    return next(cls for cls in classes if name in cls.__annotations__).heading


class Kind(typing.NamedTuple):
    """The type of an option.

    # Arguments
        type: The type to which a text on the command line is converted: `int`, `float`, `bool` or `str`.
        accepted: The types that are accepted from Python.
        several: Whether the value is a tuple of values of this type.
        optional: Whether the value may be `None`.
    """

    type: type
    accepted: tuple
    several: bool
    optional: bool


_hints = functools.cache(typing.get_type_hints)


@functools.cache
def kind_of(config: type, name: str) -> Kind:
    """The `Kind` of an option of a class of configurations."""
    hint = _hints(config)[name]
    hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    values = [hint for hint in hints if hint is not type(None)]
    several = typing.get_origin(values[0]) is tuple
    if several:
        hint = typing.get_args(values[0])[0]
        values = list(typing.get_args(hint)) if isinstance(hint, types.UnionType) else [hint]
    accepted = tuple(values)
    return Kind(accepted[0], accepted + (int,) * (float in accepted), several, type(None) in hints)


def _plain(value, option, kind):
    """A value as it would come from the command line: a tuple, a text instead of a path, a number of Python."""
    if isinstance(value, list | tuple):
        return tuple(_plain(single, option, kind) for single in value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if option.is_path and isinstance(value, str):
        value = os.path.expanduser(value)
    # A scalar of NumPy.
    value = value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
    return float(value) if kind.type is float and type(value) is int else value


def _check(name, value, option, kind):
    if value is None:
        if not kind.optional:
            raise OptionError(f"{name}: a value is missing")
        return
    if kind.several and not isinstance(value, tuple):
        raise OptionError(f"{name}={value!r}: accepted are several values in a list or tuple")
    for single in value if kind.several else (value,):
        _check_one(name, value, single, option, kind)
    if option.check is not None and not option.check(value):
        raise OptionError(f"{name}={_shown(value)}: {option.accepted}")


def _shown(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _text(value):
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if hasattr(value, "to_json"):
        # An architecture, wherever it comes from.
        text = dataclasses.replace(value, provenance=None).to_json()
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return str(value)


def _check_one(name, value, single, option, kind):
    # In Python, a boolean is an instance of `int`.
    if not isinstance(single, kind.accepted) or isinstance(single, bool) != (kind.type is bool):
        raise OptionError(f"{name}={value!r}: accepted is a value of type {kind.type.__name__}")
    if isinstance(single, float) and not math.isfinite(single):
        raise OptionError(f"{name}={value!r}: is not a finite number")
    if option.least is not None and single < option.least:
        raise OptionError(f"{name}={value!r}: must be at least {option.least}")
    if option.most is not None and single > option.most:
        raise OptionError(f"{name}={value!r}: must be at most {option.most}")
    if option.choices and single not in option.choices:
        raise OptionError(f"{name}={value!r}: accepted are {', '.join(map(str, option.choices))}")
