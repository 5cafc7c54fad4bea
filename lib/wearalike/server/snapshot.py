"""What is published, read for pages and the API: products, their lists and looks, the run's measures.

    with published.snapshot() as s:      # one publication, whatever is published meanwhile
        product, similar = s.product("moda:1042"), s.similar("moda:1042")

Rows are dicts by column name, as in tables.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from wearalike.settings import Settings
from wearalike.tables import DISPLAY_COLUMNS, LOOK_PRODUCTS, PRODUCTS
from wearalike.warehouse.reader import NotPublished, PublicationSnapshot, open_reader

__all__ = [
    "PRODUCT_SUMMARY_COLUMNS",
    "NotPublished",
    "PublishedRepository",
    "PublishedRun",
    "Snapshot",
]

# What a list shows of a product; image_url is the first of image_urls.
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


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """The run that is published, and since when."""

    run: str
    published_at: datetime


class Snapshot:
    """One publication. Every method raises warehouse.Unreachable and warehouse.Rejected."""

    def __init__(self, reader_snapshot: PublicationSnapshot) -> None:
        self._reader_snapshot = reader_snapshot
        self.publication = PublishedRun(reader_snapshot.run, reader_snapshot.published_at)
        # Of equal signatures all answers are equal.
        self.signature = reader_snapshot.signature

    @property
    def run(self) -> str:
        return self.publication.run

    def product(self, product_id: str) -> dict[str, Any] | None:
        """Every column of tables.PRODUCTS, and image_url; None where there is no such product. A column that the published run was
        made without is null, or an empty list."""
        found = self._query_rows(
            "SELECT * FROM products WHERE run = $1 AND product_id = $2", product_id
        )
        without: dict[str, Any] = {
            c.name: [] if pa.types.is_list(c.type) else None for c in PRODUCTS.columns
        }
        return _add_image_url(without | found[0]) if found else None

    def products(self, product_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """BRIEF and image_url of those of the products that there are, by product_id."""
        found = self._query_rows(
            f"SELECT {_SUMMARY_COLUMNS_SQL} FROM products WHERE run = $1 AND product_id = ANY($2::text[])",
            list(product_ids),
        )
        return {row["product_id"]: _add_image_url(row) for row in found}

    def search(
        self,
        text: str = "",
        shop: str | None = None,
        category: str | None = None,
        super_category: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """BRIEF and image_url of products with all of the words in title, brand or id, in order of product_id.

        text: at most MAX_WORDS words count, in any case. category: the leaf, or a branch with all its leaves. after: the last
        product_id of the page before.
        """
        bounds = {
            "product_id > {}": after,
            "shop_id = {}": shop,
            "super_category = {}": super_category,
        }
        conditions = [
            (condition, [value]) for condition, value in bounds.items() if value is not None
        ]
        if category is not None:
            conditions.append(
                ("(category = {} OR starts_with(category, {}))", [category, f"{category}."])
            )
        words = "strpos(lower(concat_ws(' ', title, brand, product_id)), lower({})) > 0"
        conditions += [(words, [word]) for word in text.split()[:MAX_SEARCH_WORDS]]
        where = ""
        parameters: list[str] = []
        for condition, values in conditions:
            spelled = [f"${2 + len(parameters) + i}" for i in range(len(values))]
            where += f" AND {condition.format(*spelled)}"
            parameters += values
        found = self._query_rows(
            f"SELECT {_SUMMARY_COLUMNS_SQL} FROM products WHERE run = $1{where} ORDER BY product_id LIMIT {int(limit)}",
            *parameters,
        )
        return [_add_image_url(row) for row in found]

    def category_counts(self) -> list[dict[str, Any]]:
        """How many products there are of each shop_id, super_category and category, as products_count."""
        of = "shop_id, super_category, category"
        return self._query_rows(
            f"SELECT {of}, count(*) AS products_count FROM products WHERE run = $1 GROUP BY {of} ORDER BY {of}"
        )

    def similar(self, product_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """Rows of tables.SIMILAR_PRODUCTS by rank, each with the recommended product as `product` (BRIEF and image_url)."""
        statement = f"SELECT * FROM similar_products WHERE run = $1 AND product_id = $2 ORDER BY rank LIMIT {int(limit)}"
        return self.attach_products(self._query_rows(statement, product_id), "similar_product_id")

    def similar_list(self, product_id: str) -> dict[str, Any] | None:
        """The product's row of tables.SIMILAR_LISTS: how many it has, why no more, and by which image."""
        found = self._query_rows(
            "SELECT * FROM similar_lists WHERE run = $1 AND product_id = $2", product_id
        )
        return found[0] if found else None

    def look(self, product_id: str) -> list[dict[str, Any]]:
        """Rows of tables.LOOK_PRODUCTS by super-category and rank, each with its product as `product`; none where the
        published run was made before there were looks."""
        if not self._reader_snapshot.query(
            "SELECT 1 AS found FROM information_schema.tables WHERE table_name = $1",
            [LOOK_PRODUCTS.name],
        ):
            return []
        statement = f"SELECT * FROM {LOOK_PRODUCTS.name} WHERE run = $1 AND product_id = $2 ORDER BY super_category, rank"
        return self.attach_products(self._query_rows(statement, product_id), "look_product_id")

    def quality(self, scope: str | None = None) -> list[dict[str, Any]]:
        """Rows of tables.QUALITY, of one scope or of all, by measure and scope."""
        where, values = (" AND scope = $2", [scope]) if scope is not None else ("", [])
        return self._query_rows(
            f"SELECT * FROM quality WHERE run = $1{where} ORDER BY metric, scope", *values
        )

    def attach_products(self, rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        """The rows, each with its product as `product`: the one that stands in the column `key`."""
        facts = self.products([row[key] for row in rows]) if rows else {}
        return [{**row, "product": facts[row[key]]} for row in rows if row[key] in facts]

    def _query_rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """The rows, run as $1 and then the values; none where a text holds NUL, which nothing published does."""
        if any(
            "\0" in text
            for value in values
            for text in ([value] if isinstance(value, str) else value)
        ):
            return []
        return [
            {name: v for name, v in row.items() if name != "run"}
            for row in self._reader_snapshot.query(statement, [self.run, *values])
        ]


class PublishedRepository:
    """The place's warehouse, read by any number of threads. Connects when asked; a lasting failure is Unreachable."""

    def __init__(self, settings: Settings) -> None:
        self._reader = open_reader(settings.warehouse)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """What is published now. Raises NotPublished, warehouse.Unreachable."""
        with self._reader.snapshot() as glance:
            yield Snapshot(glance)

    def runs(self) -> list[dict[str, Any]]:
        """Every run that is loaded, newest first: run, loaded_at, counts (rows by table), published_at (when the pointer came to it
        last; None: never), is_published."""
        state = self._reader.state()
        last = {move.run: move.published_at for move in state.publications}
        return [
            {
                "run": load.run,
                "loaded_at": load.loaded_at,
                "counts": load.counts,
                "published_at": last.get(load.run),
                "is_published": load.run == state.published_run,
            }
            for load in state.loads
        ]

    def quality_history(self, metric: str, scope: str = "all") -> list[dict[str, Any]]:
        """The measure in every run that was ever loaded, by run: run and the columns of tables.QUALITY."""
        if "\0" in metric + scope:
            return []
        return self._reader.query_quality(
            "SELECT * FROM quality WHERE metric = $1 AND scope = $2 ORDER BY run", [metric, scope]
        )

    def close(self) -> None:
        self._reader.close()


_SUMMARY_COLUMNS_SQL = ", ".join([*PRODUCT_SUMMARY_COLUMNS, "image_urls"])


def _add_image_url(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its main picture as image_url, whichever way the pictures stand in it."""
    row["image_url"] = next(iter(row["image_urls"]), None)
    return row
