"""Parsing the words of a command line to the configuration of a command."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from larq_nas import configs, methods, options, runs
from larq_nas.flags import definitions, recipe_files
from larq_nas.messages import first_line
from larq_nas.space.architecture import Architecture

CONFIGS = {
    "train": configs.TrainConfig,
    "compare": configs.CompareConfig,
    "rank": configs.RankConfig,
    "convert": configs.ConvertConfig,
    "evaluate": configs.EvaluateConfig,
    "costs": configs.CostsConfig,
    "draw": configs.DrawConfig,
    "zoo": configs.ZooConfig,
}
COMMANDS = ("search", *CONFIGS, "tune", "benchmark")
WHATS = ("architecture", "recipe", "search")
# Configurations whose fields depend on a search method, and what their flag `--method` says.
_OF_METHODS = {
    configs.SearchConfig: "the search method",
    configs.ProfileConfig: "the search method whose operations are timed",
    configs.ArchitectureTuneConfig: "the search method in whose space genotypes are tuned",
}
Error = absl_flags.Error


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    # Arguments
        config: The configuration of the command.
        recipe: The name of the recipe that was chosen automatically, or `None` if there is none.
        verbosity: The value of `--verbosity`, or `None` if it is not given.
    """

    config: options.Config
    recipe: str | None
    verbosity: int | None


def define(command: str, words: Sequence[str] = ()) -> tuple:
    """Defines the flags of a command.

    # Arguments
        command: One of `COMMANDS`.
        words: The words of the command line. The flags depend on them, e.g. those of a search on its `--method`. If
            `--method=random` lacks its `--space`, the flags are those of the first space.

    # Returns
        An `absl.flags.FlagValues` and the class of the configuration of the command.
    """
    words, *_ = _resolved(command, words, any_space=True)
    return _define(command, words)


def _define(command, words):
    config = _class_for(command, _selected(words))
    values = definitions.define(config)
    if command == "benchmark":
        text = "time the operations of --method instead of files, for --latency_table of a search"
        absl_flags.DEFINE_bool("profile_operations", False, text, flag_values=values)
    if command == "tune":
        text = "what to tune: the genotype in the space of --method, the recipe of a training, or a search by --method"
        absl_flags.DEFINE_enum("what", WHATS[0], WHATS, text, flag_values=values)
    for base, text in _OF_METHODS.items():
        if issubclass(config, base):
            # Only a search can search the space of another method.
            accepted = [name for name in methods.names() if command == "search" or methods.space_of(name) == name]
            absl_flags.DEFINE_enum("method", "bnas", accepted, text, flag_values=values)
    if command == "search":
        others = " or ".join(methods.OVER)
        text = f"the space that --method={others} searches; --method=random --space=bnas is --method=random_bnas"
        absl_flags.DEFINE_enum("space", None, methods.spaces("random"), text, flag_values=values)
    return values, config


def _class_for(command, selected):
    if command in CONFIGS:
        return CONFIGS[command]
    if command == "search":
        return methods.get(selected.method)
    if command == "tune":
        if selected.what == "recipe":
            return configs.RecipeTuneConfig
        tunes_search = selected.what == "search"
        return (configs.search_tune_config if tunes_search else configs.tune_config)(methods.get(selected.method))
    if selected.profile_operations:
        return configs.profile_config(methods.get(selected.method))
    return configs.BenchmarkConfig


def _selected(words):
    """Parses the flags on which the other flags of a command and its recipe depend."""
    values = absl_flags.FlagValues()
    # Without this, parsing would end at the first word that is not a flag.
    values.set_gnu_getopt(True)
    absl_flags.DEFINE_enum("method", "bnas", methods.names(), "", flag_values=values)
    absl_flags.DEFINE_enum("what", WHATS[0], WHATS, "", flag_values=values)
    absl_flags.DEFINE_string("dataset", "digits", "", flag_values=values)
    absl_flags.DEFINE_string("genotype", "", "", flag_values=values)
    absl_flags.DEFINE_list("genotypes", [], "", flag_values=values)
    absl_flags.DEFINE_string("run_dir", configs.RankConfig.run_dir, "", flag_values=values)
    for name, default in (("profile_operations", False), ("binarize", True)):
        absl_flags.DEFINE_bool(name, default, "", flag_values=values)
    values(["", *words], known_only=True)
    return values


