r"""DMS: a search for the widths of a network, which are modelled by logistic distributions.

DMS searches the ratio of each width to the width in a base network. Each ratio has a logistic distribution. Its mean
\\(\mu\\) is learnt, and its scale \\(\sigma\\) shrinks from round to round. In each round, three candidates represent
the distribution. The weights are trained for some epochs, with the candidates mixed by Gumbel-softmax. Then the means
are trained for one pass over the other half of the data. The ratios have no upper bound: the candidates of the next
round lie around the new means. The network grows or shrinks with the candidates, and keeps as many of its weights as
fit.

```
larq_nas search --method=dms --backbone=vgg11 --memory_target=0.12 --dataset=cifar10
larq_nas train --genotype=runs/search/genotype.json --dataset=cifar10
```

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop
"""

from larq_nas import lazy

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

# Modules are loaded on first use, because the network of DMS is read at the start of each command and needs no NumPy.
__getattr__ = lazy.attributes(
    __name__,
    {
        **dict.fromkeys(__all__, "search_space"),
        "DmsConfig": "config",
        **dict.fromkeys(("Distributions", "cluster", "log_probabilities"), "distributions"),
        "Strategy": "strategy",
        "WidthSupernet": "supernet",
    },
)
