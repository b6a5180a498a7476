"""Searching and training with `tf.keras.Model.fit`. An interrupted run continues after its last finished epoch."""

from larq_nas.training.final import TrainedModel, WeightsError, train
from larq_nas.training.fitting import fit, resume_epoch
from larq_nas.training.searching import compile_supernet, search

__all__ = ["TrainedModel", "WeightsError", "compile_supernet", "fit", "resume_epoch", "search", "train"]
