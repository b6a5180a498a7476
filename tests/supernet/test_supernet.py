import math

import numpy as np
import pytest
import tensorflow as tf
from reference import PerEdge, kernels

from larq_nas import supernet
from larq_nas.methods import bnas
from larq_nas.methods.bnas import mixed_edges
from larq_nas.training import optimizers


def _supernet(seed=0, filters=2, layers=3, **options):
    tf.keras.utils.set_random_seed(seed)
    space = bnas.space(layers, filters)
    model = supernet.Supernet(bnas.Strategy(**options), space, input_shape=(8, 8, 1), num_classes=4)
    model.compile(
        optimizer=optimizers.SGD(0.01, momentum=0.9, l2=3e-4),
        architecture_optimizer=optimizers.Adam(3e-3, beta_1=0.5, epsilon=1e-8, l2=1e-3),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def _batches(count=3, size=8):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, count * size, 8, 8, 1)).astype(np.float32)
    labels = generator.integers(0, 4, size=(2, count * size))
    halves = [tf.data.Dataset.from_tensor_slices(half).batch(size) for half in zip(images, labels, strict=True)]
    return tf.data.Dataset.zip(tuple(halves))


def test_three_optimizer_steps_equal_those_of_an_operation_per_edge(monkeypatch):
    shared = _supernet()
    with monkeypatch.context() as patch:
        patch.setattr(mixed_edges, "MixedEdges", PerEdge)
        plain = _supernet(seed=1)
    pairs = [
        (layer, plain.network.get_layer(layer.name))
        for layer in shared.network.layers
        if isinstance(layer, mixed_edges.MixedEdges)
    ]
    for layer in shared.network.layers:
        twin = plain.network.get_layer(layer.name)
        if isinstance(twin, PerEdge):
            twin.copy_from(layer)
        else:
            twin.set_weights(layer.get_weights())
    for name, logits in shared.logits.items():
        plain.logits[name].assign(logits)
    for model in (shared, plain):
        for weights_batch, architecture_batch in _batches():
            model._architecture_step(*architecture_batch)
            model._weights_step(*weights_batch)
    for name, logits in shared.logits.items():
        np.testing.assert_allclose(plain.logits[name], logits, atol=1e-4)
    assert len(pairs) == 15
    for layer in shared.network.layers:
        if not isinstance(layer, mixed_edges.MixedEdges):
            for a, b in zip(layer.get_weights(), plain.network.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4, err_msg=layer.name)
    for layer, twin in pairs:
        for name, packed in kernels(layer, layer.kernel.numpy()).items():
            for edge, kernel in enumerate(np.split(packed, twin.edges, axis=-1)):
                np.testing.assert_allclose(twin.convolution(name, edge).get_weights()[0], kernel, atol=1e-4)


@pytest.mark.onednn
def test_a_step_moves_logits_and_weights():
    model = _supernet()
    logits = {name: value.numpy() for name, value in model.logits.items()}
    weights = [value.numpy() for value in model.network.trainable_variables]
    history = model.fit(_batches(), verbose=0).history
    assert all(np.abs(model.logits[name].numpy() - before).max() > 1e-4 for name, before in logits.items())
    moved = [not np.array_equal(a, b) for a, b in zip(weights, model.network.trainable_variables, strict=True)]
    assert all(moved)
    assert {"loss", "accuracy", "entropy", "architecture_loss"} <= set(history)
    assert 0 < history["entropy"][0] <= math.log(7) + 1e-6


@pytest.mark.onednn
def test_each_step_changes_only_what_it_trains(monkeypatch):
    model = _supernet()
    images, labels = tf.zeros([2, 8, 8, 1]), tf.zeros([2], tf.int64)
    trained = model.network.trainable_variables
    weights, logits = [w.numpy() for w in trained], [v.numpy() for v in model.logits.values()]
    model._architecture_step(images, labels)
    assert all(np.array_equal(a, b) for a, b in zip(weights, trained, strict=True))
    after = [v.numpy() for v in model.logits.values()]
    assert not any(np.array_equal(a, b) for a, b in zip(logits, after, strict=True))
    model._weights_step(images, labels)
    assert all(np.array_equal(a, b) for a, b in zip(after, model.logits.values(), strict=True))


