"""The registry of network templates: the templates of larq_nas and the templates that users register.

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
import functools
import importlib
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Keyword arguments of a template's `network` that are not options.
_ARGUMENTS = ("normalize", "binary", "widths")


class Option(NamedTuple):
    """An option of a template. Each architecture of the template has a value for the option.

    # Arguments
        name: Name of the option, e.g. `"binarize"`.
        values: Accepted values: strings, booleans or integers. The first value is the default.
    """

    name: str
    values: tuple

    @property
    def default(self) -> Any:
        """The value for architectures that do not set the option."""
        return self.values[0]


@dataclasses.dataclass(frozen=True)
class Template:
    """A family of networks, from which architectures choose one by name.

    # Arguments
        name: Name in lower case, e.g. `"bnas"`.
        method: Name of the method that searches networks of the template.
        network: A function that makes the network and returns the features that the classifier reads. Its arguments are
            an interpreter of the layer verbs, an architecture, the images, and a dictionary of choice weights by name;
            see `templates.features`. Each option is passed as a keyword argument. The keyword arguments
            `normalize=True` and `binary=False` are passed only if `normalize` and `full_precision` of the template are
            true. In a template with `widths`, the keyword argument `widths` may be passed, too: numbers of filters by
            the name of the width, which replace those of the architecture.
        inputs: Number of earlier outputs that a cell reads; 0 in a template without cells.
        operations: Names of the operations that edges may have.
        shared_edges: A function that computes all edges of a supernet that leave a state; see `Builder.shared_edges`
            for its arguments. By default, the supernet computes each operation of each edge separately.
        widths: Names of the widths in a template without cells. Each width belongs to one stage.
        grouped: Whether stages have a number of groups.
        options: The `Option`s of the template. The option `binarize` says whether a network has binary activations. If
            a template does not have this option, the activations of its networks are binary.
        open_stages: Whether the widths and depths of the stages may be searched. If so, `network` must build as many
            cells as the depths allow, at the largest width, and call `v.stage(number)` before the layers of each stage.
        check: A function of an architecture and of whether the images are large. It raises `templates.NetworkError` if
            the network cannot be built. The default for templates with cells is `templates.check_sizes`.
        halvings: A pair: how many times the network halves its images, and how many more times if the images are large.
            By default, each reduction halves the images once, and the stem of large images halves them three more
            times.
        round_widths: A function of the stages and of a number. It returns the widths of the stages, rounded to
            multiples of the number. By default, each width becomes the nearest multiple.
        auxiliary: A function of a network, its architecture and the number of classes. It returns a model with the
            layers of the network and a second classifier, which is only used in training. By default, there is none.
        full_precision: Whether the networks also exist without binary layers, as `networks.build(…, binary=False)`.
        normalize: Whether the features of the supernets can be normalized, as with `networks.build(…, normalize=True)`.

    # Raises
        ValueError: If a name is not valid, if the template has neither `inputs` nor `widths` or has both, if an
            option has no values, or if `shared_edges` is not a function.
    """

    name: str
    method: str
    network: Callable
    inputs: int = 0
    operations: tuple[str, ...] = ()
    shared_edges: Callable | None = None
    widths: tuple[str, ...] = ()
    grouped: bool = False
    options: tuple[Option, ...] = ()
    open_stages: bool = False
    check: Callable | None = None
    halvings: tuple[int, int] | None = None
    round_widths: Callable | None = None
    auxiliary: Callable | None = None
    full_precision: bool = False
    normalize: bool = False

    def __post_init__(self):
        check_name(self.name)
        for field in ("operations", "widths"):
            values = getattr(self, field)
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"template {self.name}: {field}={values!r} is not a list of names")
            object.__setattr__(self, field, tuple(values))
        if self.shared_edges is not None and not callable(self.shared_edges):
            raise ValueError(f"template {self.name}: shared_edges={self.shared_edges!r} is not a function")
        options = tuple(Option(option.name, tuple(option.values)) for option in self.options)
        object.__setattr__(self, "options", options)
        for option in self.options:
            check_name(option.name)
            if option.name in _ARGUMENTS or not option.values:
                raise ValueError(
                    f"template {self.name}: option {option.name} with values={option.values!r}; an option needs values "
                    f"and another name than {', '.join(_ARGUMENTS)}"
                )
        if bool(self.inputs) == bool(self.widths):
            raise ValueError(
                f"template {self.name}: inputs={self.inputs}, widths={self.widths}; set inputs if the template has "
                "cells, and widths if not"
            )


def check_name(name: str) -> None:
    """Raises a `ValueError` unless a name consists of a-z, 0-9 and `_` and begins with a letter."""
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is not a valid name: use a-z, 0-9 and _, beginning with a letter")


# The methods of larq_nas. Each has a package in `larq_nas.methods`, whose module `network` has `TEMPLATES`.
METHODS = ("bnas", "bars", "dms", "bats")
# The templates that users have registered, by name.
_OWN: dict[str, Template] = {}


def register(template: Template) -> Template:
    """Registers a template under its name.

    A template that you have registered under the same name before is replaced.

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


def unregister(name: str) -> None:
    """Removes a template that you have registered.

    # Arguments
        name: Name of the template.

    # Raises
        KeyError: If you have not registered a template with this name.
    """
    del _OWN[name]


@functools.cache
def templates() -> Mapping[str, Template]:
    """Returns all templates by name, as a read-only mapping."""
    # Imported here, because the networks import `space.architecture`, which imports this module.
    modules = [importlib.import_module(f"larq_nas.methods.{method}.network") for method in METHODS]
    built_in = {template.name: template for module in modules for template in module.TEMPLATES}
    return types.MappingProxyType(collections.ChainMap(_OWN, built_in))
