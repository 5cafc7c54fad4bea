"""The quality page: metrics of the published run and of the runs before it.

It shows plots over runs, the size of each table, the worst categories and the refusals.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from wearalike.catalog import CategoryReason
from wearalike.ops.disk_usage import describe_bytes, measure_disk
from wearalike.quality import event_rates, judgement_metrics
from wearalike.quality.metrics import K
from wearalike.reports.contact_sheet import SHORTFALL_TEXTS
from wearalike.server.pages.base import app_repository_and_images, render_page
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_order, run_tables
from wearalike.tables import SIMILAR_PRODUCTS, TABLES

router = APIRouter()
# Plots and their table show at most this many runs.
MAX_RUNS = 60
MAX_WORST_CATEGORIES = 20
MAX_EXAMPLES = 3
MAX_UNMAPPED_WORDS = 100
# A folder of a million files is not listed for every visitor, seconds.
DISK_AGE_S = 600
_TILE_METRICS = (
    ("products_count", "products"),
    ("with_5_matches_ratio", "have 5 or more matches"),
    (f"precision@{K}", f"precision@{K}, by the shops’ categories"),
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
_EXPOSURE_METRICS = (
    "could_be_shown_ratio",
    "shown_share_ratio",
    "recommended_ratio",
    "hub_share_ratio",
)
MAX_HUBS = 8
# Edges of a plot in the units of its viewBox, 320 by 150.
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 306, 12, 126


@dataclass(frozen=True, slots=True)
class RunPlot:
    """A metric over runs, as coordinates of an SVG plot.

    Attributes:
        title: Caption of the plot.
        description: The plot in words, for screen readers.
        line: Points of the line, as an SVG polyline has them.
        area: Points of the polygon of the intervals; empty without them.
        ticks: (y, text) of the vertical axis.
        points: (x, y, verdict, text) of each run.
        names: (x, run, text-anchor) of the first and the last run.
        values: The value as text, by run.
    """

    title: str
    description: str
    line: str
    area: str
    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, str | None, str]]
    names: list[tuple[float, str, str]]
    values: dict[str, str]


@router.get("/quality")
def quality_page(request: Request) -> HTMLResponse:
    """Show the metrics of the published run, and the plots over runs."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        metrics = s.quality()
        all_judgements = request.app.state.annotation_queue.all_judgements()
    history = _metric_history(published, s.run, s.signature)
    by_scope: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for metric in metrics:
        by_scope[metric["scope"]][metric["metric"]] = metric
    missed = [m for m in metrics if m["verdict"] in ("warn", "fail")]
    verdict = "warn" if missed else "ok"
    if any(m["verdict"] == "fail" for m in missed):
        verdict = "fail"
    hubs = _hubs(published, s.run, s.signature)
    refused, unmapped = _refusal_groups(request.app.state.settings.data_dir, s.run, s.signature)
    return render_page(
        request,
        "quality.html",
        run=s.run,
        published_at=s.publication.published_at,
        verdict=verdict,
        missed=missed,
        all=by_scope["all"],
        tiles=_TILE_METRICS,
        plots=[
            build_run_plot(title, history[metric])
            for metric, title in _PLOT_METRICS
            if history[metric]
        ],
        runs=sorted(
            {row["run"] for rows in history.values() for row in rows},
            key=run_order.name_order,
            reverse=True,
        ),
        funnel=_funnel_rows(by_scope),
        hubs=hubs,
        pictures=pictures.find_images(s.run, [row["similar_product_id"] for row in hubs]),
        exposure=_exposure_rows(by_scope),
        worst=_worst_categories(by_scope),
        short=[
            (scope.removeprefix("reason="), of["short_lists_count"]["value"])
            for scope, of in by_scope.items()
            if "short_lists_count" in of
        ],
        shortfall_texts={str(reason): text for reason, text in SHORTFALL_TEXTS.items()},
        judged=next(iter(judgement_metrics.precision_by_category(all_judgements)), None),
        refused=refused,
        unmapped=unmapped,
        event_rates=event_rates.read_rates(request.app.state.settings.data_dir, s.run),
        disk=_disk_rows(request.app.state.settings.data_dir, int(time.monotonic() // DISK_AGE_S)),
    )


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


@lru_cache(2)
def _metric_history(
    published: PublishedRepository, run: str, signature: str
) -> dict[str, list[dict[str, Any]]]:
    """Return each plotted metric by run; cached until another run is published."""
    return {metric: published.quality_history(metric)[-MAX_RUNS:] for metric, _ in _PLOT_METRICS}


def build_run_plot(title: str, rows: Sequence[dict[str, Any]]) -> RunPlot:
    """Build the plot of a metric over runs.

    Args:
        title: Caption of the plot.
        rows: The metric in some runs, by run, at least one: run, value, low, high, unit, verdict.

    Returns:
        The plot.
    """
    is_count = rows[0]["unit"] == "count"
    texts = [f"{row['value']:,.0f}" if is_count else f"{row['value']:.3f}" for row in rows]
    highest = max(row["value"] if row["high"] is None else row["high"] for row in rows)
    # Ratios above a half are drawn on the whole scale, so that plots can be compared.
    top = 1.0 if not is_count and highest > 0.5 else _round_up(highest)
    step = (_RIGHT - _LEFT) / max(1, len(rows) - 1)
    xs = [_LEFT + i * step for i in range(len(rows))]
    if len(rows) == 1:
        xs = [(_LEFT + _RIGHT) / 2]

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)

    def line(column: str) -> list[str]:
        return [f"{x:.1f},{y(row[column])}" for x, row in zip(xs, rows, strict=True)]

    has_area = len(rows) > 1 and all(None not in (row["low"], row["high"]) for row in rows)
    area = [*line("high"), *reversed(line("low"))] if has_area else []
    names = [(xs[0], str(rows[0]["run"])[:18], "start" if len(rows) > 1 else "middle")]
    if len(rows) > 1:
        names.append((xs[-1], str(rows[-1]["run"])[:18], "end"))
    has_whole_ticks = is_count and top >= 4
    tick_values = [top * share for share in (0, 0.5, 1)]
    described = zip(rows[-12:], texts[-12:], strict=True)
    return RunPlot(
        title=title,
        description=f"{title} by run: " + ", ".join(f"{r['run']} {text}" for r, text in described),
        line=" ".join(line("value")),
        area=" ".join(area),
        ticks=[(y(v), f"{v:,.0f}" if has_whole_ticks else f"{v:.2g}") for v in tick_values],
        points=[
            (round(x, 1), y(row["value"]), row["verdict"], f"{row['run']}: {text}")
            for x, row, text in zip(xs, rows, texts, strict=True)
        ],
        names=names,
        values={row["run"]: text for row, text in zip(rows, texts, strict=True)},
    )


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 10 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    exponent = len(f"{int(value)}") - 1
    if value < 1:
        exponent = -next(i for i in range(1, 30) if value * 10**i >= 1)
    power = 10.0**exponent
    return next(power * step for step in (1, 2, 4, 5, 10) if power * step >= value)


def _funnel_rows(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the size of each table, with its share of the largest.

    similar_products has many rows a product: its share is cut at 1.
    """
    prefix = "table="
    tables = {s.removeprefix(prefix): of for s, of in by_scope.items() if s.startswith(prefix)}
    counts = {
        table.name: {
            column: tables[table.name][f"rows_{column}_count"]["value"]
            for column in ("written", "refused")
        }
        for table in TABLES
        if table.name in tables
    }
    sizes = [c["written"] for name, c in counts.items() if name != SIMILAR_PRODUCTS.name]
    most = max([1.0, *sizes])
    return [
        {"table": name, **count, "share": min(1.0, count["written"] / most)}
        for name, count in counts.items()
    ]


def _exposure_rows(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return which share of the recommendations each shop gets, by shop."""
    prefix = "shop="
    return [
        {"shop": scope.removeprefix(prefix)}
        | {
            name: metrics[name]["value"] if name in metrics else None
            for name in (*_EXPOSURE_METRICS, "most_recommended_count")
        }
        for scope, metrics in sorted(by_scope.items())
        if scope.startswith(prefix) and "," not in scope and "recommended_ratio" in metrics
    ]


@lru_cache(2)
def _hubs(published: PublishedRepository, run: str, signature: str) -> list[dict[str, Any]]:
    """Return the products recommended most, each with its product; cached as the plots are."""
    with published.snapshot() as s:
        return s.most_recommended(MAX_HUBS) if s.run == run else []


def _worst_categories(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the leaf categories with the smallest gain over random, smallest first."""
    name = f"leaf_precision@{K}"
    rows = []
    for scope, metrics in by_scope.items():
        if scope.startswith("category=") and f"{name}_gain" in metrics:
            gain = metrics[f"{name}_gain"]
            rows.append(
                {
                    "category": scope.removeprefix("category="),
                    "precision": metrics[name]["value"],
                    "random": metrics[f"{name}_random"]["value"],
                    "queries": metrics[f"{name}_queries_count"]["value"],
                    "gain": gain["value"],
                    "low": gain["low"],
                    "high": gain["high"],
                }
            )
    return sorted(rows, key=lambda row: (row["gain"], row["category"]))[:MAX_WORST_CATEGORIES]


@lru_cache(2)
def _refusal_groups(
    root: Path, run: str, signature: str
) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """Group the run's refusals by stage, reason and shop, most first, with examples.

    The second result lists the shops' category words that no mapping has. The first is None if
    the run's tables are gone. The signature is part of the cache's key: a run may be published
    again with other tables.
    """
    if not run_tables.is_complete(root, SIMILAR_PRODUCTS, run):
        return None, []
    examples: dict[tuple[str, str, str | None], list[tuple[str, str | None]]] = defaultdict(list)
    counts: Counter[tuple[str, str, str | None]] = Counter()
    words: Counter[tuple[str, str]] = Counter()
    for row in run_tables.read_refused(root, run).to_pylist():
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
    return refused, unmapped[:MAX_UNMAPPED_WORDS]
