"""Searching a space: `larq_nas search`."""

import dataclasses
import logging
import pathlib
import shutil
from typing import TYPE_CHECKING

import numpy as np

from larq_nas import costs, options, runs, tables
from larq_nas.configs import SearchConfig
from larq_nas.networks import cells
from larq_nas.runs import locks
from larq_nas.space import stages
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes
from larq_nas.tasks import distribution
from larq_nas.tasks.data import check_apart, load_images, start_run, with_validation
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import check_reachable, kept_genotype, with_genotypes
from larq_nas.tasks.lengths import scale_epochs
from larq_nas.tasks.precisions import check_precision

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas import datasets

logger = logging.getLogger(__name__)

# The share of the highest entropy above which a search has decided hardly anything.
UNDECIDED = 0.9


def search(config: SearchConfig, strategy: "tf.distribute.Strategy | None" = None) -> Architecture:
    """Searches the space of a method and writes `genotype.json` to the run directory.

    # Arguments
        config: The configuration of the method.
        strategy: A strategy that overrides the option `distribute`.

    # Returns
        The genotype.
    """
    with distribution.scope(config, strategy), locks.hold(config.run_dir):
        return _search(config)


def _search(config):
    run, whole = runs.Run(config.run_dir), config
    try:
        config = with_genotypes(config)
        # The options are checked first, since reading the images may take long.
        space = config.space()
        check_precision(space, config)
        _check_latency_table(config)
        check_apart(config)
        data = distribution.divided(with_validation(load_images(config), config), config)
        config = scale_epochs(config, data.half_sizes[0])
        data = start_run(run, "search", whole, data)
        _keep_latency_table(run, config)
        _keep_genotypes(run, config)
        shape, num_classes = config.counted_images(data.image_shape, len(data.class_names))
        strategy = config.strategy(space, shape, num_classes)
    except ValueError as error:
        raise TaskError(str(error)) from None
    if not run.genotype.exists():
        from larq_nas.layers import precision

        size = "widths without bounds" if space.decided else f"{space.size:.3g} genotypes"
        logger.info("%s; %s + %s training examples", size, *(f"{half:,}" for half in data.half_sizes))
        with precision.policy(config.precision):
            config.search(space, strategy, data, run)
        shutil.rmtree(run.backup, ignore_errors=True)
    genotype = kept_genotype(run)
    logger.info(genotype)
    _warn_of_collapse(genotype, space)
    _warn_if_undecided(run, strategy, space)
    logger.info(tables.costs(costs.count(genotype, shape, num_classes)))
    if strategy.limit:
        _tell_latency(genotype, strategy.limit)
    check_reachable(genotype, run.genotype)
    return genotype


def check(config: SearchConfig, data: "datasets.Images") -> None:
    """Checks that a search can be done on a data set.

    # Arguments
        config: The configuration of the method.
        data: The `datasets.Images`.

    # Raises
        TaskError: If it cannot be done. The message says why.
    """
    try:
        config = with_genotypes(config)
        space = config.space()
        check_precision(space, config)
        distribution.check_devices(config)
        config.strategy(space, *config.counted_images(data.image_shape, len(data.class_names)))
    except ValueError as error:
        raise TaskError(str(error)) from None


def _warn_of_collapse(genotype, space):
    """Logs a warning if cells of the genotype that were searched have no convolution, or only one."""
    open_cells = {cell.name for cell in space.cells if any(len(edge.operations) > 1 for edge in cell.edges)}
    used = {name for _, name, _ in stages.sequence(genotype)} & open_cells
    searched = [cell for cell in genotype.cells if cell.name in used]
    poor = [cell for cell in searched if cells.convolutions(cell) < min(2, len(cell.edges))]
    if poor:
        counts = "; ".join(f"{cell.name}: {cell.counts}" for cell in poor)
        logger.warning(
            "warning: the search has collapsed to cells with no or one convolution (%s); search longer, with more "
            "images, or with another seed",
            counts,
        )


def _warn_if_undecided(run, strategy, space):
    """Logs a warning if the choices of a search by gradients are hardly more certain than at its beginning."""
    rows = run.rows()
    found = {name: value for name, value in rows[-1].items() if name.startswith("entropy")} if rows else {}
    if not found:
        return
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    most = strategy.metrics(space, even, 0)
    share = sum(found.values()) / sum(float(most[name]) for name in found)
    if share > UNDECIDED:
        logger.warning(
            "warning: the search has hardly decided: the entropy of its choices is %.0f%% of the highest, so that its "
            "most probable genotype is little better than a random one; search longer or with more images, keep the "
            "best of more finalists, or search by evolution",
            100 * share,
        )


def _tell_latency(genotype, limit):
    predicted, device = limit.ms(genotype), limit.table.device.get("device")
    logger.info("predicted to take %.3f ms on %s; max_latency_ms is %s", predicted, device, limit.max_ms)
    if predicted > limit.max_ms:
        logger.warning(
            "max_latency_ms is exceeded: no genotype that was drawn keeps it; give a larger limit, or more samples"
        )


def _check_latency_table(config):
    if config.latency_table is not None:
        from larq_nas import latency

        latency.Table.load(config.latency_table)


def _keep_genotypes(run, config):
    for name in options.options(config):
        value = getattr(config, name)
        if isinstance(value, Architecture):
            text = dataclasses.replace(value, provenance=None).to_json()
            _keep(run.path / f"{name}.json", text, f"{name}: is another genotype than when this search began")


def _keep_latency_table(run, config):
    if config.latency_table is not None:
        text = pathlib.Path(config.latency_table).read_text(encoding="utf-8")
        _keep(run.path / "latency.json", text, f"{config.latency_table}: has changed since this search began")


def _keep(file, text, otherwise):
    """Copies an input to the run directory, so that the search cannot continue with another one."""
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise TaskError(f"{otherwise}; choose another run_dir, or start again with overwrite=True")
    runs.write(file, text)
