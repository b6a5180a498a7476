"""The commands: each reads its flags, calls the library, and ends with the path of what it made."""

import dataclasses
import hashlib
import json
import math
import pathlib
import shutil

import numpy as np
from absl import logging

from larq_nas import flags as definitions
from larq_nas import runs, zoo
from larq_nas.architecture import BATS, CHAINS, Architecture, ArchitectureError, round_widths
from larq_nas.converters.interpreter import ConversionError


class CommandError(ValueError):
    """A command cannot do what its flags ask for."""


def search(settings, flags: dict):
    """Searches a space; leaves `genotype.json`."""
    from larq_nas import costs, precision, rounds, training

    run = runs.Run(settings.run_dir)
    try:
        space, strategy_for = {"bnas": _bnas, "bars": _bars, "dms": _dms, "bats": _bats}[settings.method](settings)
        data = _start(run, "search", settings, flags)
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
    genotype = Architecture.load(run.genotype)
    print(genotype)
    _print_costs(costs.count(genotype, shape, classes))
    if strategy.limit:
        predicted, limit = strategy.limit.ms(genotype), strategy.limit
        print(f"predicted to take {predicted:.3f} ms on {limit.table.device.get('device')}, at most {limit.most} asked")
    print(run.genotype)


def _limit(settings, counted):
    """A function that makes the limit of a search, if it has one, from the images' shape and number of classes."""
    if (settings.latency_table is None) != (settings.max_latency_ms is None):
        raise CommandError("--latency_table, --max_latency_ms: each needs the other")
    if settings.max_latency_ms is None:
        return lambda shape, classes: None
    from larq_nas import latency

    table = latency.Table.load(settings.latency_table)

    def limit_for(shape, classes):
        limit = latency.Limit(table, settings.max_latency_ms, counted, shape, classes)
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
    """The space of a search, and a function that makes its strategy from the images' shape and number of classes."""
    from larq_nas.methods import bnas

    strategy = bnas.Strategy(settings.diversity, settings.diversity_decay, settings.reduce_index_bug)
    space = bnas.space(settings.layers, settings.filters)
    limit_for = _limit(settings, bnas.scale(space, **_genotype_size(settings)))
    return space, lambda shape, classes: dataclasses.replace(strategy, limit=limit_for(shape, classes))


def _bars(settings):
    """Likewise."""
    from larq_nas.methods import bars

    names = ("cells_per_stage", "shared_cells", "width_search", "depth_search", "cell_shortcut")
    space = bars.space(settings.filters, **{name: getattr(settings, name) for name in names})
    counted = bars.scale(space, settings.genotype_filters or settings.filters)
    budgets = {"biops": settings.budget, "params": settings.budget_params, "flops": settings.budget_flops}
    budgets = {name: definitions.amount(text) for name, text in budgets.items() if text}
    if budgets and settings.max_latency_ms is not None:
        print("--max_latency_ms takes the place of the budget")
        budgets = {}
    limit_for = _limit(settings, counted)
    if "biops" not in budgets and budgets:
        raise CommandError("--budget_params, --budget_flops: need --budget, too")
    names = ("epochs", "warmup_epochs", "temperature", "final_temperature", "entropy_weight", "gumbel", "samples")
    strategy = bars.Strategy(
        **{name: getattr(settings, name) for name in names},
        capacity_exponent=settings.capacity_exponent,
    )
    accepted = budgets if len(budgets) > 1 else {}
    more = {"budget": budgets.get("biops"), "accepted": accepted, "tolerance": settings.budget_tolerance}

    def strategy_for(shape, classes):
        limit = limit_for(shape, classes)
        return dataclasses.replace(strategy, counted=(counted, shape, classes), limit=limit, **more)

    return space, strategy_for


def _dms(settings):
    """Likewise; the space is the base network."""
    from larq_nas.methods import dms

    if settings.epochs % settings.rounds:
        raise CommandError(f"--epochs={settings.epochs}: must be a multiple of --rounds={settings.rounds}")
    names = ("rounds", "ratio", "scale", "final_scale", "memory_target", "memory_weight", "best_effort")
    names += ("genotype_megabytes",)
    options = {name: getattr(settings, name) for name in names}
    if settings.max_latency_ms is not None and (settings.memory_target or settings.genotype_megabytes):
        print("--max_latency_ms takes the place of --memory_target and --genotype_megabytes")
        options |= {"memory_target": None, "genotype_megabytes": None}
    strategy = dms.Strategy(**options)
    base = dms.space(_backbone(settings.backbone), settings.width)
    limit_for = _limit(settings, dms.derive(base, np.zeros(len(base.stages))))

    def strategy_for(shape, classes):
        limited = dataclasses.replace(strategy, limit=limit_for(shape, classes))
        limited.check(base, shape, classes)
        return limited

    return base, strategy_for


