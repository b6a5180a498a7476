"""Charts, as `.png` files."""

import logging
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from larq_nas import runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)


def write(path: pathlib.Path | str, draw: "Callable[[Axes], None]", size: tuple[float, float]) -> None:
    """Draws a chart and logs its path. Without matplotlib, there is no chart, and the log says how to install it.

    # Arguments
        path: Path of the `.png` file to write.
        draw: A function of a matplotlib `Axes`, which draws the chart.
        size: Width and height of the chart in inches.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("pip install matplotlib gives a chart, too")
        return
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.add_subplot())
    with runs.atomic(path) as temporary:
        figure.savefig(temporary)
    logger.info(path)


def scatter(axes: "Axes", points: dict, x_label: str, y_label: str, title: str = "") -> None:
    """Draws named points.

    # Arguments
        axes: A matplotlib `Axes`.
        points: By the name of a point, its two coordinates, and the length of its vertical error bar or `None` for no
            bar.
        x_label, y_label: The labels of the axes.
        title: The title.
    """
    for name, (x, y, error) in points.items():
        axes.errorbar(x, y, yerr=error, fmt="o", capsize=3)
        axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points")
    axes.margins(x=0.15)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
