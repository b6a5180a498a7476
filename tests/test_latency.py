"""Latency tables, what they predict, and searches within a limit. No device is timed here."""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from reference import bars_architecture

from larq_nas import latency, networks, zoo
from larq_nas.converters import flatbuffer
from larq_nas.devices import profiling
from larq_nas.latency import Limit, Table
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.networks import blocks, counting, templates
from larq_nas.networks.layer_costs import Block
from larq_nas.space.choices import choice_shapes

SHAPE = (16, 16, 3)
KINDS = blocks.kinds()


def _ms(block):
    """A device whose times are a sum of what `latency.features` says, with other factors for each kind."""
    factor = 1 + sorted(KINDS).index(block.kind)
    return factor * float(np.dot((0.01, 0.02, 0.003, 0.004, 0.005), latency.features(block)))


def _table(kinds=KINDS):
    sizes = list(itertools.product((16, 40), (16, 72), (4, 16), (1, 3), (1, 2), (1, 4)))
    measured = [Block(kind, i, f, s, s, k, strides, 1, g) for kind in kinds for i, f, s, k, strides, g in sizes]
    return Table({block: _ms(block) for block in measured}, 0.125, {"device": "test"})


TABLE = _table()


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_measured_is_fitted_to_what_was(kind):
    block = Block(kind, 100, 50, 7, 9, 5, 2, 2, 2)
    assert block not in TABLE.measured
    assert TABLE.ms(block) == pytest.approx(_ms(block), rel=1e-3)


def test_what_was_measured_is_not_fitted():
    block = Block("binary", 16, 16, 4, 4)
    table = dataclasses.replace(TABLE, measured={**TABLE.measured, block: 77.0})
    assert table.ms(block) == 77 and table.estimate(block) < 10


def test_a_fitted_time_is_never_negative_and_grows_with_the_work():
    generator = np.random.default_rng(0)
    noisy = {block: ms * generator.uniform(0.3, 3) for block, ms in TABLE.measured.items()}
    table = Table(noisy)
    times = [table.estimate(Block("binary", n, n, 8, 8, 3)) for n in (32, 64, 128, 256)]
    assert times[0] >= 0 and times == sorted(times)


def test_a_kind_without_measurements_is_named():
    with pytest.raises(latency.LatencyError, match="'residual'; it has binary. .*profile_operations=True"):
        _table(("binary",)).ms(Block("residual", 8, 8, 4, 4))


def test_a_table_survives_its_file(tmp_path):
    (tmp_path / "t.json").write_text(TABLE.to_json())
    table = Table.load(tmp_path / "t.json")
    assert table.measured == TABLE.measured and table.overhead == 0.125 and table.device == {"device": "test"}