def _backbone(name):
    if name in CHAINS:
        return name
    if name not in zoo.GENOTYPES and not pathlib.Path(name).exists():
        raise CommandError(
            f"--backbone={name}: accepted are {', '.join(CHAINS)}, a genotype.json of bars, and the name of one of the "
            "zoo"
        )
    return _genotype(name)


def _bats(settings):
    """Likewise."""
    from larq_nas.methods import bats

    space = bats.space(
        settings.layers,
        settings.filters,
        **_groups(settings),
        binarize=settings.binarize,
        binarize_preprocess=settings.binarize_preprocess,
    )
    strategy = bats.Strategy(settings.softmax_temperature)
    _check_precision(space, settings)
    limit_for = _limit(settings, bats.scale(space, **_genotype_size(settings)))
    return space, lambda shape, classes: dataclasses.replace(strategy, limit=limit_for(shape, classes))


def _check_precision(architecture, settings):
    import tensorflow as tf

    if (
        architecture.template in BATS
        and settings.precision == "mixed_float16"
        and not tf.config.list_physical_devices("GPU")
    ):
        raise CommandError(
            "--precision=mixed_float16: on CPUs TensorFlow cannot train grouped convolutions in it; use float32 or "
            "mixed_bfloat16"
        )


def _groups(settings):
    groups = int(settings.groups) if settings.groups and settings.groups != "lce" else settings.groups
    return {"groups": groups, "channels_per_group": settings.channels_per_group}


def _counted(settings, data):
    """Shape of the images and number of classes for which costs count."""
    shape = settings.method == "bars" and settings.budget_shape
    classes = settings.method == "bars" and settings.budget_classes
    return tuple(map(int, shape)) if shape else data.image_shape, classes or len(data.class_names)


def train(settings, flags: dict):
    """Trains the network of a genotype; leaves `weights.h5`."""
    from larq_nas import costs, precision, recipes, training

    architecture = _scaled(_genotype(settings.genotype), settings)
    _check_precision(architecture, settings)
    staged = len(settings.stages) > 1
    if staged and (architecture.template == "bats_real" or settings.full_precision):
        raise CommandError("--stages=activations,weights: this network has no binary activations; use --stages=weights")
    run = runs.Run(settings.run_dir)
    data = _start(run, "train", settings, flags)
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
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            label_smoothing=settings.label_smoothing,
            clip_norm=settings.clip_norm,
            restart_epochs=settings.restart_epochs,
            optimizer=settings.optimizer,
            milestones=tuple(map(int, settings.milestones)),
        )
        names = ("epochs", "optimizer", "schedule", "learning_rate", "weight_decay")
        changed = {name: getattr(settings, f"activations_{name}") for name in names}
        changed = {name: value for name, value in changed.items() if value is not None}
        if changed and not staged:
            print(f"one stage: {', '.join(f'--activations_{name}' for name in changed)} are not used")
        runs.write(run.genotype, architecture.to_json())
        _print_costs(costs.count(architecture, data.image_shape, len(data.class_names)))
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
            return bats.scale(architecture, settings.filters, settings.layers, **_groups(settings))
        return bnas.scale(architecture, settings.filters, settings.layers)
    except ValueError as error:
        raise CommandError(str(error)) from None


