"""Writes `docs/costs.md`: published costs of binary networks, and the costs that `larq_nas.costs` counts.

python experiments/costs.py
"""

import pathlib

import larq_nas
from larq_nas import costs

CIFAR, IMAGENET = {"input_shape": (32, 32, 3)}, {"input_shape": (224, 224, 3)}

# FLOPs, BiOps and parameters in millions, from table 2 of BARS.
BARS = {
    "ResNet-18 XNOR, CIFAR-10": (16, 1094, "11.17"),
    "ResNet-34 XNOR, CIFAR-10": (27, 2302, "21.81"),
    "ResNet-18 Bi-Real, CIFAR-10": (11, 1123, "11.34"),
    "BNAS-A, CIFAR-10": (175, 1393, "5.57"),
    "ResNet-18 XNOR, binary downsampling, ImageNet": (138, 3699, "12.54"),
    "ResNet-18 XNOR, float downsampling, ImageNet": (167, 3557, "12.80"),
    "BNAS-D, ImageNet": (195, 6274, "28.41"),
}
# FLOPs, BiOps and equivalent operations in millions, as printed in table 2 of BARS.
EQUIVALENT = {
    "ResNet-18 XNOR": (16, 1094, 50.2),
    "ResNet-18 Bi-Real": (11, 1123, 46.1),
    "ResNet-34 XNOR": (27, 2302, 98.9),
    "WRN-40 XNOR": (27, 3000, 120.7),
    "NiN XNOR": (27, 400, 41.5),
    "ResNet-18 CBCN": (27, 1000, 58.2),
    "ResNet-18 IRNet": (27, 1000, 58.2),
    "BNAS, CIFAR-10": (175, 1393, 218.53),
    "BARS-A": (2, 1027, 34.1),
    "BARS-B": (2, 2096, 67.5),
    "BARS-C": (3, 3747, 119.5),
    "ResNet-18 ABC": (100, 4000, 225.0),
    "ResNet-18 XNOR, ImageNet": (138, 3699, 253.6),
    "ResNet-18 XNOR, float downsampling": (167, 3557, 278.1),
    "ResNet-18 Bi-Real, ImageNet": (160, 4000, 285.0),
    "ResNet-18 PCNN": (160, 4000, 285.0),
    "BNAS, ImageNet": (195, 6274, 391.1),
    "BARS-D": (129, 1499, 122.8),
    "BARS-E": (194, 2526, 275.9),
}
# Printed sums that do not follow from the printed terms with a factor of 1/32 or 1/64.
NOT_EQUIVALENT = ("NiN XNOR", "BARS-C", "BARS-D", "BARS-E")
# Megabytes in table 1 of DMS, in full precision and at widths 1 to 4.
DMS = {
    "VGG-11, CIFAR-10": ("2.20", "0.08", "0.29", "0.65", "1.14"),
    "ResNet-18, CIFAR-10": ("2.67", "0.09", "0.40", "0.98", "1.92"),
    "ResNet-18, ImageNet": ("44.5", "3.29", "9.24", "17.8", "29.1"),
}


def part(counts, *words, field="macs"):
    """Sums a field over the rows whose name contains one of the words."""
    return sum(getattr(row, field) for row in counts.rows if any(word in row.name for word in words))


def dms_bytes(counts, scales=False, first_bits=32):
    """Counts bytes like DMS: binary kernels at one bit without padding, and no BatchNorm.

    # Arguments
        counts: The `Costs` of `vgg11` or `resnet18`.
        scales: Whether the scale of each binary filter counts.
        first_bits: Bits per weight of the first convolution.

    # Returns
        The number of bytes.
    """
    total = 0
    for index, row in enumerate(row for row in counts.rows if row.kernel):
        bits = 1 if row.binary else first_bits if index == 0 else 32
        total += (
            row.weights * bits // 8
            + (4 * row.other_params if row.kind == "dense" else 0)
            + (4 * row.kernel[-1] if scales and row.binary else 0)
        )
    return total


