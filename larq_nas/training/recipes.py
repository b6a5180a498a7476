"""The recipe of a training: its loss, its optimizer, and the schedules of the learning rate and of the momentum.

The recipes of the papers are flag files, which are used by name, e.g. `larq_nas train --flagfile=bnas_cifar10`. This
module makes Keras objects from their values.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from larq_nas.layers.quantizers import register
from larq_nas.names import SCHEDULES
from larq_nas.training import optimizers


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training needs besides the network and the data.

    # Arguments
        epochs: Number of epochs.
        steps_per_epoch: Number of steps in an epoch.
        schedule: The schedule of the learning rate.

            - `"one_cycle"`: The learning rate rises from 1/20 of the highest and the momentum falls, then both return,
              then the learning rate falls to 1/2000 of the highest.
            - `"restarts"`: The learning rate follows a cosine to 0, which starts again every `restart_epochs`.
            - `"cosine"`: The learning rate follows one cosine to 0.
            - `"steps"`: The learning rate is divided by 10 after each of the `milestones`.
        learning_rate: The highest learning rate.
        momentum: The momentum of SGD. `"one_cycle"` moves it between 0.95 and 0.85 instead. Adam ignores it.
        weight_decay: The factor with which every weight is added to its gradient.
        label_smoothing: The share of the targets of the training that is spread over all classes.
        clip_norm: The largest global norm of the gradients; 0 for no clipping. In the norm, the gradients of binary
            kernels are those before `xnor_gradient` rewrites them.
        restart_epochs: Epochs between two restarts of `"restarts"`.
        optimizer: `"sgd"` or `"adam"`.
        milestones: Epochs after which `"steps"` divides the learning rate by 10.
        warmup_epochs: Epochs at the beginning of `"cosine"` in which the learning rate rises from 0; at most half of
            all epochs.
    """

    epochs: int
    steps_per_epoch: int
    schedule: str = "one_cycle"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 3e-6
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    restart_epochs: int = 50
    optimizer: str = "sgd"
    milestones: tuple = ()
    warmup_epochs: float = 0.0

    def schedules(self) -> tuple[Any, Any]:
        """The schedules of the learning rate and of the momentum.

        # Returns
            The learning rate and the momentum. Each of them is a number or a schedule over steps.

        # Raises
            ValueError: If there is no schedule of this name, or if `"steps"` has no milestones.

        # References
            - [BNAS](https://arxiv.org/abs/2002.06963), section 5.1, and the authors' code for the shapes
        """
        steps = self.epochs * self.steps_per_epoch
        cosine = tf.keras.optimizers.schedules
        if self.schedule == "restarts":
            period = self.restart_epochs * self.steps_per_epoch
            return cosine.CosineDecayRestarts(self.learning_rate, period, t_mul=1.0), self.momentum
        if self.schedule == "cosine":
            warmup = min(round(self.warmup_epochs * self.steps_per_epoch), steps // 2)
            if not warmup:
                return cosine.CosineDecay(self.learning_rate, steps), self.momentum
            rate = cosine.CosineDecay(0.0, steps - warmup, warmup_target=self.learning_rate, warmup_steps=warmup)
            return rate, self.momentum
        if self.schedule == "steps":
            rates = [self.learning_rate * 0.1**index for index in range(len(self.milestones) + 1)]
            # Each boundary is the last step with the earlier learning rate.
            boundaries = [epoch * self.steps_per_epoch - 1 for epoch in self.milestones]
            if not boundaries:
                raise ValueError("schedule='steps': needs milestones")
            return cosine.PiecewiseConstantDecay(boundaries, rates), self.momentum
        if self.schedule != "one_cycle":
            raise ValueError(f"unknown schedule {self.schedule!r}; accepted: {', '.join(SCHEDULES)}")
        low, cycle = 0.05 * self.learning_rate, int(0.9 * steps)
        points = (0, cycle // 2, cycle, steps)
        rate = optimizers.PiecewiseLinear(points, (low, self.learning_rate, low, 0.01 * low))
        return rate, optimizers.PiecewiseLinear(points, (0.95, 0.85, 0.95, 0.95))

    def changed(self, **values: Any) -> "Recipe":
        """A copy of the recipe with other values. The milestones are scaled with the number of epochs."""
        epochs = values.get("epochs", self.epochs)
        milestones = tuple(max(milestone * epochs // self.epochs, 1) for milestone in self.milestones)
        return dataclasses.replace(self, **values, milestones=milestones)

    def make_optimizer(self) -> tf.keras.optimizers.Optimizer:
        """Makes the optimizer with its schedules. `TrainedModel` clips the gradients, not the optimizer."""
        learning_rate, momentum = self.schedules()
        return optimizers.make(self.optimizer, learning_rate, momentum, self.weight_decay)

    def loss(self, num_classes: int) -> tf.keras.losses.Loss:
        """Makes the loss, which takes integer labels and probabilities of `num_classes` classes."""
        if not self.label_smoothing:
            return tf.keras.losses.SparseCategoricalCrossentropy()
        return SmoothedCrossentropy(num_classes, self.label_smoothing)


@register
class SmoothedCrossentropy(tf.keras.losses.Loss):
    """The cross entropy of integer labels with label smoothing.

    # Arguments
        num_classes: Number of classes.
        label_smoothing: The share of each target that is spread over all classes.
    """

    def __init__(self, num_classes: int, label_smoothing: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.label_smoothing = num_classes, label_smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        targets = tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), self.num_classes)
        return tf.keras.losses.categorical_crossentropy(targets, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "label_smoothing": self.label_smoothing}
