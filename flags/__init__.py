"""The flags of each command, and the shipped recipes: flag files that are found by name.

Defaults are the published hyper-parameters for CIFAR-10. This module imports absl only.
"""

import copy
import functools
import os
import pathlib

from absl import flags as absl_flags
from absl import logging  # noqa: F401 (defines --verbosity)

RECIPES = pathlib.Path(__file__).parent / "recipes"

# What makes a run what it is does not include where it is and how much it says.
NOT_IDENTITY = {"run_dir", "overwrite"}

# Flags in which `~` stands for the home directory.
PATHS = (
    *("run_dir", "data_dir", "genotype", "backbone", "initial_weights"),
    *("tflite", "models", "latency_table", "benchmark_binary"),
)


class _Definer:
    """`absl.flags`, whose functions act on the flags of the command that is being defined."""

    values = None

    def __getattr__(self, name):
        return functools.partial(getattr(absl_flags, name), flag_values=self.values)


# In the place of the module, so that a process may define the flags of many commands.
flags = _Definer()


def recipes(command: str) -> list:
    """Names of the recipes of a command."""
    return sorted(path.stem for path in (RECIPES / command).glob("*.flags"))


def recipe_path(command: str, name: str) -> pathlib.Path:
    """The flag file of a recipe of a command."""
    return RECIPES / command / f"{name}.flags"


def define(command: str) -> tuple:
    """Defines the flags of a command.

    # Arguments
        command: Name of the command.

    # Returns
        A new `absl.flags.FlagValues`, to be called with the words of a command line, and the names of its flags. absl's
        own `--verbosity` is there beside them.
    """
    values = flags.values = absl_flags.FlagValues()
    for group in _COMMANDS[command]:
        known = set(values)
        group()
        methods = {method for method, groups in METHOD_FLAGS.items() if group in groups}
        if methods:
            _METHODS.update(dict.fromkeys(set(values) - known, methods))
    names = list(values)
    # It sets the level of absl's logging, and keeps what an earlier command line said.
    verbosity = copy.deepcopy(absl_flags.FLAGS["verbosity"])
    verbosity.unparse()
    absl_flags.DEFINE_flag(verbosity, values)
    return values, names


def expand_paths(settings):
    """Puts the home directory in the place of `~` in the values of `PATHS`."""
    for name in PATHS:
        value = settings[name].value if name in settings else None
        if value:
            paths = [os.path.expanduser(path) for path in value] if isinstance(value, list) else None
            settings[name].value = os.path.expanduser(value) if paths is None else paths


# Flag -> the methods that have it, where not all do.
_METHODS = {}


def foreign(settings) -> list:
    """Names of the flags that are of other methods than `settings.method`."""
    if "method" not in settings:
        return []
    return [name for name, methods in _METHODS.items() if name in settings and settings.method not in methods]


def _run_dir(default):
    def define():
        flags.DEFINE_string("run_dir", default, "where the run leaves its files, and from where it goes on")
        flags.DEFINE_bool("overwrite", False, "remove the run that is in --run_dir and start again")

    return define


def _data():
    flags.DEFINE_string(
        "dataset", "digits", "digits, a TFDS name such as cifar10 or name:version, or folder:PATH with one "
        "sub-folder of images per class"
    )  # fmt: skip
    flags.DEFINE_string("data_dir", None, "where TFDS finds or puts its data sets")
    flags.DEFINE_integer("image_size", None, "resize images to this height and width", lower_bound=4)
    flags.DEFINE_enum("channels", None, ["1", "3"], "read images as gray (1) or RGB (3), the default for folders")
    flags.DEFINE_integer("train_examples", None, "use only so many training examples", lower_bound=2)
    flags.DEFINE_enum(
        "class_weights", None, ["balanced"], "weigh the loss of each class by the inverse of its share of the images"
    )  # fmt: skip


_OPTIMIZERS = ["sgd", "adam"]
_SCHEDULES = ["one_cycle", "restarts", "cosine", "steps"]


