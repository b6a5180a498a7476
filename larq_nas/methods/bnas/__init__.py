"""BNAS: learning architectures for binary networks.

BNAS is a differentiable search for cells with three ideas: the operation *Zeroise*, which competes with the other
operations to the end; shortcuts between cells; and a *diversity regulariser*, which keeps the search from discarding
binary convolutions too early.

```
larq_nas search --method=bnas --dataset=cifar10     # the published search: 8 cells, 16 filters, 50 epochs
larq_nas train --genotype=bnas_a --dataset=cifar10  # reported by the authors: 92.70 % (README of their code: ~92.4 %)
```

# References
    - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), Kim, Singh, Choi, ECCV 2020
"""

from larq_nas import lazy
from larq_nas.methods.bnas.config import BnasConfig
from larq_nas.methods.bnas.search_space import INPUTS, KEPT_EDGES, NODES, OPERATIONS, scale, space

__all__ = ["BnasConfig", "INPUTS", "KEPT_EDGES", "NODES", "OPERATIONS", "scale", "space"]

__getattr__ = lazy.attributes(
    __name__,
    {
        "Strategy": "strategy",
        "diversity_loss": "strategy",
        "derive": "strategy",
        "entropy": "strategy",
    },
)
