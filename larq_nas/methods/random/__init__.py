"""Random search in the space of another method: the baseline that a search must beat.

A random search draws genotypes evenly from the space, trains them for a short time by successive halving, and keeps the
best. No supernet is trained. The images, the limits and the recipe are those of the method whose space is searched.

```
larq_nas search --method=random --space=bnas --dataset=digits --samples=8
```

# References
    - [Random search and reproducibility for neural architecture search](https://arxiv.org/abs/1902.07638)
"""

import dataclasses
import typing

from larq_nas.configs import SearchConfig, WithoutGradients
from larq_nas.options import option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas import datasets, runs
    from larq_nas.supernet.strategy import Strategy


class RandomSearch(WithoutGradients):
    """The part of the configuration of a random search that does not depend on the method whose space is searched."""

    heading: typing.ClassVar[str] = "random"

    def search(
        self, space: Architecture, strategy: "Strategy", data: "datasets.Images", run: "runs.Run"
    ) -> Architecture:
        """Draws genotypes and writes `genotype.json`; see `searching.search`."""
        from larq_nas.methods.random import searching

        return searching.search(strategy, space, data, run, self)


def over(searched: type[SearchConfig]) -> type[SearchConfig]:
    """Returns the configuration of a random search in the space of another method.

    # Arguments
        searched: The class of the configuration of a method.

    # Returns
        A subclass, which draws genotypes instead of training a supernet.
    """
    samples = "samples", int, option(8, "random genotypes, all of which are trained for a short time", least=1)
    bases = RandomSearch, searched
    return dataclasses.make_dataclass("RandomConfig", [samples], bases=bases, frozen=True, kw_only=True)