def _fit(batch_size, epochs, learning_rate, momentum, weight_decay):
    flags.DEFINE_integer("seed", 0, "seed of initial weights, order and augmentation", lower_bound=0)
    flags.DEFINE_integer("batch_size", batch_size, "examples per step", lower_bound=1)
    flags.DEFINE_integer("epochs", epochs, "passes over the training examples", lower_bound=1)
    flags.DEFINE_integer(
        "steps", None, "stretch --epochs, and all that counts in epochs, to about so many steps", lower_bound=1
    )
    flags.DEFINE_float("learning_rate", learning_rate, "highest learning rate of the weights", lower_bound=0)
    flags.DEFINE_integer(
        "reference_batch_size",
        None,
        "the batch size for which --learning_rate is meant: the rate grows with --batch_size (sgd), or its root (adam)",
        lower_bound=1,
    )
    flags.DEFINE_enum("optimizer", "sgd", _OPTIMIZERS, "what updates the weights; --momentum is for sgd")
    flags.DEFINE_float("momentum", momentum, "momentum of the weights", lower_bound=0, upper_bound=1)
    flags.DEFINE_float("weight_decay", weight_decay, "weight decay, added to the gradient", lower_bound=0)
    flags.DEFINE_enum(
        "precision", "float32", ["float32", "mixed_bfloat16", "mixed_float16"], "in how many bits layers compute"
    )  # fmt: skip
    flags.DEFINE_enum(
        "augmentation",
        "crop_flip",
        ["none", "crop", "crop_flip", "crop_flip_cutout", "imagenet"],
        "what happens to training images",
    )


def _search():
    flags.DEFINE_enum("method", "bnas", list(METHOD_FLAGS), "the search method")
    _fit(64, 50, 0.025, 0.9, 3e-4)
    flags.DEFINE_float("final_learning_rate", 0.001, "learning rate of the last epoch", lower_bound=0)
    flags.DEFINE_float("clip_norm", 0.0, "largest global norm of the weights' gradients; 0: any", lower_bound=0)
    flags.DEFINE_float("architecture_learning_rate", 3e-4, "learning rate of the logits", lower_bound=0)
    flags.DEFINE_float("architecture_weight_decay", 1e-3, "weight decay of the logits", lower_bound=0)


def _latency():
    flags.DEFINE_string("latency_table", None, "a latency.json of larq_nas benchmark --profile_operations")
    flags.DEFINE_float("max_latency_ms", None, "how long the network may take by this table", lower_bound=1e-6)


def _genotype_filters():
    flags.DEFINE_integer(
        "genotype_filters", None, "--filters of the genotype, if the supernet is a narrower stand-in", lower_bound=2
    )


def _genotype_layers():
    flags.DEFINE_integer("genotype_layers", None, "--layers of the genotype, if the supernet has others", lower_bound=3)


def _filters():
    flags.DEFINE_integer("filters", 16, "most filters of a node in the first stage", lower_bound=2)


def _layers():
    flags.DEFINE_integer("layers", 8, "cells of the supernet", lower_bound=3)


def _bnas():
    flags.DEFINE_float("diversity", 1.0, "strength of the diversity regulariser", lower_bound=0)
    flags.DEFINE_float("diversity_decay", 7.7, "epochs in which it falls to 1/e", lower_bound=1e-6)
    flags.DEFINE_bool(
        "reduce_index_bug", False, "count only the last edge of the reduction cell in the regulariser, as the "
        "authors' code does"
    )  # fmt: skip


