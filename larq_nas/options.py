"""Options of a task, declared once: the fields of a frozen dataclass, of which the command line makes its flags.

```python
import dataclasses

from larq_nas import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(options.Config):
    epochs: int = options.option(50, "passes over the training examples", least=1)
    optimizer: str = options.option("sgd", "what updates the weights", choices=("sgd", "adam"))


Config(epochs=3).optimizer  # "sgd"
```

A wrong value is an `OptionError`, whether it comes from Python or from the command line. This module does not import
TensorFlow.
"""

import dataclasses
import functools
import math
import os
import types
import typing
from collections.abc import Callable


class OptionError(ValueError):
    """A value that an option does not accept; the message says what is accepted."""


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of a field beside its name, type and default.

    # Arguments
        help: A sentence without a full stop, for `--help`.
        least, most: Bounds of a number.
        choices: The accepted values, or a function that returns them; any if empty.
        check: A function of a value that returns whether the value is accepted.
        accepted: What `check` accepts, as an advice to the user.
        is_path: Whether the value is a path, in which `~` stands for the home directory.
        is_genotype: Whether the value may be a genotype, the name of one of the zoo, or a path of one.
        in_epochs: Whether the value is a number of epochs, which stretches with the length of a run.
        identity: Whether the value makes a run what it is.
        profiled: Whether the value of a search method's option decides what its operations compute.
    """

    help: str
    least: float | None = None
    most: float | None = None
    choices: tuple | Callable = ()
    check: Callable | None = None
    accepted: str = ""
    is_path: bool = False
    in_epochs: bool = False
    is_genotype: bool = False
    identity: bool = True
    profiled: bool = False

    @property
    def accepted_choices(self) -> tuple:
        """The accepted values; any if empty."""
        return tuple(self.choices() if callable(self.choices) else self.choices)


def option(default=dataclasses.MISSING, help="", **details):
    """A field of a `Config`.

    # Arguments
        default: The default; without one, the option is required.
        help: A sentence without a full stop, for `--help`.
        details: See `Option`.
    """
    return dataclasses.field(default=default, metadata={"option": Option(help, **details)})


def changed_default(config: "type[Config]", name: str, default):
    """A field of a subclass with another default, and with the rest as in the class that declares it."""
    return dataclasses.field(default=default, metadata=config.__dataclass_fields__[name].metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The base class of configurations.

    # Raises
        OptionError: If a value is of a wrong type or not accepted.
    """

    # Under which `--help` lists the options that a class adds.
    heading: typing.ClassVar[str] = "options"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list | os.PathLike):
                value = tuple(value) if isinstance(value, list) else os.fspath(value)
                object.__setattr__(self, field.name, value)
            _check(field.name, value, field.metadata["option"], kind_of(type(self), field.name))

    def replace(self, **values):
        """The configuration with other values."""
        return dataclasses.replace(self, **values)

    def texts(self) -> dict:
        """What makes a run what it is: name to text, of all options that have a value."""
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["option"].identity and isinstance(value, str | int | float | tuple) and value != ():
                found[field.name] = str(_shown(value))
        return found


def options(config: "Config | type[Config]") -> dict:
    """The `Option` of each field of a configuration, or of a class of configurations, by name."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(config)}


def heading_of(config: type[Config], name: str) -> str:
    """The heading of the class that declares an option first."""
    classes = (cls for cls in reversed(config.__mro__) if issubclass(cls, Config))
    return next(cls for cls in classes if name in cls.__annotations__).heading


class Kind(typing.NamedTuple):
    """The type of an option.

    # Arguments
        type: `int`, `float`, `bool` or `str`: what a text on the command line becomes.
        accepted: The types that are accepted from Python.
        several: Whether there are several values.
        optional: Whether there may be no value.
    """

    type: type
    accepted: tuple
    several: bool
    optional: bool


@functools.cache
def kind_of(config: type, name: str) -> Kind:
    """The `Kind` of an option of a class of configurations."""
    hint = typing.get_type_hints(config)[name]
    hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    values = [hint for hint in hints if hint is not type(None)]
    several = typing.get_origin(values[0]) is tuple
    accepted = tuple(typing.get_args(values[0])[:1] if several else values)
    return Kind(accepted[0], accepted + (int,) * (float in accepted), several, len(values) < len(hints))


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


def _check_one(name, value, single, option, kind):
    # A boolean is an integer to Python.
    if not isinstance(single, kind.accepted) or isinstance(single, bool) != (kind.type is bool):
        raise OptionError(f"{name}={value!r}: accepted is a value of type {kind.type.__name__}")
    if isinstance(single, float) and math.isnan(single):
        raise OptionError(f"{name}={value!r}: is not a number")
    if option.least is not None and single < option.least:
        raise OptionError(f"{name}={value!r}: must be at least {option.least}")
    if option.most is not None and single > option.most:
        raise OptionError(f"{name}={value!r}: must be at most {option.most}")
    choices = option.accepted_choices
    if choices and single not in choices:
        raise OptionError(f"{name}={value!r}: accepted are {', '.join(choices)}")