def test_the_training_step_is_traced_once(monkeypatch):
    traces = []
    original = supernet.Supernet._weights_step
    monkeypatch.setattr(
        supernet.Supernet, "_weights_step", lambda self, *batch: traces.append(1) or original(self, *batch)
    )
    _supernet().fit(_batches(), epochs=2, verbose=0)
    assert len(traces) == 1


def _step(model, function):
    """The graph of a step."""
    step = tf.function(lambda images, labels: function(images, labels))
    return step.get_concrete_function(tf.TensorSpec([2, 8, 8, 1]), tf.TensorSpec([2], tf.int64)).graph.as_graph_def()


def _needed(nodes, outputs):
    """The nodes that are computed: what an output, a state change or another node reads."""
    by_name, needed = {node.name: node for node in nodes}, set()
    queue = [name.split(":")[0] for name in outputs]
    queue += [node.name for node in nodes if node.op.startswith(("Assign", "ResourceApply"))]
    while queue:
        name = queue.pop()
        if name in by_name and name not in needed:
            needed.add(name)
            queue += [name.removeprefix("^").split(":")[0] for name in by_name[name].input]
    return [by_name[name] for name in needed]


def _kernel_gradients(graph):
    """Names of the gradients of kernels that a graph and the functions that it calls compute."""
    library = {function.signature.name: function for function in graph.library.function}
    names = []
    for node in _needed(graph.node, []):
        names += [node.name] * (node.op == "Conv2DBackpropFilter")
        function = library.get(node.attr["f"].func.name)
        if function is not None:
            inside = _needed(function.node_def, function.ret.values())
            names += [part.name for part in inside if part.op == "Conv2DBackpropFilter"]
    return names


@pytest.mark.onednn
def test_the_architecture_step_computes_no_gradient_of_kernels():
    model = _supernet()
    assert not _kernel_gradients(_step(model, model._architecture_step))
    # Four of convolutions and none of pools in each state, and in each cell two of the preprocessing; two shortcuts
    # and the stem.
    assert len(_kernel_gradients(_step(model, model._weights_step))) == 4 * 15 + 2 * 3 + 2 + 1


@pytest.mark.onednn
@pytest.mark.parametrize(("step", "other"), [("_architecture_step", "kernel"), ("_weights_step", "choice")])
def test_a_half_step_calls_the_gradients_that_it_uses(step, other):
    model = _supernet()
    graph = _step(model, getattr(model, step))
    calls = [node.attr["f"].func.name for node in _needed(graph.node, [])]
    counts = {name: sum(f"_{name}_gradient" in call for call in calls) for name in ("input", "kernel", "choice")}
    assert counts == {"input": 15, "kernel": 15, "choice": 15, other: 0}


@pytest.mark.slow
def test_further_cells_of_the_same_shapes_are_not_traced_again():
    functions = (
        mixed_edges._forward,
        mixed_edges._input_gradient,
        mixed_edges._choice_gradient,
        mixed_edges._kernel_gradient,
    )
    counts = []
    for layers in (6, 12):
        model = _supernet(filters=3, layers=layers)
        model.fit(_batches(), verbose=0)
        counts.append([function.experimental_get_tracing_count() for function in functions])
    assert counts[0] == counts[1]


def test_the_supernet_predicts_and_derives_a_genotype():
    model = _supernet()
    assert model(tf.zeros([2, 8, 8, 1])).shape == (2, 4)
    genotype = model.genotype(gamma=3.0)
    assert genotype.decided and genotype.stages == model.space.stages


def test_fit_tells_the_epoch_to_the_diversity_regulariser():
    model = _supernet()
    model._architecture_step = model._weights_step = lambda images, labels: None
    seen = []
    callback = tf.keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: seen.append(int(model.epoch)))
    model.fit(_batches(1), epochs=3, verbose=0, callbacks=[callback])
    assert seen == [0, 1, 2]


def test_a_loss_that_is_no_object_is_refused():
    model = supernet.Supernet(bnas.Strategy(), bnas.space(3, 2), input_shape=(8, 8, 1), num_classes=4)
    with pytest.raises(ValueError, match="loss='mse'"):
        model.compile(optimizer="sgd", architecture_optimizer=optimizers.Adam(), loss="mse")
