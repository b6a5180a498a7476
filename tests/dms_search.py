"""A short search by DMS, and its supernet."""

import argparse

import numpy as np
import tensorflow as tf

from larq_nas.methods import dms
from larq_nas.training import optimizers

SETTINGS = argparse.Namespace(
    **{"seed": 3, "batch_size": 16, "epochs": 3, "learning_rate": 0.05, "final_learning_rate": 0.01},
    **{"momentum": 0.9, "weight_decay": 1e-4, "architecture_learning_rate": 0.05, "optimizer": "sgd"},
    **{"architecture_weight_decay": 0.0, "clip_norm": 0.0, "augmentation": "crop"},
    **{"samples": 0, "finalist_epochs": 1, "reference_batch_size": None},
)
DISTRIBUTIONS = dms.Distributions(
    rounds=3, ratio=0.4, scale=0.3, final_scale=0.2, memory_target=0.0, memory_weight=100.0
)


def width_supernet(room, mean=(0.6,) * 8, scale=0.5):
    tf.keras.utils.set_random_seed(0)
    strategy = dms.Strategy(dms.Distributions(ratio=mean[0]), dms.space("vgg11"), (32, 32, 3), 3)
    filters = strategy.begin(np.array(mean, np.float32), scale)
    model = dms.WidthSupernet(strategy, filters.max(axis=1) if room is None else room)
    model.logits["mean"].assign(mean)
    model.compile(
        optimizers.SGD(0.05),
        architecture_optimizer=optimizers.Adam(0.01),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model, filters


class Fixed:
    """A source of random numbers that are always the same."""

    @staticmethod
    def uniform(shape, minval):
        return tf.random.stateless_uniform(shape, [3, 4], minval=minval)
