"""The commands: each reads its flags, calls the library, and ends with the path of what it made."""

from larq_nas.commands.benchmark import benchmark, zoo_name
from larq_nas.commands.common import CommandError
from larq_nas.commands.convert import convert
from larq_nas.commands.costs import costs, list_zoo
from larq_nas.commands.evaluate import evaluate
from larq_nas.commands.search import search
from larq_nas.commands.train import train

__all__ = ["CommandError", "benchmark", "convert", "costs", "evaluate", "list_zoo", "search", "train", "zoo_name"]
