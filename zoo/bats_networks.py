"""BATS: a binary network with the published cells, as far as they are known, a wider one, and real-valued ones.

The genotypes of BATS are pictures in its supplement. `bats` and `bats_2x` have the cells of a genotype that an
independent implementation, github.com/lswzjuer/nas-pruning-quantize, names after the paper; whether they are those of
the pictures was not seen. The paper tells no widths, either. The real-valued networks were found by larq_nas at the
published numbers of parameters: theirs are not public.

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
    Reported by the authors of their network: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - [BATS](https://arxiv.org/abs/2003.01711); table 2 of its supplement for real-valued networks
    """
_CERTAINTY = {
    "bats": """The cells are those of an independent implementation, and 20 cells of 36 filters in 12 groups are its
    defaults.""",
    "bats_2x": """The cells are those of an independent implementation. The wider network of the paper has twice the
    binary operations of the narrow one; that it is 14 cells of 96 filters is a guess that fits them.""",
    **dict.fromkeys(
        ("bats_real_2_5m", "bats_real_3_5m"),
        """Nothing in it is binary. The cells were found by larq_nas in a small search on a part of CIFAR-10, on a CPU,
    too short to be worth much: all of the normal cell are max pools. Those of the authors are not public. The number of
    cells and filters gives their number of parameters.""",
    ),
}

bats, bats_2x, bats_real_2_5m, bats_real_3_5m = (
    searched(name, variant, _DOCSTRING, certainty=_CERTAINTY[name]) for name, variant in VARIANTS.items()
)
