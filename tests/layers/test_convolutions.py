import numpy as np
import pytest
import tensorflow as tf

from larq_nas.layers import convolutional, convolutions

pytestmark = pytest.mark.onednn


def _dense(x, kernel, strides, padding, dilations):
    """The convolution of the kernel that is 0 between groups, dilated by zeros between its taps."""
    groups = x.shape[-1] // kernel.shape[-2]
    blocks = [tf.split(kernel, groups, axis=-1)[i] for i in range(groups)]
    rows = [tf.concat([b if i == j else 0 * b for j, b in enumerate(blocks)], axis=-1) for i in range(groups)]
    kernel = tf.concat(rows, axis=-2)
    for axis, rate in enumerate(dilations):
        taps = []
        for tap in tf.unstack(kernel, axis=axis):
            taps += [tap] + [0 * tap] * (rate - 1)
        kernel = tf.stack(taps[: len(taps) - rate + 1], axis=axis)
    return tf.nn.conv2d(x, kernel, strides, padding)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize(
    ("groups", "kernel_size", "strides", "padding", "dilations"),
    [
        (1, 3, 1, "SAME", (2, 2)),
        (3, 3, 1, "SAME", (1, 1)),
        (3, 5, 1, "VALID", (2, 2)),
        (6, 3, 1, "SAME", (1, 3)),
        (2, 3, 2, "SAME", (1, 1)),
    ],
)
def test_it_equals_a_dense_convolution_in_outputs_and_gradients(
    monkeypatch, native, graph, groups, kernel_size, strides, padding, dilations
):
    if not native:
        monkeypatch.setattr(convolutions, "has_gradient", lambda *form: False)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, 9, 10, 6)), tf.float32)
    kernel = tf.constant(rng.normal(size=(kernel_size, kernel_size, 6 // groups, 12)), tf.float32)
    found = []
    for function in (convolutions.conv2d, _dense):

        def run(function=function):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = function(x, kernel, strides, padding, dilations)
                loss = tf.reduce_sum(tf.sin(y))
            return y, *tape.gradient(loss, [x, kernel])

        found.append((tf.function(run) if graph else run)())
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [(True, False), (False, True), (True, True)])
def test_the_probe_says_whether_tensorflow_has_the_gradient(form):
    is_grouped, dilated = form
    x, kernel = tf.random.normal([2, 8, 8, 4]), tf.random.normal([3, 3, 1 if is_grouped else 4, 8])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=2 if dilated else 1)
    if convolutions.has_gradient(*form, tf.float32):
        assert np.any(tape.gradient(y, kernel))
    else:
        with pytest.raises(tf.errors.OpError):
            tape.gradient(y, kernel)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_layers_with_groups_train_and_predict(monkeypatch, native, precision):
    if not native:
        monkeypatch.setattr(convolutions, "has_gradient", lambda *form: False)
    policy = tf.keras.mixed_precision.Policy(precision)
    # The bias and BatchNorm are what TensorFlow fuses with a convolution.
    layer = convolutional.GroupedConv2D(8, 3, dilation_rate=2, groups=4, padding="same", dtype=policy)
    model = tf.keras.Sequential([tf.keras.Input((6, 5, 4)), layer, tf.keras.layers.BatchNormalization()])
    model.compile("sgd", "mse")
    before = model.get_weights()[0]
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 4)).astype(np.float32)
    model.fit(x, np.ones((4, 6, 5, 8), np.float32), verbose=0)
    assert not np.array_equal(before, model.get_weights()[0])
    exact = precision == "float32"
    np.testing.assert_allclose(
        model.predict(x, verbose=0), model(x), rtol=1e-4 if exact else 0.1, atol=1e-4 if exact else 0.1
    )
