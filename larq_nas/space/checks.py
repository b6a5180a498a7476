"""The checks of architectures. This module does not import TensorFlow."""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from larq_nas.space.parts import Cell, Edge, Node, Stage

if TYPE_CHECKING:
    from larq_nas.space.registry import Template

MAX_WIDTH, MAX_CELLS, MAX_NODES = 65_536, 1_000, 64


class ArchitectureError(ValueError):
    """An architecture is not valid; the message names the invalid field and the accepted values."""


def require(condition: bool, where: str, problem: str) -> None:
    """Raises an `ArchitectureError` unless the condition holds. The message starts with the field `where`."""
    if not condition:
        raise ArchitectureError(f"{where}: {problem}")


def show(value: object) -> str:
    """The beginning of the `repr` of a value."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # More than 4,300 digits, or too deep to print.
        return "a huge value"
    return text if len(text) <= 60 else text[:57] + "..."


def _check_integer(value, where: str, low: int, high: int):
    require(type(value) is int, where, f"{show(value)} is not an integer")
    require(low <= value <= high, where, f"{show(value)} is not between {low} and {high}")


def _check_candidates(values, where: str, low: int, high: int):
    require(isinstance(values, tuple), where, f"{show(values)} is not a list of integers")
    require(len(values) > 0, where, "has no candidates")
    for index, value in enumerate(values):
        _check_integer(value, f"{where}[{index}]", low, high)
    require(len(set(values)) == len(values), where, "lists a candidate twice")


def check_name(value: object, where: str, accepted: Collection[str]) -> None:
    """Raises an `ArchitectureError` unless a value is one of the accepted names."""
    known = isinstance(value, str) and value in accepted
    require(known, where, f"{show(value)} is unknown; accepted: {', '.join(accepted) or 'none'}")


def changed_options(options: Any, template: "Template") -> tuple:
    """Returns pairs of name and value for the options that differ from their defaults, sorted by name.

    # Raises
        ArchitectureError: If an option is unknown, or if its value is not accepted.
    """
    try:
        options = dict(options)
    except (TypeError, ValueError):
        raise ArchitectureError(f"options: {show(options)} is not a mapping of names to values") from None
    known = {option.name: option for option in template.options}
    for name, value in options.items():
        check_name(name, f"options of template {template.name}", known)
        # 1 equals True.
        accepted = any(type(value) is type(other) and value == other for other in known[name].values)
        values = ", ".join(map(repr, known[name].values))
        require(accepted, f"options.{name}", f"{show(value)} is unknown; accepted: {values}")
    return tuple(sorted((name, value) for name, value in options.items() if value != known[name].default))


def validate(architecture: Any) -> None:
    """Raises an `ArchitectureError` if a field of an architecture is not valid."""
    template = architecture.kind
    chain = template.widths
    for field, kind in (("cells", Cell), ("stages", Stage)):
        values = getattr(architecture, field)
        is_tuple = isinstance(values, tuple) and all(isinstance(value, kind) for value in values)
        require(is_tuple, field, f"is not a tuple of {kind.__name__}")
        if chain and field == "cells":
            require(not values, field, f"{architecture.template} has none")
            continue
        require(0 < len(values) <= MAX_CELLS, field, f"has {len(values)} entries, not 1 to {MAX_CELLS}")
    for cell in architecture.cells:
        valid = isinstance(cell.name, str) and re.fullmatch("[a-z][a-z0-9_]{0,31}", cell.name)
        require(bool(valid), "cells", f"{show(cell.name)} is not a name of up to 32 characters a-z, 0-9, _")
        _check_cell(cell, f"cells.{cell.name}", template.inputs, template.operations)
    names = chain or [cell.name for cell in architecture.cells]
    require(len(set(names)) == len(names), "cells", "lists a name twice")
    if architecture.provenance is not None:
        require(isinstance(architecture.provenance, dict), "provenance", "is not an object")
    used, total = set(), 0
    for index, stage in enumerate(architecture.stages):
        where = f"stages[{index}]"
        check_name(stage.cell, f"{where}.cell", names)
        if stage.reduction is not None:
            check_name(stage.reduction, f"{where}.reduction", names)
        _check_candidates(stage.widths, f"{where}.widths", 1, MAX_WIDTH)
        _check_candidates(stage.depths, f"{where}.depths", 0, MAX_CELLS)
        _check_groups(stage, f"{where}.groups", template)
        used |= {stage.cell, stage.reduction}
        total += max(stage.depths) + (stage.reduction is not None)
    if chain:
        _check_chain(architecture, chain)
    for name in names:
        require(name in used, f"cells.{name}", "no stage uses it")
    require(total <= MAX_CELLS, "stages", f"hold {total} cells; at most {MAX_CELLS}")


def _check_groups(stage, where, template):
    _check_integer(stage.groups, where, 1, MAX_WIDTH)
    require(stage.groups == 1 or template.grouped, where, f"must be 1 in {template.name}")
    for width in stage.widths:
        require(width % stage.groups == 0, where, f"{stage.groups} do not divide the width {width}")


def _check_chain(architecture, names):
    found = tuple(stage.cell for stage in architecture.stages)
    require(found == names, "stages", f"the cells must be {', '.join(names)}, in this order")
    for index, stage in enumerate(architecture.stages):
        require(stage.depths == (1,), f"stages[{index}].depths", "must be 1")
        require(stage.reduction is None, f"stages[{index}].reduction", f"{architecture.template} has none")


def _check_cell(cell: Cell, where: str, inputs: int, operations):
    require(isinstance(cell.nodes, tuple), f"{where}.nodes", "is not a tuple of Node")
    require(0 < len(cell.nodes) <= MAX_NODES, f"{where}.nodes", f"has {len(cell.nodes)} nodes, not 1 to {MAX_NODES}")
    for index, node in enumerate(cell.nodes):
        place = f"{where}.nodes[{index}]"
        require(isinstance(node, Node), place, "is not a Node")
        require(isinstance(node.edges, tuple), f"{place}.edges", "is not a tuple of Edge")
        require(
            0 < len(node.edges) <= 2 * MAX_NODES,
            f"{place}.edges",
            f"has {len(node.edges)} edges, not 1 to {2 * MAX_NODES}",
        )
        for number, edge in enumerate(node.edges):
            _check_edge(edge, f"{place}.edges[{number}]", index + inputs, operations)
        _check_integer(node.keep, f"{place}.keep", 1, len(node.edges))


def _check_edge(edge: Edge, where: str, state: int, operations):
    require(isinstance(edge, Edge), where, "is not an Edge")
    require(type(edge.source) is int, f"{where}.source", f"{show(edge.source)} is not an integer")
    require(0 <= edge.source < state, f"{where}.source", f"{show(edge.source)} is not an earlier state")
    place = f"{where}.operations"
    require(isinstance(edge.operations, tuple), place, f"{show(edge.operations)} is not a list of names")
    require(len(edge.operations) > 0, place, "has no candidates")
    for number, operation in enumerate(edge.operations):
        check_name(operation, f"{place}[{number}]", operations)
    require(len(set(edge.operations)) == len(edge.operations), place, "lists a candidate twice")
