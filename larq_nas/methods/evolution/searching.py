"""The search of `methods.evolution`."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from larq_nas import costs, datasets, plots, runs, supernet, tables, training
from larq_nas.methods.evolution import keys, pareto
from larq_nas.methods.evolution.sampled_supernet import SampledSupernet
from larq_nas.networks import reachability
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import estimates, inheritance
from larq_nas.supernet.strategy import Strategy
from larq_nas.training import finalists, optimizers, results

logger = logging.getLogger(__name__)

# The share of the choices of a genotype that a mutation draws again.
MUTATED = 0.1
# The attempts to make each genotype of a generation. Most attempts fail in a small space or under a tight limit.
ATTEMPTS = 20


def search(strategy: Strategy, space: Architecture, data: datasets.Images, run: runs.Run, config: Any) -> Architecture:
    """Trains a supernet, evolves genotypes, and writes `genotype.json`, `pareto.json` and the folder `pareto`.

    The supernet is trained on one half of the training split, and genotypes are evaluated on the other. The result is
    the genotype of the Pareto front with the lowest validation loss or, with finalists, the one that is most accurate
    after a short training. An interrupted search continues after the last finished epoch or generation.

    # Arguments
        strategy: The `strategy.Strategy` of the method whose space is searched.
        space: The space.
        data: The data set. Its test split is not used.
        run: The run directory.
        config: The configuration.

    # Returns
        The genotype.
    """
    model = _trained_supernet(strategy, space, data, run, config)
    judged = datasets.evaluation_batches(data, data.halves[1], supernet.JUDGED)
    judge = functools.partial(model.judge, batches=judged)
    shape, num_classes = config.counted_images(data.image_shape, len(data.class_names))
    population = Population(strategy, space, judge, run, config, shape, num_classes)
    for generation in range(config.generations + 1):
        population.grow(generation)
    front = population.front()
    _write_front(front, list(population.evaluated.values()), run, config)
    provenance = {**run.provenance(), "examples": data.half_sizes}
    begin = functools.partial(inheritance.inherit, supernet=model.network, space=space)
    results.of_candidates(front, data, run, config, provenance, judge, begin)
    return Architecture.load(run.genotype)


def _trained_supernet(strategy, space, data, run, config):
    epochs = config.epochs * config.epochs_factor
    left, then = epochs - training.resume_epoch(run), None
    if left > 0:
        evaluated = config.samples * (config.generations + 1)
        then = finalists.expected(space.sample(config.seed), config.finalists, data, config, evaluated)
    tf.keras.utils.set_random_seed(config.seed)
    model = SampledSupernet(strategy, space, data.image_shape, len(data.class_names), config.seed, config.distill)
    steps = math.ceil(data.half_sizes[0] / config.batch_size)
    rate = optimizers.EpochCosine(optimizers.first_rate(config), config.final_learning_rate, epochs, steps)
    training.compile_supernet(model, rate, config, data.class_weights)
    options = {"epochs": epochs, "seed": config.seed, "augmentation": config.augmentation}
    batches = functools.partial(
        datasets.training_batches, data, data.halves[0], data.half_sizes[0], config.batch_size, **options
    )
    logger.info("%d epochs of %d steps, each of which trains one genotype", epochs, steps)
    estimates.announce(model, batches(), config.batch_size, steps, left, then=then)
    training.fit(
        model,
        lambda first_epoch: batches(first_epoch=first_epoch),
        run,
        epochs=epochs,
        steps_per_epoch=steps,
    )
    with runs.atomic(run.supernet) as temporary:
        model.network.save_weights(temporary)
    return model


class Population:
    """Genotypes that are evaluated by shared weights, of which each generation keeps the best.

    # Arguments
        strategy: The `strategy.Strategy` of the method whose space is searched.
        space: The space.
        judge: A function from choice weights to metrics, with `validation_loss` and `validation_accuracy`.
        run: The run directory. `evaluations.json` in it keeps the metrics.
        config: The configuration.
        input_shape: Height, width and channels of the images for which costs are counted.
        num_classes: Number of classes for which costs are counted.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Architecture,
        judge: Callable[[dict], dict],
        run: runs.Run,
        config: Any,
        input_shape: Sequence[int],
        num_classes: int,
    ) -> None:
        self.strategy, self.space, self.judge, self.config = strategy, space, judge, config
        self.counted = input_shape, num_classes
        self.file = run.path / "evaluations.json"
        self.known = self._read() if self.file.exists() else {}
        self.evaluated, self.kept = {}, []

    def grow(self, generation: int) -> None:
        """Adds a generation of genotypes, and keeps the best ones of all."""
        generator = np.random.default_rng([self.config.seed, generation])
        if generation:
            born = self._children(generator)
        else:
            drawn = self.config.draw(self.space, self.strategy, self.config.samples, *self.counted)
            born = [(keys.of_weights(candidate.weights, generator), candidate) for candidate in drawn]
        for _, candidate in born:
            self._evaluate(candidate)
        runs.write(self.file, [{"genotype": text, "figures": metrics} for text, metrics in self.known.items()])
        everyone = self.kept + born
        best = pareto.order([self._objectives(candidate) for _, candidate in everyone])
        self.kept = [everyone[index] for index in best[: self.config.samples]]
        accuracy = max(candidate.metrics["validation_accuracy"] for _, candidate in self.kept)
        logger.info(
            "generation %d/%d: %d genotypes evaluated, best validation accuracy %.2f%%",
            *(generation, self.config.generations, len(self.evaluated), 100 * accuracy),
        )

    def front(self) -> list:
        """The candidates that no evaluated candidate dominates, from the lowest to the highest cost."""
        everyone = list(self.evaluated.values())
        front = pareto.fronts([self._objectives(candidate) for candidate in everyone])
        best = [candidate for candidate, number in zip(everyone, front, strict=True) if number == 0]
        return sorted(best, key=lambda candidate: [candidate.metrics[name] for name in _costs(self.config)])

    def _read(self):
        """Reads the metrics of genotypes that an interrupted search has evaluated."""
        rows, names = runs.read_json(self.file), {"validation_loss", "validation_accuracy", *self._counted_names()}
        with runs.expected_form(self.file):
            known = {row["genotype"]: row["figures"] for row in rows}
            if not all(isinstance(metrics[name], int | float) for metrics in known.values() for name in names):
                raise ValueError
        return known

    def _children(self, generator):
        # The population is in the order of its quality, so that the lower of two indices wins a tournament.
        def parent():
            return self.kept[generator.integers(len(self.kept), size=2).min()][0]

        def child(_):
            return keys.mutated(keys.crossed(parent(), parent(), generator), MUTATED, generator)

        found, born = {}, map(child, range(ATTEMPTS * self.config.samples))
        for key, candidate in self.strategy.derivable(self.space, born):
            if len(found) == self.config.samples:
                break
            genotype = candidate.genotype
            new = genotype not in self.evaluated and genotype not in found
            if new and candidate.fits and reachability.reaches_classifier(genotype):
                found[genotype] = key, candidate
        return list(found.values())

    def _evaluate(self, candidate):
        text = candidate.genotype.to_json()
        if text not in self.known:
            counts = costs.count(candidate.genotype, *self.counted)
            limit = self.strategy.limit
            metrics = {name: getattr(counts, name) for name in sorted(self._counted_names() - {"ms"})}
            metrics |= {"ms": limit.ms(candidate.genotype)} if limit else {}
            self.known[text] = {**metrics, **self.judge(candidate.weights)}
        candidate.metrics.update(self.known[text])
        self.evaluated[candidate.genotype] = candidate

    def _counted_names(self):
        return {"biops", "flops", "params", *_costs(self.config)}

    def _objectives(self, candidate):
        metrics = candidate.metrics
        return [
            -metrics["validation_accuracy"] if name == "accuracy" else metrics[name] for name in self.config.objectives
        ]


