"""Hand-made baselines: binary ResNets and a binary VGG-11, and full-precision versions of the networks of DMS.

The binary convolutions of the XNOR-Net ResNets are BatchNorm → sign → convolution → ReLU, with a scale per filter, as
in the networks of BNAS. The binary convolutions of `vgg11` and `resnet18`, the networks of DMS, are `StepConv2D`
layers. The first and the last layer are float. For images of at least 128 pixels, the ResNets have their ImageNet stem
and `num_classes` is 1000 by default; for smaller images it is 10.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from larq_nas.methods.dms.network import WIDTHS
from larq_nas.networks import blocks, counting, stems, templates
from larq_nas.zoo.variants import CIFAR, Variant, load_weights

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas.costs import Costs
    from larq_nas.space.architecture import Architecture

# The facts are those of the default networks.
VARIANTS = {
    "xnor_resnet18": Variant(*CIFAR, "91.12 top-1 (by BARS)", 11_173_066, 2_138_920),
    "xnor_resnet34": Variant(*CIFAR, "91.49 top-1 (by BARS)", 21_281_226, 3_446_056),
    "bireal_resnet18": Variant(*CIFAR, "91.23 top-1 (by BARS)", 11_173_962, 2_142_504),
    "vgg11": Variant(*CIFAR, "78.31 top-1 (by DMS)", 579_105, 87_684),
    "resnet18": Variant(*CIFAR, "85.33 top-1 (by DMS)", 701_485, 110_260),
}
# The filters of the stages of the ResNets, and how often their body and their stem for large images halve the images.
_FILTERS, _HALVINGS = (64, 128, 256, 512), (3, 2)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A hand-made network, which can be used instead of a genotype.

    # Arguments
        name: A key of `VARIANTS`.
    """

    name: str

    @property
    def template(self) -> str:
        """The name of the network. It is the name of a template only for `"vgg11"` and `"resnet18"`."""
        return self.name

    def genotype(self, input_shape: Sequence[int]) -> "Architecture | None":
        """Returns the genotype of `"vgg11"` or `"resnet18"`.

        # Arguments
            input_shape: Height, width and channels of the images.

        # Returns
            An `Architecture`, or `None` for the other networks.
        """
        if self.name not in WIDTHS:
            return None
        from larq_nas.methods import dms

        return dms.space(self.name, 4 if input_shape[0] >= stems.LARGE_IMAGE else 1)

    def count(self, input_shape: Sequence[int], num_classes: int) -> "Costs":
        """Counts the costs of the network, without building it.

        # Arguments
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A `costs.Costs`.

        # Raises
            NetworkError: If the network cannot be built at this shape.
        """
        from larq_nas import costs

        genotype = self.genotype(input_shape)
        if genotype is not None:
            return costs.count(genotype, input_shape, num_classes)
        height, width, channels = templates.check_shape(input_shape, *_HALVINGS)
        templates.check_classes(num_classes)
        counter = counting.Counter()
        x = _NETWORKS[self.name](counter, counting.Features(height, width, channels), height >= stems.LARGE_IMAGE)
        counter.classifier(x, num_classes)
        return costs.Costs(tuple(row for row, _ in counter.rows if row.counted))

    def build(self, input_shape: Sequence[int], num_classes: int) -> "tf.keras.Model":
        """Builds the Keras model.

        # Arguments
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A Keras model.

        # Raises
            NetworkError: If the network cannot be built at this shape.
        """
        return globals()[self.name](input_shape=input_shape, num_classes=num_classes)


def xnor_resnet18(
    *,
    downsample: str = "float",
    input_shape: Sequence[int] | None = None,
    input_tensor: "tf.Tensor | None" = None,
    weights: pathlib.Path | str | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
) -> "tf.keras.Model":
    """XNOR-Net's ResNet-18, with 64 to 512 filters and a shortcut around every two binary convolutions.

    Reported by the authors of BARS: 91.12 % on CIFAR-10 (`downsample="float"`), 48.3 % on ImageNet
    (`downsample="binary"`).

    # Arguments
        downsample: Kind of the shortcuts that halve the resolution: `"float"` for a 1x1 convolution of strides 2 and
            BatchNorm, or `"binary"` for a binary 3x3 convolution of strides 2.
        input_shape: Height, width and channels; `(32, 32, 3)` by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes; 10 by default, 1000 for images of at least 128 pixels.

    # Returns
        A Keras model.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279)
        - [BARS](https://arxiv.org/abs/2011.10804), table 2
    """
    options = {"downsample": downsample}
    return _model("xnor_resnet18", input_shape, input_tensor, weights, include_top, num_classes, **options)


