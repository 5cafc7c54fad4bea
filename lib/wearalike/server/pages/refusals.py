"""The refusals of a run: in groups for the quality page, and as a list of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from wearalike.catalog import CategoryReason
from wearalike.server.pages.base import (
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
)
from wearalike.server.pages.part_filters import read_part
from wearalike.server.run_part import open_part
from wearalike.storage import run_tables
from wearalike.tables import SIMILAR_PRODUCTS

router = APIRouter()
MAX_EXAMPLES = 3
MAX_UNMAPPED_WORDS = 100
ROWS_PER_PAGE = 100
_LAST_PAGE = 100_000
# Columns by which the list is filtered, by parameter of the address.
_FILTERS = {"stage": "stage", "reason": "reason", "shop": "shop_id", "detail": "detail"}


@router.get("/quality/refused")
def refused_page(request: Request) -> HTMLResponse:
    """List what the run refused, a page at a time."""
    published, _ = app_repository_and_images(request)
    part = read_part(request.query_params)
    asked = {name: query_param(request.query_params, name, 1000) for name in _FILTERS}
    page = clamped_int(request.query_params.get("page"), 1, _LAST_PAGE, 1)
    with open_part(published, part) as s:
        run, signature = s.run, s.signature
    table = _read_refused(request.app.state.settings.data_dir, run, signature)
    found = table
    for name, column in _FILTERS.items():
        if found is not None and asked[name]:
            found = found.filter(pc.equal(found[column], asked[name]))
    count = len(found) if found is not None else 0
    start = (page - 1) * ROWS_PER_PAGE
    return render_page(
        request,
        "refused.html",
        run=run,
        part=part,
        asked=asked,
        is_there=table is not None,
        count=count,
        rows=found.slice(start, ROWS_PER_PAGE).to_pylist() if found is not None else [],
        page=page,
        has_next=start + ROWS_PER_PAGE < count,
    )


@lru_cache(2)
def _read_refused(root: Path, run: str, signature: str) -> pa.Table | None:
    """Return what a run refused; None if its tables are gone.

    The signature is part of the cache's key: a run may be published again with other tables.
    """
    if not run_tables.is_complete(root, SIMILAR_PRODUCTS, run):
        return None
    return run_tables.read_refused(root, run)


@lru_cache(2)
def read_refusal_groups(
    root: Path, run: str, signature: str
) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """Group the run's refusals by stage, reason and shop, most first, with examples.

    The second result lists the shops' category words that no mapping has. The first is None if
    the run's tables are gone. The signature is part of the cache's key: a run may be published
    again with other tables.

    Args:
        root: The data folder.
        run: The run.
        signature: Its signature.
    """
    table = _read_refused(root, run, signature)
    if table is None:
        return None, []
    examples: dict[tuple[str, str, str | None], list[tuple[str, str | None]]] = defaultdict(list)
    counts: Counter[tuple[str, str, str | None]] = Counter()
    words: Counter[tuple[str, str]] = Counter()
    for row in table.to_pylist():
        group = (row["stage"], row["reason"], row["shop_id"])
        counts[group] += 1
        if len(examples[group]) < MAX_EXAMPLES:
            examples[group].append((row["key"], row["detail"]))
        if row["reason"] == CategoryReason.UNMAPPED_CATEGORY and row["detail"]:
            words[row["shop_id"], row["detail"]] += 1
    by_count = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0][0], entry[0][1]))
    refused = [
        {
            "stage": group[0],
            "reason": group[1],
            "shop_id": group[2],
            "count": count,
            "examples": examples[group],
        }
        for group, count in by_count
    ]
    unmapped = [
        {"shop_id": shop, "word": word, "count": count}
        for (shop, word), count in sorted(words.items(), key=lambda e: (-e[1], e[0]))
    ]
    return refused, unmapped
