"""`larq_nas train`."""

import math
import shutil

from larq_nas import chains, registry, runs, zoo
from larq_nas.architecture import Architecture
from larq_nas.commands.common import (
    CommandError,
    check_precision,
    check_reachable,
    group_options,
    kept_genotype,
    load_images,
    load_network,
    print_costs,
    start_run,
)
from larq_nas.commands.lengths import fit_epochs


def train(settings, flags: dict):
    """Trains the network of a genotype or of the zoo; leaves `weights.h5`."""
    from larq_nas import optimizers, precision, recipes, training

    architecture, build = _scaled(load_network(settings.genotype), settings), None
    check_precision(architecture, settings)
    check_reachable(architecture, f"--genotype={settings.genotype}")
    staged = len(settings.stages) > 1
    real = isinstance(architecture, Architecture) and not architecture.binary
    if staged and (settings.full_precision or real):
        raise CommandError("--stages=activations,weights: this network has no binary activations; use --stages=weights")
    run = runs.Run(settings.run_dir)
    data = load_images(settings)
    # Before anything is written: the images may be too small for the network.
    counts = _counts(architecture, data, settings)
    fit_epochs("train", settings, data.train_size)
    data = start_run(run, "train", settings, flags, data)
    if isinstance(architecture, zoo.Baseline):
        architecture, build = architecture.genotype(data.image_shape), architecture.build
    if run.genotype.exists() and kept_genotype(run) != architecture:
        raise CommandError(
            f"{run.path}: holds a training of another genotype than {settings.genotype} is now; "
            "choose another --run_dir, or start again with --overwrite"
        )
    if not run.weights.exists():
        recipe = recipes.Recipe(
            epochs=settings.epochs,
            steps_per_epoch=math.ceil(data.train_size / settings.batch_size),
            schedule=settings.schedule,
            learning_rate=optimizers.scaled_rate(
                settings.optimizer, settings.learning_rate, settings.batch_size, settings.reference_batch_size
            ),
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            label_smoothing=settings.label_smoothing,
            clip_norm=settings.clip_norm,
            restart_epochs=settings.restart_epochs,
            optimizer=settings.optimizer,
            milestones=tuple(map(int, settings.milestones)),
            warmup_epochs=settings.warmup_epochs,
        )
        names = ("epochs", "optimizer", "schedule", "learning_rate", "weight_decay")
        changed = {name: getattr(settings, f"activations_{name}") for name in names}
        changed = {name: value for name, value in changed.items() if value is not None}
        if changed and not staged:
            print(f"one stage: {', '.join(f'--activations_{name}' for name in changed)} are not used")
        if architecture is not None:
            runs.write(run.genotype, architecture.to_json())
        print_costs(counts)
        first = recipe.changed(**changed) if staged else None
        with precision.policy(settings.precision):
            training.train(architecture, data, run, recipe, settings, first, build)
        for folder in (run.backup, run.path / "activations" / "backup"):
            shutil.rmtree(folder, ignore_errors=True)
    metrics = runs.read_json(run.metrics)
    try:
        print(f"test accuracy {metrics['test_accuracy']:.2%} on {metrics['test_examples']:,} examples")
    except (KeyError, TypeError, ValueError):
        raise CommandError(f"{run.metrics}: broken; larq_nas evaluate measures the accuracy again") from None
    print(run.weights)


def _scaled(architecture, settings):
    """The genotype of a training at the asked size, after a check of what it is asked for."""
    from larq_nas.methods import bats, bnas

    template = registry.templates().get(architecture.template)
    method = template and template.method
    of_bats = {"groups": settings.groups, "channels_per_group": settings.channels_per_group}
    of_chains = {"full_precision": settings.full_precision, "initial_weights": settings.initial_weights}
    for networks, accepted, flags, none in (
        ("bnas and bats", method in ("bnas", "bats"), {"filters": settings.filters, "layers": settings.layers}, ""),
        ("bats", method == "bats", {**of_bats, "auxiliary_weight": settings.auxiliary_weight}, ""),
        (" and ".join(chains.WIDTHS), template and template.full_precision, of_chains, ""),
        ("cells", template and template.inputs, {"drop_path": settings.drop_path}, "; use --drop_path=0"),
    ):
        for name, value in flags.items():
            if value and not accepted:
                raise CommandError(f"--{name}: is for networks of {networks}, and {settings.genotype} is none{none}")
    if isinstance(architecture, zoo.Baseline):
        return architecture
    try:
        if architecture.kind.grouped:
            return bats.scale(architecture, settings.filters, settings.layers, **group_options(settings))
        return bnas.scale(architecture, settings.filters, settings.layers)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _counts(network, data, settings):
    """What a network costs; an error if it cannot take the images."""
    from larq_nas import costs, templates

    shape, classes = data.image_shape, len(data.class_names)
    try:
        if isinstance(network, zoo.Baseline):
            network = network.genotype(shape) or network.build(shape, classes)
        return costs.count(network, shape, classes)
    except templates.NetworkError as error:
        raise CommandError(f"{settings.genotype}: {error}; --image_size resizes images") from None
