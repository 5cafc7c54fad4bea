"""Search, and a product with what is alike it."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.reports.contact_sheet import WHY_SHORT
from wearalike.search import ShortReason
from wearalike.server.api import limit_searches
from wearalike.server.middleware import decoded
from wearalike.server.pages.base import Addresses, chosen, headers, page, sources, templates, whole
from wearalike.server.snapshot import Snapshot
from wearalike.storage import run_tables

router = APIRouter()
A_PAGE = 48
# A slider's whole: shape's share of it, the rest is colour's.
WHOLE = 10


@router.get("/")
def search(request: Request) -> HTMLResponse:
    published, pictures = sources(request)
    asked = {
        name: chosen(request.query_params, name)
        for name in ("q", "shop", "super", "category", "after")
    }
    with published.snapshot() as s:
        found = s.search(
            asked["q"] or "",
            asked["shop"],
            asked["category"],
            asked["super"],
            limit=A_PAGE + 1,
            after=asked["after"],
        )
        products, kinds = found[:A_PAGE], s.kinds()
    return page(
        request,
        "search.html",
        run=s.run,
        asked=asked,
        products=products,
        further=products[-1]["product_id"] if len(found) > A_PAGE else None,
        pictures=pictures.of(s.run, [p["product_id"] for p in products]),
        shops=_counts(kinds, "shop_id"),
        supers=_counts(kinds, "super_category"),
        categories=_counts(kinds, "category"),
    )


def _counts(kinds: list[dict[str, Any]], name: str) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for kind in kinds:
        counts[kind[name]] += kind["products_count"]
    return sorted(counts.items())


@router.get("/products/{product_id}")
def product(request: Request, product_id: str) -> HTMLResponse:
    published, pictures = sources(request)
    with published.snapshot() as s:
        found = _product(s, decoded(product_id))
        shown = _similar(request, s, found)
        look = s.look(found["product_id"])
    ids = [found["product_id"], *(row["product"]["product_id"] for row in [*shown["rows"], *look])]
    return page(
        request,
        "product.html",
        run=s.run,
        product=found,
        look=look,
        pictures=pictures.of(s.run, ids),
        worn=pictures.worn(s.run, look),
        **shown,
    )


@router.get("/products/{product_id}/similar")
def similar(request: Request, product_id: str) -> HTMLResponse:
    """The list alone, for the slider."""
    published, pictures = sources(request)
    with published.snapshot() as s:
        shown = _similar(request, s, _product(s, decoded(product_id)))
    text = (
        templates()
        .get_template("similar.html")
        .render(
            at=Addresses(request),
            pictures=pictures.of(s.run, [row["product"]["product_id"] for row in shown["rows"]]),
            **shown,
        )
    )
    return HTMLResponse(text, headers=headers(request))


def _product(s: Snapshot, product_id: str) -> dict[str, Any]:
    found = s.product(product_id)
    if found is None:
        raise HTTPException(
            404,
            f"Run {s.run} has no product {product_id[:200]!r}: it is sold no more, or never was.",
        )
    return found


def _similar(request: Request, s: Snapshot, found: dict[str, Any]) -> dict[str, Any]:
    """What similar.html shows: the published list, or that of other weights where the slider asks for them."""
    usual = round(WHOLE * found["w_shape"] / (found["w_shape"] + found["w_colour"]))
    asked = request.query_params.get("shape")
    shape = whole(asked, 0, WHOLE, usual)
    if asked is None:
        listed = s.similar_list(found["product_id"])
        rows, reason = s.similar(found["product_id"]), listed and listed["short_reason"]
    else:
        limit_searches(request)
        live = request.app.state.live.similar(s, found, (shape, WHOLE - shape))
        rows, reason = live.rows, live.short_reason
    return {
        "rows": rows,
        "shape": shape,
        "is_published": asked is None,
        "why": reason and WHY_SHORT[ShortReason(reason)],
        "refused": _refusals(request.app.state.place.root, s.run).get(found["product_id"])
        if reason == ShortReason.NO_CODE
        else None,
    }


@lru_cache(2)
def _refusals(root: Path, run: str) -> dict[str, str]:
    """Why products of the run have no code, by product_id; nothing where the run's tables are gone."""
    rows = run_tables.refused(root, run).to_pylist()
    return {row["key"]: row["reason"] for row in rows if row["kind"] == "product"}
