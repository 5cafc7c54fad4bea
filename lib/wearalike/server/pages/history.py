"""The page of a product's history: when each recommendation came and went, and why."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.server.api import limit_searches
from wearalike.server.history import MAX_RUNS, RecommendationHistory, read_history
from wearalike.server.middleware import decode_segment
from wearalike.server.pages.base import (
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
)

router = APIRouter()
RECOMMENDATIONS_PER_PAGE = 48
_LAST_PAGE = 1_000


@router.get("/products/{product_id}/history")
def history_page(request: Request, product_id: str) -> HTMLResponse:
    """Show the runs that had the product, and its recommendations with their causes."""
    limit_searches(request)
    published, pictures = app_repository_and_images(request)
    product_id = decode_segment(product_id)
    with published.loaded_runs() as loaded:
        run = loaded.state.published_run
        history = read_history(request.app.state.settings.data_dir, loaded, product_id)
    if history is None:
        raise HTTPException(404, f"No published run has a product {product_id[:200]!r}.")
    reason = query_param(request.query_params, "reason")
    found = [one for one in history.recommendations if not reason or reason in _reasons(one)]
    page = clamped_int(request.query_params.get("page"), 1, _LAST_PAGE, 1)
    start = (page - 1) * RECOMMENDATIONS_PER_PAGE
    shown = found[start : start + RECOMMENDATIONS_PER_PAGE]
    ids = [product_id, *(one.similar_product_id for one in shown)]
    return render_page(
        request,
        "history.html",
        run=run,
        history=history,
        max_runs=MAX_RUNS,
        reason=reason,
        reasons=sorted(
            Counter(r for one in history.recommendations for r in _reasons(one)).items()
        ),
        found_count=len(found),
        shown=shown,
        page=page,
        has_next=start + RECOMMENDATIONS_PER_PAGE < len(found),
        is_shown_now=any(one.is_published and one.has_product for one in history.runs),
        pictures=pictures.find_images(run, ids) if run else {},
    )


def _reasons(one: RecommendationHistory) -> set[str]:
    """Return the reasons for which a recommendation ever came or went."""
    reasons = {str(span.came_reason) for span in one.spans}
    return reasons | {str(span.went_reason) for span in one.spans if span.went_reason}
