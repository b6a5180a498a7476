"""Pictures of a search: its metrics and the probabilities of its choices, epoch by epoch."""

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from larq_nas import runs
from larq_nas.plots.drawings import color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Title of a chart -> how the names of its metrics begin.
_CHARTS = {
    "loss": ("loss", "val_loss"),
    "accuracy": ("accuracy", "val_accuracy"),
    "entropy of the choices (nats)": ("entropy",),
    "temperature": ("temperature",),
    "scale of the distributions of the widths": ("scale",),
    "costs": ("expected_biops", "budget"),
    "latency (ms)": ("expected_ms",),
    "megabytes": ("megabytes",),
}
_WIDTH, _HEIGHT = 4.5, 2.5
# Inches of a row of a heat map, and of what surrounds it.
_ROW, _AROUND = 0.21, 1.3
# Seconds for which an animation shows an epoch, and the last one.
_EPOCH, _LAST = 0.25, 3.0


def read(run: runs.Run) -> tuple[list, list]:
    """Reads what a search has written after each epoch.

    # Arguments
        run: The run directory of a search.

    # Returns
        The rows of `metrics.csv`, and a list with the choices of each epoch, see `callbacks.Probabilities`. The list is
        empty if the method has no probabilities.

    # Raises
        RunError: If a file is broken.
    """
    epochs = []
    for path in sorted(run.probabilities.glob("epoch-*.json")):
        choices = runs.read_json(path)
        with runs.expected_form(path):
            for choice in choices.values():
                shape: tuple[int, ...] = (len(choice["candidates"]),)
                if "edges" in choice:
                    shape = (len(choice["edges"]), *shape)
                if np.shape(np.asarray(choice["probabilities"], float)) != shape:
                    raise ValueError
        epochs.append(choices)
    return run.rows(), epochs


def search(rows: Sequence[dict], epochs: Sequence[dict]) -> "Figure":
    """Draws a search: curves of its metrics, then the probabilities of its choices.

    The probabilities of the operations of a cell have two charts. The left one shows their mean over the edges of the
    cell in each epoch, the right one those of each edge after the last epoch. The probabilities of widths and depths,
    and the widths of a search by DMS, have a column for each epoch.

    # Arguments
        rows: The metrics of each epoch: dicts from names to numbers.
        epochs: The choices of each epoch. Both are as `read` returns them.

    # Returns
        A matplotlib `Figure`.

    # Raises
        ValueError: If there is nothing to draw.
        ImportError: If matplotlib is not installed.
    """
    return _figure(list(_curves(rows)), [*_ratios(rows), *_of_stages(epochs)], list(_of_cells(epochs)))


def animation(epochs: Sequence[dict], path: pathlib.Path | str) -> None:
    """Writes an animated `.gif` file: the probabilities of the operations on each edge, epoch by epoch.

    # Arguments
        epochs: The choices of each epoch, as `read` returns them.
        path: Path of the file.

    # Raises
        ValueError: If no operations were searched.
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    pictures = []
    for number, choices in enumerate(epochs):
        cells = {name: choice for name, choice in choices.items() if "edges" in choice}
        figure = _figure([(_height(choice), _edges(name, choice)) for name, choice in cells.items()])
        figure.suptitle(f"epoch {number + 1} of {len(epochs)}", fontsize=10)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(picture.quantize())
    if not pictures:
        raise ValueError("no operations were searched")
    durations = [int(1000 * _EPOCH)] * (len(pictures) - 1) + [int(1000 * _LAST)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


# The height of a chart in inches, and a function that draws it.
_Part = tuple[float, Callable[["Axes"], Any]]


def _figure(*groups: Sequence[_Part]) -> "Figure":
    """Draws groups of charts in two columns. Each group begins in a row of its own."""
    from matplotlib.figure import Figure

    pairs = [group[index : index + 2] for group in groups for index in range(0, len(group), 2)]
    if not pairs:
        raise ValueError("there are no metrics of a search to draw")
    heights = [max(height for height, _ in pair) for pair in pairs]
    columns = max(map(len, pairs))
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), layout="constrained")
    grid = figure.subplots(len(pairs), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, pair in zip(grid, pairs, strict=True):
        for one, (_, draw) in zip(axes, pair, strict=False):
            draw(one)
        for one in axes[len(pair) :]:
            one.axis("off")
    return figure


def _curves(rows):
    """Curves of the metrics of a search."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if "/" not in name]
    for title, beginnings in _CHARTS.items():
        shown = [name for name in names if name.startswith(beginnings)]
        if any(np.isfinite(row.get(name, np.nan)) for row in rows for name in shown):
            yield _HEIGHT, _curve(title, shown, rows)


