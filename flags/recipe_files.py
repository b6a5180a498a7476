"""The shipped recipes: flag files that are found by name."""

import pathlib

from larq_nas import zoo
from larq_nas.networks import chains
from larq_nas.space.architecture import Architecture, ArchitectureError

FOLDER = pathlib.Path(__file__).parent / "recipes"
# Data set -> the end of the name of its recipes; that of others is "images".
_KNOWN = {"cifar10": "cifar10", "imagenet2012": "imagenet", "digits": "quickstart"}


def recipes(command: str) -> list:
    """Names of the recipes of a command."""
    return sorted(path.stem for path in (FOLDER / command).glob("*.flags"))


def recipe_path(command: str, name: str) -> pathlib.Path:
    """The flag file of a recipe of a command."""
    return FOLDER / command / f"{name}.flags"


def find(command: str, name: str, beginning: str) -> str | None:
    """The recipe of a command that a name means, which may lack its beginning; `None` if there is none.

    # Arguments
        command: Name of the command.
        name: The name, e.g. `"quickstart"` or `"bnas_quickstart"`.
        beginning: The beginning of the names of the recipes, e.g. `"bnas"`; see `beginning_of`.
    """
    names = (f"{beginning}_{name}", f"{beginning.removesuffix('_real')}_{name}", name)
    return next((found for found in names if found in recipes(command)), None)


def default(command: str, dataset: str, beginning: str) -> str | None:
    """The recipe for a data set; `None` if the defaults are its recipe."""
    name = _KNOWN.get(dataset.partition(":")[0], "images")
    if (beginning, name) == ("bnas", "cifar10"):
        return None
    names = (f"{beginning}_{name}", f"{beginning}_cifar10")
    return next((found for found in names if found in recipes(command)), None)


def beginning_of(method: str, binary: bool) -> str:
    """The beginning of the names of the recipes of a method, which may have others for real-valued networks."""
    return method if binary else f"{method}_real"


def beginning_for(genotype: str | Architecture) -> str:
    """The beginning of the names of the recipes for the training of a network.

    # Arguments
        genotype: A genotype, a path of one, or the name of a network of the zoo.
    """
    if not isinstance(genotype, Architecture):
        if genotype in zoo.VARIANTS and genotype not in zoo.GENOTYPES:
            # The authors of BARS trained the other networks of the zoo, too.
            return "dms" if genotype in chains.WIDTHS else "bars"
        try:
            genotype = zoo.genotype(genotype) if genotype in zoo.GENOTYPES else Architecture.load(genotype)
        except ArchitectureError:
            # The command says what is wrong with it.
            return "bnas"
    return beginning_of(genotype.kind.method, genotype.binary)
