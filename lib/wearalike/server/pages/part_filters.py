"""The filters of the quality pages: read from the address, offered as a form, turned into links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from wearalike.quality.judgements import Judgement
from wearalike.reports.product_figures import FIGURE_OF_METRIC
from wearalike.server.pages.base import query_param
from wearalike.server.run_part import RunPart, read_encoders
from wearalike.server.snapshot import PublishedRepository


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """The published runs that the warehouse holds.

    Attributes:
        encoders: Encoder by run, the newest run first; runs without lists are left out.
    """

    encoders: Mapping[str, str]

    @property
    def held(self) -> set[str]:
        """The runs."""
        return set(self.encoders)

    def former(self, run: str) -> str | None:
        """Return the run before a run; None for the oldest.

        Args:
            run: The run.
        """
        runs = list(self.encoders)
        after = runs[runs.index(run) + 1 :] if run in self.encoders else []
        return after[0] if after else None


@lru_cache(8)
def read_known_runs(published: PublishedRepository, run: str, published_at: datetime) -> KnownRuns:
    """Return the published runs; cached until another run is published.

    Args:
        published: The published runs.
        run: The published run.
        published_at: When it was published.
    """
    with published.loaded_runs() as loaded:
        return KnownRuns(read_encoders(loaded))


def read_part(params: Mapping[str, str]) -> RunPart:
    """Return the part that the parameters of an address name.

    Args:
        params: Query parameters: shop, super, category, encoder and run.
    """
    return RunPart(
        shop=query_param(params, "shop"),
        super_category=query_param(params, "super"),
        category=query_param(params, "category"),
        encoder=query_param(params, "encoder"),
        run=query_param(params, "run"),
    )


def filter_options(
    counts: Iterable[Mapping[str, Any]], encoders: Mapping[str, str]
) -> dict[str, list[tuple[str, int | None]]]:
    """Return what each filter may be, with the number of products or None.

    Args:
        counts: Rows of `Snapshot.category_counts`.
        encoders: Encoder by run.
    """
    totals: dict[str, Counter[str]] = {n: Counter() for n in ("shop", "super", "category")}
    for row in counts:
        totals["shop"][row["shop_id"]] += row["products_count"]
        totals["super"][row["super_category"]] += row["products_count"]
        parts = row["category"].split(".")
        for length in range(1, len(parts) + 1):
            totals["category"][".".join(parts[:length])] += row["products_count"]
    found: dict[str, list[tuple[str, int | None]]] = {
        name: sorted(total.items()) for name, total in totals.items()
    }
    return found | {"encoder": [(name, None) for name in sorted(set(encoders.values()))]}


def count_products(counts: Iterable[Mapping[str, Any]], part: RunPart) -> int:
    """Return the number of products of a part.

    Args:
        counts: Rows of `Snapshot.category_counts` of its run.
        part: The part.
    """
    return sum(
        row["products_count"]
        for row in counts
        if part.shop in (None, row["shop_id"])
        and part.super_category in (None, row["super_category"])
        and (not part.category or f"{row['category']}.".startswith(f"{part.category}."))
    )


def link_of_metric(metric: Mapping[str, Any], part: RunPart) -> tuple[str, dict[str, str | None]]:
    """Return path and parameters of the list of what is behind a metric of a scope.

    Args:
        metric: A row of tables.QUALITY.
        part: The part that is shown; it names the run.
    """
    names = {"shop": "shop", "super_category": "super", "category": "category"}
    pairs = dict(pair.partition("=")[::2] for pair in str(metric["scope"]).split(","))
    scope = {names[name]: value for name, value in pairs.items() if name in names}
    query = {**part.query, **scope}
    if "stage" in pairs:
        return "/quality/refused", {**query, "stage": pairs["stage"], "reason": pairs["reason"]}
    if metric["metric"] == "short_lists_count":
        return "/quality/products", {**query, "figure": "short_list", "reason": pairs["reason"]}
    figure = FIGURE_OF_METRIC.get(metric["metric"], "products")
    return "/quality/products", {**query, "figure": figure}


def is_judged_in(part: RunPart, judgement: Judgement, leaves: Container[str]) -> bool:
    """Tell if a judged pair is of a product of a part, by its shop and its leaf.

    Args:
        part: The part.
        judgement: The judgement.
        leaves: The leaves of the part's super-category; all leaves where it names none.
    """
    shop = judgement.product_id.partition(":")[0]
    is_inside = not part.category or f"{judgement.category}.".startswith(f"{part.category}.")
    is_in_leaves = not part.super_category or judgement.category in leaves
    return is_inside and is_in_leaves and part.shop in (None, shop)
