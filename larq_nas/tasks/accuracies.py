"""Statistics of the test accuracies of networks that were trained several times: as a dictionary, a table and a chart.

```python
from larq_nas.tasks import accuracies

accuracies.summarize([0.5, 0.6, 0.7])["deviation"]  # 0.1
accuracies.p_value([0.5, 0.6, 0.7], [0.8, 0.9, 1.0])  # 0.021
```
"""

import csv
import io
import itertools
import math
import statistics
from typing import TYPE_CHECKING

from larq_nas import plots, tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = {
    "params": "parameters",
    "bytes": "bytes",
    "binary_macs": "binary MACs",
    "float_macs": "float MACs",
}
CONFIDENCE = 0.95


def summarize(values: list) -> dict:
    """Summarizes the accuracies of the trainings of one network.

    # Arguments
        values: The test accuracy of each training.

    # Returns
        A dictionary with the number of `trainings`, the `mean`, the standard `deviation` of a single training, and the
        `interval` in which the mean of many trainings lies with a confidence of 95 % by Student's t-distribution. With
        one training, `deviation` and `interval` are `None`.
    """
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return {"trainings": count, "mean": mean, "deviation": None, "interval": None}
    from scipy import stats

    deviation = statistics.stdev(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return {"trainings": count, "mean": mean, "deviation": deviation, "interval": [mean - half, mean + half]}


def p_value(first: list, second: list) -> float | None:
    """The p-value of Welch's t-test that two networks have the same mean accuracy.

    # Arguments
        first, second: The test accuracies of the trainings of each network.

    # Returns
        The probability of a difference of at least the measured size between networks of the same mean. It is `None`
        if a network was trained only once, or if neither network has any deviation.
    """
    if min(len(first), len(second)) < 2:
        return None
    described = [(statistics.fmean(values), statistics.stdev(values), len(values)) for values in (first, second)]
    if not any(deviation for _, deviation, _ in described):
        return None
    from scipy import stats

    return float(stats.ttest_ind_from_stats(*described[0], *described[1], equal_var=False).pvalue)


def pairs(networks: dict) -> list:
    """Compares each pair of networks.

    # Arguments
        networks: A dictionary of names to dictionaries with the `accuracies` and their `mean`.

    # Returns
        A list of dictionaries with the names `first` and `second`, the `difference`, which is the mean of the first
        minus the mean of the second, and the `p_value`.
    """
    return [
        {
            "first": first,
            "second": second,
            "difference": networks[first]["mean"] - networks[second]["mean"],
            "p_value": p_value(networks[first]["accuracies"], networks[second]["accuracies"]),
        }
        for first, second in itertools.combinations(networks, 2)
    ]


def table(comparison: dict) -> str:
    """Formats a comparison as text tables.

    # Arguments
        comparison: The dictionary that `tasks.compare` returns.

    # Returns
        A table of the networks. If there are several networks, a table of the pairs follows.
    """
    rows = [("network", "trainings", "accuracy (%)", "deviation", "95 % interval", *COSTS.values())]
    for name, row in comparison["networks"].items():
        interval = "-" if row["interval"] is None else " to ".join(f"{100 * end:.2f}" for end in row["interval"])
        deviation = "-" if row["deviation"] is None else 100 * row["deviation"]
        rows.append((name, row["trainings"], 100 * row["mean"], deviation, interval, *(row[cost] for cost in COSTS)))
    text = tables.table(rows)
    if not comparison["pairs"]:
        return text
    rows = [("pair", "difference (%)", "p-value (Welch)")]
    for pair in comparison["pairs"]:
        p = "-" if pair["p_value"] is None else f"{pair['p_value']:.3g}"
        rows.append((f"{pair['first']} - {pair['second']}", 100 * pair["difference"], p))
    return f"{text}\n\n{tables.table(rows)}"


def to_csv(comparison: dict) -> str:
    """Formats a comparison as CSV.

    # Arguments
        comparison: The dictionary that `tasks.compare` returns.

    # Returns
        The text, with a row for each network. A value that does not exist is empty.
    """
    names, text = list(comparison["networks"]), io.StringIO()
    tested = {(pair["first"], pair["second"]): pair["p_value"] for pair in comparison["pairs"]}
    rows = []
    for name, network in comparison["networks"].items():
        low, high = network["interval"] or (None, None)
        row = {"network": name, **{key: network[key] for key in ("trainings", "mean", "deviation")}}
        row |= {"interval_low": low, "interval_high": high, **{cost: network[cost] for cost in COSTS}}
        row |= {
            f"accuracy_seed{seed}": value
            for seed, value in zip(comparison["seeds"], network["accuracies"], strict=True)
        }
        row |= {f"p_value_{other}": tested.get((name, other), tested.get((other, name))) for other in names}
        rows.append(row)
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(axes: "Axes", comparison: dict) -> None:
    """Draws a chart of the mean accuracies and their intervals against the binary multiply-accumulates.

    # Arguments
        axes: A matplotlib `Axes`.
        comparison: The dictionary that `tasks.compare` returns.
    """
    points = {}
    for name, row in comparison["networks"].items():
        error = None if row["interval"] is None else 100 * (row["interval"][1] - row["mean"])
        points[name] = row["binary_macs"] / 1e6, 100 * row["mean"], error
    title = f"{comparison['dataset']}, trainings of each network: {len(comparison['seeds'])}"
    labels = "binary multiply-accumulates in millions", "mean test accuracy in % (line: 95 % interval)"
    plots.scatter(axes, points, *labels, title)
