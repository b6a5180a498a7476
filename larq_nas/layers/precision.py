"""Mixed precision: networks that compute in 16 bits.

Under a Keras policy such as `mixed_bfloat16`, layers compute in 16 bits and keep their variables in 32 bits. Products
of ±1 are exact in both. Since variables always have 32 bits, weights can move from one policy to another unchanged.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from larq_nas.layers import _keras
from larq_nas.names import PRECISIONS


class PrecisionError(ValueError):
    """The name of a policy is unknown."""


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Creates the Keras layers inside the context with the given policy.

    # Arguments
        name: One of `PRECISIONS`.

    # Raises
        PrecisionError: If the policy is unknown.
    """
    if name not in PRECISIONS:
        raise PrecisionError(f"precision {name!r} is unknown; accepted: {', '.join(PRECISIONS)}")
    keras = tf.keras.mixed_precision
    before = keras.global_policy()
    keras.set_global_policy(name)
    try:
        yield
    finally:
        keras.set_global_policy(before)


def scale_loss(optimizer: tf.keras.optimizers.Optimizer) -> tf.keras.optimizers.Optimizer:
    """Wraps an optimizer with the loss scaling that gradients need under the policy `mixed_float16`.

    # Arguments
        optimizer: A Keras optimizer.

    # Returns
        A `LossScaleOptimizer` under `mixed_float16`, and the given optimizer under other policies.
    """
    keras = tf.keras.mixed_precision
    if keras.global_policy().name != "mixed_float16" or isinstance(optimizer, keras.LossScaleOptimizer):
        return optimizer
    return keras.LossScaleOptimizer(optimizer)


def gradients(
    tape: tf.GradientTape, loss: tf.Tensor, variables: list, optimizer: tf.keras.optimizers.Optimizer
) -> list:
    """Computes the gradients of a loss. If the optimizer scales the loss, the gradients are unscaled again.

    # Arguments
        tape: The tape that has recorded the loss.
        loss: A scalar.
        variables: A list of variables.
        optimizer: An optimizer, with or without loss scaling.

    # Returns
        A list of gradients, one for each variable.
    """
    if not isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        return tape.gradient(loss, variables)
    with tape:
        loss = optimizer.get_scaled_loss(loss)
    return optimizer.get_unscaled_gradients(tape.gradient(loss, variables))


def float32(model: tf.keras.Model) -> tf.keras.Model:
    """Returns the same network with the same weights, computing in 32 bits.

    # Arguments
        model: A functional or sequential model.

    # Returns
        A new model, or the given model if it computes in 32 bits already.
    """
    if not any(layer.compute_dtype in ("bfloat16", "float16") for layer in (model, *_keras.all_layers(model))):
        return model
    # A plain functional model of the same layers has a complete configuration.
    plain = tf.keras.Model(model.input, model.output, name=model.name)
    with policy("float32"):
        copy = tf.keras.Model.from_config(_without_policies(plain.get_config()))
    copy.set_weights(plain.get_weights())
    return copy


def _without_policies(config):
    if isinstance(config, dict):
        if config.get("class_name") == "Policy":
            return "float32"
        return {key: _without_policies(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_without_policies(value) for value in config)
    return config
