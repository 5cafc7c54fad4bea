"""Rows of the quality page's tables, made of the metrics of a run or of a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wearalike.quality.metrics import K
from wearalike.server.run_part import PartFigures, RunPart
from wearalike.tables import (
    FEEDS,
    LOOK_PRODUCTS,
    OFFERS,
    PRODUCT_VARIANTS,
    PRODUCTS,
    RUN_TABLES,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
)

MAX_WORST_CATEGORIES = 20
_EXPOSURE_METRICS = (
    "could_be_shown_ratio",
    "shown_share_ratio",
    "recommended_ratio",
    "hub_share_ratio",
)
# The products behind the rows of a table; of others, those with a picture that is compared.
_FIGURE_OF_TABLE = {
    FEEDS.name: "products",
    OFFERS.name: "products",
    PRODUCTS.name: "products",
    PRODUCT_VARIANTS.name: "variants",
    SIMILAR_PRODUCTS.name: "with_list",
    SIMILAR_LISTS.name: "products",
    LOOK_PRODUCTS.name: "looks",
}


def describe_variants(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return how each variant of the run differs from the control, by experiment and variant."""
    return {
        (row["experiment"], row["variant"]): ", ".join(
            f"{name} {row[name]}" for name in ("weights", "rules", "encoder") if row.get(name)
        )
        for row in rows
    }


def worst_verdict(missed: Sequence[dict[str, Any]]) -> str:
    """Return "fail", "warn" or "ok"."""
    verdicts = {m["verdict"] for m in missed}
    return next((v for v in ("fail", "warn") if v in verdicts), "ok")


def tile_values(
    by_scope: Mapping[str, Mapping[str, Any]],
    part: RunPart,
    measured: PartFigures | None,
    products_count: int,
) -> dict[str, Any]:
    """Return value and unit of metrics: those of the run where it measured the part itself."""
    found: dict[str, Any] = {"products_count": {"value": products_count, "unit": "count"}}
    if measured:
        values = measured.values.items()
        found |= {name: {"value": v, "unit": "ratio"} for name, v in values if v is not None}
    return found | dict(by_scope.get(part.scope or "", {}))


def short_lists(by_scope: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the number of short lists by reason."""
    return [
        (scope.removeprefix("reason="), of["short_lists_count"]["value"])
        for scope, of in by_scope.items()
        if "short_lists_count" in of
    ]


def funnel_rows(by_scope: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
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
        for table in RUN_TABLES
        if table.name in tables
    }
    long = (SIMILAR_PRODUCTS.name, SIMILAR_PRODUCTS_VARIANTS.name)
    sizes = [c["written"] for name, c in counts.items() if name not in long]
    most = max([1.0, *sizes])
    return [
        {
            "table": name,
            **count,
            "share": min(1.0, count["written"] / most),
            "figure": _FIGURE_OF_TABLE.get(name, "compared"),
        }
        for name, count in counts.items()
    ]


def exposure_rows(
    by_scope: dict[str, dict[str, dict[str, Any]]], part: RunPart
) -> list[dict[str, Any]]:
    """Return which share of the recommendations each shop gets, by shop; none of categories."""
    if part.category or part.super_category:
        return []
    prefix = f"shop={part.shop or ''}"
    return [
        {"shop": scope.removeprefix("shop=")}
        | {
            name: metrics[name]["value"] if name in metrics else None
            for name in (*_EXPOSURE_METRICS, "most_recommended_count")
        }
        for scope, metrics in sorted(by_scope.items())
        if (scope == prefix if part.shop else scope.startswith(prefix))
        and "," not in scope
        and "recommended_ratio" in metrics
    ]


def worst_categories(
    by_scope: dict[str, dict[str, dict[str, Any]]], part: RunPart, measured: PartFigures | None
) -> list[dict[str, Any]]:
    """Return the leaf categories with the smallest gain over random, smallest first.

    A run measures no gain by shop and super-category: there the lowest precision comes first.
    """
    if measured and (part.shop or part.super_category):
        return [{**row, "gain": None} for row in measured.worst]
    name = f"leaf_precision@{K}"
    rows = []
    for scope, metrics in by_scope.items():
        is_inside = part.is_whole_run or part.has_scope(scope)
        if scope.startswith("category=") and f"{name}_gain" in metrics and is_inside:
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
