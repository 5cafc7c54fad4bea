"""Distances and models side by side: what each finds most alike one product."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import HTMLResponse

from wearalike import search
from wearalike.evaluation.descriptors import cache
from wearalike.server.api import limit_searches
from wearalike.server.live_search import LiveSearch, RunNotSearchable
from wearalike.server.pages.base import app_repository_and_images, query_param, render_page
from wearalike.server.snapshot import Snapshot

router = APIRouter()
RESULTS_PER_COLUMN = 10
COMPARED_WEIGHTS = ((1, 1), (8, 2), (2, 8), (1, 0), (0, 1))
# Versions that `wearalike.commands.describe_items` makes of nothing but what is installed, and how it is asked for them.
ENCODER_OF_VERSION = {
    "hsv-1": "hsv",
    "contour-1": "contour",
    "efficientnet-lite0-imagenet": "efficientnet-lite0",
}


@dataclass(frozen=True, slots=True)
class RankingColumn:
    """One column. rows: the product as `product`, what is said of it as `told`, and whether the published list has it too."""

    name: str
    told: str
    rows: list[dict[str, Any]]
    is_published: bool = False

    @property
    def shared_count(self) -> int:
        return sum(row["is_shared"] for row in self.rows)


@router.get("/compare")
def compare_page(request: Request) -> HTMLResponse:
    published, pictures = app_repository_and_images(request)
    asked = query_param(request.query_params, "product", 1000)
    with published.snapshot() as s:
        product = s.product(asked) if asked else None
        if product is None:
            some = _example_products(s)
            shown = pictures.find_images(s.run, [one["product_id"] for one in some])
            status = 404 if asked else 200
            return render_page(
                request,
                "compare.html",
                status=status,
                run=s.run,
                product=None,
                asked=asked,
                some=some,
                pictures=shown,
            )
        limit_searches(request)
        ways, count, command = _build_columns(
            request.app.state.place.data_dir, request.app.state.live, s, product
        )
    ids = [
        product["product_id"],
        *(row["product"]["product_id"] for way in ways for row in way.rows),
    ]
    return render_page(
        request,
        "compare.html",
        run=s.run,
        product=product,
        ways=ways,
        candidates_count=count,
        command=command,
        pictures=pictures.find_images(s.run, ids),
    )


def _example_products(s: Snapshot) -> list[dict[str, Any]]:
    """A product of each of the first super-categories."""
    supers = sorted({kind["super_category"] for kind in s.category_counts()})
    return [one for name in supers[:8] for one in s.search(super_category=name, limit=1)]


def _build_columns(
    root: Path, live: LiveSearch, s: Snapshot, product: dict[str, Any]
) -> tuple[list[RankingColumn], int, str | None]:
    """The columns, how many products may answer, and the command that would make more columns."""
    listed = s.similar(product["product_id"], RESULTS_PER_COLUMN)
    shared = {row["similar_product_id"] for row in listed}
    own = f"shape {product['shape_weight']} : colour {product['colour_weight']}"
    ways = [
        RankingColumn(
            "Published",
            f"{own}, {listed[0]['encoder'] if listed else 'no codes'}",
            _score_rows(listed, shared),
            True,
        )
    ]
    try:
        shelf = live.load_gallery(s, product["super_category"])
        for shape, colour in COMPARED_WEIGHTS:
            found = live.similar(s, product, (shape, colour), RESULTS_PER_COLUMN).rows
            ways.append(
                RankingColumn(
                    f"Codes {shape}:{colour}",
                    "Hamming, 32 bytes an item",
                    _score_rows(found, shared),
                )
            )
    except RunNotSearchable:
        return ways, 0, None
    gallery = shelf.gallery if shelf else None
    row = (
        -1 if gallery is None else int(np.searchsorted(gallery.product_ids, product["product_id"]))
    )
    if gallery is None or row == len(gallery) or gallery.product_ids[row] != product["product_id"]:
        return ways, 0, None
    fits = np.flatnonzero(
        search.eligible_candidates(gallery, product["age_group"], product["gender"])
    )
    shown = []
    for version in cache.cached_versions(root):
        if columns := _version_columns(root, version, s, gallery, row, fits, shared):
            ways += columns
            shown.append(version)
    absent = [
        f"--encoder {name}" for version, name in ENCODER_OF_VERSION.items() if version not in shown
    ]
    command = (
        f"python -m wearalike.commands.describe_items --run {s.run} {' '.join(absent)}"
        if absent
        else None
    )
    return ways, len(fits) - int(row in fits), command


def _score_rows(rows: Iterable[dict[str, Any]], shared: set[str]) -> list[dict[str, Any]]:
    return [
        {
            "product": row["product"],
            "told": f"{row['score']:.2f} · {row['shape_distance']} + {row['colour_distance']} bits",
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
    fits: NDArray[np.int64],
    shared: set[str],
) -> list[RankingColumn]:
    """A column for each distance of the version; none where it has not described the product's item."""
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
    fits = fits[has[fits]]
    ways = []
    for distance in described.distances:
        far = cache.compute_distances(described.rows[at[row]], described.rows[at[fits]], distance)
        chosen = _nearest_per_group(gallery, row, fits, far)
        facts = s.products([gallery.product_ids[fits[i]] for i in chosen])
        rows = [
            {"product": facts[i], "told": f"{far[n]:.4g} away", "is_shared": i in shared}
            for n in chosen
            if (i := gallery.product_ids[fits[n]]) in facts
        ]
        size = described.rows.shape[1] * described.rows.itemsize
        ways.append(
            RankingColumn(f"{version}", f"{distance.capitalize()}, {size:,} bytes an item", rows)
        )
    return ways


def _nearest_per_group(
    gallery: search.Gallery, row: int, fits: NDArray[np.int64], far: NDArray[np.float64]
) -> list[int]:
    """The first SHOWN positions by distance, one of a model and none of the product's own, as in the published lists."""
    groups = {int(gallery.groups[row])}
    chosen: list[int] = []
    # Equal rows may differ in the last digits of a sum: rounded, they tie.
    for position in np.lexsort((fits, np.round(far, 9))).tolist():
        group = int(gallery.groups[fits[position]])
        if fits[position] == row or group in groups:
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
    return cache.read_cached_descriptors(root, version, item_ids)
