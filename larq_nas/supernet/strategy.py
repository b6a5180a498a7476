"""What a search by gradients needs of a method: the `Strategy` by which a `supernet.Supernet` is searched."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from larq_nas.space.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A genotype that a search may end with.

    # Arguments
        genotype: The genotype.
        weights: The choice weights with which a supernet computes as the genotype does.
        figures: Its costs, by name: `biops`, `flops` and `params`; and whether it is `accepted`, if that is asked for.
    """

    genotype: Architecture
    weights: dict
    figures: dict


class Strategy(Protocol):
    """How a method searches: what weighs the candidates, what their logits learn from, and what is derived of them.

    Choices are given by name, as `templates.choice_shapes` lists them: logits, probabilities and weights are tensors of
    shape `(..., candidates)`. A subclass has the defaults of what it does not define.

    # Attributes
        warmup_epochs: Epochs at the beginning in which only weights are trained.
        normalize: Whether features of the supernet are normalized, see `networks.build`.
        batch_statistics: Whether evaluations normalize by the statistics of their batches, not by moving averages.
        limit: How long the genotype may take, a `latency.Limit`, or `None`.
        variants: Which genotypes are kept of an epoch: suffix of a file's name to the keyword arguments of `derive`.
    """

    warmup_epochs: int = 0
    normalize: bool = False
    batch_statistics: bool = False
    limit: Any = None
    variants: Mapping[str, dict] = {"": {}}

    def choice_weights(self, logits: dict, epoch, random=tf.random) -> dict:
        """The weights of the candidates in a training step.

        # Arguments
            logits: The logits of the choices, by name.
            epoch: The number of the epoch, counted from 0.
            random: What draws numbers, `tf.random` or a `tf.random.Generator`.
        """
        return {name: tf.nn.softmax(values) for name, values in logits.items()}

    def evaluation_weights(self, logits: dict, epoch) -> dict:
        """The weights of the candidates in an evaluation."""
        return self.choice_weights(logits, epoch)

    def architecture_loss(self, loss, logits: dict, epoch):
        """The loss of the logits, given the loss of the batch on which they are trained."""
        return loss

    def figures(self, space: Architecture, probabilities: dict, epoch) -> dict:
        """What is logged of an epoch: name to number. Names with a slash go to files only."""
        return {}

    def derive(self, space: Architecture, probabilities: dict) -> Architecture:
        """The genotype of probabilities, arrays by the name of the choice."""
        raise NotImplementedError

    def candidates(self, space: Architecture, probabilities: dict, seed: int) -> list[Candidate]:
        """Genotypes, of which the one with the lowest validation loss is kept in the end.

        If there are none, as by default, the genotype of the epoch with the best validation accuracy is kept.
        """
        return []
