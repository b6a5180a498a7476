"""Layers for stages of searched width and depth.

`WidthMask` and `SkippableAggregation` take the weights of the candidates as an input. The weights are one-hot once the
choice is made.

```python
import larq_nas
import tensorflow as tf
from larq_nas.layers import width_masks

images, width = tf.ones([1, 8, 8, 4]), tf.constant([0.0, 1.0, 0.0, 0.0])
width_masks.WidthMask((1, 2, 3, 4))([images, width])  # channels 0 and 1; the others are 0
```

# References
    - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.1
"""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from larq_nas.layers.quantizers import register


def width_mask(choice: tf.Tensor, widths: Sequence[int], channels: int) -> tf.Tensor:
    """Computes the soft mask of equation 4: for each channel, the total weight of the candidates that keep the channel.

    # Arguments
        choice: Weights of the candidates, of shape `(len(widths),)`.
        widths: The number of channels that each candidate keeps of a group. A group has `max(widths)` channels.
        channels: Number of channels of all groups together.

    # Returns
        A tensor of shape `(channels,)`.
    """
    size = max(widths)
    masks = tf.sequence_mask(widths, size, choice.dtype)
    return tf.tile(tf.linalg.matvec(masks, choice, transpose_a=True), [channels // size])


@register
class WidthMask(tf.keras.layers.Layer):
    """Multiplies a tensor by a weighted sum of masks. The mask of a candidate keeps the first channels.

    # Arguments
        widths: The number of channels that each candidate keeps. If the number of input channels is a multiple of the
            largest width, the input consists of groups, and a candidate keeps the first channels of each group. Groups
            arise where narrower tensors are concatenated.

    # Inputs
        A tensor with channels on the last axis, and the weights of the candidates, of shape `(len(widths),)`.

    # Returns
        A tensor of the shape of the first input.

    # Raises
        ValueError: If the widths are not positive integers, or the number of channels is not a multiple of the largest
            width.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 4. The paper has one group.
    """

    def __init__(self, widths: Iterable[int], **kwargs: Any) -> None:
        # Without autocast, the choice weights keep their 32 bits under mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.widths = check_widths(widths)

    def build(self, input_shape: list) -> None:
        channels = input_shape[0][-1]
        if channels is None or channels % max(self.widths):
            raise ValueError(f"widths={self.widths}: {channels} channels are not a multiple of {max(self.widths)}")
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        x, choice = inputs
        x = tf.cast(x, self.compute_dtype)
        return x * tf.cast(width_mask(choice, self.widths, x.shape[-1]), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths}


def check_widths(widths: Iterable[int]) -> list[int]:
    """Returns candidate widths as a list, or raises a `ValueError` if they are not positive integers."""
    widths = list(widths)
    if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"widths={widths}: must be positive integers")
    return widths


@register
class SkippableAggregation(tf.keras.layers.Layer):
    """The weighted sum of the features of a stage after each candidate number of cells.

    # Inputs
        A list: tensors of one shape, then their weights, of shape `(number of tensors,)`.

    # Returns
        A tensor of the same shape.

    # Raises
        ValueError: If the number of weights is not the number of tensors.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 3
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape: list) -> None:
        *tensors, weights = input_shape
        if len(weights) != 1 or weights[0] != len(tensors):
            raise ValueError(f"{len(tensors)} tensors and weights of shape {tuple(weights)}: give a weight for each")
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        *tensors, weights = inputs
        weights = tf.unstack(tf.cast(weights, self.compute_dtype))
        return tf.add_n([tf.cast(x, self.compute_dtype) * w for x, w in zip(tensors, weights, strict=True)])


@register
class CellWidths(tf.keras.layers.Layer):
    """Computes the width of each cell of a stage, if the last cell has the width of the following stage.

    The searched depth decides which cell is the last one. Cell k is the last cell with the following weight: the weight
    of depth k, divided by the sum of the weights of all depths of at least k.

    # Arguments
        depths: The candidate depths.

    # Inputs
        The weights of the stage's widths, the weights of the following stage's widths, and the weights of the depths.

    # Returns
        A list of weights of the widths: for cell 1, cell 2, … up to the largest depth, then for the output of the
        stage. At depth 0, the stage has no last cell, and its output is its input.
    """

    def __init__(self, depths: Iterable[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.depths = list(depths)

    def call(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        own, following, depth = inputs
        at = dict(zip(self.depths, tf.unstack(depth), strict=True))
        last = []
        for number in range(1, max(self.depths) + 1):
            there = tf.add_n([weight for candidate, weight in at.items() if candidate >= number])
            last.append(tf.math.divide_no_nan(at.get(number, tf.zeros_like(there)), there))
        last.append(1.0 - at[0] if 0 in at else tf.ones_like(depth[0]))
        return [weight * following + (1 - weight) * own for weight in last]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depths": self.depths}
