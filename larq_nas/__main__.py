"""The command line `larq_nas COMMAND --flags`: finds the command, parses its flags, and prints an error in one line."""

import contextlib
import difflib
import errno
import logging
import os
import re
import select
import signal
import sys
import threading
import traceback
import types
from typing import NoReturn

from absl import logging as absl_logging

from larq_nas import configs, flags, quiet, versions, zoo
from larq_nas.messages import first_line
from larq_nas.options import OptionError

COMMANDS = {
    "search": "search for the architecture of a binary network",
    "train": "train the network of a genotype, or a network of the zoo",
    "tune": "let KerasTuner choose a genotype, the recipe of a training, or the flags of a search",
    "compare": "train several genotypes by the same recipe with several seeds, and compare their accuracies",
    "rank": "measure how well the shared weights of a search rank genotypes",
    "convert": "convert a trained network to a bit-packed .tflite file, with a report",
    "evaluate": "measure the accuracy of a trained network and of its .tflite file",
    "benchmark": "time .tflite files on this machine or on a device",
    "costs": "count the operations, parameters and bytes of a network",
    "draw": "draw the cells and the network of a genotype",
    "zoo": "list the networks of the zoo",
}
# On at most this many cores, and with at most this many images in a batch, it is faster to run several operations at
# the same time, with one thread each, than to split each operation among threads. With larger batches it is not
# (benchmarks/NOTES.md, "Threads and oneDNN"). More cores were not measured. There, TensorFlow decides.
FEW_CORES, SMALL_BATCH = 2, 32
HELP = {"--help", "-h", "--helpshort", "--helpfull"}
EXIT_BAD_FLAGS, EXIT_UNKNOWN_COMMAND, EXIT_FAILED = 1, 2, 3


def run(argv: list[str] | None = None) -> NoReturn:
    """Runs a command line and exits with its exit code.

    # Arguments
        argv: The words after the name of the program; those of `sys.argv` by default.
    """
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
    # Python flushes stdout again when it exits, and would report the closed pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main(argv: list[str]) -> int:
    """Runs a command line.

    # Arguments
        argv: The words after the name of the program.

    # Returns
        The exit code: 0 for success, 1 for bad flags, 2 for an unknown command, 3 for any other failure.
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
    if set(words) & HELP:
        print(_help_of(command, [word for word in words if word not in HELP]))
        return 0
    return _with_errors_of_flags(command, lambda: _call(command, flags.parse(command, words)))


def _help_of(command, words):
    try:
        return flags.usage(command, words, COMMANDS[command])
    except (flags.Error, OptionError, UnicodeDecodeError):
        # Whatever else is wrong, help is shown.
        return flags.usage(command, [], COMMANDS[command])


def load_tensorflow(batch_size: int | None = None) -> types.ModuleType:
    """Imports TensorFlow as the commands do: without messages, and with a number of threads that suits the batches.

    The environment variables `TF_CPP_MIN_LOG_LEVEL` and `TF_NUM_INTRAOP_THREADS` have precedence if they are set.

    # Arguments
        batch_size: Number of images in a batch of a search or training.

    # Returns
        The module `tensorflow`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if _cores() <= FEW_CORES and batch_size is not None and batch_size <= SMALL_BATCH:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    with quiet.stderr():
        import tensorflow
    return tensorflow


def _cores():
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _with_errors_of_flags(command, function):
    """Returns the exit code of a function. Errors of flags are printed in one line, with an exit code of their own."""
    try:
        return function()
    except (flags.Error, OptionError, UnicodeDecodeError) as error:
        _say(f"{command}: {first_line(error)}; see larq_nas {command} --help")
        return EXIT_BAD_FLAGS


