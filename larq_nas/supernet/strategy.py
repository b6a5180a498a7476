"""The strategy of a method, which defines how a `supernet.Supernet` is searched by gradients."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from larq_nas import latency
from larq_nas.networks import reachability
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import selection


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A genotype among those from which a search chooses its result.

    # Arguments
        genotype: The genotype.
        weights: The choice weights that select the genotype in the supernet, by the name of the choice.
        metrics: The costs of the genotype, by name: `biops`, `flops` and `params`. If the search has limits, also
            `accepted`: whether the genotype is within them. With a budget, also `over_budget`.
    """

    genotype: Architecture
    weights: dict
    metrics: dict

    @property
    def fits(self) -> bool:
        """Whether the genotype is within all limits."""
        return self.metrics.get("accepted", True) and not self.metrics.get("over_budget", False)


class Strategy(Protocol):
    """How a method searches: the weights of the candidates, the loss of their logits, and the derivation of genotypes.

    Logits, probabilities and weights are dictionaries. They map the name of each choice, as in
    `choices.choice_shapes`, to a tensor of shape `(..., candidates)`. A subclass inherits the defaults of the methods
    that it does not override.

    # Attributes
        warmup_epochs: Epochs at the beginning in which only the weights are trained.
        normalize: Whether features of the supernet are normalized, see `networks.build`.
        batch_statistics: Whether evaluations normalize by the statistics of their batches instead of moving averages.
        limit: A `latency.Limit` on the latency of the genotype; `None` for no limit.
        samples: Number of genotypes that `candidates` draws.
        variants: The genotypes that are written after each epoch: suffix of the file name to keyword arguments of
            `derive`.
    """

    warmup_epochs: int = 0
    normalize: bool = False
    batch_statistics: bool = False
    limit: Any = None
    samples: int = 0
    variants: Mapping[str, dict] = {"": {}}

    def choice_weights(self, logits: dict, epoch: tf.Tensor | int, random: Any = tf.random) -> dict:
        """The weights of the candidates in a training step.

        # Arguments
            logits: The logits of the choices, by name.
            epoch: The number of the epoch, counted from 0.
            random: The source of random numbers: `tf.random` or, in a search, a `sampling.Draws`. Both have the method
                `uniform(shape, minval)`.

        # Returns
            The weights by the name of the choice. By default, they are the softmax of the logits.
        """
        return {name: tf.nn.softmax(values) for name, values in logits.items()}

    def evaluation_weights(self, logits: dict, epoch: tf.Tensor | int) -> dict:
        """The weights of the candidates in an evaluation. By default, they are the same as in a training step."""
        return self.choice_weights(logits, epoch)

    def architecture_loss(self, loss: tf.Tensor, logits: dict, epoch: tf.Tensor | int) -> tf.Tensor:
        """The loss of the logits.

        # Arguments
            loss: The loss of the batch on which the logits are trained, a scalar tensor.
            logits: The logits of the choices, by name.
            epoch: The number of the epoch, counted from 0.

        # Returns
            A scalar tensor; by default `loss`.
        """
        return loss

    def metrics(self, space: Architecture, probabilities: dict, epoch: tf.Tensor | int) -> dict:
        """The metrics that are logged after an epoch.

        # Arguments
            space: The search space.
            probabilities: By the name of each choice, an array of shape `(..., candidates)`.
            epoch: The number of the epoch, counted from 0.

        # Returns
            A dictionary of names to numbers. A metric whose name has a slash is written to files only.
        """
        return {}

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """Derives the genotype from the probabilities of the candidates, which are arrays by the name of the choice."""
        raise NotImplementedError

    def candidate(self, space: Architecture, probabilities: dict) -> Candidate:
        """The genotype that `derive` derives, with its edges in the order of their sources, and its choice weights."""
        genotype = _in_order(self.derive(space, probabilities))
        return Candidate(genotype, self.weights_of(space, genotype), {})

    def derivable(self, space: Architecture, several: Iterable[dict]) -> Iterator[tuple[dict, Candidate]]:
        """Derives a candidate from each of several dictionaries of probabilities, and yields both.

        Probabilities that give no genotype within the limit are left out.
        """
        for probabilities in several:
            try:
                candidate = self.candidate(space, probabilities)
            except latency.LatencyError:
                continue
            yield probabilities, candidate

    def weights_of(self, space: Architecture, genotype: Architecture) -> dict:
        """The choice weights that select a genotype in the supernet of the space, by the name of the choice."""
        return selection.one_hot(space, genotype)

    def candidates(
        self, space: Architecture, probabilities: dict, seed: int, count: int | None = None
    ) -> list[Candidate]:
        """The genotypes among which the search chooses its result at its end, by validation loss or a short training.

        By default, these are the derived genotype and further genotypes, which are derived in the same way after Gumbel
        noise has been added to the logarithms of the probabilities: an edge then has each operation with its
        probability. If `samples` is 0, the list is empty. Then the search keeps the genotype of the epoch with the best
        validation accuracy.

        # Arguments
            space: The space that was searched.
            probabilities: The probabilities of the candidates of each choice, by the name of the choice.
            seed: The seed of the random generator.
            count: Number of candidates; by default `samples`.

        # Returns
            A list of at most `count` different `Candidate`s.
        """
        generator, found = np.random.default_rng(seed), {}
        count = self.samples if count is None else count
        drawn = (_noisy(probabilities, generator) if attempt else probabilities for attempt in range(DRAWS * count))
        for _, candidate in self.derivable(space, drawn):
            if len(found) == count:
                break
            if candidate.genotype not in found and reachability.reaches_classifier(candidate.genotype):
                found[candidate.genotype] = candidate
        return list(found.values())


def _in_order(genotype):
    """Sorts the edges of each node by their source. Otherwise, genotypes of the same network could differ."""
    cells = []
    for cell in genotype.cells:
        nodes = [dataclasses.replace(node, edges=_by_source(node.edges)) for node in cell.nodes]
        cells.append(dataclasses.replace(cell, nodes=tuple(nodes)))
    return dataclasses.replace(genotype, cells=tuple(cells))


def _by_source(edges):
    return tuple(sorted(edges, key=lambda edge: edge.source))


# The number of genotypes that are drawn for each one that is asked for, since some of them are equal.
DRAWS = 20


def _noisy(probabilities, generator):
    """Adds Gumbel noise to the logits, so that the most probable candidate is a sample of the distribution."""
    tiny = np.finfo(np.float32).tiny
    noisy = {}
    for name, values in probabilities.items():
        logits = np.log(np.maximum(values, tiny)) + generator.gumbel(size=np.shape(values))
        likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
        noisy[name] = likely / likely.sum(axis=-1, keepdims=True)
    return noisy
