"""The search of `methods.random`."""

import dataclasses

import numpy as np

from larq_nas import datasets, runs, training
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes
from larq_nas.training import finalists


def search(strategy, space: Architecture, data: datasets.Images, run: runs.Run, config) -> Architecture:
    """Draws genotypes evenly, trains them by successive halving, and writes `genotype.json`.

    # Arguments
        strategy: The `strategy.Strategy` of the method whose space is searched. It draws the genotypes, so that all of
            them could have been derived and are within its limits.
        space: The space.
        data: The data set. Its test split is not used.
        run: The run directory.
        config: The configuration.

    # Returns
        The genotype.
    """
    drawn = candidates(strategy, space, config.samples, config.seed)
    best = drawn[finalists.choose([candidate.genotype for candidate in drawn], data, run, config)]
    runs.write(run.candidates, [{**candidate.figures, "chosen": candidate is best} for candidate in drawn])
    provenance = {**run.provenance(), "examples": data.half_sizes}
    training.write_genotype(best.genotype, provenance, run.genotype)
    return Architecture.load(run.genotype)


def candidates(strategy, space: Architecture, count: int, seed: int) -> list:
    """Draws `count` candidates as a strategy does that has learnt nothing."""
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    # The first candidate of some strategies is the most probable genotype, which is not a random one.
    return dataclasses.replace(strategy, samples=count + 1).candidates(space, even, seed)[1:]
