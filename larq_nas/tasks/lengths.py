"""The length of a search or a training: computing the number of epochs from a number of steps."""

import logging
import math
import typing

from larq_nas import options
from larq_nas.configs import FitConfig

LEAST_EPOCHS = 6
logger = logging.getLogger(__name__)


def scale_epochs(config: FitConfig, examples: int) -> FitConfig:
    """Scales all options that are numbers of epochs, and logs them.

    The run then has about `config.steps` steps, but at least `LEAST_EPOCHS` epochs. Recipes give the length of a search
    or a training in steps, because the same number of steps is many epochs of a small data set and few epochs of a
    large one.

    # Arguments
        config: The configuration of a search or a training.
        examples: Number of images in an epoch.

    # Returns
        The configuration with scaled numbers of epochs. If `config.steps` is `None`, it is the given one.
    """
    steps = math.ceil(examples / config.batch_size)
    if config.steps is None:
        return config
    epochs = max(config.steps / steps, LEAST_EPOCHS)
    epochs = max(round(epochs / config.epochs_unit), 1) * config.epochs_unit
    logger.info(
        "%d epochs of %s steps, since %s images are to take about %s steps",
        *(epochs, f"{steps:,}", f"{examples:,}", f"{config.steps:,}"),
    )
    return of_epochs(config, epochs)


def of_epochs(config: FitConfig, epochs: int) -> FitConfig:
    """Changes the number of epochs of a configuration, and scales all other options that are numbers of epochs.

    # Arguments
        config: The configuration of a search or a training.
        epochs: The number of epochs.

    # Returns
        The configuration, whose `steps` are `None`.
    """
    factor = epochs / config.epochs
    values: dict[str, typing.Any] = {"epochs": epochs, "steps": None}
    for name, option in options.options(config).items():
        before = getattr(config, name)
        if option.in_epochs and before:
            values[name] = max(round(before * factor), 1) if isinstance(before, int) else before * factor
    milestones = getattr(config, "milestones", ())
    if milestones:
        # Few epochs leave fewer milestones.
        values["milestones"] = tuple(sorted({max(round(epoch * factor), 1) for epoch in milestones}))
    return config.replace(**values)
