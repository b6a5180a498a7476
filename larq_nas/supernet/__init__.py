"""The supernet: a network of mixed operations. Its weights and the logits that mix the operations are trained in turn.

```python
import larq_nas
import tensorflow as tf
from larq_nas import supernet
from larq_nas.training import optimizers
from larq_nas.methods import bnas

model = supernet.Supernet(bnas.Strategy(), bnas.space(), input_shape=(32, 32, 3), num_classes=10)
model.compile(
    optimizer=optimizers.SGD(0.025, momentum=0.9, l2=3e-4),
    architecture_optimizer=optimizers.Adam(3e-4, beta_1=0.5, l2=1e-3),
    loss=tf.keras.losses.SparseCategoricalCrossentropy(),
    metrics=["accuracy"],
)
# Both halves are `tf.data.Dataset`s of batches of images and labels.
model.fit(tf.data.Dataset.zip((first_half, second_half)), epochs=50)
genotype = model.genotype()
```
"""

import collections
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from larq_nas import networks
from larq_nas.layers import precision
from larq_nas.space.architecture import Architecture
from larq_nas.supernet.sampling import Draws

if TYPE_CHECKING:
    from larq_nas.supernet.strategy import Strategy

# Images of a batch when genotypes are judged: features are normalized by the statistics of a batch.
JUDGED = 256


