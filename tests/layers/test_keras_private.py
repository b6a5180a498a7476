"""The private parts of Keras 2 that larq_nas uses are still there, and still do what they are used for."""

import pytest
import tensorflow as tf

from larq_nas.layers import _keras
from larq_nas.layers.convolutional import GroupedConv2D
from larq_nas.layers.grouped import ScaledConv2D

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


def test_a_graph_holds_the_calls_of_its_own_model_only(model):
    dense = model.get_layer("dense")
    dense(layers.Input((4, 4, 2)))
    own = [node for node in _keras.nodes(model) if node.layer is dense]
    assert len(own) == 3 and len(dense.inbound_nodes) == 4


def test_models_with_and_without_a_graph(model):
    class Subclassed(tf.keras.Model):
        pass

    said = "`_is_graph_network` of Keras is gone or means something else"
    sequential = tf.keras.Sequential([layers.Input((2,)), layers.Dense(2)])
    assert _keras.has_graph(model) and _keras.has_graph(sequential), said
    assert not _keras.has_graph(Subclassed()) and not _keras.has_graph(tf.keras.Sequential([layers.Dense(2)])), said


# On CPUs, compiled convolutions have gradients that are a hundred times slower.
@pytest.mark.parametrize(("make", "compiled"), [(layers.Conv2D, True), (GroupedConv2D, False), (ScaledConv2D, False)])
def test_convolutions_in_groups_are_compiled_by_keras_alone(make, compiled):
    layer = make(4, 3, groups=2, padding="same")
    function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec([1, 4, 4, 4]))
    calls = [node for node in function.graph.get_operations() if "_XlaMustCompile" in node.node_def.attr]
    found = any(node.get_attr("_XlaMustCompile") for node in calls)
    assert found == compiled, "Keras compiles other convolutions than before, or by another method"


def test_functional_models_are_of_the_class(model):
    assert type(model) is _keras.functional(), "`Sequential` of Keras has another base class than functional models"
    assert issubclass(tf.keras.Sequential, _keras.functional()) and not issubclass(layers.Layer, _keras.functional())


class Twice(layers.Layer):
    """Holds two layers and a metric."""

    def __init__(self):
        super().__init__(name="twice")
        self.zero, self.more = layers.Dense(2, name="inner"), [layers.Dense(2, name="listed")]
        self.metric = tf.keras.metrics.Mean(name="metric")

    def call(self, inputs):
        return self.more[0](self.zero(inputs))


def test_all_layers_are_in_order_with_those_inside_of_others_and_without_metrics():
    images = layers.Input((2,), name="images")
    nested = tf.keras.Sequential([layers.Input((2,)), layers.Dense(2, name="nested")], name="sequence")
    model = tf.keras.Model(images, Twice()(nested(images)))
    names = [layer.name for layer in _keras.all_layers(model)]
    names = [name for name in names if not name.startswith("input")]
    assert names == ["images", "sequence", "nested", "twice", "inner", "listed"], "`_flatten_layers` of Keras differs"


def test_a_tracked_variable_is_saved_and_is_no_weight(tmp_path):
    def layer(value):
        made = layers.Layer()
        variable = tf.Variable(value)
        _keras.track(made, variable, "rate")
        return made, variable

    saved, _ = layer(3.0)
    assert saved.weights == [], "Keras counts a tracked variable as a weight"
    path = tf.train.Checkpoint(layer=saved).save(str(tmp_path / "checkpoint"))
    loaded, variable = layer(0.0)
    tf.train.Checkpoint(layer=loaded).restore(path)
    assert variable.numpy() == 3, "TensorFlow does not save a tracked variable"


class Descent(tf.keras.optimizers.Optimizer):
    """Gradient descent that notes the positions of the variables that it updates."""

    def __init__(self, learning_rate):
        super().__init__(name="Descent")
        _keras.set_learning_rate(self, learning_rate)
        self.positions = []

    def build(self, var_list):
        super().build(var_list)
        _keras.set_built(self)

    def update_step(self, gradient, variable):
        self.positions.append(_keras.index(self, variable))
        variable.assign_sub(gradient * self.learning_rate)


def test_an_optimizer_has_the_learning_rate_that_it_is_given():
    optimizer = Descent(0.5)
    assert optimizer.learning_rate.numpy() == _keras.learning_rate_config(optimizer) == 0.5
    optimizer.learning_rate = 0.25
    assert _keras.learning_rate_config(optimizer) == 0.25


def test_an_optimizer_follows_a_schedule_and_its_configuration_holds_the_schedule():
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.5])
    optimizer, variable = Descent(schedule), tf.Variable(0.0)
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
    assert variable.numpy() == -2.5
    assert _keras.learning_rate_config(optimizer)["class_name"] == "PiecewiseConstantDecay"


def test_an_optimizer_keeps_its_list_of_variables_once_it_is_built():
    optimizer, variables = Descent(0.5), [tf.Variable(1.0), tf.Variable(2.0)]
    assert not _keras.is_built(optimizer)
    optimizer.build(variables)
    assert _keras.is_built(optimizer)
    optimizer.build(variables[::-1])
    positions = [_keras.index(optimizer, variable) for variable in variables]
    assert positions == [0, 1], "the optimizers of Keras do not ask `_built` before they make their list"
    assert not _keras.is_built(tf.keras.optimizers.SGD()), "`_built` of Keras's own optimizers means something else"


def test_a_replica_finds_the_position_of_its_copy_of_a_variable():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        variables, optimizer = [tf.Variable(1.0), tf.Variable(2.0)], Descent(0.5)
        optimizer.build(variables)

    @tf.function
    def step():
        # In another order than that of the list.
        optimizer.apply_gradients([(tf.constant(1.0), variable) for variable in reversed(variables)])

    strategy.run(step)
    assert optimizer.positions == [1, 0]
    assert [variable.numpy() for variable in variables] == [0.5, 1.5]
