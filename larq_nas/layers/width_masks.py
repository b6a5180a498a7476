"""Layers that leave the depth and the width of a stage open, for a search to decide.

Both stand alone: their last input are weights of the candidates, one-hot where the choice is made.

```python
import tensorflow as tf
from larq_nas.layers import width_masks

images, width = tf.ones([1, 8, 8, 4]), tf.constant([0.0, 1.0, 0.0, 0.0])
width_masks.WidthMask((1, 2, 3, 4))([images, width])  # channels 0 and 1; the others are 0
```

# References
    - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.1
"""

import tensorflow as tf

from larq_nas.layers.quantizers import register


def width_mask(choice, widths, channels: int):
    """The soft mask of equation 4: for each channel, the weight of the candidates that keep it.

    # Arguments
        choice: Weights of the candidates, of shape `(len(widths),)`.
        widths: How many channels each candidate keeps of a group, which are as many as the largest keeps.
        channels: Channels of all groups together.

    # Returns
        A tensor of shape `(channels,)`.
    """
    size = max(widths)
    masks = tf.sequence_mask(widths, size, choice.dtype)
    return tf.tile(tf.linalg.matvec(masks, choice, transpose_a=True), [channels // size])


@register
class WidthMask(tf.keras.layers.Layer):
    """Multiplies a tensor with the weighted sum of masks that each keep the first channels.

    # Arguments
        widths: How many channels each candidate keeps. If the input has a multiple of the largest of them, it
            consists of groups, each of which keeps its first channels: tensors that are concatenated from narrow ones.

    # Inputs
        A tensor whose last axis are channels, and weights of the candidates, of shape `(len(widths),)`.

    # Returns
        A tensor of the shape of the first input.

    # Raises
        ValueError: If widths are not positive integers, or the channels no multiple of the largest.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 4; the paper has one group
    """

    def __init__(self, widths, **kwargs):
        # Choice weights keep their 32 bits under mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.widths = check_widths(widths)

    def build(self, input_shape):
        channels = input_shape[0][-1]
        if channels is None or channels % max(self.widths):
            raise ValueError(f"widths={self.widths}: {channels} channels are no groups of {max(self.widths)}")
        super().build(input_shape)

    def call(self, inputs):
        x, choice = inputs
        x = tf.cast(x, self.compute_dtype)
        return x * tf.cast(width_mask(choice, self.widths, x.shape[-1]), x.dtype)

    def get_config(self):
        return {**super().get_config(), "widths": self.widths}


def check_widths(widths):
    """Candidate widths as a list; `ValueError` if they are none."""
    widths = list(widths)
    if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"widths={widths}: must be positive integers")
    return widths


@register
class SkippableAggregation(tf.keras.layers.Layer):
    """The weighted sum of what a stage looks like after each candidate number of cells.

    # Inputs
        A list: tensors of one shape, then their weights, of shape `(tensors,)`.

    # Returns
        A tensor of that shape.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), equation 3
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape):
        *tensors, weights = input_shape
        if len(weights) != 1 or weights[0] != len(tensors):
            raise ValueError(f"{len(tensors)} tensors and weights of shape {tuple(weights)}: give a weight for each")
        super().build(input_shape)

    def call(self, inputs):
        *tensors, weights = inputs
        weights = tf.unstack(tf.cast(weights, self.compute_dtype))
        return tf.add_n([tf.cast(x, self.compute_dtype) * w for x, w in zip(tensors, weights, strict=True)])


@register
class CellWidths(tf.keras.layers.Layer):
    """Which width each cell of a stage has, where the last one has that of the following stage.

    Which cell is the last hangs on the depth: cell k is the last of those that are there with the weight of depth k
    among the weights of the depths from k on.

    # Arguments
        depths: The candidate depths.

    # Inputs
        Weights of the widths of the stage, weights of the widths of the following stage, weights of the depths.

    # Returns
        Weights of the widths of cell 1, 2, … up to the largest depth, then of what leaves the stage: at depth 0, which
        has no last cell, that is the stage's own input.
    """

    def __init__(self, depths, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.depths = list(depths)

    def call(self, inputs):
        own, following, depth = inputs
        at = dict(zip(self.depths, tf.unstack(depth), strict=True))
        last = []
        for number in range(1, max(self.depths) + 1):
            there = tf.add_n([weight for candidate, weight in at.items() if candidate >= number])
            last.append(tf.math.divide_no_nan(at.get(number, tf.zeros_like(there)), there))
        last.append(1.0 - at[0] if 0 in at else tf.ones_like(depth[0]))
        return [weight * following + (1 - weight) * own for weight in last]

    def get_config(self):
        return {**super().get_config(), "depths": self.depths}
