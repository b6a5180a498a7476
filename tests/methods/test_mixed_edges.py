import numpy as np
import pytest
import tensorflow as tf
from reference import PerEdge, kernels

from larq_nas.methods import bars
from larq_nas.methods.bnas import OPERATIONS, mixed_edges

pytestmark = pytest.mark.onednn


def _pair(strides, candidates=OPERATIONS, filters=3, edges=3, size=8, normalize=False):
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(4, size, size, filters)), tf.float32)
    choice = tf.constant(generator.dirichlet(np.ones(len(candidates)), size=edges), tf.float32)
    shared = mixed_edges.MixedEdges(filters, candidates, edges, strides, normalize)
    plain = PerEdge(filters, candidates, edges, strides, normalize)
    shared([x, choice])
    plain([x, choice])
    plain.copy_from(shared)
    return x, choice, shared, plain


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [8, 7, 2])
def test_shared_work_equals_an_operation_per_edge(strides, size, normalize):
    x, choice, shared, plain = _pair(strides, size=size, normalize=normalize)
    for a, b in zip(shared([x, choice], training=True), plain([x, choice], training=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    # The moving statistics moved alike.
    for a, b in zip(shared([x, choice]), plain([x, choice]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_of_input_weights_and_choice_are_equal(strides, normalize):
    x, choice, shared, plain = _pair(strides, normalize=normalize)
    names = list(kernels(shared, shared.kernel.numpy()))
    variables = {
        shared: [shared.kernel],
        plain: [plain.convolution(name, edge).kernel.latent_variable for name in names for edge in range(3)],
    }
    gradients = []
    for layer in (shared, plain):
        with tf.GradientTape() as tape:
            tape.watch([x, choice])
            outputs = layer([x, choice], training=True)
            loss = tf.add_n([tf.reduce_sum(tf.sin(y + i)) for i, y in enumerate(outputs)])
        values = tape.gradient(loss, [x, choice, *variables[layer]])
        gradients.append([tf.convert_to_tensor(value) for value in values])
    for a, b in zip(gradients[0][:2], gradients[1][:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    for index, gradient in enumerate(kernels(shared, gradients[0][2].numpy()).values()):
        per_edge = gradients[1][2 + 3 * index : 5 + 3 * index]
        np.testing.assert_allclose(gradient, tf.concat(per_edge, axis=-1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("candidates", [("none", "max_pool_3x3"), ("bin_conv_3x3", "none"), ("none",)])
def test_any_choice_of_candidates_works(candidates):
    x, choice, shared, plain = _pair(1, candidates)
    for a, b in zip(shared([x, choice]), plain([x, choice]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_layer_survives_its_configuration():
    layer = mixed_edges.MixedEdges(3, ["none", "bin_conv_3x3"], 2, strides=2, name="state0")
    config = tf.keras.layers.serialize(layer)
    assert config["registered_name"] == "larq_nas>MixedEdges"
    assert tf.keras.layers.deserialize(config).get_config() == layer.get_config()


def test_operations_that_share_no_work_are_refused():
    shortcut = bars.OPERATIONS[1]
    assert shortcut == "shortcut"
    with pytest.raises(ValueError, match="accepted are binary convolutions, pools and none"):
        mixed_edges.MixedEdges(4, ["none", shortcut], 2)
