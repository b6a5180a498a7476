"""Loading the networks that configurations name: files, networks of the zoo, and architectures."""

import difflib
import pathlib
import typing
from collections.abc import Sequence

from larq_nas import options, runs, zoo
from larq_nas.networks import reachability, templates
from larq_nas.space.architecture import Architecture, ArchitectureError
from larq_nas.tasks.errors import TaskError

if typing.TYPE_CHECKING:
    from larq_nas.costs import Costs

_Config = typing.TypeVar("_Config", bound=options.Config)


def load_network(genotype: str | Architecture) -> Architecture | zoo.Baseline:
    """Loads the network that an option `genotype` names.

    # Arguments
        genotype: A genotype, the path of a file, or the name of a network of the zoo.

    # Returns
        An `Architecture`, or a `zoo.Baseline` for a network of the zoo that was not searched.

    # Raises
        TaskError: If there is no file and no network of this name.
        ArchitectureError: If the file is broken, or if the architecture is a search space.
    """
    if isinstance(genotype, Architecture):
        return _decided(genotype, "genotype")
    if pathlib.Path(genotype).is_dir() and genotype not in zoo.VARIANTS:
        raise TaskError(
            f"genotype={genotype}: is a directory; name its file, e.g. {pathlib.Path(genotype)}/genotype.json"
        )
    if genotype in zoo.VARIANTS:
        return zoo.genotype(genotype) if genotype in zoo.GENOTYPES else zoo.Baseline(genotype)
    return _decided(read(genotype), genotype)


def count_costs(network: Architecture | zoo.Baseline, input_shape: Sequence[int], num_classes: int) -> "Costs":
    """Counts the costs of a network.

    # Arguments
        network: An `Architecture`, or a `zoo.Baseline`.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.

    # Returns
        A `costs.Costs`.

    # Raises
        NetworkError: If the network cannot be built at this shape.
    """
    from larq_nas import costs

    if isinstance(network, zoo.Baseline):
        return network.count(input_shape, num_classes)
    return costs.count(network, input_shape, num_classes)


def read(path: pathlib.Path | str) -> Architecture:
    """Reads a genotype or a space from a file that an option `genotype` names.

    # Raises
        TaskError: If there is no such file.
        ArchitectureError: If the file is broken.
    """
    if not pathlib.Path(path).exists():
        raise TaskError(f"genotype={path}: no such file, and no network of the zoo{suggest(str(path))}")
    return Architecture.load(path)


def _decided(architecture, name):
    if not architecture.decided:
        raise ArchitectureError(f"{name}: is a search space, not a genotype; search it first")
    return architecture


def suggest(name: str) -> str:
    """The end of an error message: the names of the zoo that are similar to a wrong name, or all of them."""
    close = difflib.get_close_matches(pathlib.Path(name).stem.lower().replace("-", "_"), zoo.VARIANTS)
    return f"; did you mean {' or '.join(close)}?" if close else f" ({', '.join(zoo.list_models())})"


def with_genotypes(config: _Config) -> _Config:
    """Replaces the paths and names of genotypes in a configuration by architectures, for options with `is_genotype`."""
    found = {}
    for name, option in options.options(config).items():
        value = getattr(config, name)
        if not option.is_genotype or not isinstance(value, str):
            continue
        # The name of a network of the zoo wins over a file of the same name.
        if value in zoo.GENOTYPES or value not in zoo.VARIANTS and pathlib.Path(value).exists():
            found[name] = load_network(value)
            check_reachable(found[name], f"{name}={value}")
    return config.replace(**found) if found else config


def check_reachable(network: Architecture | zoo.Baseline, name: pathlib.Path | str) -> None:
    """Checks that the classifier of a network depends on the images. Errors begin with `name`.

    # Raises
        TaskError: If no image reaches the classifier.
    """
    if not isinstance(network, Architecture):
        return
    try:
        reached = reachability.reaches_classifier(network)
    except templates.NetworkError as error:
        raise TaskError(f"{name}: {error}") from None
    if not reached:
        raise TaskError(
            f"{name}: no image reaches the classifier, since each path through the cells has a `none`; search again, "
            "e.g. with another seed or more epochs"
        )


def kept_genotype(run: runs.Run) -> Architecture:
    """Loads the genotype of a run directory.

    # Raises
        TaskError: If the file is broken. The message says what to do.
    """
    try:
        return Architecture.load(run.genotype)
    except ArchitectureError as error:
        raise TaskError(f"{error}; start again with overwrite=True, or choose another run_dir") from None
