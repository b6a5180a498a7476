r"""BATS: binary architecture search, with grouped binary operations.

A differentiable search in the manner of DARTS whose operations are grouped convolutions that need no 1x1 convolution
beside them. A temperature below 1 keeps the distribution over operations sharp, so that operations without weights do
not win by near-ties. Activations are binary and kernels float while it searches; the derived network is trained in two
stages, first with binary activations, then with binary kernels, too. Without any quantizer it searches real networks.

```
larq_nas search --method=bats --dataset=cifar10
larq_nas train --genotype=bats --dataset=cifar10    # reported by the authors: 96.1 %
larq_nas search --method=bats --nobinarize --dataset=cifar10
```

What the paper and its supplement leave open is taken from the library of its first author.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711), Bulat, Martinez, Tzimiropoulos, ECCV 2020
    - github.com/1adrianb/binary-networks-pytorch, by its first author
"""

import importlib

from larq_nas.methods.bats.config import BatsConfig
from larq_nas.methods.bats.search_space import GROUPS, INPUTS, KEPT_EDGES, NODES, OPERATIONS, groups_of, scale, space

__all__ = ["BatsConfig", "GROUPS", "INPUTS", "KEPT_EDGES", "NODES", "OPERATIONS", "groups_of", "scale", "space"]


# These names need TensorFlow, and load it.
_MODULES = {
    "Strategy": "strategy",
    "derive": "strategy",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
