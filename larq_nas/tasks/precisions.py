"""The check that a network can be trained in a precision on this machine."""

from typing import Any

from larq_nas.configs import FitConfig
from larq_nas.space.architecture import Architecture
from larq_nas.tasks.errors import TaskError


def check_precision(network: Any, config: FitConfig) -> None:
    """Raises a `TaskError` if a network cannot be trained in the configured precision on this machine."""
    if not isinstance(network, Architecture) or not network.kind.grouped or config.precision != "mixed_float16":
        return
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise TaskError(
            "precision=mixed_float16: on CPUs TensorFlow cannot train grouped convolutions in it; use float32 or "
            "mixed_bfloat16"
        )
