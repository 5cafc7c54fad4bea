"""The columns of the comparison page: one ranking each, by other weights, models and indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.evaluation.descriptors.described_gallery import DescribedGallery, Nearest
from wearalike.search.float_index import FloatIndexKind
from wearalike.search.page_rules import CompiledRules
from wearalike.server.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class RankingColumn:
    """One ranking.

    Attributes:
        name: Heading of the column.
        caption: One line about the encoder and distance.
        rows: Dicts with product, caption, and is_shared: the published list has it too.
        is_published: True for the list that the others are compared with.
    """

    name: str
    caption: str
    rows: list[dict[str, Any]]
    is_published: bool = False

    @property
    def shared_count(self) -> int:
        """Number of rows that the published list has too."""
        return sum(row["is_shared"] for row in self.rows)


@dataclass(frozen=True, slots=True)
class RankingQuery:
    """A product or a photo's item, to be ranked in one super-category.

    Attributes:
        may_show: bool (n,). Rows of the gallery that may be shown.
        shared: Ids of the products that the published list has.
        count: Rows of a column.
        like_row: The product's row of the gallery; None for a photo.
        index: A Faiss index in place of the exact distances; None for those.
    """

    may_show: NDArray[np.bool_]
    shared: set[str]
    count: int
    like_row: int | None = None
    index: FloatIndexKind | None = None


def apply_rules(may_show: NDArray[np.bool_], rules: CompiledRules, page: int) -> NDArray[np.bool_]:
    """Return which rows may be shown once the merchandiser's rules hide some.

    Args:
        may_show: bool (n,). Rows of the gallery that may be shown without rules.
        rules: The rules, compiled for the gallery.
        page: Number of the page that shows them.
    """
    rows = np.flatnonzero(may_show)
    ruled = may_show.copy()
    ruled[rows] = rules.rules_for_page(page).may_show(rows)
    return ruled


def build_score_rows(rows: Iterable[dict[str, Any]], shared: set[str]) -> list[dict[str, Any]]:
    """Return rows of a column from rows of similar_products, each with its product."""
    return [
        {
            "product": row["product"],
            "caption": (
                f"{row['score']:.2f} · {row['shape_distance']} + {row['colour_distance']} bits"
            ),
            "is_shared": row["product"]["product_id"] in shared,
        }
        for row in rows
    ]


def build_version_columns(
    s: Snapshot, described: DescribedGallery, row: FeatureRows, query: RankingQuery
) -> Iterator[RankingColumn]:
    """Yield a column for each distance of a version, or one of its Faiss index.

    Args:
        s: The snapshot, for the products.
        described: The version's descriptors.
        row: (d,). The descriptor that is asked about.
        query: The query.
    """
    if query.index is not None and described.supports(query.index):
        yield _build_index_column(s, described, row, query, query.index)
        return
    for distance in described.distances:
        nearest = described.nearest(row, distance, query.may_show, query.count, query.like_row)
        caption = f"{distance.capitalize()} distance, {described.bytes_per_item:,} bytes an item"
        rows = _build_distance_rows(s, described, nearest, query.shared)
        yield RankingColumn(described.version, caption, rows)


def _build_index_column(
    s: Snapshot,
    described: DescribedGallery,
    row: FeatureRows,
    query: RankingQuery,
    kind: FloatIndexKind,
) -> RankingColumn:
    """Return the column of a Faiss index, with how many it has of the exact list."""
    found = described.nearest_by_index(row, kind, query.may_show, query.count, query.like_row)
    exact = described.nearest(row, "euclidean", query.may_show, query.count, query.like_row)
    common = len(set(found.rows.tolist()) & set(exact.rows.tolist()))
    caption = (
        f"Euclidean by {kind.faiss_name}, {described.index(kind).bytes_per_item:,} bytes an item, "
        f"{common} of {len(exact.rows)} as exact"
    )
    rows = _build_distance_rows(s, described, found, query.shared)
    return RankingColumn(described.version, caption, rows)


def _build_distance_rows(
    s: Snapshot, described: DescribedGallery, nearest: Nearest, shared: set[str]
) -> list[dict[str, Any]]:
    product_ids = [described.gallery.product_ids[row] for row in nearest.rows.tolist()]
    products = s.products(product_ids)
    return [
        {
            "product": products[product_id],
            # Equal rows may come out a hair below 0.
            "caption": f"distance {max(0.0, distance):.4g}",
            "is_shared": product_id in shared,
        }
        for product_id, distance in zip(product_ids, nearest.distances.tolist(), strict=True)
        if product_id in products
    ]
