"""The tasks as functions for Keras users: `larq_nas.search`, `train`, `compare`, `convert` and so on.

Each function does what the command of the same name does. It takes either a configuration or the values of the
options of the command. In the second case, the other options get their values from the recipe for the data set, as on
the command line.

```python
import larq_nas

genotype = larq_nas.search(method="bnas", dataset="digits", run_dir="runs/search")
model = larq_nas.train(genotype=genotype, dataset="digits", run_dir="runs/train")
conversion = larq_nas.convert(run_dir="runs/train")
larq_nas.evaluate(run_dir="runs/train")  # {"examples": …, "keras_accuracy": …, …}
```

The functions log their progress under the name `larq_nas`. To see the log, call `logging.basicConfig(level="INFO")`.
"""

import os
from typing import TYPE_CHECKING, Any

from larq_nas import configs, flags, options

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas.converters.tflite import Conversion
    from larq_nas.latency import Table
    from larq_nas.space.architecture import Architecture


def search(
    config: configs.SearchConfig | None = None, *, strategy: "tf.distribute.Strategy | None" = None, **values: Any
) -> "Architecture":
    """Searches the space of a method and writes `genotype.json` to the run directory.

    # Arguments
        config: The configuration of a method, e.g. a `methods.bnas.BnasConfig`.
        strategy: A `tf.distribute.MirroredStrategy` or `OneDeviceStrategy` that overrides the option `distribute`.
        values: Values of options of `larq_nas search`, by name, instead of a configuration.

    # Returns
        The genotype, an `Architecture`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the search cannot be done. The message says why.
    """
    from larq_nas.tasks import search

    return search.search(_configured("search", config, values), strategy)


def train(
    config: configs.TrainConfig | None = None, *, strategy: "tf.distribute.Strategy | None" = None, **values: Any
) -> "tf.keras.Model":
    """Trains the network of a genotype, or a network of the zoo, and writes `weights.h5` to the run directory.

    # Arguments
        config: The configuration.
        strategy: A `tf.distribute.MirroredStrategy` or `OneDeviceStrategy` that overrides the option `distribute`.
        values: Values of options of `larq_nas train`, by name, instead of a configuration. The value of `genotype` may
            also be an `Architecture`.

    # Returns
        The trained network, a Keras model.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the training cannot be done. The message says why.
    """
    from larq_nas.tasks import train

    return train.train(_configured("train", config, values), strategy)


def load_model(path: str | os.PathLike, **options: Any) -> "tf.keras.Model":
    """Loads a network that `model.save(path)` has written.

    `tf.keras.models.load_model` does the same, but it finds the layers of larq_nas only after the modules that define
    them have been imported.

    ```python
    model = larq_nas.zoo.bnas_a()
    model.save("runs/network.keras")
    model = larq_nas.load_model("runs/network.keras")
    ```

    # Arguments
        path: Path of a `.keras` or `.h5` file, or of a directory in the SavedModel format.
        options: Further arguments of `tf.keras.models.load_model`.

    # Returns
        A Keras model.

    # Raises
        ValueError: If there is no such file, or it holds no Keras model. The message says why.
    """
    from larq_nas.tasks import trained

    return trained.load_model(path, **options)


def compare(config: configs.CompareConfig | None = None, **values: Any) -> dict:
    """Trains genotypes by the same recipe with the same seeds, and writes `comparison.json` to the run directory.

    Each training runs in a process of its own, since TensorFlow does not free the memory of its graphs. Thus, methods
    and templates of your own must be installed as `docs/extending.md` describes.

    ```python
    comparison = larq_nas.compare(genotypes=["a.json", "bnas_a"], seeds=[1, 2, 3], dataset="digits")
    comparison["networks"]["a"]["mean"]  # mean test accuracy
    ```

    # Arguments
        config: The configuration.
        values: Values of options of `larq_nas compare`, by name, instead of a configuration. The values of `genotypes`
            may also be `Architecture`s.

    # Returns
        The dictionary that `comparison.json` holds, see `tasks.compare`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the trainings cannot be done. The message says why.
    """
    from larq_nas.tasks import compare

    return compare.compare(_configured("compare", config, values))


