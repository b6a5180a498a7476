"""Evolution in the space of another method: one supernet, trained path by path, and a Pareto front of genotypes.

Each step of the training trains the weights of one genotype of the space, which is drawn at random. Then NSGA-II, a
genetic algorithm, looks for genotypes with a good accuracy by the shared weights and low costs. The images, the limits
and the recipe are those of the method whose space is searched.

```
larq_nas search --method=evolution --space=bnas --dataset=digits --objectives=accuracy,bytes
```

# References
    - [Single path one-shot neural architecture search with uniform sampling](https://arxiv.org/abs/1904.00420)
    - [A fast and elitist multiobjective genetic algorithm: NSGA-II](https://doi.org/10.1109/4235.996017)
"""

import dataclasses
import typing

from larq_nas.configs import CellSearchConfig, WithoutGradients
from larq_nas.options import OptionError, option
from larq_nas.space.architecture import Architecture

if typing.TYPE_CHECKING:
    from larq_nas import datasets, runs
    from larq_nas.supernet.strategy import Strategy

COSTS = ("binary_macs", "float_macs", "params", "bytes", "ms")
OBJECTIVES = ("accuracy", *COSTS)


class EvolutionSearch(WithoutGradients):
    """The part of the configuration of an evolution that does not depend on the method whose space is searched."""

    heading: typing.ClassVar[str] = "evolution"

    objectives: tuple[str, ...]
    latency_table: str | None

    def __post_init__(self):
        super().__post_init__()
        if "ms" in self.objectives and self.latency_table is None:
            raise OptionError("objectives: ms needs latency_table and max_latency_ms")

    def search(
        self, space: Architecture, strategy: "Strategy", data: "datasets.Images", run: "runs.Run"
    ) -> Architecture:
        """Trains a supernet, evolves genotypes and writes `genotype.json`; see `searching.search`."""
        from larq_nas.methods.evolution import searching

        return searching.search(strategy, space, data, run, self)


def _are_objectives(names):
    return "accuracy" in names and len(set(names)) == len(names) and set(names) <= set(OBJECTIVES)


def over(searched: type[CellSearchConfig]) -> type[CellSearchConfig]:
    """Returns the configuration of an evolution in the space of another method.

    # Arguments
        searched: The class of the configuration of a method that searches cells.

    # Returns
        A subclass, which trains a supernet path by path and evolves genotypes.
    """
    fields = [
        ("samples", int, option(16, "genotypes of the population, and of each new generation", least=2)),
        (
            "epochs_factor",
            int,
            option(
                8,
                "factor of the number of epochs, since a step trains only one operation of each edge; 1 if the command "
                "line gives epochs or steps",
                least=1,
            ),
        ),
        (
            "distill",
            bool,
            option(
                True,
                "if widths or depths are searched, let smaller genotypes learn the predictions of the largest one with "
                "the same operations instead of the labels and of class_weights",
            ),
        ),
        ("generations", int, option(8, "generations after the first one", least=0)),
        (
            "objectives",
            tuple[str, ...],
            option(
                ("accuracy", "binary_macs"),
                f"what the genotypes of the Pareto front trade off: {', '.join(OBJECTIVES)}; separated by commas",
                check=_are_objectives,
                accepted=f"give accuracy and some of {', '.join(COSTS)}, each once",
            ),
        ),
    ]
    bases = EvolutionSearch, searched
    return dataclasses.make_dataclass("EvolutionConfig", fields, bases=bases, frozen=True, kw_only=True)
