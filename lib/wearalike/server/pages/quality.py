"""The runs in numbers: plots over runs, the funnel, worst categories, what was refused, with examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from wearalike.catalog import CategoryReason
from wearalike.quality import judgements
from wearalike.quality.metrics import K
from wearalike.server.pages.base import app_repository_and_images, render_page
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_tables
from wearalike.tables import SIMILAR_PRODUCTS

router = APIRouter()
# Plots and tables go back so far.
MAX_RUNS = 60
MAX_WORST_CATEGORIES = 20
MAX_EXAMPLES = 3
MAX_UNMAPPED_WORDS = 100
_TILE_METRICS = (
    ("products_count", "products"),
    ("with_5_matches_ratio", "have 5 matches or more"),
    (f"precision@{K}", f"precision@{K}, by the shops’ categories"),
    (f"precision@{K}_lift", "times a blind draw"),
    ("cross_shop_ratio", "lead to another shop"),
    (f"churn@{K}", f"churn@{K} against the run before"),
)
_PLOT_METRICS = (
    ("products_count", "Products"),
    ("with_5_matches_ratio", "With 5 matches or more"),
    (f"precision@{K}", f"Precision@{K}"),
    (f"leaf_precision@{K}", f"Leaf precision@{K}"),
    (f"churn@{K}", f"Churn@{K}"),
    ("score_p50", "Median score"),
)
# Of a plot, in its own units.
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 306, 12, 126


@dataclass(frozen=True, slots=True)
class RunPlot:
    """A line over runs, ready to be drawn. ticks: (y, text). points: (x, y, verdict, text). names: (x, run, anchor) of the first
    and the last. values: texts by run. told: all of it in words."""

    title: str
    told: str
    line: str
    area: str
    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, str | None, str]]
    names: list[tuple[float, str, str]]
    values: dict[str, str]


@router.get("/quality")
def quality_page(request: Request) -> HTMLResponse:
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        measures = s.quality()
        found = request.app.state.desk.judged()
    history = _metric_history(published, s.run, s.signature)
    by_scope: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for measure in measures:
        by_scope[measure["scope"]][measure["metric"]] = measure
    missed = [m for m in measures if m["verdict"] in ("warn", "fail")]
    refused, unmapped = _refusal_groups(request.app.state.place.data_dir, s.run)
    return render_page(
        request,
        "quality.html",
        run=s.run,
        published_at=s.publication.published_at,
        verdict="fail"
        if any(m["verdict"] == "fail" for m in missed)
        else "warn"
        if missed
        else "ok",
        missed=missed,
        all=by_scope["all"],
        tiles=_TILE_METRICS,
        plots=[
            build_run_plot(title, history[measure])
            for measure, title in _PLOT_METRICS
            if history[measure]
        ],
        runs=sorted({row["run"] for rows in history.values() for row in rows}, reverse=True),
        funnel=_funnel_rows(by_scope),
        worst=_worst_categories(by_scope),
        short=[
            (scope[7:], of["short_lists_count"]["value"])
            for scope, of in by_scope.items()
            if "short_lists_count" in of
        ],
        judged=next(iter(judgements.precision_by_category(found)), None),
        refused=refused,
        unmapped=unmapped,
    )


@lru_cache(2)
def _metric_history(
    published: PublishedRepository, run: str, signature: str
) -> dict[str, list[dict[str, Any]]]:
    """Each plotted measure run by run, as it was when this run, of this signature, was first looked at."""
    return {measure: published.quality_history(measure)[-MAX_RUNS:] for measure, _ in _PLOT_METRICS}


def build_run_plot(title: str, rows: Sequence[dict[str, Any]]) -> RunPlot:
    """rows: one measure in some runs, by run, at least one: run, value, low, high, unit, verdict."""
    is_count = rows[0]["unit"] == "count"
    spoken = [f"{row['value']:,.0f}" if is_count else f"{row['value']:.3f}" for row in rows]
    highs = [row["value"] if row["high"] is None else row["high"] for row in rows]
    top = _round_up(max(highs)) if is_count else 1.0 if max(highs) > 0.5 else _round_up(max(highs))
    step = (_RIGHT - _LEFT) / max(1, len(rows) - 1)
    xs = [_LEFT + i * step if len(rows) > 1 else (_LEFT + _RIGHT) / 2 for i in range(len(rows))]

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)

    has_band = (
        all(row["low"] is not None and row["high"] is not None for row in rows) and len(rows) > 1
    )
    upper = (
        [f"{x:.1f},{y(row['high'])}" for x, row in zip(xs, rows, strict=True)] if has_band else []
    )
    lower = (
        [f"{x:.1f},{y(row['low'])}" for x, row in zip(xs, rows, strict=True)] if has_band else []
    )
    names = [(xs[0], str(rows[0]["run"])[:18], "start" if len(rows) > 1 else "middle")]
    if len(rows) > 1:
        names.append((xs[-1], str(rows[-1]["run"])[:18], "end"))
    return RunPlot(
        title,
        f"{title} run by run: "
        + ", ".join(
            f"{row['run']} {text}" for row, text in zip(rows[-12:], spoken[-12:], strict=True)
        ),
        " ".join(f"{x:.1f},{y(row['value'])}" for x, row in zip(xs, rows, strict=True)),
        " ".join([*upper, *reversed(lower)]),
        [
            (
                y(top * share),
                f"{top * share:,.0f}" if is_count and top >= 4 else f"{top * share:.2g}",
            )
            for share in (0, 0.5, 1)
        ],
        [
            (round(x, 1), y(r["value"]), r["verdict"], f"{r['run']}: {t}")
            for x, r, t in zip(xs, rows, spoken, strict=True)
        ],
        names,
        {row["run"]: text for row, text in zip(rows, spoken, strict=True)},
    )


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 10 times a power of ten; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = (
        10.0 ** (len(f"{int(value)}") - 1)
        if value >= 1
        else 10.0 ** (-next(i for i in range(1, 30) if value * 10**i >= 1))
    )
    return next(power * step for step in (1, 2, 4, 5, 10) if power * step >= value)


def _funnel_rows(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of each table; shares of the largest but the one that has many rows a product."""
    tables = {scope[6:]: of for scope, of in by_scope.items() if scope.startswith("table=")}
    order = [table.name for table in run_tables.tables.TABLES if table.name in tables]
    counts = {
        name: {of: tables[name][f"rows_{of}_count"]["value"] for of in ("written", "refused")}
        for name in order
    }
    most = max(
        [1.0, *(c["written"] for name, c in counts.items() if name != SIMILAR_PRODUCTS.name)]
    )
    return [
        {"table": name, **counts[name], "share": min(1.0, counts[name]["written"] / most)}
        for name in order
    ]


