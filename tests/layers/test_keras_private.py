"""What is used of Keras that is not public is still there, and still does what it is used for."""

import ast
import pathlib

import pytest
import tensorflow as tf

from larq_nas.layers import _keras
from larq_nas.layers.convolutional import GroupedConv2D
from larq_nas.layers.grouped import ScaledConv2D

ROOT = pathlib.Path(__file__).parents[2]
layers = tf.keras.layers


@pytest.fixture
def model():
    images = layers.Input((4, 4, 2), name="images")
    dense = layers.Dense(2, name="dense")
    return tf.keras.Model(images, layers.Add(name="sum")([dense(images), dense(dense(images))]))


def test_the_calls_of_a_model_come_in_an_order_in_which_they_can_be_computed(model):
    computed = set()
    nodes = _keras.nodes(model)
    for node in nodes:
        inputs = [] if node.is_input else tf.nest.flatten(node.keras_inputs)
        assert {id(tensor) for tensor in inputs} <= computed
        computed |= {id(tensor) for tensor in tf.nest.flatten(node.outputs)}
    assert sorted(node.layer.name for node in nodes) == ["dense", "dense", "dense", "images", "sum"]


def test_the_calls_of_a_layer_are_those_of_all_models(model):
    dense = model.get_layer("dense")
    before = len(_keras.calls_of(dense))
    dense(layers.Input((4, 4, 2)))
    assert (before, len(_keras.calls_of(dense))) == (3, 4)


def test_the_layer_of_a_tensor(model):
    assert _keras.layer_of(model.output) is model.get_layer("sum")


def test_models_with_and_without_a_graph(model):
    class Subclassed(tf.keras.Model):
        pass

    assert _keras.has_graph(model) and _keras.has_graph(tf.keras.Sequential([layers.Input((2,)), layers.Dense(2)]))
    assert not _keras.has_graph(Subclassed()) and not _keras.has_graph(tf.keras.Sequential([layers.Dense(2)]))


# On CPUs, compiled convolutions have gradients that are a hundred times slower.
@pytest.mark.parametrize(("make", "compiled"), [(layers.Conv2D, True), (GroupedConv2D, False), (ScaledConv2D, False)])
def test_convolutions_in_groups_are_compiled_by_keras_alone(make, compiled):
    layer = make(4, 3, groups=2, padding="same")
    function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec([1, 4, 4, 4]))
    calls = [node for node in function.graph.get_operations() if "_XlaMustCompile" in node.node_def.attr]
    assert any(node.get_attr("_XlaMustCompile") for node in calls) == compiled


def test_nothing_else_uses_what_is_not_public():
    private = {
        "_nodes_by_depth",
        "_inbound_nodes",
        "_keras_history",
        "_is_graph_network",
        "_jit_compiled_convolution_op",
    }
    users = set()
    for folder in ("larq_nas", "converters", "zoo", "flags"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            names |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            if names & private:
                users.add(path.name)
    assert users == {"_keras.py"}
