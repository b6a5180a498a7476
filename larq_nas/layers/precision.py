"""Mixed precision: in how many bits networks compute.

Under a policy such as `mixed_bfloat16`, layers compute in 16 bits and keep their variables in 32. Products of ±1 are
exact in both. Variables are always 32 bits wide, so weights go from one policy to the other as they are.
"""

import contextlib

import tensorflow as tf

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


class PrecisionError(ValueError):
    """There is no such policy."""


@contextlib.contextmanager
def policy(name: str):
    """Inside, Keras layers are made with the given policy.

    # Arguments
        name: One of `POLICIES`.

    # Raises
        PrecisionError: If there is no such policy.
    """
    if name not in POLICIES:
        raise PrecisionError(f"precision {name!r} is unknown; accepted: {', '.join(POLICIES)}")
    keras = tf.keras.mixed_precision
    before = keras.global_policy()
    keras.set_global_policy(name)
    try:
        yield
    finally:
        keras.set_global_policy(before)


def scale_loss(optimizer):
    """The optimizer with the loss scaling that gradients of `mixed_float16` need; as it is under other policies."""
    keras = tf.keras.mixed_precision
    if keras.global_policy().name != "mixed_float16" or isinstance(optimizer, keras.LossScaleOptimizer):
        return optimizer
    return keras.LossScaleOptimizer(optimizer)


def gradients(tape, loss, variables, optimizer) -> list:
    """The gradients of a loss, computed from the scaled loss where `optimizer` scales it, and not scaled any more."""
    if not isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        return tape.gradient(loss, variables)
    with tape:
        loss = optimizer.get_scaled_loss(loss)
    return optimizer.get_unscaled_gradients(tape.gradient(loss, variables))


def float32(model: tf.keras.Model) -> tf.keras.Model:
    """The same network with the same weights, computing in 32 bits; the model itself if it does so already.

    # Arguments
        model: A functional or sequential model.
    """
    if not any(layer.compute_dtype in ("bfloat16", "float16") for layer in model._flatten_layers()):
        return model
    # The plain functional model of the same layers has a configuration that is complete.
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
