"""The configurations of the commands that follow a training, or that need none."""

import dataclasses
import typing

from larq_nas.configs.searches import SearchConfig
from larq_nas.configs.shared import (
    shape_option,
)
from larq_nas.options import Config, option, options


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
