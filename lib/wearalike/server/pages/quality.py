"""The quality page: metrics of the published run and of the runs before it.

It shows plots over runs, the size of each table, the worst categories and the refusals.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from wearalike.ops.disk_usage import describe_bytes, measure_disk
from wearalike.quality import event_rates, experiment_rates, judgement_metrics
from wearalike.quality.metrics import K
from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.reports.product_figures import FIGURE_OF_METRIC
from wearalike.server.api import limit_searches
from wearalike.server.pages import quality_rows
from wearalike.server.pages.base import app_repository_and_images, render_page
from wearalike.server.pages.part_filters import (
    KnownRuns,
    count_products,
    filter_options,
    is_judged_in,
    link_of_metric,
    read_known_runs,
    read_part,
)
from wearalike.server.pages.refusals import MAX_UNMAPPED_WORDS, read_refusal_groups
from wearalike.server.pages.run_plots import build_run_plot
from wearalike.server.run_part import PartFigures, RunPart, measure_part, open_part
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_order

router = APIRouter()
# Plots and their table show at most this many runs.
MAX_RUNS = 60
# A folder of a million files is not listed for every visitor, seconds.
DISK_AGE_S = 600
_TILE_METRICS = (
    ("products_count", "products"),
    ("with_5_matches_ratio", "have 5 or more matches"),
    (f"precision@{K}", f"precision@{K}, by the shops’ categories"),
    (f"leaf_precision@{K}", f"precision@{K}, by our categories"),
    (f"precision@{K}_lift", "times random precision"),
    ("cross_shop_ratio", "recommend another shop"),
    ("recommended_ratio", "of products in stock are ever recommended"),
    ("hub_share_ratio", "of recommendations go to the top 1 % of products"),
    ("spread@10", "of bits differ between two results of a list"),
    (f"churn@{K}", f"churn@{K} since the last run"),
)
_PLOT_METRICS = (
    ("products_count", "Products"),
    ("with_5_matches_ratio", "With 5 or more matches"),
    (f"precision@{K}", f"Precision@{K}"),
    (f"leaf_precision@{K}", f"Leaf precision@{K}"),
    (f"churn@{K}", f"Churn@{K}"),
    ("score_p50", "Median score"),
)
MAX_HUBS = 8


@router.get("/quality")
def quality_page(request: Request) -> HTMLResponse:
    """Show the metrics of a run, or of the part that the filters leave, and the plots over runs."""
    published, pictures = app_repository_and_images(request)
    root = request.app.state.settings.data_dir
    part = read_part(request.query_params)
    if part != RunPart():
        limit_searches(request)
    with published.snapshot() as now:
        published_run, published_at = now.run, now.publication.published_at
    with open_part(published, part) as s:
        metrics = s.quality()
        counts = s.category_counts()
        differences = quality_rows.describe_variants(s.list_variants())
        judgements = request.app.state.annotation_queue.all_judgements()
    known = read_known_runs(published, published_run, published_at)
    page: dict[str, Any] = {
        "run": s.run,
        "is_published": s.run == published_run,
        "published_at": s.publication.published_at,
        "part": part,
        "options": filter_options(counts, known.encoders),
        "products_count": count_products(counts, part),
        "former_run": known.former(s.run),
    }
    if not page["products_count"]:
        return render_page(request, "quality.html", **page)
    by_scope: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for metric in metrics:
        by_scope[metric["scope"]][metric["metric"]] = metric
    is_whole = part.is_whole_run
    measured = None if is_whole else _measure(published, part, s.run, s.signature)
    history = {}
    if part.scope:
        history = _metric_history(published, s.run, s.signature, part.scope)
    rows_of = {name: _rows_by(part.encoder, rows, known) for name, rows in history.items()}
    missed = [
        m
        for m in metrics
        if m["verdict"] in ("warn", "fail") and (is_whole or part.has_scope(m["scope"]))
    ]
    hubs = _hubs(published, part, s.run, s.signature)
    refused, unmapped = read_refusal_groups(root, s.run, s.signature)
    leaves = {
        row["category"] for row in counts if part.super_category in (None, row["super_category"])
    }
    in_part = [j for j in judgements if is_judged_in(part, j, leaves)]
    return render_page(
        request,
        "quality.html",
        **page,
        verdict=quality_rows.worst_verdict(missed),
        missed=[(m, *link_of_metric(m, part)) for m in missed],
        figures=quality_rows.tile_values(by_scope, part, measured, page["products_count"]),
        measured_count=measured.measured_count if measured else None,
        tiles=_TILE_METRICS,
        figure_of=FIGURE_OF_METRIC,
        plots=[
            build_run_plot(metric, title, rows_of[metric])
            for metric, title in _PLOT_METRICS
            if rows_of.get(metric)
        ],
        runs=sorted(
            {row["run"] for rows in rows_of.values() for row in rows},
            key=run_order.name_order,
            reverse=True,
        ),
        held_runs=known.held,
        left_out_count=len({r["run"] for rows in history.values() for r in rows} - known.held)
        if part.encoder
        else 0,
        funnel=quality_rows.funnel_rows(by_scope) if is_whole else [],
        hubs=hubs,
        pictures=pictures.find_images(s.run, [row["similar_product_id"] for row in hubs]),
        exposure=quality_rows.exposure_rows(by_scope, part),
        worst=quality_rows.worst_categories(by_scope, part, measured),
        short=measured.short if measured else quality_rows.short_lists(by_scope),
        shortfall_texts={str(reason): text for reason, text in SHORTFALL_TEXTS.items()},
        judged=next(iter(judgement_metrics.precision_by_category(in_part)), None),
        refused=refused and [row for row in refused if part.shop in (None, row["shop_id"])],
        unmapped=[row for row in unmapped if part.shop in (None, row["shop_id"])][
            :MAX_UNMAPPED_WORDS
        ],
        event_rates=[r for r in event_rates.read_rates(root, s.run) if _is_rate_of(part, r)],
        run_encoder=known.encoders.get(s.run),
        differences=differences,
        variant_rates=experiment_rates.read_variant_rates(root, s.run) if is_whole else [],
        disk=_disk_rows(root, int(time.monotonic() // DISK_AGE_S)) if is_whole else [],
    )


def _rows_by(
    encoder: str | None, rows: Sequence[dict[str, Any]], known: KnownRuns
) -> list[dict[str, Any]]:
    """Return the rows of the runs by an encoder; all rows for None."""
    return [row for row in rows if encoder in (None, known.encoders.get(row["run"]))]


def _is_rate_of(part: RunPart, row: Mapping[str, Any]) -> bool:
    """Tell if rates of events are of a part; of a whole run all are."""
    return part.is_whole_run or part.has_scope(f"{row['dimension']}={row['part']}")


@lru_cache(64)
def _measure(
    published: PublishedRepository, part: RunPart, run: str, signature: str
) -> PartFigures | None:
    """Return the figures of a part; cached until another run is published."""
    with open_part(published, part) as s:
        return measure_part(s, part, quality_rows.MAX_WORST_CATEGORIES) if s.run == run else None


@lru_cache(1)
def _disk_rows(root: Path, period: int) -> list[dict[str, Any]]:
    """Return what the data folder takes by kind, the largest first; cached for a period."""
    del period  # the cache's key
    usage = sorted(measure_disk(root).items(), key=lambda item: -item[1].bytes)
    total = sum(used.bytes for _, used in usage)
    return [
        {
            "kind": str(kind),
            "size": describe_bytes(used.bytes),
            "files": used.files,
            "share": used.bytes / max(1, total),
        }
        for kind, used in usage
    ]


@lru_cache(16)
def _metric_history(
    published: PublishedRepository, run: str, signature: str, scope: str
) -> dict[str, list[dict[str, Any]]]:
    """Return each plotted metric of a scope by run; cached until another run is published."""
    return {
        metric: published.quality_history(metric, scope)[-MAX_RUNS:] for metric, _ in _PLOT_METRICS
    }


@lru_cache(32)
def _hubs(
    published: PublishedRepository, part: RunPart, run: str, signature: str
) -> list[dict[str, Any]]:
    """Return the products recommended most, each with its product; cached as the plots are."""
    with open_part(published, part) as s:
        return s.most_recommended(MAX_HUBS, *part.where(2)) if s.run == run else []
