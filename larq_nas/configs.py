"""The configurations of the tasks: what `larq_nas.search`, `train`, `convert`, `evaluate` and `benchmark` take.

Each field is a flag of the command of the same name. The configuration of a search is that of a method, a subclass of
`SearchConfig`: `methods.bnas.BnasConfig`, for example. Defaults are the published hyper-parameters for CIFAR-10.
"""

import dataclasses
import math
import typing

from larq_nas.options import Config, OptionError, changed_default, option, options
from larq_nas.space.architecture import Architecture

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("one_cycle", "restarts", "cosine", "steps")
_FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9}


def amount(text: str) -> float:
    """The number that a text with K, M or G behind it means.

    # Raises
        ValueError: If it means none.
    """
    factor = _FACTORS.get(text[-1:].upper())
    return float(text[:-1]) * factor if factor else float(text)


def is_amount(text: str) -> bool:
    """Whether a text means a positive number."""
    try:
        return 0 < amount(text) < math.inf
    except ValueError:
        return False


def is_shape(sizes) -> bool:
    """Whether sizes are a height, a width and a number of channels."""
    return len(sizes) == 3 and min(sizes) > 0


def shape_option(name, default, help):
    """The option of the shape of images."""
    accepted = f"give height, width and channels as positive integers, e.g. --{name}=32,32,3"
    return option(default, help, check=is_shape, accepted=accepted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Where a search or a training keeps its files."""

    heading: typing.ClassVar[str] = "run"
    # What an interrupted run has finished last: an epoch, or a round of several.
    unit: typing.ClassVar[str] = "epoch"

    run_dir: str = option(
        "runs", "where the run leaves its files, and from where it goes on", is_path=True, identity=False
    )
    overwrite: bool = option(False, "remove the run that is in --run_dir and start again", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """On which images a network is searched or trained."""

    heading: typing.ClassVar[str] = "data"

    dataset: str = option(
        "digits",
        "digits, a TFDS name such as cifar10 or name:version, or folder:PATH with one sub-folder of images per class",
    )
    data_dir: str | None = option(None, "where TFDS finds or puts its data sets", is_path=True)
    image_size: int | None = option(None, "resize images to this height and width", least=4)
    channels: str | None = option(
        None, "read images as gray (1) or RGB (3), the default for folders", choices=("1", "3")
    )
    train_examples: int | None = option(None, "use only so many training examples", least=2)
    class_weights: str | None = option(
        None, "weigh the loss of each class by the inverse of its share of the images", choices=("balanced",)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(Config):
    """How weights are trained."""

    heading: typing.ClassVar[str] = "training"

    seed: int = option(0, "seed of initial weights, order and augmentation", least=0)
    batch_size: int = option(64, "examples per step", least=1)
    epochs: int = option(50, "passes over the training examples", least=1)
    steps: int | None = option(None, "stretch --epochs, and all that counts in epochs, to about so many steps", least=1)
    learning_rate: float = option(0.025, "highest learning rate of the weights", least=0)
    reference_batch_size: int | None = option(
        None,
        "the batch size for which --learning_rate is meant: the rate grows with --batch_size (sgd), or its root (adam)",
        least=1,
    )
    optimizer: str = option("sgd", "what updates the weights; --momentum is for sgd", choices=OPTIMIZERS)
    momentum: float = option(0.9, "momentum of the weights", least=0, most=1)
    weight_decay: float = option(3e-4, "weight decay, added to the gradient", least=0)
    clip_norm: float = option(0.0, "largest global norm of the gradients of the weights; 0: any", least=0)
    precision: str = option(
        "float32", "in how many bits layers compute", choices=("float32", "mixed_bfloat16", "mixed_float16")
    )
    augmentation: str = option(
        "crop_flip",
        "what happens to training images",
        choices=("none", "crop", "crop_flip", "crop_flip_cutout", "imagenet"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(FitConfig, DataConfig, RunConfig):
    """The configuration of a search: the base class of those of the methods.

    A subclass is a search method: it says which space is searched and how. `methods.register` makes it known by a name,
    which becomes its attribute `method`.
    """

    heading: typing.ClassVar[str] = "search"
    method: typing.ClassVar[str] = ""
    # Options of a training that only networks of some methods take: those of this method.
    network_options: typing.ClassVar[tuple[str, ...]] = ()

    run_dir: str = changed_default(RunConfig, "run_dir", "runs/search")
    final_learning_rate: float = option(0.001, "learning rate of the last epoch", least=0)
    architecture_learning_rate: float = option(3e-4, "learning rate of the logits", least=0)
    architecture_weight_decay: float = option(1e-3, "weight decay of the logits", least=0)
    latency_table: str | None = option(None, "a latency.json of larq_nas benchmark --profile_operations", is_path=True)
    max_latency_ms: float | None = option(None, "how long the network may take by this table", least=1e-6)

    def __post_init__(self):
        super().__post_init__()
        if (self.latency_table is None) != (self.max_latency_ms is None):
            raise OptionError("--latency_table, --max_latency_ms: each needs the other")

    def space(self) -> Architecture:
        """The search space.

        # Raises
            ValueError: If there is none of the given sizes.
        """
        raise NotImplementedError

    def strategy(self, space: Architecture, input_shape, num_classes: int):
        """How the space is searched.

        # Arguments
            space: What `space` returns.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            What `search` takes, with the attribute `limit`, which may be `None`: by default a `strategy.Strategy`.

        # Raises
            ValueError: If the space has no network that keeps the limits of the configuration.
        """
        raise NotImplementedError

    def search(self, space: Architecture, strategy, data, run) -> Architecture:
        """Searches the space and leaves `genotype.json` in the run directory.

        # Arguments
            space: What `space` returns.
            strategy: What `strategy` returns.
            data: The `datasets.Images`; their test split must not be used.
            run: The `runs.Run`.

        # Returns
            The genotype.
        """
        from larq_nas import training

        return training.search(strategy, space, data, run, self)

    @classmethod
    def scaled(cls, genotype: Architecture, config: "TrainConfig") -> Architecture:
        """The genotype of a training, at the size that its `network_options` ask for.

        # Arguments
            genotype: A genotype of this method.
            config: The configuration of the training.

        # Returns
            A genotype; the same one by default.

        # Raises
            ValueError: If there is none of this size.
        """
        return genotype

    def counted_images(self, input_shape, num_classes: int) -> tuple:
        """Shape of the images and number of classes for which costs count; those of the data by default."""
        return input_shape, num_classes

    def profiled_spaces(self) -> list:
        """The spaces whose operations `larq_nas benchmark --profile_operations` times."""
        return [self.space()]

    @property
    def epochs_unit(self) -> int:
        """What the number of epochs must be a multiple of."""
        return 1

    def limit(self, space: Architecture, input_shape, num_classes: int, excluded=()):
        """The limit of `max_latency_ms`, or `None`.

        # Arguments
            space: The space whose genotypes count.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.
            excluded: Operations of the space that the method never takes.

        # Returns
            A `latency.Limit`.

        # Raises
            ValueError: If no network of the space keeps it, or the table cannot be used.
        """
        if self.max_latency_ms is None:
            return None
        from larq_nas import latency

        table = latency.Table.load(self.latency_table)
        limit = latency.Limit(table, self.max_latency_ms, space, input_shape, num_classes, excluded)
        least = latency.fastest(limit)
        if least > limit.most:
            raise OptionError(
                f"--max_latency_ms={limit.most}: the fastest network of this space is predicted to take {least:.3f} ms"
            )
        return limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSearchConfig(SearchConfig):
    """What the searches of cells have in common."""

    filters: int = option(16, "most filters of a node in the first stage", least=2, profiled=True)
    genotype_filters: int | None = option(
        None, "--filters of the genotype, if the supernet is a narrower stand-in", least=2
    )
    warmup_epochs: int = option(0, "epochs in which only weights are trained", least=0, in_epochs=True)

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_epochs >= self.epochs:
            raise OptionError(f"--warmup_epochs={self.warmup_epochs}: must be less than --epochs={self.epochs}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainedCellSearchConfig(CellSearchConfig):
    """What the searches have in common whose networks are a chain of cells with two reductions."""

    layers: int = option(8, "cells of the supernet", least=3, profiled=True)
    genotype_layers: int | None = option(None, "--layers of the genotype, if the supernet has others", least=3)
    normalize: bool = option(
        False,
        "normalize what the supernet's classifier reads and what operations of bnas put out, which keeps searches on "
        "small data from choosing pools alone",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.genotype_size and self.max_latency_ms is None:
            raise OptionError("--genotype_filters, --genotype_layers: say for which network --max_latency_ms counts")

    @property
    def genotype_size(self) -> dict:
        """Filters and layers of the network for which limits count, where they differ from those of the supernet."""
        sizes = {"filters": self.genotype_filters, "layers": self.genotype_layers}
        return {name: value for name, value in sizes.items() if value is not None}


def _rise(epochs):
    return all(before < after for before, after in zip((0, *epochs), epochs, strict=False))


def are_groups(text: str) -> bool:
    """Whether a text is a positive number or `"lce"`."""
    return text == "lce" or text.isdecimal() and int(text) > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupsConfig(Config):
    """The groups of the convolutions of BATS."""

    heading: typing.ClassVar[str] = "groups"

    groups: str | None = option(
        None,
        "groups of the convolutions of bats, 12 by default; lce: as many as LCE computes natively",
        check=are_groups,
        accepted="give a number, or lce",
        profiled=True,
    )
    channels_per_group: int | None = option(None, "channels of a group, wins over --groups", least=1, profiled=True)

    @property
    def group_options(self) -> dict:
        """The groups as functions take them."""
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
    genotype: str | Architecture = option(help="a genotype.json, or the name of a zoo model", is_path=True)
    layers: int | None = option(None, "cells of the network; as in the genotype by default", least=3)
    filters: int | None = option(None, "filters of a node in the first stage; as in the genotype by default", least=2)
    schedule: str = option("one_cycle", "learning rate over time", choices=SCHEDULES)
    milestones: tuple[int, ...] = option(
        (),
        "epochs after which --schedule=steps takes a tenth, e.g. 140,220,260",
        check=_rise,
        accepted="give rising numbers of epochs, e.g. --milestones=140,220,260",
    )
    restart_epochs: int = option(50, "epochs of a cosine of --schedule=restarts", least=1, in_epochs=True)
    warmup_epochs: float = option(0.0, "epochs in which the rate of --schedule=cosine rises", least=0, in_epochs=True)
    label_smoothing: float = option(0.0, "label smoothing in training", least=0, most=1)
    full_precision: bool = option(False, "train the float twin of a network of DMS")
    initial_weights: str | None = option(None, "weights.h5 of a float twin, with which to begin", is_path=True)
    drop_path: float = option(0.2, "rate of drop path after the last epoch", least=0, most=1)
    auxiliary_weight: float = option(
        0.0,
        "weight of the loss of a second classifier at two thirds of a network of bats; 0: none",
        least=0,
    )
    stages: tuple[str, ...] = option(
        ("weights",),
        "activations,weights: first with binary activations and float kernels, then from there with binary kernels, "
        "too; weights: at once",
        check=lambda names: names in (("weights",), ("activations", "weights")),
        accepted="give activations,weights or weights",
    )
    activations_epochs: int | None = option(
        None, "--epochs of the stage activations, if others", least=1, in_epochs=True
    )
    activations_optimizer: str | None = option(None, "its --optimizer, if another", choices=OPTIMIZERS)
    activations_schedule: str | None = option(None, "its --schedule, if another", choices=SCHEDULES)
    activations_learning_rate: float | None = option(None, "its --learning_rate, if another", least=0)
    activations_weight_decay: float | None = option(None, "its --weight_decay, if another", least=0)

    @property
    def activations(self) -> dict:
        """What the stage `activations` has other values of, by name."""
        names = ("epochs", "optimizer", "schedule", "learning_rate", "weight_decay")
        values = {name: getattr(self, f"activations_{name}") for name in names}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedRunConfig(Config):
    """Which finished training a task is about."""

    heading: typing.ClassVar[str] = "run"

    run_dir: str = option("runs/train", "the directory of a finished training", is_path=True)
    data_dir: str | None = option(None, "where TFDS finds its data sets; as in the training by default", is_path=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig(TrainedRunConfig):
    """The configuration of a conversion."""

    heading: typing.ClassVar[str] = "conversion"

    allow_float_fallback: bool = option(False, "accept binary convolutions that are not bit-packed")
    target: str = option("arm", "what the file is for", choices=("arm", "xcore"))
    int8: bool = option(False, "images, outputs, and kernels that are not binary, in 8 bits")
    calibration_examples: int = option(256, "training images that tell --int8 its ranges", least=1)
    round_filters: int | None = option(
        None,
        "leave a genotype whose numbers of filters are multiples of this, too, e.g. 32, as LCE packs channels",
        least=1,
    )
    latency_table: str | None = option(
        None, "a latency.json; the report then estimates the time of convolutions", is_path=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(TrainedRunConfig):
    """The configuration of an evaluation."""

    heading: typing.ClassVar[str] = "evaluation"

    tflite: str | None = option(
        None, "a .tflite file; the run's model.tflite, if there is one, by default", is_path=True
    )
    max_examples: int | None = option(None, "evaluate only so many test examples", least=1)
    processes: int | None = option(None, "processes that run the .tflite; one per CPU by default", least=1)
    batch_size: int = option(256, "examples per step of the Keras network", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureConfig(Config):
    """How files are timed, and where."""

    heading: typing.ClassVar[str] = "measurement"

    device: str = option("host", "host (this machine), adb, adb:SERIAL, ssh:user@host or ssh:user@host:port")
    benchmark_binary: str | None = option(None, "LCE's lce_benchmark_model for the device, a local file", is_path=True)
    threads: int = option(1, "threads of the interpreter", least=1)
    runs: int = option(50, "inferences that count, at least", least=1)
    warmup_runs: int = option(10, "inferences before them", least=1)
    use_xnnpack: bool = option(False, "compute float operators with XNNPACK")
    timeout: int = option(300, "seconds that a measurement may take", least=1)
    run_dir: str = option("runs/benchmark", "where benchmark.json and benchmark.png, or latency.json, go", is_path=True)
    input_shape: tuple[int, ...] | None = shape_option(
        "input_shape",
        None,
        "height, width and channels of the images of zoo models and operations; 32,32,3 or those of the zoo model by "
        "default",
    )
    num_classes: int | None = option(
        None, "number of classes of zoo models and operations; 10 or that of the zoo model by default", least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(MeasureConfig):
    """The configuration of a benchmark of files."""

    heading: typing.ClassVar[str] = "models"

    models: tuple[str, ...] = option(
        ("runs/train",),
        "what to time: .tflite files, directories with a model.tflite, or names of zoo models, whose weights are then "
        "untrained",
        is_path=True,
    )
    repeat: int = option(1, "measure each file so often; the median of the means is shown", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileConfig(MeasureConfig):
    """The configuration of a benchmark of the operations of a search method.

    `profile_config` makes the subclass of a method, which has those options of the method, too, that decide what its
    operations compute.
    """

    heading: typing.ClassVar[str] = "operations"
    searched: typing.ClassVar[type[SearchConfig]]
    method: typing.ClassVar[str]

    def spaces(self) -> list:
        """The spaces whose operations are timed.

        # Raises
            ValueError: If there is no space of the given sizes.
        """
        names = _profiled(self.searched)
        return self.searched(**{name: getattr(self, name) for name in names}).profiled_spaces()


def profile_config(searched: type[SearchConfig]) -> type[ProfileConfig]:
    """The `ProfileConfig` of a search method, given its `SearchConfig`."""
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

    genotype: str = option(help="a genotype.json, or the name of a zoo model", is_path=True)
    input_shape: tuple[int, ...] | None = shape_option(
        "input_shape",
        None,
        "height, width and channels of the images; 32,32,3 or those of the zoo model by default",
    )
    num_classes: int | None = option(None, "number of classes; 10 or that of the zoo model by default", least=1)
    json: bool = option(False, "print JSON in place of a table")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooConfig(Config):
    """The configuration of `larq_nas zoo`."""

    pattern: str = option("*", "which models, e.g. bnas*")
    costs: bool = option(False, "show what each of them costs")
    json: bool = option(False, "print JSON in place of a table")