def convert(settings, flags: dict):
    """Converts a trained network; leaves `model.tflite` and `model.report.json`."""
    from larq_nas import datasets
    from larq_nas.converters import tflite

    run = runs.Run(settings.run_dir)
    model, description = _trained(run)
    samples = calibration = None
    try:
        data = _data(run, settings.data_dir)
        samples = next(_test_batches(data, 32, 32))[0]
        if settings.int8:
            examples = data.train.take(settings.calibration_examples)
            batches = datasets.evaluation_batches(data, examples, 64).as_numpy_iterator()
            calibration = np.concatenate([images for images, _ in batches])
    except datasets.DatasetError as error:
        if settings.int8:
            raise CommandError(f"--int8: needs training images to calibrate on: {error}") from None
        print(f"compared on random inputs only: {error}")
    if settings.round_filters:
        _round_filters(run, description, settings.round_filters)
    table = _latency_table(settings)
    # A refused conversion leaves its report, and no file of an earlier one.
    run.tflite.unlink(missing_ok=True)
    try:
        conversion = tflite.convert(
            model,
            samples=samples,
            allow_float_fallback=settings.allow_float_fallback,
            target=settings.target,
            calibration=calibration,
            files=_attached(run, description),
        )
    except tflite.ConversionError as error:
        if error.report is not None:
            runs.write(run.report, error.report.to_dict())
        raise
    runs.write(run.report, {**conversion.report.to_dict(), "preprocessing": description})
    runs.write(run.tflite, conversion.bytes)
    _print_table(conversion.report.table(table and table.ms_of))
    print(conversion.report)
    if table:
        print(f"milliseconds are those of {table.device.get('device')}, with normalization, sign and sum")
    print(run.tflite)


def _latency_table(settings):
    if settings.latency_table is None:
        return None
    from larq_nas import latency

    return latency.Table.load(settings.latency_table)


def _attached(run, description):
    """What a file is to carry with it: the names of its classes, what to do with images, and where it comes from."""
    paths = ("data_dir", "genotype", "initial_weights")
    flags = {name: value for name, value in run.flag_values().items() if name not in paths}
    provenance = {"flags": flags, "packages": runs.read_json(run.environment)["packages"]}
    return {
        "labels.txt": "\n".join(description["class_names"]) + "\n",
        "preprocessing.json": json.dumps(description, indent=2),
        "genotype.json": run.genotype.read_text(encoding="utf-8"),
        "provenance.json": json.dumps(provenance, indent=2),
    }


def _round_filters(run, description, multiple):
    from larq_nas import costs

    genotype, shape = Architecture.load(run.genotype), tuple(description["image_shape"])
    rounded = round_widths(genotype, multiple)
    path = run.path / f"genotype-round{multiple}.json"
    runs.write(path, rounded.to_json())
    counts = [costs.count(g, shape, len(description["class_names"])) for g in (genotype, rounded)]
    rows = [("", "as trained", f"multiples of {multiple}")]
    for title, of in (
        ("parameters", "params"),
        ("bytes", "bytes"),
        ("binary multiply-accumulates", "binary_macs"),
        ("as LCE computes them, padded to 32 channels", "padded_binary_macs"),
        ("float multiply-accumulates", "float_macs"),
    ):
        rows.append((title, *(getattr(count, of) for count in counts)))
    _print_table(rows)
    print(f"{path}: to be trained")


def evaluate(settings, flags: dict):
    """Prints the test accuracy of a trained network and of its `.tflite`."""
    from larq_nas.converters import interpreter

    run = runs.Run(settings.run_dir)
    file = pathlib.Path(settings.tflite) if settings.tflite else run.tflite
    if settings.tflite and not file.is_file():
        raise CommandError(f"--tflite={file}: no such file")
    model, _ = _trained(run)
    content = file.read_bytes() if file.is_file() else None
    right = {"keras": 0, "tflite": 0, "both": 0}
    examples = 0
    for images, labels in _chunks(
        _test_batches(_data(run, settings.data_dir), settings.batch_size, settings.max_examples)
    ):
        classes = model.predict(images, settings.batch_size, verbose=0).argmax(axis=-1)
        right["keras"] += np.sum(classes == labels)
        examples += len(labels)
        if content is not None:
            outputs = interpreter.predict(content, images, settings.processes).argmax(axis=-1)
            right["tflite"] += np.sum(outputs == labels)
            right["both"] += np.sum(outputs == classes)
    result = {"examples": examples, "keras_accuracy": float(right["keras"] / examples)}
    if content is not None:
        result["tflite_accuracy"] = float(right["tflite"] / examples)
        result["agreement"] = float(right["both"] / examples)
    runs.write(run.path / "evaluation.json", result)
    print(json.dumps(result))
    print(run.path / "evaluation.json")