def parse(command: str, words: Sequence[str], genotypes: Sequence[str | Architecture] = ()) -> CommandLine:
    """Parses a command line.

    # Arguments
        command: One of `COMMANDS`.
        words: The words after the command.
        genotypes: The genotypes of a training or of a comparison, if the command line does not name them. They decide
            which recipe is chosen.

    # Returns
        A `CommandLine`.

    # Raises
        Error: If a flag is unknown, or if its value is not accepted.
        OptionError: If the values of flags do not fit together.
    """
    words, recipes, prefixes, dataset = _resolved(command, words, genotypes)
    recipe, given = None, words
    if command in ("search", *recipe_files.TRAININGS) and not any(map(_names_flag_file, words)):
        recipe = _one_for_all(recipe_files.default(recipes, dataset, prefix) for prefix in prefixes)
        if recipe is not None:
            given = [f"--flagfile={recipe_files.recipe_path(recipes, recipe)}", *words]
    values, config = _define(command, given)
    try:
        rest = values([f"larq_nas {command}", *given])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        raise _explained(command, config, error) from None
    if rest:
        raise Error(f"unexpected {rest[0]!r}: flags have the form --name=value")
    found = definitions.read(config, values)
    _fit_to_given(found, {word.lstrip("-").partition("=")[0] for word in words})
    return CommandLine(config(**found), recipe, values.verbosity)


def configure(command: str, **values: Any) -> options.Config:
    """Makes the configuration of a command as the command line does, including the recipe for the data set.

    # Arguments
        command: One of `COMMANDS`.
        values: The values of flags, by name.

    # Returns
        The configuration, an instance of a subclass of `options.Config`.

    # Raises
        OptionError: If an option is unknown, or if its value is not accepted.
    """
    if command not in COMMANDS:
        raise options.OptionError(f"command {command!r}: accepted are {', '.join(COMMANDS)}")
    # These cannot be written as words of a command line, so placeholders are parsed instead.
    others = {name: value for name, value in values.items() if value is None or _architectures(value)}
    words = [_word(name, value) for name, value in values.items() if name not in others]
    words += [_word(name, [_UNNAMED] * len(_several(value))) for name, value in others.items() if value is not None]
    given = _several(others.get("genotypes") or others.get("genotype") or [])
    genotypes = [each if isinstance(each, Architecture) else os.path.expanduser(each) for each in given]
    try:
        config = parse(command, words, genotypes).config
    except Error as error:
        # On the command line, the names of options begin with dashes.
        text = re.sub(r"(?<![\w./-])--(?=[a-z_])", "", first_line(error))
        raise options.OptionError(re.sub(r"\bflag\b", "option", text)) from None
    unknown = [name for name in others if name not in options.options(config)]
    if unknown:
        raise options.OptionError(f"{unknown[0]}: is no option of {command}")
    return config.replace(**others)


def searched(run_dir: str) -> configs.SearchConfig:
    """The configuration of the search in a run directory.

    # Raises
        RunError: If there is no search in the directory.
        OptionError: If this version does not have an option or a value of the search.
    """
    run = runs.Run(os.path.expanduser(run_dir))
    if not run.genotype.exists() or not run.flags.exists():
        raise runs.RunError(f"{run.genotype}: missing; run_dir must be the directory of a finished larq_nas search")
    words = [f"--{name}={value}" for name, value in run.flag_values().items()]
    if not run.is_of("search"):
        raise runs.RunError(f"{run.path}: holds no search; run_dir must be the directory of a finished larq_nas search")
    values, config = _define("search", words)
    try:
        values(["", *words])
    except Error as error:
        raise options.OptionError(f"{run.flags}: {first_line(error)}") from None
    return config(**definitions.read(config, values))


def training_of(config: configs.SearchTuneConfig, space: Architecture) -> configs.RecipeConfig:
    """Configures the recipe by which the genotypes that a tuned search finds are trained.

    # Arguments
        config: The configuration of the tuning. The recipe gets its data set, validation images and
            distribution.
        space: The space of the search.

    # Returns
        The configuration of the recipe.

    # Raises
        OptionError: If there is no such recipe.
    """
    values = {} if config.train_flagfile is None else {"flagfile": config.train_flagfile}
    try:
        found = configure("train", genotype=space, dataset=config.dataset, **values)
    except options.OptionError as error:
        named = str(error).startswith("flagfile=")
        raise options.OptionError(f"train_{error}" if named else f"train_flagfile: {error}") from None
    given = {**options.values_of(config, configs.DataConfig), "validation_fraction": config.validation_fraction}
    distribute = config.search_config().distribute
    if distribute != "none":
        given["distribute"] = distribute
    return configs.RecipeConfig(**{**options.values_of(found, configs.RecipeConfig), **given})


# The placeholder for a genotype that has no name.
_UNNAMED = "architecture"


def _architectures(value):
    """The architectures in the value of an option."""
    return [each for each in _several(value) if isinstance(each, Architecture)]


def _several(value):
    return value if isinstance(value, list | tuple) else [value]


def _word(name, value):
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"--{name}={value}"


