"""Random small Keras models for the tests of conversion."""

import larq as lq
import numpy as np
import tensorflow as tf

layers = tf.keras.layers


def random_model(seed):
    """A trained-looking model of up to six binary convolutions with what may stand around them."""
    generator = np.random.default_rng(seed)
    tf.keras.utils.set_random_seed(seed)

    def one(*values):
        return values[generator.integers(len(values))]

    images = x = layers.Input((int(generator.integers(1, 10)), int(generator.integers(1, 10)), one(3, 8, 32, 33)))
    for _ in range(generator.integers(1, 5)):
        before = x
        x = _around(_convolution(_around(x, one), one), one)
        if before.shape[1:] == x.shape[1:] and one(True, False):
            x = layers.Add()([x, before])
        elif before.shape[1:3] == x.shape[1:3] and one(True, False):
            x = layers.Concatenate()([x, before])
    x = one(layers.GlobalAveragePooling2D(), layers.Flatten())(x)
    x = layers.Dense(5, activation=one(None, "softmax"))(x)
    return _trained(tf.keras.Model(images, x), generator)


def _convolution(x, one):
    height, width, channels = x.shape[1:]
    kernel = one(1, 3, 3, 5)
    kernel = min(kernel, height, width) if one(True, False) else kernel
    dilation = one(1, 1, 1, 2)
    options = {"strides": one(1, 1, 2, (1, 2)) if dilation == 1 else 1, "dilation_rate": dilation}
    fits = min(height, width) >= (kernel - 1) * dilation + 1
    options["padding"] = one("same", "same", "valid") if fits else "same"
    groups = one(*(n for n in (1, 1, 2, 4) if channels % n == 0))
    if one(True, True, True, False):
        options |= {"input_quantizer": "ste_sign", "kernel_quantizer": one("ste_sign", "magnitude_aware_sign")}
        options |= {"pad_values": one(0.0, 1.0), "kernel_constraint": "weight_clip"}
        layer = lq.layers.QuantConv2D
    else:
        layer, groups = layers.Conv2D, 1
    activation, use_bias = (
        one(None, None, "relu", "hard_tanh" if layer is not layers.Conv2D else "relu"),
        one(True, False),
    )
    filters = one(8, 32, 36)
    return layer(filters, kernel, groups=groups, activation=activation, use_bias=use_bias, **options)(x)


def _around(x, one):
    for _ in range(one(0, 1, 2)):
        kind = one("norm", "norm", "relu", "prelu", "max", "average", "pixels", "pad")
        if kind == "norm":
            x = layers.BatchNormalization(scale=one(True, False), center=one(True, False))(x)
        elif kind == "relu":
            x = layers.ReLU()(x)
        elif kind == "prelu":
            x = layers.PReLU("uniform", shared_axes=[1, 2])(x)
        elif kind == "max":
            x = layers.MaxPooling2D(one(2, 3), one(1, 2), padding="same")(x)
        elif kind == "average":
            x = layers.AveragePooling2D(2, one(1, 2), padding="same")(x)
        elif kind == "pixels":
            x = layers.MaxPooling2D(1, 2)(x)
        else:
            x = layers.ZeroPadding2D(((1, 0), (1, 0)))(x)
    return x


def _trained(model, generator):
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0.3, 0.3, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            if layer.scale:
                layer.gamma.assign(generator.normal(0.5, 1, shape))
            if layer.center:
                layer.beta.assign(generator.normal(0, 0.3, shape))
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(generator.normal(0, 0.3, layer.bias.shape))
    return model