def _bars():
    flags.DEFINE_integer("cells_per_stage", 3, "most cells of a stage beside reductions", lower_bound=1)
    flags.DEFINE_bool("shared_cells", False, "one cell for all stages and one for all reductions")
    flags.DEFINE_bool("width_search", True, "search the width of each stage")
    flags.DEFINE_bool("depth_search", True, "search the depth of each stage")
    flags.DEFINE_bool("cell_shortcut", True, "a shortcut around each cell")
    flags.DEFINE_bool("gumbel", True, "sample choices, in place of mixing candidates")
    flags.DEFINE_float("temperature", 5.0, "temperature of the samples at first", lower_bound=1e-6)
    flags.DEFINE_float("final_temperature", 0.1, "temperature in the last epoch", lower_bound=1e-6)
    flags.DEFINE_float(
        "entropy_weight", 0.01, "weight of the entropy in the last epoch; at first the negative of it", lower_bound=0
    )
    flags.DEFINE_float("capacity_exponent", 1.0, "power of the excess over the budget; 0: no budget", lower_bound=0)
    flags.DEFINE_integer("samples", 8, "genotypes to draw in the end; 0: take the most probable", lower_bound=0)
    flags.DEFINE_string(
        "budget",
        None,
        "binary operations of the genotype (two for each multiply-accumulate), e.g. 2096M, or a share of the way from "
        "the smallest network of the space to the largest, e.g. 40%",
    )
    flags.register_validator("budget", _is_budget, "give a positive number, e.g. --budget=2096M, or 40%")
    _amount("budget_params", "draw only genotypes with so many parameters and --budget binary operations")
    _amount("budget_flops", "draw only genotypes with so many float operations")
    flags.DEFINE_float("budget_tolerance", 0.02, "by how much of these budgets they may differ", lower_bound=0)
    flags.DEFINE_list(
        "budget_shape", None, "the shape of the images for which costs count; that of the data set by default"
    )
    flags.register_validator("budget_shape", _is_shape, f"{_SHAPE}, e.g. --budget_shape=224,224,3")
    flags.DEFINE_integer(
        "budget_classes",
        None,
        "the number of classes for which costs count; that of the data set by default",
        lower_bound=1,
    )


def _is_budget(text):
    share = (text or "").endswith("%")
    return text[:-1].isdecimal() and 0 < int(text[:-1]) <= 100 if share else _is_amount(text)


def _warmup():
    flags.DEFINE_integer(
        "warmup_epochs", None, "epochs in which only weights are trained; 5 for bars, 0 else", lower_bound=0
    )


def _normalize():
    flags.DEFINE_bool(
        "normalize",
        False,
        "normalize what the supernet's classifier reads and what operations of bnas put out, which keeps searches on "
        "small data from choosing pools alone",
    )


def _backbone():
    flags.DEFINE_string("backbone", "vgg11", "whose widths are searched: vgg11, resnet18, or a genotype of bars")


def _dms():
    flags.DEFINE_integer("width", 1, "factor of its widths, 4 for the networks of ImageNet", lower_bound=1)
    flags.DEFINE_integer("rounds", 50, "how often the network is rebuilt; divides --epochs", lower_bound=1)
    flags.DEFINE_float("ratio", 1.5, "mean ratio of all widths to the network's at first", lower_bound=0.3)
    flags.DEFINE_float("scale", 1.0, "scale of the distributions of the ratios at first", lower_bound=0.01)
    flags.DEFINE_float("final_scale", 0.3, "that of the last round", lower_bound=0.01)
    flags.DEFINE_float("memory_target", None, "megabytes (2^20 bytes) above which memory costs", lower_bound=0)
    flags.DEFINE_float("memory_weight", 0.01, "loss per megabyte above --memory_target", lower_bound=0)
    flags.DEFINE_float(
        "genotype_megabytes",
        None,
        "size of the genotype: the ratios that were found are multiplied by what it takes",
        lower_bound=0,
    )
    flags.DEFINE_bool("best_effort", True, "keep of the weights what fits when the network is rebuilt")


def _bats():
    flags.DEFINE_float("softmax_temperature", 0.2, "temperature of the weights of operations", lower_bound=1e-3)


def _binarize():
    flags.DEFINE_bool("binarize", True, "search a binary network; if not, one without any quantizer")
    flags.DEFINE_bool("binarize_preprocess", True, "whether 1x1 convolutions at the entrances of cells are binary, too")


def _groups():
    flags.DEFINE_string(
        "groups", None, "groups of the convolutions of bats, 12 by default; lce: as many as LCE computes natively"
    )
    flags.register_validator(
        "groups", lambda text: text in (None, "lce") or text.isdecimal() and int(text) > 0, "give a number, or lce"
    )
    flags.DEFINE_integer("channels_per_group", None, "channels of a group, wins over --groups", lower_bound=1)


def _amount(name, text):
    flags.DEFINE_string(name, None, text)
    flags.register_validator(name, _is_amount, f"give a positive number, e.g. --{name}=2096M or 2.77M")


