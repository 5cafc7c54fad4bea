"""The rules page: the effect of the merchandiser's present rules on the published lists."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from wearalike import catalog
from wearalike.search import rules_preview
from wearalike.server.api import limit_searches
from wearalike.server.pages.base import app_repository_and_images, query_param, render_page
from wearalike.settings import today
from wearalike.storage import run_tables

router = APIRouter()
LISTS_PER_PAGE = 10
PRODUCTS_SHOWN = 20


@router.get("/rules")
def rules_page(request: Request) -> HTMLResponse:
    """Show the altered lists side by side, counts by rule, idle rules and contradictions."""
    published, pictures = app_repository_and_images(request)
    settings = request.app.state.settings
    path = catalog.rules_path(settings)
    day, start = _read_query(request)
    with published.snapshot() as s:
        context: dict[str, Any] = {"run": s.run, "day": day, "file": path.name, "start": start}
        context["is_away"] = False
        try:
            taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
            rules = catalog.read_rules(path, taxonomy)
        except catalog.BadMapping as error:
            return render_page(request, "rules.html", mistakes=error.mistakes, **context)
        except OSError as error:
            mistakes = [f"{error.filename or path}: {error.strerror or error}"]
            return render_page(request, "rules.html", mistakes=mistakes, **context)
        limit_searches(request)
        try:
            found = _cached_preview(settings.data_dir, s.run, s.signature, rules, day)
        except run_tables.TableNotFound:
            # Pruned, of an earlier version, or a server without the data folder.
            return render_page(request, "rules.html", mistakes=[], **{**context, "is_away": True})
        next_start = start + LISTS_PER_PAGE
        shown = found.changed[start : start + LISTS_PER_PAGE]
        places = [e.product_id for one in shown for e in (*one.before, *one.after)]
        ids = sorted({*places, *(one.product_id for one in shown)})
        return render_page(
            request,
            "rules.html",
            mistakes=[],
            preview=found,
            shown=shown,
            next_start=next_start if len(found.changed) > next_start else None,
            products=s.products(ids),
            pictures=pictures.find_images(s.run, ids),
            places=PRODUCTS_SHOWN,
            **context,
        )


def _read_query(request: Request) -> tuple[date, int]:
    """Return the day and the first list that the query asks for; today and 0 for nonsense."""
    try:
        day = date.fromisoformat(query_param(request.query_params, "day") or "")
    except ValueError:
        day = today()
    start = query_param(request.query_params, "start") or ""
    return day, int(start) if start.isdecimal() and len(start) < 9 else 0


@lru_cache(2)
def _cached_preview(
    root: Path, run: str, signature: str, rules: tuple[catalog.MerchandisingRule, ...], day: date
) -> rules_preview.RulesPreview:
    """Return the preview; the signature makes it anew when the run is published again."""
    return rules_preview.preview_rules(root, run, rules, day)
