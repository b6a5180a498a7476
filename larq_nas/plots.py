"""Charts, as `.png` files."""

import logging

from larq_nas import runs

logger = logging.getLogger(__name__)


def write(path, draw, size):
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


def costs_and_accuracies(axes, points: dict, cost: str, accuracy: str, title=""):
    """Draws the accuracies of networks against a cost.

    # Arguments
        axes: A matplotlib `Axes`.
        points: By the name of a network, its cost, its accuracy in percent, and the length of its error bar in percent
            or `None` for no bar.
        cost: The label of the horizontal axis.
        accuracy: The label of the vertical axis.
        title: The title.
    """
    for name, (x, y, error) in points.items():
        axes.errorbar(x, y, yerr=error, fmt="o", capsize=3)
        axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points")
    axes.margins(x=0.15)
    axes.set_xlabel(cost)
    axes.set_ylabel(accuracy)
    axes.set_title(title)
