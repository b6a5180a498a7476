"""A template and an operation that this file defines: they need no edit anywhere else."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from test_own_method import pair

from larq_nas import costs, latency, networks, supernet
from larq_nas.converters import tflite
from larq_nas.costs import expected_costs
from larq_nas.devices import profiling
from larq_nas.methods.bnas import network as bnas_network
from larq_nas.methods.bnas.mixed_edges import MixedEdges
from larq_nas.networks import blocks, cells, counting, operations, reachability
from larq_nas.space import registry
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.supernet import estimates, inheritance, selection
from larq_nas.training import optimizers


def network(v, architecture, images, choices):
    """A stem, then cells of one input, which halve the images where a stage begins."""
    stages = architecture.stages
    x = blocks.float_block(v, images, stages[0].widths[0], 3, name="stem")
    for index, stage in enumerate(stages):
        name = f"cell{index}"
        edges = cells.Edges(v, architecture.cell(stage.cell), stage.widths[0], choice=choices.get(stage.cell))
        x = edges.nodes([x], 1 if index == 0 else 2, name)
        x = blocks.convolution_block(v, x, stages[min(index + 1, len(stages) - 1)].widths[0], name=f"{name}_out")
    return x


@pytest.fixture(scope="module", autouse=True)
def _registered():
    operations.register("pair", pair, kernel_size=3)
    names = "none", "max_pool_3x3", "pair"
    template = registry.Template("toy", "toy", network, inputs=1, operations=names, halvings=(1, 0))
    registry.register(template)
    yield
    registry.unregister("toy")
    operations.unregister("pair")


@pytest.fixture(scope="module")
def space(_registered):
    names = registry.templates()["toy"].operations
    nodes = Node((Edge(0, names),), 1), Node((Edge(0, names), Edge(1, names)), 2)
    return Architecture("toy", (Cell("normal", nodes),), (Stage("normal", (8,), (1,)), Stage("normal", (8,), (1,))))


def test_a_network_inherits_the_operations_that_its_supernet_computes_one_by_one(space):
    # The genotype with the most weights.
    genotype = max((space.sample(seed) for seed in range(20)), key=lambda found: cells.convolutions(found.cells[0]))
    made, final = (networks.build(architecture, (8, 8, 3), 3) for architecture in (space, genotype))
    inheritance.inherit(final, genotype, made, space)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    choices = {name: tf.constant(values) for name, values in selection.one_hot(space, genotype).items()}
    expected = made({"images": images, **choices}, training=True)
    np.testing.assert_allclose(final(images, training=True), expected, rtol=1e-4, atol=1e-6)


class Strategy:
    """Softmax of the logits; the most probable operation of each edge."""

    normalize, warmup_epochs, batch_statistics = False, 0, False

    def choice_weights(self, logits, epoch, random=tf.random):
        return {name: tf.nn.softmax(values) for name, values in logits.items()}

    def evaluation_weights(self, logits, epoch):
        return self.choice_weights(logits, epoch)

    def architecture_loss(self, loss, logits, epoch):
        return loss

    def metrics(self, space, probabilities, epoch):
        return {}

    def derive(self, space, probabilities):
        found = []
        for cell in space.cells:
            best, nodes = iter(np.argmax(probabilities[cell.name], axis=1)), []
            for node in cell.nodes:
                edges = tuple(Edge(edge.source, (edge.operations[next(best)],)) for edge in node.edges)
                nodes.append(Node(edges, len(edges)))
            found.append(Cell(cell.name, tuple(nodes)))
        return dataclasses.replace(space, cells=tuple(found))


@pytest.fixture(scope="module")
def searched(space):
    tf.keras.utils.set_random_seed(0)
    model = supernet.Supernet(Strategy(), space, (8, 8, 3), 3)
    # The label is whether a column is bright, which a pool or a convolution sees.
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    batch = images, np.arange(32) % 3
    data = tf.data.Dataset.from_tensors((batch, batch)).repeat(4)
    model.compile(
        optimizer=optimizers.SGD(0.01),
        architecture_optimizer=optimizers.Adam(0.01),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    before = {variable.name: variable.numpy() for variable in model.network.trainable_variables}
    logits = model.logits["normal"].numpy()
    estimate = estimates.measure(model, data, 32)
    model.fit(data, verbose=0)
    return model, before, logits, estimate


def test_it_is_searched(searched):
    model, before, logits, estimate = searched
    assert estimate.seconds_per_step > 0
    assert np.abs(model.logits["normal"].numpy() - logits).min() > 1e-4
    for variable in model.network.trainable_variables:
        assert np.any(variable.numpy() != before[variable.name]), variable.name
    genotype = model.genotype()
    assert genotype.decided and Architecture.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize("seed", range(3))
def test_it_is_counted_as_it_is_built(space, seed):
    genotype = space.sample(seed)
    counted, built = costs.count(genotype, (9, 8, 3), 3), costs.count(networks.build(genotype, (9, 8, 3), 3))
    assert {row.name: row for row in counted.rows} == {row.name: row for row in built.rows}
    even = {cell.name: np.full((len(cell.edges), 3), 1 / 3) for cell in space.cells}
    assert float(expected_costs.expected(space, even, (9, 8, 3), 3).binary_macs) > 0


def test_it_is_profiled_and_timed(space):
    found = {block.kind: block for block in latency.blocks(space, (8, 8, 3), 3)}
    assert {"pair", "max_pool", "float", "binary", "dense", "concat"} == set(found)
    model, copies = profiling.network(found["pair"])
    rows = [row for row in costs.count(model).rows if row.binary]
    assert len(rows) == 2 * copies and {row.kernel[:2] for row in rows} == {(1, 3), (3, 1)}
    table = latency.Table(dict.fromkeys(latency.blocks(space, (8, 8, 3), 3), 1.0))
    genotype = space.sample(0)
    assert table.predict(genotype, (8, 8, 3), 3) == sum(
        1.0 for row, _ in counting.rows(genotype, (8, 8, 3), 3) if row.block
    )


def test_it_is_trained_and_converted_and_packed(searched, space):
    everywhere = dataclasses.replace(space, cells=tuple(_of_pairs(cell) for cell in space.cells))
    assert reachability.reaches_classifier(everywhere)
    model = networks.build(everywhere, (8, 8, 3), 3)
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    losses = model.fit(images, np.arange(32) % 3, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    report = tflite.convert(model, samples=images[:8]).report
    assert report.all_packed and len(report.binary_convolutions) == 2 * 3 * 2 + 2


def _of_pairs(cell):
    nodes = (Node(tuple(Edge(edge.source, ("pair",)) for edge in node.edges), len(node.edges)) for node in cell.nodes)
    return Cell(cell.name, tuple(nodes))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "bnas"}, "is one of larq_nas"),
        ({"operations": "pair"}, "is not a list of names"),
        ({"inputs": 0}, "set inputs if the template has cells, and widths if not"),
        ({"widths": ("stem",)}, "set inputs if the template has cells, and widths if not"),
        ({"name": "Toy"}, "is not a valid name"),
        ({"options": [registry.Option("Deep", (True,))]}, "is not a valid name"),
        ({"options": [registry.Option("deep", ())]}, r"option deep with values=\(\); an option needs values"),
        ({"options": [registry.Option("binary", (True,))]}, "another name than normalize, binary, widths"),
    ],
)
def test_a_template_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        registry.register(
            registry.Template(**{"name": "own", "method": "own", "network": network, "inputs": 1} | options)
        )


def test_options_of_a_template_reach_its_network(space):
    def optional(v, architecture, images, choices, *, repeats, binarize):
        x = network(v, architecture, images, choices)
        for index in range(repeats):
            x = blocks.convolution_block(v, x, 8, binary=binarize, name=f"repeat{index}")
        return x

    options = registry.Option("repeats", [0, 1, 2]), registry.Option("binarize", (True, False))
    toy = registry.templates()["toy"]
    registry.register(dataclasses.replace(toy, name="optional", network=optional, options=options))
    try:
        genotype = dataclasses.replace(space.sample(0), template="optional")
        for repeats, binarize in ((0, True), (2, True), (2, False)):
            chosen = dataclasses.replace(genotype, options={"repeats": repeats, "binarize": binarize})
            assert (chosen.option("repeats"), chosen.binary) == (repeats, binarize)
            assert Architecture.from_json(chosen.to_json()) == chosen
            for network_ in (chosen, networks.build(chosen, (8, 8, 3), 3)):
                rows = [row for row in costs.count(network_, (8, 8, 3), 3).rows if "repeat" in row.name and row.macs]
                assert [row.binary for row in rows] == [binarize] * repeats
    finally:
        registry.unregister("optional")


def test_a_template_may_take_the_shared_edges_of_another(space):
    names = "none", "max_pool_3x3", "bin_conv_3x3"
    nodes = Node((Edge(0, names),), 1), Node((Edge(0, names), Edge(1, names)), 2)
    toy = dataclasses.replace(registry.templates()["toy"], name="shared", operations=names)

    def layers(shared_edges):
        registry.register(dataclasses.replace(toy, shared_edges=shared_edges))
        try:
            searched = dataclasses.replace(space, template="shared", cells=(Cell("normal", nodes),))
            return networks.build(searched, (8, 8, 3), 3).layers
        finally:
            registry.unregister("shared")

    # For each state that edges leave, in each of two cells.
    assert sum(isinstance(layer, MixedEdges) for layer in layers(bnas_network.shared_edges)) == 4
    assert not any(isinstance(layer, MixedEdges) for layer in layers(None))
    with pytest.raises(ValueError, match="template shared: shared_edges='all' is not a function"):
        layers("all")


def test_an_operation_that_is_not_known_is_named(space):
    registry.register(dataclasses.replace(registry.templates()["toy"], name="lost", operations=("lost_operation",)))
    try:
        nodes = (Node((Edge(0, ("lost_operation",)),), 1),)
        genotype = Architecture("lost", (Cell("normal", nodes),), (Stage("normal", (8,), (1,)),))
        for function in (costs.count, networks.build):
            with pytest.raises(ValueError, match="operation lost_operation: is not known; larq_nas.operations"):
                function(genotype, (8, 8, 3), 3)
    finally:
        registry.unregister("lost")


def test_an_operation_of_other_sizes_than_it_was_asked_for_is_named(space):
    operations.register("narrow", lambda v, x, filters, strides, name: v.conv(x, 2, 3, kind="xnor", name=name))
    registry.register(dataclasses.replace(registry.templates()["toy"], name="wrong", operations=("narrow",)))
    try:
        cells_of = tuple(Cell(cell.name, (Node((Edge(0, ("narrow",)),), 1),)) for cell in space.cells)
        genotype = dataclasses.replace(space, template="wrong", cells=cells_of)
        for function in (costs.count, networks.build):
            with pytest.raises(
                ValueError, match=r"operation narrow: returns features of \(8, 8, 2\), not of \(8, 8, 8\)"
            ):
                function(genotype, (8, 8, 3), 3)
    finally:
        registry.unregister("wrong")
        operations.unregister("narrow")
