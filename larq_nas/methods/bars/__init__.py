"""BARS: joint search of cell topology and layout.

BARS searches the topology of the cells, the number of cells in each stage, and their widths together, under a budget of
operations. Three measures keep the search from collapsing into shortcuts: choices are sampled by Gumbel-softmax instead
of mixing candidates, the weights are trained alone at first, and the loss has an entropy term, which rewards undecided
choices at first and penalizes them later.

```
larq_nas search --method=bars --dataset=cifar10 --budget=2096M   # the defaults are those of the recipe bars_cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - [BARS: Joint Search of Cell Topology and Layout for Accurate and Efficient Binary
      ARchitectures](https://arxiv.org/abs/2011.10804), Zhao, Ning et al.
"""

from larq_nas import lazy

__all__ = [
    "BarsConfig",
    "NODES",
    "OPERATIONS",
    "STAGES",
    "WIDTHS",
    "binary_operations",
    "connect",
    "decide",
    "draw",
    "log_likelihood",
    "most_probable",
    "one_hot",
    "scale",
    "share_of_range",
    "space",
]

# Modules are loaded on first use, because the network of BARS is read at the start of each command and needs no NumPy.
__getattr__ = lazy.attributes(
    __name__,
    {
        "BarsConfig": "config",
        **dict.fromkeys(("connect", "decide", "draw", "log_likelihood", "most_probable", "one_hot"), "derivation"),
        **dict.fromkeys(("NODES", "OPERATIONS", "STAGES", "WIDTHS"), "search_space"),
        **dict.fromkeys(("binary_operations", "scale", "share_of_range", "space"), "search_space"),
        **dict.fromkeys(("Strategy", "entropy"), "strategy"),
    },
)
