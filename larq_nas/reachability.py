"""Whether anything of an image reaches the classifier of a network of cells.

A `none` operation puts out zeros, and a node sums its edges. So a node, a cell, or a whole network may put out the same
numbers for every image. This module does not import TensorFlow.
"""

from larq_nas.architecture import CHAINS, TEMPLATES, Architecture, Cell, sequence

# Templates whose cells have a shortcut around them: all cells, or all but the first.
ALL_SHORTCUTS, LATER_SHORTCUTS = ("bars",), ("bnas",)


def reaches_classifier(architecture: Architecture) -> bool:
    """Whether a path without `none` leads from the images to the classifier.

    # Arguments
        architecture: A genotype. In a space, an edge counts if one of its operations is not `none`.

    # Returns
        `True` or `False`.
    """
    if architecture.template in CHAINS:
        return True
    # What the first cell reads comes from the images.
    outputs = [True, True]
    for index, (_, name, _) in enumerate(sequence(architecture)):
        reached = _reaches_output(architecture.cell(name), outputs[-TEMPLATES[architecture.template] :])
        around = architecture.template in ALL_SHORTCUTS or architecture.template in LATER_SHORTCUTS and index > 0
        outputs.append(reached or around and outputs[-1])
    return outputs[-1]


def _reaches_output(cell: Cell, inputs) -> bool:
    """Whether the output of a cell depends on those of its inputs that depend on the images."""
    states = list(inputs)
    for node in cell.nodes:
        states.append(any(states[edge.source] and set(edge.operations) != {"none"} for edge in node.edges))
    return any(states[len(inputs) :])
