"""`larq_nas COMMAND --flags`: finds the command, reads its flags, and turns an error into one line."""

import contextlib
import difflib
import errno
import os
import re
import select
import signal
import sys
import threading
import traceback

from absl import flags, logging

from larq_nas import chains, locks, quiet, versions, zoo
from larq_nas import flags as definitions
from larq_nas.architecture import Architecture, ArchitectureError

COMMANDS = {
    "search": "search an architecture for binary networks",
    "train": "train the network of a genotype or of the zoo",
    "convert": "write a trained network as a bit-packed .tflite, with a report",
    "evaluate": "accuracy of a trained network and of its .tflite",
    "benchmark": "time .tflite files on this machine or on a device",
    "costs": "count operations, parameters and bytes of a genotype's network",
    "zoo": "list the networks of the zoo",
}
# These write to --run_dir, one at a time.
LOCKED = ("search", "train", "convert", "benchmark")
# On two cores, operations on so many images are faster side by side, one thread each, than split in two; larger ones
# are not (benchmarks/NOTES.md, "Threads and oneDNN"). More cores were not measured.
SMALL_BATCH = 32
EXIT_BAD_FLAGS, EXIT_UNKNOWN_COMMAND, EXIT_FAILED = 1, 2, 3


def run(argv=None):
    """Runs a command line and exits with its code."""
    code = 0
    try:
        code = main(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        _say(f"stdout: {error.strerror}")
        code = EXIT_FAILED
    else:
        sys.exit(code)
    # Python flushes once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main(argv) -> int:
    """Runs a command line.

    # Arguments
        argv: The words after the program's name.

    # Returns
        The exit code: 0 done, 1 bad flags, 2 unknown command, 3 any other failure.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_usage())
        return 0 if argv else EXIT_UNKNOWN_COMMAND
    command, words = argv[0], argv[1:]
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
        _say(f"unknown command {command!r}; {hint}")
        return EXIT_UNKNOWN_COMMAND
    settings, names = definitions.define(command)
    if any(word in ("--help", "-h", "--helpshort", "--helpfull") for word in words):
        print(_command_usage(command, settings, names))
        return 0
    try:
        recipe = _parse(command, words, settings)
    except (flags.Error, UnicodeDecodeError) as error:
        _say(f"{command}: {str(error).splitlines()[0]}; see larq_nas {command} --help")
        return EXIT_BAD_FLAGS
    return _call(command, settings, names, recipe)


def load_tensorflow(batch_size: int | None = None):
    """Imports TensorFlow as the commands do: quiet, and with threads that suit the batches.

    The environment may overrule both.

    # Arguments
        batch_size: Images in a batch of a search or training.

    # Returns
        The module.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.cpu_count() == 2 and batch_size is not None and batch_size <= SMALL_BATCH:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    with quiet.stderr():
        import tensorflow
    return tensorflow


def _call(command, settings, names, recipe):
    try:
        if recipe:
            print(f"recipe {recipe}; choose another with --flagfile")
        held = locks.hold(settings.run_dir) if command in LOCKED else contextlib.nullcontext()
        with _termination_as_interruption(), held:
            _run_command(command, settings, names)
    except KeyboardInterrupt:
        again = " without --overwrite" if "overwrite" in names and settings.overwrite else ""
        unit = "round" if "method" in settings and settings.method == "dms" else "epoch"
        goes_on = f"; the same command{again} goes on after the last finished {unit}" if "overwrite" in names else ""
        _say(f"{command}: interrupted{goes_on}")
        return EXIT_FAILED
    # Rich ends a process whose output nobody reads any more.
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) or isinstance(error, BrokenPipeError) and _output_is_closed():
            # Nobody reads what such a command only shows; other commands are not done.
            return EXIT_FAILED if "run_dir" in names else 0
        if settings.verbosity > 0:
            traceback.print_exc()
        _say(f"{command}: {_one_line(error)}")
        return EXIT_FAILED
    return 0


def _run_command(command, settings, names):
    from larq_nas import commands

    if not settings["verbosity"].present:
        logging.set_verbosity(logging.ERROR)
    if not _is_light(command, settings):
        versions.check_tensorflow()
        # Its warnings speak of TensorFlow's own insides.
        load_tensorflow(getattr(settings, "batch_size", None)).get_logger().setLevel("ERROR")
    function = commands.list_zoo if command == "zoo" else getattr(commands, command)
    foreign = definitions.foreign(settings)
    function(settings, {name: getattr(settings, name) for name in names if name not in foreign})


def _is_light(command, settings):
    """Whether a command does without TensorFlow."""
    if command == "zoo":
        return not settings.costs or all(name in zoo.GENOTYPES for name in zoo.list_models(settings.pattern))
    if command == "costs":
        return settings.genotype not in zoo.VARIANTS or settings.genotype in zoo.GENOTYPES
    # A benchmark needs none of it on a device, and on this machine LCE takes care of it.
    from larq_nas import commands

    return (
        command == "benchmark" and not settings.profile_operations and not any(map(commands.zoo_name, settings.models))
    )


@contextlib.contextmanager
def _termination_as_interruption():
    """Lets SIGTERM end a command as Ctrl-C does, so that it says how to go on and frees its directory."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _output_is_closed():
    """Whether nobody reads stdout any more, as in `larq_nas costs | head`."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, ValueError):  # There is no stdout, or none of the system's.
        return False


