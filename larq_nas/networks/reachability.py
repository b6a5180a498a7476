"""Whether anything of an image reaches the classifier of a network of cells.

A `none` operation puts out zeros, and a node sums its edges. So a node, a cell, or a whole network may put out the same
numbers for every image. This module does not import TensorFlow.
"""

import dataclasses

from larq_nas.networks import templates
from larq_nas.networks.counting import Counter, Features
from larq_nas.space.architecture import Architecture


def reaches_classifier(architecture: Architecture) -> bool:
    """Whether a path without `none` leads from the images to the classifier.

    # Arguments
        architecture: A genotype. In a space, an edge counts if one of its operations is not `none`, and a stage has the
            most cells that it may have.

    # Returns
        `True` or `False`.

    # Raises
        NetworkError: If there is no such network.
    """
    decided = [dataclasses.replace(s, widths=s.widths[:1], depths=(max(s.depths),)) for s in architecture.stages]
    # Paths are the same for images of every size in larq_nas's templates.
    images = Features(32, 32, 3)
    return not templates.features(Counter(), dataclasses.replace(architecture, stages=tuple(decided)), images).constant
