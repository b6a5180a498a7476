"""A short search by DMS."""

import argparse

from larq_nas.methods import dms

SETTINGS = argparse.Namespace(
    **{"seed": 3, "batch_size": 16, "epochs": 3, "learning_rate": 0.05, "final_learning_rate": 0.01},
    **{"momentum": 0.9, "weight_decay": 1e-4, "architecture_learning_rate": 0.05, "optimizer": "sgd"},
    **{"architecture_weight_decay": 0.0, "clip_norm": 0.0, "augmentation": "crop"},
)
STRATEGY = dms.Strategy(rounds=3, ratio=0.4, scale=0.3, final_scale=0.2, memory_target=0.0, memory_weight=100.0)
