"""BARS-A … BARS-E: networks that larq_nas found under the published budgets of BARS.

The genotypes of the authors are not public. Those of larq_nas were found by small searches on a part of CIFAR-10, on a
CPU; the `provenance` of each genotype file describes the search. The costs are within 2 % of the published costs;
`docs/bars.md` compares them.

# References
    - [BARS: Joint Search of Cell Topology and Layout for Accurate and Efficient Binary
      ARchitectures](https://arxiv.org/abs/2011.10804), table 2
"""

from larq_nas.zoo.variants import CIFAR, IMAGENET, Variant, searched

VARIANTS = {
    "bars_a": Variant(*CIFAR, "91.25 top-1 (theirs)", 2_778_800, 440_928),
    "bars_b": Variant(*CIFAR, "92.98 top-1 (theirs)", 5_962_288, 905_952),
    "bars_c": Variant(*CIFAR, "93.43 top-1 (theirs)", 10_909_338, 1_499_176),
    "bars_d": Variant(*IMAGENET, "52.5 top-1 (theirs)", 9_294_304, 4_396_480),
    "bars_e": Variant(*IMAGENET, "56.1 top-1 (theirs)", 13_933_390, 5_018_560),
}

_DOCSTRING = """{title}, a binary network for {dataset}, with the costs of the paper's network of the same name.

    The architecture was found by larq_nas under the published budget. The authors' architecture is not public.
    Reported by the authors for their network: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), table 2
    """

bars_a, bars_b, bars_c, bars_d, bars_e = (searched(name, variant, _DOCSTRING) for name, variant in VARIANTS.items())
