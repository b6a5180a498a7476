"""The text that `larq_nas COMMAND --help` prints."""

from collections.abc import Sequence

from larq_nas import configs, options
from larq_nas.flags import command_line
from larq_nas.flags.recipe_files import prefix_of, recipes


def usage(command: str, words: Sequence[str], summary: str) -> str:
    """Lists the flags of a command under headings, with their defaults and accepted values.

    # Arguments
        command: Name of the command.
        words: The words of the command line, on which the flags may depend, e.g. `--method=bars`.
        summary: A line that says what the command does.

    # Returns
        The text.
    """
    values, config = command_line.define(command, words)
    lines, known = [f"usage: larq_nas {command} [--flag=value ...]", "", summary], options.options(config)
    # Flags on which other flags depend come first.
    selectors = [name for name in values if name not in known and name not in ("verbosity", "v")]
    headings = {command: [_line(values[name]) for name in selectors]} if selectors else {}
    for name in known:
        headings.setdefault(options.heading_of(config, name), []).append(_line(values[name]))
    for heading, described in headings.items():
        lines += ["", f"{heading}:", *described]
    lines += ["", "  --verbosity: 0 shows further messages, 1 also shows the traceback of an error"]
    searches = issubclass(config, configs.SearchConfig)
    shipped = recipes("search" if searches else command)
    if searches:
        # The recipes of a search are only for its method.
        shipped = [name for name in shipped if name.startswith(prefix_of(config.method, binary=True) + "_")]
    if shipped:
        lines += [
            "",
            "Without --flagfile, the recipe for the data set is used, if there is one: METHOD_cifar10 for cifar10,",
            "METHOD_imagenet (or METHOD_cifar10, if there is none) for imagenet2012, METHOD_quickstart for digits,",
            "and METHOD_images for other data sets.",
            f"  --flagfile: file of flags, or one of the recipes {', '.join(shipped)}",
        ]
    return "\n".join(lines)


def _line(flag):
    value = "" if flag.default is None else f" (default: {flag.default_as_str.strip(chr(39))})"
    choices = getattr(flag.parser, "enum_values", None)
    accepted = f" <{'|'.join(choices)}>" if choices else ""
    return f"  --{flag.name}{accepted}: {flag.help.split('>: ')[-1]}{value}"
