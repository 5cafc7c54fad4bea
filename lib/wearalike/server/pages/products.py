"""The search page, and the page of a product with its similar products."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.reports import html
from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.search import ShortfallReason
from wearalike.search.photo_query import Weights
from wearalike.server.api import limit_searches
from wearalike.server.middleware import decode_segment
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    clamped_int,
    page_headers,
    query_param,
    render_page,
)
from wearalike.server.snapshot import Snapshot
from wearalike.storage import run_tables

router = APIRouter()
PRODUCTS_PER_PAGE = 48
# Sum of the two weights on the first slider: shape's, and the rest for colour. The largest on the
# second, of kind.
WEIGHT_TOTAL = 10


@router.get("/")
def search_page(request: Request) -> HTMLResponse:
    """Show products that match the words and filters of the query, a page at a time."""
    published, pictures = app_repository_and_images(request)
    asked = {
        name: query_param(request.query_params, name)
        for name in ("q", "shop", "super", "category", "after")
    }
    with published.snapshot() as s:
        rows = s.search(
            asked["q"] or "",
            asked["shop"],
            asked["category"],
            asked["super"],
            limit=PRODUCTS_PER_PAGE + 1,
            after=asked["after"],
        )
        counts = s.category_counts()
    products = rows[:PRODUCTS_PER_PAGE]
    next_after = products[-1]["product_id"] if len(rows) > PRODUCTS_PER_PAGE else None
    return render_page(
        request,
        "search.html",
        run=s.run,
        asked=asked,
        products=products,
        next_after=next_after,
        pictures=pictures.find_images(s.run, [p["product_id"] for p in products]),
        shops=_product_counts(counts, "shop_id"),
        supers=_product_counts(counts, "super_category"),
        categories=_product_counts(counts, "category"),
    )


def _product_counts(rows: list[dict[str, Any]], name: str) -> list[tuple[str, int]]:
    """Add up products_count by a column, in the order of its values."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row[name]] += row["products_count"]
    return sorted(counts.items())


@router.get("/products/{product_id}")
def product_page(request: Request, product_id: str) -> HTMLResponse:
    """Show a product, its similar products and the products that complete its look."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        product = _require_product(s, decode_segment(product_id))
        context = _similar_context(request, s, product)
        look = s.look(product["product_id"])
        variants = s.variants(product["product_id"])
        wearers = s.products([row["worn_with_product_id"] or "" for row in look])
    shown = [*context["rows"], *look, *variants]
    ids = [product["product_id"], *(row["product"]["product_id"] for row in shown)]
    return render_page(
        request,
        "product.html",
        run=s.run,
        product=product,
        look=look,
        variants=_group_variants(variants, product),
        pictures=pictures.find_images(s.run, ids),
        worn=pictures.find_worn_images(s.run, look),
        wearers=wearers,
        **context,
    )


def _group_variants(
    rows: list[dict[str, Any]], product: dict[str, Any]
) -> list[list[dict[str, Any]]]:
    """Return the variants of a product's article by shop and colour, its own shop's first.

    Args:
        rows: Rows of `Snapshot.variants`.
        product: The product whose page is shown.
    """
    groups = [
        list(group)
        for _, group in groupby(rows, key=lambda row: (row["shop_id"], row["colour_names"]))
    ]
    return sorted(groups, key=lambda group: group[0]["shop_id"] != product["shop_id"])


@router.get("/products/{product_id}/similar")
def similar_list(request: Request, product_id: str) -> HTMLResponse:
    """Return the list of similar products alone, for the slider."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        product = _require_product(s, decode_segment(product_id))
        context = _similar_context(request, s, product)
    ids = [row["product"]["product_id"] for row in context["rows"]]
    text = html.render(
        "similar.html",
        at=PageUrls(request),
        pictures=pictures.find_images(s.run, ids),
        **context,
    )
    return HTMLResponse(text, headers=page_headers(request))


def _require_product(s: Snapshot, product_id: str) -> dict[str, Any]:
    """Return a product. Raises HTTPException 404 if there is none."""
    product = s.product(product_id)
    if product is None:
        raise HTTPException(
            404,
            f"Run {s.run} has no product {product_id[:200]!r}. "
            "The shop may no longer sell it, or the id is wrong.",
        )
    return product


def _similar_context(request: Request, s: Snapshot, product: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of similar.html.

    This is the published list, or with ?shape=N or ?kind=M a live search at the weights
    N : 10 - N : M.
    """
    product_id = product["product_id"]
    weight_sum = product["shape_weight"] + product["colour_weight"]
    own_shape = round(WEIGHT_TOTAL * product["shape_weight"] / weight_sum)
    own_kind = min(WEIGHT_TOTAL, round(WEIGHT_TOTAL * product["kind_weight"] / weight_sum))
    asked = [request.query_params.get(name) for name in ("shape", "kind")]
    shape = clamped_int(asked[0], 0, WEIGHT_TOTAL, own_shape)
    kind = clamped_int(asked[1], 0, WEIGHT_TOTAL, own_kind)
    is_published = asked == [None, None]
    if is_published:
        similar_list = s.similar_list(product_id)
        rows = s.similar(product_id)
        reason = similar_list and similar_list["shortfall_reason"]
    else:
        limit_searches(request)
        weights = Weights(shape, WEIGHT_TOTAL - shape, kind)
        live = request.app.state.live_search.similar(s, product, weights)
        rows = live.rows
        reason = live.shortfall_reason
    refused = None
    if reason == ShortfallReason.NO_CODE:
        root = request.app.state.settings.data_dir
        refused = _refusal_reasons(root, s.run, s.signature).get(product_id)
    return {
        "rows": rows,
        "shape": shape,
        "kind": kind,
        "is_published": is_published,
        "why": reason and SHORTFALL_TEXTS[ShortfallReason(reason)],
        "refused": refused,
    }


@lru_cache(2)
def _refusal_reasons(root: Path, run: str, signature: str) -> dict[str, str]:
    """Return the reason why a product has no code, by product_id; empty if the tables are gone.

    The signature is part of the cache's key: a run may be published again with other tables.
    """
    rows = run_tables.read_refused(root, run).to_pylist()
    return {row["key"]: row["reason"] for row in rows if row["kind"] == "product"}