def _resolved(command, words, genotypes=(), any_space=False):
    """Replaces the names of recipes among the words by paths.

    Returns the words, and what chooses a recipe: the command, the prefixes of the names of recipes, and the data set.
    """
    words = _with_space(_joined(words), any_space) if command == "search" else _joined(words)
    own = _selected([word for word in words if not _names_flag_file(word)])
    named = {
        "train": [own.genotype] if own.genotype else [],
        "tune": [own.genotype] if own.genotype and own.what == "recipe" else [],
        "compare": own.genotypes,
        "rank": [str(runs.Run(own.run_dir).genotype)],
    }.get(command, [])
    found = [recipe_files.prefix_for(genotype) for genotype in genotypes or map(os.path.expanduser, named)]
    prefixes = list(dict.fromkeys(found)) or [recipe_files.prefix_of(own.method, own.binarize)]
    recipes = "search" if command == "tune" and own.what == "search" else command
    words = [_with_path(recipes, word, prefixes) for word in words]
    if own["method"].present:
        # A recipe names its method, which must not replace the method of the command line.
        words.append(f"--method={own.method}")
    return words, recipes, prefixes, own.dataset


def _one_for_all(recipes):
    """The recipe of all genotypes of a comparison. It is an error if they have several."""
    first, *others = dict.fromkeys(recipes)
    if others:
        names = ", ".join(name or "the defaults of the flags" for name in (first, *others))
        raise Error(
            f"--genotypes: have different recipes ({names}); choose one for all, e.g. --flagfile={first or others[0]}"
        )
    return first


def _joined(words):
    """Joins some flags and their values to one word."""
    words = list(words)
    for index, word in reversed(list(enumerate(words[:-1]))):
        if word.lstrip("-") in ("flagfile", "method", "space") and word.startswith("-"):
            words[index : index + 2] = [f"{word}={words[index + 1]}"]
    return words


def _with_space(words, any_space):
    """Replaces `--method=random --space=bnas` by `--method=random_bnas`.

    If `any_space` is true, a missing space is the first that is accepted. Otherwise, it is an error.
    """
    given, rest = {}, []
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and equals and name in ("method", "space"):
            given[name] = value
        else:
            rest.append(word)
    method, space = given.get("method", "bnas"), given.get("space")
    if space is None and method not in methods.OVER:
        return words
    if space is None and any_space:
        space = methods.spaces(method)[0]
    if method not in methods.OVER:
        raise Error(f"--space={space}: is only for --method={' and --method='.join(methods.OVER)}")
    if space not in methods.spaces(method):
        accepted = ", ".join(methods.spaces(method))
        raise Error(f"--method={method}: needs --space, the method whose space it searches, one of {accepted}")
    return [*rest, f"--method={method}_{space}"]


def _names_flag_file(word):
    return word.startswith(("--flagfile", "-flagfile"))


def _with_path(command, word, prefixes):
    """Replaces the name of a recipe in `--flagfile=NAME` by its path. Other words are returned as they are."""
    _, equals, name = word.partition("=")
    if not _names_flag_file(word) or not equals or os.path.isfile(os.path.expanduser(name)):
        return word
    found = _one_for_all(recipe_files.find(command, name, prefix) for prefix in prefixes)
    if found is None:
        known = ", ".join(recipe_files.recipes(command)) or "none"
        raise Error(f"--flagfile={name}: no such file, and no recipe of {command} (recipes: {known})")
    return f"--flagfile={recipe_files.recipe_path(command, found)}"


def _explained(command, config, error):
    """The error about an unknown flag. If the flag belongs to another method, the error says so."""
    fields = {cls.method: options.options(cls) for cls in methods.loadable()}
    # `--noNAME` is the negation of the flag `--NAME`.
    names = {name for known in fields.values() for name in known}
    name = error.flagname if error.flagname in names else error.flagname.removeprefix("no")
    if command == "benchmark":
        # Only these options of a method decide what its operations compute.
        fields = {method: {n: o for n, o in known.items() if o.profiled} for method, known in fields.items()}
    others = [method for method, known in fields.items() if name in known and method != getattr(config, "method", "")]
    if config is configs.BenchmarkConfig and (others or name == "method"):
        return Error(f"--{name}: is only for --profile_operations, which makes its own files")
    if issubclass(config, tuple(_OF_METHODS)) and others:
        return Error(f"--{name} is no flag of --method={config.method}, but of {', '.join(others)}")
    return error


def _fit_to_given(found, given):
    """Fits other values to flags of the command line that have precedence over those of a recipe."""
    if "finalists" in given and "samples" not in given:
        found["samples"] = max(found["samples"], found["finalists"])
    if {"epochs", "steps"} & given and "epochs_factor" in found and "epochs_factor" not in given:
        found["epochs_factor"] = 1
    if "epochs" not in given or "steps" not in found:
        return
    if "steps" not in given:
        found["steps"] = None
    # In a search, the warm-up is a whole number of epochs. In a training, it is a float and is left alone.
    if "warmup_epochs" not in given and isinstance(found.get("warmup_epochs"), int):
        found["warmup_epochs"] = min(found["warmup_epochs"], found["epochs"] // 3)
    if "finalist_epochs" not in given and "finalist_epochs" in found:
        found["finalist_epochs"] = min(found["finalist_epochs"], found["epochs"])
