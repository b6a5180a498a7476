import numpy as np
import pytest
import tensorflow as tf
from reference import PerResidualEdge

from larq_nas import networks
from larq_nas.methods import bars
from larq_nas.methods.bars import residual_edges
from larq_nas.space.choices import choice_shapes
from larq_nas.supernet import inheritance

pytestmark = pytest.mark.onednn

OPERATIONS = bars.OPERATIONS


def _random_weights(model, generator):
    for weight in model.weights:
        values = generator.normal(size=weight.shape)
        # Equal magnitudes, since a kernel of the supernet has one scale for all widths, that of the whole kernel.
        weight.assign(0.3 * np.where(values < 0, -1, 1) if weight.shape.rank > 2 else 1 + 0.5 * values)


@pytest.mark.parametrize("image_size", [pytest.param(16, marks=pytest.mark.slow), 13])
@pytest.mark.parametrize("cell_shortcut", [True, False])
@pytest.mark.parametrize("depths", [(1, 2, 1), (2, 0, 1), (0, 1, 0), (2, 2, 2)])
def test_a_supernet_with_one_hot_choices_computes_what_the_genotype_does(depths, cell_shortcut, image_size):
    space = bars.space(filters=4, cells_per_stage=2, cell_shortcut=cell_shortcut)
    generator = np.random.default_rng(sum(depths))
    network = networks.build(space, (image_size, image_size, 3), 5)
    _random_weights(network, generator)
    uniform = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    indices = bars.draw(uniform, generator)
    for stage, depth in enumerate(depths):
        indices[f"stage{stage}_depth"], indices[f"stage{stage}_width"] = depth, 1 + sum(depths) % 2
    genotype = bars.decide(space, indices)
    final = networks.build(genotype, (image_size, image_size, 3), 5)
    inheritance.inherit(final, genotype, network, space)
    images = generator.normal(size=(4, image_size, image_size, 3)).astype(np.float32)
    weights = {name: tf.constant(values) for name, values in bars.one_hot(space, indices).items()}
    expected = final(images, training=True).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(network({"images": images, **weights}, training=True), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("widths", [(0, 2, 1), (3, 0, 2), (1, 3, 0)])
def test_features_have_only_the_channels_of_the_chosen_width(widths):
    space = bars.space(filters=4, cells_per_stage=2)
    network = networks.build(space, (16, 16, 3), 5)
    choices = {name: tf.fill(shape, 1 / shape[-1]) for name, shape in choice_shapes(space).items()}
    choices |= {f"stage{stage}_width": tf.one_hot(width, 4) for stage, width in enumerate(widths)}
    features = tf.keras.Model(network.input, network.get_layer("pool").input)
    values = features({"images": tf.random.stateless_normal([4, 16, 16, 3], [1, 2]), **choices}, training=True)
    used = np.any(values.numpy() != 0, axis=(0, 1, 2)).reshape(-1, 4)
    np.testing.assert_array_equal(used, np.tile(np.arange(4) <= widths[-1], (len(used), 1)))


def _layers(widths, strides, operations, filters=8, edges=3, size=6):
    generator = np.random.default_rng(strides)
    x = tf.constant(generator.normal(size=(4, size, size, filters)), tf.float32)
    choice = tf.constant(generator.uniform(0.1, 1, size=(edges, len(operations))), tf.float32)
    inputs = [x, choice] + ([tf.constant([0.2, 0.5, 0.1, 0.3])] if widths else [])
    shared = residual_edges.ResidualEdges(filters, operations, edges, strides, widths)
    plain = PerResidualEdge(filters, operations, edges, strides, widths)
    shared(inputs), plain(inputs)
    shared.gamma.assign(1 + 0.3 * generator.normal(size=shared.gamma.shape))
    shared.beta.assign(0.3 * generator.normal(size=shared.beta.shape))
    for index, convolution in enumerate(plain.convolutions):
        convolution.set_weights([shared.kernel[index]])
    for norm, gamma, beta in zip(plain.norms, shared.gamma, shared.beta, strict=True):
        norm.set_weights([gamma, beta, shared.moving_mean, shared.moving_variance])
    return shared, plain, inputs


def _gradients(layer, inputs, weights):
    generator = np.random.default_rng(5)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = sum(tf.reduce_sum(output * generator.normal(size=output.shape)) for output in outputs)
    return outputs, tape.gradient(loss, [*inputs, *weights], unconnected_gradients=tf.UnconnectedGradients.ZERO)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("widths", [None, (1, 2, 3, 4)])
@pytest.mark.parametrize("operations", [OPERATIONS, OPERATIONS[::-1], OPERATIONS[2:]])
def test_outputs_gradients_and_statistics_equal_those_of_an_operation_per_edge(widths, strides, operations, size):
    shared, plain, inputs = _layers(widths, strides, operations, size=size)
    outputs, found = _gradients(shared, inputs, [shared.kernel, shared.gamma, shared.beta])
    norms, kernels = [norm.trainable_weights for norm in plain.norms], [c.trainable_weights for c in plain.convolutions]
    variables = [*(k[0] for k in kernels), *(n[0] for n in norms), *(n[1] for n in norms)]
    plain_outputs, gradients = _gradients(plain, inputs, variables)
    expected, rest = gradients[: len(inputs)], gradients[len(inputs) :]
    count, edges = len(kernels), len(norms)
    expected += [tf.stack(part) for part in (rest[:count], rest[count : count + edges], rest[count + edges :])]
    for a, b in zip(outputs, plain_outputs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(b).max() > 1e-3
        np.testing.assert_allclose(a, b, atol=2e-3 * np.abs(b).max())
    np.testing.assert_allclose(shared.moving_mean, plain.norms[0].moving_mean, atol=1e-6)
    np.testing.assert_allclose(shared.moving_variance, plain.norms[0].moving_variance, atol=1e-4)


def test_a_masked_channel_is_one_that_is_not_there():
    shared, _, inputs = _layers((1, 2, 3, 4), 1, OPERATIONS)
    inputs[2] = tf.constant([0.0, 1.0, 0.0, 0.0])
    kept = np.arange(8) % 4 < 2
    before = [output.numpy() for output in shared(inputs, training=True)]
    changed = np.where(kept[:, np.newaxis], shared.kernel, -shared.kernel.numpy())
    shared.kernel.assign(changed)
    for a, b in zip(before, shared(inputs, training=True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_edges_with_nothing_but_none_are_zero():
    shared = residual_edges.ResidualEdges(4, ["none"], 2, 2)
    outputs = shared([tf.ones([1, 5, 5, 4]), tf.ones([2, 1])])
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 3, 8)] * 2 and not np.any(outputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": ["none", "bin_conv_3x3"]}, r"operations=\['none', 'bin_conv_3x3'\]: accepted are"),
        ({"strides": 3}, "strides=3: must be 1 or 2"),
        ({"widths": (0, 4)}, r"widths=\[0, 4\]: must be positive integers"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        residual_edges.ResidualEdges(**{"filters": 4, "operations": OPERATIONS, "edges": 2, **options})


def test_kernels_start_different_and_in_the_range_of_their_own_size():
    shared, _, _ = _layers(None, 2, OPERATIONS, filters=16)
    kernel = shared.kernel.numpy()
    assert kernel.shape == (6, 3, 3, 16, 16) and np.unique(kernel).size > 0.99 * kernel.size
    np.testing.assert_allclose(kernel.std(axis=(1, 2, 3, 4)), np.sqrt(2 / (9 * 32)), rtol=0.1)
