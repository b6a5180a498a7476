"""The expected costs of the genotypes of a space. They are differentiable in the probabilities of the choices.

```python
import larq_nas
import tensorflow as tf
from larq_nas.costs import expected_costs
from larq_nas.methods import bnas

space = bnas.space(layers=8, filters=16)
even = {cell.name: tf.fill([len(cell.edges), len(cell.edges[0].operations)], 1 / 7) for cell in space.cells}
expected_costs.expected(space, even).biops
```
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from larq_nas.costs import CostError, tables
from larq_nas.space.architecture import Architecture


class Expected(NamedTuple):
    """Expected costs as scalar tensors of type float64. The names have the same meaning as in `costs.Costs`."""

    binary_macs: tf.Tensor
    float_macs: tf.Tensor
    binary_params: tf.Tensor
    float_params: tf.Tensor
    bytes: tf.Tensor

    @property
    def biops(self) -> tf.Tensor:
        return 2 * self.binary_macs

    @property
    def flops(self) -> tf.Tensor:
        return 2 * self.float_macs

    @property
    def params(self) -> tf.Tensor:
        return self.binary_params + self.float_params


def expected(
    space: Architecture,
    probabilities: dict,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    edge_probabilities: dict | None = None,
) -> Expected:
    """Computes the expected costs of a genotype that is drawn from a space. They are differentiable.

    All choices are drawn independently. The costs include the parts of the network that are not chosen: the stem, the
    preprocessing, the shortcuts and the classifier.

    # Arguments
        space: The search space.
        probabilities: The probabilities of the candidates of each choice, by the name of the choice, as for
            `networks.build`. The operations of a cell have the name of the cell and the shape `(edges, operations)`. A
            searched width or depth of a stage has a name such as `stage0_width` or `stage0_depth`, and the shape
            `(candidates,)`.
        input_shape: Height, width and channels of the images.
        num_classes: Number of classes.
        edge_probabilities: The probability that an edge is kept: by the name of the cell, of shape `(edges,)`. By
            default, all edges of a node are equally likely to be kept.

    # Returns
        The `Expected` costs of the network of the genotype. They are exact where all probabilities are 0 or 1.

    # Raises
        CostError: If the probabilities of a choice are missing or have another shape.
        NetworkError: If the network cannot be built for images of this shape.
    """
    return Expected(*tf.unstack(_expected(space, probabilities, input_shape, num_classes, edge_probabilities)))


def expected_ms(
    space: Architecture, probabilities: dict, input_shape: Sequence[int], num_classes: int, table: Any
) -> tf.Tensor:
    """Computes the expected time of a genotype, without the overhead of a network.

    # Arguments
        space, probabilities, input_shape, num_classes: See `expected`.
        table: A `latency.Table`.

    # Returns
        The milliseconds, a scalar tensor of type float64.
    """
    return _expected(space, probabilities, input_shape, num_classes, None, table)[-1]


def _expected(space, probabilities, input_shape, num_classes, edge_probabilities, latencies=None):
    parts = tables(space, input_shape, num_classes, latencies)
    shapes = {cell.name: (len(cell.edges), len(cell.edges[0].operations)) for cell in space.cells}
    operations = {
        name: _probabilities(probabilities.get(name), "probabilities", name, shape) for name, shape in shapes.items()
    }
    for cell in space.cells:
        even = [node.keep / len(node.edges) for node in cell.nodes for _ in node.edges]
        kept = even if edge_probabilities is None else edge_probabilities.get(cell.name)
        kept = _probabilities(kept, "edge_probabilities", cell.name, shapes[cell.name][:1])
        operations[cell.name] *= kept[:, tf.newaxis]
    total = tf.zeros([1], tf.float64)
    for choices, fixed, chosen in parts:
        table = tf.constant(fixed)
        for name, values in chosen.items():
            table += tf.tensordot(tf.constant(values), operations[name], [[-2, -1], [0, 1]])
        for name, count in choices:
            one = tf.ones([1], tf.float64)
            given = one if count == 1 else _probabilities(probabilities.get(name), "probabilities", name, (count,))
            table = tf.tensordot(given, table, 1)
        total += table
    return total


def _probabilities(values, kind, name, shape):
    if values is None:
        raise CostError(f"{kind}: missing for {name}")
    values = tf.cast(values, tf.float64)
    if values.shape != shape:
        raise CostError(f"{kind} of {name}: shape {values.shape}, not {shape}")
    return values