def amount(text: str) -> float:
    """The number that a text with K, M or G behind it means.

    # Raises
        ValueError: If it means none.
    """
    factors = {"K": 1e3, "M": 1e6, "G": 1e9}
    number, factor = (text[:-1], factors[text[-1:].upper()]) if text[-1:].upper() in factors else (text, 1)
    return float(number) * factor


def _is_amount(text):
    try:
        return text is None or 0 < amount(text) < float("inf")
    except ValueError:
        return False


# Method -> what defines the flags that not all methods have.
METHOD_FLAGS = {
    "bnas": (_filters, _layers, _genotype_filters, _genotype_layers, _bnas, _warmup, _normalize),
    "bars": (_filters, _genotype_filters, _bars, _warmup),
    "dms": (_backbone, _dms),
    "bats": (_filters, _layers, _genotype_filters, _genotype_layers, _bats, _binarize, _groups, _warmup, _normalize),
}


def _train():
    flags.DEFINE_string("genotype", None, "a genotype.json, or the name of a zoo model", required=True)
    flags.DEFINE_integer("layers", None, "cells of the network; as in the genotype by default", lower_bound=3)
    flags.DEFINE_integer(
        "filters", None, "filters of a node in the first stage; as in the genotype by default", lower_bound=2
    )
    _fit(256, 600, 0.05, 0.9, 3e-6)
    flags.DEFINE_enum("schedule", "one_cycle", _SCHEDULES, "learning rate over time")
    flags.DEFINE_list("milestones", [], "epochs after which --schedule=steps takes a tenth, e.g. 140,220,260")
    flags.register_validator("milestones", _are_epochs, "give rising numbers of epochs, e.g. --milestones=140,220,260")
    flags.DEFINE_integer("restart_epochs", 50, "epochs of a cosine of --schedule=restarts", lower_bound=1)
    flags.DEFINE_float("warmup_epochs", 0.0, "epochs in which the rate of --schedule=cosine rises", lower_bound=0)
    flags.DEFINE_float("label_smoothing", 0.0, "label smoothing in training", lower_bound=0, upper_bound=1)
    flags.DEFINE_float("clip_norm", 0.0, "largest global norm of the gradients; 0: any", lower_bound=0)
    flags.DEFINE_bool("full_precision", False, "train the float twin of a network of DMS")
    flags.DEFINE_string("initial_weights", None, "weights.h5 of a float twin, with which to begin")
    flags.DEFINE_float("drop_path", 0.2, "rate of drop path after the last epoch", lower_bound=0, upper_bound=1)
    flags.DEFINE_float(
        "auxiliary_weight",
        0.0,
        "weight of the loss of a second classifier at two thirds of a network of bats; 0: none",
        lower_bound=0,
    )
    _groups()
    flags.DEFINE_list(
        "stages",
        ["weights"],
        "activations,weights: first with binary activations and float kernels, then from there "
        "with binary kernels, too; weights: at once",
    )
    stages = (["weights"], ["activations", "weights"])
    flags.register_validator("stages", lambda names: names in stages, "give activations,weights or weights")
    flags.DEFINE_integer("activations_epochs", None, "--epochs of the stage activations, if others", lower_bound=1)
    flags.DEFINE_enum("activations_optimizer", None, _OPTIMIZERS, "its --optimizer, if another")
    flags.DEFINE_enum("activations_schedule", None, _SCHEDULES, "its --schedule, if another")
    flags.DEFINE_float("activations_learning_rate", None, "its --learning_rate, if another", lower_bound=0)
    flags.DEFINE_float("activations_weight_decay", None, "its --weight_decay, if another", lower_bound=0)


def _are_epochs(texts):
    numbers = [int(text) if text.isdecimal() else 0 for text in texts]
    return all(before < after for before, after in zip([0, *numbers], numbers, strict=False))


def _trained_run():
    flags.DEFINE_string("run_dir", "runs/train", "the directory of a finished training")
    flags.DEFINE_string("data_dir", None, "where TFDS finds its data sets; as in the training by default")