class _Epoch(tf.keras.callbacks.Callback):
    """Sets the number of the epoch in a `Supernet`, whose strategy depends on it, and logs the metrics of the epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.epoch.assign(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(self.model.search_metrics())


class Supernet(tf.keras.Model):
    """A Keras model whose training step trains first the architecture and then the weights.

    Each training step takes two batches. The logits of the architecture descend on the loss of the second batch, to
    which the strategy adds terms of its own. Then the weights descend on the loss of the first batch. The search is of
    first order: neither of the two steps is differentiated through the other. Each of them computes only the gradients
    that it uses.

    # Arguments
        strategy: The `strategy.Strategy` of a method.
        space: The search space.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
    """

    def __init__(
        self, strategy: "Strategy", space: Architecture, input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10
    ) -> None:
        super().__init__(name="supernet")
        self.strategy, self.space = strategy, space
        self.network = networks.build(space, input_shape, num_classes, normalize=strategy.normalize)
        shapes = {name: shape for name, shape in self.network.input_shape.items() if name != "images"}
        self.logits = self.make_logits(shapes)
        self.epoch = tf.Variable(0, trainable=False, name="epoch")
        # A backup contains its state, so that an interrupted search draws the same numbers as it would have drawn.
        self.random = Draws(np.random.randint(2**31))
        self.architecture_loss = tf.keras.metrics.Mean(name="architecture_loss")

    def make_logits(self, shapes: dict) -> dict:
        """Creates the logits of the choices, by name. `shapes` has the shapes of the choice weights."""
        return {
            name: self.add_weight(f"{name}_logits", shape, initializer=tf.keras.initializers.RandomNormal(stddev=1e-3))
            for name, shape in shapes.items()
        }

    def compile(
        self, *args: Any, architecture_optimizer: tf.keras.optimizers.Optimizer | None = None, **kwargs: Any
    ) -> None:
        """Configures the training.

        # Arguments
            args, kwargs: See `tf.keras.Model.compile`. The `optimizer` updates the weights.
            architecture_optimizer: The optimizer that updates the logits.

        # Raises
            ValueError: If `loss` is not an object of `tf.keras.losses`.
        """
        super().compile(*args, **kwargs)
        if not isinstance(self.loss, tf.keras.losses.Loss):
            raise ValueError(f"loss={self.loss!r}: a Supernet needs an object of tf.keras.losses")
        self.architecture_optimizer = precision.scale_loss(architecture_optimizer)
        self.built = True
        self.architecture_optimizer.build(list(self.logits.values()))
        build_training_state(self, self.network)

    def fit(
        self, *args: Any, callbacks: Sequence[tf.keras.callbacks.Callback] | None = (), **kwargs: Any
    ) -> tf.keras.callbacks.History:
        return super().fit(*args, callbacks=[_Epoch(), *(callbacks or ())], **kwargs)

    def test_step(self, data: tuple) -> dict[str, tf.Tensor]:
        logs = super().test_step(data)
        del logs["architecture_loss"]  # Only training steps update this metric.
        return logs

    def probabilities(self) -> dict:
        """The probabilities of the candidates of each choice, by the name of the choice."""
        return {name: tf.nn.softmax(logits) for name, logits in self.logits.items()}

    def search_metrics(self) -> dict:
        """The metrics of the search that are logged after the present epoch: name to number.

        They are those of the strategy, and the number of edges of each cell of the genotype that have each operation.
        """
        metrics = dict(self.strategy.metrics(self.space, self._values(), self.epoch))
        for cell, searched in zip(self.genotype().cells, self.space.cells, strict=True):
            found = collections.Counter(edge.operations[0] for edge in cell.edges)
            for operation in dict.fromkeys(name for edge in searched.edges for name in edge.operations):
                metrics[f"{cell.name}/{operation}"] = found[operation]
        return metrics

    def genotype(self, **options: Any) -> Architecture:
        """The genotype that the strategy derives from the present logits. `options` are arguments of its `derive`."""
        return self.strategy.derive(self.space, self._values(), **options)

    def candidates(self, seed: int) -> list:
        """The genotypes among which a search chooses by `judge`. The list is empty if the strategy draws none."""
        return self.strategy.candidates(self.space, self._values(), seed)

    def _values(self):
        return {name: tensor.numpy() for name, tensor in self.probabilities().items()}

    def judge(self, choice_weights: dict, batches: Iterable) -> dict:
        """Evaluates the supernet with given choice weights, e.g. one-hot ones.

        # Arguments
            choice_weights: The weights of the candidates of each choice, by the name of the choice.
            batches: An iterable of batches, each of them a tuple of images and labels.

        # Returns
            A dictionary with the mean `validation_loss` and the `validation_accuracy`.
        """
        losses, right = [], []
        choice_weights = {name: tf.constant(weights, tf.float32) for name, weights in choice_weights.items()}
        for images, labels in batches:
            predictions = self._predictions(images, choice_weights)
            losses.append(self.loss.call(labels, predictions))
            right.append(np.argmax(predictions, axis=-1) == labels)
        loss, accuracy = (float(np.concatenate(values).mean()) for values in (losses, right))
        return {"validation_loss": loss, "validation_accuracy": accuracy}

    @tf.function
    def _predictions(self, images, choice_weights):
        def predictions(images, choice_weights):
            # Moving averages would be those of mixtures.
            return self.network({"images": images, **choice_weights}, training=True)

        # Each replica computes the whole batch, whose statistics normalize the features.
        found = self.distribute_strategy.run(predictions, (images, choice_weights))
        return self.distribute_strategy.experimental_local_results(found)[0]

    def training_weights(self) -> dict:
        """The weights of the candidates in a training step."""
        return self.strategy.choice_weights(self.logits, self.epoch, self.random)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        weights = self.strategy.evaluation_weights(self.logits, self.epoch)
        return self.network({"images": inputs, **weights}, training=training or self.strategy.batch_statistics)

    def train_step(self, data: tuple) -> dict[str, tf.Tensor]:
        weights_batch, architecture_batch = data
        if self.strategy.warmup_epochs:

            def warmed_up():
                return self.epoch >= self.strategy.warmup_epochs

            self._choose(warmed_up, self._architecture_step, lambda images, labels: None, architecture_batch)
        else:
            self._architecture_step(*architecture_batch)
        self._weights_step(*weights_batch)
        return {metric.name: metric.result() for metric in self.metrics}

    def _choose(self, condition, step, otherwise, batch):
        """Takes `step` with a batch if `condition()` is true, and `otherwise` if not."""

        def choose(strategy, *batch):
            def branch(function):
                strategy.run(function, batch)

            tf.cond(condition(), lambda: branch(step), lambda: branch(otherwise))

        # An optimizer updates all replicas at once, so all replicas must follow the same condition.
        tf.distribute.get_replica_context().merge_call(choose, args=batch)

    def _architecture_step(self, images, labels):
        logits = list(self.logits.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(logits)
            weights = self.training_weights()
            predictions = self.network({"images": images, **weights}, training=True)
            loss = tf.reduce_mean(self.loss.call(labels, predictions))
            loss = self.strategy.architecture_loss(loss, self.logits, self.epoch)
            # The optimizer sums the gradients over all replicas.
            share = loss / self.distribute_strategy.num_replicas_in_sync
        gradients = precision.gradients(tape, share, logits, self.architecture_optimizer)
        self._apply(self.architecture_optimizer, gradients, logits)
        self.architecture_loss.update_state(loss)
        return predictions

    def weights_loss(self, images: tf.Tensor, labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        """Computes the loss of the weights for a batch, and updates the metric `loss`.

        # Arguments
            images: The images, of shape `(batch, height, width, channels)`.
            labels: The integer labels, of shape `(batch,)`.
            predictions: The probabilities of the classes, of shape `(batch, num_classes)`.

        # Returns
            A scalar tensor.
        """
        return self.compute_loss(images, labels, predictions)

    def _weights_step(self, images, labels):
        weights = self.training_weights()
        with tf.GradientTape() as tape:
            predictions = self.network({"images": images, **weights}, training=True)
            loss = self.weights_loss(images, labels, predictions)
        variables = self.network.trainable_variables
        gradients = precision.gradients(tape, loss, variables, self.optimizer)
        self._apply(self.optimizer, gradients, variables)
        self.compute_metrics(images, labels, predictions, None)

    def _apply(self, optimizer, gradients, variables):
        # With one replica, the aggregation would cost no time, but TensorFlow would never free its graph.
        one = self.distribute_strategy.num_replicas_in_sync == 1
        optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=one)


def build_training_state(model: tf.keras.Model, network: tf.keras.Model) -> None:
    """Creates the variables of the optimizer and of the metrics of a compiled model.

    Otherwise, the first training step would create them. It would then be traced twice, and a backup could not be
    restored before the first step.

    # Arguments
        model: A compiled model.
        network: The network whose weights `model.optimizer` updates.
    """
    model.optimizer.build(network.trainable_variables)

    def update_metrics():
        labels, probabilities = tf.zeros([1], tf.int64), tf.ones([1, *network.output_shape[1:]])
        model.compiled_loss(labels, probabilities)
        model.compiled_metrics.update_state(labels, probabilities)

    def run():
        # Each replica has variables of its own. Metrics are summed over replicas only when they are read.
        model.distribute_strategy.run(update_metrics)

    # TensorFlow warns if several replicas run eagerly. It would keep a function of replicas, and thus the model, for
    # ever.
    (tf.function(run) if model.distribute_strategy.num_replicas_in_sync > 1 else run)()
    model.reset_metrics()
