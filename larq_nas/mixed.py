"""All candidate operations on all edges that leave one state, computed once.

A supernet evaluates every candidate on every edge. All edges that leave a state read the same tensor, and during a
search BatchNorm has no trainable part, so the normalised and binarized tensor is the same for all of them, a pooled
tensor is the same for all of them, and the convolutions of one kind are one convolution with more filters.

What one state computes is a traced function of tensors, which all states of the same shape share. So the time that
a search takes to start hardly grows with the number of cells.
"""

import contextlib
import functools

import larq as lq
import tensorflow as tf

from larq_nas import operations
from larq_nas.quantizers import CentredClip, CentredUniform, latent_factor, register, through_scale, xnor_scale

_constants = frozenset()
_binarized = None


@contextlib.contextmanager
def constant(*names):
    """Inside, a `MixedEdges` has no gradient for what is named: `"kernel"`, `"choice"`.

    A function's gradient is traced for all that it reads; this spares the half that a step does not use. It acts
    where the forward pass is traced.
    """
    global _constants
    previous, _constants = _constants, frozenset(names)
    try:
        yield
    finally:
        _constants = previous


@contextlib.contextmanager
def binarized_once():
    """Inside, kernels are binarized once for all forward passes, between which they must not change."""
    global _binarized
    previous, _binarized = _binarized, {}
    try:
        yield
    finally:
        _binarized = previous


def constants():
    """What is named by the `constant` around."""
    return _constants


def once(layer, function):
    """What a function makes of a layer's kernel, inside of `binarized_once` from its first call."""
    store = {} if _binarized is None else _binarized
    if id(layer) not in store:
        store[id(layer)] = function(tf.stop_gradient(tf.convert_to_tensor(layer.kernel)))
    return store[id(layer)]


def binarize(network: tf.keras.Model):
    """Binarizes the kernels of all layers that share work, for `binarized_once`."""
    for layer in network.layers:
        if hasattr(layer, "binary"):
            layer.binary()


@register
class Rows(tf.keras.layers.Layer):
    """Some rows of choice weights.

    # Arguments
        rows: Their indices.
    """

    def __init__(self, rows, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.rows = list(rows)

    def call(self, inputs):
        return tf.gather(inputs, self.rows)

    def get_config(self):
        return {**super().get_config(), "rows": self.rows}


@register
class MixedEdges(tf.keras.layers.Layer):
    """The weighted candidate operations of every edge that leaves one state.

    For each edge, the output is the sum over the candidates of choice weight times operation.

    # Arguments
        filters: Channels of each output; those of the input, too.
        operations: Names of the candidates, the same for every edge.
        edges: Number of edges.
        strides: 1 or 2.

    # Inputs
        A tensor of shape `(batch, height, width, filters)` and the choice weights of the edges, of shape
        `(edges, candidates)`.

    # Returns
        A list of tensors of shape `(batch, height / strides, width / strides, filters)`, one per edge.

    Latent kernels lie within [-1, 1], where the constraint keeps them and the gradient of the sign passes.
    """

    def __init__(self, filters, operations, edges, strides=1, **kwargs):
        if strides not in (1, 2):
            raise ValueError(f"strides={strides}: a state is left with strides 1 or 2")
        # Choice weights keep their 32 bits under mixed precision.
        super().__init__(autocast=False, **kwargs)
        self.filters, self.operations, self.edges, self.strides = filters, list(operations), edges, strides
        known = sum(len(kinds) for kinds in _kinds(self.operations)) + self.operations.count("none")
        if known < len(self.operations):
            raise ValueError(f"operations={self.operations}: only convolutions, pools and none share work")

    def build(self, input_shape):
        convolutions, pools = _kinds(self.operations)
        # The taps of all kernels stand in a row: one variable to binarize, update and constrain.
        self.taps = tuple(operation.kernel_size**2 for _, operation in convolutions)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(sum(self.taps), self.filters, self.filters * self.edges),
            initializer=PackedKernels(self.taps, CentredUniform),
            constraint=CentredClip(),
            experimental_autocast=False,
        )
        # Of the state itself, then of each pooled one.
        options = {
            "shape": (self.filters * (1 + len(pools)),),
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
            "experimental_autocast": False,
        }
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **options)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **options)
        super().build(input_shape)

    def call(self, inputs, training=None):
        x, choice = tf.cast(inputs[0], self.compute_dtype), inputs[1]
        if set(self.operations) == {"none"}:
            return [x[:, :: self.strides, :: self.strides] * 0] * self.edges
        statistics = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
        kernel = tf.convert_to_tensor(self.kernel)
        form = tuple(self.operations), self.strides, bool(training)
        outputs, statistics = _mixed_edges(x, choice, kernel, self.binary(), statistics, form, _constants)
        if training:
            self.moving_mean.assign(statistics[0])
            self.moving_variance.assign(statistics[1])
        return outputs

    def binary(self):
        """Signs and scales of the kernels."""
        return once(self, lambda kernel: _binarize(kernel, self.taps))

    def get_config(self):
        config = {key: getattr(self, key) for key in ("filters", "operations", "edges", "strides")}
        return {**super().get_config(), **config}