def xnor_resnet34(
    *,
    downsample: str = "float",
    input_shape: Sequence[int] | None = None,
    input_tensor: "tf.Tensor | None" = None,
    weights: pathlib.Path | str | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
) -> "tf.keras.Model":
    """XNOR-Net's ResNet-34: like `xnor_resnet18`, but with 3, 4, 6 and 3 blocks.

    Reported by the authors of BARS: 91.49 % on CIFAR-10.

    # Arguments
        downsample: See `xnor_resnet18`.
        input_shape: Height, width and channels; `(32, 32, 3)` by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes; 10 by default, 1000 for images of at least 128 pixels.

    # Returns
        A Keras model.

    # References
        - [XNOR-Net](https://arxiv.org/abs/1603.05279)
        - [BARS](https://arxiv.org/abs/2011.10804), table 2
    """
    options = {"downsample": downsample}
    return _model("xnor_resnet34", input_shape, input_tensor, weights, include_top, num_classes, **options)


def bireal_resnet18(
    *,
    input_shape: Sequence[int] | None = None,
    input_tensor: "tf.Tensor | None" = None,
    weights: pathlib.Path | str | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
) -> "tf.keras.Model":
    """Bi-Real Net's ResNet-18, with a real-valued shortcut around every binary convolution and without ReLU.

    Reported by the authors of Bi-Real Net: 56.4 % on ImageNet. Reported by the authors of BARS: 91.23 % on CIFAR-10.

    # Arguments
        input_shape: Height, width and channels; `(32, 32, 3)` by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes; 10 by default, 1000 for images of at least 128 pixels.

    # Returns
        A Keras model.

    # References
        - [Bi-Real Net](https://arxiv.org/abs/1808.00278), section 3
    """
    return _model("bireal_resnet18", input_shape, input_tensor, weights, include_top, num_classes)


def vgg11(
    *,
    width: int = 1,
    binary: bool = True,
    input_shape: Sequence[int] | None = None,
    input_tensor: "tf.Tensor | None" = None,
    weights: pathlib.Path | str | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
) -> "tf.keras.Model":
    """VGG-11 at the widths of DMS: eight convolutions of 16 to 128 filters, without hidden dense layers.

    For images of at least 128 pixels, the convolutions have four times as many filters.

    Reported by the authors of DMS on CIFAR-10: 78.31, 85.37, 88.17, 88.68 % at widths 1 to
    4; 88.10 % in full precision.

    # Arguments
        width: Factor of all numbers of filters, 1 to 4 in the paper.
        binary: Whether all convolutions but the first are binary; the full-precision twin otherwise.
        input_shape: Height, width and channels; `(32, 32, 3)` by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes; 10 by default, 1000 for images of at least 128 pixels.

    # Returns
        A Keras model.

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, table 1
    """
    _accepted("binary", binary, {True: True, False: False})
    return _dms("vgg11", width, binary, input_shape, input_tensor, weights, include_top, num_classes)


def resnet18(
    *,
    width: int = 1,
    binary: bool = True,
    input_shape: Sequence[int] | None = None,
    input_tensor: "tf.Tensor | None" = None,
    weights: pathlib.Path | str | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
) -> "tf.keras.Model":
    """ResNet-18 at the widths of DMS: 16 to 128 filters and binary 1x1 downsampling.

    For images of at least 128 pixels, the convolutions have four times as many filters.

    Reported by the authors of DMS on CIFAR-10: 85.33, 90.25, 92.25, 93.01 % at widths 1 to
    4; 92.75 % in full precision. On ImageNet: 52.77, 64.00, 68.51, 70.35 %; 69.6 % in full precision.

    # Arguments
        width: Factor of all numbers of filters, 1 to 4 in the paper.
        binary: Whether all convolutions but the first are binary; the full-precision twin otherwise.
        input_shape: Height, width and channels; `(32, 32, 3)` by default.
        input_tensor: Optional Keras tensor to use as image input.
        weights: `None` for random weights, or the path of a weights file.
        include_top: Whether to end in pooling and a softmax over the classes.
        num_classes: Number of classes; 10 by default, 1000 for images of at least 128 pixels.

    # Returns
        A Keras model.

    # References
        - DMS: Differentiable diMension Search for Binary Neural Networks, ICLR 2020 NAS workshop, table 1
    """
    _accepted("binary", binary, {True: True, False: False})
    return _dms("resnet18", width, binary, input_shape, input_tensor, weights, include_top, num_classes)


