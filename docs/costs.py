"""Writes `docs/costs.md`: published costs of binary networks, and what `larq_nas.costs` counts for them.

python docs/costs.py
"""

import pathlib

import larq_nas
from larq_nas import costs

CIFAR, IMAGENET = {"input_shape": (32, 32, 3)}, {"input_shape": (224, 224, 3)}

# FLOPs, BiOps, params in millions; from table 2 of BARS. None: not printed.
BARS = {
    "ResNet-18 XNOR, CIFAR-10": (16, 1094, "11.17"),
    "ResNet-34 XNOR, CIFAR-10": (27, 2302, "21.81"),
    "ResNet-18 Bi-Real, CIFAR-10": (11, 1123, "11.34"),
    "BNAS-A, CIFAR-10": (175, 1393, "5.57"),
    "ResNet-18 XNOR, binary downsampling, ImageNet": (138, 3699, "12.54"),
    "ResNet-18 XNOR, float downsampling, ImageNet": (167, 3557, "12.80"),
    "BNAS-D, ImageNet": (195, 6274, "28.41"),
}
# FLOPs, BiOps and equivalent operations in millions, as printed in that table.
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
# Printed sums that do not follow from the printed terms by any factor.
NOT_EQUIVALENT = ("NiN XNOR", "BARS-C", "BARS-D", "BARS-E")
# Operations in units of 1e8, of the groups of networks that the authors of BNAS compare theirs in.
BNAS_GROUPS = {"bnas_d": "1.48", "bnas_e": "1.63", "bnas_f": "1.78", "bnas_g": "1.93", "bnas_h": "6.56"}
# Megabytes in table 1 of DMS: full precision, then widths 1 to 4.
DMS = {
    "VGG-11, CIFAR-10": ("2.20", "0.08", "0.29", "0.65", "1.14"),
    "ResNet-18, CIFAR-10": ("2.67", "0.09", "0.40", "0.98", "1.92"),
    "ResNet-18, ImageNet": ("44.5", "3.29", "9.24", "17.8", "29.1"),
}


def part(counts, *words, field="macs"):
    """Sum over the rows whose name has one of the words in it."""
    return sum(getattr(row, field) for row in counts.rows if any(word in row.name for word in words))


def dms_bytes(counts, scales=False, first_bits=32):
    """Bytes as DMS counts them: binary kernels at one bit without padding, no BatchNorm.

    # Arguments
        counts: The `Costs` of `vgg11` or `resnet18`.
        scales: Whether the scale of each binary filter counts.
        first_bits: Bits of a weight of the first convolution.
    """
    total = 0
    for index, row in enumerate(row for row in counts.rows if row.kernel):
        bits = 1 if row.binary else first_bits if index == 0 else 32
        total += row.weights * bits // 8 + 4 * row.floats + (4 * row.kernel[-1] if scales and row.binary else 0)
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
        flops, biops, params = BARS[name]
        shape, classes = (IMAGENET["input_shape"], 1000) if "ImageNet" in name else (CIFAR["input_shape"], 10)
        counts = costs.count(model, shape, classes)
        values = [counts.flops, counts.biops, counts.params]
        said = ["2 x float MACs", "2 x binary MACs", "all trained"]
        classifier, shortcuts = part(counts, "classifier"), part(counts, "shortcut_conv")
        if name == "BNAS-A, CIFAR-10":
            values[0], said[0] = values[0] - 2 * classifier, "without the classifier"
        if name == "BNAS-D, ImageNet":
            values = [values[0] - 2 * (classifier + shortcuts), values[1] + 2 * shortcuts, values[2]]
            said[:2] = "stem only", "float shortcuts counted as binary"
        if name == "ResNet-18 XNOR, binary downsampling, ImageNet":
            values[2] -= part(counts, "stem", "classifier", field="weights")
            values[2] -= part(counts, "stem", "classifier", field="floats")
            said[2] = "without stem and classifier"
        yield "BARS, table 2", name, "FLOPs", f"{flops} M", f"{values[0]:,}", said[0], values[0] // 10**6 == flops
        yield "BARS, table 2", name, "BiOps", f"{biops} M", f"{values[1]:,}", said[1], values[1] // 10**6 == biops
        matches = abs(values[2] / 1e6 - float(params)) < 0.01
        yield "BARS, table 2", name, "params", f"{params} M", f"{values[2]:,}", said[2], matches


def equivalent_rows():
    for name, (flops, biops, published) in EQUIVALENT.items():
        ours = costs.equivalent_ops(flops, biops)
        said = f"{flops} + {biops} / 32, from the printed columns (/ 64: {costs.equivalent_ops_64(flops, biops):.2f})"
        yield (
            "BARS, table 2",
            name,
            "equivalent ops",
            f"{published} M",
            f"{ours:.2f} M",
            said,
            abs(ours - published) <= 0.11,
        )


def bnas_rows():
    for name, group in BNAS_GROUPS.items():
        counts = costs.count(larq_nas.zoo.genotype(name), IMAGENET["input_shape"], 1000)
        kept = part(counts, "stem", "classifier")
        ours = (kept + (counts.binary_macs + counts.float_macs - kept) / 64) / 1e8
        said = "MACs of stem and classifier + all others / 64; published for the group of networks that it is in"
        matches = abs(ours / float(group) - 1) < 0.04
        yield "BNAS, ImageNet", name.upper().replace("_", "-"), "FLOPs", f"~{group}e8", f"{ours:.3f}e8", said, matches


def dms_rows():
    zoo = larq_nas.zoo
    for name, (full, *binary) in DMS.items():
        model, shape = zoo.vgg11 if "VGG" in name else zoo.resnet18, IMAGENET if "ImageNet" in name else CIFAR
        for width, published in enumerate([full, *binary]):
            counts = costs.count(model(width=max(width, 1), binary=width > 0, **shape))
            size = dms_bytes(counts, scales=width > 0 and "ImageNet" not in name)
            said = "no BatchNorm" if "ImageNet" in name or not width else "no BatchNorm, a scale per filter"
            decimals = len(published.partition(".")[2])
            close = 0.011 * float(published) if "ImageNet" in name else 0.0055
            matches = abs(size / 2**20 - float(published)) <= close
            title = f"{name}, {f'{width}x' if width else 'full precision'}"
            ours = f"{size:,} B = {size / 2**20:.{decimals + 1}f} MB"
            yield "DMS, table 1", title, "size", f"{published} MB", ours, f"{said}; MB of 2^20 bytes", matches


TEXT = """# Published costs, and ours

Written by `python docs/costs.py`. `larq_nas.costs.count` gives multiply-accumulates (MACs), parameters and bytes of
every layer; FLOPs and BiOps are twice the MACs, padded taps count, additions, pools and normalizations do not. No two
papers sum up alike, and some tables do not in themselves: the column "how it is counted" says by which convention ours
stands beside theirs. The tables of BARS cut operations to whole millions. "no" in the last column: no way of counting
that we tried gives the published figure.

| table | network | figure | published | ours | how it is counted | agrees |
|---|---|---|---|---|---|---|
"""


def main():
    lines = []
    for rows in (bars_rows, equivalent_rows, bnas_rows, dms_rows):
        for *texts, matches in rows():
            lines.append(f"| {' | '.join(texts)} | {'yes' if matches else 'no'} |\n")
    pathlib.Path(__file__).with_suffix(".md").write_text(TEXT + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
