"""What several commands share."""

import dataclasses
import difflib
import pathlib

from absl import logging

from larq_nas import chains, fingerprints, reachability, runs, templates, zoo
from larq_nas import flags as definitions
from larq_nas.architecture import Architecture, ArchitectureError


class CommandError(ValueError):
    """A command cannot do what its flags ask for."""


def print_table(rows):
    """Prints rows of texts and numbers, the first of them the header, in columns."""
    forms = {int: "{:,}", float: "{:,.2f}", str: "{}"}
    texts = [[forms[type(cell)].format(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(rows[0]))]
    right = [type(cell) is not str for cell in rows[1]]
    for row in texts:
        cells = (f"{cell:>{w}}" if r else f"{cell:<{w}}" for cell, w, r in zip(row, widths, right, strict=True))
        print("  ".join(cells).rstrip())


def print_costs(counts):
    """Prints what a network costs."""
    print(
        f"{counts.params:,} parameters, {counts.bytes:,} bytes, {counts.binary_macs:,} binary and "
        f"{counts.float_macs:,} float multiply-accumulates"
    )
    print(
        f"{counts.biops / 1e6:,.1f} M BiOps, {counts.flops / 1e6:,.1f} M FLOPs (two for each multiply-accumulate), "
        f"{counts.equivalent_ops / 1e6:,.1f} M equivalent operations (FLOPs + BiOps / 32)"
    )


def load_images(settings):
    """The data set of a search or a training."""
    names = ("dataset", "image_size", "channels", "augmentation")
    return _load({name: getattr(settings, name) for name in names}, settings.data_dir, settings.train_examples)


def start_run(run, command, settings, flags, data):
    """Begins or goes on with a run on a data set, and returns the data set with the weights of its classes."""
    identity = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in flags.items()
        if name not in definitions.NOT_IDENTITY and value not in (None, [])
    }
    logging.info("run directory %s", run.path)
    run.start(command, identity, settings.overwrite)
    if run.dataset.exists():
        changed = fingerprints.difference(fingerprints.read(run.dataset), data.describe())
        if changed:
            raise CommandError(
                f"{run.path}: holds a run on other data than {settings.dataset} is now ({changed}); bring the data "
                "back, choose another --run_dir, or start again with --overwrite"
            )
    else:
        runs.write(run.dataset, data.describe())
    if data.note:
        print(data.note)
    return _with_class_weights(data) if settings.class_weights else data


def _with_class_weights(data):
    from larq_nas import class_weights

    data = dataclasses.replace(data, class_weights=class_weights.balanced(data))
    weights = ", ".join(f"{n} {w:.3g}" for n, w in list(zip(data.class_names, data.class_weights, strict=True))[:20])
    print(f"weights of classes: {weights}{', …' * (len(data.class_names) > 20)}")
    return data


def _load(flags, data_dir, train_examples=None):
    from larq_nas import datasets

    image_size, channels = (int(flags[name]) if flags.get(name) else None for name in ("image_size", "channels"))
    # Random crops show parts of an image, so the network is evaluated on the central part.
    central_crop = flags.get("augmentation") == "imagenet" or None
    return datasets.load(
        flags["dataset"], data_dir, image_size, train_examples, channels=channels, central_crop=central_crop
    )


def load_network(name):
    """The genotype of a file or of the zoo, or a `zoo.Baseline`, which may have none."""
    if name in zoo.VARIANTS:
        return zoo.genotype(name) if name in zoo.GENOTYPES else zoo.Baseline(name)
    if not pathlib.Path(name).exists():
        raise CommandError(f"--genotype={name}: no such file, and no network of the zoo{meant(name)}")
    return load_genotype(name)


def meant(name) -> str:
    """The names of the zoo that a wrong name may have meant, or all of them, for the end of an error."""
    close = difflib.get_close_matches(pathlib.Path(name).stem.lower().replace("-", "_"), zoo.VARIANTS)
    return f"; did you mean {' or '.join(close)}?" if close else f" ({', '.join(zoo.list_models())})"


def load_genotype(name):
    """The genotype of a file or of the zoo."""
    architecture = zoo.genotype(name) if name in zoo.GENOTYPES else Architecture.load(name)
    if not architecture.decided:
        raise ArchitectureError(f"{name}: is a search space, not a genotype; search it first")
    return architecture