def _changed(**changes):
    value = json.loads(Table({Block("binary", 8, 8, 4, 4): 1.0}).to_json())
    value["operations"][0].update(changes.pop("row", {}))
    return json.dumps({**value, **changes})


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not readable as JSON"),
        ("[]", "no latency table of schema 1"),
        (_changed(schema=2), "no latency table of schema 1"),
        (_changed(row={"ms": -1}), r"operations\[0\].ms: -1"),
        (_changed(row={"ms": float("nan")}), r"operations\[0\].ms: nan"),
        (_changed(row={"ms": "1"}), r"operations\[0\].ms: '1'"),
        (_changed(row={"inputs": 0}), r"operations\[0\].inputs: 0 is not a positive integer"),
        (_changed(row={"inputs": True}), r"operations\[0\].inputs: True"),
        (_changed(row={"colour": 1}), r"operations\[0\]: unknown key 'colour'"),
        (_changed(overhead_ms=None), "overhead_ms: None"),
        (_changed(operations=None), "of a wrong kind"),
        (_changed(operations=[{}]), "'ms' is missing"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(latency.LatencyError, match=message) as error:
        Table.load(tmp_path / "t.json")
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
    with pytest.raises(latency.LatencyError, match="No such file"):
        Table.load(tmp_path / "none.json")


@pytest.mark.parametrize("name", zoo.GENOTYPES)
def test_every_network_of_the_zoo_consists_of_operations_that_can_be_measured(name):
    variant = zoo.VARIANTS[name]
    genotype = zoo.genotype(name)
    found = latency.blocks(genotype, variant.input_shape, variant.num_classes)
    assert {block.kind for block in found} <= set(KINDS)
    assert TABLE.predict(genotype, variant.input_shape, variant.num_classes) > TABLE.overhead
    counter = _EveryConvolutionIsTimed()
    templates.features(counter, genotype, counting.Features(*variant.input_shape))
    assert any(row.kind == "convolution" for row, _ in counter.rows)


class _EveryConvolutionIsTimed(counting.Counter):
    def _add(self, row):
        assert self._in_block or row.kind not in ("convolution", "dense"), row.name
        super()._add(row)


def test_the_example_in_the_documentation_is_a_table():
    table = Table.load(pathlib.Path(__file__).parent.parent / "docs" / "latency-x86_64.json")
    assert {block.kind for block in table.measured} <= set(KINDS)
    assert 1 < table.predict(zoo.genotype("bnas_a")) < 1000


def _one_hot(space, indices):
    return {name: tf.constant(values, tf.float64) for name, values in bars.one_hot(space, indices).items()}


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_time_of_a_decided_genotype_is_its_own(seed):
    space = bars.space(8)
    even = {n: np.full(s, 1 / s[-1]) for n, s in choice_shapes(space).items()}
    indices = bars.draw(even, np.random.default_rng(seed))
    limit = Limit(TABLE, 1.0, space, SHAPE, 10)
    expected = float(limit.expected(_one_hot(space, indices)))
    assert expected == pytest.approx(limit.ms(bars.decide(space, indices)), rel=1e-5)


def test_the_loss_grows_with_the_excess_and_its_gradient_avoids_what_is_slow():
    space = bnas.space(3, 8)
    logits = {cell.name: tf.zeros((len(cell.edges), 7)) for cell in space.cells}
    expected = float(Limit(TABLE, 1.0, space, SHAPE, 10).expected({n: tf.nn.softmax(x) for n, x in logits.items()}))
    for most, factor in ((expected / 2, 2.0), (expected * 2, 1.0)):
        strategy = bnas.Strategy(strength=0.0, limit=Limit(TABLE, most, space, SHAPE, 10))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = strategy.architecture_loss(tf.constant(3.0), logits, 0)
        gradient = tape.gradient(loss, logits, unconnected_gradients=tf.UnconnectedGradients.ZERO)["normal"].numpy()
        assert float(loss) == pytest.approx(3 * factor, rel=1e-5)
        none, conv = (space.cells[0].edges[0].operations.index(name) for name in ("none", "bin_conv_5x5"))
        if factor > 1:
            assert (gradient[:, conv] > 0).all() and (gradient[:, none] < 0).all()
        else:
            assert (gradient == 0).all()


@pytest.mark.parametrize("method, template", [(bnas, "bnas"), (bats, "bats")])
def test_the_derived_genotype_keeps_the_limit_and_is_the_most_probable_where_it_can_be(method, template):
    space = bnas.space(3, 8) if method is bnas else bats.space(3, 12, 4)
    generator = np.random.default_rng(0)
    count = len(space.cells[0].edges[0].operations)
    probabilities = {c.name: generator.dirichlet(np.ones(count), len(c.edges)) for c in space.cells}
    free = method.Strategy().derive(space, probabilities)
    limit = Limit(TABLE, 1e9, space, SHAPE, 10, excluded=("none",) if method is bats else ())
    assert method.Strategy(limit=limit).derive(space, probabilities) == free
    fastest, most = latency.fastest(limit), limit.ms(free)
    assert fastest < most
    asked = most * 0.9
    lean = method.Strategy(limit=dataclasses.replace(limit, max_ms=asked)).derive(space, probabilities)
    assert limit.ms(lean) <= asked and lean.decided
    # It differs where it must, not everywhere.
    edges = [(a, b) for x, y in zip(free.cells, lean.cells, strict=True) for a, b in zip(x.edges, y.edges, strict=True)]
    assert 0 < sum(a != b for a, b in edges) < len(edges)
    with pytest.raises(latency.LatencyError, match="the network of the fastest operations"):
        method.Strategy(limit=dataclasses.replace(limit, max_ms=fastest / 2)).derive(space, probabilities)


def test_the_limit_counts_for_the_network_that_will_be_trained():
    space = bnas.space(3, 8)
    probabilities = {cell.name: np.full((len(cell.edges), 7), 1 / 7) for cell in space.cells}
    limit = Limit(TABLE, 1e9, bnas.scale(space, 24, 6), SHAPE, 10)
    assert bnas.Strategy(limit=limit).derive(space, probabilities).stages == bnas.scale(space, 24, 6).stages


def test_samples_of_bars_keep_the_limit():
    space = bars.space(8)
    shapes = choice_shapes(space)
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in shapes.items()}
    limit = Limit(TABLE, 1e9, space, SHAPE, 10)
    counted = (space, SHAPE, 10)
    times = [c.metrics["ms"] for c in bars.Strategy(counted=counted, limit=limit).candidates(space, even, 0)]
    asked = float(np.median(times))
    strategy = bars.Strategy(counted=counted, limit=dataclasses.replace(limit, max_ms=asked))
    candidates = strategy.candidates(space, even, 0)
    assert all(c.metrics["ms"] <= asked and c.metrics["accepted"] for c in candidates)
    assert all(limit.ms(c.genotype) == c.metrics["ms"] for c in candidates)
    assert max(times) > asked
    expected = strategy.metrics(space, even, 0)["expected_ms"]
    assert expected == pytest.approx(float(limit.expected(even)))