class PackedKernels(tf.keras.initializers.Initializer):
    """Kernels whose taps stand in a row, each initialized by itself.

    # Arguments
        taps: The number of taps of each.
        initializer: What makes an initializer: one for each kernel, since the same one gives the same values again.
    """

    def __init__(self, taps, initializer):
        self.taps, self.initializer = taps, initializer

    def __call__(self, shape, dtype=None, **kwargs):
        parts = [self.initializer()((1, taps, *shape[1:]), dtype)[0] for taps in self.taps]
        return tf.concat(parts, axis=0) if parts else tf.zeros(shape, dtype)


def _kinds(names):
    """Index and `Operation` of the convolutions among the candidates, then of the pools."""
    kinds = [(index, operations.OPERATIONS[name]) for index, name in enumerate(names)]
    convolutions = [kind for kind in kinds if kind[1].kind == "convolution"]
    return convolutions, [kind for kind in kinds if kind[1].kind.endswith("pool")]


# Not inlined, a function is optimized once and not at each of its calls.
traced = functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})


@traced
def _binarize(kernel, taps):
    """The packed kernels as ±1, and the scales of shape `(kinds, filters)`."""
    scales = [xnor_scale(part) for part in tf.split(kernel, taps)] if taps else []
    # As `quantizers.sign`, which is written for the converter, but faster.
    return lq.math.sign(kernel), tf.reshape(scales, [len(taps), kernel.shape[-1]])


def _mixed_edges(x, choice, kernel, binary, statistics, form, constants):
    """The outputs of all edges, and the moving mean and variance thereafter."""
    moved = None

    @tf.custom_gradient
    def call(x, choice, kernel):
        nonlocal moved
        outputs, moved, rectified = _forward(x, choice, binary, statistics, form)

        def backward(*gradients):
            return _backward(x, choice, binary, statistics, rectified, gradients, form, constants)

        return outputs, backward

    return call(x, choice, kernel), moved


@traced
def _forward(x, choice, binary, statistics, form):
    features, moved = _features(x, statistics, form)
    terms, rectified = {name: [] for name in features if name != "pooled"}, []
    for source, stride, kernel, weight in _convolutions(binary, choice, form, x.dtype):
        # Of inputs in {-2, 0} the padding with ones is one with zeros, and what is missing is a bias.
        bias = tf.reduce_sum(kernel, axis=[0, 1, 2])
        rectified.append(tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(features[source], kernel, stride, "SAME"), bias)))
        terms[source].append(rectified[-1] * tf.cast(weight, x.dtype))
    if "parities" in features:
        terms["parities"] = [tf.batch_to_space(tf.add_n(terms["parities"]), [2, 2], _margins(x))]
    total, edges = sum(terms.values(), []), choice.shape[0]
    outputs = tf.split(tf.add_n(total), edges, axis=-1) if total else []
    if "pooled" in features:
        pooled = tf.unstack(combine(_pool_weights(choice, form), features["pooled"]))
        outputs = [tf.add_n(both) for both in zip(outputs, pooled, strict=True)] if outputs else pooled
    return outputs, moved, rectified