def _convert():
    flags.DEFINE_bool("allow_float_fallback", False, "accept binary convolutions that are not bit-packed")
    flags.DEFINE_enum("target", "arm", ["arm", "xcore"], "what the file is for")
    flags.DEFINE_bool("int8", False, "images, outputs, and kernels that are not binary, in 8 bits")
    flags.DEFINE_integer("calibration_examples", 256, "training images that tell --int8 its ranges", lower_bound=1)
    flags.DEFINE_integer(
        "round_filters",
        None,
        "leave a genotype whose numbers of filters are multiples of this, too, e.g. 32, as LCE packs channels",
        lower_bound=1,
    )
    flags.DEFINE_string("latency_table", None, "a latency.json; the report then estimates the time of convolutions")


def _evaluate():
    flags.DEFINE_string("tflite", None, "a .tflite file; the run's model.tflite, if there is one, by default")
    flags.DEFINE_integer("max_examples", None, "evaluate only so many test examples", lower_bound=1)
    flags.DEFINE_integer("processes", None, "processes that run the .tflite; one per CPU by default", lower_bound=1)
    flags.DEFINE_integer("batch_size", 256, "examples per step of the Keras network", lower_bound=1)


def _benchmark():
    flags.DEFINE_list(
        "models",
        ["runs/train"],
        "what to time: .tflite files, directories with a model.tflite, or names of "
        "zoo models, whose weights are then untrained",
    )
    flags.DEFINE_string("device", "host", "host (this machine), adb, adb:SERIAL, ssh:user@host or ssh:user@host:port")
    flags.DEFINE_string("benchmark_binary", None, "LCE's lce_benchmark_model for the device, a local file")
    flags.DEFINE_integer("threads", 1, "threads of the interpreter", lower_bound=1)
    flags.DEFINE_integer("runs", 50, "inferences that count, at least", lower_bound=1)
    flags.DEFINE_integer("warmup_runs", 10, "inferences before them", lower_bound=1)
    flags.DEFINE_integer("repeat", 1, "measure each file so often; the median of the means is shown", lower_bound=1)
    flags.DEFINE_bool("use_xnnpack", False, "compute float operators with XNNPACK")
    flags.DEFINE_integer("timeout", 300, "seconds that a measurement may take", lower_bound=1)
    flags.DEFINE_string("run_dir", "runs/benchmark", "where benchmark.json and benchmark.png, or latency.json, go")
    flags.DEFINE_bool("profile_operations", False, "time the operations of --method, for search --latency_table")
    flags.DEFINE_enum("method", "bnas", list(METHOD_FLAGS), "whose operations")
    flags.DEFINE_list("input_shape", ["32", "32", "3"], "height, width and channels of its images")
    flags.register_validator("input_shape", _is_shape, f"{_SHAPE}, e.g. --input_shape=32,32,3")
    flags.DEFINE_integer("num_classes", 10, "number of its classes", lower_bound=1)


def _zoo():
    flags.DEFINE_string("pattern", "*", "which models, e.g. bnas*")
    flags.DEFINE_bool("costs", False, "show what each of them costs")
    _json()


def _costs():
    flags.DEFINE_string("genotype", None, "a genotype.json, or the name of a zoo model", required=True)
    flags.DEFINE_list(
        "input_shape", None, "height, width and channels of the images; 32,32,3 or those of the zoo model by default"
    )
    flags.register_validator("input_shape", _is_shape, f"{_SHAPE}, e.g. --input_shape=32,32,3")
    flags.DEFINE_integer(
        "num_classes", None, "number of classes; 10 or that of the zoo model by default", lower_bound=1
    )
    _json()


def _json():
    flags.DEFINE_bool("json", False, "print JSON in place of a table")


_SHAPE = "give height, width and channels as positive integers"


def _is_shape(sizes):
    return sizes is None or len(sizes) == 3 and all(size.isdecimal() and int(size) > 0 for size in sizes)


_COMMANDS = {
    "search": (
        _search,
        _filters,
        _layers,
        _genotype_filters,
        _genotype_layers,
        _bnas,
        _bars,
        _backbone,
        _dms,
        _bats,
        _binarize,
        _groups,
        _warmup,
        _normalize,
        _latency,
        _data,
        _run_dir("runs/search"),
    ),
    "train": (_train, _data, _run_dir("runs/train")),
    "evaluate": (_evaluate, _trained_run),
    "convert": (_convert, _trained_run),
    "benchmark": (_benchmark, _filters, _layers, _binarize, _groups, _backbone),
    "costs": (_costs,),
    "zoo": (_zoo,),
}
