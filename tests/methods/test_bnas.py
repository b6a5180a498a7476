import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import flags, networks
from larq_nas.methods import bnas
from larq_nas.space.architecture import Architecture
from larq_nas.space.choices import choice_shapes

pytestmark = pytest.mark.onednn

EDGES, CANDIDATES = np.meshgrid(np.arange(14), np.arange(7), indexing="ij")
LOGITS = {"normal": np.sin(0.7 * EDGES + 1.3 * CANDIDATES), "reduce": np.cos(0.5 * EDGES + 0.9 * CANDIDATES)}
PROBABILITIES = {name: tf.nn.softmax(tf.constant(value)) for name, value in LOGITS.items()}


def _edges(cell):
    return " ".join(f"({edge.operations[0]},{edge.source})" for edge in cell.edges)


def test_the_space_counts_two_of_the_edges_of_a_node_and_an_operation_on_each():
    one_cell = (1 * 3 * 6 * 10) * 7**8
    assert bnas.space().size == one_cell**2


@pytest.mark.parametrize(
    ("layers", "reductions"), [(20, (6, 13)), (16, (5, 10)), (11, (3, 7)), (8, (2, 5)), (3, (1, 2))]
)
def test_reductions_stand_at_a_third_and_two_thirds(layers, reductions):
    cells = [
        reduction
        for stage in bnas.space(layers, 4).stages
        for reduction in [True] * (stage.reduction is not None) + [False] * stage.depths[0]
    ]
    assert len(cells) == layers
    assert tuple(np.flatnonzero(cells)) == reductions


def test_too_few_layers_are_refused():
    with pytest.raises(ValueError, match="layers=2"):
        bnas.space(layers=2)


def test_scaling_keeps_the_cells():
    genotype = bnas.space().sample(0)
    scaled = bnas.scale(genotype, filters=36, layers=20)
    assert scaled.cells == genotype.cells and scaled.stages[0].widths == (36,)
    assert bnas.scale(scaled) == scaled
    # A file may hold stages of its own, which stay if nothing is asked for.
    stages = tuple(dataclasses.replace(stage, depths=(2,)) for stage in genotype.stages)
    other = dataclasses.replace(genotype, stages=stages)
    assert bnas.scale(other) == other


def test_a_space_without_zeroise_or_shortcuts():
    plain, bare = bnas.space(5, 4), bnas.space(5, 4, zeroise=False, skip=False)
    assert {name for edge in bare.cells[0].edges for name in edge.operations} == set(bnas.OPERATIONS) - {"none"}
    assert bnas.scale(bare, filters=8, layers=8).options == bare.options == (("skip", False),)
    genotype = bare.sample(0)
    assert Architecture.from_json(genotype.to_json()) == genotype
    layers = {layer.name for layer in networks.build(genotype, (16, 16, 3)).layers}
    with_skip = {layer.name for layer in networks.build(dataclasses.replace(genotype, options={}), (16, 16, 3)).layers}
    assert layers < with_skip and {name.partition("_")[2] for name in with_skip - layers} >= {"skip", "shortcut_conv"}
    probabilities = {name: np.full(shape, 1 / 6) for name, shape in choice_shapes(bare).items()}
    assert bnas.derive(bare, probabilities).decided and bare.size < plain.size
    assert flags.configure("search", zeroise=False, skip=False).space().cells == bnas.space(5, 8, zeroise=False).cells


def test_entropy_is_the_mean_over_all_edges():
    assert float(bnas.entropy(PROBABILITIES)) == pytest.approx(1.7422715964, abs=1e-9)
    assert float(bnas.entropy(PROBABILITIES, reduce_index_bug=True)) == pytest.approx(1.7422036411, abs=1e-9)


@pytest.mark.parametrize(
    ("epoch", "fading"), [(0, 1), (1, 0.878209), (5, 0.522385), (10, 0.272886), (30, 0.020321), (49, 0.001723)]
)
def test_the_diversity_regulariser_fades_with_the_epochs(epoch, fading):
    probabilities = {name: tf.cast(value, tf.float32) for name, value in PROBABILITIES.items()}
    loss = float(bnas.diversity_loss(probabilities, tf.constant(epoch)))
    assert loss == pytest.approx(-1.7422715964 * fading, rel=1e-4)


