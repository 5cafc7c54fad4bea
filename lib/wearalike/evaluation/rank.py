"""How well descriptors find what is alike: exact rankings over labelled photos, and their measures.

A row of results has the keys of `KEYS`. `measure` names measure and labels: precision is named by its labels alone ("type",
"type+gender", "colour", "both": article type and colour), the others with their own name before ("mAP type", "relevance both").
Beside them stand "images a second" and "bytes an image", with k None, whose `queries` are the photos described.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.metrics import retrieval
from wearalike.metrics.bootstrap import BootstrapEstimate
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch

RESULT_KEYS = (
    "dataset",
    "split",
    "encoder",
    "distance",
    "measure",
    "k",
    "value",
    "low",
    "high",
    "queries",
)
SPEED_MEASURE, SIZE_MEASURE = "images a second", "bytes an image"
FLOAT_DISTANCES = ("cosine", "euclidean", "manhattan", "hellinger")
_HAMMING_PATTERN = re.compile(r"hamming(?: (\d{1,4}):(\d{1,4}))?")
_CODE_BYTES = 32
_BLOCK_ROWS = 256
ResultRow = dict[str, object]
FeatureRows = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class QueryGallerySplit:
    """Who asks and who answers. queries, gallery: rows of the set, int64 (q,) and (g,), in order; a query that stands in the
    gallery too is never among its own results."""

    labelled: LabelledDataset
    split: str
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]


def split_query_gallery(labelled: LabelledDataset, split: str) -> QueryGallerySplit:
    """The photos of a split ask and those of the others answer; where there are no others, or split is "all", each photo asks
    all the rest. Raises ValueError where nobody asks or answers."""
    asks = np.array([split in ("all", photo.split) for photo in labelled.photos])
    queries, others = np.flatnonzero(asks), np.flatnonzero(~asks)
    gallery = others if len(others) else queries
    if not len(queries) or len(gallery) < 2:
        raise ValueError(
            f"{labelled.name}: {len(queries)} photos of split {split}, {len(gallery)} to find: wanted 1 and 2 at least"
        )
    return QueryGallerySplit(labelled, split, queries, gallery)


def is_suitable_distance(distance: str, rows: FeatureRows) -> bool:
    """Whether a distance is one for these rows. Raises ValueError for a distance nobody knows."""
    match = _HAMMING_PATTERN.fullmatch(distance)
    is_nothing = match is not None and match[1] is not None and int(match[1]) == int(match[2]) == 0
    if is_nothing or (not match and distance not in FLOAT_DISTANCES):
        raise ValueError(
            f"distance {distance!r}: known are {', '.join(FLOAT_DISTANCES)}, hamming, and hamming with weights such as 8:2"
        )
    if rows.dtype == np.uint8:
        # Weights of shape and colour are for codes that have both.
        return bool(match) and (match[1] is None or rows.shape[1] == _CODE_BYTES)  # type: ignore[index]
    return not match and (distance != "hellinger" or bool((rows >= 0).all()))


def rank_gallery(
    rows: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    """The k nearest photos of the gallery to every query, nearest first, ties in the set's order: int64 (q, k), rows of the
    set, -1 beyond the end. Exact.

    rows: row i is photo i, either uint8 (n, b) packed bits or float32 (n, d). distance: "hamming" counts every bit alike,
    "hamming 8:2" weighs shape and colour of 256-bit codes; "cosine", "euclidean", "manhattan"; "hellinger" of rows of shares,
    scaled to sum to 1. Raises ValueError where it is not for such rows.
    """
    if not is_suitable_distance(distance, rows):
        raise ValueError(f"distance {distance!r} is not for {rows.dtype} rows of {rows.shape[1]}")
    found = (_rank_by_hamming if rows.dtype == np.uint8 else _rank_by_floats)(
        rows, query_gallery, distance, k + 1
    )
    # One more than k was asked for, since a query may have found itself: it goes last, and the last goes.
    itself = found == query_gallery.queries[:, None]
    found[itself] = -1
    return np.take_along_axis(found, np.argsort(itself, axis=1, kind="stable"), axis=1)[:, :k]


def _rank_by_hamming(
    codes: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    match = _HAMMING_PATTERN.fullmatch(distance)
    shape_weight, colour_weight = (int(w or 1) for w in match.groups())  # type: ignore[union-attr]
    words = np.pad(codes, ((0, 0), (0, -codes.shape[1] % _CODE_BYTES))).view(np.uint64)
    count = len(query_gallery.queries)
    queries = QueryBatch.uniform(words[query_gallery.queries], shape_weight, colour_weight)
    tiles = bitplane.transpose_codes(words[query_gallery.gallery])
    lists = bitplane.nearest_per_query(queries, tiles, k)
    found = np.full((count, k), -1, np.int64)
    for query, places in enumerate(lists):
        found[query, : len(places)] = query_gallery.gallery[places]
    return found


def _rank_by_floats(
    rows: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    ready = _normalize_rows(rows, distance)
    gallery = ready[query_gallery.gallery]
    blocks = [
        query_gallery.queries[start : start + _BLOCK_ROWS]
        for start in range(0, len(query_gallery.queries), _BLOCK_ROWS)
    ]
    far = _manhattan if distance == "manhattan" else _squared_euclidean
    # Equal rows may differ in the last digits of a sum: rounded, they tie.
    orders = [
        np.argsort(np.round(far(ready[block], gallery), 9), axis=1, kind="stable")[:, :k]
        for block in blocks
    ]
    found = query_gallery.gallery[np.concatenate(orders)]
    return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=-1)


def _normalize_rows(rows: FeatureRows, distance: str) -> NDArray[np.float64]:
    """Rows between which Euclid's (or Manhattan's) distance orders as the wanted one does: scaled to a length of at most 1 or,
    for cosine and hellinger, of 1. A row of zeros stays one."""
    wide = rows.astype(np.float64)
    if distance == "hellinger":
        wide = np.sqrt(wide)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    each = distance in ("cosine", "hellinger")
    return (
        wide / np.where(lengths > 0, lengths, 1)
        if each
        else wide / max(float(lengths.max()), 1e-300)
    )


def _squared_euclidean(
    queries: NDArray[np.float64], gallery: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distances, (q, d) and (g, d) -> (q, g)."""
    return (queries**2).sum(axis=1)[:, None] - 2 * queries @ gallery.T + (gallery**2).sum(axis=1)


