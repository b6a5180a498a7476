"""Checks whether the output of a network of cells depends on the images.

The operation `"none"` returns zeros, and a node is the sum of its edges. If all edges of a node are `"none"`, the
output of the node is the same for every image. This may also hold for a cell or a whole network. This module does not
import TensorFlow.
"""

import dataclasses

from larq_nas.networks import templates
from larq_nas.networks.counting import Counter, Features
from larq_nas.space.architecture import Architecture


def reaches_classifier(architecture: Architecture) -> bool:
    """Returns whether a path without `"none"` leads from the images to the classifier.

    # Arguments
        architecture: A genotype or a space. In a space, a path may use an edge if one of the edge's operations is not
            `"none"`, and all stages have their largest depth.

    # Returns
        `True` or `False`.

    # Raises
        NetworkError: If the network cannot be built.
    """
    decided = [dataclasses.replace(s, widths=s.widths[:1], depths=(max(s.depths),)) for s in architecture.stages]
    # In the templates of larq_nas, the paths do not depend on the size of the images.
    images = Features(32, 32, 3)
    return not templates.features(Counter(), dataclasses.replace(architecture, stages=tuple(decided)), images).constant