def benchmark(settings, flags: dict):
    """Times files on this machine or on a device; leaves `benchmark.json` and a chart of it."""
    from larq_nas import benchmark, devices

    names = ("threads", "runs", "warmup_runs", "use_xnnpack", "timeout")
    options = benchmark.Options(**{name: getattr(settings, name) for name in names})
    if settings.profile_operations:
        _profile(settings, options)
        return
    models = _models(settings.models)
    file = pathlib.Path(settings.run_dir) / "benchmark.json"
    chart = file.with_suffix(".png")
    measured = {name: [] for name in models}
    try:
        with benchmark.open_device(settings.device, settings.benchmark_binary) as device:
            # Whatever changes on the device meanwhile meets all files alike.
            for name in [*models] * settings.repeat:
                content, only_indirect = models[name]
                # On this machine the kernel is chosen by trying.
                indirect = only_indirect or (None if settings.device == "host" else False)
                chosen = dataclasses.replace(options, use_indirect_bgemm=indirect)
                measured[name].append(device.measure(content, chosen))
                chart.unlink(missing_ok=True)  # Of an earlier benchmark.
                runs.write(file, _benchmark_dict(models, measured, settings.device, options))
                print(f"{name}: {measured[name][-1].latency_ms['mean']:.3f} ms")
    except (devices.DeviceError, benchmark.BenchmarkError, ConversionError) as error:
        done = sum(map(len, measured.values()))
        kept = f"; {done} finished measurements are in {file}" if done else ""
        raise CommandError(f"{error}{kept}") from None
    for line in dict.fromkeys(line for rows in measured.values() for row in rows for line in row.warnings):
        print(f"note: {line}")
    summaries = {name: benchmark.summarize(rows) for name, rows in measured.items()}
    _print_latencies(summaries, {name: len(content) for name, (content, _) in models.items()}, settings.repeat)
    try:
        with runs.atomic(chart) as temporary:
            benchmark.draw(summaries, f"{settings.device}, threads: {options.threads}", temporary)
        print(chart)
    except ImportError:
        print("pip install matplotlib gives a chart, too")
    print(file)


def _profile(settings, options):
    """Times the operations of a method on this machine or on a device; leaves `latency.json`, or adds to it."""
    from larq_nas import benchmark, devices, latency, profiling

    try:
        size = tuple(map(int, settings.input_shape)), settings.num_classes
        blocks = [block for space in _profiled(settings) for block in latency.blocks(space, *size)]
    except ValueError as error:
        raise CommandError(str(error)) from None
    file = pathlib.Path(settings.run_dir) / "latency.json"
    known = latency.Table.load(file) if file.exists() else None
    described = {**dataclasses.asdict(options), "device": settings.device}
    if known and known.options != described:
        raise CommandError(f"{file}: holds times of another device or with other flags; choose another --run_dir")
    blocks = [block for block in dict.fromkeys(blocks) if not known or block not in known.measured]
    table = known
    try:
        if blocks:
            with benchmark.open_device(settings.device, settings.benchmark_binary) as device:
                for number, table in enumerate(profiling.measure(blocks, device, options, known), 1):
                    table.options["device"] = settings.device
                    runs.write(file, table.to_json())
                    block, ms = list(table.measured.items())[-1]
                    print(f"{number}/{len(blocks)} {block}: {ms:.4f} ms", flush=True)
    except (devices.DeviceError, benchmark.BenchmarkError, ConversionError) as error:
        kept = f"; {file} has {len(table.measured)} operations, and the same command goes on" if table else ""
        raise CommandError(f"{error}{kept}") from None
    print(f"{len(table.measured)} operations; {table.overhead:.4f} ms for a network without any")
    print(file)


def _profiled(settings):
    """The spaces whose operations are measured."""
    from larq_nas.methods import bars, bats, bnas, dms

    if settings.method == "bnas":
        return [bnas.space(settings.layers, settings.filters)]
    if settings.method == "bars":
        return [bars.space(settings.filters)]
    if settings.method == "bats":
        return [bats.space(settings.layers, settings.filters, **_groups(settings))]
    base = dms.space(_backbone(settings.backbone))
    # What lies between is fitted.
    return [dms.derive(base, np.full(len(base.stages), ratio)) for ratio in (0.25, 0.5, 1, 1.5)]


