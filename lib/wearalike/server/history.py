"""A product's history over the runs: when each recommendation came and went, and why.

It is read from the published tables of the runs that the warehouse holds. Which rule kept a product
out is told while the data folder has the run's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pydantic import BaseModel, Field

from wearalike.catalog.merchandising_rules import MerchandisingRuleKind
from wearalike.quality.rule_checks import BROKEN_RULE, RULE_COLUMNS, broken_rule_macro_sql
from wearalike.server.history_reasons import (
    ChangeCause,
    ChangeReason,
    ListInRun,
    explain_arrival,
    explain_departure,
)
from wearalike.storage import run_tables
from wearalike.tables import MATCHES, PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import RunLoad, WarehouseState
from wearalike.warehouse.reader import LoadedRuns

# The newest runs that a history looks at, and the places of a list.
MAX_RUNS = 30
MAX_RANK = 100
# Read of each product; the rest of a row is of no use here.
_PRODUCT_COLUMNS = (
    *RULE_COLUMNS,
    "title",
    "availability",
    "super_category",
    "gender",
    "age_group",
    "article_id",
    "group_id",
)
_IN_RUNS = "run = ANY($1::text[])"
_MEASURES = ("weight", "distance")
# A join, because DuckDB compares a row with every entry of a list, one by one.
_IN_PRODUCTS = f"{_IN_RUNS} AND product_id IN (SELECT unnest($2::text[]))"


class HistoryRun(BaseModel):
    """A run that was published, and the product in it."""

    run: str = Field(description="its name")
    loaded_at: datetime = Field(description="when its tables came into the warehouse, UTC")
    is_published: bool = Field(description="true for the run that the site reads now")
    has_product: bool = Field(description="the run has the product")
    availability: str | None = Field(description="of the product; null where the run lacks it")
    category: str | None = Field(description="of the product; null where the run lacks it")
    similar_count: int = Field(description="recommendations in it")
    shortfall_reason: str | None = Field(
        description="why the list is short (search.ShortfallReason); null for a full list"
    )
    encoder: str | None = Field(description="model that made the codes; null without a list")
    came_count: int = Field(description="recommendations that the run before did not have")
    went_count: int = Field(description="recommendations of the run before that it does not have")


class ListedSpan(BaseModel):
    """Runs one after the other that all recommend a product."""

    first_run: str = Field(description="the first of them")
    last_run: str = Field(description="the last of them")
    came_reason: ChangeReason = Field(description="why it came (server.ChangeReason)")
    came_detail: str = Field(description="the same as a sentence")
    went_run: str | None = Field(
        description="the run that recommends it no longer; null if it still does"
    )
    went_reason: ChangeReason | None = Field(description="why it went; null if it did not")
    went_detail: str | None = Field(description="the same as a sentence")
    first_rank: int = Field(description="its rank in the first run")
    last_rank: int = Field(description="its rank in the last run")
    score: float = Field(description="its score in the last run")


class RecommendationHistory(BaseModel):
    """A recommended product, and when it came and went."""

    similar_product_id: str = Field(description="the recommended product")
    title: str | None = Field(description="in the newest run that has it")
    is_listed: bool = Field(description="the newest of the runs recommends it")
    spans: list[ListedSpan] = Field(description="the newest first")


class ProductHistory(BaseModel):
    """A product over the runs that were published and that the warehouse still holds."""

    product_id: str = Field(description="the product")
    title: str | None = Field(description="in the newest run that has it")
    runs: list[HistoryRun] = Field(description="the newest first")
    older_runs_count: int = Field(description="published runs before these that are left out")
    recommendations: list[RecommendationHistory] = Field(
        description="those of the newest run first, by rank; then the last to go first"
    )


def read_history(root: Path, loaded: LoadedRuns, product_id: str) -> ProductHistory | None:
    """Read a product's history.

    Args:
        root: The data folder; its runs tell the rules, where it still has them.
        loaded: The runs that the warehouse holds.
        product_id: "<shop>:<offer id>".

    Returns:
        The history, or None if no run has the product.
    """
    loads = _published_loads(loaded.state)
    shown = loads[-MAX_RUNS:]
    lists = _read_lists(root, loaded, shown, product_id)
    newest = next((at.product for at in reversed(lists) if at.product), None)
    if newest is None:
        return None
    return ProductHistory(
        product_id=product_id,
        title=newest["title"],
        runs=_describe_runs(shown, lists, loaded.state)[::-1],
        older_runs_count=len(loads) - len(shown),
        recommendations=_describe_recommendations(lists),
    )


def _published_loads(state: WarehouseState) -> list[RunLoad]:
    """Return the loads of runs that were ever published, in the order in which they came."""
    published = {move.run for move in state.publications}
    return [load for load in reversed(state.loads) if load.run in published]


def _read_lists(
    root: Path, loaded: LoadedRuns, loads: Sequence[RunLoad], product_id: str
) -> list[ListInRun]:
    """Return the product's list in each run, with the rules that keep others out."""
    if "\0" in product_id:
        return []
    runs = [load.run for load in loads]
    row_columns = "p.run, p.similar_product_id, p.rank, p.score, p.rule, p.fallback, p.encoder"
    distances = [f"{n}_{what}" for n in ("shape", "colour", "kind") for what in _MEASURES]
    rows = loaded.query(
        f"SELECT {row_columns}, p.detector, p.colour_name_distance, {', '.join(distances)} "
        f"FROM similar_products AS p WHERE {_IN_RUNS} AND product_id = $2 AND rank <= {MAX_RANK} "
        "ORDER BY rank",
        [runs, product_id],
    )
    ids = sorted({row["similar_product_id"] for row in rows} | {product_id})
    weights = "shape_weight, colour_weight, kind_weight"
    found = loaded.query(
        f"SELECT run, {', '.join(_PRODUCT_COLUMNS)}, {weights} FROM products WHERE {_IN_PRODUCTS}",
        [runs, ids],
    )
    listed = loaded.query(
        "SELECT run, product_id, similar_count, shortfall_reason, item_id FROM similar_lists "
        f"WHERE {_IN_PRODUCTS}",
        [runs, ids],
    )
    rows_of = _group_by_run(rows, "similar_product_id")
    products_of, listed_of = _group_by_run(found), _group_by_run(listed)
    lists: list[ListInRun] = []
    for load in loads:
        products = products_of.get(load.run, {})
        lists_of_all = listed_of.get(load.run, {})
        own = products.get(product_id)
        others = [row for i, row in products.items() if i != product_id]
        lists.append(
            ListInRun(
                load.run,
                own,
                lists_of_all.get(product_id),
                rows_of.get(load.run, {}),
                products,
                {i: row["item_id"] for i, row in lists_of_all.items()},
                find_broken_rules(root, load, own, others) if own else {},
            )
        )
    return lists


