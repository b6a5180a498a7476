"""BARS: joint search of cell topology and layout.

The topology of the cells, how many there are in a stage, and how wide they are, are searched together, under a budget
of operations. Against the collapse into shortcuts stand samples in place of mixtures (Gumbel-softmax), a warm-up of the
weights, and an entropy term that first rewards indecision and then punishes it.

```
larq_nas search --method=bars --dataset=cifar10 --budget=2096M   # the defaults are those of the recipe bars_cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - [BARS: Joint Search of Cell Topology and Layout for Accurate and Efficient Binary
      ARchitectures](https://arxiv.org/abs/2011.10804), Zhao, Ning et al.
"""

import importlib

from larq_nas.methods.bars.config import BarsConfig
from larq_nas.methods.bars.derivation import connected, decide, draw, log_likelihood, most_probable, one_hot
from larq_nas.methods.bars.search_space import (
    NODES,
    OPERATIONS,
    STAGES,
    WIDTHS,
    binary_operations,
    scale,
    share_of_range,
    space,
)

__all__ = [
    "BarsConfig",
    "NODES",
    "OPERATIONS",
    "STAGES",
    "WIDTHS",
    "binary_operations",
    "connected",
    "decide",
    "draw",
    "log_likelihood",
    "most_probable",
    "one_hot",
    "scale",
    "share_of_range",
    "space",
]


# These names need TensorFlow, and load it.
_MODULES = {
    "Strategy": "strategy",
    "entropy": "strategy",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
