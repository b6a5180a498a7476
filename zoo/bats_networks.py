"""BATS: a binary network, a wider version of it, and two real-valued networks.

The paper publishes its genotypes only as pictures in the supplement. `bats` and `bats_2x` have the cells of a genotype
that an independent implementation, github.com/lswzjuer/nas-pruning-quantize, names after the paper. It was not checked
whether these are the cells of the pictures. The paper does not state widths, either. The real-valued networks were
found by larq_nas at the published numbers of parameters, since the authors' real-valued networks are not public.

# References
    - [BATS: Binary ArchitecTure Search](https://arxiv.org/abs/2003.01711)
"""

from larq_nas.zoo.variants import CIFAR, IMAGENET, Variant, searched

VARIANTS = {
    "bats": Variant(*CIFAR, "96.1 top-1", 3_494_494, 1_400_296),
    "bats_2x": Variant(*IMAGENET, "66.1 top-1, 87.0 top-5", 18_500_248, 9_311_968),
    "bats_real_2_5m": Variant(*CIFAR, "97.30 top-1 (theirs)", 2_484_190, 9_936_760),
    "bats_real_3_5m": Variant(*CIFAR, "97.60 top-1 (theirs)", 3_566_242, 14_264_968),
}

_DOCSTRING = """{title}, a network for {dataset} with operations of BATS.

    {certainty}
    Reported by the authors for their network: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - [BATS](https://arxiv.org/abs/2003.01711); table 2 of its supplement for real-valued networks
    """
_CERTAINTY = {
    "bats": """The cells come from an independent implementation, and so do its defaults: 20 cells of 36 filters in 12
    groups.""",
    "bats_2x": """The cells come from an independent implementation. The paper's wider network has twice the binary
    operations of the narrow one; 14 cells of 96 filters are a guess that fits this number.""",
    **dict.fromkeys(
        ("bats_real_2_5m", "bats_real_3_5m"),
        """No layer of the network is binary. The cells were found by larq_nas in a small search on a part of CIFAR-10,
    on a CPU. The search was too short to be worth much: the normal cell consists of max pools only. The authors' cells
    are not public. The numbers of cells and filters are chosen to give the authors' number of parameters.""",
    ),
}

bats, bats_2x, bats_real_2_5m, bats_real_3_5m = (
    searched(name, variant, _DOCSTRING, certainty=_CERTAINTY[name]) for name, variant in VARIANTS.items()
)
