"""Converting a trained network to a `.tflite` file: `larq_nas convert`."""

import dataclasses
import json
import logging
from typing import TYPE_CHECKING

import numpy as np

from larq_nas import runs, tables, zoo
from larq_nas.configs import ConvertConfig
from larq_nas.runs import locks
from larq_nas.space.architecture import Architecture
from larq_nas.space.stages import round_widths
from larq_nas.tasks.data import load_data, test_batches
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.trained import load_trained, trained_network

if TYPE_CHECKING:
    from larq_nas.converters.tflite import Conversion

logger = logging.getLogger(__name__)


def convert(config: ConvertConfig) -> "Conversion":
    """Converts a trained network and writes `model.tflite` and `model.report.json` to its run directory.

    # Arguments
        config: The configuration.

    # Returns
        A `converters.tflite.Conversion`, which holds the content of the file and the report.
    """
    with locks.hold(config.run_dir):
        return _convert(config)


def _convert(config):
    from larq_nas import datasets
    from larq_nas.converters import tflite

    run = runs.Run(config.run_dir)
    model, description = load_trained(run)
    if config.round_filters and isinstance(trained_network(run), zoo.Baseline):
        raise TaskError(f"round_filters: {model.name} is made by hand and has no genotype")
    table = _latency_table(config)
    samples = calibration = None
    try:
        data, changed = load_data(run, config.data_dir)
        if changed:
            how = "calibrated on the changed images" if config.int8 else "compared on random inputs only"
            logger.warning(
                f"{data.name}: has changed since the training ({changed}); the file has the classes of the training "
                f"and is {how}"
            )
        else:
            samples = next(test_batches(data, 32, 32))[0]
        if config.int8:
            if data.image_shape != tuple(description["image_shape"]):
                raise datasets.DatasetError(f"{data.name}: has changed since the training ({changed})")
            examples = data.train.take(config.calibration_examples)
            batches = datasets.evaluation_batches(data, examples, 64).as_numpy_iterator()
            calibration = np.concatenate([images for images, _ in batches])
    except datasets.DatasetError as error:
        if config.int8:
            raise TaskError(f"int8: needs training images to calibrate on: {error}") from None
        logger.warning("compared on random inputs only: %s", error)
    if config.round_filters:
        _round_filters(run, description, config.round_filters)
    # After a refused conversion, there must be no file of an earlier conversion. There is a report, if there was one
    # yet.
    run.tflite.unlink(missing_ok=True)
    run.report.unlink(missing_ok=True)
    try:
        conversion = tflite.convert(
            model,
            samples=samples,
            allow_float_fallback=config.allow_float_fallback,
            target=config.target,
            calibration=calibration,
            files=_attached(run, description),
        )
    except tflite.ConversionError as error:
        if error.report is not None:
            runs.write(run.report, error.report.to_dict())
        raise
    report = {**conversion.report.to_dict(), "preprocessing": description}
    if table:
        for layer, described in zip(conversion.report.layers, report["layers"], strict=True):
            described["estimated_ms"] = table.ms_of(layer)
    runs.write(run.report, report)
    runs.write(run.tflite, conversion.bytes)
    logger.info(tables.table(conversion.report.table(table and table.ms_of)))
    logger.info(conversion.report)
    if table:
        logger.info("milliseconds are estimates for %s, with normalization, sign and sum", table.device.get("device"))
    return conversion


def _latency_table(config):
    if config.latency_table is None:
        return None
    from larq_nas import latency

    return latency.Table.load(config.latency_table)


def _attached(run, description):
    """The files that are attached to a `.tflite` file: its classes, its preprocessing, its genotype, and its origin."""
    # The file must not reveal paths of the machine on which the network was trained.
    paths = ("data_dir", "genotype", "initial_weights")
    flags = {
        name: _without_path(value)
        for name, value in run.flag_values().items()
        if name not in paths or value in zoo.VARIANTS
    }
    description = {**description, "name": _without_path(description.get("name", ""))}
    network, genotype = trained_network(run), {}
    if isinstance(network, Architecture):
        genotype = {"genotype.json": dataclasses.replace(network, provenance=None).to_json()}
    provenance = {"flags": flags, "packages": run.packages()}
    return {
        "labels.txt": "\n".join(description["class_names"]) + "\n",
        "preprocessing.json": json.dumps(description, indent=2),
        **genotype,
        "provenance.json": json.dumps(provenance, indent=2),
    }


def _without_path(value):
    return "folder" if value.startswith("folder:") else value


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
    logger.info(tables.table(rows))
    logger.info("%s: to be trained", path)
