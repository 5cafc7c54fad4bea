"""The comparison page: one product, ranked by other weights and other models, side by side."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import RedirectResponse, Response

from wearalike import search
from wearalike.evaluation.descriptors import cache
from wearalike.search.photo_query import Weights
from wearalike.server.api import limit_searches
from wearalike.server.live_search import LiveSearch, RunNotSearchable
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    query_param,
    render_page,
)
from wearalike.server.snapshot import Snapshot

router = APIRouter()
RESULTS_PER_COLUMN = 10
COMPARED_WEIGHTS = ((1, 1, 0), (1, 1, 1), (8, 2, 0), (2, 8, 0), (1, 0, 0), (0, 1, 0))
# Versions that `wearalike describe-items` computes without a model file, with the
# value of its --encoder.
ENCODER_OF_VERSION = {
    "hsv-1": "hsv",
    "contour-1": "contour",
    "corners-1": "corners",
    "phash-1": "phash",
    "efficientnet-lite0-imagenet": "efficientnet-lite0",
}


@dataclass(frozen=True, slots=True)
class RankingColumn:
    """One ranking.

    Attributes:
        name: Heading of the column.
        caption: One line about the encoder and distance.
        rows: Dicts with product, caption, and is_shared: the published list has it too.
        is_published: True for the published list itself.
    """

    name: str
    caption: str
    rows: list[dict[str, Any]]
    is_published: bool = False

    @property
    def shared_count(self) -> int:
        """Number of rows that the published list has too."""
        return sum(row["is_shared"] for row in self.rows)


@router.get("/compare")
def compare_page(request: Request) -> Response:
    """Show the rankings of the product that the query names, or products to choose from.

    `?random` leads to a random product.
    """
    published, pictures = app_repository_and_images(request)
    asked = query_param(request.query_params, "product", 1000)
    with published.snapshot() as s:
        if "random" in request.query_params:
            limit_searches(request)
            drawn = s.draw_product(secrets.token_hex(8))
            if drawn is not None:
                address = PageUrls(request)("/compare", product=drawn)
                return RedirectResponse(address, 303, {"Cache-Control": "no-store"})
        product = s.product(asked) if asked else None
        if product is None:
            examples = _example_products(s)
            return render_page(
                request,
                "compare.html",
                status=404 if asked else 200,
                run=s.run,
                product=None,
                asked=asked,
                examples=examples,
                pictures=pictures.find_images(s.run, [e["product_id"] for e in examples]),
            )
        limit_searches(request)
        columns, count, command = _build_columns(
            request.app.state.settings.data_dir, request.app.state.live_search, s, product
        )
    ids = [
        product["product_id"],
        *(row["product"]["product_id"] for column in columns for row in column.rows),
    ]
    return render_page(
        request,
        "compare.html",
        run=s.run,
        product=product,
        columns=columns,
        candidates_count=count,
        command=command,
        pictures=pictures.find_images(s.run, ids),
    )


def _example_products(s: Snapshot) -> list[dict[str, Any]]:
    """Return one product of each of the first eight super-categories."""
    supers = sorted({row["super_category"] for row in s.category_counts()})
    return [product for name in supers[:8] for product in s.search(super_category=name, limit=1)]


def _build_columns(
    root: Path, live: LiveSearch, s: Snapshot, product: dict[str, Any]
) -> tuple[list[RankingColumn], int, str | None]:
    """Return the columns, the number of candidates, and a command that gives more columns.

    The command is None if every usual model has described the run, or if the run's tables are
    gone; then only the published list can be shown.
    """
    listed = s.similar(product["product_id"], RESULTS_PER_COLUMN)
    shared = {row["similar_product_id"] for row in listed}
    own = " : ".join(f"{part} {product[f'{part}_weight']}" for part in ("shape", "colour", "kind"))
    encoder = listed[0]["encoder"] if listed else "no codes"
    columns = [
        RankingColumn("Published", f"{own}, {encoder}", _score_rows(listed, shared), True),
    ]
    try:
        loaded = live.load_gallery(s, product["super_category"])
        for weights in map(Weights._make, COMPARED_WEIGHTS):
            rows = live.similar(s, product, weights, RESULTS_PER_COLUMN).rows
            columns.append(
                RankingColumn(
                    f"Codes {weights}",
                    "Hamming distance, 32 bytes an item" + ", and kind" * bool(weights.kind),
                    _score_rows(rows, shared),
                )
            )
    except RunNotSearchable:
        return columns, 0, None
    if loaded is None:
        return columns, 0, None
    gallery = loaded.gallery
    row = int(np.searchsorted(gallery.product_ids, product["product_id"]))
    if row == len(gallery) or gallery.product_ids[row] != product["product_id"]:
        return columns, 0, None
    candidates = np.flatnonzero(
        search.eligible_candidates(gallery, product["age_group"], product["gender"])
    )
    shown_versions = set()
    for version in cache.cached_versions(root):
        more = _version_columns(root, version, s, gallery, row, candidates, shared)
        if more:
            columns += more
            shown_versions.add(version)
    missing = [
        f"--encoder {name}"
        for version, name in ENCODER_OF_VERSION.items()
        if version not in shown_versions
    ]
    command = None
    if missing:
        command = f"wearalike describe-items --run {s.run} {' '.join(missing)}"
    return columns, len(candidates) - int(row in candidates), command


def _score_rows(rows: Iterable[dict[str, Any]], shared: set[str]) -> list[dict[str, Any]]:
    """Return rows of a column from rows of similar_products."""
    return [
        {
            "product": row["product"],
            "caption": (
                f"{row['score']:.2f} · {row['shape_distance']} + {row['colour_distance']} bits"
            ),
            "is_shared": row["similar_product_id"] in shared,
        }
        for row in rows
    ]


def _version_columns(
    root: Path,
    version: str,
    s: Snapshot,
    gallery: search.Gallery,
    row: int,
    candidates: NDArray[np.int64],
    shared: set[str],
) -> list[RankingColumn]:
    """Return a column for each distance of a version.

    There is none if the version has not described the product's item.
    """
    described = _read_descriptors(root, version, s.signature, tuple(gallery.item_ids.tolist()))
    at = np.searchsorted(described.item_ids, gallery.item_ids)
    at = np.minimum(at, max(0, len(described.item_ids) - 1))
    has = (
        np.asarray(described.item_ids, dtype=object)[at] == gallery.item_ids
        if described.item_ids
        else np.zeros(len(gallery), bool)
    )
    if not has[row]:
        return []
    candidates = candidates[has[candidates]]
    item_bytes = described.rows.shape[1] * described.rows.itemsize
    columns = []
    for distance in described.distances:
        values = cache.compute_distances(
            described.rows[at[row]], described.rows[at[candidates]], distance
        )
        nearest = _nearest_per_group(gallery, row, candidates, values)
        product_ids = {n: gallery.product_ids[candidates[n]] for n in nearest}
        products = s.products(list(product_ids.values()))
        rows = [
            {
                "product": products[product_id],
                "caption": f"distance {values[n]:.4g}",
                "is_shared": product_id in shared,
            }
            for n, product_id in product_ids.items()
            if product_id in products
        ]
        caption = f"{distance.capitalize()} distance, {item_bytes:,} bytes an item"
        columns.append(RankingColumn(version, caption, rows))
    return columns


def _nearest_per_group(
    gallery: search.Gallery,
    row: int,
    candidates: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> list[int]:
    """Return the positions of the nearest candidates, one of each model.

    The product's own model is left out, as in the published lists.
    """
    groups = {int(gallery.groups[row])}
    chosen: list[int] = []
    # Sums of equal rows may differ in the last digits; rounded, they tie.
    for position in np.lexsort((candidates, np.round(distances, 9))).tolist():
        group = int(gallery.groups[candidates[position]])
        if candidates[position] == row or group in groups:
            continue
        groups.add(group)
        chosen.append(position)
        if len(chosen) == RESULTS_PER_COLUMN:
            break
    return chosen


@lru_cache(8)
def _read_descriptors(
    root: Path, version: str, signature: str, item_ids: tuple[str, ...]
) -> cache.CachedDescriptors:
    """Read a version's descriptors of items; cached by the run's signature."""
    return cache.read_cached_descriptors(root, version, item_ids)