@pytest.mark.parametrize("backbone", ["vgg11", "bars"])
def test_widths_of_dms_keep_the_limit_and_feel_it(backbone):
    shape = (32, 32, 3)
    if backbone == "bars":
        backbone = bars_architecture((8, 16, 32), (1, 1, 1), (10, 6, 2), ((1, 0), (4, 1)))
    base = dms.space(backbone)
    limit = Limit(TABLE, 1.0, base, shape, 10)
    ratios = np.full(len(base.stages), 1.0)
    whole = limit.ms(dms.derive(base, ratios))
    asked = dataclasses.replace(limit, max_ms=whole * 0.8)
    assert limit.ms(dms.Distributions(limit=asked).derive(base, ratios, shape, 10)) <= asked.max_ms
    loose = dataclasses.replace(limit, max_ms=whole * 2)
    assert dms.Distributions(limit=loose).derive(base, ratios, shape, 10) == dms.derive(base, ratios)
    with pytest.raises(ValueError, match="one filter in each layer"):
        dms.Distributions(limit=dataclasses.replace(limit, max_ms=0.01)).check(base, shape, 10)
    strategy = dms.Strategy(dms.Distributions(limit=asked), base, shape, 10)
    strategy.room = tuple(dms.room(base, strategy.begin(ratios.astype(np.float32), 0.3)))
    mean = tf.constant(ratios, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(mean)
        loss = strategy.architecture_loss(tf.constant(2.0), {"mean": mean}, 0)
    assert float(loss) > 2 and (tape.gradient(loss, mean).numpy() > 0).all()


class _Counter:
    """A device that takes a millisecond for each operator of a file."""

    def __init__(self):
        self.files = 0

    def describe(self):
        return {"device": "counter"}

    def measure(self, content, options):
        self.files += 1
        count = len(flatbuffer.read(content).operators)
        return type("Measured", (), {"latency_ms": {"median": float(count), "mean": 0.0}})


@dataclasses.dataclass
class _Options:
    runs: int = 1


# Block -> how many operators it has in a file.
BLOCKS = {
    Block("binary", 32, 32, 8, 8, 3): 4,  # Threshold, LceQuantize, LceBconv2d, sum.
    Block("binary", 32, 64, 4, 4, 3, 2): 4,
    Block("residual", 32, 32, 8, 8, 3): 5,  # Normalization, LceQuantize, LceBconv2d, residual and ReLU, sum.
    Block("max_pool", 32, 32, 8, 8, 3): 2,
    Block("max_pool", 32, 32, 4, 4, 3, 2): 1,
    Block("add", 32, 32, 8, 8): 1,
    Block("concat", 32, 128, 8, 8): 1,
    Block("dense", 32, 10, 8, 8): 1,  # Mean, dense, softmax, without the two that cut a corner out of other outputs.
}


def test_operations_are_measured_one_by_one_and_not_again():
    device, tables = _Counter(), []
    tf.keras.utils.set_random_seed(0)
    for table in profiling.measure(BLOCKS, device, _Options()):
        tables.append(table)
    # Sums between copies side by side are one less than copies.
    assert {b: round(ms) for b, ms in tables[-1].measured.items()} == BLOCKS
    assert [len(table.measured) for table in tables] == list(range(1, len(BLOCKS) + 1))
    files = device.files
    assert list(profiling.measure(BLOCKS, device, _Options(), tables[-1])) == [] and device.files == files
    more = Block("add", 64, 64, 8, 8)
    (table,) = profiling.measure([*BLOCKS, more], device, _Options(), tables[-1])
    assert list(table.measured) == [*BLOCKS, more] and device.files == files + 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_operation_can_be_measured(kind):
    strides = 2 if kind in ("halves", "shortcut") or "factorized" in kind else 1
    filters = {1: 32, 2: 64}[strides] if kind != "concat" else 128
    block = Block(kind, 32, filters, 8, 8, 1 if "reduce" in kind or "preprocess" in kind else 3, strides)
    (table,) = profiling.measure([block], _Counter(), _Options())
    assert table.measured[block] > 0.5


def test_operations_that_were_measured_as_nothing_do_not_spoil_the_fit():
    for kind in KINDS:
        true = {block: ms for block, ms in TABLE.measured.items() if block.kind == kind}
        few = sorted(true, key=true.get)[:3]
        table = Table({**true, **dict.fromkeys(few, 0.0)})
        assert sum(map(table.estimate, true)) == pytest.approx(sum(true.values()), rel=0.1)


def test_a_fit_reaches_its_minimum():
    # Without scaling, SciPy 1.15 does not reach it.
    sizes = ((1, 6, 8, 8, 3, 1), (8, 16, 4, 4, 2, 2), (16, 32, 2, 2, 2, 2))
    measured = dict(zip([Block("float", *each) for each in sizes], (0.008959, 0.00142, 0.0), strict=True))
    table = Table(measured, 0.0, {})
    # Only the third feature has a positive coefficient.
    feature = np.array([latency.features(block)[2] for block in measured])
    times = np.array(list(measured.values()))
    weights = 1 / np.maximum(times, np.median(times) / 4)
    coefficient = np.dot(weights * feature, weights * times) / np.dot(weights * feature, weights * feature)
    other = Block("float", 2, 12, 16, 16, 3)
    assert table.ms(other) == pytest.approx(coefficient * latency.features(other)[2])


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e5])
def test_the_limit_of_bats_can_be_as_tight_as_its_fastest_operations(factor):
    table = Table({block: ms * factor for block, ms in TABLE.measured.items()})
    space = bats.space(3, 12, 4)
    count = len(space.cells[0].edges[0].operations)
    probabilities = {c.name: np.random.default_rng(0).dirichlet(np.ones(count), len(c.edges)) for c in space.cells}
    limit = Limit(table, 1.0, space, SHAPE, 10, excluded=("none",))

    def found(most):
        return limit.ms(bats.Strategy(limit=dataclasses.replace(limit, max_ms=most)).derive(space, probabilities))

    with pytest.raises(latency.LatencyError, match="fastest operations is predicted to take ([0-9.]+) ms") as error:
        found(latency.fastest(limit) * 0.99)
    least = float(str(error.value).split()[-2])
    assert found(least * 1.001) == pytest.approx(least, rel=1e-3)
    assert latency.fastest(limit) <= least < found(1e12)