def _worst_categories(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    name = f"leaf_precision@{K}"
    found = [
        {
            "category": scope.removeprefix("category="),
            "precision": of[name]["value"],
            "random": of[f"{name}_random"]["value"],
            "queries": of[f"{name}_queries_count"]["value"],
            **{
                key: of[f"{name}_gain"][column]
                for key, column in (("gain", "value"), ("low", "low"), ("high", "high"))
            },
        }
        for scope, of in by_scope.items()
        if scope.startswith("category=") and f"{name}_gain" in of
    ]
    return sorted(found, key=lambda row: (row["gain"], row["category"]))[:MAX_WORST_CATEGORIES]


@lru_cache(2)
def _refusal_groups(
    root: Path, run: str
) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """What the run refused, by stage, reason and shop, the most first, with examples; and the words that no mapping knows.
    None where the run's tables are gone."""
    if not run_tables.is_complete(root, SIMILAR_PRODUCTS, run):
        return None, []
    groups: dict[tuple[str, str, str | None], list[tuple[str, str | None]]] = defaultdict(list)
    counts: dict[tuple[str, str, str | None], int] = defaultdict(int)
    words: dict[tuple[str, str], int] = defaultdict(int)
    for row in run_tables.read_refused(root, run).to_pylist():
        group = row["stage"], row["reason"], row["shop_id"]
        counts[group] += 1
        if len(groups[group]) < MAX_EXAMPLES:
            groups[group].append((row["key"], row["detail"]))
        if row["reason"] == CategoryReason.UNMAPPED_CATEGORY and row["detail"]:
            words[row["shop_id"], row["detail"]] += 1
    refused = [
        {
            "stage": stage,
            "reason": reason,
            "shop_id": shop,
            "count": counts[stage, reason, shop],
            "examples": examples,
        }
        for (stage, reason, shop), examples in groups.items()
    ]
    unmapped = [
        {"shop_id": shop, "word": word, "count": n}
        for (shop, word), n in sorted(words.items(), key=lambda e: (-e[1], e[0]))
    ]
    return sorted(refused, key=lambda row: (-row["count"], row["stage"], row["reason"])), unmapped[
        :MAX_UNMAPPED_WORDS
    ]
