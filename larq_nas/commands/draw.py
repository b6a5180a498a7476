"""The command `larq_nas draw`."""

import pathlib

from larq_nas import configs, plots, runs, zoo
from larq_nas.commands.costs import sizes
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import read


def draw(config: configs.DrawConfig) -> None:
    """Draws the cells and the network of a genotype, and prints the paths of the files."""
    shape, classes = sizes(config)
    architecture, path = _architecture(config.genotype, shape)
    try:
        figure = plots.draw(architecture, shape, classes)
    except ImportError:
        raise TaskError("drawings need matplotlib; pip install matplotlib") from None
    files = [pathlib.Path(config.output)] if config.output else [path.with_suffix(end) for end in (".svg", ".png")]
    for file in files:
        with runs.atomic(file) as temporary:
            plots.save(figure, temporary)
        print(file)


def _architecture(genotype, input_shape):
    """The architecture to draw, and the path of its file."""
    path = pathlib.Path(genotype)
    if genotype in zoo.GENOTYPES:
        return zoo.genotype(genotype), path
    if genotype in zoo.VARIANTS:
        found = zoo.Baseline(genotype).genotype(input_shape)
        if found is None:
            raise TaskError(f"genotype={genotype}: is a network made by hand, which has no genotype to draw")
        return found, path
    if path.is_dir():
        path /= "genotype.json"
    return read(path), path
