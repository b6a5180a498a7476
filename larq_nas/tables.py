"""Text tables and summaries."""

from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[Sequence]) -> str:
    """Formats rows as a text table with aligned columns.

    # Arguments
        rows: A header of strings, then one or more rows of strings, integers and floats. The types of the first row
            after the header decide how columns are aligned.

    # Returns
        The table. Lines are separated by newlines.
    """
    forms = {int: "{:,}", float: "{:,.2f}", str: "{}"}
    texts = [[forms[type(cell)].format(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(rows[0]))]
    right = [type(cell) is not str for cell in rows[1]]
    lines = []
    for row in texts:
        cells = (f"{cell:>{w}}" if r else f"{cell:<{w}}" for cell, w, r in zip(row, widths, right, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def costs(counts: Any) -> str:
    """Formats the costs of a network as two lines of text.

    # Arguments
        counts: A `costs.Costs`.

    # Returns
        The two lines.
    """
    return (
        f"{counts.params:,} parameters, {counts.bytes:,} bytes, {counts.binary_macs:,} binary and "
        f"{counts.float_macs:,} float multiply-accumulates\n"
        f"{counts.biops / 1e6:,.1f} M BiOps, {counts.flops / 1e6:,.1f} M FLOPs (two for each multiply-accumulate), "
        f"{counts.equivalent_ops / 1e6:,.1f} M equivalent operations (FLOPs + BiOps / 32)"
    )
