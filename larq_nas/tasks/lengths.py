"""How long a search or a training is: epochs that follow from the number of images."""

import logging
import math

from larq_nas import options
from larq_nas.configs import FitConfig

LEAST_EPOCHS = 6
logger = logging.getLogger(__name__)


def fitted(config: FitConfig, examples: int) -> FitConfig:
    """Stretches all options that count in epochs, so that there are about `steps` steps; logs what came out.

    A recipe says how long a search or a training is in steps, since a thousand steps are many epochs of a few hundred
    images and few of many thousand.

    # Arguments
        config: The configuration of a search or a training.
        examples: Number of images that an epoch goes through.

    # Returns
        The configuration with other numbers of epochs, or as it is without `steps`.
    """
    steps = math.ceil(examples / config.batch_size)
    if config.steps is None:
        return config
    unit = getattr(config, "epochs_unit", 1)
    epochs = max(config.steps / steps, LEAST_EPOCHS)
    epochs = max(round(epochs / unit), 1) * unit
    factor, values = epochs / config.epochs, {"epochs": epochs}
    for name, option in options.options(config).items():
        before = getattr(config, name)
        if option.in_epochs and before:
            values[name] = max(round(before * factor), 1) if isinstance(before, int) else before * factor
    logger.info(
        "%d epochs of %s steps, since %s images are to take about %s steps",
        *(epochs, f"{steps:,}", f"{examples:,}", f"{config.steps:,}"),
    )
    return config.replace(**values)
