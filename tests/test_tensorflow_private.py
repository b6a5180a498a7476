"""The private parts of TensorFlow that larq_nas uses are still there, and still do what they are used for."""

import gc
import importlib.metadata
import os
import subprocess
import sys
import weakref

import custom_gradients
import numpy as np
import pytest
import tensorflow as tf

from larq_nas import _tensorflow
from larq_nas.layers import quantizers

layers = tf.keras.layers
only_after_2_15 = pytest.mark.skipif(
    importlib.metadata.version("tensorflow").startswith("2.15."), reason="has no Keras 3"
)


@only_after_2_15
@pytest.mark.parametrize(("given", "library"), [({}, "keras"), ({"TF_USE_LEGACY_KERAS": "1"}, "tf_keras")])
def test_tensorflow_says_which_keras_its_import_has_chosen(given, library):
    code = "import tensorflow; print(tensorflow._tf_uses_legacy_keras); import tensorflow.keras.layers as layers; "
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"} | given
    command = [sys.executable, "-c", code + "print(layers.Dense.__module__.split('.')[0])"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(bool(given)), library], (
        f"TensorFlow has no `_tf_uses_legacy_keras` any more, or it means something else: {done.stderr}"
    )


@only_after_2_15
def test_keras_2_is_recognised():
    assert _tensorflow.uses_keras_2(tf)


@pytest.mark.parametrize("attributes", [{}, _tensorflow.not_inlined()])
def test_a_function_that_is_not_inlined_is_called_by_the_optimized_graph(attributes):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        function = tf.function(lambda x: tf.sin(x) * tf.cos(x), experimental_attributes=attributes)
        x = v1.placeholder(tf.float32, [2])
        options, metadata = v1.RunOptions(output_partition_graphs=True), v1.RunMetadata()
        session.run(function(x) + 1, {x: [0, 1]}, options=options, run_metadata=metadata)
    run = {node.op for graph in metadata.partition_graphs for node in graph.node}
    assert ("Sin" not in run) == bool(attributes), "the attribute `_noinline` of TensorFlow has no effect any more"


def test_the_schema_reads_a_tflite():
    convolution = layers.Conv2D(4, (3, 1), strides=2, padding="same")
    model = tf.keras.Sequential([layers.Input((6, 6, 2)), convolution])
    schema = _tensorflow.tflite_schema()
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    graph = file.subgraphs[0]
    operator = next(
        operator
        for operator in graph.operators
        if file.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    )
    assert (operator.builtinOptions.strideH, operator.builtinOptions.padding) == (2, schema.Padding.SAME)
    assert [int(size) for size in graph.tensors[operator.outputs[0]].shape] == [1, 3, 3, 4]
    kernel = graph.tensors[operator.inputs[1]]
    assert kernel.type == schema.TensorType.FLOAT32 != schema.TensorType.INT8
    values = np.asarray(file.buffers[kernel.buffer].data, np.uint8).view(np.float32).reshape(kernel.shape)
    np.testing.assert_array_equal(np.moveaxis(values, 0, -1), convolution.kernel)
    outputs = [output for signature in file.signatureDefs for output in signature.outputs]
    assert [output.tensorIndex for output in outputs] == list(graph.outputs)
    assert [type(output.name) for output in outputs] == [bytes]


@pytest.mark.parametrize("shared", [False, True])
def test_the_graphs_of_custom_gradients_are_freed_unless_all_networks_share_them(shared, monkeypatch):
    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda gradient: 2 * gradient

    @tf.function
    def doubled_by_all_networks(x):
        return double(x)

    # Gradients of earlier tests in this process are none of this test's business, but are freed with the others.
    if shared:
        monkeypatch.setattr(quantizers, "doubled", doubled_by_all_networks, raising=False)
    graph = weakref.ref(doubled_by_all_networks.get_concrete_function(tf.TensorSpec([])).graph)
    del doubled_by_all_networks
    gc.collect()
    assert graph() is not None, "TensorFlow frees the graphs of custom gradients itself: remove `custom_gradients`"
    custom_gradients.forget()
    if shared:
        with tf.GradientTape() as tape:
            x = tf.Variable(3.0)
            y = quantizers.doubled(x)
        assert tape.gradient(y, x) == 2.0
    monkeypatch.undo()
    gc.collect()
    assert (graph() is not None) == shared
