r"""DMS: the widths of a network as logistic distributions.

Each width has a ratio to that of a base network, and the ratio a logistic distribution of mean \\(\mu\\), which is
learnt, and scale \\(\sigma\\), which shrinks. Per round three candidates stand for the distribution; weights are
trained for some epochs with candidates mixed by Gumbel-softmax, then the means for one pass over the other half of the
data. Ratios have no upper bound: the next round's candidates lie around the new means, and the network grows or
shrinks with them, keeping what it can of its weights.

```
larq_nas search --method=dms --backbone=vgg11 --memory_target=0.12 --dataset=cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop
"""

import importlib

from larq_nas.methods.dms.config import DmsConfig
from larq_nas.methods.dms.search_space import (
    BASES,
    MEGABYTE,
    ROOM,
    base_widths,
    derive,
    megabytes,
    opened,
    room,
    rounded,
    size,
    space,
    units,
    with_widths,
)

__all__ = [
    "BASES",
    "DmsConfig",
    "MEGABYTE",
    "ROOM",
    "base_widths",
    "derive",
    "megabytes",
    "opened",
    "room",
    "rounded",
    "size",
    "space",
    "units",
    "with_widths",
]


# These names need TensorFlow, and load it.
_MODULES = {
    "Strategy": "strategy",
    "cluster": "strategy",
    "log_probabilities": "strategy",
    "Candidates": "supernet",
    "WidthSupernet": "supernet",
    "best_effort": "supernet",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
