"""Architectures as JSON text. This module does not import TensorFlow."""

import dataclasses
import json
import math
import pathlib
from typing import Any

from larq_nas.space.checks import ArchitectureError, require, show
from larq_nas.space.parts import Cell, Edge, Node, Stage

SCHEMA = 2
MAX_JSON_BYTES, MAX_LEVELS = 1 << 20, 32


def to_json(architecture: Any) -> str:
    """Returns an architecture as JSON text, which `from_json` reads."""
    fields = dataclasses.asdict(architecture)
    fields["cells"] = {cell["name"]: {"nodes": cell["nodes"]} for cell in fields["cells"]}
    if architecture.provenance is None:
        del fields["provenance"]
    del fields["options"]
    options = {"options": dict(architecture.options)} if architecture.options else {}
    for stage in fields["stages"]:
        if stage["groups"] == 1:
            del stage["groups"]
    return json.dumps({"schema": SCHEMA, "template": architecture.template, **options, **fields}, indent=2) + "\n"


def from_json(text: str) -> dict:
    """Reads the fields of an architecture from JSON text, see `Architecture.from_json`.

    # Returns
        The arguments of `Architecture`, by name.

    # Raises
        ArchitectureError: If the text is no architecture. The message names the place.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ArchitectureError(f"the text has {len(text):,} characters; at most {MAX_JSON_BYTES:,}")
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse, parse_float=_finite)
        _check_depth(value)
    except ArchitectureError:
        raise
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"not readable as JSON: {error}") from None
    return _architecture(value)


def read(path: pathlib.Path | str) -> str:
    """Returns the text of a JSON file.

    # Raises
        ArchitectureError: If the file cannot be read, or if it is larger than 1 MiB.
    """
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ArchitectureError("not a file")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ArchitectureError(f"larger than {MAX_JSON_BYTES:,} bytes, which no genotype is")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ArchitectureError(str(error.strerror)) from None
    except UnicodeDecodeError:
        raise ArchitectureError("not a text file") from None


# Schema 1 had separate templates instead of options.
_TEMPLATES_OF_SCHEMA_1 = {
    "bars_no_shortcut": ("bars", {"cell_shortcut": False}),
    "bats_float_preprocess": ("bats", {"preprocess": "float"}),
    "bats_real": ("bats", {"binarize": False}),
}


def _unique_keys(pairs):
    value = {}
    for key, item in pairs:
        require(key not in value, "JSON", f"key {show(key)} stands twice in one object")
        value[key] = item
    return value


def _refuse(name):
    raise ArchitectureError(f"JSON: {name[:20]} is not a number that an architecture may hold")


def _finite(text):
    return float(text) if math.isfinite(float(text)) else _refuse(text)


def _check_depth(value, levels=MAX_LEVELS):
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if parts and not levels:
        raise ArchitectureError(f"JSON: is nested deeper than {MAX_LEVELS} levels")
    for part in parts:
        _check_depth(part, levels - 1)


def _fields(value, where: str, required, optional=()):
    place = where or "JSON"
    require(isinstance(value, dict), place, f"{show(value)} is not an object")
    for key in value:
        known = key in required or key in optional
        require(known, place, f"unknown key {show(key)}; accepted: {', '.join([*required, *optional])}")
    for key in required:
        require(key in value, place, f"key '{key}' is missing")
    return value


def _list(value, where: str) -> list:
    require(isinstance(value, list), where, f"{show(value)} is not a list")
    return value


def _architecture(value) -> dict:
    fields = _fields(value, "", ("schema", "template", "cells", "stages"), ("options", "provenance"))
    schema, template, options = fields["schema"], fields["template"], fields.get("options", {})
    known = type(schema) is int and 1 <= schema <= SCHEMA
    require(known, "schema", f"{show(schema)} is unknown; this version reads 1 and {SCHEMA}")
    require(isinstance(options, dict), "options", f"{show(options)} is not an object")
    if schema == 1:
        require("options" not in fields, "options", f"schema 1 has none; write schema {SCHEMA}")
        if isinstance(template, str):
            template, options = _TEMPLATES_OF_SCHEMA_1.get(template, (template, {}))
    require(isinstance(fields["cells"], dict), "cells", f"{show(fields['cells'])} is not an object")
    cells = tuple(_cell(name, cell, f"cells.{show(name)[1:-1]}") for name, cell in fields["cells"].items())
    stages = []
    for index, stage in enumerate(_list(fields["stages"], "stages")):
        where = f"stages[{index}]"
        stage = _fields(stage, where, ("cell", "widths", "depths"), ("reduction", "groups"))
        candidates = {key: tuple(_list(stage[key], f"{where}.{key}")) for key in ("widths", "depths")}
        stages.append(Stage(**{**stage, **candidates}))
    return {
        "template": template,
        "cells": cells,
        "stages": tuple(stages),
        "options": options,
        "provenance": fields.get("provenance"),
    }


def _cell(name: str, value, where: str) -> Cell:
    nodes = []
    for index, node in enumerate(_list(_fields(value, where, ("nodes",))["nodes"], f"{where}.nodes")):
        place = f"{where}.nodes[{index}]"
        node = _fields(node, place, ("edges", "keep"))
        edges = []
        for number, edge in enumerate(_list(node["edges"], f"{place}.edges")):
            spot = f"{place}.edges[{number}]"
            edge = _fields(edge, spot, ("source", "operations"))
            edges.append(Edge(edge["source"], tuple(_list(edge["operations"], f"{spot}.operations"))))
        nodes.append(Node(tuple(edges), node["keep"]))
    return Cell(name, tuple(nodes))
