"""Configurations of `larq_nas.search`, `train`, `convert`, `evaluate` and `benchmark`.

Each field of a configuration is also a flag of the command, under the same name. Each search method has a configuration
of its own, which is a subclass of `SearchConfig`, for example `methods.bnas.BnasConfig`. The defaults are the published
hyper-parameters for CIFAR-10.
"""

import dataclasses
import math
import typing

from larq_nas.names import AUGMENTATIONS, OPTIMIZERS, PRECISIONS, SCHEDULES
from larq_nas.options import Config, OptionError, changed_default, option, options
from larq_nas.space.architecture import Architecture

_FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9}


def amount(text: str) -> float:
    """Converts a text to a number. It may end in K, M or G, e.g. `"2096M"` for 2096 million.

    # Raises
        ValueError: If the text is not a number.
    """
    factor = _FACTORS.get(text[-1:].upper())
    return float(text[:-1]) * factor if factor else float(text)


def is_amount(text: str) -> bool:
    """Whether `amount` converts a text to a positive, finite number."""
    try:
        return 0 < amount(text) < math.inf
    except ValueError:
        return False


def is_shape(sizes) -> bool:
    """Whether `sizes` are three positive numbers: height, width and channels."""
    return len(sizes) == 3 and min(sizes) > 0


def shape_option(default, help):
    """Declares an option that is the shape of images: height, width and channels."""
    accepted = "give height, width and channels as positive integers, e.g. 32,32,3"
    return option(default, help, check=is_shape, accepted=accepted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """The options of the run directory, in which a search or a training keeps its files."""

    heading: typing.ClassVar[str] = "run"
    # An interrupted run continues after the last finished one of these: "epoch", or "round" (several epochs).
    unit: typing.ClassVar[str] = "epoch"

    run_dir: str = option(
        "runs", "directory of the run: its files, and the state from which it continues", is_path=True, identity=False
    )
    overwrite: bool = option(False, "delete the run in run_dir and start again", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """The options of the images on which a network is searched or trained."""

    heading: typing.ClassVar[str] = "data"

    dataset: str = option(
        "digits",
        "digits, a TFDS name such as cifar10 or name:version, or folder:PATH with one sub-folder of images per class",
    )
    data_dir: str | None = option(None, "directory in which TFDS keeps its data sets", is_path=True)
    image_size: int | None = option(None, "resize images to this height and width", least=4)
    channels: str | None = option(
        None, "channels of the images: 1 (gray) or 3 (RGB); 3 by default for folders", choices=("1", "3")
    )
    train_examples: int | None = option(None, "use only this many training examples", least=2)
    class_weights: str | None = option(
        None, "divide the loss of each class by the share of the class in the training images", choices=("balanced",)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(Config):
    """The options of the training of weights."""

    heading: typing.ClassVar[str] = "training"

    seed: int = option(0, "seed of the initial weights, the order of the examples, and the augmentation", least=0)
    batch_size: int = option(64, "examples per step", least=1)
    epochs: int = option(50, "passes over the training examples", least=1)
    steps: int | None = option(None, "scale epochs, and the other options in epochs, to about this many steps", least=1)
    learning_rate: float = option(0.025, "highest learning rate of the weights", least=0)
    reference_batch_size: int | None = option(
        None,
        "batch size for which learning_rate is meant; for another batch_size, the learning rate is scaled in "
        "proportion (sgd) or by the square root (adam)",
        least=1,
    )
    optimizer: str = option("sgd", "optimizer of the weights; only sgd uses momentum", choices=OPTIMIZERS)
    momentum: float = option(0.9, "momentum of optimizer=sgd", least=0, most=1)
    weight_decay: float = option(3e-4, "weight decay of the weights, added to their gradient", least=0)
    clip_norm: float = option(0.0, "clip the gradients of the weights to this global norm; 0: no clipping", least=0)
    precision: str = option("float32", "precision in which the layers compute", choices=PRECISIONS)
    augmentation: str = option(
        "crop_flip",
        "augmentation of the training images",
        choices=AUGMENTATIONS,
    )

    @property
    def epochs_unit(self) -> int:
        """The number of epochs must be a multiple of this number."""
        return 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(FitConfig, DataConfig, RunConfig):
    """The base class of the configurations of searches.

    Each subclass is a search method: its methods `space` and `strategy` define what is searched and how.
    `methods.register` registers the subclass under a name, and sets its attribute `method` to this name.
    """

    heading: typing.ClassVar[str] = "search"
    method: typing.ClassVar[str] = ""
    # Options of `TrainConfig` that only networks of some methods accept, and networks of this method do.
    network_options: typing.ClassVar[tuple[str, ...]] = ()

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/search")
    final_learning_rate: float = option(0.001, "learning rate of the weights in the last epoch", least=0)
    architecture_learning_rate: float = option(3e-4, "learning rate of the architecture", least=0)
    architecture_weight_decay: float = option(1e-3, "weight decay of the architecture", least=0)
    latency_table: str | None = option(
        None, "latency.json file that larq_nas benchmark has written with profile_operations", is_path=True
    )
    max_latency_ms: float | None = option(
        None, "most milliseconds of the genotype, as latency_table predicts them", least=1e-6
    )

    def __post_init__(self):
        super().__post_init__()
        if (self.latency_table is None) != (self.max_latency_ms is None):
            raise OptionError("latency_table, max_latency_ms: each needs the other")

    def texts(self) -> dict:
        return {**super().texts(), **({"method": self.method} if self.method else {})}

    def space(self) -> Architecture:
        """The search space.

        # Returns
            An `Architecture`.

        # Raises
            ValueError: If the method has no space of the configured sizes.
        """
        raise NotImplementedError

    def strategy(self, space: Architecture, input_shape, num_classes: int):
        """The strategy, which defines how the space is searched.

        # Arguments
            space: The search space, as the method `space` returns it.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A `supernet.strategy.Strategy`. A subclass that overrides `search` may return any object with an attribute
            `limit`: a `latency.Limit` or `None`.

        # Raises
            ValueError: If no network of the space is within the limits of the configuration.
        """
        raise NotImplementedError

    def search(self, space: Architecture, strategy, data, run) -> Architecture:
        """Searches the space and writes `genotype.json` to the run directory.

        # Arguments
            space: The search space, as the method `space` returns it.
            strategy: The strategy, as the method `strategy` returns it.
            data: The `datasets.Images`. A search must not use their test split.
            run: The `runs.Run`.

        # Returns
            The genotype.
        """
        from larq_nas import training

        return training.search(strategy, space, data, run, self)

    @classmethod
    def scaled(cls, genotype: Architecture, config: "TrainConfig") -> Architecture:
        """Scales a genotype to the size that the configuration of a training asks for.

        # Arguments
            genotype: A genotype of this method.
            config: The configuration of the training. Only its options in `network_options` matter.

        # Returns
            A genotype. By default, it is the given one.

        # Raises
            ValueError: If the genotype cannot be scaled to this size.
        """
        return genotype

    def counted_images(self, input_shape, num_classes: int) -> tuple:
        """The image shape and number of classes for which costs are counted; by default those of the data set."""
        return input_shape, num_classes

    def profiled_spaces(self) -> list:
        """The spaces whose operations `larq_nas benchmark` times with `profile_operations`."""
        return [self.space()]

    def limit(self, space: Architecture, input_shape, num_classes: int, excluded=()):
        """The limit that `max_latency_ms` and `latency_table` set on the latency of genotypes.

        # Arguments
            space: The space to which the genotypes belong.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.
            excluded: Names of the operations of the space that the method never chooses.

        # Returns
            A `latency.Limit`, or `None` if no limit is configured.

        # Raises
            ValueError: If every network of the space exceeds the limit, or if the table cannot be used.
        """
        if self.max_latency_ms is None:
            return None
        from larq_nas import latency

        table = latency.Table.load(self.latency_table)
        limit = latency.Limit(table, self.max_latency_ms, space, input_shape, num_classes, excluded)
        least = latency.fastest(limit)
        if least > limit.most:
            raise OptionError(
                f"max_latency_ms={limit.most}: the fastest network of this space is predicted to take {least:.3f} ms"
            )
        return limit


def check_warmup(warmup_epochs: int, epochs: int):
    """Raises an `OptionError` if a search of `epochs` epochs would end before its warm-up."""
    if not 0 <= warmup_epochs < epochs:
        raise OptionError(f"warmup_epochs={warmup_epochs}: must be less than epochs={epochs}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSearchConfig(SearchConfig):
    """The base class of the configurations of searches for cells."""

    filters: int = option(
        16, "filters of a node in the first stage; for bars, the largest candidate", least=2, profiled=True
    )
    genotype_filters: int | None = option(
        None,
        "filters of the genotype, if the supernet is a narrower stand-in; the value of filters by default",
        least=2,
    )
    warmup_epochs: int = option(
        0, "epochs at the beginning in which only the weights are trained", least=0, in_epochs=True
    )

    def __post_init__(self):
        super().__post_init__()
        check_warmup(self.warmup_epochs, self.epochs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainedCellSearchConfig(CellSearchConfig):
    """The base class of the configurations of searches for networks that are a chain of cells with two reductions."""

    layers: int = option(8, "cells of the supernet", least=3, profiled=True)
    genotype_layers: int | None = option(
        None, "cells of the genotype, if the supernet has fewer or more; the value of layers by default", least=3
    )
    normalize: bool = option(
        False,
        "normalize the input of the supernet's classifier and the outputs of bnas's convolutions; keeps searches on "
        "few images from choosing only pools",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.genotype_size and self.max_latency_ms is None:
            raise OptionError("genotype_filters, genotype_layers: are only for max_latency_ms; give it, too")

    @property
    def genotype_size(self) -> dict:
        """The filters and layers of the genotype, as far as they differ from those of the supernet."""
        sizes = {"filters": self.genotype_filters, "layers": self.genotype_layers}
        return {name: value for name, value in sizes.items() if value is not None}


def _rise(epochs):
    return all(before < after for before, after in zip((0, *epochs), epochs, strict=False))


def are_groups(text: str) -> bool:
    """Whether a text is a positive integer or `"lce"`."""
    return text == "lce" or text.isdecimal() and int(text) > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupsConfig(Config):
    """The options of the groups of the convolutions of BATS."""

    heading: typing.ClassVar[str] = "groups"

    groups: str | None = option(
        None,
        "groups of the convolutions of bats; lce: as many as LCE computes natively; 12 by default in a search, as "
        "many as in the genotype in a training",
        check=are_groups,
        accepted="give a number, or lce",
        profiled=True,
    )
    channels_per_group: int | None = option(
        None, "channels of each group of the convolutions of bats; overrides groups", least=1, profiled=True
    )

    @property
    def group_options(self) -> dict:
        """The keyword arguments `groups` and `channels_per_group` of `methods.bats.scale`."""
        groups = int(self.groups) if self.groups and self.groups != "lce" else self.groups
        return {"groups": groups, "channels_per_group": self.channels_per_group}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(GroupsConfig, FitConfig, DataConfig, RunConfig):
    """The configuration of a training."""

    heading: typing.ClassVar[str] = "network"

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/train")
    batch_size: int = changed_default(FitConfig, "batch_size", 256)
    epochs: int = changed_default(FitConfig, "epochs", 600)
    learning_rate: float = changed_default(FitConfig, "learning_rate", 0.05)
    weight_decay: float = changed_default(FitConfig, "weight_decay", 3e-6)
    genotype: str | Architecture = option(help="a genotype.json file, or the name of a zoo model", is_path=True)
    layers: int | None = option(None, "cells of the network; as many as in the genotype by default", least=3)
    filters: int | None = option(None, "filters of a node in the first stage; as in the genotype by default", least=2)
    schedule: str = option("one_cycle", "schedule of the learning rate", choices=SCHEDULES)
    milestones: tuple[int, ...] = option(
        (),
        "epochs after which schedule=steps divides the learning rate by 10, e.g. 140,220,260",
        check=_rise,
        accepted="give rising numbers of epochs, e.g. 140,220,260",
    )
    restart_epochs: int = option(50, "epochs between two restarts of schedule=restarts", least=1, in_epochs=True)
    warmup_epochs: float = option(
        0.0, "epochs at the beginning of schedule=cosine in which the learning rate rises", least=0, in_epochs=True
    )
    label_smoothing: float = option(0.0, "label smoothing of the training loss", least=0, most=1)
    full_precision: bool = option(False, "train the float twin of a dms network: the same network without quantizers")
    initial_weights: str | None = option(
        None, "weights.h5 file of a training with full_precision, from which to start", is_path=True
    )
    drop_path: float = option(
        0.2, "drop path rate at the end of the training; it rises linearly from 0", least=0, most=1
    )
    auxiliary_weight: float = option(
        0.0,
        "weight of the loss of a second classifier at two thirds of a bats network; 0: no second classifier",
        least=0,
    )
    stages: tuple[str, ...] = option(
        ("weights",),
        "weights: train the binary network in one stage; activations,weights: train it with binary activations and "
        "float kernels first, then continue with binary kernels",
        check=lambda names: names in (("weights",), ("activations", "weights")),
        accepted="give activations,weights or weights",
    )
    activations_epochs: int | None = option(
        None, "epochs of the stage activations; the value of epochs by default", least=1, in_epochs=True
    )
    activations_optimizer: str | None = option(
        None, "optimizer of the stage activations; the value of optimizer by default", choices=OPTIMIZERS
    )
    activations_schedule: str | None = option(
        None,
        "schedule of the learning rate in the stage activations; the value of schedule by default",
        choices=SCHEDULES,
    )
    activations_learning_rate: float | None = option(
        None, "learning rate of the stage activations; the value of learning_rate by default", least=0
    )
    activations_weight_decay: float | None = option(
        None, "weight decay of the stage activations; the value of weight_decay by default", least=0
    )

    @property
    def activations(self) -> dict:
        """The fields of a `recipes.Recipe` that differ in the stage `activations`: name to value."""
        names = ("epochs", "optimizer", "schedule", "learning_rate", "weight_decay")
        values = {name: getattr(self, f"activations_{name}") for name in names}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedRunConfig(Config):
    """The options that name a finished training."""

    heading: typing.ClassVar[str] = "run"

    run_dir: str = option("runs/train", "run directory of a finished training", is_path=True)
    data_dir: str | None = option(
        None, "directory in which TFDS keeps its data sets; by default that of the training", is_path=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig(TrainedRunConfig):
    """The configuration of a conversion."""

    heading: typing.ClassVar[str] = "conversion"

    allow_float_fallback: bool = option(False, "accept a file in which some binary convolutions are not bit-packed")
    target: str = option("arm", "target hardware of the .tflite file", choices=("arm", "xcore"))
    int8: bool = option(False, "quantize images, outputs and non-binary kernels to 8 bits")
    calibration_examples: int = option(256, "training images from which int8 measures the ranges of values", least=1)
    round_filters: int | None = option(
        None,
        "also write a genotype whose numbers of filters are multiples of this, e.g. 32, the channels of a word of LCE",
        least=1,
    )
    latency_table: str | None = option(
        None, "latency.json file from which the report estimates the milliseconds of convolutions", is_path=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(TrainedRunConfig):
    """The configuration of an evaluation."""

    heading: typing.ClassVar[str] = "evaluation"

    tflite: str | None = option(
        None, ".tflite file to evaluate; model.tflite in run_dir by default, if it exists", is_path=True
    )
    max_examples: int | None = option(None, "evaluate only this many test examples", least=1)
    processes: int | None = option(None, "processes that run the .tflite file; one per CPU by default", least=1)
    batch_size: int = option(256, "examples per step of the Keras network", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureConfig(Config):
    """The options of time measurements and of the device."""

    heading: typing.ClassVar[str] = "measurement"

    device: str = option(
        "host", "where to measure: host (this machine), adb, adb:SERIAL, ssh:user@host or ssh:user@host:port"
    )
    benchmark_binary: str | None = option(
        None, "file on this machine: LCE's lce_benchmark_model, built for the device", is_path=True
    )
    threads: int = option(1, "threads of the interpreter", least=1)
    runs: int = option(50, "smallest number of timed inferences", least=1)
    warmup_runs: int = option(10, "inferences before the timed ones", least=1)
    use_xnnpack: bool = option(False, "compute float operators with XNNPACK")
    timeout: int = option(300, "most seconds that one measurement may take", least=1)
    run_dir: str = option(
        "runs/benchmark", "directory of benchmark.json and benchmark.png, or of latency.json", is_path=True
    )
    input_shape: tuple[int, ...] | None = shape_option(
        None,
        "height, width and channels of the images of zoo models and operations; by default those of the zoo model, or "
        "32,32,3 for operations",
    )
    num_classes: int | None = option(
        None, "number of classes of zoo models and operations; that of the zoo model, or 10, by default", least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(MeasureConfig):
    """The configuration of a benchmark of files."""

    heading: typing.ClassVar[str] = "models"

    models: tuple[str, ...] = option(
        ("runs/train",),
        "what to time: .tflite files, directories that contain a model.tflite, or names of zoo models, which get "
        "untrained weights",
        is_path=True,
    )
    repeat: int = option(1, "measurements of each file; the median of their mean times is shown", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileConfig(MeasureConfig):
    """The configuration of a benchmark of the operations of a search method.

    `profile_config` makes a subclass for each method. The subclass also has the options of the method that change what
    its operations compute.
    """

    heading: typing.ClassVar[str] = "operations"
    searched: typing.ClassVar[type[SearchConfig]]
    method: typing.ClassVar[str]

    def spaces(self) -> list:
        """The spaces whose operations are timed.

        # Returns
            A list of `Architecture`.

        # Raises
            ValueError: If the method has no space of the configured sizes.
        """
        names = _profiled(self.searched)
        return self.searched(**{name: getattr(self, name) for name in names}).profiled_spaces()


def profile_config(searched: type[SearchConfig]) -> type[ProfileConfig]:
    """Makes the `ProfileConfig` of a search method from the `SearchConfig` of the method."""
    fields = []
    for name in _profiled(searched):
        field = searched.__dataclass_fields__[name]
        fields.append(
            (
                name,
                typing.get_type_hints(searched)[name],
                dataclasses.field(default=field.default, metadata=field.metadata),
            )
        )
    own = {"searched": searched, "method": searched.method}
    return dataclasses.make_dataclass(
        "ProfileConfig", fields, bases=(ProfileConfig,), namespace=own, frozen=True, kw_only=True
    )


def _profiled(searched):
    return [name for name, option in options(searched).items() if option.profiled]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostsConfig(Config):
    """The configuration of `larq_nas costs`."""

    genotype: str = option(help="a genotype.json file, or the name of a zoo model", is_path=True)
    input_shape: tuple[int, ...] | None = shape_option(
        None,
        "height, width and channels of the images; those of the zoo model, or 32,32,3, by default",
    )
    num_classes: int | None = option(None, "number of classes; that of the zoo model, or 10, by default", least=1)
    json: bool = option(False, "print JSON instead of a table")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooConfig(Config):
    """The configuration of `larq_nas zoo`."""

    pattern: str = option("*", "pattern of the names of the models to list, e.g. bnas*")
    costs: bool = option(False, "show the operations, parameters and bytes of each model")
    json: bool = option(False, "print JSON instead of a table")