def _curve(title, names, rows):
    def draw(axes):
        for name in names:
            values = [row.get(name, np.nan) for row in rows]
            axes.plot([row["epoch"] + 1 for row in rows], values, marker=".", markersize=4, label=name)
        axes.legend(fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        _style(axes, title)

    return draw


def _ratios(rows):
    """The widths of a search by DMS, as shares of those of the base network, by round."""
    names = [name for name in (rows[-1] if rows else {}) if name.startswith("ratio/")]
    if names:
        values = np.array([[row.get(name, np.nan) for row in rows] for name in names])
        labels = [name.removeprefix("ratio/") for name in names]
        draw = _map("width of each layer, as a share of the base network", labels, values, "round", most=None)
        yield _ROW * len(names) + _AROUND, draw


def _of_stages(epochs):
    """The probabilities of the widths and of the depths of all stages, by epoch."""
    for kind in ("width", "depth"):
        names = [name for name in (epochs[-1] if epochs else {}) if name.endswith(f"_{kind}")]
        if not names:
            continue
        labels = [
            f"{name.partition('_')[0]}: {candidate}" for name in names for candidate in epochs[-1][name]["candidates"]
        ]
        columns = [[value for name in names for value in choices[name]["probabilities"]] for choices in epochs]
        yield _ROW * len(labels) + _AROUND, _map(f"probability of each {kind}", labels, np.transpose(columns))


def _of_cells(epochs):
    """The probabilities of the operations of each cell: their means by epoch, and those of the last epoch by edge."""
    for name, choice in (epochs[-1] if epochs else {}).items():
        if "edges" in choice:
            means = [np.mean(choices[name]["probabilities"], axis=0) for choices in epochs]
            yield _height(choice), _shares(name, choice["candidates"], np.transpose(means))
            yield _height(choice), _edges(name, choice)


def _height(choice):
    return max(_HEIGHT, _ROW * len(choice["edges"]) + _AROUND)


def _shares(cell, candidates, means):
    """Areas: the mean probability of each operation over the edges of a cell."""
    # Operations of one kind have one colour. Hatches tell them apart.
    colors = [color_of((name,)) for name in candidates]
    hatches = [("", "////", "xxxx", "....")[colors[:index].count(each) % 4] for index, each in enumerate(colors)]

    def draw(axes):
        x = np.arange(1, means.shape[1] + 1)
        if len(x) == 1:
            x, values = np.array([0.5, 1.5]), np.repeat(means, 2, axis=1)
        else:
            values = means
        below = np.zeros(len(x))
        for name, share, each, hatch in zip(candidates, values, colors, hatches, strict=True):
            style = {"facecolor": each, "hatch": hatch, "edgecolor": "#FFFFFF", "linewidth": 0.4}
            axes.fill_between(x, below, below + share, label=name.replace("_", " "), **style)
            below = below + share
        axes.set_ylim(0, 1)
        axes.set_xlim(x[0], x[-1])
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
        axes.tick_params(axis="y", labelsize=7)
        _style(axes, f"{cell} cell: mean probabilities")

    return draw


def _edges(cell, choice):
    """A heat map of the operations on each edge."""
    labels = [f"node {node} reads {_state(choice, source)}" for node, source in choice["edges"]]
    columns = [name.replace("_", " ") for name in choice["candidates"]]
    values = np.asarray(choice["probabilities"], float)

    def draw(axes):
        _map(f"{cell} cell: each edge", labels, values, "")(axes)
        ticks = range(1, len(columns) + 1)
        axes.set_xticks(ticks, columns, rotation=35, ha="right", rotation_mode="anchor", fontsize=6)
        for row, best in enumerate(values.argmax(axis=1)):
            bright = values[row, best] < 0.5
            style = {"color": "#FFFFFF" if bright else "#000000", "fontsize": 5.5, "ha": "center", "va": "center"}
            axes.text(best + 1, row, f"{values[row, best]:.2f}", **style)

    return draw


def _state(choice, source):
    # A node reads all states before it. So the number of inputs follows from the first node.
    inputs = sum(node == 0 for node, _ in choice["edges"])
    return f"input {source}" if source < inputs else f"node {source - inputs}"


def _map(title, labels, values, x_label="epoch", most: float | None = 1.0):
    """A heat map of rows with labels and of columns from 1 on. By default, its colours are for values from 0 to 1."""

    def draw(axes):
        rows, columns = values.shape
        extent = (0.5, columns + 0.5, rows - 0.5, -0.5)
        options = {"aspect": "auto", "cmap": "viridis", "interpolation": "nearest", "extent": extent}
        image = axes.imshow(values, vmin=0, vmax=most, **options)
        axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02).ax.tick_params(labelsize=6)
        axes.set_yticks(range(len(labels)), labels, fontsize=6)
        _style(axes, title, x_label)

    return draw


def _style(axes, title, x_label="epoch"):
    axes.set_title(title, fontsize=8.5, loc="left")
    axes.set_xlabel(x_label, fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.locator_params(axis="x", integer=True)
