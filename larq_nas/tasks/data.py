"""The data sets of tasks, and the check that a run continues on the data set with which it has begun."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from larq_nas import runs
from larq_nas.configs import DataConfig
from larq_nas.runs import fingerprints
from larq_nas.tasks.errors import TaskError

if TYPE_CHECKING:
    from larq_nas import datasets

logger = logging.getLogger(__name__)


def load_images(config: DataConfig) -> "datasets.Images":
    """Loads the data set of a search or a training, a `datasets.Images`."""
    names = ("dataset", "image_size", "channels", "augmentation")
    return _load({name: getattr(config, name) for name in names}, config.data_dir, config.train_examples)


def check_apart(config: Any) -> None:
    """Checks that the run directory is not in the folder of the images, where it would be taken for a class.

    # Raises
        TaskError: If it is.
    """
    kind, _, folder = config.dataset.partition(":")
    if kind != "folder" or not folder:
        return
    from larq_nas.datasets import folders

    if folders.would_read(folder, config.run_dir):
        raise TaskError(f"run_dir={config.run_dir}: is in the folder of the images, {config.dataset}; choose another")


def with_validation(data: "datasets.Images", config: Any) -> "datasets.Images":
    """Holds out the validation images of a search or a training, see `datasets.validation`.

    # Arguments
        data: The `datasets.Images`.
        config: The configuration, which has the option `validation_fraction`.

    # Returns
        The `datasets.Images`; the given one if the option is 0.
    """
    if not config.validation_fraction:
        return data
    from larq_nas.datasets import validation

    data = validation.hold_out(data, config.validation_fraction)
    logger.info("%s training and %s validation images", f"{data.train_size:,}", f"{data.validation_size:,}")
    return data


def start_run(
    run: runs.Run, command: str, config: Any, data: "datasets.Images", joins: bool = False
) -> "datasets.Images":
    """Begins a run on a data set, or continues it.

    # Arguments
        run: The run directory.
        command: Name of the command.
        config: The configuration of the run.
        data: The `datasets.Images`.
        joins: Whether another process has begun the run, so that nothing is written.

    # Returns
        The `datasets.Images`, with the weights of the classes if they are configured.

    # Raises
        RunError: If the directory holds another run.
        TaskError: If the data set has changed since the run began.
    """
    logger.debug("run directory %s", run.path)
    if joins:
        run.check(command, config.texts())
    else:
        run.start(command, config.texts(), config.overwrite)
    if run.dataset.exists():
        changed = fingerprints.difference(fingerprints.read(run.dataset), data.describe())
        if changed:
            raise TaskError(
                f"{run.path}: holds a run on other data than {config.dataset} is now ({changed}); bring the data "
                "back, choose another run_dir, or start again with overwrite=True"
            )
    else:
        runs.write(run.dataset, data.describe())
    if data.note:
        logger.info(data.note)
    return _with_class_weights(data) if config.class_weights else data


def _with_class_weights(data):
    from larq_nas.training import class_weights

    data = dataclasses.replace(data, class_weights=class_weights.balanced(data))
    weights = ", ".join(f"{n} {w:.3g}" for n, w in list(zip(data.class_names, data.class_weights, strict=True))[:20])
    logger.info("weights of classes: %s%s", weights, ", …" * (len(data.class_names) > 20))
    return data


def _load(flags, data_dir, train_examples=None):
    from larq_nas import datasets

    image_size, channels = (int(flags[name]) if flags.get(name) else None for name in ("image_size", "channels"))
    # Random crops show parts of an image, so the network is evaluated on the central part.
    central_crop = flags.get("augmentation") == "imagenet" or None
    return datasets.load(
        flags["dataset"], data_dir, image_size, train_examples, channels=channels, central_crop=central_crop
    )


def load_data(run: runs.Run, data_dir: str | None) -> "tuple[datasets.Images, str]":
    """Loads the data set of a run. Returns it, and a text that says how it has changed since the run."""
    flags = run.flag_values()
    with runs.expected_form(run.flags):
        given = {"dataset": flags["dataset"], "augmentation": flags.get("augmentation")}
        given |= {name: int(flags[name]) for name in ("image_size", "channels") if name in flags}
    data = _load(given, data_dir or flags.get("data_dir"))
    return data, fingerprints.difference(fingerprints.read(run.dataset), data.describe())


def load_same_classes(run: runs.Run, data_dir: str | None) -> "datasets.Images":
    """Loads the data set of a run and checks that its classes and the shape of its images have not changed.

    Other changes are logged as a warning.

    # Raises
        TaskError: If the classes or the shape of the images have changed.
    """
    data, changed = load_data(run, data_dir)
    then, now = fingerprints.read(run.dataset), data.describe()
    if fingerprints.class_difference(then, now):
        raise TaskError(
            f"{data.name}: is not what {run.path} was trained on ({changed}); bring the data back, or train again"
        )
    if changed:
        known = fingerprints.trained_on(then, now)
        warning = f", and {known:,} of its images were trained on" if known else ""
        logger.warning(
            "%s: has changed since the training (%s): the test split is another one%s", data.name, changed, warning
        )
    return data


def test_batches(data: "datasets.Images", batch_size: int, most: int | None) -> Iterator[tuple]:
    """The batches of the test split, or of its first `most` examples, as NumPy arrays."""
    from larq_nas import datasets

    examples = data.test if most is None else data.test.take(most)
    return datasets.evaluation_batches(data, examples, batch_size).as_numpy_iterator()
