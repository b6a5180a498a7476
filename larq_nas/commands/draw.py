"""The command `larq_nas draw`."""

import pathlib

from larq_nas import configs, plots, runs, zoo
from larq_nas.space.architecture import Architecture
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import meant


def draw(config: configs.DrawConfig) -> None:
    """Draws the cells and the network of a genotype, and prints the paths of the files."""
    variant = zoo.VARIANTS.get(config.genotype)
    shape = config.input_shape or (variant.input_shape if variant else (32, 32, 3))
    classes = config.num_classes or (variant.num_classes if variant else 10)
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
    if not path.exists():
        raise TaskError(f"genotype={path}: no such file, and no network of the zoo{meant(genotype)}")
    return Architecture.load(path), path
