"""The supernet of DMS. Its training steps train either the weights or the mean ratios."""

from collections.abc import Iterable

import tensorflow as tf

from larq_nas import supernet
from larq_nas.methods.dms.distributions import LEAST_RATIO
from larq_nas.methods.dms.search_space import opened
from larq_nas.methods.dms.strategy import Strategy


class WidthSupernet(supernet.Supernet):
    """A network with room for many widths. Its steps train the weights if `turn` is 0, and the mean ratios if it is 1.

    # Arguments
        strategy: The `Strategy`.
        room: The largest width of each stage, in `units`.
    """

    strategy: Strategy

    def __init__(self, strategy: Strategy, room: Iterable[int]) -> None:
        strategy.room = tuple(map(int, room))
        space = opened(strategy.base, strategy.room)
        super().__init__(strategy, space, strategy.input_shape, strategy.num_classes)
        self.turn = tf.Variable(0, trainable=False, name="turn")

    def make_logits(self, shapes: dict) -> dict:
        ratio = tf.keras.initializers.Constant(self.strategy.distributions.ratio)
        return {"mean": self.add_weight("mean", (len(self.space.stages),), initializer=ratio)}

    def probabilities(self) -> dict:
        """A dictionary with the mean ratios under the name `mean`."""
        return {"mean": tf.convert_to_tensor(self.logits["mean"])}

    def search_metrics(self) -> dict:
        # An epoch is a part of a round, after which the metrics of the strategy are logged. They may take seconds.
        return {}

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        self._choose(lambda: self.turn == 0, self._weights_step, self._means_step, data)
        return {metric.name: metric.result() for metric in self.metrics}

    def _means_step(self, images, labels):
        predictions = self._architecture_step(images, labels)
        self.compiled_loss(labels, predictions)
        self.compute_metrics(images, labels, predictions, None)
        mean = self.logits["mean"]
        mean.assign(tf.maximum(mean, LEAST_RATIO))
