"""The queries of one search: codes, weights, kinds and distance limits side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.tables import CODE_BITS

MAX_WEIGHT = 255  # the bit-plane kernel multiplies by weights of 8 bits


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Queries of one search, row i of every array the same query.

    Attributes:
        codes: uint64 (q, 4). Two words of shape, two of colour.
        shape_weight: int32 (q,), 0..255.
        colour_weight: int32 (q,), 0..255.
        limits: int64 (q,). Largest weighted distance that may be returned; -1 for none at all.
        kind_offsets: int32 (q, kinds), at least 0. Added to the distance of a code, by its kind;
            every kind of the codes has a column.

    Raises:
        ValueError: A weight is outside 0..255, or an offset below 0.

    Example:
        >>> batch = QueryBatch.uniform(np.zeros((3, 4), np.uint64), 2, 8)
        >>> batch.limits.tolist()
        [1280, 1280, 1280]
    """

    codes: NDArray[np.uint64]
    shape_weight: NDArray[np.int32]
    colour_weight: NDArray[np.int32]
    limits: NDArray[np.int64]
    kind_offsets: NDArray[np.int32]

    def __post_init__(self) -> None:
        if not len(self.codes):
            return
        shape = int(self.shape_weight.min()), int(self.shape_weight.max())
        colour = int(self.colour_weight.min()), int(self.colour_weight.max())
        if min(shape + colour) < 0 or max(shape + colour) > MAX_WEIGHT:
            raise ValueError(
                f"weights of {shape[0]}..{shape[1]} and {colour[0]}..{colour[1]}: "
                f"wanted 0..{MAX_WEIGHT}"
            )
        if self.kind_offsets.min(initial=0) < 0:
            raise ValueError(f"kind offset {self.kind_offsets.min()}: wanted at least 0")

    @classmethod
    def uniform(
        cls, codes: NDArray[np.uint64], shape_weight: int, colour_weight: int
    ) -> QueryBatch:
        """Return a batch whose queries share their weights, heed no kind and have no limit.

        Args:
            codes: uint64 (q, 4).
            shape_weight: 0..255.
            colour_weight: 0..255.
        """
        count = len(codes)
        return cls(
            codes,
            np.full(count, shape_weight, np.int32),
            np.full(count, colour_weight, np.int32),
            np.full(count, CODE_BITS * (shape_weight + colour_weight), np.int64),
            np.zeros((count, 1), np.int32),
        )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> QueryBatch:
        return QueryBatch(
            self.codes[rows],
            self.shape_weight[rows],
            self.colour_weight[rows],
            self.limits[rows],
            self.kind_offsets[rows],
        )

    def split(self, size: int) -> Iterator[QueryBatch]:
        """Yield the queries in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def largest_distances(self) -> NDArray[np.int64]:
        """Return the largest weighted distance each query can have, int64 (q,)."""
        of_codes = CODE_BITS * (self.shape_weight.astype(np.int64) + self.colour_weight)
        return of_codes + self.kind_offsets.max(axis=1, initial=0)
