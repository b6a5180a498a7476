"""`larq_nas search`."""

import dataclasses
import pathlib
import shutil

import numpy as np

from larq_nas import cells, runs
from larq_nas import flags as definitions
from larq_nas.commands.common import (
    CommandError,
    check_precision,
    check_reachable,
    group_options,
    kept_genotype,
    load_backbone,
    load_images,
    print_costs,
    start_run,
)
from larq_nas.commands.lengths import fit_epochs


def search(settings, flags: dict):
    """Searches a space; leaves `genotype.json`."""
    from larq_nas import costs, precision, rounds, training

    run = runs.Run(settings.run_dir)
    try:
        # Wrong flags are found before the images are read, and once more with the epochs that follow from the images.
        prepare = {"bnas": _bnas, "bars": _bars, "dms": _dms, "bats": _bats}[settings.method]
        prepare(settings)
        if (settings.warmup_epochs or 0) >= settings.epochs:
            raise CommandError(
                f"--warmup_epochs={settings.warmup_epochs}: must be less than --epochs={settings.epochs}"
            )
        data = load_images(settings)
        fit_epochs("search", settings, data.half_sizes[0])
        space, strategy_for = prepare(settings)
        data = start_run(run, "search", settings, flags, data)
        _keep_latency_table(run, settings)
        shape, classes = _counted(settings, data)
        strategy = strategy_for(shape, classes)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not run.genotype.exists():
        size = "widths without bounds" if space.decided else f"{space.size:.3g} genotypes"
        print(f"{size}; {data.half_sizes[0]:,} + {data.half_sizes[1]:,} training examples")
        with precision.policy(settings.precision):
            find = rounds.search if settings.method == "dms" else training.search
            find(strategy, space, data, run, settings)
        shutil.rmtree(run.backup, ignore_errors=True)
    genotype = kept_genotype(run)
    print(genotype)
    _warn_of_collapse(genotype)
    print_costs(costs.count(genotype, shape, classes))
    if strategy.limit:
        predicted, limit = strategy.limit.ms(genotype), strategy.limit
        print(f"predicted to take {predicted:.3f} ms on {limit.table.device.get('device')}, at most {limit.most} asked")
        if predicted > limit.most:
            print("the limit is not kept: no genotype was drawn that keeps it; give a looser one, or more --samples")
    check_reachable(genotype, run.genotype)
    print(run.genotype)


def _warn_of_collapse(genotype):
    """Says so in one line if cells were found that have no convolution."""
    poor = [cell for cell in genotype.cells if not cells.convolutions(cell)]
    if poor:
        counts = "; ".join(f"{cell.name}: {cell.counts}" for cell in poor)
        print(
            f"warning: the search has collapsed to cells without a convolution ({counts}); search longer, with more "
            "images, or with another --seed"
        )


def _keep_latency_table(run, settings):
    """Keeps the table of a search beside it, so that it does not go on with another."""
    if settings.latency_table is None:
        return
    text, kept = pathlib.Path(settings.latency_table).read_text(encoding="utf-8"), run.path / "latency.json"
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise CommandError(
            f"{settings.latency_table}: has changed since this search began; choose another --run_dir, or --overwrite"
        )
    runs.write(kept, text)


def _limit(settings, counted, excluded=()):
    """A function that makes the limit of a search, if it has one, from the images' shape and number of classes."""
    if (settings.latency_table is None) != (settings.max_latency_ms is None):
        raise CommandError("--latency_table, --max_latency_ms: each needs the other")
    if settings.max_latency_ms is None:
        return lambda shape, classes: None
    from larq_nas import latency

    table = latency.Table.load(settings.latency_table)

    def limit_for(shape, classes):
        limit = latency.Limit(table, settings.max_latency_ms, counted, shape, classes, excluded)
        least = latency.fastest(limit)
        if least > limit.most:
            raise CommandError(
                f"--max_latency_ms={limit.most}: the fastest network of this space is predicted to take {least:.3f} ms"
            )
        return limit

    return limit_for


def _genotype_size(settings):
    """Filters and layers of the network for which the limit of a search counts."""
    sizes = {"filters": settings.genotype_filters, "layers": settings.genotype_layers}
    sizes = {name: value for name, value in sizes.items() if value is not None}
    if sizes and settings.max_latency_ms is None:
        raise CommandError("--genotype_filters, --genotype_layers: say for which network --max_latency_ms counts")
    return sizes