def _call(command, line):
    config = line.config
    try:
        if line.recipe:
            print(f"recipe {line.recipe}; choose another with --flagfile")
        with _termination_as_interruption(), _shown(line.verbosity):
            _run_command(command, config, line.verbosity)
    except KeyboardInterrupt:
        goes_on = ""
        if isinstance(config, configs.RunConfig):
            again = " without --overwrite" if config.overwrite else ""
            goes_on = f"; the same command{again} goes on after the last finished {config.unit}"
        _say(f"{command}: interrupted{goes_on}")
        return EXIT_FAILED
    # Rich raises SystemExit if the output is closed.
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) or isinstance(error, BrokenPipeError) and _output_is_closed():
            # A command without a run directory only prints, so it is done. Other commands have failed.
            return EXIT_FAILED if hasattr(config, "run_dir") else 0
        if (line.verbosity or 0) > 0:
            traceback.print_exc()
        _say(f"{command}: {_one_line(error)}")
        return EXIT_FAILED
    return 0


def _run_command(command, config, verbosity):
    from larq_nas import commands

    absl_logging.set_verbosity(absl_logging.ERROR if verbosity is None else verbosity)
    if not _is_light(command, config):
        versions.check_tensorflow()
        # The warnings of TensorFlow are about its internals.
        load_tensorflow(getattr(config, "batch_size", None)).get_logger().setLevel("ERROR")
    function = commands.list_zoo if command == "zoo" else getattr(commands, command)
    function(config)


class _Printer(logging.Handler):
    """Prints the log messages of the library on the present `sys.stdout`."""

    def __init__(self):
        super().__init__()
        self.thread = threading.get_ident()

    def emit(self, record):
        # Another command may run in another thread.
        if record.thread == self.thread:
            print(record.getMessage(), flush=True)


# The level and propagation of the logger of the library outside of all commands, while there are any.
_lock, _before = threading.Lock(), []


@contextlib.contextmanager
def _shown(verbosity):
    """Prints the log messages of the library within the context."""
    logger, handler = logging.getLogger("larq_nas"), _Printer()
    with _lock:
        if not _before:
            _before.append((logger.level, logger.propagate))
        logger.setLevel(logging.INFO if verbosity is None else logging.DEBUG)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield
    finally:
        with _lock:
            logger.removeHandler(handler)
            if not any(isinstance(other, _Printer) for other in logger.handlers):
                level, logger.propagate = _before.pop()
                logger.setLevel(level)


def _is_light(command, config):
    """Whether a command does not need TensorFlow."""
    if command in ("costs", "zoo"):
        return True
    if command == "draw":
        return config.genotype not in zoo.VARIANTS or config.genotype in zoo.GENOTYPES
    if not isinstance(config, configs.BenchmarkConfig):
        return False
    # A benchmark on a device does not need TensorFlow. On this machine, LCE imports it.
    from larq_nas.tasks.benchmark import zoo_name

    return not any(map(zoo_name, config.models))


@contextlib.contextmanager
def _termination_as_interruption():
    """Makes SIGTERM end a command like Ctrl-C, so that the command says how to continue and releases its directory."""
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
    """Whether the reader of stdout has closed it, as in `larq_nas costs | head`."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, ValueError):  # There is no stdout, or it has no file descriptor.
        return False


def _one_line(error):
    # Errors of larq_nas are written for users. The messages of other errors get the name of the class.
    # TensorFlow wraps a `DatasetError` about an unreadable image in an error of its own.
    unreadable = re.search(r"DatasetError: (.+)", str(error))
    if unreadable:
        return unreadable[1]
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in text:
        return "no space is left on the disk; free some, and give the same command again"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    ours = type(error).__module__.startswith("larq_nas")
    return text if ours and text else f"{type(error).__name__}: {text[:300]} (--verbosity=1 shows where)"


def _usage():
    lines = ["usage: larq_nas COMMAND [--flag=value ...]", ""]
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "larq_nas COMMAND --help lists the flags of a command."])


def _say(line):
    print(f"larq_nas: {line}", file=sys.stderr)


if __name__ == "__main__":
    run()
