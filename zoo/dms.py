"""VGG-11 and ResNet-18 at widths found by larq_nas, at the sizes of DMS-A and DMS-B; those of the paper are not public.

All were found by small searches on a part of CIFAR-10, on a CPU, whose ratios were then scaled to the size. Each
genotype file says in its `provenance` how; `docs/dms.md` compares sizes. At their published, uniform widths the
networks are `larq_nas.zoo.vgg11` and `resnet18`.

# References
    - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, table 1
"""

from larq_nas.zoo.variants import CIFAR, Variant, searched

VARIANTS = {
    "dms_vgg11_a": Variant(*CIFAR, "84.16 top-1 (theirs)", 615_450, 96_908),
    "dms_vgg11_b": Variant(*CIFAR, "89.10 top-1 (theirs)", 5_173_968, 718_700),
    "dms_resnet18_a": Variant(*CIFAR, "89.32 top-1 (theirs)", 750_140, 130_148),
    "dms_resnet18_b": Variant(*CIFAR, "92.70 top-1 (theirs)", 6_779_229, 976_708),
}

_DOCSTRING = """{title}, a binary network for {dataset}, at the size of the network of DMS that has this name.

    The widths were found by larq_nas; those of the authors are not public.
    Reported by the authors of their network: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, table 1
    """

dms_vgg11_a, dms_vgg11_b, dms_resnet18_a, dms_resnet18_b = (
    searched(name, variant, _DOCSTRING) for name, variant in VARIANTS.items()
)
