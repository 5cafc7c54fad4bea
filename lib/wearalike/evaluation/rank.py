"""Exact rankings of labelled photos by feature rows, and their retrieval metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation import distances
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.metrics import retrieval
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch

# This label is asked for apart from the others (`product_questions`).
PATTERN_LABEL = "pattern"


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


def split_query_gallery(
    labelled: LabelledDataset, split: str, max_queries: int | None = None
) -> QueryGallerySplit:
    """Split a labelled set into queries and gallery.

    The photos of the split are queries, those of the other splits are the gallery. If there are no
    others, or the split is "all", each photo is a query for all the rest. A set may name its
    queries itself (`query_ids`); then all its other photos are the gallery, whatever the split.

    Args:
        labelled: The labelled set.
        split: Name of a split, or "all".
        max_queries: So many are drawn of more queries, by a fixed seed; None keeps all.

    Returns:
        Queries and gallery.

    Raises:
        ValueError: There is no query, or fewer than two photos to search.
    """
    ids = labelled.query_ids
    if ids is None:
        is_query = np.array([split in ("all", photo.split) for photo in labelled.photos])
        may_ask = is_query
    else:
        is_query = np.array([photo.id in ids for photo in labelled.photos])
        may_ask = is_query & [split in ("all", photo.split) for photo in labelled.photos]
    queries = np.flatnonzero(may_ask)
    others = np.flatnonzero(~is_query)
    gallery = others if len(others) else queries
    if not len(queries) or len(gallery) < 2:
        raise ValueError(
            f"{labelled.name}: {len(queries)} photos of split {split}, {len(gallery)} to find: "
            "wanted 1 and 2 at least"
        )
    if max_queries is not None and len(queries) > max_queries:
        queries = np.sort(np.random.default_rng(0).permutation(queries)[:max_queries])
    return QueryGallerySplit(labelled, split, queries, gallery)


def rank_gallery(
    rows: FeatureRows,
    query_gallery: QueryGallerySplit,
    distance: str,
    k: int,
    floats: FloatCodes | None = None,
    skips_article: bool = False,
) -> NDArray[np.int64]:
    """Rank the gallery for every query, exactly; ties keep the set's order.

    Args:
        rows: Row i describes photo i: uint8 (n, b) packed bits, or float32 (n, d).
        query_gallery: Queries and gallery.
        distance: Name of a distance, see `distances`.
        k: Number of results a query.
        floats: Float rows of shape and colour, for the distances that need them.
        skips_article: True to leave out the pictures of the query's own article.

    Returns:
        int64 (q, k). Rows of the set, nearest first; -1 beyond the end.

    Raises:
        ValueError: The distance is unknown or does not apply to such rows.
    """
    distances.check_distance(distance, rows, floats)
    groups = query_gallery.labelled.groups
    own_groups = groups[query_gallery.queries]
    # A query may find itself and its article: they go last, and the last are cut off.
    known = groups[query_gallery.gallery]
    left_out = np.bincount(known[known >= 0], minlength=1).max() if skips_article else 0
    wanted = min(k + 1 + int(left_out), len(groups))
    is_hamming = rows.dtype == np.uint8 and distance.startswith(distances.HAMMING)
    ranking = (
        _rank_by_hamming(rows, query_gallery, distance, wanted)
        if is_hamming
        else _rank_by_distances(rows, floats, query_gallery, distance, wanted)
    )
    is_skipped = ranking == query_gallery.queries[:, None]
    if skips_article:
        is_own = (groups[ranking] == own_groups[:, None]) & (own_groups >= 0)[:, None]
        is_skipped |= is_own & (ranking >= 0)
    ranking[is_skipped] = -1
    order = np.argsort(is_skipped, axis=1, kind="stable")
    ranking = np.take_along_axis(ranking, order, axis=1)[:, :k]
    return np.pad(ranking, ((0, 0), (0, k - ranking.shape[1])), constant_values=-1)


def compute_retrieval_metrics(
    query_gallery: QueryGallerySplit,
    ranking: NDArray[np.int64],
    k: int,
    skips_article: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Compute every measure of every label but the pattern, which has its own question.

    Args:
        query_gallery: Queries and gallery.
        ranking: int64 (q, at least k), as `rank_gallery` returns it.
        k: Cut-off rank.
        skips_article: True if the ranking leaves out the pictures of the query's own article.

    Returns:
        float64 (q,) by the name of the measure. NaN where the query's label is unknown and, for
        mAP, where nothing in the gallery shares it.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for label in query_gallery.labelled.label_names:
        if label == PATTERN_LABEL:
            continue
        classes = query_gallery.labelled.class_ids(label)
        query_classes = classes[query_gallery.queries]
        is_known = query_classes >= 0
        is_same_class = classes[ranking] == query_classes[:, None]
        relevant = is_same_class & (ranking >= 0) & is_known[:, None]
        # Class -1, unknown, is counted at 0.
        class_counts = np.bincount(classes[query_gallery.gallery] + 1, minlength=classes.max() + 2)
        own_count = _own_counts(query_gallery, classes, skips_article)
        relevant_count = class_counts[query_classes + 1] - own_count
        of_label = {
            label: retrieval.precision(relevant, k),
            f"mAP {label}": retrieval.average_precision(relevant, relevant_count, k),
            f"relevance {label}": retrieval.relevance(relevant, k),
        }
        values |= {name: np.where(is_known, each, np.nan) for name, each in of_label.items()}
    return values


def _own_counts(
    query_gallery: QueryGallerySplit, classes: NDArray[np.int64], skips_article: bool
) -> NDArray[np.int64]:
    """Return how many of a query's class in the gallery are no results: itself, its article."""
    queries, gallery = query_gallery.queries, query_gallery.gallery
    own = np.isin(queries, gallery).astype(np.int64)
    if not skips_article:
        return own
    groups = query_gallery.labelled.groups
    # Article and class as one number.
    pairs = np.where(groups >= 0, groups * (classes.max() + 2) + classes + 1, -1)
    counts = np.bincount(pairs[gallery] + 1, minlength=int(pairs.max()) + 2)
    return np.where(groups[queries] >= 0, counts[pairs[queries] + 1], own)


