"""The commands: each calls the function of its name with a configuration; the last line printed names the artefact."""

import json
import pathlib

from larq_nas import api, configs
from larq_nas.commands.costs import costs, list_zoo

__all__ = ["benchmark", "convert", "costs", "evaluate", "list_zoo", "search", "train"]


def search(config: configs.SearchConfig):
    """Searches a space."""
    api.search(config)
    print(pathlib.Path(config.run_dir) / "genotype.json")


def train(config: configs.TrainConfig):
    """Trains the network of a genotype or of the zoo."""
    api.train(config)
    print(pathlib.Path(config.run_dir) / "weights.h5")


def convert(config: configs.ConvertConfig):
    """Converts a trained network."""
    api.convert(config)
    print(pathlib.Path(config.run_dir) / "model.tflite")


def evaluate(config: configs.EvaluateConfig):
    """Prints the test accuracy of a trained network and of its `.tflite`."""
    print(json.dumps(api.evaluate(config)))
    file = pathlib.Path(config.run_dir) / "evaluation.json"
    if file.exists():
        print(file)


def benchmark(config: configs.BenchmarkConfig | configs.ProfileConfig):
    """Times files, or the operations of a search method."""
    api.benchmark(config)
    name = "latency" if isinstance(config, configs.ProfileConfig) else "benchmark"
    print(pathlib.Path(config.run_dir) / f"{name}.json")