def _models(texts):
    """Name -> content of a file, and whether only LCE's indirect kernel runs it."""
    files = {}
    for text in texts:
        path = pathlib.Path(text)
        path = path / "model.tflite" if path.is_dir() else path
        files[path.resolve()] = path
    short = [real.parent.name if real.name == "model.tflite" else real.stem for real in files]
    models = {}
    for name, path in zip(short, files.values(), strict=True):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CommandError(f"--models={path}: {error.strerror}; larq_nas convert writes a model.tflite") from None
        if content[4:8] != b"TFL3":
            raise CommandError(f"--models={path}: not a .tflite file")
        report = path.with_suffix(".report.json")
        found = runs.read_json(report) if report.exists() else {}
        indirect = isinstance(found, dict) and found.get("use_indirect_bgemm") is True
        models[name if short.count(name) == 1 else str(path)] = (content, indirect)
    return models


def _benchmark_dict(models, measured, device, options):
    from larq_nas import benchmark

    return {
        "device": device,
        "options": dataclasses.asdict(options),
        "models": [
            {
                "name": name,
                "file_bytes": len(models[name][0]),
                "sha256": hashlib.sha256(models[name][0]).hexdigest(),
                "summary": benchmark.summarize(rows),
                "measurements": [row.to_dict() for row in rows],
            }
            for name, rows in measured.items()
            if rows
        ],
    }


def _print_latencies(summaries, sizes, repeat):
    rows = [("model", "ms", "fastest", "slowest", *(["spread"] if repeat > 1 else []), "peak MB", "bytes", "kernel")]
    for name, summary in summaries.items():
        ms = (summary["ms"], summary["min_ms"], summary["max_ms"], *([summary["spread_ms"]] if repeat > 1 else []))
        peak = summary["peak_memory_mb"]
        rows.append((name, *ms, "-" if peak is None else f"{peak:.1f}", sizes[name], summary["kernel"]))
    _print_table(rows)


def costs(settings, flags: dict):
    """Prints what the network of a genotype costs, layer by layer."""
    from larq_nas import costs

    genotype = _genotype(settings.genotype)
    variant = zoo.VARIANTS.get(settings.genotype)
    shape = tuple(int(size) for size in settings.input_shape or (variant.input_shape if variant else (32, 32, 3)))
    classes = settings.num_classes or (variant.num_classes if variant else 10)
    counts = costs.count(genotype, shape, classes)
    if settings.json:
        print(json.dumps(counts.to_dict()))
        return
    rows = [
        (row.name, "x".join(map(str, row.kernel)), row.binary_macs, row.float_macs, row.params, row.bytes)
        for row in counts.rows
    ]
    total = ("total", "", counts.binary_macs, counts.float_macs, counts.params, counts.bytes)
    _print_table([("layer", "kernel", "binary MACs", "float MACs", "parameters", "bytes"), *rows, total])
    _print_costs(counts)


def list_zoo(settings, flags: dict):
    """Lists the models of the zoo."""
    names = zoo.list_models(settings.pattern)
    if not names:
        raise CommandError(f"--pattern={settings.pattern}: no model; there are {', '.join(zoo.list_models())}")
    if settings.costs:
        _list_costs(names, settings.json)
        return
    if settings.json:
        print(json.dumps({name: dataclasses.asdict(zoo.VARIANTS[name]) for name in names}))
        return
    rows = [("model", "parameters", "MB", "data set", "reported (%)")]
    for name in names:
        variant = zoo.VARIANTS[name]
        rows.append((name, variant.parameters, variant.memory / 1e6, variant.dataset, variant.reported))
    _print_table(rows)


def _list_costs(names, as_json):
    from larq_nas import costs

    counted = {}
    for name in names:
        variant = zoo.VARIANTS[name]
        model = zoo.genotype(name) if name in zoo.GENOTYPES else getattr(zoo, name)()
        counted[name] = costs.count(model, variant.input_shape, variant.num_classes)
    if as_json:
        print(json.dumps({name: counts.to_dict() for name, counts in counted.items()}))
        return
    rows = [("model", "image", "FLOPs", "BiOps", "equivalent ops", "parameters", "bytes")]
    for name, counts in counted.items():
        image = "x".join(map(str, zoo.VARIANTS[name].input_shape))
        equivalent = round(counts.equivalent_ops)
        rows.append((name, image, counts.flops, counts.biops, equivalent, counts.params, counts.bytes))
    _print_table(rows)
    print("FLOPs and BiOps are two for each multiply-accumulate; equivalent ops are FLOPs + BiOps / 32")


