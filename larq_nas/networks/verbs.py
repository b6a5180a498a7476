"""The layer verbs, which the code of networks calls.

`builder.Builder` makes Keras layers, and documents the verbs. `counting.Counter` counts what the layers cost. This
module does not import TensorFlow.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

# What the layers read and return: Keras tensors for `builder.Builder`, `counting.Features` for `counting.Counter`.
Features = Any


class Verbs(Protocol):
    """The verbs that each interpreter has; see `builder.Builder`."""

    def stage(self, number: int) -> None: ...

    def choice(self, cell: str, edge: int, candidate: int) -> AbstractContextManager[None]: ...

    def block(
        self,
        kind: str,
        x: Features,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        dilation_rate: int = 1,
        groups: int = 1,
        *,
        name: str = "",
    ) -> AbstractContextManager[None]: ...

    def norm(self, x: Features, affine: bool = True, *, name: str) -> Features: ...

    def conv(
        self,
        x: Features,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int = 1,
        dilation_rate: int = 1,
        *,
        kind: str,
        name: str,
        **options: Any,
    ) -> Features: ...

    def prelu(self, x: Features, *, name: str) -> Features: ...

    def classifier(self, x: Features, num_classes: int) -> Features: ...

    def pool(self, kind: str, x: Features, kernel_size: int, strides: int = 1, *, name: str | None) -> Features: ...

    def zeros(self, x: Features, strides: int = 1, *, name: str) -> Features: ...

    def every_second(self, x: Features, first: int, *, name: str) -> Features: ...

    def start_at(self, x: Features, first: int, *, name: str) -> Features: ...

    def match_channels(self, x: Features, filters: int, *, name: str) -> Features: ...

    def add(self, terms: Sequence[Features], *, name: str) -> Features: ...

    def concat(self, terms: Sequence[Features], *, name: str) -> Features: ...

    def either(self, alternatives: Sequence[Features]) -> Features: ...

    def relu(self, x: Features, *, name: str) -> Features: ...

    def shuffle(self, x: Features, groups: int, *, name: str) -> Features: ...

    def drop_path(self, x: Features, *, name: str) -> Features: ...


class SupernetVerbs(Verbs, Protocol):
    """The verbs of a network that may be a supernet; see `builder.Builder`.

    The further verbs are called only where choice weights are given. `counting.Counter`, which counts networks without
    choice weights, does not have them.
    """

    def shared_edges(
        self,
        state: Features,
        choice: Any,
        candidates: Sequence[str],
        count: int,
        filters: int,
        strides: int,
        *,
        name: str,
        **options: Any,
    ) -> list[Features]: ...

    def mask(self, x: Features, candidates: Sequence[int], choice: Any, *, name: str | None = None) -> Features: ...

    def cell_widths(self, depths: Sequence[int], own: Any, following: Any, depth: Any) -> list: ...

    def aggregate(self, tensors: Sequence[Features], weights: Any, *, name: str) -> Features: ...
