"""From the words of a command line to the configuration of a command."""

import contextlib
import dataclasses
import os

from absl import flags as absl_flags

from larq_nas import configs, methods, options
from larq_nas.flags import definitions, recipe_files
from larq_nas.space.architecture import Architecture

CONFIGS = {
    "train": configs.TrainConfig,
    "convert": configs.ConvertConfig,
    "evaluate": configs.EvaluateConfig,
    "costs": configs.CostsConfig,
    "zoo": configs.ZooConfig,
}
COMMANDS = ("search", *CONFIGS, "benchmark")
Error = absl_flags.Error


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What a command line says.

    # Arguments
        config: The configuration of the command.
        recipe: Name of the recipe that was taken since the command line names none, or `None`.
        verbosity: The value of `--verbosity`, or `None` if it is not given.
    """

    config: options.Config
    recipe: str | None
    verbosity: int | None


def define(command: str, words=()) -> tuple:
    """The flags of a command.

    # Arguments
        command: One of `COMMANDS`.
        words: The words of the command line, on which the flags may depend: those of a search are its method's.

    # Returns
        An `absl.flags.FlagValues`, and the class of the configuration of the command.
    """
    selected = _selected(words)
    config = _class_for(command, selected)
    values = definitions.define(config)
    if command == "benchmark":
        text = "time the operations of --method, for search --latency_table"
        absl_flags.DEFINE_bool("profile_operations", False, text, flag_values=values)
    if hasattr(config, "method"):
        text = "the search method" if command == "search" else "whose operations"
        absl_flags.DEFINE_enum("method", "bnas", methods.names(), text, flag_values=values)
    return values, config


def _class_for(command, selected):
    if command in CONFIGS:
        return CONFIGS[command]
    if command == "search":
        return methods.get(selected.method)
    if selected.profile_operations:
        return configs.profile_config(methods.get(selected.method))
    return configs.BenchmarkConfig


def _selected(words):
    """The flags on which the flags of a command and its recipe depend."""
    values = absl_flags.FlagValues()
    # Otherwise the first word that is no flag would end the flags.
    values.set_gnu_getopt(True)
    absl_flags.DEFINE_enum("method", "bnas", methods.names(), "", flag_values=values)
    absl_flags.DEFINE_string("dataset", "digits", "", flag_values=values)
    absl_flags.DEFINE_string("genotype", "", "", flag_values=values)
    for name, default in (("profile_operations", False), ("binarize", True)):
        absl_flags.DEFINE_bool(name, default, "", flag_values=values)
    values(["", *words], known_only=True)
    return values


def parse(command: str, words, genotype: Architecture | None = None) -> CommandLine:
    """Reads a command line.

    # Arguments
        command: One of `COMMANDS`.
        words: The words after the command.
        genotype: What is trained, if it has no name on the command line.

    # Returns
        A `CommandLine`.

    # Raises
        Error: If a flag is unknown, or its value is not accepted.
        OptionError: If values do not fit together.
    """
    words = _joined(words)
    own = _selected([word for word in words if not _names_flag_file(word)])
    beginning = recipe_files.beginning_for(genotype) if genotype else _beginning(command, own)
    words = [_with_path(command, word, beginning) for word in words]
    recipe, given = None, words
    if command in ("search", "train") and not any(map(_names_flag_file, words)):
        recipe = recipe_files.default(command, own.dataset, beginning)
        if recipe is not None:
            given = [f"--flagfile={recipe_files.recipe_path(command, recipe)}", *words]
    values, config = define(command, given)
    try:
        rest = values([f"larq_nas {command}", *given])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        raise _explained(command, config, error) from None
    if rest:
        raise Error(f"unexpected {rest[0]!r}: flags have the form --name=value")
    found = definitions.read(config, values)
    _fit_to_epochs(found, {word.lstrip("-").partition("=")[0] for word in words})
    verbosity = values.verbosity if values["verbosity"].present else None
    return CommandLine(config(**found), recipe, verbosity)


def configure(command: str, **values) -> options.Config:
    """The configuration of a command, as the command line makes it: with the recipe that suits the data.

    # Arguments
        command: One of `COMMANDS`.
        values: The values of flags, by name.

    # Returns
        The configuration: a subclass of `options.Config`.

    # Raises
        OptionError: If a flag is unknown, or its value is not accepted.
    """
    # An architecture stands for itself, and has no text.
    architectures = {name: value for name, value in values.items() if isinstance(value, Architecture)}
    words = [_word(name, value) for name, value in values.items() if name not in architectures and value is not None]
    words += [f"--{name}={_UNNAMED}" for name in architectures]
    try:
        return parse(command, words, architectures.get("genotype")).config.replace(**architectures)
    except Error as error:
        raise options.OptionError(str(error).splitlines()[0]) from None


# In the place of the name of a genotype that has none.
_UNNAMED = "architecture"


def _word(name, value):
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"--{name}={value}"


def _joined(words):
    """The words, with the value of `--flagfile` in the same one."""
    words = list(words)
    for index, word in reversed(list(enumerate(words[:-1]))):
        if word.lstrip("-") == "flagfile" and word.startswith("-"):
            words[index : index + 2] = [f"{word}={words[index + 1]}"]
    return words


def _names_flag_file(word):
    return word.startswith(("--flagfile", "-flagfile"))


def _beginning(command, selected):
    """The beginning of the names of the recipes that suit a command line."""
    if command == "train" and selected.genotype:
        return recipe_files.beginning_for(os.path.expanduser(selected.genotype))
    return recipe_files.beginning_of(selected.method, selected.binarize)


def _with_path(command, word, beginning):
    """The word; that of a recipe with its path."""
    _, equals, name = word.partition("=")
    if not _names_flag_file(word) or not equals or os.path.isfile(os.path.expanduser(name)):
        return word
    found = recipe_files.find(command, name, beginning)
    if found is None:
        known = ", ".join(recipe_files.recipes(command)) or "none"
        raise Error(f"--flagfile={name}: no such file, and no recipe of {command} (recipes: {known})")
    return f"--flagfile={recipe_files.recipe_path(command, found)}"


def _explained(command, config, error):
    """The error about an unknown flag, which may be one of another method."""
    # As `--no…`, flags are switched off.
    names = {name for cls in _classes() for name in options.options(cls)}
    name = error.flagname if error.flagname in names else error.flagname.removeprefix("no")
    others = [cls.method for cls in _classes() if name in options.options(cls)]
    if config is configs.BenchmarkConfig and (others or name == "method"):
        return Error(f"--{name}: is for --profile_operations, whose files are made here")
    if hasattr(config, "method") and others:
        return Error(f"--{name} is no flag of --method={config.method}, but of {', '.join(others)}")
    return error


def _classes():
    """The configurations of all methods that can be loaded."""
    found = []
    for name in methods.names():
        with contextlib.suppress(methods.MethodError):
            found.append(methods.get(name))
    return found


def _fit_to_epochs(found, given):
    """Lets a number of epochs on the command line win over the length that a recipe has."""
    if "epochs" not in given or "steps" not in found:
        return
    if "steps" not in given:
        found["steps"] = None
    # Of a training, it may be a part of an epoch.
    if "warmup_epochs" not in given and isinstance(found.get("warmup_epochs"), int):
        found["warmup_epochs"] = min(found["warmup_epochs"], found["epochs"] // 3)
