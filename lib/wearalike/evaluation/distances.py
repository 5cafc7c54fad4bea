"""Distances between feature rows, by name, in blocks of queries.

| name | between |
|---|---|
| hamming | differing bits of packed bits |
| hamming 8:2 | differing bits of codes, weighted: shape to colour |
| asymmetric 8:2 | float rows of the queries and bits of the gallery, cosines weighted so |
| float 8:2 | float rows on both sides, cosines weighted so |
| cosine, euclidean, manhattan, hellinger | float rows without parts |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.tables import CODE_BITS

FLOAT_DISTANCES = ("cosine", "euclidean", "manhattan", "hellinger")
HAMMING, ASYMMETRIC, FLOAT = "hamming", "asymmetric", "float"
_WEIGHTED_PATTERN = re.compile(r"(hamming|asymmetric|float) (\d{1,4}):(\d{1,4})")
# A code of the search: bits of shape, then as many of colour.
CODE_BYTES = 2 * CODE_BITS // 8
# Queries whose distances to the gallery are computed at once.
BLOCK_ROWS = 256
# Decimals of a distance. Sums of equal rows may differ in the last digits; rounded, they tie.
_DISTANCE_DECIMALS = 9
# The same of cosines in single precision.
_COSINE_DECIMALS = 5


class WeightedDistance(NamedTuple):
    """A distance with weights.

    Attributes:
        kind: HAMMING, ASYMMETRIC or FLOAT.
        shape_weight: Weight of shape.
        colour_weight: Weight of colour.
    """

    kind: str
    shape_weight: int
    colour_weight: int

    @property
    def weights(self) -> str:
        """The weights as text: "8:2"."""
        return f"{self.shape_weight}:{self.colour_weight}"


@dataclass(frozen=True, slots=True)
class _SidePair:
    """One part of two sides: distances are weight * (offset - queries @ gallery.T)."""

    queries: NDArray[np.float32]
    gallery: NDArray[np.float32]
    offset: float
    weight: float


def parse_weights(distance: str) -> WeightedDistance | None:
    """Parse a distance with weights, such as "hamming 8:2".

    Args:
        distance: Name of a distance.

    Returns:
        Its parts; None for a distance without weights, or with two weights of 0.
    """
    match = _WEIGHTED_PATTERN.fullmatch(distance)
    if match is None or int(match[2]) == int(match[3]) == 0:
        return None
    return WeightedDistance(match[1], int(match[2]), int(match[3]))


def is_suitable_distance(
    distance: str, rows: FeatureRows, floats: FloatCodes | None = None
) -> bool:
    """Tell if a distance applies to feature rows.

    Args:
        distance: Name of the distance.
        rows: uint8 (n, b) packed bits, or float32 (n, d).
        floats: Float rows of shape and colour, where the descriptor has them.

    Returns:
        True if it applies. Weights of shape and colour apply to rows that have both.

    Raises:
        ValueError: The distance is unknown.
    """
    weighted = parse_weights(distance)
    if weighted is None and distance not in (*FLOAT_DISTANCES, HAMMING):
        raise ValueError(
            f"distance {distance!r}: known are {', '.join(FLOAT_DISTANCES)}, hamming, "
            "and hamming, asymmetric or float with weights such as 8:2"
        )
    are_codes = rows.dtype == np.uint8 and rows.shape[1] == CODE_BYTES
    if weighted is not None:
        needs_codes = weighted.kind in (HAMMING, ASYMMETRIC)
        needs_floats = weighted.kind in (FLOAT, ASYMMETRIC)
        return (are_codes or not needs_codes) and (floats is not None or not needs_floats)
    if distance == HAMMING:
        return rows.dtype == np.uint8
    if rows.dtype == np.uint8:
        return False
    return distance != "hellinger" or bool((rows >= 0).all())


def check_distance(distance: str, rows: FeatureRows, floats: FloatCodes | None = None) -> None:
    """Raise ValueError for a distance that is unknown or does not apply to such rows.

    Args:
        distance: Name of the distance.
        rows: uint8 (n, b) packed bits, or float32 (n, d).
        floats: Float rows of shape and colour, where the descriptor has them.
    """
    if not is_suitable_distance(distance, rows, floats):
        raise ValueError(f"distance {distance!r} is not for {rows.dtype} rows of {rows.shape[1]}")


def iterate_distances(
    rows: FeatureRows,
    floats: FloatCodes | None,
    distance: str,
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
    """Yield the distances of blocks of queries to the gallery, rounded so that ties are ties.

    Args:
        rows: Row i describes photo i: uint8 (n, b) packed bits, or float32 (n, d).
        floats: Float rows of shape and colour, for the distances that need them.
        distance: Name of the distance; it must suit the rows.
        queries: int64 (q,). Rows that ask.
        gallery: int64 (g,). Rows that are searched.

    Yields:
        Positions in `queries`, int64 (b,), and their distances, (b, g); smaller is more alike.

    Raises:
        ValueError: The distance is unknown or does not apply to such rows.
    """
    check_distance(distance, rows, floats)
    positions = [
        np.arange(start, min(start + BLOCK_ROWS, len(queries)))
        for start in range(0, len(queries), BLOCK_ROWS)
    ]
    if distance in FLOAT_DISTANCES:
        normalized = _normalize_rows(rows, distance)
        compute = _manhattan if distance == "manhattan" else _squared_euclidean
        for at in positions:
            found = compute(normalized[queries[at]], normalized[gallery])
            yield at, np.round(found, _DISTANCE_DECIMALS)
        return
    sides = _weighted_sides(rows, floats, distance, queries, gallery)
    is_exact = distance.startswith(HAMMING)
    for at in positions:
        total = sum(
            side.weight * (side.offset - side.queries[at] @ side.gallery.T) for side in sides
        )
        block = np.asarray(total, np.float32)
        yield at, block if is_exact else np.round(block, _COSINE_DECIMALS)


def _weighted_sides(
    rows: FeatureRows,
    floats: FloatCodes | None,
    distance: str,
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
) -> list[_SidePair]:
    """Return the parts of a distance with weights, or of plain Hamming distance."""
    if distance == HAMMING:
        signs = _signs(rows)
        return [_SidePair(signs[queries], signs[gallery], signs.shape[1], 0.5)]
    weighted = parse_weights(distance)
    assert weighted is not None
    weights = (weighted.shape_weight, weighted.colour_weight)
    bits: list[NDArray[np.float32]] = []
    if weighted.kind != FLOAT:
        both = _signs(rows)
        bits = [both[:, :CODE_BITS], both[:, CODE_BITS:]]
    sides = []
    for part, weight in enumerate(weights):
        if not weight:
            continue
        if weighted.kind == HAMMING:
            # Sums of small whole numbers are exact in float32.
            side = _SidePair(bits[part][queries], bits[part][gallery], CODE_BITS, weight / 2)
        else:
            assert floats is not None
            answers = floats[part] if weighted.kind == FLOAT else bits[part]
            side = _SidePair(
                _unit_rows(floats[part][queries]),
                _unit_rows(answers[gallery]),
                1.0,
                weight / sum(weights),
            )
        sides.append(side)
    return sides


def _signs(codes: FeatureRows) -> NDArray[np.float32]:
    """Return packed bits as -1 and 1, float32 (n, 8 b)."""
    bits = np.unpackbits(codes.astype(np.uint8, copy=False), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _normalize_rows(rows: FeatureRows, distance: str) -> NDArray[np.float64]:
    """Scale rows so that Euclidean or Manhattan distances rank as the wanted distance does.

    Rows of cosine and hellinger get length 1, others a length of at most 1; zeros stay zeros.
    """
    wide = rows.astype(np.float64)
    if distance == "hellinger":
        wide = np.sqrt(wide)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if distance in ("cosine", "hellinger"):
        return wide / np.where(lengths > 0, lengths, 1)
    return wide / max(float(lengths.max()), 1e-300)


def _squared_euclidean(
    queries: NDArray[np.float64], gallery: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return squared distances, (q, d) and (g, d) -> (q, g)."""
    return (queries**2).sum(axis=1)[:, None] - 2 * queries @ gallery.T + (gallery**2).sum(axis=1)


def _manhattan(queries: NDArray[np.float64], gallery: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances, (q, d) and (g, d) -> (q, g)."""
    import torch

    return torch.cdist(torch.from_numpy(queries), torch.from_numpy(gallery), p=1).numpy()