def bars_rows():
    zoo = larq_nas.zoo
    models = {
        "ResNet-18 XNOR, CIFAR-10": zoo.xnor_resnet18(**CIFAR),
        "ResNet-34 XNOR, CIFAR-10": zoo.xnor_resnet34(**CIFAR),
        "ResNet-18 Bi-Real, CIFAR-10": zoo.bireal_resnet18(**CIFAR),
        "BNAS-A, CIFAR-10": zoo.genotype("bnas_a"),
        "ResNet-18 XNOR, binary downsampling, ImageNet": zoo.xnor_resnet18(downsample="binary", **IMAGENET),
        "ResNet-18 XNOR, float downsampling, ImageNet": zoo.xnor_resnet18(**IMAGENET),
        "BNAS-D, ImageNet": zoo.genotype("bnas_d"),
    }
    for name, model in models.items():
        shape, classes = (IMAGENET["input_shape"], 1000) if "ImageNet" in name else (CIFAR["input_shape"], 10)
        counts = costs.count(model, shape, classes)
        values = [counts.flops, counts.biops, counts.params]
        said = ["2 x float MACs", "2 x binary MACs", "all parameters"]
        classifier, shortcuts = part(counts, "classifier"), part(counts, "shortcut_conv")
        if name == "BNAS-A, CIFAR-10":
            values[0], said[0] = values[0] - 2 * classifier, "without the classifier"
        if name == "BNAS-D, ImageNet":
            values = [values[0] - 2 * (classifier + shortcuts), values[1] + 2 * shortcuts, values[2]]
            said[:2] = "stem only", "float shortcuts counted as binary"
        if name == "ResNet-18 XNOR, binary downsampling, ImageNet":
            values[2], said[2] = values[2] - part(counts, "stem", "classifier", field="params"), "of the blocks only"
        for figure, published, value, text in zip(("FLOPs", "BiOps", "params"), BARS[name], values, said, strict=True):
            # The table truncates operations to millions. It truncates or rounds parameters to hundredths of a million.
            cut_or_rounded = (f"{value // 10**4 / 100:.2f}", f"{value / 1e6:.2f}")
            equal = published in cut_or_rounded if figure == "params" else value // 10**6 == published
            row = ("BARS, table 2", name, figure, f"{published} M", f"{value:,}", text)
            yield *row, _difference(equal, value / 1e6, published)


def equivalent_rows():
    for name, (flops, biops, published) in EQUIVALENT.items():
        ours = costs.equivalent_ops(flops, biops)
        said = f"{flops} + {biops} / 32, from the printed columns (/ 64: {costs.equivalent_ops_64(flops, biops):.2f})"
        row = ("BARS, table 2", name, "equivalent ops", f"{published} M", f"{ours:.2f} M", said)
        # The printed terms are truncated, and the printed sums are truncated or rounded.
        yield *row, _difference(abs(ours - published) <= 0.11, ours, published)


def bnas_rows():
    counts = costs.count(larq_nas.zoo.genotype("bnas_d"), IMAGENET["input_shape"], 1000)
    kept = part(counts, "stem", "classifier")
    ours = (kept + (counts.binary_macs + counts.float_macs - kept) / 64) / 1e8
    said = "MACs of stem and classifier + all others, float shortcuts among them, / 64"
    row = ("BNAS, poster", "BNAS-D, ImageNet", "FLOPs", "~1.48e8", f"{ours:.3f}e8", said)
    yield *row, _difference(f"{ours:.2f}" == "1.48", ours, 1.48)


def dms_rows():
    zoo = larq_nas.zoo
    for name, sizes in DMS.items():
        model, shape = zoo.vgg11 if "VGG" in name else zoo.resnet18, IMAGENET if "ImageNet" in name else CIFAR
        for width, published in enumerate(sizes):
            counts = costs.count(model(width=max(width, 1), binary=width > 0, **shape))
            scales = width > 0 and "ImageNet" not in name
            size = dms_bytes(counts, scales)
            said = f"no BatchNorm{', a scale per filter' if scales else ''}; MB of 2^20 bytes"
            decimals = len(published.partition(".")[2])
            title = f"{name}, {f'{width}x' if width else 'full precision'}"
            ours = f"{size:,} B = {size / 2**20:.{decimals + 1}f} MB"
            equal = f"{size / 2**20:.{decimals}f}" == published
            row = ("DMS, table 1", title, "size", f"{published} MB", ours, said)
            yield *row, _difference(equal, size / 2**20, published)


def _difference(equal, ours, published):
    return "0" if equal else f"{100 * (ours / float(published) - 1):+.1f} %"


TEXT = """# Published costs and our costs

This page was written by `python experiments/costs.py`. `larq_nas.costs.count` counts the multiply-accumulates (MACs),
the parameters and the bytes of every layer. FLOPs and BiOps are twice the MACs. Padded taps count; additions, pools and
normalizations do not. Papers count in different ways, and some tables are not consistent in themselves. The column "how
it is counted" states the convention of our figure in that row. The column "difference" is 0 if our figure, rounded or
truncated like the table, equals the published figure. Otherwise it is the difference in percent.

The networks as described in the papers do not reproduce the following figures: the FLOPs and parameters of the
ResNet-34, the FLOPs, BiOps and parameters of Bi-Real, the figures of the ResNet-18 with float downsampling on ImageNet,
four of the sums of equivalent operations, the sizes of DMS's ResNet-18 on ImageNet (by at most 1 %), and its sizes on
CIFAR-10 at widths 2 to 4. The size of a uniform network is a quadratic function of its width, which the published sizes
on CIFAR-10 are not.

| table | network | figure | published | ours | how it is counted | difference |
|---|---|---|---|---|---|---|
"""


def main(path):
    """Writes the document to a path."""
    rows = [*bars_rows(), *equivalent_rows(), *bnas_rows(), *dms_rows()]
    path.write_text(TEXT + "".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(__file__).parents[1] / "docs/costs.md")