def _one_line(error):
    # Errors that were raised for the user say it all; others gain the name of their kind.
    # TensorFlow wraps an error of an image that cannot be read in one of its own.
    unreadable = re.search(r"DatasetError: (.+)", str(error))
    if unreadable:
        return unreadable[1]
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in text:
        return "no space is left on the disk; free some, and give the same command again"
    ours = type(error).__module__.startswith("larq_nas")
    return text if ours and text else f"{type(error).__name__}: {text[:300]} (--verbosity=1 shows where)"


def _parse(command, words, settings):
    """Reads the words of a command; the name of the recipe that is taken since they name none, or `None`."""
    words = list(words)
    for index, word in reversed(list(enumerate(words[:-1]))):
        if word.lstrip("-") == "flagfile" and word.startswith("-"):
            words[index : index + 2] = [f"{word}={words[index + 1]}"]
    words = [_find_recipe(command, word, _method(command, words)) for word in words]
    _read(command, words, settings)
    default = None
    if not any(word.startswith(("--flagfile", "-flagfile")) for word in words):
        default = _default_recipe(command, settings, _method(command, words))
    if default is not None:
        for name in list(settings):
            settings[name].unparse()
        _read(command, [f"--flagfile={definitions.recipe_path(command, default)}", *words], settings)
    if "steps" in settings:
        _fit_to_epochs(command, settings, {word.lstrip("-").partition("=")[0] for word in words})
    definitions.expand_paths(settings)
    return default


def _fit_to_epochs(command, settings, given):
    """Lets a number of epochs on the command line win over the length that a recipe has."""
    if "epochs" not in given:
        return
    if "steps" not in given:
        settings["steps"].unparse()
    if command == "search" and "warmup_epochs" not in given and settings.warmup_epochs:
        settings["warmup_epochs"].value = min(settings.warmup_epochs, settings.epochs // 3)


def _read(command, words, settings):
    rest = settings([f"larq_nas {command}", *words])[1:]
    if rest:
        raise flags.Error(f"unexpected {rest[0]!r}: flags have the form --name=value")
    for name in definitions.foreign(settings):
        if settings[name].present:
            raise flags.Error(f"--{name} is no flag of --method={settings.method}")


def _method(command, words):
    """The method to which the words of a command belong, as far as they say so: the beginning of its recipes' names."""
    given = [word.partition("=")[2] for word in words if word.lstrip("-").startswith(("method=", "genotype="))]
    if command == "train" and given:
        return _method_of_genotype(given[-1])
    real = [word for word in words if word.lstrip("-").partition("=")[0] in ("binarize", "nobinarize")][-1:]
    real = real and (real[0].startswith(("--no", "-no")) or real[0].lower().endswith(("=false", "=f", "=0")))
    return f"{given[-1]}_real" if given and real else given[-1] if given else "bnas"


def _method_of_genotype(name):
    if name in zoo.VARIANTS and name not in zoo.GENOTYPES:
        return "dms" if name in chains.WIDTHS else "bars"  # The authors of BARS trained these networks, too.
    try:
        architecture = zoo.genotype(name) if name in zoo.GENOTYPES else Architecture.load(os.path.expanduser(name))
    except ArchitectureError:
        return "bnas"
    method = architecture.kind.method
    return f"{method}{'' if architecture.binary else '_real'}" if method in definitions.METHOD_FLAGS else "bnas"


def _default_recipe(command, settings, method):
    if command not in ("search", "train"):
        return None
    dataset = settings.dataset.partition(":")[0]
    if dataset == "cifar10" and method == "bnas":
        return None  # The defaults are its recipe.
    known = {"cifar10": "cifar10", "imagenet2012": "imagenet", "digits": "quickstart"}
    name = known.get(dataset, "images")
    names = (f"{method}_{name}", name, f"{method}_cifar10")
    return next((recipe for recipe in names if recipe in definitions.recipes(command)), None)


def _find_recipe(command, word, method):
    prefix, equals, name = word.partition("=")
    if prefix.lstrip("-") != "flagfile" or not equals or os.path.isfile(os.path.expanduser(name)):
        return word
    for recipe in (f"{method}_{name}", f"{method.removesuffix('_real')}_{name}", name):
        if recipe in definitions.recipes(command):
            return f"--flagfile={definitions.recipe_path(command, recipe)}"
    known = ", ".join(definitions.recipes(command)) or "none"
    raise flags.Error(f"--flagfile={name}: no such file, and no recipe of {command} (recipes: {known})")


def _usage():
    lines = ["usage: larq_nas COMMAND [--flag=value ...]", ""]
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "larq_nas COMMAND --help lists the flags of a command."])


def _command_usage(command, settings, names):
    lines = [f"usage: larq_nas {command} [--flag=value ...]", "", f"{COMMANDS[command]}", ""]
    for name in names:
        flag = settings[name]
        value = "" if flag.default is None else f" (default: {flag.default_as_str.strip(chr(39))})"
        choices = getattr(flag.parser, "enum_values", None)
        accepted = f" <{'|'.join(choices)}>" if choices else ""
        lines.append(f"  --{name}{accepted}: {flag.help.split('>: ')[-1]}{value}")
    lines.append("  --verbosity: 0 shows what is being done, 1 the traceback of an error, too")
    recipes = definitions.recipes(command)
    if recipes:
        lines.append(
            "\nThe defaults shown are those of BNAS for cifar10. Without --flagfile, the recipe METHOD_cifar10 or "
            "METHOD_imagenet is taken for these data sets if the command has it, and a quickstart for others."
        )
        lines.append(f"  --flagfile: a file of flags, or one of the recipes {', '.join(recipes)}")
    return "\n".join(lines)


def _say(line):
    print(f"larq_nas: {line}", file=sys.stderr)


if __name__ == "__main__":
    run()
