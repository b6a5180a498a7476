"""Optimizers and schedules of the papers that are not part of Keras.

The authors of the papers use optimizers that add weight decay to the gradient, before momentum and adaptive scaling are
applied. The optimizers of Keras subtract weight decay from the weight instead. The difference is large if the learning
rate changes.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from larq_nas.layers import _keras
from larq_nas.layers.quantizers import register
from larq_nas.names import OPTIMIZERS


@register
class PiecewiseLinear(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that interpolates linearly between points, and keeps the last value afterwards.

    # Arguments
        steps: The steps of the points, in ascending order.
        values: The values of the points.
    """

    def __init__(self, steps: Sequence[int], values: Sequence[float]) -> None:
        self.steps, self.values = [int(step) for step in steps], [float(value) for value in values]

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        points = list(zip(self.steps, self.values, strict=True))
        value = tf.constant(self.values[0])
        for (start, low), (end, high) in zip(points, points[1:], strict=False):
            inside = low + (high - low) * (step - start) / max(end - start, 1)
            value = tf.where(step >= start, tf.where(step < end, inside, high), value)
        return value

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "values": self.values}


@register
class EpochCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that follows half a cosine from `initial` to `final`, and changes once per epoch.

    As in the authors' code, epoch 0 already has the first value below `initial`, and the last epoch has `final`.

    # Arguments
        initial: The learning rate at which the cosine begins, before the first epoch.
        final: The learning rate of the last epoch.
        epochs: Number of epochs.
        steps_per_epoch: Number of steps in an epoch.
    """

    def __init__(self, initial: float, final: float, epochs: int, steps_per_epoch: int) -> None:
        self.initial, self.final = initial, final
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        epoch = tf.cast(step // self.steps_per_epoch, tf.float32)
        cosine = tf.cos(math.pi * tf.minimum((epoch + 1) / self.epochs, 1.0))
        return self.final + 0.5 * (self.initial - self.final) * (1 + cosine)

    def get_config(self) -> dict[str, Any]:
        names = ("initial", "final", "epochs", "steps_per_epoch")
        return {name: getattr(self, name) for name in names}


@register
class SGD(tf.keras.optimizers.Optimizer):
    r"""Gradient descent with momentum and coupled weight decay. The momentum may follow a schedule.

    \\[v \leftarrow \mu v + (g + \lambda w), \quad w \leftarrow w - \eta v\\]

    The velocity \\(v\\) does not contain the learning rate, unlike in Keras. This matters if the learning rate or the
    momentum changes.

    # Arguments
        learning_rate: \\(\eta\\), a number or a schedule.
        momentum: \\(\mu\\), a number or a schedule.
        l2: \\(\lambda\\), the coefficient of the weight decay. \\(\lambda w\\) is added to the gradient of every
            trained variable. Note that the regularizer `L2(l2)` of Keras adds twice as much.
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: Any = 0.9, l2: float = 0.0, name: str = "SGD", **kwargs: Any
    ) -> None:
        # By default, Keras applies its own weight decay of 0, which would cost a subtraction for each weight.
        super().__init__(name=name, **{"weight_decay": None, **kwargs})
        _keras.set_learning_rate(self, learning_rate)
        self.momentum, self.l2 = momentum, l2
        if callable(momentum):
            # The momentum is computed once for all variables, as Keras does with the learning rate.
            with tf.init_scope():
                self._current_momentum = tf.Variable(momentum(0), trainable=False, name="current_momentum")

    def build(self, var_list: list) -> None:
        super().build(var_list)
        if not _keras.is_built(self):
            self.velocities = [self.add_variable_from_reference(var, "velocity") for var in var_list]
            _keras.set_built(self)

    def apply_gradients(self, *args: Any, **kwargs: Any) -> tf.Variable:
        if callable(self.momentum):
            self._current_momentum.assign(self.momentum(self.iterations))
        return super().apply_gradients(*args, **kwargs)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        velocity = self.velocities[_keras.index(self, variable)]
        momentum = self._current_momentum if callable(self.momentum) else self.momentum
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=tf.convert_to_tensor(gradient) + self.l2 * variable,
            momentum=tf.cast(momentum, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        momentum = self.momentum
        if isinstance(momentum, tf.keras.optimizers.schedules.LearningRateSchedule):
            momentum = tf.keras.optimizers.schedules.serialize(momentum)
        rate = _keras.learning_rate_config(self)
        return {**super().get_config(), "learning_rate": rate, "momentum": momentum, "l2": self.l2}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "SGD":
        for key in ("learning_rate", "momentum"):
            if isinstance(config[key], dict):
                schedule = tf.keras.optimizers.schedules.deserialize(config[key], custom_objects)
                config = {**config, key: schedule}
        return cls(**config)


@register
class Adam(tf.keras.optimizers.Adam):
    """The Adam optimizer of Keras with coupled weight decay.

    # Arguments
        learning_rate: A number or a schedule.
        l2: The coefficient of the weight decay. `l2 * variable` is added to the gradient of every trained variable.
            Note that the regularizer `L2(l2)` of Keras adds twice as much.
        kwargs: Further arguments of `tf.keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate: Any = 0.001, l2: float = 0.0, name: str = "Adam", **kwargs: Any) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        super().update_step(tf.convert_to_tensor(gradient) + self.l2 * variable if self.l2 else gradient, variable)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}


def scaled_rate(name: str, learning_rate: float, batch_size: int, reference: int | None) -> float:
    """Scales a learning rate to another batch size.

    # Arguments
        name: The optimizer: `"sgd"`, whose learning rate is scaled in proportion to the batch size, or `"adam"`, whose
            learning rate is scaled by the square root.
        learning_rate: The learning rate for batches of `reference` examples.
        batch_size: Number of examples in a batch.
        reference: The batch size for which the learning rate is meant. With `None`, it is not scaled.

    # Returns
        The learning rate for `batch_size`.

    # References
        - [Accurate, Large Minibatch SGD](https://arxiv.org/abs/1706.02677), section 2.1, for SGD
        - [On the SDEs and Scaling Rules for Adaptive Gradient Algorithms](https://arxiv.org/abs/2205.10287) for Adam
    """
    ratio = batch_size / reference if reference else 1.0
    return learning_rate * (ratio if name == "sgd" else ratio**0.5)


def first_rate(config: Any) -> float:
    """Returns the learning rate with which a search or a training begins, scaled to its batch size.

    # Arguments
        config: The configuration of a search or a training.

    # Returns
        The learning rate.
    """
    return scaled_rate(config.optimizer, config.learning_rate, config.batch_size, config.reference_batch_size)


def for_weights(config: Any, learning_rate: Any) -> tf.keras.optimizers.Optimizer:
    """Makes the optimizer of the weights of a search.

    # Arguments
        config: The configuration of the search.
        learning_rate: A number or a schedule.

    # Returns
        A Keras optimizer.
    """
    return make(config.optimizer, learning_rate, config.momentum, config.weight_decay, config.clip_norm)


def make(
    name: str, learning_rate: Any, momentum: Any, weight_decay: float = 0.0, clip_norm: float = 0.0
) -> tf.keras.optimizers.Optimizer:
    """Makes an optimizer for weights.

    # Arguments
        name: `"sgd"` or `"adam"`.
        learning_rate: A number or a schedule.
        momentum: A number or a schedule. Adam ignores it.
        weight_decay: The factor with which every weight is added to its gradient.
        clip_norm: The largest global norm of the gradients; 0 for no clipping.

    # Returns
        A Keras optimizer.

    # Raises
        ValueError: If there is no optimizer of this name.
    """
    options: dict[str, Any] = {"l2": weight_decay, "global_clipnorm": clip_norm or None}
    if name == "sgd":
        return SGD(learning_rate, momentum, **options)
    if name == "adam":
        return Adam(learning_rate, **options)
    raise ValueError(f"unknown optimizer {name!r}; accepted: {', '.join(OPTIMIZERS)}")
