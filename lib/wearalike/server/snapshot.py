"""Reads of what is published: products, their lists and looks, the run's metrics.

    with published.snapshot() as s:      # one publication, even if another follows meanwhile
        product = s.product("moda:1042")
        similar = s.similar("moda:1042")

Rows are dicts by column name, as in tables.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.server.condition_sql import number_placeholders, write_conditions
from wearalike.settings import Settings
from wearalike.storage.run_order import name_order
from wearalike.tables import (
    DISPLAY_COLUMNS,
    LIST_VARIANTS,
    LOOK_PRODUCTS,
    PRODUCT_VARIANTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
    LookSource,
    Table,
    former_value,
)
from wearalike.warehouse.base import WarehouseState
from wearalike.warehouse.reader import LoadedRuns, NotPublished, PublicationSnapshot, open_reader

__all__ = [
    "PRODUCT_SUMMARY_COLUMNS",
    "NotPublished",
    "PublishedRepository",
    "PublishedRun",
    "Snapshot",
]

# Columns that lists show of a product; image_url is the first of image_urls.
PRODUCT_SUMMARY_COLUMNS = (
    "product_id",
    *DISPLAY_COLUMNS,
    "availability",
    "gender",
    "age_group",
    "category",
    "super_category",
)
MAX_SEARCH_WORDS = 8
# Variants of an article that a page shows; feeds that join more do so by mistake.
MAX_VARIANTS = 200
_NO_FILTERS = ProductConditions()


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """The published run, and the time since when, UTC."""

    run: str
    published_at: datetime


class Snapshot:
    """Read one publication.

    Every method raises warehouse.Unreachable if the warehouse does not answer, and
    warehouse.Rejected if it refuses the statement.

    Args:
        reader_snapshot: The warehouse's view of one publication.

    Attributes:
        publication: The run, and when it was published.
        signature: Hash of the published tables; equal signatures give equal answers.
    """

    def __init__(self, reader_snapshot: PublicationSnapshot) -> None:
        self._reader_snapshot = reader_snapshot
        self.publication = PublishedRun(reader_snapshot.run, reader_snapshot.published_at)
        self.signature = reader_snapshot.signature

    @property
    def run(self) -> str:
        """Name of the published run."""
        return self.publication.run

    def product(self, product_id: str) -> dict[str, Any] | None:
        """Return a product with every column of tables.PRODUCTS and image_url.

        Args:
            product_id: "<shop>:<offer id>".

        Returns:
            The row, or None if there is no such product. A column that the published run lacks
            is empty.
        """
        rows = self.query_rows(
            "SELECT * FROM products WHERE run = $1 AND product_id = $2", product_id
        )
        if not rows:
            return None
        return _add_image_url(_empty_row(PRODUCTS) | rows[0])

    def products(self, product_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return PRODUCT_SUMMARY_COLUMNS and image_url of products, by product_id.

        Products that do not exist are left out.
        """
        statement = (
            f"SELECT {_SUMMARY_COLUMNS_SQL} FROM products "
            "WHERE run = $1 AND product_id = ANY($2::text[])"
        )
        rows = self.query_rows(statement, list(product_ids))
        return {row["product_id"]: _add_image_url(row) for row in rows}

    def search(
        self,
        text: str = "",
        shop: str | None = None,
        category: str | None = None,
        super_category: str | None = None,
        limit: int = 20,
        after: str | None = None,
        filters: ProductConditions = _NO_FILTERS,
    ) -> list[dict[str, Any]]:
        """Search products by words and filters, in order of product_id.

        Args:
            text: Words that must all occur in title, brand or id, in any case. Only the first
                MAX_SEARCH_WORDS count.
            shop: A shop_id.
            category: A leaf of the taxonomy, or a branch with all its leaves.
            super_category: A super-category.
            limit: Most rows.
            after: The last product_id of the previous page.
            filters: Further conditions on the products.

        Returns:
            Rows with PRODUCT_SUMMARY_COLUMNS and image_url.
        """
        bounds = {
            "product_id > {}": after,
            "shop_id = {}": shop,
            "super_category = {}": super_category,
        }
        # Each condition with its values; {} stands for a placeholder such as $2.
        conditions = [(sql, [value]) for sql, value in bounds.items() if value is not None]
        if category is not None:
            filters = replace(filters, categories=(*filters.categories, category))
        has_word = "strpos(lower(concat_ws(' ', title, brand, product_id)), lower({})) > 0"
        conditions += [(has_word, [word]) for word in text.split()[:MAX_SEARCH_WORDS]]
        conditions += write_conditions(filters)
        where, parameters = number_placeholders(conditions, 2)
        statement = (
            f"SELECT {_SUMMARY_COLUMNS_SQL} FROM products WHERE run = $1{where} "
            f"ORDER BY product_id LIMIT {int(limit)}"
        )
        return [_add_image_url(row) for row in self.query_rows(statement, *parameters)]

    def draw_product(self, seed: str) -> str | None:
        """Return a random product with a picture that is compared; None where there is none.

        Args:
            seed: Random text; the same text draws the same product.
        """
        rows = self.query_rows(
            "SELECT product_id FROM similar_lists WHERE run = $1 AND item_id IS NOT NULL "
            "ORDER BY md5(product_id || $2) LIMIT 1",
            seed,
        )
        return rows[0]["product_id"] if rows else None

    def currencies(self) -> list[str]:
        """Return the currencies of the run's prices, sorted."""
        rows = self.query_rows("SELECT DISTINCT currency FROM products WHERE run = $1")
        return sorted(row["currency"] for row in rows)

    def category_counts(self) -> list[dict[str, Any]]:
        """Return products_count for each shop_id, super_category and category."""
        group = "shop_id, super_category, category"
        return self.query_rows(
            f"SELECT {group}, count(*) AS products_count FROM products WHERE run = $1 "
            f"GROUP BY {group} ORDER BY {group}"
        )

    def similar(self, product_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """Return a product's rows of tables.SIMILAR_PRODUCTS by rank, at most `limit`.

        Each row has the recommended product as `product` (PRODUCT_SUMMARY_COLUMNS, image_url). A
        column that the published run lacks is empty.
        """
        return self.similar_of([product_id], limit)[product_id]

    def similar_of(
        self, product_ids: Sequence[str], limit: int = 20, variant: str | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Return what `similar` returns of several products, by product_id.

        Args:
            product_ids: The products.
            limit: Most rows of each.
            variant: A variant of the run's experiment; None for the control.
        """
        table, is_own, values = _table_of(SIMILAR_PRODUCTS, variant)
        statement = (
            f"SELECT * FROM {table} WHERE run = $1 AND product_id = ANY($2::text[])"
            f"{is_own} AND rank <= {int(limit)} ORDER BY product_id, rank"
        )
        empty = _empty_row(SIMILAR_PRODUCTS)
        found = self.query_rows(statement, list(product_ids), *values)
        rows = [empty | row for row in found]
        lists: dict[str, list[dict[str, Any]]] = {product_id: [] for product_id in product_ids}
        for row in self.attach_products(rows, "similar_product_id"):
            lists[row["product_id"]].append(row)
        return lists

    def similar_list(self, product_id: str) -> dict[str, Any] | None:
        """Return the product's row of tables.SIMILAR_LISTS; None if it has none.

        The row holds the length of its list, the reason if it is short, and the image compared.
        """
        return self.similar_lists_of([product_id]).get(product_id)

    def similar_lists_of(
        self, product_ids: Sequence[str], variant: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return what `similar_list` returns of several products, by product_id.

        Args:
            product_ids: The products.
            variant: A variant of the run's experiment; None for the control.
        """
        table, is_own, values = _table_of(SIMILAR_LISTS, variant)
        statement = f"SELECT * FROM {table} WHERE run = $1 AND product_id = ANY($2::text[]){is_own}"
        rows = self.query_rows(statement, list(product_ids), *values)
        return {row["product_id"]: row for row in rows}

    def list_variants(self) -> list[dict[str, Any]]:
        """Return the rows of tables.LIST_VARIANTS by bucket; none without an experiment."""
        if not self.has_table(LIST_VARIANTS):
            return []
        return self.query_rows(
            f"SELECT * FROM {LIST_VARIANTS.name} WHERE run = $1 ORDER BY first_bucket, variant"
        )

    def most_recommended(
        self, limit: int, where: str = "", values: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return similar_product_id, lists_count and product of the products in most lists.

        Args:
            limit: Most rows.
            where: Conditions on rows of `products`, each after " AND "; empty for none.
            values: Their values, for $2 and the following.
        """
        inside = f"SELECT product_id FROM products WHERE run = $1{where}"
        rows = self.query_rows(
            "SELECT similar_product_id, count(*) AS lists_count FROM similar_products "
            f"WHERE run = $1{f' AND similar_product_id IN ({inside})' if where else ''} "
            "GROUP BY similar_product_id "
            f"ORDER BY lists_count DESC, similar_product_id LIMIT {int(limit)}",
            *values,
        )
        return self.attach_products(rows, "similar_product_id")

    def variants(self, product_id: str) -> list[dict[str, Any]]:
        """Return the rows of tables.PRODUCT_VARIANTS of a product's article, by rank.

        The product itself is among them. Each row has its product as `product`. A run of an
        earlier version, and a product in one colour and size, has none.
        """
        if not self.has_table(PRODUCT_VARIANTS):
            return []
        statement = (
            f"SELECT v.* FROM {PRODUCT_VARIANTS.name} AS o JOIN {PRODUCT_VARIANTS.name} AS v "
            "ON v.run = o.run AND v.article_id = o.article_id "
            f"WHERE o.run = $1 AND o.product_id = $2 ORDER BY v.rank LIMIT {MAX_VARIANTS}"
        )
        return self.attach_products(self.query_rows(statement, product_id), "product_id")

    def look(self, product_id: str) -> list[dict[str, Any]]:
        """Return a product's rows of tables.LOOK_PRODUCTS by super-category and rank.

        Each row has its product as `product`. A run from before looks existed has none. In a run
        of an earlier version all looks come from the products' own pictures.
        """
        if not self.has_table(LOOK_PRODUCTS):
            return []
        statement = (
            f"SELECT * FROM {LOOK_PRODUCTS.name} WHERE run = $1 AND product_id = $2 "
            "ORDER BY super_category, rank"
        )
        empty = _empty_row(LOOK_PRODUCTS)
        rows = [empty | row for row in self.query_rows(statement, product_id)]
        for row in rows:
            if row["source"] == LookSource.WORN:
                row["worn_with_product_id"] = product_id
        return self.attach_products(rows, "look_product_id")

    def quality(self, scope: str | None = None) -> list[dict[str, Any]]:
        """Return rows of tables.QUALITY by metric and scope; of one scope, or of all if None."""
        where = "" if scope is None else " AND scope = $2"
        values = [] if scope is None else [scope]
        return self.query_rows(
            f"SELECT * FROM quality WHERE run = $1{where} ORDER BY metric, scope", *values
        )

    def attach_products(self, rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        """Add to each row the product that its column `key` names, as `product`.

        Rows whose product does not exist are left out.
        """
        products = self.products([row[key] for row in rows]) if rows else {}
        return [{**row, "product": products[row[key]]} for row in rows if row[key] in products]

    def has_table(self, table: Table) -> bool:
        """Tell if the warehouse has a table; one of an earlier version may lack some.

        Args:
            table: The table.
        """
        statement = "SELECT 1 AS found FROM information_schema.tables WHERE table_name = $1"
        return bool(self._reader_snapshot.query(statement, [table.name]))

    def query_rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement, with the run as $1 and the values after it.

        No published text holds NUL, and PostgreSQL refuses it: such a value finds nothing.
        """
        texts = [t for value in values for t in ([value] if isinstance(value, str) else value)]
        if any("\0" in text for text in texts):
            return []
        return [
            {name: v for name, v in row.items() if name != "run"}
            for row in self._reader_snapshot.query(statement, [self.run, *values])
        ]


class PublishedRepository:
    """Read what the warehouse has published; any number of threads may share it.

    It connects at the first read. A lasting failure raises warehouse.Unreachable.

    Args:
        settings: Names the warehouse.
    """

    def __init__(self, settings: Settings) -> None:
        self._reader = open_reader(settings.warehouse)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open what is published now.

        Raises:
            NotPublished: Nothing is published yet.
            Unreachable: The warehouse does not answer.
        """
        with self._reader.snapshot() as reader_snapshot:
            yield Snapshot(reader_snapshot)

    def state(self) -> WarehouseState:
        """Return all loads and publications.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        return self._reader.state()

    def loaded_runs(self) -> contextlib.AbstractContextManager[LoadedRuns]:
        """Open every run that the warehouse holds, at one moment.

        Raises:
            NotPublished: Nothing is published yet.
            Unreachable: The warehouse does not answer.
        """
        return self._reader.loaded_runs()

    def runs(self) -> list[dict[str, Any]]:
        """Return every run in the warehouse, newest first.

        Returns:
            Dicts with run, loaded_at, counts (rows by table), published_at (when it was last
            published; None if never) and is_published.
        """
        state = self._reader.state()
        last_published = {p.run: p.published_at for p in state.publications}
        return [
            {
                "run": load.run,
                "loaded_at": load.loaded_at,
                "counts": load.counts,
                "published_at": last_published.get(load.run),
                "is_published": load.run == state.published_run,
            }
            for load in state.loads
        ]

    def quality_history(self, metric: str, scope: str = "all") -> list[dict[str, Any]]:
        """Return a metric in every run that was ever loaded, by run.

        Args:
            metric: Name of the metric, e.g. "precision@10".
            scope: Its scope, e.g. "shop=moda".

        Returns:
            Rows with run and the columns of tables.QUALITY, the oldest run first.
        """
        if "\0" in metric + scope:
            return []
        rows = self._reader.query_quality(
            "SELECT * FROM quality WHERE metric = $1 AND scope = $2", [metric, scope]
        )
        return sorted(rows, key=lambda row: name_order(row["run"]))

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()


_SUMMARY_COLUMNS_SQL = ", ".join([*PRODUCT_SUMMARY_COLUMNS, "image_urls"])


def _table_of(table: Table, variant: str | None) -> tuple[str, str, list[str]]:
    """Return the table of a variant's rows, the condition on them, and its value for $3."""
    if variant is None:
        return table.name, "", []
    return f"{table.name}_variants", " AND variant = $3", [variant]


def _empty_row(table: Table) -> dict[str, Any]:
    """Return a row of a table whose columns are empty: a run of an earlier version lacks some."""
    return {column.name: former_value(table, column) for column in table.columns}


def _add_image_url(row: dict[str, Any]) -> dict[str, Any]:
    """Set image_url to the first of image_urls, or None; return the row."""
    row["image_url"] = next(iter(row["image_urls"]), None)
    return row
