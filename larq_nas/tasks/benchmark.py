"""Timing `.tflite` files, or the operations of a search method: `larq_nas benchmark`."""

import dataclasses
import functools
import hashlib
import logging
import pathlib
from typing import TYPE_CHECKING

from larq_nas import devices, plots, runs, tables, zoo
from larq_nas.configs import BenchmarkConfig, MeasureConfig, ProfileConfig
from larq_nas.converters.interpreter import ConversionError
from larq_nas.devices import timing
from larq_nas.devices.benchmark_program import BenchmarkError
from larq_nas.runs import locks
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import suggest, with_genotypes

if TYPE_CHECKING:
    from larq_nas.latency import Table

logger = logging.getLogger(__name__)


def benchmark(config: BenchmarkConfig) -> dict:
    """Times files on this machine or on a device, and writes `benchmark.json` and a chart of it.

    # Arguments
        config: The configuration.

    # Returns
        The results of each file, see `timing.summarize`, by the name of the file.
    """
    with locks.hold(config.run_dir):
        return _benchmark(config)


def profile(config: ProfileConfig) -> "Table":
    """Times the operations of a method, and writes them to `latency.json` or adds them to it.

    # Arguments
        config: The configuration, see `configs.profile_config`.

    # Returns
        A `latency.Table`.
    """
    with locks.hold(config.run_dir):
        return _profile(config)


def _options(config: MeasureConfig):
    names = ("threads", "runs", "warmup_runs", "use_xnnpack", "timeout")
    return timing.Options(**{name: getattr(config, name) for name in names})


def _benchmark(config):
    options, models = _options(config), _models(config)
    if config.device == "host":
        _probe(models)
    file = pathlib.Path(config.run_dir) / "benchmark.json"
    chart = file.with_suffix(".png")
    measured = {name: [] for name in models}
    try:
        with timing.open_device(config.device, config.benchmark_binary) as device:
            # The files take turns, so that changes of the device in the meantime affect all files alike.
            for name in [*models] * config.repeat:
                content, only_indirect = models[name]
                # On this machine, `None` lets the kernel be chosen by trying.
                indirect = only_indirect or (None if config.device == "host" else False)
                chosen = dataclasses.replace(options, use_indirect_bgemm=indirect)
                measured[name].append(device.measure(content, chosen))
                chart.unlink(missing_ok=True)  # It belongs to an earlier benchmark.
                runs.write(file, _benchmark_dict(models, measured, config.device, options))
                logger.info("%s: %.3f ms", name, measured[name][-1].latency_ms["mean"])
    except (devices.DeviceError, BenchmarkError, ConversionError) as error:
        done = sum(map(len, measured.values()))
        kept = f"; {done} finished measurements are in {file}" if done else ""
        raise TaskError(f"{error}{kept}") from None
    for line in dict.fromkeys(line for rows in measured.values() for row in rows for line in row.warnings):
        logger.warning("note: %s", line)
    summaries = {name: timing.summarize(rows) for name, rows in measured.items()}
    logger.info(_latencies(summaries, {name: len(content) for name, (content, _) in models.items()}, config.repeat))
    draw = functools.partial(timing.draw, summaries=summaries, title=f"{config.device}, threads: {options.threads}")
    plots.write(chart, draw, size=(8, 1.5 + 0.4 * len(summaries)))
    return summaries


