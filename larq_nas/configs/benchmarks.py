"""The configurations of measurements of files and of operations on a device."""

import dataclasses
import typing

from larq_nas.configs.of_methods import OfMethod, of_method
from larq_nas.configs.searches import SearchConfig
from larq_nas.configs.shared import shape_option
from larq_nas.options import Config, option


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
        check=len,
        accepted="give at least one, e.g. runs/train",
    )
    repeat: int = option(1, "measurements of each file; the median of their mean times is shown", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileConfig(OfMethod, MeasureConfig):
    """The configuration of a benchmark of the operations of a search method.

    `profile_config` makes a subclass for each method. The subclass also has the options of the method that change what
    its operations compute.
    """

    heading: typing.ClassVar[str] = "operations"

    def spaces(self) -> list:
        """The spaces whose operations are timed.

        # Returns
            A list of `Architecture`.

        # Raises
            ValueError: If the method has no space of the configured sizes.
        """
        return self.search_config().profiled_spaces()


def profile_config(searched: type[SearchConfig]) -> type[ProfileConfig]:
    """Makes the `ProfileConfig` of a search method from the `SearchConfig` of the method."""
    return of_method(ProfileConfig, searched)
