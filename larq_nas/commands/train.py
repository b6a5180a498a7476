"""`larq_nas train`."""

import math
import shutil

from larq_nas import runs
from larq_nas.architecture import BATS, CHAINS, Architecture
from larq_nas.commands.common import (
    CommandError,
    check_precision,
    group_options,
    load_genotype,
    load_images,
    print_costs,
    start_run,
)
from larq_nas.commands.lengths import fit_epochs


def train(settings, flags: dict):
    """Trains the network of a genotype; leaves `weights.h5`."""
    from larq_nas import costs, optimizers, precision, recipes, training

    architecture = _scaled(load_genotype(settings.genotype), settings)
    check_precision(architecture, settings)
    staged = len(settings.stages) > 1
    if staged and (architecture.template == "bats_real" or settings.full_precision):
        raise CommandError("--stages=activations,weights: this network has no binary activations; use --stages=weights")
    run = runs.Run(settings.run_dir)
    data = load_images(settings)
    fit_epochs("train", settings, data.train_size)
    data = start_run(run, "train", settings, flags, data)
    if run.genotype.exists() and Architecture.load(run.genotype) != architecture:
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
        runs.write(run.genotype, architecture.to_json())
        print_costs(costs.count(architecture, data.image_shape, len(data.class_names)))
        with precision.policy(settings.precision):
            training.train(architecture, data, run, recipe, settings, recipe.changed(**changed) if staged else None)
        for folder in (run.backup, run.path / "activations" / "backup"):
            shutil.rmtree(folder, ignore_errors=True)
    metrics = runs.read_json(run.metrics)
    print(f"test accuracy {metrics['test_accuracy']:.2%} on {metrics['test_examples']:,} examples")
    print(run.weights)


def _scaled(architecture, settings):
    """The genotype of a training at the asked size, after a check of what it is asked for."""
    from larq_nas.methods import bats, bnas

    of_bats = {"groups": settings.groups, "channels_per_group": settings.channels_per_group}
    chains = {"full_precision": settings.full_precision, "initial_weights": settings.initial_weights}
    for accepted, flags in (
        (("bnas", *BATS), {"filters": settings.filters, "layers": settings.layers}),
        (BATS, {**of_bats, "auxiliary_weight": settings.auxiliary_weight}),
        (tuple(CHAINS), chains),
    ):
        for name, value in flags.items():
            if value and architecture.template not in accepted:
                methods = " and ".join(dict.fromkeys(template.partition("_")[0] for template in accepted))
                raise CommandError(
                    f"--{name}: is for networks of {methods}; {settings.genotype} is one of {architecture.template}"
                )
    try:
        if architecture.template in BATS:
            return bats.scale(architecture, settings.filters, settings.layers, **group_options(settings))
        return bnas.scale(architecture, settings.filters, settings.layers)
    except ValueError as error:
        raise CommandError(str(error)) from None