def _rank_by_hamming(
    codes: FeatureRows, query_gallery: QueryGallerySplit, distance: str, k: int
) -> NDArray[np.int64]:
    """Rank packed bits by the search's own kernel."""
    weighted = distances.parse_weights(distance)
    weights = (1, 1) if weighted is None else weighted[1:]
    words = np.pad(codes, ((0, 0), (0, -codes.shape[1] % distances.CODE_BYTES))).view(np.uint64)
    queries = QueryBatch.uniform(words[query_gallery.queries], *weights)
    tiles = bitplane.transpose_codes(words[query_gallery.gallery])
    lists = bitplane.nearest_per_query(queries, tiles, k)
    ranking = np.full((len(lists), k), -1, np.int64)
    for query, positions in enumerate(lists):
        ranking[query, : len(positions)] = query_gallery.gallery[positions]
    return ranking


def _rank_by_distances(
    rows: FeatureRows,
    floats: FloatCodes | None,
    query_gallery: QueryGallerySplit,
    distance: str,
    k: int,
) -> NDArray[np.int64]:
    """Rank by any distance, a block of queries at a time."""
    gallery = query_gallery.gallery
    ranking = np.full((len(query_gallery.queries), k), -1, np.int64)
    blocks = distances.iterate_distances(rows, floats, distance, query_gallery.queries, gallery)
    for at, block in blocks:
        for query, order in zip(at.tolist(), nearest_positions(block, k), strict=True):
            ranking[query, : len(order)] = gallery[order]
    return ranking


def nearest_positions(block: NDArray[np.floating], k: int) -> Iterator[NDArray[np.int64]]:
    """Yield the k nearest of each row of distances, nearest first; ties keep their order.

    Args:
        block: Distances, (b, g).
        k: Number of results; there are fewer if g is smaller.

    Yields:
        int64 (k,). Positions in the row.
    """
    last = min(k, block.shape[1]) - 1
    furthest = np.partition(block, last, axis=1)[:, last]
    for row, limit in zip(block, furthest, strict=True):
        near = np.flatnonzero(row <= limit)
        yield near[np.argsort(row[near], kind="stable")][:k]
