"""A part of a run, as the filters of the quality page name it, and its figures.

The run's metrics are measured by shop, by super-category and by leaf. The figures of any other part
are read from its published tables, on at most MAX_MEASURED_PRODUCTS of its products.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.quality.metrics import K
from wearalike.server.condition_sql import number_placeholders, write_conditions
from wearalike.server.snapshot import PublishedRepository, Snapshot
from wearalike.warehouse.reader import LoadedRuns

# A part with more products is measured on so many, drawn by the hash of their id.
MAX_MEASURED_PRODUCTS = 5_000
# Runs that are asked for their encoder, the newest first.
MAX_ENCODER_RUNS = 60


@dataclass(frozen=True, slots=True)
class RunPart:
    """The products that filters leave, in a run.

    Attributes:
        shop: A shop_id; None for all.
        super_category: A super-category; None for all.
        category: A leaf or branch of the taxonomy; None for all.
        encoder: The newest published run by this encoder is meant; None for the published run.
        run: A loaded run by its name; None for the published one, or that of the encoder.
    """

    shop: str | None = None
    super_category: str | None = None
    category: str | None = None
    encoder: str | None = None
    run: str | None = None

    @property
    def is_whole_run(self) -> bool:
        """True if it has every product of its run."""
        return (self.shop, self.super_category, self.category) == (None, None, None)

    @property
    def query(self) -> dict[str, str | None]:
        """The part as parameters of an address."""
        return {
            "shop": self.shop,
            "super": self.super_category,
            "category": self.category,
            "encoder": self.encoder,
            "run": self.run,
        }

    @property
    def scope(self) -> str | None:
        """The scope of the metrics of exactly this part; None where no run measures it."""
        scopes = {"shop": self.shop, "super_category": self.super_category}
        scopes["category"] = self.category
        named = [f"{name}={value}" for name, value in scopes.items() if value]
        return "all" if not named else named[0] if len(named) == 1 else None

    def has_scope(self, scope: str) -> bool:
        """Tell if a metric's scope is of this part: names one of its filters, and no other value.

        Args:
            scope: E.g. "shop=moda" or "stage=offers,reason=bad_price,shop=moda".
        """
        dimensions = dict(pair.partition("=")[::2] for pair in scope.split(","))
        wanted = {"shop": self.shop, "super_category": self.super_category}
        named = {name: value for name, value in wanted.items() if value and name in dimensions}
        fits = all(dimensions[name] == value for name, value in named.items())
        if self.category and "category" in dimensions:
            named["category"] = self.category
            fits = fits and f"{dimensions['category']}.".startswith(f"{self.category}.")
        return bool(named) and fits

    def where(self, first: int) -> tuple[str, list[str]]:
        """Return conditions on rows of `products`, each after " AND ", and their values.

        Args:
            first: The number of the first placeholder.
        """
        conditions = ProductConditions(
            shops=(self.shop,) if self.shop else (),
            categories=(self.category,) if self.category else (),
        )
        found = write_conditions(conditions)
        if self.super_category:
            found.append(("super_category = {}", [self.super_category]))
        return number_placeholders(found, first)


@contextlib.contextmanager
def open_part(published: PublishedRepository, part: RunPart) -> Iterator[Snapshot]:
    """Open the run that a part is of.

    Args:
        published: The published runs.
        part: The part. If it names a run or an encoder, statements may look at other runs, too.

    Raises:
        HTTPException: 404; the warehouse holds no such run, or no published run by the encoder.
    """
    if not (part.run or part.encoder):
        with published.snapshot() as s:
            yield s
        return
    with published.loaded_runs() as loaded:
        run = part.run or ""
        if part.encoder:
            run = _choose_run(loaded, part.encoder, part.run)
        if loaded.state.find_load(run) is None:
            held = ", ".join(load.run for load in loaded.state.loads[:10])
            raise HTTPException(404, f"The warehouse holds no run {run!r}; it holds {held}.")
        yield Snapshot(loaded.snapshot_of(run))


def _choose_run(loaded: LoadedRuns, encoder: str, run: str | None) -> str:
    """Return the published run if it is by an encoder, else the newest that is.

    Args:
        loaded: The runs that the warehouse holds.
        encoder: The encoder.
        run: The run wanted; None for any.

    Raises:
        HTTPException: 404; there is none.
    """
    encoders = read_encoders(loaded)
    runs = [r for r, found in encoders.items() if found == encoder and run in (None, r)]
    if not runs:
        known = ", ".join(sorted(set(encoders.values()))) or "none"
        which = f"run {run} is not" if run else "no published run is"
        raise HTTPException(
            404,
            f"Of the runs that the warehouse holds, {which} by the encoder {encoder!r}; "
            f"encoders of these runs: {known}.",
        )
    published_run = loaded.state.published_run
    return published_run if published_run in runs else runs[0]


def read_encoders(loaded: LoadedRuns) -> dict[str, str]:
    """Return the encoder of each published run that the warehouse holds, the newest first.

    Codes of two encoders are never compared, so one row tells it. A run without lists is left out.
    """
    published = {move.run for move in loaded.state.publications}
    runs = [load.run for load in loaded.state.loads if load.run in published]
    encoders = {}
    for run in runs[:MAX_ENCODER_RUNS]:
        rows = loaded.query("SELECT encoder FROM similar_products WHERE run = $1 LIMIT 1", [run])
        if rows:
            encoders[run] = rows[0]["encoder"]
    return encoders


# $1: the run. drawn: the products that are measured. found: what is judged of each.
# precision as quality.category_precision defines it: results of other shops count neither way.
_FIGURES_SQL = f"""
WITH drawn AS (
        SELECT product_id, shop_id, category, category_paths[1] AS path,
            availability = 'in_stock' AS is_in_stock
        FROM products WHERE run = $1{{where}} ORDER BY md5(product_id) LIMIT {{limit}}),
    listed AS (
        SELECT d.*, coalesce(l.similar_count, 0) AS similar_count, l.item_id IS NOT NULL AS has_item
        FROM drawn AS d LEFT JOIN similar_lists AS l
            ON l.run = $1 AND l.product_id = d.product_id),
    results AS (
        SELECT d.product_id, s.rank, s.score, a.shop_id <> d.shop_id AS is_foreign,
            a.category = d.category AS has_leaf,
            a.shop_id <> d.shop_id AND a.category_paths[1] IS NOT NULL AS is_foreign_path,
            a.shop_id = d.shop_id AND a.category_paths[1] = d.path AS has_path
        FROM drawn AS d JOIN similar_products AS s ON s.run = $1 AND s.product_id = d.product_id
        JOIN products AS a ON a.run = $1 AND a.product_id = s.similar_product_id),
    judged AS (
        SELECT l.product_id, l.category,
            CASE WHEN l.path IS NOT NULL THEN
                count(CASE WHEN r.has_path THEN 1 END)
                / nullif(CAST({K} - count(CASE WHEN r.is_foreign_path THEN 1 END)
                    AS double precision), 0)
            END AS precision,
            count(CASE WHEN r.has_leaf THEN 1 END) / CAST({K} AS double precision) AS leaf_precision
        FROM listed AS l LEFT JOIN results AS r
            ON r.product_id = l.product_id AND r.rank <= {K}
        WHERE l.has_item GROUP BY l.product_id, l.category, l.path),
    shown AS (
        SELECT DISTINCT similar_product_id AS product_id FROM similar_products
        WHERE run = $1 AND similar_product_id IN (SELECT product_id FROM drawn))
