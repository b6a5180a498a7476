"""The search space of BNAS."""

from larq_nas.methods.bnas.network import OPERATIONS
from larq_nas.space.architecture import Architecture, Cell, Edge, Node
from larq_nas.space.stages import thirds

NODES, KEPT_EDGES, INPUTS = 4, 2, 2


def space(layers: int = 8, filters: int = 16, zeroise: bool = True, skip: bool = True) -> Architecture:
    """The search space: a normal and a reduction cell with 7 operations on each of 14 edges.

    A genotype keeps 2 edges of each node, with one operation on each.

    # Arguments
        layers: Number of cells, at least 3.
        filters: Channels of a node in the first stage. They double at each of the two reductions.
        zeroise: Whether "none" is one of the operations.
        skip: Whether the networks have shortcuts between cells.

    # Returns
        The space. Its `size` is the number of its genotypes.

    # References
        - [BNAS](https://arxiv.org/abs/2002.06963), section 4.1 (search space), 4.2 (cell template). The authors report
          89.47 % on CIFAR-10 without "none" and 61.23 % without shortcuts, in place of 92.70 %.
    """
    operations = OPERATIONS if zeroise else tuple(name for name in OPERATIONS if name != "none")
    nodes = tuple(
        Node(tuple(Edge(source, operations) for source in range(index + INPUTS)), KEPT_EDGES) for index in range(NODES)
    )
    cells, options = (Cell("normal", nodes), Cell("reduce", nodes)), {} if skip else {"skip": False}
    return scale(Architecture("bnas", cells, thirds(3, 1), options), filters, layers)


def scale(architecture: Architecture, filters: int | None = None, layers: int | None = None) -> Architecture:
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
    return Architecture(architecture.template, architecture.cells, thirds(layers, filters), architecture.options)
