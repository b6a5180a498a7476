"""BNAS-A … BNAS-H.

# References
    - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963)
"""

from larq_nas.zoo.variants import CIFAR, IMAGENET, Variant, searched

VARIANTS = {
    "bnas_a": Variant(*CIFAR, "92.70 top-1", 5_578_252, 4_168_000),
    "bnas_b": Variant(*CIFAR, "93.76 top-1", 10_945_744, 11_737_408),
    "bnas_c": Variant(*CIFAR, "94.43 top-1", 42_360_532, 34_814_080),
    "bnas_d": Variant(*IMAGENET, "57.69 top-1, 79.89 top-5", 28_407_560, 18_160_672),
    "bnas_e": Variant(*IMAGENET, "58.76 top-1, 80.61 top-5", 31_997_890, 20_517_288),
    "bnas_f": Variant(*IMAGENET, "58.99 top-1, 80.85 top-5", 39_781_442, 21_654_248),
    "bnas_g": Variant(*IMAGENET, "59.81 top-1, 81.61 top-5", 37_343_287, 23_751_044),
    "bnas_h": Variant(*IMAGENET, "63.51 top-1, 83.91 top-5", 160_016_936, 70_193_312),
}

_DOCSTRING = """{title}, a binary network for {dataset}.

    Reported by the authors: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963)
    """

bnas_a, bnas_b, bnas_c, bnas_d, bnas_e, bnas_f, bnas_g, bnas_h = (
    searched(name, variant, _DOCSTRING) for name, variant in VARIANTS.items()
)
