"""How long a search or a training is: epochs that follow from the number of images."""

import math

LEAST_EPOCHS = 6
# Flags that count in epochs, beside --epochs itself.
_EPOCHS = {
    "search": ("warmup_epochs", "diversity_decay"),
    "train": ("warmup_epochs", "restart_epochs", "activations_epochs"),
}


def fit_epochs(command: str, settings, examples: int):
    """Stretches all flags that count in epochs, so that there are about `--steps` steps; prints what came out.

    A recipe says how long a search or a training is in steps, since a thousand steps are many epochs of a few hundred
    images and few of many thousand.

    # Arguments
        command: `"search"` or `"train"`.
        settings: The flags of the command.
        examples: Number of images that an epoch goes through.
    """
    steps = math.ceil(examples / settings.batch_size)
    if settings.steps is None:
        return
    rounds = settings.rounds if command == "search" and settings.method == "dms" else 1
    epochs = max(settings.steps / steps, LEAST_EPOCHS)
    epochs = max(round(epochs / rounds), 1) * rounds
    factor = epochs / settings.epochs
    values = {"epochs": epochs}
    for name in _EPOCHS[command]:
        before = getattr(settings, name)
        if before:
            values[name] = max(round(before * factor), 1) if isinstance(before, int) else before * factor
    for name, value in values.items():
        setattr(settings, name, value)
    print(f"{epochs} epochs of {steps:,} steps, since {examples:,} images are to take about {settings.steps:,} steps")
