"""What `larq_nas COMMAND --help` prints."""

from larq_nas import options
from larq_nas.flags import command_line
from larq_nas.flags.recipe_files import recipes


def usage(command: str, words, summary: str) -> str:
    """The flags of a command under headings, with their defaults and accepted values.

    # Arguments
        command: Name of the command.
        words: The words of the command line: those of a search name its method.
        summary: What the command does.

    # Returns
        Lines of text.
    """
    values, config = command_line.define(command, words)
    lines, known = [f"usage: larq_nas {command} [--flag=value ...]", "", summary], options.options(config)
    # What other flags depend on comes first.
    selectors = [name for name in values if name not in known and name not in ("verbosity", "v")]
    headings = {command: [_line(values[name]) for name in selectors]} if selectors else {}
    for name in known:
        headings.setdefault(options.heading_of(config, name), []).append(_line(values[name]))
    for heading, described in headings.items():
        lines += ["", f"{heading}:", *described]
    lines += ["", "  --verbosity: 0 shows what is being done, 1 the traceback of an error, too"]
    shipped = recipes(command)
    if shipped:
        lines += [
            "",
            "Without --flagfile, the recipe METHOD_cifar10 or METHOD_imagenet is taken for these data sets,",
            "METHOD_quickstart for digits, and METHOD_images for others, as far as they are there.",
            f"  --flagfile: a file of flags, or one of the recipes {', '.join(shipped)}",
        ]
    return "\n".join(lines)


def _line(flag):
    value = "" if flag.default is None else f" (default: {flag.default_as_str.strip(chr(39))})"
    choices = getattr(flag.parser, "enum_values", None)
    accepted = f" <{'|'.join(choices)}>" if choices else ""
    return f"  --{flag.name}{accepted}: {flag.help.split('>: ')[-1]}{value}"