def _manhattan(queries: NDArray[np.float64], gallery: NDArray[np.float64]) -> NDArray[np.float64]:
    import torch

    return torch.cdist(torch.from_numpy(queries), torch.from_numpy(gallery), p=1).numpy()


def compute_retrieval_metrics(
    query_gallery: QueryGallerySplit, ranking: NDArray[np.int64], k: int
) -> dict[str, NDArray[np.float64]]:
    """Every measure of every label, by the measure's name: float64 (q,), row i is query i; NaN where the query's label is not
    known and, for mAP, where nothing in the gallery shares it.

    found: int64 (q, at least k) as `nearest` gives it.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for label in query_gallery.labelled.label_names:
        classes = query_gallery.labelled.class_ids(label)
        wanted = classes[query_gallery.queries]
        relevant = (classes[ranking] == wanted[:, None]) & (ranking >= 0) & (wanted >= 0)[:, None]
        counts = np.bincount(classes[query_gallery.gallery] + 1, minlength=classes.max() + 2)[
            wanted + 1
        ] - np.isin(query_gallery.queries, query_gallery.gallery)
        each = {
            label: retrieval.precision(relevant, k),
            f"mAP {label}": retrieval.average_precision(relevant, counts, k),
            f"relevance {label}": retrieval.relevance(relevant, k),
        }
        values |= {name: np.where(wanted >= 0, value, np.nan) for name, value in each.items()}
    return values


def result_row(
    query_gallery: QueryGallerySplit,
    encoder: str,
    distance: str,
    measure: str,
    k: int | None,
    estimate: BootstrapEstimate,
) -> ResultRow:
    """A row of KEYS; numbers that are none are None."""
    numbers = [
        None if np.isnan(number) else number
        for number in (estimate.value, estimate.low, estimate.high)
    ]
    words = (query_gallery.labelled.name, query_gallery.split, encoder, distance, measure, k)
    return dict(zip(RESULT_KEYS, (*words, *numbers, estimate.queries), strict=True))