def test_the_regulariser_rewards_entropy():
    logits = {name: tf.Variable(tf.cast(value, tf.float32)) for name, value in LOGITS.items()}
    with tf.GradientTape() as tape:
        probabilities = {name: tf.nn.softmax(value) for name, value in logits.items()}
        before, loss = bnas.entropy(probabilities), bnas.diversity_loss(probabilities, 0)
    for variable, gradient in zip(logits.values(), tape.gradient(loss, list(logits.values())), strict=True):
        variable.assign_sub(gradient)
    assert bnas.entropy({name: tf.nn.softmax(value) for name, value in logits.items()}) > before


def test_derivation_without_preference_against_zeroise():
    genotype = bnas.derive(bnas.space(), PROBABILITIES, gamma=1.0)
    assert genotype.decided
    assert _edges(genotype.cell("normal")) == (
        "(bin_conv_5x5,0) (max_pool_3x3,1) (bin_dil_conv_5x5,2) (bin_conv_3x3,0) "
        "(bin_dil_conv_3x3,1) (bin_dil_conv_3x3,0) (bin_dil_conv_5x5,4) (bin_conv_5x5,0)"
    )
    assert _edges(genotype.cell("reduce")) == (
        "(none,0) (bin_conv_5x5,1) (bin_conv_5x5,0) (bin_conv_3x3,2) "
        "(bin_dil_conv_3x3,2) (bin_dil_conv_5x5,0) (avg_pool_3x3,0) (max_pool_3x3,2)"
    )


def test_gamma_makes_zeroise_prove_itself():
    plain, gamma = (bnas.derive(bnas.space(), PROBABILITIES, gamma=value) for value in (1.0, 3.0))
    assert gamma.cell("normal") == plain.cell("normal")
    assert _edges(gamma.cell("reduce")).startswith("(bin_conv_5x5,1) (bin_conv_5x5,0) ")
    assert gamma.cell("reduce").nodes[1:] == plain.cell("reduce").nodes[1:]


def test_ties_go_to_the_lower_index():
    uniform = {name: np.full((14, 7), 1 / 7) for name in LOGITS}
    genotype = bnas.derive(bnas.space(), uniform)
    assert _edges(genotype.cell("normal")) == " ".join(["(none,1) (max_pool_3x3,0)"] * 4)


def test_a_derived_genotype_travels_as_json():
    genotype = bnas.derive(bnas.space(), PROBABILITIES)
    assert Architecture.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_a_node_does_not_only_add_none(gamma):
    space, none = bnas.space(3, 4), bnas.OPERATIONS.index("none")
    probabilities = {cell.name: np.random.default_rng(0).dirichlet(np.ones(7), 14) for cell in space.cells}
    for values in probabilities.values():
        values[:, none] = 3.5
    genotype = bnas.derive(space, probabilities, gamma)
    for cell in genotype.cells:
        row = 0
        for node in cell.nodes:
            (_, zeros), (source, name) = [(edge.source, edge.operations[0]) for edge in node.edges]
            assert zeros == "none" != name and node.edges[0].source != source
            edges = probabilities[cell.name][row : row + len(space.cell(cell.name).nodes[cell.nodes.index(node)].edges)]
            # The most probable of all others.
            assert edges[source, bnas.OPERATIONS.index(name)] == np.delete(edges, none, axis=1).max()
            row += len(edges)


def test_the_regulariser_counts_epochs_after_the_warm_up():
    logits = {name: tf.cast(value, tf.float32) for name, value in LOGITS.items()}
    late = bnas.Strategy(warmup_epochs=4).architecture_loss(0.0, logits, tf.constant(7))
    assert float(late) == pytest.approx(float(bnas.Strategy().architecture_loss(0.0, logits, tf.constant(3))))