def _group_by_run(
    rows: Iterable[dict[str, Any]], key: str = "product_id"
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return rows by run, and in each run by a column."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["run"], {})[row[key]] = row
    return groups


def find_broken_rules(
    root: Path, load: RunLoad, page: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the hide or require rule of a run that keeps products off a product's page.

    Args:
        root: The data folder.
        load: The run, as the warehouse holds it.
        page: The product's row, with RULE_COLUMNS.
        shown: Rows of the others.

    Returns:
        "hide:<id>" or "require:<id>" by product_id. None where no rule keeps it out, and none at
        all where the data folder lacks the tables that were published.
    """
    try:
        if publish.run_signature(root, load.run) != load.signature:
            return {}
        parameters = run_tables.read_manifest(root, MATCHES, load.run)["parameters"]
    except run_tables.TableNotFound:
        return {}
    kinds = (MerchandisingRuleKind.HIDE, MerchandisingRuleKind.REQUIRE)
    rules = [rule for rule in parameters.get("merchandise", []) if rule["kind"] in kinds]
    if not rules or not shown:
        return {}
    fields = [PRODUCTS.arrow_schema.field(name).with_nullable(True) for name in RULE_COLUMNS]

    def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        cut = [{name: row[name] for name in RULE_COLUMNS} for row in rows]
        return pa.Table.from_pylist(cut, schema=pa.schema(fields))

    with duckdb.connect(config={"threads": 1}) as con:
        con.register("pages", table([page]))
        con.register("shown", table(shown))
        con.execute(broken_rule_macro_sql(rules))
        found = con.execute(
            f"SELECT a.product_id, {BROKEN_RULE} AS rule FROM pages AS p, shown AS a"
        ).fetchall()
    return {product_id: rule for product_id, rule in found if rule}


def _describe_runs(
    loads: Sequence[RunLoad], lists: Sequence[ListInRun], state: WarehouseState
) -> list[HistoryRun]:
    """Return the runs, the oldest first."""
    found = []
    before: ListInRun | None = None
    for load, at in zip(loads, lists, strict=True):
        product, listed = at.product or {}, at.listed or {}
        found.append(
            HistoryRun(
                run=load.run,
                loaded_at=load.loaded_at,
                is_published=load.run == state.published_run,
                has_product=at.product is not None,
                availability=product.get("availability"),
                category=product.get("category"),
                similar_count=len(at.rows),
                shortfall_reason=listed.get("shortfall_reason"),
                encoder=next((row["encoder"] for row in at.rows.values()), None),
                came_count=len(at.rows.keys() - before.rows.keys()) if before else 0,
                went_count=len(before.rows.keys() - at.rows.keys()) if before else 0,
            )
        )
        before = at
    return found


def _describe_recommendations(lists: Sequence[ListInRun]) -> list[RecommendationHistory]:
    """Return every recommended product with its spans."""
    spans: dict[str, list[ListedSpan]] = {}
    positions = {at.run: number for number, at in enumerate(lists)}
    if lists:
        text = f"it was there in {lists[0].run}, the oldest run that is looked at"
        for product_id in lists[0].rows:
            cause = ChangeCause(ChangeReason.OLDEST_RUN, text)
            spans[product_id] = [_begin_span(lists[0], product_id, cause)]
    for former, now in pairwise(lists):
        for product_id, row in now.rows.items():
            if product_id in former.rows:
                span = spans[product_id][0]
                span.last_run, span.last_rank, span.score = now.run, row["rank"], row["score"]
            else:
                cause = explain_arrival(former, now, product_id)
                spans.setdefault(product_id, []).insert(0, _begin_span(now, product_id, cause))
        for product_id in former.rows.keys() - now.rows.keys():
            cause = explain_departure(former, now, product_id)
            span = spans[product_id][0]
            span.went_run, span.went_reason, span.went_detail = now.run, cause.reason, cause.detail

    def order(product_id: str) -> tuple[int, int, str]:
        span = spans[product_id][0]
        return -positions[span.last_run], span.last_rank, product_id

    return [
        RecommendationHistory(
            similar_product_id=product_id,
            title=next(
                (
                    str(at.products[product_id]["title"])
                    for at in reversed(lists)
                    if product_id in at.products
                ),
                None,
            ),
            is_listed=product_id in lists[-1].rows,
            spans=spans[product_id],
        )
        for product_id in sorted(spans, key=order)
    ]


def _begin_span(at: ListInRun, product_id: str, cause: ChangeCause) -> ListedSpan:
    """Return a span that begins, and so far ends, in a run."""
    row = at.rows[product_id]
    return ListedSpan(
        first_run=at.run,
        last_run=at.run,
        came_reason=cause.reason,
        came_detail=cause.detail,
        went_run=None,
        went_reason=None,
        went_detail=None,
        first_rank=row["rank"],
        last_rank=row["rank"],
        score=row["score"],
    )
