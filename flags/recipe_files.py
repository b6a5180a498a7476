"""The recipes of larq_nas: flag files that are found by name."""

import pathlib

from larq_nas import methods, zoo
from larq_nas.methods.dms.network import WIDTHS
from larq_nas.space.architecture import Architecture, ArchitectureError

FOLDER = pathlib.Path(__file__).parent / "recipes"
# The commands that train genotypes, by the same recipes.
TRAININGS = ("train", "compare", "rank", "tune")
# Data set -> the end of the names of its recipes. The recipes for other data sets end in "images".
_KNOWN = {"cifar10": "cifar10", "imagenet2012": "imagenet", "digits": "quickstart"}


def recipes(command: str) -> list:
    """The names of the recipes of a command, sorted."""
    return sorted(path.stem for path in _folder(command).glob("*.flags"))


def _folder(command):
    return FOLDER / ("train" if command in TRAININGS else command)


def recipe_path(command: str, name: str) -> pathlib.Path:
    """The path of the flag file of a recipe of a command."""
    return _folder(command) / f"{name}.flags"


def find(command: str, name: str, prefix: str) -> str | None:
    """Finds a recipe by its name, which may lack its prefix.

    # Arguments
        command: Name of the command.
        name: The name of the recipe, e.g. `"quickstart"` or `"bnas_quickstart"`.
        prefix: The prefix to add to the name, e.g. `"bnas"`, see `prefix_of`.

    # Returns
        The whole name of the recipe; `None` if there is no such recipe.
    """
    names = (f"{prefix}_{name}", f"{prefix.removesuffix('_real')}_{name}", name, f"bnas_{name}")
    return next((found for found in names if found in recipes(command)), None)


def default(command: str, dataset: str, prefix: str) -> str | None:
    """The name of the recipe for a data set.

    # Arguments
        command: Name of the command.
        dataset: The value of `--dataset`, e.g. `"cifar10"` or `"folder:PATH"`.
        prefix: The prefix of the names of the recipes of the method, see `prefix_of`.

    # Returns
        The name; `None` if there is no recipe, or if the defaults of the flags are the recipe.
    """
    name = _KNOWN.get(dataset.partition(":")[0], "images")
    if (prefix, name) == ("bnas", "cifar10"):
        return None
    names = (f"{prefix}_{name}", f"{prefix}_cifar10")
    return next((found for found in names if found in recipes(command)), None)


def prefix_of(method: str, binary: bool) -> str:
    """Returns the prefix of the names of a method's recipes: `"bats"` or, for real-valued networks, `"bats_real"`.

    A search at random or by evolution has the recipes of the method whose space it searches.
    """
    method = methods.space_of(method)
    return method if binary else f"{method}_real"


def prefix_for(genotype: str | Architecture) -> str:
    """Returns the prefix of the names of the recipes for the training of a network.

    # Arguments
        genotype: A genotype, the path of a file, or the name of a network of the zoo.

    # Returns
        The prefix, e.g. `"bnas"`.
    """
    if not isinstance(genotype, Architecture):
        genotype = genotype.removeprefix("zoo:")
        if genotype in zoo.VARIANTS and genotype not in zoo.GENOTYPES:
            # The authors of BARS also trained the other networks of the zoo.
            return "dms" if genotype in WIDTHS else "bars"
        try:
            genotype = zoo.genotype(genotype) if genotype in zoo.GENOTYPES else Architecture.load(genotype)
        except ArchitectureError:
            # The command will report what is wrong with the genotype.
            return "bnas"
    return prefix_of(genotype.kind.method, genotype.binary)
