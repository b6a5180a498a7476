"""The commands. Each of them calls the function of its name with a configuration, and prints the result.

If the command writes a file, the last line of the output is the path of the file.
"""

import json
import pathlib

from larq_nas import api, configs
from larq_nas.commands.costs import costs, list_zoo
from larq_nas.commands.draw import draw

__all__ = [
    "benchmark",
    "compare",
    "convert",
    "costs",
    "draw",
    "evaluate",
    "list_zoo",
    "rank",
    "search",
    "train",
    "tune",
]


def search(config: configs.SearchConfig) -> None:
    """Searches a space and prints the path of `genotype.json`."""
    api.search(config)
    print(pathlib.Path(config.run_dir) / "genotype.json")


def train(config: configs.TrainConfig) -> None:
    """Trains the network of a genotype, or a network of the zoo, and prints the path of `weights.h5`."""
    api.train(config)
    print(pathlib.Path(config.run_dir) / "weights.h5")


def compare(config: configs.CompareConfig) -> None:
    """Trains genotypes by the same recipe with the same seeds, and prints the path of `comparison.json`."""
    api.compare(config)
    print(pathlib.Path(config.run_dir) / "comparison.json")


def tune(config: configs.TuneConfig) -> None:
    """Tunes a genotype, the recipe of a training, or the flags of a search, and prints the path of `best.flags`."""
    api.tune(config)
    print(pathlib.Path(config.run_dir) / "best.flags")


def rank(config: configs.RankConfig) -> None:
    """Ranks genotypes by the shared weights of a search and by training, and prints the path of `rank.json`."""
    api.rank(config)
    print(pathlib.Path(config.run_dir) / "rank.json")


def convert(config: configs.ConvertConfig) -> None:
    """Converts a trained network and prints the path of `model.tflite`."""
    api.convert(config)
    print(pathlib.Path(config.run_dir) / "model.tflite")


def evaluate(config: configs.EvaluateConfig) -> None:
    """Prints the test accuracy of a trained network and of its `.tflite` file."""
    result, file = api.evaluate(config), pathlib.Path(config.run_dir) / "evaluation.json"
    print(json.dumps(result))
    # The directory may be read-only, and hold the file of an earlier evaluation.
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) == result:
        print(file)


def benchmark(config: configs.BenchmarkConfig | configs.ProfileConfig) -> None:
    """Times files, or the operations of a search method, and prints the path of the results."""
    api.benchmark(config)
    name = "latency" if isinstance(config, configs.ProfileConfig) else "benchmark"
    print(pathlib.Path(config.run_dir) / f"{name}.json")
