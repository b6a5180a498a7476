"""Cell templates: how inputs enter a cell, how nodes add up, how shortcuts leave it.

A template is one function for supernet and final network alike. Where the cell is decided each edge applies its
operation; where it is not, all edges that leave a state are one `MixedEdges` layer.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from larq_nas import grouped, grouped_edges, macro, mixed, operations, residual
from larq_nas.architecture import Cell
from larq_nas.operations import Operation, batch_normalization, convolution_block
from larq_nas.quantizers import register

layers = tf.keras.layers


@register
class DropPath(layers.Layer):
    """Drops a whole path for some samples in training, and scales it up for the others.

    # Arguments
        rate: Probability of a sample to be dropped. `set_rate` changes it between epochs.

    # References
        - [FractalNet](https://arxiv.org/abs/1605.07648), section 4.1
    """

    def __init__(self, rate=0.0, **kwargs):
        super().__init__(**kwargs)
        variable = tf.Variable(rate, trainable=False, dtype=tf.float32)
        # Held by a function, the rate is no weight: networks with and without drop path share weight files. Saving
        # must find it all the same.
        self._rate = lambda: variable
        self._track_trackable(variable, "rate")

    def set_rate(self, rate: float):
        """Sets the probability of a sample to be dropped."""
        self._rate().assign(rate)

    def call(self, inputs, training=None):
        if not training:
            return inputs
        # In 32 bits: in 16, small rates are none.
        keep = 1 - self._rate()
        kept = tf.floor(tf.random.uniform([tf.shape(inputs)[0], 1, 1, 1]) + keep) / keep
        return inputs * tf.cast(kept, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": float(self._rate())}


def bnas(
    earlier,
    previous,
    cell: Cell,
    filters: int,
    *,
    reduction=False,
    after_reduction=False,
    affine_after_reduction=True,
    skip=True,
    choice=None,
    normalize=False,
    drop_path=False,
    name="",
):
    """A BNAS cell: two inputs, the nodes' concatenation as output, a shortcut from the previous cell's output.

    # Arguments
        earlier: Output of the cell before the previous one, of shape `(batch, height, width, channels)`; twice
            as high and wide if `after_reduction`.
        previous: Output of the previous cell, of shape `(batch, height, width, channels)`.
        cell: The topology.
        filters: Channels of each node.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        affine_after_reduction: Whether the preprocessing after a reduction has an affine BatchNorm.
        skip: Whether the inter-cell shortcut is added.
        choice: If the cell is not decided, for each state the choice weights of the edges that leave it, of shape
            `(edges, candidates)`.
        normalize: See `mixed.MixedEdges`.
        drop_path: Whether a `DropPath` follows every operation.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height, width, nodes * filters)`, half as high and wide if `reduction`.

    # References
        - [Learning Architectures for Binary Networks](https://arxiv.org/abs/2002.06963), section 4.2 (cell template)
    """
    final = choice is None
    inputs = [
        convolution_block(
            earlier,
            filters,
            Operation("convolution", 3 if after_reduction else 1),
            strides=2 if after_reduction else 1,
            affine=final and (affine_after_reduction or not after_reduction),
            binary=final,
            name=f"{name}_preprocess0",
        ),
        convolution_block(
            previous, filters, Operation("convolution"), affine=final, binary=final, name=f"{name}_preprocess1"
        ),
    ]
    fan_out = functools.partial(_fan_out, cell, filters, normalize=normalize)
    states = add_edges(inputs, cell, fan_out, 2 if reduction else 1, choice, drop_path, name)
    output = layers.Concatenate(name=f"{name}_concat")(states[len(inputs) :])
    if not skip:
        return output
    if reduction:
        previous = batch_normalization(name=f"{name}_shortcut_norm")(previous)
        previous = operations.float_conv(
            output.shape[-1],
            2,
            strides=2,
            use_bias=True,
            fan_in=4 * previous.shape[-1],
            name=f"{name}_shortcut_conv",
        )(previous)
    return layers.Add(name=f"{name}_skip")([output, previous])


def bars(
    previous,
    cell: Cell,
    filters: int,
    *,
    reduction=False,
    skip=True,
    choice=None,
    widths=None,
    drop_path=False,
    name="",
):
    """A BARS cell: one input, a binary preprocessing, the nodes' concatenation, a shortcut around the whole cell.

    # Arguments
        previous: Output of the previous cell, of shape `(batch, height, width, channels)`.
        cell: The topology.
        filters: Channels of each node; those of the preprocessing, too, or half as many if `reduction`.
        reduction: Whether the edges that leave the cell's input have strides 2 and double the channels.
        skip: Whether the shortcut around the cell is added.
        choice: If the cell is not decided, for each state the choice weights of the edges that leave it, of shape
            `(edges, candidates)`.
        widths: If the width is searched, the `Widths` of the previous cell's output and of this cell.
        drop_path: Whether a `DropPath` follows every operation.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height, width, nodes * filters)`, half as high and wide if `reduction`.

    # References
        - [BARS](https://arxiv.org/abs/2011.10804), section 4.1.2. Not public are the kernel of the preprocessing, 1x1
          here, and what the shortcut around a reduction is, binary `strided_halves` here.
    """
    before, own = widths or (None, None)
    mask_input = before and before.mask
    x = batch_normalization(name=f"{name}_preprocess_norm")(previous)
    inner = filters // 2 if reduction else filters
    x = operations.layer_scaled_conv(x, inner, 1, activation="relu", mask=mask_input, name=f"{name}_preprocess_conv")
    x = own.mask(x) if own else x
    fan_out = functools.partial(_fan_out, cell, filters, widths=own)
    states = add_edges([x], cell, fan_out, 2 if reduction else 1, choice, drop_path, name, own and own.mask)
    output = layers.Concatenate(name=f"{name}_concat")(states[1:])
    if not skip:
        return output
    if reduction:
        previous = batch_normalization(name=f"{name}_shortcut_norm")(previous)
        # Rectified before they are put together: the converter merges that with the convolutions.
        previous = operations.strided_halves(previous, output.shape[-1], mask_input, "relu", f"{name}_shortcut")
    elif previous.shape[-1] != output.shape[-1]:
        previous = operations.MatchChannels(output.shape[-1], name=f"{name}_shortcut")(previous)
    output = layers.Add(name=f"{name}_skip")([output, previous])
    return own.mask(output) if own else output


def bats(
    earlier,
    previous,
    cell: Cell,
    filters: int,
    *,
    groups=1,
    form="binary",
    preprocess_form="binary",
    reduction=False,
    after_reduction=False,
    choice=None,
    drop_path=False,
    name="",
):
    """A BATS cell: two preprocessed inputs, the nodes' concatenation as output.

    # Arguments
        earlier: Output of the cell before the previous one, of shape `(batch, height, width, channels)`; twice
            as high and wide if `after_reduction`.
        previous: Output of the previous cell, of shape `(batch, height, width, channels)`.
        cell: The topology.
        filters: Channels of each node.
        groups: Groups of the convolutions on edges.
        form: That of the operations, one of `grouped.FORMS`.
        preprocess_form: That of the preprocessing.
        reduction: Whether the edges that leave the cell's inputs have strides 2.
        after_reduction: Whether the previous cell was a reduction cell.
        choice: If the cell is not decided, for each state the choice weights of the edges that leave it, of shape
            `(edges, candidates)`.
        drop_path: Whether a `DropPath` follows every operation but identities.
        name: Prefix of the layers' names.

    # Returns
        A tensor of shape `(batch, height, width, nodes * filters)`, half as high and wide if `reduction`.

    # References
        - [BATS](https://arxiv.org/abs/2003.01711); the preprocessing is that of the first author's library
    """
    options = {"form": preprocess_form, "affine": choice is None}
    enter = grouped.factorized_reduce if after_reduction else grouped.preprocess
    inputs = [
        enter(earlier, filters, name=f"{name}_preprocess0", **options),
        grouped.preprocess(previous, filters, name=f"{name}_preprocess1", **options),
    ]

    def fan_out(state, rows, strides, choice, name):
        candidates = cell.edges[rows[0]].operations
        if choice is not None:
            layer = grouped_edges.GroupedEdges(
                filters, candidates, len(rows), strides, groups, form != "real", name=name
            )
            return layer([state, choice])
        decided = ((cell.edges[row].operations[0], f"{name}_edge{row}") for row in rows)
        return [grouped.apply(op, state, filters, strides, groups, form, place) for op, place in decided]

    states = add_edges(inputs, cell, fan_out, 2 if reduction else 1, choice, drop_path, name)
    return layers.Concatenate(name=f"{name}_concat")(states[len(inputs) :])


class Widths(NamedTuple):
    """The searched width of a tensor.

    # Arguments
        candidates: See `macro.WidthMask`.
        choice: Their weights.
    """

    candidates: tuple
    choice: tf.Tensor

    def mask(self, x):
        """Masks a tensor."""
        return macro.WidthMask(self.candidates)([x, self.choice])


def add_edges(inputs, cell: Cell, fan_out, strides, choice, drop_path, name, mask=None):
    """The states of a cell: its inputs, then the nodes, each the sum of its edges.

    A state is pushed to all nodes that read it as soon as it is complete. Only the edges that leave an input of
    the cell have `strides`. `mask` is what nodes are masked with. `fan_out` gives the outputs of all edges that leave a
    state, from the state, the indices of these edges, strides, choice weights and a name.
    """
    states = list(inputs)
    terms = [[] for _ in cell.nodes]
    targets = [index for index, node in enumerate(cell.nodes) for _ in node.edges]
    for source in range(len(inputs) + len(cell.nodes)):
        if source >= len(inputs):
            node = _add(terms[source - len(inputs)], f"{name}_node{source}")
            states.append(mask(node) if mask else node)
        rows = rows_of(cell, source)
        if not rows:
            continue
        stride = strides if source < len(inputs) else 1
        weights = choice and choice[source]
        outputs = fan_out(states[source], rows, stride, weights, f"{name}_state{source}")
        for row, output in zip(rows, outputs, strict=True):
            # Identities stay: a node that reads one keeps something.
            if drop_path and output is not states[source]:
                output = DropPath(name=f"{name}_edge{row}_drop_path")(output)
            terms[targets[row]].append(output)
    return states


def rows_of(cell: Cell, source: int) -> list[int]:
    """Which of a cell's edges leave the state `source`."""
    return [row for row, edge in enumerate(cell.edges) if edge.source == source]


def by_state(cell: Cell, choice) -> dict:
    """For each state, the rows of a cell's choice weights for the edges that leave it."""
    sources = sorted({edge.source for edge in cell.edges})
    return {source: mixed.Rows(rows_of(cell, source), name=f"{cell.name}_state{source}")(choice) for source in sources}


def _fan_out(cell, filters, state, rows, strides, choice, name, widths=None, normalize=False):
    candidates = cell.edges[rows[0]].operations
    if choice is None:
        decided = (cell.edges[row].operations[0] for row in rows)
        names = (f"{name}_edge{row}" for row in rows)
        return [operations.apply(op, state, filters, strides, place) for op, place in zip(decided, names, strict=True)]
    if not {"shortcut", "residual_bin_conv_3x3"} & set(candidates):
        return mixed.MixedEdges(filters, candidates, len(rows), strides, normalize, name=name)([state, choice])
    searched = (list(widths.candidates), [widths.choice]) if widths else (None, [])
    layer = residual.ResidualEdges(state.shape[-1], candidates, len(rows), strides, searched[0], name=name)
    return layer([state, choice, *searched[1]])


def _add(terms, name):
    return layers.Add(name=name)(terms) if len(terms) > 1 else terms[0]
