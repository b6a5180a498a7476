"""Limits on the costs of the networks of a tuning."""

import dataclasses
from collections.abc import Sequence
from typing import Any

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

    # Raises
        ValueError: If `ms` is given without a table.
    """

    binary_macs: float | None = None
    bytes: float | None = None
    ms: float | None = None
    table: Table | None = None

    def __post_init__(self):
        if self.ms is not None and self.table is None:
            raise ValueError("ms: needs a table, which predicts milliseconds")

    def exceeded(self, network: Any, input_shape: Sequence[int], num_classes: int) -> str:
        """Says which limit a network exceeds.

        # Arguments
            network: A genotype. Without a limit on milliseconds, a Keras model is accepted, too.
            input_shape: Height, width and channels of the images.
            num_classes: Number of classes.

        # Returns
            A text, which is empty if the network keeps all limits.

        # Raises
            ValueError: If there is a limit on milliseconds, and the network is no genotype.
        """
        if self == Limits():
            return ""
        counted = costs.count(network, input_shape, num_classes)
        found: dict[str, float] = {"binary_macs": counted.binary_macs, "bytes": counted.bytes}
        if self.table is not None:
            if not isinstance(network, Architecture):
                raise ValueError("max_latency_ms: is for genotypes, and this is a network made by hand")
            found["ms"] = self.table.predict(network, input_shape, num_classes)
        for name, value in found.items():
            most = getattr(self, name)
            if most is not None and value > most:
                return f"{name} {value:,.4g} > {most:,.4g}"
        return ""
