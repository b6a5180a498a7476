"""The search space of BNAS."""

from larq_nas.methods.bnas.network import OPERATIONS
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.space.stages import thirds

NODES, KEPT_EDGES, INPUTS = 4, 2, 2


def space(layers=8, filters=16) -> Architecture:
    """The search space: a normal and a reduction cell with 7 operations on each of 14 edges.

    A genotype keeps 2 edges of each node, with one operation on each.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage. They double at each of the two reductions.

    # Returns
        The space. Its `size` is the number of its genotypes.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.1 (search space), 4.2 (cell template)
    """
    nodes = tuple(
        Node(tuple(Edge(source, OPERATIONS) for source in range(index + INPUTS)), KEPT_EDGES) for index in range(NODES)
    )
    return scale(Architecture("bnas", (Cell("normal", nodes), Cell("reduce", nodes)), thirds(3, 1)), filters, layers)


def scale(architecture: Architecture, filters=None, layers=None) -> Architecture:
    """Changes the size of a network and keeps its cells.

    # Arguments
        architecture: A space or a genotype of `bnas`.
        filters: Channels of a node in the first stage. By default, they do not change.
        layers: Number of cells, at least 3. By default, it does not change. The cells with the indices `layers // 3`
            and `2 * layers // 3` are the reductions.

    # Returns
        An architecture of the given size.

    # Raises
        ValueError: If the architecture is not one of `bnas`.
    """
    if filters is None and layers is None:
        return architecture
    if architecture.template != "bnas":
        raise ValueError(f"only networks of bnas can be scaled, not one of {architecture.template}")
    if layers is None:
        layers = sum(stage.depths[0] + (stage.reduction is not None) for stage in architecture.stages)
    filters = filters or architecture.stages[0].widths[0]
    return Architecture(architecture.template, architecture.cells, thirds(layers, filters))
