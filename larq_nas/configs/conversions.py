"""The configurations of the conversion and the evaluation of a trained network."""

import dataclasses
import typing

from larq_nas.configs.shared import DistributedConfig
from larq_nas.options import Config, option


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
class EvaluateConfig(DistributedConfig, TrainedRunConfig):
    """The configuration of an evaluation."""

    heading: typing.ClassVar[str] = "evaluation"

    tflite: str | None = option(
        None, ".tflite file to evaluate; model.tflite in run_dir by default, if it exists", is_path=True
    )
    max_examples: int | None = option(None, "evaluate only this many test examples", least=1)
    processes: int | None = option(None, "processes that run the .tflite file; one per CPU by default", least=1)
    batch_size: int = option(256, "examples per step of the Keras network, on all devices together", least=1)