@traced
def _backward(x, choice, binary, statistics, rectified, gradients, form, constants):
    """The gradients of `x`, `choice` and `kernel`; what is cheap is computed again and not kept."""
    with tf.GradientTape() as tape:
        tape.watch([x, choice])
        features, _ = _features(x, statistics, form)
        convolutions = _convolutions(binary, choice, form, x.dtype)
        pool_weights = _pool_weights(choice, form)
    gradient = tf.concat(gradients, axis=-1)
    upstream = dict.fromkeys(features, gradient)
    if "parities" in features:
        upstream["parities"] = tf.space_to_batch(gradient, [2, 2], _margins(x))
    # Features and weights, each with its gradient.
    to_features, to_weights, to_signs = {name: [] for name in features}, [], []
    for (source, stride, ones, weight), output in zip(convolutions, rectified, strict=True):
        masked = tf.raw_ops.ReluGrad(gradients=upstream[source], features=output)
        # The weights are multiplied to kernels and not to activations, which are larger.
        to_features[source].append(input_gradient(features[source], ones * tf.cast(weight, x.dtype), masked, stride))
        if "choice" not in constants:
            to_weights.append((weight, channel_sum(wide(upstream[source]) * wide(output))))
        if "kernel" not in constants:
            to_ones = wide(kernel_gradient(features[source], ones, masked, stride)) + channel_sum(masked)
            # The constraint keeps latent kernels where the gradient of the sign passes.
            to_signs.append(to_ones * (weight * latent_factor(ones.shape)))
    if "pooled" in features:
        stacked = tf.stack(gradients)
        to_features["pooled"].append(combine(tf.transpose(pool_weights), stacked))
        if "choice" not in constants:
            products = tf.matmul(wide(_flat(stacked)), wide(_flat(features["pooled"])), transpose_b=True)
            to_weights.append((pool_weights, products))
    pairs = [(features[name], tf.add_n(gradients)) for name, gradients in to_features.items()] + to_weights
    targets, upstream = zip(*pairs, strict=True)
    to_x, to_choice = tape.gradient(targets, [x, choice], list(upstream))
    return to_x, to_choice, _to_kernel(binary, to_signs) if to_signs else None


def _to_kernel(binary, gradients):
    """The gradient of the packed kernels, given those of their signs."""
    signs, scales = binary
    gradients = [tf.reshape(gradient, [-1, *signs.shape[1:]]) for gradient in gradients]
    parts = zip(tf.split(signs, [part.shape[0] for part in gradients]), tf.unstack(scales), gradients, strict=True)
    return tf.concat([gradient + through_scale(part, scale, gradient) for part, scale, gradient in parts], axis=0)


def input_gradient(x, kernel, gradient, stride, padding="SAME"):
    """The gradient of what a convolution reads."""
    strides = [1, stride, stride, 1]
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, strides=strides, padding=padding
    )


def kernel_gradient(x, kernel, gradient, stride, padding="SAME"):
    """The gradient of a convolution's kernel."""
    strides = [1, stride, stride, 1]
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel.shape, out_backprop=gradient, strides=strides, padding=padding
    )


def wide(x):
    """In 32 bits."""
    return tf.cast(x, tf.float32)


def channel_sum(x):
    """Per channel, and in 32 bits; faster than `tf.reduce_sum`."""
    return tf.raw_ops.BiasAddGrad(out_backprop=wide(x))


