"""The templates of networks that architectures name: those of larq_nas, and those that users register.

```python
from larq_nas.networks import blocks
from larq_nas.space import registry


def network(v, architecture, images, choices):
    return blocks.float_block(v, images, architecture.stages[0].widths[0], 3, name="stem")


registry.register(registry.Template("one_layer", "own", network, widths=("stem",), halvings=(0, 0)))
registry.unregister("one_layer")
```

This module does not import TensorFlow.
"""

import collections
import dataclasses
import importlib
import re
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple

# Keyword arguments of a template's `network` that are no options.
_ARGUMENTS = ("normalize", "binary", "widths")


class Option(NamedTuple):
    """A property of networks that each architecture of a template sets.

    # Arguments
        name: Its name, e.g. `"binarize"`.
        values: The values that are accepted: strings, booleans or integers. The first is the default.
    """

    name: str
    values: tuple

    @property
    def default(self):
        """The value in architectures that set none."""
        return self.values[0]


@dataclasses.dataclass(frozen=True)
class Template:
    """A kind of networks.

    # Arguments
        name: Lower case, e.g. `"bnas"`.
        method: Name of the method that searches such networks. DMS takes those of `"bars"` and `"dms"` as backbones.
        network: A function of an interpreter of the layer verbs, an architecture, the images, and the choice weights by
            name; it returns the features that are classified. See `templates.features`. Each option is a keyword
            argument. The keyword arguments `normalize=True` and `binary=False` are passed where `normalize` and
            `full_precision` allow them.
        inputs: How many earlier outputs a cell reads; 0 in a template without cells.
        operations: Names of the operations that edges may have.
        shared_edges: How a supernet computes all edges that leave a state, a key of `building.SHARED_EDGES`; by default
            each operation of each edge by itself.
        widths: In a template without cells, the names of its widths, each of which is a stage's.
        grouped: Whether stages have a number of groups.
        options: The `Option`s of its architectures. An option `binarize` says whether a network has binary activations;
            the networks of a template without this option have.
        open_stages: Whether widths and depths of the stages may be searched. Then `network` builds all cells that there
            may be, at the largest width, and says by `v.stage(number)` which stage follows.
        check: A function of an architecture and whether images are large that raises `templates.NetworkError` if there
            is no such network; by default `templates.check_sizes` for templates with cells.
        halvings: How often the network halves its images, and how often more if they are large. By default each
            reduction halves them, and the stem of large images halves them three times more.
        full_precision: Whether its networks have a twin without binary layers, `networks.build(…, binary=False)`.
        normalize: Whether the features of its supernets can be normalized, `networks.build(…, normalize=True)`.

    # Raises
        ValueError: If the name is none, the template has neither or both of `inputs` and `widths`, or an option has no
            name or no values.
    """

    name: str
    method: str
    network: Callable
    inputs: int = 0
    operations: tuple[str, ...] = ()
    shared_edges: str = "one_by_one"
    widths: tuple[str, ...] = ()
    grouped: bool = False
    options: tuple[Option, ...] = ()
    open_stages: bool = False
    check: Callable | None = None
    halvings: tuple[int, int] | None = None
    full_precision: bool = False
    normalize: bool = False

    def __post_init__(self):
        check_name(self.name)
        for field in ("operations", "widths"):
            values = getattr(self, field)
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"template {self.name}: {field}={values!r} is not a list of names")
            object.__setattr__(self, field, tuple(values))
        options = tuple(Option(option.name, tuple(option.values)) for option in self.options)
        object.__setattr__(self, "options", options)
        for option in self.options:
            check_name(option.name)
            if option.name in _ARGUMENTS or not option.values:
                raise ValueError(
                    f"template {self.name}: option {option.name} with values={option.values!r}; an option has values, "
                    f"and another name than {', '.join(_ARGUMENTS)}"
                )
        if bool(self.inputs) == bool(self.widths):
            raise ValueError(
                f"template {self.name}: inputs={self.inputs}, widths={self.widths}; a template has cells that read "
                "inputs, or widths"
            )


def check_name(name):
    """Raises `ValueError` unless a name consists of lower-case letters, digits and underscores."""
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name: accepted are a-z, 0-9 and _, beginning with a letter")


# By name, the templates of larq_nas, which `templates` enters, and those of users.
BUILT_IN, _OWN = {}, {}
_ALL = types.MappingProxyType(collections.ChainMap(_OWN, BUILT_IN))


def register(template: Template) -> Template:
    """Makes a template known by its name, in place of an earlier one of your own.

    # Arguments
        template: The template.

    # Returns
        The template.

    # Raises
        ValueError: If a template of larq_nas has this name.
    """
    if template.name in templates() and template.name not in _OWN:
        raise ValueError(f"template {template.name} is one of larq_nas; choose another name")
    _OWN[template.name] = template
    return template


def unregister(name: str):
    """Forgets a template of your own."""
    del _OWN[name]


def templates() -> Mapping[str, Template]:
    """All templates by name."""
    # Not at the top, since `networks.templates` imports `space.architecture`, which imports this module.
    importlib.import_module("larq_nas.networks.templates")
    return _ALL