"""
_TOTALS_SQL = f"""{_FIGURES_SQL}
SELECT (SELECT count(*) FROM listed) AS measured_count,
    (SELECT avg(CASE WHEN similar_count >= 5 THEN 1.0 ELSE 0.0 END) FROM listed)
        AS with_5_matches_ratio,
    (SELECT avg(precision) FROM judged) AS "precision@{K}",
    (SELECT avg(leaf_precision) FROM judged) AS "leaf_precision@{K}",
    (SELECT avg(CASE WHEN is_foreign THEN 1.0 ELSE 0.0 END) FROM results) AS cross_shop_ratio,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY score) FROM results) AS score_p50,
    (SELECT avg(CASE WHEN w.product_id IS NULL THEN 0.0 ELSE 1.0 END)
        FROM listed AS l LEFT JOIN shown AS w ON w.product_id = l.product_id
        WHERE l.is_in_stock AND l.has_item) AS recommended_ratio
"""
_CATEGORIES_SQL = f"""{_FIGURES_SQL}
SELECT category, count(*) AS queries, avg(leaf_precision) AS precision
FROM judged GROUP BY category ORDER BY precision, category LIMIT {{rows}}
"""
_SHORT_LISTS_SQL = """
SELECT l.shortfall_reason AS reason, count(*) AS count FROM similar_lists AS l
WHERE l.run = $1 AND l.shortfall_reason IS NOT NULL AND l.product_id IN (
    SELECT product_id FROM products WHERE run = $1{where} ORDER BY md5(product_id) LIMIT {limit})
GROUP BY l.shortfall_reason ORDER BY count DESC, reason
"""


@dataclass(frozen=True, slots=True)
class PartFigures:
    """The figures of a part of a run.

    Attributes:
        measured_count: Products that they are of.
        values: Values by the name of the metric, as tables.QUALITY names it; None where there are
            no products to measure it on.
        worst: Dicts with category, queries and precision, the lowest precision first.
        short: (shortfall reason, products) of the short lists, most first.
    """

    measured_count: int
    values: dict[str, float | None]
    worst: list[dict[str, Any]]
    short: list[tuple[str, int]]


def measure_part(s: Snapshot, part: RunPart, max_categories: int) -> PartFigures:
    """Measure a part of a run on its published tables.

    Args:
        s: The run.
        part: The part.
        max_categories: Most categories to return.
    """
    where, values = part.where(2)
    texts = {"where": where, "limit": MAX_MEASURED_PRODUCTS, "rows": int(max_categories)}
    totals = s.query_rows(_TOTALS_SQL.format(**texts), *values)[0]
    measured_count = totals.pop("measured_count")
    return PartFigures(
        measured_count,
        {name: None if value is None else float(value) for name, value in totals.items()},
        s.query_rows(_CATEGORIES_SQL.format(**texts), *values),
        [
            (row["reason"], row["count"])
            for row in s.query_rows(_SHORT_LISTS_SQL.format(**texts), *values)
        ],
    )
