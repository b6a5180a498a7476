"""Replicas: a network is searched, trained or evaluated on several devices of a machine."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from larq_nas.configs import EvaluateConfig, FitConfig
from larq_nas.tasks.errors import TaskError

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas import datasets

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def scope(config: FitConfig | EvaluateConfig, strategy: "tf.distribute.Strategy | None") -> Iterator[None]:
    """The scope in which the networks of a task are made.

    # Arguments
        config: The configuration of the task.
        strategy: A strategy that overrides the configured distribution, or `None`. Without either, the networks are
            made in the scope that the caller has opened, if there is one.

    # Raises
        TaskError: If the strategy is not accepted, or if the replicas cannot get equal parts of a batch.
    """
    if strategy is None and config.distribute == "none":
        yield
        return
    import tensorflow as tf

    strategy = _mirrored() if strategy is None else strategy
    _check_accepted(strategy)
    if tf.distribute.has_strategy() and tf.distribute.get_strategy() is not strategy:
        raise TaskError(
            "the scope of another tf.distribute.Strategy is open; leave this scope, or give neither strategy nor "
            "distribute"
        )
    _check(config.batch_size, strategy.num_replicas_in_sync)
    with strategy.scope():
        yield


@functools.cache
def _mirrored():
    """The strategy of all tasks of a process, since TensorFlow mixes up the reductions of several strategies."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy()


def check_devices(config: FitConfig) -> None:
    """Raises a `TaskError` if the GPUs of this machine could not get equal parts of a batch."""
    if config.distribute != "none":
        import tensorflow as tf

        _check(config.batch_size, max(len(tf.config.list_physical_devices("GPU")), 1))


def replicas(config: FitConfig | EvaluateConfig) -> int:
    """The number of replicas of the current scope.

    # Arguments
        config: The configuration of the task.

    # Raises
        TaskError: If the strategy of the scope is not accepted, or if the replicas cannot get equal parts of a batch.
    """
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    if tf.distribute.has_strategy():
        _check_accepted(strategy)
    count = strategy.num_replicas_in_sync
    _check(config.batch_size, count)
    if count == 1 and config.distribute != "none":
        logger.warning("distribute=%s: this machine has one device, which takes all images", config.distribute)
    if count > 1:
        logger.info("replicas: %d, each of which takes %d images of a batch", count, config.batch_size // count)
    return count


def divided(data: "datasets.Images", config: FitConfig) -> "datasets.Images":
    """The data set of a search or a training with the number of replicas of the current scope, see `replicas`."""
    return dataclasses.replace(data, replicas=replicas(config))


def _check_accepted(strategy):
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MirroredStrategy | tf.distribute.OneDeviceStrategy):
        raise TaskError(f"strategy={strategy!r}: accepted are a tf.distribute.MirroredStrategy and a OneDeviceStrategy")


def _check(batch_size, count):
    if batch_size % count:
        raise TaskError(
            f"batch_size={batch_size}: cannot be divided between {count} replicas; give a multiple of {count}"
        )
