"""What a search keeps: the genotype of its best epoch, or the best one of several candidates."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from larq_nas import costs, datasets, runs
from larq_nas.space.architecture import Architecture
from larq_nas.training import callbacks, finalists

logger = logging.getLogger(__name__)


def write_genotype(genotype: Architecture, provenance: dict, path: pathlib.Path | str) -> None:
    """Writes the genotype that a search has found, with its provenance."""
    runs.write(path, dataclasses.replace(genotype, provenance=provenance).to_json())


def of_best_epoch(rows: list, run: runs.Run, variants: Iterable[str], provenance: dict) -> None:
    """Writes the genotypes of the epoch with the best validation accuracy.

    # Arguments
        rows: The rows of `metrics.csv` among which this function chooses.
        run: The run directory of the search, with the genotypes of all epochs.
        variants: The suffixes of the files of an epoch, see `strategy.Strategy`.
        provenance: The provenance of the search.
    """
    best = max(rows, key=lambda row: row["val_accuracy"])
    provenance["result"] = {"epoch": int(best["epoch"]) + 1, "validation_accuracy": best["val_accuracy"]}
    for suffix in reversed(list(variants)):
        genotype = Architecture.load(run.genotypes / callbacks.Genotypes.file_name(best["epoch"], suffix))
        write_genotype(genotype, provenance, run.path / f"genotype{suffix}.json")


def of_candidates(
    candidates: list,
    data: datasets.Images,
    run: runs.Run,
    config: Any,
    provenance: dict,
    judge: Callable[[dict], dict] | None = None,
    begin: Callable[[tf.keras.Model, Architecture], None] | None = None,
) -> None:
    """Writes the best one of several candidates as `genotype.json`, and the metrics of all in `candidates.json`.

    # Arguments
        candidates: A list of `strategy.Candidate`. Those that do not fit are left out if another one fits.
        data: The data set. Its test split is not used.
        run: The run directory of the search.
        config: The configuration of the search.
        provenance: The provenance of the search.
        judge: A function from the choice weights of a candidate to its metrics with shared weights, among them
            `validation_loss`. The candidates with the lowest losses, as many as `config.finalists`, are trained, and
            the best of them is chosen. If `config.finalists` is 0, the candidate with the lowest loss is chosen. If
            `judge` is `None`, all candidates are trained.
        begin: See `finalists.choose`.
    """
    candidates = list({candidate.genotype: candidate for candidate in candidates}.values())
    for candidate in candidates:
        metrics = candidate.metrics
        if not metrics:
            counts = costs.count(candidate.genotype, data.image_shape, len(data.class_names))
            metrics |= {"biops": counts.biops, "flops": counts.flops, "params": counts.params}
        if judge and "validation_loss" not in metrics:
            metrics |= judge(candidate.weights)
        logger.info("candidate: %s", _text(metrics))
    few = [candidate for candidate in candidates if candidate.fits] or candidates
    if judge:
        few = sorted(few, key=lambda candidate: candidate.metrics["validation_loss"])[: max(config.finalists, 1)]
    chosen = finalists.choose([candidate.genotype for candidate in few], data, run, config, begin)
    best = next(candidate for candidate in candidates if candidate.genotype == chosen)
    runs.write(run.candidates, [{**candidate.metrics, "chosen": candidate is best} for candidate in candidates])
    write_genotype(best.genotype, {**provenance, "result": best.metrics}, run.genotype)


def _text(metrics):
    loss = f"loss {metrics['validation_loss']:.4f}, " if "validation_loss" in metrics else ""
    loss += f"log-likelihood {metrics['log_likelihood']:.1f}, " if "log_likelihood" in metrics else ""
    notes = " (over budget)" if metrics.get("over_budget") else ""
    notes += "" if metrics.get("accepted", True) else " (not within the limits, but the nearest that was found)"
    return (
        f"{loss}{metrics['biops'] / 1e6:,.1f} M BiOps, {metrics['flops'] / 1e6:,.2f} M FLOPs, "
        f"{metrics['params']:,} parameters{notes}"
    )
