"""The choices of a space: their names, and the shapes of their weights. This module does not import TensorFlow."""

from larq_nas.space.architecture import Architecture
from larq_nas.space.checks import ArchitectureError


def width_name(number: int) -> str:
    """Returns the name of the choice of a stage's width."""
    return f"stage{number}_width"


def depth_name(number: int) -> str:
    """Returns the name of the choice of a stage's depth."""
    return f"stage{number}_depth"


def choice_shapes(architecture: Architecture) -> dict:
    """Returns the shapes of the choice weights of an architecture's network, by name; see `networks.build`.

    # Arguments
        architecture: A genotype or a space.

    # Returns
        A dictionary, which is empty for a genotype.

    # Raises
        ArchitectureError: If the edges of a searched cell list different operations.
    """
    found: dict[str, tuple[int, ...]] = {}
    # Decided cells are skipped, because their edges may list different operations.
    for cell in architecture.cells:
        if all(node.keep == len(node.edges) for node in cell.nodes) and all(len(e.operations) == 1 for e in cell.edges):
            continue
        lists = {edge.operations for edge in cell.edges}
        if len(lists) != 1:
            raise ArchitectureError(
                f"cells.{cell.name}: all edges of a searched cell must list the same operations; "
                f"found {len(lists)} different lists"
            )
        found[cell.name] = (len(cell.edges), len(lists.pop()))
    for name, candidates in _of_stages(architecture).items():
        if len(candidates) > 1:
            found[name] = (len(candidates),)
    return found


def _of_stages(architecture):
    """The widths and the depths of each stage, by the name of their choice."""
    found = {}
    for index, stage in enumerate(architecture.stages):
        found |= {width_name(index): stage.widths, depth_name(index): stage.depths}
    return found


def candidates_of(architecture: Architecture, name: str) -> tuple:
    """Lists the candidates of a choice: the names of operations, or the widths or depths of a stage.

    # Arguments
        architecture: The space.
        name: The name of the choice, one of those of `choice_shapes`.

    # Returns
        A tuple of names, or of numbers.
    """
    sizes = _of_stages(architecture)
    return sizes[name] if name in sizes else architecture.cell(name).edges[0].operations
