"""`larq_nas benchmark`."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from larq_nas import runs, zoo
from larq_nas.commands.common import CommandError, group_options, load_backbone, meant, print_table
from larq_nas.converters.interpreter import ConversionError


def benchmark(settings, flags: dict):
    """Times files on this machine or on a device; leaves `benchmark.json` and a chart of it."""
    from larq_nas import benchmark, devices

    names = ("threads", "runs", "warmup_runs", "use_xnnpack", "timeout")
    options = benchmark.Options(**{name: getattr(settings, name) for name in names})
    if settings.profile_operations:
        _profile(settings, options)
        return
    for name in ("method", "filters", "layers", "groups", "channels_per_group", "backbone", "input_shape"):
        if settings[name].present and not (name == "input_shape" and any(map(zoo_name, settings.models))):
            raise CommandError(f"--{name}: is for --profile_operations, whose files are made here")
    models = _models(settings.models, settings)
    if settings.device == "host":
        _probe(models)
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
    if any(block.native_groups for block in blocks):
        # The only kernel for them, which then computes all other convolutions of a file, too.
        options = dataclasses.replace(options, use_indirect_bgemm=True)
    # A longer time-out changes no time.
    described = {**dataclasses.asdict(options), "device": settings.device, "timeout": None}
    if known and {**known.options, "timeout": None} != described:
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
        forms = {name: getattr(settings, name) for name in ("binarize", "binarize_preprocess")}
        return [bats.space(settings.layers, settings.filters, **group_options(settings), **forms)]
    base = dms.space(load_backbone(settings.backbone))
    # What lies between is fitted.
    return [dms.derive(base, np.full(len(base.stages), ratio)) for ratio in (0.25, 0.5, 1, 1.5)]


def zoo_name(text) -> bool:
    """Whether a text of `--models` is the name of a network of the zoo: a file or directory of this name wins."""
    return text in zoo.VARIANTS and not pathlib.Path(text).exists()


def _zoo_model(name, settings):
    """Content of the file of a network of the zoo, and whether only LCE's indirect kernel runs it."""
    from larq_nas.converters import tflite

    variant = zoo.VARIANTS[name]
    shape = tuple(map(int, settings.input_shape)) if settings["input_shape"].present else variant.input_shape
    classes = settings.num_classes if settings["num_classes"].present else variant.num_classes
    print(f"{name}: the network of the zoo for images of {'x'.join(map(str, shape))}, with untrained weights")
    try:
        conversion = tflite.convert(getattr(zoo, name)(input_shape=shape, num_classes=classes))
    except ValueError as error:
        raise CommandError(f"--models={name}: {error}") from None
    return conversion.bytes, conversion.report.use_indirect_bgemm


def _models(texts, settings):
    """Name -> content of a file, and whether only LCE's indirect kernel runs it."""
    files = {}
    made = {text: _zoo_model(text, settings) for text in dict.fromkeys(texts) if zoo_name(text)}
    for text in [text for text in texts if text not in made]:
        path = pathlib.Path(text)
        path = path / "model.tflite" if path.is_dir() else path
        files[path.resolve()] = path
    short = [real.parent.name if real.name == "model.tflite" else real.stem for real in files]
    short += made
    models = dict(made)
    for name, path in zip(short, files.values(), strict=False):
        try:
            content = path.read_bytes()
        except OSError as error:
            hint = meant(path.name) if len(path.parts) == 1 and not path.suffix else ""
            hint = hint and f", and no network of the zoo{hint}"
            raise CommandError(
                f"--models={path}: {error.strerror}{hint or '; larq_nas convert writes a model.tflite'}"
            ) from None
        if content[4:8] != b"TFL3":
            raise CommandError(f"--models={path}: not a .tflite file")
        report = path.with_suffix(".report.json")
        found = runs.read_json(report) if report.exists() else {}
        indirect = isinstance(found, dict) and found.get("use_indirect_bgemm") is True
        models[name if short.count(name) == 1 else str(path)] = (content, indirect)
    return models


def _probe(models):
    """Refuses files that would end this process."""
    from larq_nas.converters import interpreter

    for name, (content, _) in models.items():
        try:
            interpreter.probe(content)
        except ConversionError as error:
            raise CommandError(f"--models={name}: {error}") from None


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
    print_table(rows)
