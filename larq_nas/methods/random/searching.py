"""The search of `methods.random`."""

import logging
from typing import Any

from larq_nas import datasets, runs
from larq_nas.space.architecture import Architecture
from larq_nas.supernet.strategy import Strategy
from larq_nas.training import finalists, results

logger = logging.getLogger(__name__)


def search(strategy: Strategy, space: Architecture, data: datasets.Images, run: runs.Run, config: Any) -> Architecture:
    """Draws genotypes evenly, trains them by successive halving, and writes `genotype.json`.

    # Arguments
        strategy: The strategy of the method whose space is searched. It draws the genotypes, so that all of them could
            have been derived and are within its limits.
        space: The space.
        data: The data set. Its test split is not used.
        run: The run directory.
        config: The configuration.

    # Returns
        The genotype.
    """
    provenance = {**run.provenance(), "examples": data.half_sizes}
    sizes = config.counted_images(data.image_shape, len(data.class_names))
    drawn = config.draw(space, strategy, config.samples, *sizes)
    if len(drawn) > 1 and not run.finalists.exists():
        logger.info(finalists.expected(drawn[0].genotype, len(drawn), data, config).line())
    results.of_candidates(drawn, data, run, config, provenance)
    return Architecture.load(run.genotype)
