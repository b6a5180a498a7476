"""The accepted names of optimizers, schedules, augmentations, oracles, precisions and kinds of distribution.

The configurations list them as choices, and the modules that implement them need TensorFlow. This module does not
import TensorFlow.
"""

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("one_cycle", "restarts", "cosine", "steps")
AUGMENTATIONS = ("none", "crop", "crop_flip", "crop_flip_cutout", "imagenet")
ORACLES = ("random", "bayesian", "evolution", "hyperband", "grid")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("none", "mirrored")
