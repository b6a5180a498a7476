"""The tasks as functions for Keras users: `larq_nas.search`, `train`, `convert`, `evaluate` and `benchmark`.

Each does what the command of the same name does. It takes a configuration, or the values of the command's flags, with
which the recipe for the data is taken as on the command line.

```python
import larq_nas

genotype = larq_nas.search(method="bnas", dataset="digits", run_dir="runs/search")
model = larq_nas.train(genotype=genotype, dataset="digits", run_dir="runs/train")
conversion = larq_nas.convert(run_dir="runs/train")
larq_nas.evaluate(run_dir="runs/train")  # {"examples": …, "keras_accuracy": …, …}
```

What they do is logged under the name `larq_nas`: `logging.basicConfig(level="INFO")` shows it.
"""

from larq_nas import configs, flags


def search(config: configs.SearchConfig | None = None, **values):
    """Searches the space of a method; leaves `genotype.json` in the run directory.

    # Arguments
        config: The configuration of a method, e.g. a `methods.bnas.BnasConfig`.
        values: In place of a configuration, the values of flags of `larq_nas search`, by name.

    # Returns
        The genotype, an `Architecture`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the search cannot be done; a subclass of it says why.
    """
    from larq_nas.tasks import search

    return search.search(_configured("search", config, values))


def train(config: configs.TrainConfig | None = None, **values):
    """Trains the network of a genotype or of the zoo; leaves `weights.h5` in the run directory.

    # Arguments
        config: The configuration.
        values: In place of a configuration, the values of flags of `larq_nas train`, by name. The `genotype` may be an
            `Architecture`.

    # Returns
        The trained network, a Keras model.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the training cannot be done; a subclass of it says why.
    """
    from larq_nas.tasks import train

    return train.train(_configured("train", config, values))


def convert(config: configs.ConvertConfig | None = None, **values):
    """Converts a trained network; leaves `model.tflite` and `model.report.json` in its run directory.

    # Arguments
        config: The configuration.
        values: In place of a configuration, the values of flags of `larq_nas convert`, by name.

    # Returns
        A `converters.tflite.Conversion`: the content of the file and its report.

    # Raises
        OptionError: If a value is not accepted.
        ConversionError: If the file would not be what was asked for, e.g. if a binary convolution is not bit-packed.
        ValueError: If there is no finished training in the run directory.
    """
    from larq_nas.tasks import convert

    return convert.convert(_configured("convert", config, values))


def evaluate(config: configs.EvaluateConfig | None = None, **values) -> dict:
    """Measures the test accuracy of a trained network and of its `.tflite`; leaves `evaluation.json`.

    # Arguments
        config: The configuration.
        values: In place of a configuration, the values of flags of `larq_nas evaluate`, by name.

    # Returns
        The number of `examples`, the `keras_accuracy` and, if there is a file, the `tflite_accuracy` and the share of
        examples in which both agree, `agreement`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If there is no finished training in the run directory, or its data have changed.
    """
    from larq_nas.tasks import evaluate

    return evaluate.evaluate(_configured("evaluate", config, values))


def benchmark(config: configs.BenchmarkConfig | configs.ProfileConfig | None = None, **values):
    """Times `.tflite` files, or the operations of a search method, on this machine or on a device.

    # Arguments
        config: A `BenchmarkConfig`, or a `configs.ProfileConfig`.
        values: In place of a configuration, the values of flags of `larq_nas benchmark`, by name.

    # Returns
        What was measured of each file, see `timing.summarize`, by the name of the file; a `latency.Table` of
        operations.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If a file or a device cannot be used.
    """
    from larq_nas.tasks import benchmark

    config = _configured("benchmark", config, values)
    return benchmark.profile(config) if isinstance(config, configs.ProfileConfig) else benchmark.benchmark(config)


def _configured(command, config, values):
    if config is not None and values:
        raise TypeError(f"{command}: takes a configuration, or the values of flags, but not both")
    return flags.configure(command, **values) if config is None else config