def _bnas(settings):
    """The space of a search with BNAS, and a function that makes its strategy from the images' shape and classes."""
    from larq_nas.methods import bnas

    strategy = bnas.Strategy(
        settings.diversity,
        settings.diversity_decay,
        settings.reduce_index_bug,
        warmup_epochs=settings.warmup_epochs or 0,
        normalize=settings.normalize,
    )
    space = bnas.space(settings.layers, settings.filters)
    limit_for = _limit(settings, bnas.scale(space, **_genotype_size(settings)))
    return space, lambda shape, classes: dataclasses.replace(strategy, limit=limit_for(shape, classes))


def _bars(settings):
    """The space of a search with BARS, and a function that makes its strategy from the images' shape and classes."""
    from larq_nas.methods import bars

    names = ("cells_per_stage", "shared_cells", "width_search", "depth_search", "cell_shortcut")
    space = bars.space(settings.filters, **{name: getattr(settings, name) for name in names})
    counted = bars.scale(space, settings.genotype_filters or settings.filters)
    budgets = {"biops": settings.budget, "params": settings.budget_params, "flops": settings.budget_flops}
    budgets = {name: text for name, text in budgets.items() if text}
    replaced = budgets if settings.max_latency_ms is not None else {}
    budgets = {} if replaced else budgets
    limit_for = _limit(settings, counted)
    if "biops" not in budgets and budgets:
        raise CommandError("--budget_params, --budget_flops: need --budget, too")
    names = ("epochs", "temperature", "final_temperature", "entropy_weight", "gumbel", "samples")
    strategy = bars.Strategy(
        warmup_epochs=bars.Strategy.warmup_epochs if settings.warmup_epochs is None else settings.warmup_epochs,
        **{name: getattr(settings, name) for name in names},
        capacity_exponent=settings.capacity_exponent,
    )

    def strategy_for(shape, classes):
        if replaced:
            print("--max_latency_ms takes the place of the budget")
        amounts = {
            name: bars.share_of_range(counted, float(text[:-1]) / 100, shape, classes)
            if text.endswith("%")
            else definitions.amount(text)
            for name, text in budgets.items()
        }
        if (settings.budget or "").endswith("%") and budgets:
            print(f"budget: {amounts['biops']:,.0f} binary operations")
        accepted = amounts if len(amounts) > 1 else {}
        more = {"budget": amounts.get("biops"), "accepted": accepted, "tolerance": settings.budget_tolerance}
        limit = limit_for(shape, classes)
        return dataclasses.replace(strategy, counted=(counted, shape, classes), limit=limit, **more)

    return space, strategy_for


def _dms(settings):
    """The base network of a DMS search, and a function that makes its strategy from the images' shape and classes."""
    from larq_nas.methods import dms

    if settings.epochs % settings.rounds:
        raise CommandError(f"--epochs={settings.epochs}: must be a multiple of --rounds={settings.rounds}")
    names = ("rounds", "ratio", "scale", "final_scale", "memory_target", "memory_weight", "best_effort")
    names += ("genotype_megabytes",)
    options = {name: getattr(settings, name) for name in names}
    replaced = settings.max_latency_ms is not None and (settings.memory_target or settings.genotype_megabytes)
    if replaced:
        options |= {"memory_target": None, "genotype_megabytes": None}
    strategy = dms.Strategy(**options)
    base = dms.space(load_backbone(settings.backbone), settings.width)
    limit_for = _limit(settings, dms.derive(base, np.zeros(len(base.stages))))

    def strategy_for(shape, classes):
        if replaced:
            print("--max_latency_ms takes the place of --memory_target and --genotype_megabytes")
        limited = dataclasses.replace(strategy, limit=limit_for(shape, classes))
        limited.check(base, shape, classes)
        return limited

    return base, strategy_for


def _bats(settings):
    """The space of a search with BATS, and a function that makes its strategy from the images' shape and classes."""
    from larq_nas.methods import bats

    space = bats.space(
        settings.layers,
        settings.filters,
        **group_options(settings),
        binarize=settings.binarize,
        binarize_preprocess=settings.binarize_preprocess,
    )
    strategy = bats.Strategy(
        settings.softmax_temperature, warmup_epochs=settings.warmup_epochs or 0, normalize=settings.normalize
    )
    check_precision(space, settings)
    limit_for = _limit(settings, bats.scale(space, **_genotype_size(settings)), ("none",))
    return space, lambda shape, classes: dataclasses.replace(strategy, limit=limit_for(shape, classes))


def _counted(settings, data):
    """Shape of the images and number of classes for which costs count."""
    shape = settings.method == "bars" and settings.budget_shape
    classes = settings.method == "bars" and settings.budget_classes
    return tuple(map(int, shape)) if shape else data.image_shape, classes or len(data.class_names)