def _print_table(rows):
    """Prints rows of texts and numbers, the first of them the header, in columns."""
    forms = {int: "{:,}", float: "{:,.2f}", str: "{}"}
    texts = [[forms[type(cell)].format(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(rows[0]))]
    right = [type(cell) is not str for cell in rows[1]]
    for row in texts:
        cells = (f"{cell:>{w}}" if r else f"{cell:<{w}}" for cell, w, r in zip(row, widths, right, strict=True))
        print("  ".join(cells).rstrip())


def _start(run, command, settings, flags):
    from larq_nas import datasets

    data = datasets.load(settings.dataset, settings.data_dir, settings.image_size, settings.train_examples)
    identity = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in flags.items()
        if name not in definitions.NOT_IDENTITY and value not in (None, [])
    }
    logging.info("run directory %s", run.path)
    run.start(command, identity, settings.overwrite)
    runs.write(run.dataset, data.describe())
    return data


def _genotype(name):
    if name in zoo.GENOTYPES:
        architecture = zoo.genotype(name)
    elif pathlib.Path(name).exists():
        architecture = Architecture.load(name)
    elif name in zoo.VARIANTS:
        raise CommandError(
            f"--genotype={name}: is made by hand and has no genotype; the zoo has those of {', '.join(zoo.GENOTYPES)} "
            f"(larq_nas zoo --costs --pattern={name} counts it)"
        )
    else:
        raise CommandError(f"--genotype={name}: no such file, and no genotype of the zoo ({', '.join(zoo.GENOTYPES)})")
    if not architecture.decided:
        raise ArchitectureError(f"{name}: is a search space, not a genotype; search it first")
    return architecture


def _trained(run):
    """The trained network of a run, and the description of its data set."""
    from larq_nas import networks

    for path in (run.flags, run.genotype, run.dataset, run.weights):
        if not path.exists():
            raise CommandError(f"{path}: missing; --run_dir must be the directory of a finished larq_nas train")
    description = runs.read_json(run.dataset)
    try:
        shape, names = tuple(description["image_shape"]), description["class_names"]
        binary = run.flag_values().get("full_precision") != "True"
        model = networks.build(Architecture.load(run.genotype), shape, len(names), binary=binary)
    except (KeyError, TypeError):
        raise CommandError(f"{run.dataset}: not the description of a data set") from None
    try:
        model.load_weights(run.weights)
    except (ValueError, OSError, KeyError) as error:
        raise CommandError(f"{run.weights}: not the weights of {run.genotype} ({error})") from None
    return model, description


def _data(run, data_dir):
    """The data set that a run was trained on."""
    from larq_nas import datasets

    flags = run.flag_values()
    image_size = int(flags["image_size"]) if "image_size" in flags else None
    return datasets.load(flags["dataset"], data_dir or flags.get("data_dir"), image_size)


def _test_batches(data, batch_size, most):
    from larq_nas import datasets

    examples = data.test if most is None else data.test.take(most)
    return datasets.evaluation_batches(data, examples, batch_size).as_numpy_iterator()


def _chunks(batches):
    """Batches put together, up to half a gigabyte each: running a file starts processes each time."""
    images, labels = [], []
    for x, y in batches:
        images.append(x)
        labels.append(y)
        if sum(part.nbytes for part in images) > 1 << 29:
            yield np.concatenate(images), np.concatenate(labels)
            images, labels = [], []
    if images:
        yield np.concatenate(images), np.concatenate(labels)


def _print_costs(counts):
    print(
        f"{counts.params:,} parameters, {counts.bytes:,} bytes, {counts.binary_macs:,} binary and "
        f"{counts.float_macs:,} float multiply-accumulates"
    )
    print(
        f"{counts.biops / 1e6:,.1f} M BiOps, {counts.flops / 1e6:,.1f} M FLOPs (two for each multiply-accumulate), "
        f"{counts.equivalent_ops / 1e6:,.1f} M equivalent operations (FLOPs + BiOps / 32)"
    )