def kept_genotype(run):
    """The genotype of a run directory; an error says what to do if it is broken."""
    try:
        return Architecture.load(run.genotype)
    except ArchitectureError as error:
        raise CommandError(f"{error}; start again with --overwrite, or choose another --run_dir") from None


def check_reachable(architecture, name):
    """Refuses a genotype of whose images nothing reaches the classifier; `name` says which it is."""
    if not isinstance(architecture, Architecture):
        return
    try:
        reached = reachability.reaches_classifier(architecture)
    except templates.NetworkError as error:
        raise CommandError(f"{name}: {error}") from None
    if not reached:
        raise CommandError(
            f"{name}: no image reaches the classifier, since each path through the cells has a `none`; search again, "
            "e.g. with another --seed or more --epochs"
        )


def load_backbone(name):
    """What DMS starts from: the name of a network without cells, or a genotype."""
    if name in chains.WIDTHS:
        return name
    if name not in zoo.GENOTYPES and not pathlib.Path(name).exists():
        raise CommandError(
            f"--backbone={name}: accepted are {', '.join(chains.WIDTHS)}, a genotype.json of bars, and the name of one "
            "of the zoo"
        )
    genotype = load_genotype(name)
    check_reachable(genotype, f"--backbone={name}")
    return genotype


def group_options(settings):
    """The flags of the groups of BATS, as its functions take them."""
    groups = int(settings.groups) if settings.groups and settings.groups != "lce" else settings.groups
    return {"groups": groups, "channels_per_group": settings.channels_per_group}


def check_precision(architecture, settings):
    """Refuses a precision in which a network cannot be trained on this machine."""
    import tensorflow as tf

    if (
        isinstance(architecture, Architecture)
        and architecture.kind.grouped
        and settings.precision == "mixed_float16"
        and not tf.config.list_physical_devices("GPU")
    ):
        raise CommandError(
            "--precision=mixed_float16: on CPUs TensorFlow cannot train grouped convolutions in it; use float32 or "
            "mixed_bfloat16"
        )


def load_trained(run):
    """The trained network of a run, and the description of its data set."""
    from larq_nas import networks

    for path in (run.flags, run.dataset, run.weights):
        if not path.exists():
            raise CommandError(f"{path}: missing; --run_dir must be the directory of a finished larq_nas train")
    network, description = trained_network(run), fingerprints.read(run.dataset)
    shape, classes = tuple(description["image_shape"]), len(description["class_names"])
    check_reachable(network, run.genotype)
    if isinstance(network, zoo.Baseline):
        model = network.build(shape, classes)
    else:
        model = networks.build(network, shape, classes, binary=run.flag_values().get("full_precision") != "True")
    try:
        model.load_weights(run.weights)
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        name = network.name if isinstance(network, zoo.Baseline) else run.genotype
        raise CommandError(
            f"{run.weights}: not the weights of {name} ({error}); train again with --overwrite"
        ) from None
    description.pop("origin", None)
    return model, description


def trained_network(run):
    """What a run has trained: its genotype, or the `zoo.Baseline` that its flags name."""
    name = run.flag_values().get("genotype")
    if run.genotype.exists():
        return kept_genotype(run)
    if name in zoo.VARIANTS and name not in zoo.GENOTYPES:
        return zoo.Baseline(name)
    raise CommandError(f"{run.genotype}: missing; --run_dir must be the directory of a finished larq_nas train")


def load_data(run, data_dir):
    """The data set that a run was trained on, as it is now, and how it differs from what it was."""
    flags = run.flag_values()
    data = _load(flags, data_dir or flags.get("data_dir"))
    return data, fingerprints.difference(fingerprints.read(run.dataset), data.describe())


def load_same_classes(run, data_dir):
    """The data set of a run if its classes and images are those of the training; says what else has changed."""
    data, changed = load_data(run, data_dir)
    then, now = fingerprints.read(run.dataset), data.describe()
    if fingerprints.class_difference(then, now):
        raise CommandError(
            f"{data.name}: is not what {run.path} was trained on ({changed}); bring the data back, or train again"
        )
    if changed:
        known = fingerprints.trained_on(then, now)
        warning = f", and {known:,} of its images were trained on" if known else ""
        print(f"{data.name}: has changed since the training ({changed}): the test split is another one{warning}")
    return data


def test_batches(data, batch_size, most):
    """Batches of the test split, of at most so many examples; of all if `None`."""
    from larq_nas import datasets

    examples = data.test if most is None else data.test.take(most)
    return datasets.evaluation_batches(data, examples, batch_size).as_numpy_iterator()