def _accepted(name, value, values):
    if not isinstance(value, (str, bool)) or value not in values:
        raise ValueError(f"{name}={value!r}; accepted: {', '.join(map(str, values))}")
    return values[value]


def _width(width):
    if type(width) is not int or width < 1:
        raise ValueError(f"width={width!r}; accepted: a positive integer, 1 to 4 in the paper")
    return width


def _dms(name, width, binary, input_shape, input_tensor, weights, include_top, num_classes):
    """Builds a network of DMS at the widths of the paper."""
    from larq_nas import networks
    from larq_nas.methods import dms

    shape = (32, 32, 3) if input_shape is None else input_shape
    images = networks.start(shape, input_tensor, *templates.halvings(dms.space(name)))
    large = images.shape[1] >= stems.LARGE_IMAGE
    model = networks.build(
        dms.space(name, _width(width) * (4 if large else 1)),
        shape,
        (1000 if large else 10) if num_classes is None else num_classes,
        input_tensor=input_tensor,
        include_top=include_top,
        binary=binary,
        name=name,
    )
    return load_weights(model, weights)


def _model(name, input_shape, input_tensor, weights, include_top, num_classes, **options):
    """Builds a network of `_NETWORKS`."""
    from larq_nas import networks
    from larq_nas.networks.builder import Builder

    shape = (32, 32, 3) if input_shape is None else input_shape
    images = networks.start(shape, input_tensor, *_HALVINGS)
    large = images.shape[1] >= stems.LARGE_IMAGE
    num_classes = (1000 if large else 10) if num_classes is None else num_classes
    x = _NETWORKS[name](Builder(), images, large, **options)
    model = networks.finish(images, x, num_classes, input_tensor=input_tensor, include_top=include_top, name=name)
    return load_weights(model, weights)


def _xnor_resnet(v, images, large, depths, downsample="float"):
    """The layers of XNOR-Net's ResNets, by the verbs `v`, up to the classifier."""
    shortcut = _accepted("downsample", downsample, {"float": _float_shortcut, "binary": _binary_shortcut})
    x = stems.imagenet_stem0(v, images, 64) if large else stems.plain_stem(v, images, 64)
    for stage, (filters, depth) in enumerate(zip(_FILTERS, depths, strict=True)):
        for block in range(depth):
            name, strides = f"stage{stage}_block{block}", 2 if stage and not block else 1
            y = blocks.convolution_block(v, x, filters, 3, strides, name=f"{name}_0")
            y = blocks.convolution_block(v, y, filters, 3, name=f"{name}_1")
            if strides > 1:
                x = shortcut(v, x, filters, f"{name}_shortcut")
            x = v.add([x, y], name=f"{name}_add")
    return x


def _float_shortcut(v, x, filters, name):
    return blocks.float_block(v, x, filters, 1, 2, name=name)


def _binary_shortcut(v, x, filters, name):
    return blocks.convolution_block(v, x, filters, 3, 2, name=name)


def _bireal_resnet18(v, images, large):
    """The layers of Bi-Real Net's ResNet-18, by the verbs `v`, up to the classifier."""
    x = _pooled_stem(v, images) if large else stems.plain_stem(v, images, 64)
    for stage, filters in enumerate(_FILTERS):
        for index in range(4):
            name, strides = f"stage{stage}_conv{index}", 2 if stage and not index else 1
            y = v.norm(v.conv(x, filters, 3, strides, kind="magnitude_aware", name=name), name=f"{name}_norm")
            if strides > 1:
                x = v.pool("avg_pool", x, 2, 2, name=f"{name}_shortcut_pool")
                x = blocks.float_block(v, x, filters, 1, name=f"{name}_shortcut")
            x = v.add([x, y], name=f"{name}_add")
    return x


def _pooled_stem(v, images):
    x = v.relu(blocks.float_block(v, images, 64, 7, 2, name="stem"), name="stem_relu")
    return v.pool("max_pool", x, 3, 2, name="stem_pool")


# The layers of the networks that no genotype describes: functions of the layer verbs, the images, and whether the
# images are large.
_NETWORKS: dict[str, Callable] = {
    "xnor_resnet18": functools.partial(_xnor_resnet, depths=(2, 2, 2, 2)),
    "xnor_resnet34": functools.partial(_xnor_resnet, depths=(3, 4, 6, 3)),
    "bireal_resnet18": _bireal_resnet18,
}
