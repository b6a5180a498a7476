"""Drawings of cells and networks.

A cell is drawn as lines and columns, which stay readable however many edges there are. Each state has a horizontal line
that begins where the state is computed. Each node has a column. Its operations hang on the lines of the states that
they read, and their outputs go down to the line of the node, where they are summed.
"""

import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from larq_nas.networks import counting, operations
from larq_nas.space.architecture import Architecture, ArchitectureError, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people with any kind of colour vision can tell apart (Okabe and Ito), by kind of operation.
_CONVOLUTION, _DILATED, _OWN = "#0072B2", "#56B4E9", "#CC79A7"
_COLORS = {"max_pool": "#E69F00", "avg_pool": "#F0E442", "shortcut": "#009E73", "skip": "#009E73", "none": "#DDDDDD"}
_LINE, _FAINT = "#333333", "#BBBBBB"
# Inches of the distance of two lines. In the same unit: the width and height of an operation, its distance from its
# line, and the space in a column before and behind it.
_ROW, _WIDTH, _HEIGHT, _BELOW, _BEFORE, _BEHIND = 0.62, 1.9, 0.5, 0.42, 0.35, 0.65
_STEP = _BEFORE + _WIDTH + _BEHIND


def draw(architecture: Architecture, input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10) -> "Figure":
    """Draws all cells of an architecture and, if it is a genotype, its network.

    # Arguments
        architecture: A genotype or a space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        A matplotlib `Figure`.

    # Raises
        ArchitectureError: If there is nothing to draw: a space without cells, whose widths are open.
        ImportError: If matplotlib is not installed.
        NetworkError: If the images are too small for the network.
    """
    from matplotlib.figure import Figure

    cells = [each for each in architecture.cells if each.edges]
    sizes = [*map(_size, cells), *[(9.0, 2.6)] * architecture.decided]
    if not sizes:
        raise ArchitectureError("a space of widths alone cannot be drawn; give a genotype")
    widths, heights = zip(*sizes, strict=True)
    figure = Figure(figsize=(max(widths), sum(heights)), layout="constrained")
    rows = figure.subplots(len(sizes), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, part in zip(rows, cells, strict=False):
        cell(axes, part)
    if architecture.decided:
        network(rows[-1], architecture, input_shape, num_classes)
    return figure


def save(figure: "Figure", path: pathlib.Path | str) -> None:
    """Writes a drawing to a file whose name says its format. The texts of an `.svg` file stay texts."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)


def _size(part):
    """Width and height of the drawing of a cell in inches."""
    return _ROW * (2.5 + _STEP * len(part.nodes)), _ROW * (0.9 + _inputs(part) + len(part.nodes))


def _inputs(part):
    """The number of inputs of a cell, as far as its edges tell."""
    # The node with index n may read all inputs and the n nodes before it.
    return max(1, *(edge.source - index + 1 for index, node in enumerate(part.nodes) for edge in node.edges))


def cell(axes: "Axes", part: Cell, title: str | None = None) -> None:
    """Draws a cell.

    # Arguments
        axes: A matplotlib `Axes`.
        part: The cell of a genotype or of a space. An edge of a space shows the number of its candidates.
        title: The title; the name of the cell by default.
    """
    inputs, states = _inputs(part), _inputs(part) + len(part.nodes)
    end = _STEP * len(part.nodes) + 0.2
    for state in range(states):
        readers = [index for index, node in enumerate(part.nodes) if state in {edge.source for edge in node.edges}]
        # All nodes are concatenated at the right end.
        last = end if state >= inputs else max((_STEP * index for index in readers), default=0)
        axes.plot([_start(state, inputs), last], [-state, -state], color=_LINE, linewidth=1.2, zorder=1)
        if state < inputs:
            axes.text(-0.5, -state, f"input {state}", ha="right", va="center", fontsize=8)
    for index, node in enumerate(part.nodes):
        _node(axes, node, index, inputs)
    top, bottom = -inputs + 0.3, -states + 0.7
    _box(axes, end, (top + bottom) / 2, 0.35, top - bottom, "#FFFFFF", "concat", rotation=90)
    axes.plot([end + 0.35, end + 0.75], [(top + bottom) / 2] * 2, color=_LINE, linewidth=1.2)
    axes.set(xlim=(-1.5, end + 0.8), ylim=(-states + 0.4, 0.5), aspect="equal")
    axes.set_title(f"{part.name} cell" if title is None else title, fontsize=10, loc="left")
    axes.axis("off")


def _start(state, inputs):
    """Where the line of a state begins."""
    return -0.4 if state < inputs else _STEP * (state - inputs + 1) - _BEHIND / 2


def _node(axes, node, index, inputs):
    """Draws the operations of a node, and the way of their outputs to the sum."""
    left, state = _STEP * index + _BEFORE, inputs + index
    middle = _start(state, inputs)
    # The faint lines come first, so that the others cover them.
    for edge in sorted(node.edges, key=lambda edge: edge.operations != ("none",)):
        style: dict[str, Any] = {"color": _LINE, "linewidth": 1.2, "zorder": 3}
        if edge.operations == ("none",):
            style |= {"color": _FAINT, "linewidth": 0.8, "linestyle": ":"}
        line, box = -edge.source, -edge.source - _BELOW
        # A gap in the line of another state shows that the lines do not meet.
        axes.plot([middle, middle], [box, -state], color="#FFFFFF", linewidth=5, zorder=2)
        axes.plot([left - _BEFORE, left - _BEFORE, left], [line, box, box], **style)
        axes.plot([left + _WIDTH, middle, middle], [box, box, -state], **style)
        axes.plot([left - _BEFORE], [line], "o", color=style["color"], markersize=3, zorder=3)
        _box(axes, left, box, _WIDTH, _HEIGHT, color_of(edge.operations), _label(edge.operations))
    circle = {"boxstyle": "circle,pad=0.15", "facecolor": "#FFFFFF", "edgecolor": _LINE, "linewidth": 1}
    axes.text(middle, -state, "+", ha="center", va="center", fontsize=9, zorder=6, bbox=circle)
    axes.text(middle - 0.3, -state, f"node {index}", ha="right", va="center", fontsize=8)


def color_of(candidates: Sequence[str]) -> str:
    """The colour of the kind of an operation; white if there are several candidates."""
    if len(candidates) > 1:
        return "#FFFFFF"
    operation = operations.get(candidates[0])
    if operation.kind in _COLORS:
        return _COLORS[operation.kind]
    if operation.kind == operations.OWN:
        return _OWN
    return _DILATED if operation.dilation_rate > 1 else _CONVOLUTION


def _label(candidates):
    if len(candidates) > 1:
        return f"{len(candidates)} candidates"
    return "\n".join(textwrap.wrap(candidates[0].replace("_", " "), 15))


def _box(axes, left, middle, width, height, color, label, rotation=0):
    from matplotlib.colors import to_rgb
    from matplotlib.patches import FancyBboxPatch

    red, green, blue = to_rgb(color)
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    faint = color == _COLORS["none"]
    patch = FancyBboxPatch(
        (left, middle - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor="#FAFAFA" if faint else color,
        edgecolor=_FAINT if faint else _LINE,
        linestyle=":" if faint else "-",
        linewidth=0.8,
        zorder=4,
    )
    axes.add_patch(patch)
    style = {"color": "#999999" if faint else "#FFFFFF" if dark else "#000000", "fontsize": 6.5, "rotation": rotation}
    axes.text(left + width / 2, middle, label, ha="center", va="center", zorder=5, **style)


def network(
    axes: "Axes", architecture: Architecture, input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10
) -> None:
    """Draws a network from its input to its output: a bar for each cell or layer, as high as its number of channels.

    # Arguments
        axes: A matplotlib `Axes`.
        architecture: A genotype.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Raises
        NetworkError: If the images are too small for the network.
    """
    bars: dict[str, tuple] = {}
    for row, _ in counting.rows(architecture, tuple(input_shape), num_classes):
        if row.block is not None:
            bars[row.name.partition("_")[0]] = (row.block.height, row.block.width, row.block.filters)
    before, halves = tuple(input_shape[:2]), _COLORS["max_pool"]
    for x, (name, (height, width, channels)) in enumerate(bars.items()):
        size = (height, width)
        # At the classifier, pixels are averaged first.
        smaller, dense = size != before, name == "classifier"
        color = "#FFFFFF" if dense else halves if smaller else _CONVOLUTION
        axes.bar(x, channels, 0.8, color=color, edgecolor=_LINE, linewidth=0.8)
        axes.text(x, channels, f"{channels}", ha="center", va="bottom", fontsize=6.5)
        if (smaller or x == 0) and not dense:
            axes.text(x - 0.4, 1.01, f"{height}x{width}", transform=axes.get_xaxis_transform(), fontsize=7)
            axes.axvline(x - 0.5, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0)
        before = before if dense else size
    axes.set_xticks(range(len(bars)), bars, rotation=60, ha="right", fontsize=7, rotation_mode="anchor")
    axes.set_xlim(-0.7, len(bars) - 0.3)
    axes.margins(y=0.15)
    axes.set_ylabel("channels", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("network (orange: the images become smaller)", fontsize=10, loc="left", pad=16)
