"""Random keys: arrays of numbers from which a strategy derives a genotype, as it does from learnt probabilities.

Crossing over and mutating keys always gives a genotype that the strategy could have derived from what it has learnt.
Keys are a dictionary with the names and shapes of the choice weights. On each row, the candidate with the largest key
is chosen. Where a node keeps only some of its edges, it keeps those with the largest keys.

# References
    - [Genetic algorithms and random keys for sequencing and optimization](https://doi.org/10.1287/ijoc.6.2.154)
"""

import itertools
from collections.abc import Iterator

import numpy as np

from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes


def draw(shapes: dict, generator: np.random.Generator) -> dict:
    """Draws keys. All candidates of a choice are equally likely.

    # Arguments
        shapes: The shapes of the choice weights by the name of the choice.
        generator: A random generator.

    # Returns
        The keys.
    """
    chosen = {name: generator.integers(shape[-1], size=shape[:-1]) for name, shape in shapes.items()}
    return _of_choices(chosen, shapes, generator)


def of_weights(weights: dict, generator: np.random.Generator) -> dict:
    """Converts one-hot choice weights to keys. The strategy derives the same genotype from the keys.

    # Arguments
        weights: The choice weights. Rows of edges that the genotype does not keep are 0.
        generator: A random generator, for the order of the edges.

    # Returns
        The keys.
    """
    return {name: _spread(np.asarray(values, float), generator) for name, values in weights.items()}


def _of_choices(chosen, shapes, generator):
    one_hot = {name: np.eye(shapes[name][-1])[values] for name, values in chosen.items()}
    return of_weights(one_hot, generator)


def _spread(one_hot, generator):
    """Draws the order of the rows, and of the candidates that were not chosen."""
    rows = generator.uniform(0.5, 1.0, size=(*one_hot.shape[:-1], 1))
    return one_hot * rows + generator.uniform(0.0, 0.1, size=one_hot.shape)


def crossed(first: dict, second: dict, generator: np.random.Generator) -> dict:
    """Takes each row of the keys from one of two parents, at random.

    # Arguments
        first, second: The keys of the parents.
        generator: A random generator.

    # Returns
        The keys.
    """
    child = {}
    for name, values in first.items():
        from_first = generator.random((*values.shape[:-1], 1)) < 0.5
        child[name] = np.where(from_first, values, second[name])
    return child


def mutated(keys: dict, rate: float, generator: np.random.Generator) -> dict:
    """Draws some rows of the keys again.

    # Arguments
        keys: The keys.
        rate: The probability with which a row is drawn again, from 0 to 1.
        generator: A random generator.

    # Returns
        The keys.
    """
    other = draw({name: values.shape for name, values in keys.items()}, generator)
    return {
        name: np.where(generator.random((*values.shape[:-1], 1)) < rate, other[name], values)
        for name, values in keys.items()
    }


def in_turns(space: Architecture, generator: np.random.Generator) -> Iterator:
    """Draws keys, such that each row of a cell has each of its candidates equally often.

    Where widths or depths are searched, each fourth genotype has the smallest of them, whose weights all other
    genotypes use, and each fourth one has the largest of them, which uses all weights.

    # Arguments
        space: The space.
        generator: A random generator.

    # Returns
        An iterator of keys without end.

    # References
        - [FairNAS](https://arxiv.org/abs/1907.01845), section 3.2, for the turns
        - [Universally slimmable networks](https://arxiv.org/abs/1903.05134), section 3.1, for the largest and smallest
    """
    shapes, turns = choice_shapes(space), {}
    for number in itertools.count():
        for name, shape in shapes.items():
            if number % shape[-1] == 0:
                even = np.broadcast_to(np.arange(shape[-1]), shape)
                turns[name] = generator.permuted(even, axis=-1)
        chosen = {name: turns[name][..., number % shape[-1]] for name, shape in shapes.items()}
        for name, shape in shapes.items():
            if len(shape) == 1 and number % 4 < 2:
                chosen[name] = np.array((shape[-1] - 1) * (number % 4 == 0))
        yield _of_choices(chosen, shapes, generator)
