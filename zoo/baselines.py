"""Hand-made baselines: binary ResNets and a binary VGG-11, and full-precision versions of the networks of DMS.

The binary convolutions of the XNOR-Net ResNets are BatchNorm → sign → convolution → ReLU, with a scale per filter, as
in the networks of BNAS. The binary convolutions of `vgg11` and `resnet18`, the networks of DMS, are `StepConv2D`
layers. The first and the last layer are float. For images of at least 128 pixels, the ResNets have their ImageNet stem
and `num_classes` is 1000 by default; for smaller images it is 10.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from larq_nas.methods.dms.network import WIDTHS
from larq_nas.zoo.variants import CIFAR, Variant, load_weights

if TYPE_CHECKING:
    import tensorflow as tf

    from larq_nas.space.architecture import Architecture

# The facts are those of the default networks.
VARIANTS = {
    "xnor_resnet18": Variant(*CIFAR, "91.12 top-1 (by BARS)", 11_173_066, 2_138_920),
    "xnor_resnet34": Variant(*CIFAR, "91.49 top-1 (by BARS)", 21_281_226, 3_446_056),
    "bireal_resnet18": Variant(*CIFAR, "91.23 top-1 (by BARS)", 11_173_962, 2_142_504),
    "vgg11": Variant(*CIFAR, "78.31 top-1 (by DMS)", 579_105, 87_684),
    "resnet18": Variant(*CIFAR, "85.33 top-1 (by DMS)", 701_485, 110_260),
}


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
        from larq_nas.networks import stems

        return dms.space(self.name, 4 if input_shape[0] >= stems.LARGE_IMAGE else 1)

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
    body = _xnor_resnet((2, 2, 2, 2), downsample)
    return _model("xnor_resnet18", body, 3, 2, input_shape, input_tensor, weights, include_top, num_classes)


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
    body = _xnor_resnet((3, 4, 6, 3), downsample)
    return _model("xnor_resnet34", body, 3, 2, input_shape, input_tensor, weights, include_top, num_classes)


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
    return _model("bireal_resnet18", _bireal, 3, 2, input_shape, input_tensor, weights, include_top, num_classes)


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
    from larq_nas.networks import stems, templates

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


def _model(name, body, halvings, stem_halvings, input_shape, input_tensor, weights, include_top, num_classes):
    """Builds a model from `body(images, large)`, a function that returns the features of the images."""
    from larq_nas import networks
    from larq_nas.networks import stems

    shape = (32, 32, 3) if input_shape is None else input_shape
    images = networks.start(shape, input_tensor, halvings, stem_halvings)
    large = images.shape[1] >= stems.LARGE_IMAGE
    num_classes = (1000 if large else 10) if num_classes is None else num_classes
    model = networks.finish(
        images, body(images, large), num_classes, input_tensor=input_tensor, include_top=include_top, name=name
    )
    return load_weights(model, weights)


def _xnor_resnet(depths, downsample):
    shortcut = _accepted("downsample", downsample, {"float": _float_shortcut, "binary": _binary_shortcut})
    return _resnet(depths, (64, 128, 256, 512), shortcut, _two_convolution_stem)


def _resnet(depths, widths, shortcut, stem):
    from larq_nas.networks import blocks, stems
    from larq_nas.networks.builder import Builder

    v = Builder()

    def body(images, large):
        x = stem(images, widths[0]) if large else stems.plain_stem(v, images, widths[0])
        for stage, depth in enumerate(depths):
            for block in range(depth):
                name, strides = f"stage{stage}_block{block}", 2 if stage and not block else 1
                y = blocks.convolution_block(v, x, widths[stage], 3, strides, name=f"{name}_0")
                y = blocks.convolution_block(v, y, widths[stage], 3, name=f"{name}_1")
                if strides > 1:
                    x = shortcut(x, widths[stage], f"{name}_shortcut")
                x = v.add([x, y], name=f"{name}_add")
        return x

    return body


def _float_shortcut(x, filters, name):
    from larq_nas.layers.convolutional import batch_normalization, float_conv

    return batch_normalization(name=f"{name}_norm")(float_conv(filters, 1, 2, name=f"{name}_conv")(x))


def _binary_shortcut(x, filters, name):
    from larq_nas.networks import blocks
    from larq_nas.networks.builder import Builder

    return blocks.convolution_block(Builder(), x, filters, 3, 2, name=name)


def _two_convolution_stem(images, filters):
    from larq_nas.networks import stems
    from larq_nas.networks.builder import Builder

    return stems.imagenet_stem0(Builder(), images, filters)


def _pooled_stem(images, filters):
    from larq_nas.layers.convolutional import batch_normalization, float_conv, layers

    x = batch_normalization(name="stem_norm")(float_conv(filters, 7, 2, name="stem_conv")(images))
    x = layers.ReLU(name="stem_relu")(x)
    return layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)


def _bireal(images, large):
    import larq as lq

    from larq_nas.layers.convolutional import batch_normalization, float_conv, layers
    from larq_nas.networks import stems
    from larq_nas.networks.builder import Builder

    x = _pooled_stem(images, 64) if large else stems.plain_stem(Builder(), images, 64)
    for stage, filters in enumerate((64, 128, 256, 512)):
        for index in range(4):
            name, strides = f"stage{stage}_conv{index}", 2 if stage and not index else 1
            y = lq.layers.QuantConv2D(
                filters,
                3,
                strides=strides,
                padding="same",
                pad_values=1.0,
                use_bias=False,
                input_quantizer="approx_sign",
                kernel_quantizer="magnitude_aware_sign",
                kernel_constraint="weight_clip",
                name=name,
            )(x)
            y = batch_normalization(name=f"{name}_norm")(y)
            if strides > 1:
                x = layers.AveragePooling2D(2, padding="same", name=f"{name}_shortcut_pool")(x)
                x = float_conv(filters, 1, name=f"{name}_shortcut_conv")(x)
                x = batch_normalization(name=f"{name}_shortcut_norm")(x)
            x = layers.Add(name=f"{name}_add")([x, y])
    return x
