"""Measure Faiss's indexes over the descriptors of a run: recall against exact search, and bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.evaluation.descriptors import cache
from wearalike.evaluation.descriptors.described_gallery import DescribedGallery
from wearalike.search.float_index import FloatIndexKind

RANKS = (1, 5, 10)
# Products of each super-category that are asked about, drawn by a hash.
MAX_QUERIES = 200


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """Recall and bytes of an index over one descriptor.

    Attributes:
        descriptor: Version of the descriptor.
        kind: The index.
        items: Items in it.
        queries: Items that were asked about.
        bytes_per_item: Mean bytes of an item, without its id.
        recalls: Share of the exact first k that are among the index's first k, for each of RANKS.
    """

    descriptor: str
    kind: FloatIndexKind
    items: int
    queries: int
    bytes_per_item: float
    recalls: tuple[float, ...]


def measure_indexes(
    descriptor: str, galleries: Sequence[DescribedGallery], max_queries: int = MAX_QUERIES
) -> list[IndexFigures]:
    """Measure every kind of index over the galleries of a descriptor, each searched by itself.

    An item is asked about among the others of its super-category, itself left out.

    Args:
        descriptor: Version of the descriptor.
        galleries: Its described galleries, one a super-category.
        max_queries: Most queries of a super-category.

    Returns:
        The figures of each kind; none if no gallery has enough items.
    """
    figures = []
    deepest = max(RANKS)
    for kind in FloatIndexKind:
        usable = [g for g in galleries if g.supports(kind) and len(g.rows) > deepest]
        if not usable:
            continue
        hits = np.zeros(len(RANKS))
        asked, kept_bytes, items = 0, 0, 0
        for gallery in usable:
            index = gallery.index(kind)
            items += len(gallery.rows)
            kept_bytes += index.bytes_per_item * len(gallery.rows)
            for row in _draw_queries(gallery, max_queries):
                own = np.asarray(gallery.rows[row], np.float32)
                exact = cache.compute_distances(gallery.rows[row], gallery.rows, "euclidean")
                order = np.lexsort((np.arange(len(exact)), np.round(exact, 9)))
                found, _ = index.search(own, deepest + 1)
                hits += _count_common(order[order != row], found[found != row])
                asked += 1
        recalls = tuple((hits / (asked * np.array(RANKS))).tolist())
        figures.append(IndexFigures(descriptor, kind, items, asked, kept_bytes / items, recalls))
    return figures


def format_figures(figures: Iterable[IndexFigures]) -> str:
    """Return the figures as a Markdown table.

    Args:
        figures: The figures.
    """
    heads = ["descriptor", "items", "Faiss index", "bytes an item"]
    heads += [f"recall@{k}" for k in RANKS]
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---|---:|" + "---:|" * len(RANKS)]
    for one in figures:
        cells = [one.descriptor, f"{one.items:,}", one.kind.faiss_name]
        cells += [f"{one.bytes_per_item:,.0f}", *(f"{recall:.3f}" for recall in one.recalls)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw_queries(gallery: DescribedGallery, count: int) -> list[int]:
    """Return rows to ask about, the same for the same items."""
    item_ids = gallery.gallery.item_ids.tolist()
    hashes = [
        hashlib.sha256(item_ids[position].encode()).hexdigest()
        for position in gallery.positions.tolist()
    ]
    return sorted(np.argsort(hashes)[:count].tolist())


def _count_common(exact: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many of the exact first k are among the first k found, for each of RANKS."""
    common = [len(set(exact[:k].tolist()) & set(found[:k].tolist())) for k in RANKS]
    return np.array(common, np.float64)
