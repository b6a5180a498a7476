"""Selection by several objectives, as in NSGA-II. All objectives are minimized.

# References
    - [A fast and elitist multiobjective genetic algorithm: NSGA-II](https://doi.org/10.1109/4235.996017), sections
      III-A and III-B
"""

import numpy as np
from numpy.typing import ArrayLike


def fronts(objectives: ArrayLike) -> np.ndarray:
    """Sorts points into fronts. The points of a front are dominated only by points of earlier fronts.

    # Arguments
        objectives: An array of shape `(points, objectives)`.

    # Returns
        The number of the front of each point. 0 is the Pareto front.
    """
    points = np.asarray(objectives, float)
    before, after = points[:, np.newaxis], points[np.newaxis]
    dominates = np.all(before <= after, axis=-1) & np.any(before < after, axis=-1)
    found, number = np.full(len(points), -1), 0
    while np.any(found < 0):
        left = found < 0
        found[left & ~np.any(dominates[left], axis=0)] = number
        number += 1
    return found


def crowding(objectives: ArrayLike) -> np.ndarray:
    """Returns the crowding distances of the points of one front, which are infinite at both ends of each objective.

    # Arguments
        objectives: An array of shape `(points, objectives)`.

    # Returns
        An array of shape `(points,)`.
    """
    points = np.asarray(objectives, float)
    distances = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        extent = values[order[-1]] - values[order[0]]
        distances[order[[0, -1]]] = np.inf
        if extent > 0:
            distances[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / extent
    return distances


def order(objectives: ArrayLike) -> np.ndarray:
    """Orders points from the best to the worst, by front and then by crowding distance.

    # Arguments
        objectives: An array of shape `(points, objectives)`.

    # Returns
        The indices of the points.
    """
    points = np.asarray(objectives, float)
    front, distances = fronts(points), np.zeros(len(points))
    for number in set(front.tolist()):
        members = front == number
        distances[members] = crowding(points[members])
    return np.lexsort((-distances, front))
