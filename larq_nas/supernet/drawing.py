"""Genotypes of a space that are drawn evenly, within the limits of a search."""

from typing import TYPE_CHECKING

import numpy as np

from larq_nas import runs
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes

if TYPE_CHECKING:
    from larq_nas.supernet.strategy import Strategy

# Number of attempts. Each attempt draws as many genotypes as are asked for.
ATTEMPTS = 50


def candidates(strategy: "Strategy", space: Architecture, count: int, seed: int) -> list:
    """Draws different candidates with a strategy for which all candidates of each choice are equally probable.

    # Arguments
        strategy: The `strategy.Strategy` that derives the genotypes.
        space: The space.
        count: Number of candidates.
        seed: The seed of the random generator.

    # Returns
        A list of `count` candidates with different genotypes, all within the limits of the strategy.

    # Raises
        RunError: If too few of the genotypes are within the limits of the search.
    """
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    found = {}
    for attempt in range(ATTEMPTS):
        # The first candidate of some strategies is the most probable genotype, which is not a random one.
        drawn = strategy.candidates(space, even, seed * ATTEMPTS + attempt, count + 1)[1:]
        found.update({candidate.genotype: candidate for candidate in drawn if candidate.fits})
        if len(found) >= count:
            return list(found.values())[:count]
    raise runs.RunError(
        f"{count} random genotypes were asked for, but only {len(found)} different ones within the limits of the "
        f"search were found in {ATTEMPTS} attempts; ask for fewer, or set looser limits"
    )
