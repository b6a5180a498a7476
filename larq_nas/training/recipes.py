"""How a derived network is trained: loss, optimizer, learning rate and momentum over time.

The named recipes of the papers are flag files, `larq_nas train --flagfile=bnas_cifar10`; this module turns their
values into Keras objects.
"""

import dataclasses

import tensorflow as tf

from larq_nas.layers.quantizers import register
from larq_nas.training import optimizers

SCHEDULES = ("one_cycle", "restarts", "cosine", "steps")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    # Arguments
        epochs: Number of epochs.
        steps_per_epoch: Steps in an epoch.
        schedule: `"one_cycle"`: learning rate up and momentum down, then back, then a tail down to a thousandth;
            `"restarts"`: cosine to 0, again every `restart_epochs`; `"cosine"`: once; `"steps"`: a tenth after each of
            the `milestones`.
        learning_rate: The highest learning rate.
        momentum: Momentum of SGD; `one_cycle` moves it between 0.95 and 0.85 instead. Adam has none.
        weight_decay: Added to the gradient of every weight, times the weight.
        label_smoothing: Probability that the training's targets spread over all classes.
        clip_norm: Largest global norm of the gradients, those of binary kernels taken before `xnor_gradient`
            rewrites them; 0 for no clipping.
        restart_epochs: Epochs of a cosine of `"restarts"`.
        optimizer: `"sgd"` or `"adam"`.
        milestones: Epochs after which `"steps"` takes a tenth.
        warmup_epochs: Epochs in which the rate of `"cosine"` rises from 0; at most half of all.
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

    def schedules(self):
        """Learning rate and momentum, each a number or a schedule of steps.

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
            # Each is the last step of its rate.
            steps = [epoch * self.steps_per_epoch - 1 for epoch in self.milestones]
            if not steps:
                raise ValueError("schedule='steps': needs milestones")
            return cosine.PiecewiseConstantDecay(steps, rates), self.momentum
        if self.schedule != "one_cycle":
            raise ValueError(f"unknown schedule {self.schedule!r}; accepted: {', '.join(SCHEDULES)}")
        low, cycle = 0.05 * self.learning_rate, int(0.9 * steps)
        points = (0, cycle // 2, cycle, steps)
        rate = optimizers.PiecewiseLinear(points, (low, self.learning_rate, low, 0.01 * low))
        return rate, optimizers.PiecewiseLinear(points, (0.95, 0.85, 0.95, 0.95))

    def changed(self, **values) -> "Recipe":
        """The recipe with other values; milestones move with the number of epochs."""
        epochs = values.get("epochs", self.epochs)
        milestones = tuple(max(milestone * epochs // self.epochs, 1) for milestone in self.milestones)
        return dataclasses.replace(self, **values, milestones=milestones)

    def make_optimizer(self):
        """The optimizer with its schedules."""
        learning_rate, momentum = self.schedules()
        return optimizers.make(self.optimizer, learning_rate, momentum, self.weight_decay)

    def loss(self, classes: int):
        """A loss of integer labels and probabilities."""
        if not self.label_smoothing:
            return tf.keras.losses.SparseCategoricalCrossentropy()
        return SmoothedCrossentropy(classes, self.label_smoothing)


@register
class SmoothedCrossentropy(tf.keras.losses.Loss):
    """Cross entropy of integer labels with label smoothing.

    # Arguments
        classes: Number of classes.
        label_smoothing: Probability that is spread over all classes.
    """

    def __init__(self, classes, label_smoothing, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.label_smoothing = classes, label_smoothing

    def call(self, y_true, y_pred):
        targets = tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), self.classes)
        return tf.keras.losses.categorical_crossentropy(targets, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self):
        return {**super().get_config(), "classes": self.classes, "label_smoothing": self.label_smoothing}
