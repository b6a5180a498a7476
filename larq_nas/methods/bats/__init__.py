r"""BATS: binary architecture search, with grouped binary operations.

BATS is a differentiable search like DARTS. Its operations are grouped convolutions that need no additional 1x1
convolution. A temperature below 1 keeps the distribution over operations sharp, so that operations without weights do
not win by near-ties. During the search, activations are binary and kernels are floats. The derived network is trained
in two stages: first with binary activations, then with binary kernels, too. With `--nobinarize`, the networks have no
quantizers, and BATS searches real-valued networks.

```
larq_nas search --method=bats --dataset=cifar10
larq_nas train --genotype=bats --dataset=cifar10    # reported by the authors: 96.1 %
larq_nas search --method=bats --nobinarize --dataset=cifar10
```

Details that the paper and its supplement do not give are taken from the library of the first author.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711), Bulat, Martinez, Tzimiropoulos, ECCV 2020
    - github.com/1adrianb/binary-networks-pytorch, by its first author
"""

from larq_nas import lazy
from larq_nas.methods.bats.config import BatsConfig
from larq_nas.methods.bats.search_space import GROUPS, INPUTS, KEPT_EDGES, NODES, OPERATIONS, groups_of, scale, space

__all__ = ["BatsConfig", "GROUPS", "INPUTS", "KEPT_EDGES", "NODES", "OPERATIONS", "groups_of", "scale", "space"]

__getattr__ = lazy.attributes(
    __name__,
    {
        "Strategy": "strategy",
        "derive": "strategy",
    },
)