def _write_front(front, evaluated, run, config):
    """Writes the genotypes of the Pareto front and their metrics, logs a table of them, and draws charts."""
    names = _costs(config)
    rows = []
    for number, candidate in enumerate(front, 1):
        file = f"pareto/{number}.json"
        runs.write(run.path / file, candidate.genotype.to_json())
        rows.append({"genotype": file, **candidate.metrics})
    runs.write(run.path / "pareto.json", rows)
    heading = ("genotype", "validation accuracy (%)", *names)
    texts = [(row["genotype"], 100 * row["validation_accuracy"], *(row[name] for name in names)) for row in rows]
    logger.info(tables.table([heading, *texts]))
    for name in names:
        draw = functools.partial(_draw, front=front, evaluated=evaluated, cost=name)
        plots.write(run.path / f"pareto-{name}.png", draw, size=(8, 5))


def _draw(axes, front, evaluated, cost):
    """Draws the accuracies of all evaluated genotypes against a cost, and connects those of the Pareto front."""
    for candidates, style in ((evaluated, {"fmt": ".", "color": "0.7"}), (front, {"fmt": "o-"})):
        points = [(each.metrics[cost], 100 * each.metrics["validation_accuracy"]) for each in candidates]
        axes.errorbar(*zip(*points, strict=True), **style)
    for number, point in enumerate(points, 1):
        axes.annotate(number, point, xytext=(6, -12), textcoords="offset points")
    axes.set_xlabel(cost)
    axes.set_ylabel("validation accuracy with shared weights in %")


def _costs(config):
    return [name for name in config.objectives if name != "accuracy"]
