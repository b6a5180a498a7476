"""The data sets of tasks, and the run directories that are tied to them."""

import dataclasses
import logging

from larq_nas import runs
from larq_nas.configs import DataConfig
from larq_nas.runs import fingerprints
from larq_nas.tasks.errors import TaskError

logger = logging.getLogger(__name__)


def load_images(config: DataConfig):
    """The data set of a search or a training."""
    names = ("dataset", "image_size", "channels", "augmentation")
    return _load({name: getattr(config, name) for name in names}, config.data_dir, config.train_examples)


def start_run(run: runs.Run, command: str, config, data):
    """Begins or goes on with a run on a data set.

    # Arguments
        run: The run directory.
        command: Name of the command.
        config: The configuration of the run.
        data: The `datasets.Images`.

    # Returns
        The data set with the weights of its classes.

    # Raises
        RunError: If the directory holds another run.
        TaskError: If the run has begun on other data.
    """
    logger.debug("run directory %s", run.path)
    run.start(command, identity(config), config.overwrite)
    if run.dataset.exists():
        changed = fingerprints.difference(fingerprints.read(run.dataset), data.describe())
        if changed:
            raise TaskError(
                f"{run.path}: holds a run on other data than {config.dataset} is now ({changed}); bring the data "
                "back, choose another --run_dir, or start again with --overwrite"
            )
    else:
        runs.write(run.dataset, data.describe())
    if data.note:
        logger.info(data.note)
    return _with_class_weights(data) if config.class_weights else data


def identity(config) -> dict:
    """What makes a run what it is: texts by the names of flags."""
    method = getattr(config, "method", None)
    return {**config.texts(), **({"method": method} if method else {})}


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


def load_data(run: runs.Run, data_dir):
    """The data set that a run was trained on, as it is now, and how it differs from what it was."""
    flags = run.flag_values()
    data = _load(flags, data_dir or flags.get("data_dir"))
    return data, fingerprints.difference(fingerprints.read(run.dataset), data.describe())


def load_same_classes(run: runs.Run, data_dir):
    """The data set of a run if its classes and images are those of the training; says what else has changed."""
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


def test_batches(data, batch_size, most):
    """Batches of the test split, of at most so many examples; of all if `None`."""
    from larq_nas import datasets

    examples = data.test if most is None else data.test.take(most)
    return datasets.evaluation_batches(data, examples, batch_size).as_numpy_iterator()
