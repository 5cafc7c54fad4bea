"""Search, and a product with what is alike it."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.search import ShortfallReason
from wearalike.server.api import limit_searches
from wearalike.server.middleware import decode_segment
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    clamped_int,
    jinja_environment,
    page_headers,
    query_param,
    render_page,
)
from wearalike.server.snapshot import Snapshot
from wearalike.storage import run_tables

router = APIRouter()
PRODUCTS_PER_PAGE = 48
# A slider's whole: shape's share of it, the rest is colour's.
WEIGHT_TOTAL = 10


@router.get("/")
def search_page(request: Request) -> HTMLResponse:
    published, pictures = app_repository_and_images(request)
    asked = {
        name: query_param(request.query_params, name)
        for name in ("q", "shop", "super", "category", "after")
    }
    with published.snapshot() as s:
        found = s.search(
            asked["q"] or "",
            asked["shop"],
            asked["category"],
            asked["super"],
            limit=PRODUCTS_PER_PAGE + 1,
            after=asked["after"],
        )
        products, kinds = found[:PRODUCTS_PER_PAGE], s.category_counts()
    return render_page(
        request,
        "search.html",
        run=s.run,
        asked=asked,
        products=products,
        further=products[-1]["product_id"] if len(found) > PRODUCTS_PER_PAGE else None,
        pictures=pictures.find_images(s.run, [p["product_id"] for p in products]),
        shops=_product_counts(kinds, "shop_id"),
        supers=_product_counts(kinds, "super_category"),
        categories=_product_counts(kinds, "category"),
    )


def _product_counts(kinds: list[dict[str, Any]], name: str) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for kind in kinds:
        counts[kind[name]] += kind["products_count"]
    return sorted(counts.items())


@router.get("/products/{product_id}")
def product_page(request: Request, product_id: str) -> HTMLResponse:
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        found = _require_product(s, decode_segment(product_id))
        shown = _similar_context(request, s, found)
        look = s.look(found["product_id"])
    ids = [found["product_id"], *(row["product"]["product_id"] for row in [*shown["rows"], *look])]
    return render_page(
        request,
        "product.html",
        run=s.run,
        product=found,
        look=look,
        pictures=pictures.find_images(s.run, ids),
        worn=pictures.find_worn_images(s.run, look),
        **shown,
    )


@router.get("/products/{product_id}/similar")
def similar_list(request: Request, product_id: str) -> HTMLResponse:
    """The list alone, for the slider."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        shown = _similar_context(request, s, _require_product(s, decode_segment(product_id)))
    text = (
        jinja_environment()
        .get_template("similar.html")
        .render(
            at=PageUrls(request),
            pictures=pictures.find_images(
                s.run, [row["product"]["product_id"] for row in shown["rows"]]
            ),
            **shown,
        )
    )
    return HTMLResponse(text, headers=page_headers(request))


def _require_product(s: Snapshot, product_id: str) -> dict[str, Any]:
    found = s.product(product_id)
    if found is None:
        raise HTTPException(
            404,
            f"Run {s.run} has no product {product_id[:200]!r}: it is sold no more, or never was.",
        )
    return found


def _similar_context(request: Request, s: Snapshot, found: dict[str, Any]) -> dict[str, Any]:
    """What similar.html shows: the published list, or that of other weights where the slider asks for them."""
    usual = round(
        WEIGHT_TOTAL * found["shape_weight"] / (found["shape_weight"] + found["colour_weight"])
    )
    asked = request.query_params.get("shape")
    shape = clamped_int(asked, 0, WEIGHT_TOTAL, usual)
    if asked is None:
        listed = s.similar_list(found["product_id"])
        rows, reason = s.similar(found["product_id"]), listed and listed["shortfall_reason"]
    else:
        limit_searches(request)
        live = request.app.state.live.similar(s, found, (shape, WEIGHT_TOTAL - shape))
        rows, reason = live.rows, live.shortfall_reason
    return {
        "rows": rows,
        "shape": shape,
        "is_published": asked is None,
        "why": reason and SHORTFALL_TEXTS[ShortfallReason(reason)],
        "refused": _refusal_reasons(request.app.state.place.data_dir, s.run).get(
            found["product_id"]
        )
        if reason == ShortfallReason.NO_CODE
        else None,
    }


@lru_cache(2)
def _refusal_reasons(root: Path, run: str) -> dict[str, str]:
    """Why products of the run have no code, by product_id; nothing where the run's tables are gone."""
    rows = run_tables.read_refused(root, run).to_pylist()
    return {row["key"]: row["reason"] for row in rows if row["kind"] == "product"}
