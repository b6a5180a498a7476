"""VGG-11 and ResNet-18 with widths found by larq_nas, at the sizes of DMS-A and DMS-B.

The widths of the paper are not public. Those of larq_nas were found by small searches on a part of CIFAR-10, on a CPU,
and then scaled to the size. The `provenance` of each genotype file describes the search; `docs/dms.md` compares the
sizes. `larq_nas.zoo.vgg11` and `resnet18` are the same networks at their published, uniform widths.

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

_DOCSTRING = """{title}, a binary network for {dataset}, with the size of the paper's network of the same name.

    The widths were found by larq_nas. The authors' widths are not public.
    Reported by the authors for their network: {reported} accuracy on {dataset} (%).
    The default network has {parameters:,} trainable parameters and needs {memory:,} bytes.

    {arguments}

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, table 1
    """

dms_vgg11_a, dms_vgg11_b, dms_resnet18_a, dms_resnet18_b = (
    searched(name, variant, _DOCSTRING) for name, variant in VARIANTS.items()
)