def test_a_limit_that_only_empty_cells_keep_is_refused():
    space = bnas.space(3, 8)
    probabilities = {c.name: np.random.default_rng(0).dirichlet(np.ones(7), len(c.edges)) for c in space.cells}
    limit = Limit(TABLE, 1e9, space, SHAPE, 10)
    limit = dataclasses.replace(limit, max_ms=latency.fastest(limit) * 1.0001)
    with pytest.raises(latency.LatencyError, match="network of the fastest operations is predicted"):
        bnas.Strategy(limit=limit).derive(space, probabilities)


def test_bars_needs_samples_for_a_limit():
    space = bars.space(8)
    with pytest.raises(ValueError, match="samples=0: .* max_latency_ms"):
        bars.Strategy(samples=0, limit=Limit(TABLE, 1.0, space, SHAPE, 10), counted=(space, SHAPE, 10))


@pytest.mark.parametrize("size, name", [(32, "vgg11"), (32, "resnet18"), (224, "resnet18")])
def test_sums_and_pools_of_networks_without_cells_take_time_too(size, name):
    model = networks.build(dms.space(name), (size, size, 3))
    kinds = [row.block.kind for row, _ in counting.rows(dms.space(name), (size, size, 3), 10) if row.block]
    for kind, layer in (("add", tf.keras.layers.Add), ("max_pool", tf.keras.layers.MaxPooling2D)):
        assert kinds.count(kind) == sum(isinstance(x, layer) for x in model.layers)
