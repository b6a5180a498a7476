"""Loading the trained network of a run directory."""

import os
import zipfile
from typing import TYPE_CHECKING, Any

from larq_nas import runs, zoo
from larq_nas.messages import first_line
from larq_nas.runs import fingerprints
from larq_nas.space.architecture import Architecture
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import check_reachable, kept_genotype

if TYPE_CHECKING:
    import tensorflow as tf


# What broken files raise.
_UNREADABLE = (AttributeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)


def load_trained(run: runs.Run) -> "tuple[tf.keras.Model, dict]":
    """Loads the trained network of a run.

    # Arguments
        run: The run directory.

    # Returns
        The Keras model, and the description of its data set, a dictionary.

    # Raises
        TaskError: If the training is not finished, or if its files are broken.
    """
    from larq_nas import networks

    for path in (run.flags, run.dataset, run.weights):
        if not path.exists():
            raise TaskError(f"{path}: missing; run_dir must be the directory of a finished larq_nas train")
    network, description = trained_network(run), fingerprints.read(run.dataset)
    shape, num_classes = tuple(description["image_shape"]), len(description["class_names"])
    check_reachable(network, run.genotype)
    if isinstance(network, zoo.Baseline):
        model = network.build(shape, num_classes)
    else:
        model = networks.build(network, shape, num_classes, binary=run.flag_values().get("full_precision") != "True")
    try:
        model.load_weights(run.weights)
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        name = network.name if isinstance(network, zoo.Baseline) else run.genotype
        raise TaskError(
            f"{run.weights}: not the weights of {name} ({error}); train again with overwrite=True"
        ) from None
    description.pop("origin", None)
    return model, description


def load_model(path: str | os.PathLike, **options: Any) -> "tf.keras.Model":
    """Loads a network that `model.save` has written. See `api.load_model`.

    # Raises
        TaskError: If the path holds no Keras model that can be loaded.
    """
    import tensorflow as tf

    # These modules register the layers, the optimizers and the losses of larq_nas.
    from larq_nas import training  # noqa: F401
    from larq_nas.networks import builder  # noqa: F401

    try:
        model = tf.keras.models.load_model(path, **options)
    except (*_UNREADABLE, tf.errors.OpError) as error:
        raise TaskError(f"{path}: holds no Keras model that can be loaded ({first_line(error)})") from None
    if not isinstance(model, tf.keras.Model):
        raise TaskError(f"{path}: holds a {type(model).__name__} and no Keras model; save one by model.save")
    return model


def trained_network(run: runs.Run) -> Architecture | zoo.Baseline:
    """The network that a run has trained: its genotype, or the `zoo.Baseline` that its flags name.

    # Raises
        TaskError: If `run` is not the run directory of a training.
    """
    name = run.flag_values().get("genotype")
    if run.genotype.exists():
        return kept_genotype(run)
    if name in zoo.VARIANTS and name not in zoo.GENOTYPES:
        return zoo.Baseline(name)
    raise TaskError(f"{run.genotype}: missing; run_dir must be the directory of a finished larq_nas train")
