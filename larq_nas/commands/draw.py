"""The command `larq_nas draw`."""

import pathlib

from larq_nas import configs, plots, runs, zoo
from larq_nas.commands.costs import sizes
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import read


def draw(config: configs.DrawConfig) -> None:
    """Draws the cells and the network of a genotype, or what a search has done. Prints the paths of the files."""
    run = runs.Run(config.genotype)
    is_search = config.genotype not in zoo.VARIANTS and run.flags.exists() and run.is_of("search")
    try:
        # A search that goes on has no genotype yet.
        if run.genotype.exists() or config.output or not is_search:
            _draw_genotype(config)
        if is_search and not config.output:
            _draw_search(run)
    except ImportError:
        raise TaskError("drawings need matplotlib; pip install matplotlib") from None


def _draw_genotype(config):
    shape, num_classes = sizes(config)
    architecture, path = _architecture(config.genotype, shape)
    files = [pathlib.Path(config.output)] if config.output else _beside(path)
    _save(plots.draw(architecture, shape, num_classes), files)


def _draw_search(run):
    rows, epochs = plots.read(run)
    if not rows and not epochs:
        # A random search has no epochs.
        if not run.genotype.exists():
            raise TaskError(f"{run.path}: the search has not finished an epoch yet")
        return
    _save(plots.search(rows, epochs), _beside(run.path / "search"))
    if any("edges" in choice for choices in epochs for choice in choices.values()):
        with runs.atomic(run.path / "search.gif") as temporary:
            plots.animation(epochs, temporary)
        print(run.path / "search.gif")


def _beside(path):
    return [path.with_suffix(end) for end in (".svg", ".png")]


def _save(figure, files):
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