def rank(config: configs.RankConfig | None = None, **values: Any) -> dict:
    """Measures how well the shared weights of a search rank genotypes, and writes `rank.json` to its run directory.

    The genotypes are trained as by `compare`, in the folder `rank` of the run directory.

    ```python
    ranking = larq_nas.rank(run_dir="runs/search", draw=30, dataset="digits")
    ranking["kendall_tau"]  # {"value": …, "interval": […, …]}
    ```

    # Arguments
        config: The configuration.
        values: Values of options of `larq_nas rank`, by name, instead of a configuration.

    # Returns
        The dictionary that `rank.json` holds, see `tasks.rank`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If there is no finished search in the run directory, or if the trainings cannot be done.
    """
    from larq_nas.tasks import rank

    config = _configured("rank", config, values)
    return rank.rank(config, flags.searched(config.run_dir))


def tune(config: configs.TuneConfig | None = None, **values: Any) -> dict:
    """Lets KerasTuner choose a genotype, a recipe or the options of a search; writes `tuning.json` and `best.flags`.

    ```python
    tuning = larq_nas.tune(what="architecture", method="bnas", oracle="hyperband", dataset="digits")
    tuning["trials"][0]["val_accuracy"]
    ```

    # Arguments
        config: The configuration.
        values: Values of options of `larq_nas tune`, by name, instead of a configuration.

    # Returns
        The dictionary that `tuning.json` holds, see `tuning.task.tune`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If the tuning cannot be done. The message says why.
    """
    from larq_nas.tasks.genotypes import with_genotypes
    from larq_nas.tuning import task

    config = _configured("tune", config, values)
    recipe = None
    if isinstance(config, configs.SearchTuneConfig):
        recipe = flags.training_of(config, with_genotypes(config.search_config()).space())
    return task.tune(config, recipe)


def convert(config: configs.ConvertConfig | None = None, **values: Any) -> "Conversion":
    """Converts a trained network and writes `model.tflite` and `model.report.json` to its run directory.

    # Arguments
        config: The configuration.
        values: Values of options of `larq_nas convert`, by name, instead of a configuration.

    # Returns
        A `converters.tflite.Conversion`, which holds the content of the file and the report.

    # Raises
        OptionError: If a value is not accepted.
        ConversionError: If the file would not be as configured, e.g. if a binary convolution is not bit-packed.
        ValueError: If there is no finished training in the run directory.
    """
    from larq_nas.tasks import convert

    return convert.convert(_configured("convert", config, values))


def evaluate(
    config: configs.EvaluateConfig | None = None, *, strategy: "tf.distribute.Strategy | None" = None, **values: Any
) -> dict:
    """Measures the test accuracy of a trained network and of its `.tflite` file, and writes `evaluation.json`.

    # Arguments
        config: The configuration.
        strategy: A `tf.distribute.MirroredStrategy` or `OneDeviceStrategy` that overrides the option `distribute` for
            the Keras network.
        values: Values of options of `larq_nas evaluate`, by name, instead of a configuration.

    # Returns
        A dictionary with the number of `examples` and the `keras_accuracy`. If there is a `.tflite` file, it also has
        the `tflite_accuracy` and the `agreement`, the share of examples for which both predict the same class.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If there is no finished training in the run directory, or if the classes or the shape of the images
            of its data set have changed.
    """
    from larq_nas.tasks import evaluate

    return evaluate.evaluate(_configured("evaluate", config, values), strategy)


def benchmark(config: configs.BenchmarkConfig | configs.ProfileConfig | None = None, **values: Any) -> "dict | Table":
    """Times `.tflite` files, or the operations of a search method, on this machine or on a device.

    # Arguments
        config: A `BenchmarkConfig`, or a `configs.ProfileConfig`.
        values: Values of options of `larq_nas benchmark`, by name, instead of a configuration.

    # Returns
        For files, a dictionary of their names to the results, see `timing.summarize`. For the operations of a method,
        a `latency.Table`.

    # Raises
        OptionError: If a value is not accepted.
        ValueError: If a file or a device cannot be used.
    """
    from larq_nas.tasks import benchmark

    config = _configured("benchmark", config, values)
    return benchmark.profile(config) if isinstance(config, configs.ProfileConfig) else benchmark.benchmark(config)


def _configured(command, config, values):
    if config is not None and values:
        raise TypeError(f"{command}: takes a configuration, or the values of options, but not both")
    if config is None:
        return flags.configure(command, **values)
    if not isinstance(config, options.Config):
        raise TypeError(
            f"{command}: {config!r} is no configuration; name the values, as in larq_nas.{command}(run_dir=…)"
        )
    return config