def _profile(config: ProfileConfig):
    from larq_nas import latency
    from larq_nas.devices import profiling

    options = _options(config)
    try:
        size = config.input_shape or (32, 32, 3), config.num_classes or 10
        blocks = [block for space in with_genotypes(config).spaces() for block in latency.blocks(space, *size)]
    except ValueError as error:
        raise TaskError(str(error)) from None
    file = pathlib.Path(config.run_dir) / "latency.json"
    known = latency.Table.load(file) if file.exists() else None
    if any(profiling.has_native_groups(block) for block in blocks):
        # Only the indirect kernel computes native groups. It then computes all other convolutions of the file, too.
        options = dataclasses.replace(options, use_indirect_bgemm=True)
    # The time-out does not influence the measured times.
    described = {**dataclasses.asdict(options), "device": config.device, "timeout": None}
    if known and {**known.options, "timeout": None} != described:
        raise TaskError(f"{file}: holds times of another device or with other options; choose another run_dir")
    blocks = [block for block in dict.fromkeys(blocks) if not known or block not in known.measured]
    table = known
    try:
        if blocks:
            with timing.open_device(config.device, config.benchmark_binary) as device:
                for number, table in enumerate(profiling.measure(blocks, device, options, known), 1):
                    table.options["device"] = config.device
                    runs.write(file, table.to_json())
                    block, ms = list(table.measured.items())[-1]
                    logger.info("%d/%d %s: %.4f ms", number, len(blocks), block, ms)
    except (devices.DeviceError, BenchmarkError, ConversionError) as error:
        kept = f"; {file} has {len(table.measured)} operations, and the same command goes on" if table else ""
        raise TaskError(f"{error}{kept}") from None
    assert table is not None  # Each space has operations, so some were measured if none were known.
    logger.info("%d operations; %.4f ms for a network without any", len(table.measured), table.overhead)
    return table


def zoo_name(text: str) -> bool:
    """Whether a value of `models` names a network of the zoo. A file or directory of this name has precedence."""
    return text in zoo.VARIANTS and not pathlib.Path(text).exists()


def _zoo_model(name, config):
    """The content of a `.tflite` file of a network of the zoo, and whether only the indirect kernel of LCE runs it."""
    from larq_nas.converters import tflite

    variant = zoo.VARIANTS[name]
    shape, num_classes = config.input_shape or variant.input_shape, config.num_classes or variant.num_classes
    size = "x".join(map(str, shape))
    logger.info("%s: the network of the zoo for images of %s, with untrained weights", name, size)
    try:
        conversion = tflite.convert(getattr(zoo, name)(input_shape=shape, num_classes=num_classes))
    except ValueError as error:
        raise TaskError(f"models={name}: {error}") from None
    return conversion.bytes, conversion.report.use_indirect_bgemm


def _models(config):
    """By its name, the content of each file, and whether only the indirect kernel of LCE runs it."""
    files = {}
    texts = config.models
    for name in ("input_shape", "num_classes"):
        if getattr(config, name) and not any(map(zoo_name, texts)):
            raise TaskError(f"{name}: is only for networks of the zoo and for profile_operations")
    made = {text: _zoo_model(text, config) for text in dict.fromkeys(texts) if zoo_name(text)}
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
            hint = suggest(path.name) if len(path.parts) == 1 and not path.suffix else ""
            hint = hint and f", and no network of the zoo{hint}"
            raise TaskError(
                f"models={path}: {error.strerror}{hint or '; larq_nas convert writes a model.tflite'}"
            ) from None
        if content[4:8] != b"TFL3":
            raise TaskError(f"models={path}: not a .tflite file")
        report = path.with_suffix(".report.json")
        found = runs.read_json(report) if report.exists() else {}
        indirect = isinstance(found, dict) and found.get("use_indirect_bgemm") is True
        models[name if short.count(name) == 1 else str(path)] = (content, indirect)
    return models


def _probe(models):
    """Refuses files that would crash this process."""
    from larq_nas.converters import interpreter

    for name, (content, _) in models.items():
        try:
            interpreter.probe(content)
        except ConversionError as error:
            raise TaskError(f"models={name}: {error}") from None


def _benchmark_dict(models, measured, device, options):
    return {
        "device": device,
        "options": dataclasses.asdict(options),
        "models": [
            {
                "name": name,
                "file_bytes": len(models[name][0]),
                "sha256": hashlib.sha256(models[name][0]).hexdigest(),
                "summary": timing.summarize(rows),
                "measurements": [row.to_dict() for row in rows],
            }
            for name, rows in measured.items()
            if rows
        ],
    }


def _latencies(summaries, sizes, repeat):
    rows = [("model", "ms", "fastest", "slowest", *(["spread"] if repeat > 1 else []), "peak MB", "bytes", "kernel")]
    for name, summary in summaries.items():
        ms = (summary["ms"], summary["min_ms"], summary["max_ms"], *([summary["spread_ms"]] if repeat > 1 else []))
        peak = summary["peak_memory_mb"]
        rows.append((name, *ms, "-" if peak is None else f"{peak:.1f}", sizes[name], summary["kernel"]))
    return tables.table(rows)
