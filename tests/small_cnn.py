"""A small float network, whose accuracy shows what a data set is worth."""

import tensorflow as tf

from larq_nas import datasets


def test_accuracy(data: datasets.Images, epochs=25, batch_size=64, filters=32, seed=0) -> float:
    """Trains three convolutions with Adam; returns the share of the test split that they classify right."""
    tf.keras.utils.set_random_seed(seed)
    layers = [tf.keras.layers.Input(data.image_shape)]
    for factor in (1, 2, 2):
        layers += [
            tf.keras.layers.Conv2D(filters * factor, 3, padding="same", activation="relu"),
            tf.keras.layers.MaxPool2D(2, padding="same"),
        ]
    layers += [tf.keras.layers.Flatten(), tf.keras.layers.Dense(len(data.class_names))]
    model = tf.keras.Sequential(layers)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    batches = datasets.training_batches(data, data.train, data.train_size, batch_size, epochs=epochs, seed=seed)
    model.fit(batches, epochs=epochs, steps_per_epoch=-(-data.train_size // batch_size), verbose=0)
    return model.evaluate(datasets.evaluation_batches(data, data.test, 256), verbose=0)[1]


# pytest must not take it for a test.
test_accuracy.__test__ = False
