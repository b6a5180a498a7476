"""Parsing command lines to configurations. Each field of a configuration is a flag.

A recipe is a flag file of this package, which is found by its name.

```python
from larq_nas import flags

config = flags.configure("search", method="bars", dataset="digits", epochs=3)
config.method, config.epochs, config.budget  # ("bars", 3, "1M")
flags.recipes("train")  # ["bars_cifar10", …]
```
"""

from larq_nas.flags.command_line import COMMANDS, CommandLine, Error, configure, define, parse, searched, training_of
from larq_nas.flags.help import usage
from larq_nas.flags.recipe_files import recipe_path, recipes

__all__ = [
    "COMMANDS",
    "CommandLine",
    "Error",
    "configure",
    "define",
    "parse",
    "recipe_path",
    "recipes",
    "searched",
    "training_of",
    "usage",
]
