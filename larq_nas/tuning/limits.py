"""Limits on the costs of the networks of a tuning."""

import dataclasses

from larq_nas import costs
from larq_nas.latency import Table
from larq_nas.space.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on the costs of a network. `None` is no limit.

    # Arguments
        binary_macs: The most binary multiply-accumulates.
        bytes: The most bytes of weights.
        ms: The most milliseconds that `table` predicts.
        table: A `latency.Table`.
    """

    binary_macs: float | None = None
    bytes: float | None = None
    ms: float | None = None
    table: Table | None = None

    def exceeded(self, genotype: Architecture, input_shape, num_classes: int) -> str:
        """Says which limit a genotype exceeds.

        # Arguments
            genotype: The genotype.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A text, which is empty if the genotype keeps all limits.
        """
        if self == Limits():
            return ""
        counted = costs.count(genotype, input_shape, num_classes)
        found = {"binary_macs": counted.binary_macs, "bytes": counted.bytes}
        if self.table is not None:
            found["ms"] = self.table.predict(genotype, input_shape, num_classes)
        for name, value in found.items():
            most = getattr(self, name)
            if most is not None and value > most:
                return f"{name} {value:,.4g} > {most:,.4g}"
        return ""
