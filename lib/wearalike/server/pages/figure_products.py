"""The page that lists the products behind a figure of the quality page."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.catalog.xml_validation import did_you_mean
from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.reports.product_figures import FIGURES, HUBS
from wearalike.server.api import limit_searches
from wearalike.server.figures import MAX_HUBS, FigurePage, list_figure
from wearalike.server.pages.base import (
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
)
from wearalike.server.pages.part_filters import (
    count_products,
    filter_options,
    read_known_runs,
    read_part,
)
from wearalike.server.run_part import RunPart, open_part
from wearalike.server.snapshot import PublishedRepository

router = APIRouter()
PRODUCTS_PER_PAGE = 48
_HUBS_NAME = "hubs"


@router.get("/quality/products")
def figure_page(request: Request) -> HTMLResponse:
    """List the products behind a figure, of the part that the filters leave."""
    limit_searches(request)
    published, pictures = app_repository_and_images(request)
    params = request.query_params
    part = read_part(params)
    name = query_param(params, "figure") or "products"
    known_names = [*FIGURES, _HUBS_NAME]
    if name not in known_names:
        hint = did_you_mean(name, known_names)
        raise HTTPException(404, f"No list of products is called {name[:60]!r}{hint}.")
    figure = FIGURES.get(name, HUBS)
    value = query_param(params, figure.value_name) if figure.value_name else None
    with published.snapshot() as now:
        known = read_known_runs(published, now.run, now.publication.published_at)
        run = now.run
    if figure.value_name == "since":
        # The list of this run is compared with one that the published run's file does not hold.
        part = part if part.encoder or part.run else replace(part, run=run)
    with open_part(published, part) as s:
        if figure.value_name == "since":
            value = value or known.former(s.run)
        counts = s.category_counts()
        after = query_param(params, "after", 1000)
        found = FigurePage([], None, 0)
        if name != _HUBS_NAME:
            found = list_figure(s, part, name, value, after, PRODUCTS_PER_PAGE)
    page = clamped_int(params.get("page"), 1, MAX_HUBS // PRODUCTS_PER_PAGE, 1)
    next_page = None
    if name == _HUBS_NAME:
        rows = _read_hubs(published, part, s.run, s.signature)
        start = (page - 1) * PRODUCTS_PER_PAGE
        found = FigurePage(rows[start : start + PRODUCTS_PER_PAGE], None, len(rows))
        next_page = page + 1 if start + PRODUCTS_PER_PAGE < len(rows) else None
    ids = [row["product"]["product_id"] for row in found.rows]
    reason = {str(r): text for r, text in SHORTFALL_TEXTS.items()}.get(value or "")
    asked = {"figure": name} | ({figure.value_name: value} if figure.value_name else {})
    return render_page(
        request,
        "figure.html",
        run=s.run,
        part=part,
        asked=asked,
        title=figure.title.format(value=value or "none"),
        reason=reason if figure.value_name == "reason" else None,
        opposite=(figure.opposite, FIGURES[figure.opposite].title) if figure.opposite else None,
        rows=[(row["product"], figure.caption.format(n=row["n"])) for row in found.rows],
        looked_at=found.looked_at,
        next_query={**part.query, **asked, "after": found.next_after, "page": next_page}
        if found.next_after or next_page
        else None,
        is_first=not after and page == 1,
        options=filter_options(counts, known.encoders),
        products_count=count_products(counts, part),
        pictures=pictures.find_images(s.run, ids),
        lists_history=figure.value_name == "since",
    )


@lru_cache(32)
def _read_hubs(
    published: PublishedRepository, part: RunPart, run: str, signature: str
) -> list[dict[str, Any]]:
    """Return the products that lists recommend most; cached until another run is published."""
    with open_part(published, part) as s:
        rows = s.most_recommended(MAX_HUBS, *part.where(2)) if s.run == run else []
    return [{"product": row["product"], "n": row["lists_count"]} for row in rows]
