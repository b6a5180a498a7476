"""The second classifier of BATS networks, which exists only in training."""

import tensorflow as tf

from larq_nas.networks.builder import Builder
from larq_nas.networks.stems import LARGE_IMAGE
from larq_nas.networks.templates import NetworkError
from larq_nas.space.architecture import Architecture
from larq_nas.space.stages import sequence

layers = tf.keras.layers

POOL = 5


def with_auxiliary_classifier(network: tf.keras.Model, architecture: Architecture, num_classes: int) -> tf.keras.Model:
    """Adds a second classifier to a BATS network after its last reduction, for training.

    # Arguments
        network: A network from `build` for a genotype of `bats`.
        architecture: The genotype.
        num_classes: Number of classes.

    # Returns
        A model with two outputs that shares the layers of the network.

    # Raises
        NetworkError: If the images are too small for the pool of the auxiliary classifier.

    # References
        - The library of the first author of [BATS](https://arxiv.org/abs/2003.01711). The library does not say which
          convolutions of the auxiliary classifier are binary. Here all are float.
    """
    index = max(i for i, (*_, reduction) in enumerate(sequence(architecture)) if reduction)
    x = network.get_layer(f"cell{index:02}_concat").output
    if min(x.shape[1:3]) < POOL + 1:
        raise NetworkError(
            f"auxiliary classifier: pools {POOL}x{POOL} pixels of features of {x.shape[1:3]}; give "
            "larger images, e.g. image_size=32, or set auxiliary_weight=0"
        )
    strides = 2 if network.input_shape[1] >= LARGE_IMAGE else 3
    x = layers.AveragePooling2D(POOL, strides, name="auxiliary_pool")(x)
    v = Builder()
    y = v.conv(v.norm(x, name="auxiliary_first_norm"), 128, 1, kind="real", name="auxiliary_first_conv")
    y = v.prelu(y, name="auxiliary_first_prelu")
    x = v.add([x, y], name="auxiliary_first_residual") if x.shape[-1] == 128 else y
    x = v.norm(x, name="auxiliary_second_norm")
    x = layers.Conv2D(768, min(2, *x.shape[1:3]), use_bias=False, name="auxiliary_second_conv")(x)
    x = layers.Flatten(name="auxiliary_flat")(v.prelu(x, name="auxiliary_second_prelu"))
    x = layers.Dense(num_classes, activation="softmax", dtype="float32", name="auxiliary_classifier")(x)
    return tf.keras.Model(network.input, [network.output, x])
