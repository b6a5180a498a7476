"""A supernet of which each step trains the weights of one genotype."""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from larq_nas import latency, supernet
from larq_nas.methods.evolution import keys
from larq_nas.space.architecture import Architecture
from larq_nas.supernet.strategy import Strategy

# Keys that are drawn for each genotype at most, since some of them do not keep a tight limit.
ATTEMPTS = 10
# Number of genotypes that are drawn before the training. After the last one, the first one follows.
PATHS = 840  # A multiple of 3, 7 and 8, so that each operation of BARS, BNAS and BATS has as many turns as the others.


class SampledSupernet(supernet.Supernet):
    """A supernet of which each step trains the weights of one genotype, with one-hot choice weights.

    There are no logits. Features are always normalized by the statistics of the batch, since moving averages would be
    those of many different networks.

    If widths or depths are searched, a genotype can learn the predictions of a larger genotype instead of the labels.
    The larger genotype has the same operations, and the largest width and depth of each stage. The largest genotypes
    learn the labels.

    # Arguments
        strategy: The `strategy.Strategy` of the method whose space is searched. It derives the genotypes.
        space: The search space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        seed: The seed of the genotypes.
        distill: Whether genotypes that are not the largest learn the predictions of the largest.

    # References
        - [Single path one-shot neural architecture search with uniform sampling](https://arxiv.org/abs/1904.00420)
        - [Universally slimmable networks](https://arxiv.org/abs/1903.05134), section 3.3, for the distillation
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Architecture,
        input_shape: Sequence[int],
        num_classes: int,
        seed: int = 0,
        distill: bool = False,
    ) -> None:
        super().__init__(strategy, space, input_shape, num_classes)
        drawn = itertools.islice(keys.in_turns(space, np.random.default_rng(seed)), ATTEMPTS * PATHS)
        weights = [candidate.weights for _, candidate in itertools.islice(strategy.derivable(space, drawn), PATHS)]
        if not weights:
            raise latency.LatencyError("none of the random genotypes keeps max_latency_ms; give a larger one")
        names = [name for name in self.network.input_shape if name != "images"]
        self.paths = {name: np.stack([each[name] for each in weights]).astype(np.float32) for name in names}
        # The choices of a width or of a depth have one row.
        sizes = [name for name, values in self.paths.items() if values.ndim == 2] if distill else []
        self.largest = {name: np.eye(self.paths[name].shape[-1], dtype=np.float32)[-1] for name in sizes}

    def make_logits(self, shapes: dict) -> dict:
        return {}

    def training_weights(self) -> dict:
        """The choice weights of the genotype whose turn it is."""
        turns = next(iter(self.paths.values())).shape[0]
        turn = self.optimizer.iterations % turns
        return {name: tf.gather(weights, turn) for name, weights in self.paths.items()}

    def weights_loss(self, images: tf.Tensor, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        """The cross entropy of the labels or, for a genotype that is not the largest, of the largest's predictions."""
        loss = super().weights_loss(images, labels, predictions)
        if not self.largest:
            return loss
        weights = self.training_weights()
        targets = tf.stop_gradient(self.network({"images": images, **weights, **self.largest}, training=True))
        distilled = tf.nn.compute_average_loss(tf.keras.losses.categorical_crossentropy(targets, predictions))
        is_largest = tf.reduce_all([tf.reduce_all(weights[name] == values) for name, values in self.largest.items()])
        return tf.where(is_largest, loss, tf.cast(distilled, loss.dtype))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.network({"images": inputs, **self.training_weights()}, training=True)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        self._weights_step(*data)
        return {metric.name: metric.result() for metric in self.metrics if metric is not self.architecture_loss}

    def search_metrics(self) -> dict:
        return {}