def _features(x, statistics, form):
    """What the operations read, by name, and the moving mean and variance thereafter."""
    names, strides, training = form
    convolutions, pools = _kinds(names)
    moving = list(zip(*(tf.split(statistic, 1 + len(pools)) for statistic in statistics), strict=True))
    features = {}
    if convolutions:
        normalized, *moving[0] = normalize(x, *moving[0], training)
        # -2 or 0: what stands for a padded 1 is then 0.
        shifted = lq.quantizers.ste_sign(normalized) - 1
        sources = {_source(operation, strides)[0] for _, operation in convolutions}
        if "all" in sources:
            features["all"] = shifted
        if "parities" in sources:
            features["parities"] = tf.space_to_batch(shifted, [2, 2], _margins(x))
        if "subsampled" in sources:
            # A pool of one pixel, which is faster than slicing.
            features["subsampled"] = tf.nn.avg_pool2d(shifted, 1, strides, "VALID")
    if pools:
        functions = {"max_pool": tf.nn.max_pool2d, "avg_pool": tf.nn.avg_pool2d}
        pooled = []
        for index, (_, operation) in enumerate(pools, 1):
            pool = functions[operation.kind](x, operation.kernel_size, strides, "SAME")
            pool, *moving[index] = normalize(pool, *moving[index], training)
            pooled.append(pool)
        features["pooled"] = tf.stack(pooled)
    return features, [tf.concat(parts, axis=0) for parts in zip(*moving, strict=True)]


def _source(operation, strides):
    """The feature that a convolution reads, and its strides.

    A dilation of 2 is none within the pixels of one parity of row and column, which are sets of batches of their own.
    """
    subsampling, strides, dilation_rate = operations.strides_of(operation, strides)
    if subsampling > 1:
        return "subsampled", strides
    return "parities" if dilation_rate > 1 else "all", strides


def _margins(x):
    """What makes height and width even."""
    return [[0, x.shape[1] % 2], [0, x.shape[2] % 2]]


def normalize(x, mean, variance, training, gamma=None, beta=None):
    """BatchNorm, by default without scale and offset, and the moving mean and variance thereafter."""
    return tf.compat.v1.nn.fused_batch_norm(
        x,
        tf.ones_like(mean) if gamma is None else gamma,
        tf.zeros_like(mean) if beta is None else beta,
        mean,
        variance,
        epsilon=operations.BN_EPSILON,
        is_training=training,
        exponential_avg_factor=1 - operations.BN_MOMENTUM if training else 1.0,
    )


def _convolutions(binary, choice, form, dtype):
    """For every convolution the feature that it reads, its strides, its kernel of ±1, its filters' weights."""
    names, strides, _ = form
    convolutions, _ = _kinds(names)
    if not convolutions:
        return []
    ones, scales = binary
    channels, filters = ones.shape[1:]
    weights = tf.transpose(tf.gather(choice, [index for index, _ in convolutions], axis=1))
    weights = tf.reshape(scales, [len(convolutions), choice.shape[0], -1]) * weights[:, :, tf.newaxis]
    weights = tf.unstack(tf.reshape(weights, [-1, filters]))
    parts = tf.split(tf.cast(ones, dtype), [operation.kernel_size**2 for _, operation in convolutions])
    return [
        (*_source(operation, strides), tf.reshape(part, [operation.kernel_size] * 2 + [channels, filters]), weight)
        for (_, operation), part, weight in zip(convolutions, parts, weights, strict=True)
    ]


def _pool_weights(choice, form):
    """The choice weights of the pools, of shape `(edges, pools)`."""
    return tf.gather(choice, [index for index, _ in _kinds(form[0])[1]], axis=1)


def combine(weights, tensors):
    """Stacked tensors -> their weighted sums, one for each row of weights."""
    sums = tf.matmul(tf.cast(weights, tensors.dtype), _flat(tensors))
    return tf.reshape(sums, tf.concat([tf.shape(weights)[:1], tf.shape(tensors)[1:]], axis=0))


def _flat(tensors):
    return tf.reshape(tensors, [tensors.shape[0], -1])
