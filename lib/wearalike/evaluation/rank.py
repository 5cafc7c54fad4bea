"""Exact rankings of labelled photos by feature rows, and their retrieval metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.metrics import retrieval
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.tables import CODE_BITS

FLOAT_DISTANCES = ("cosine", "euclidean", "manhattan", "hellinger")
_HAMMING_PATTERN = re.compile(r"hamming(?: (\d{1,4}):(\d{1,4}))?")
# A code of the search: bits of shape, then as many of colour.
_CODE_BYTES = 2 * CODE_BITS // 8
# Queries whose distances to the gallery are computed at once.
_BLOCK_ROWS = 256
# Decimals of a distance. Sums of equal rows may differ in the last digits; rounded, they tie.
_DISTANCE_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class QueryGallerySplit:
    """Photos that are queries, and photos that are searched.

    Attributes:
        labelled: The labelled set.
        split: Name of the split of the queries.
        queries: int64 (q,). Rows of the set, ascending.
        gallery: int64 (g,). Rows of the set, ascending. A query that is in the gallery too is never
            among its own results.
    """

    labelled: LabelledDataset
    split: str
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]


def split_query_gallery(labelled: LabelledDataset, split: str) -> QueryGallerySplit:
    """Split a labelled set into queries and gallery.

    The photos of the split are queries, those of the other splits are the gallery. If there are no
    others, or the split is "all", each photo is a query for all the rest.

    Args:
        labelled: The labelled set.
        split: Name of a split, or "all".

    Returns:
        Queries and gallery.

    Raises:
        ValueError: There is no query, or fewer than two photos to search.
    """
    is_query = np.array([split in ("all", photo.split) for photo in labelled.photos])
    queries = np.flatnonzero(is_query)
    others = np.flatnonzero(~is_query)
    gallery = others if len(others) else queries
    if not len(queries) or len(gallery) < 2:
        raise ValueError(
            f"{labelled.name}: {len(queries)} photos of split {split}, {len(gallery)} to find: "
            "wanted 1 and 2 at least"
        )
    return QueryGallerySplit(labelled, split, queries, gallery)


def is_suitable_distance(distance: str, rows: FeatureRows) -> bool:
    """Tell if a distance applies to feature rows.

    Args:
        distance: Name of the distance; see `rank_gallery`.
        rows: uint8 (n, b) packed bits, or float32 (n, d).

    Returns:
        True if it applies. Weights of shape and colour apply to codes that have both.

    Raises:
        ValueError: The distance is unknown.
    """
    match = _HAMMING_PATTERN.fullmatch(distance)
    has_weights = match is not None and match[1] is not None
    has_zero_weights = match is not None and has_weights and int(match[1]) == int(match[2]) == 0
    if has_zero_weights or (match is None and distance not in FLOAT_DISTANCES):
        raise ValueError(
            f"distance {distance!r}: known are {', '.join(FLOAT_DISTANCES)}, hamming, "
            "and hamming with weights such as 8:2"
        )
    if rows.dtype == np.uint8:
        return match is not None and (not has_weights or rows.shape[1] == _CODE_BYTES)
    if match is not None:
        return False
    return distance != "hellinger" or bool((rows >= 0).all())


def rank_gallery(
    rows: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    """Rank the gallery for every query, exactly; ties keep the set's order.

    Args:
        rows: Row i describes photo i: uint8 (n, b) packed bits, or float32 (n, d).
        query_gallery: Queries and gallery.
        distance: "hamming" counts differing bits. "hamming 8:2" weights the shape and colour bits
            of 256-bit codes. "cosine", "euclidean" and "manhattan" are for floats, "hellinger" for
            rows of shares, which are scaled to sum to 1.
        k: Number of results a query.

    Returns:
        int64 (q, k). Rows of the set, nearest first; -1 beyond the end.

    Raises:
        ValueError: The distance is unknown or does not apply to such rows.
    """
    if not is_suitable_distance(distance, rows):
        raise ValueError(f"distance {distance!r} is not for {rows.dtype} rows of {rows.shape[1]}")
    rank = _rank_by_hamming if rows.dtype == np.uint8 else _rank_by_floats
    # One more than k, because a query may find itself: it goes last, and the last is cut off.
    ranking = rank(rows, query_gallery, distance, k + 1)
    is_query_itself = ranking == query_gallery.queries[:, None]
    ranking[is_query_itself] = -1
    order = np.argsort(is_query_itself, axis=1, kind="stable")
    return np.take_along_axis(ranking, order, axis=1)[:, :k]


def compute_retrieval_metrics(
    query_gallery: QueryGallerySplit, ranking: NDArray[np.int64], k: int
) -> dict[str, NDArray[np.float64]]:
    """Compute every measure of every label.

    Args:
        query_gallery: Queries and gallery.
        ranking: int64 (q, at least k), as `rank_gallery` returns it.
        k: Cut-off rank.

    Returns:
        float64 (q,) by the name of the measure. NaN where the query's label is unknown and, for
        mAP, where nothing in the gallery shares it.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for label in query_gallery.labelled.label_names:
        classes = query_gallery.labelled.class_ids(label)
        query_classes = classes[query_gallery.queries]
        is_known = query_classes >= 0
        is_same_class = classes[ranking] == query_classes[:, None]
        relevant = is_same_class & (ranking >= 0) & is_known[:, None]
        # Class -1, unknown, is counted at 0.
        class_counts = np.bincount(classes[query_gallery.gallery] + 1, minlength=classes.max() + 2)
        is_in_gallery = np.isin(query_gallery.queries, query_gallery.gallery)
        relevant_count = class_counts[query_classes + 1] - is_in_gallery
        of_label = {
            label: retrieval.precision(relevant, k),
            f"mAP {label}": retrieval.average_precision(relevant, relevant_count, k),
            f"relevance {label}": retrieval.relevance(relevant, k),
        }
        values |= {name: np.where(is_known, each, np.nan) for name, each in of_label.items()}
    return values


def _rank_by_hamming(
    codes: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    """Rank packed bits by the search's own kernel."""
    match = _HAMMING_PATTERN.fullmatch(distance)
    assert match is not None
    shape_weight, colour_weight = (int(weight or 1) for weight in match.groups())
    words = np.pad(codes, ((0, 0), (0, -codes.shape[1] % _CODE_BYTES))).view(np.uint64)
    queries = QueryBatch.uniform(words[query_gallery.queries], shape_weight, colour_weight)
    tiles = bitplane.transpose_codes(words[query_gallery.gallery])
    lists = bitplane.nearest_per_query(queries, tiles, k)
    ranking = np.full((len(lists), k), -1, np.int64)
    for query, positions in enumerate(lists):
        ranking[query, : len(positions)] = query_gallery.gallery[positions]
    return ranking


def _rank_by_floats(
    rows: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    """Rank float rows, a block of queries at a time."""
    normalized = _normalize_rows(rows, distance)
    gallery = normalized[query_gallery.gallery]
    queries = query_gallery.queries
    compute = _manhattan if distance == "manhattan" else _squared_euclidean
    orders = []
    for start in range(0, len(queries), _BLOCK_ROWS):
        distances = compute(normalized[queries[start : start + _BLOCK_ROWS]], gallery)
        rounded = np.round(distances, _DISTANCE_DECIMALS)
        orders.append(np.argsort(rounded, axis=1, kind="stable")[:, :k])
    ranking = query_gallery.gallery[np.concatenate(orders)]
    return np.pad(ranking, ((0, 0), (0, k - ranking.shape[1])), constant_values=-1)


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
