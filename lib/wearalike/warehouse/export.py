"""Export the published run as keys and values, for a site that serves from Redis or the like.

The file has one JSON object a line, in UTF-8. First comes {"key": "similar:<product_id>", "value":
{...}} for each product, in order of product_id; then {"key": "look:<product_id>", ...} likewise.
Products without recommendations are included, so that no key keeps a former value. With an
experiment {"key": "variant:<variant>:<product_id>", ...} stand between both, and the last line has
the variants with their buckets. The last line is {"key": "meta", ...}: a reader who sees its run
has every line of that run. Equal publications give equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO

import duckdb

from wearalike.settings import Settings
from wearalike.storage import atomic, run_tables
from wearalike.tables import (
    DISPLAY_COLUMNS,
    LIST_VARIANTS,
    LOOK_PRODUCTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_LISTS_VARIANTS,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
    Availability,
    Table,
)
from wearalike.warehouse import publish
from wearalike.warehouse.base import PublicationEvent, open_warehouse

FORMAT_VERSION = 1
BATCH_ROWS = 8192
# Sorting beyond this goes to disk.
MEMORY_LIMIT = "512MB"

# Columns of a recommended product, beside its id and score. Its place in the list is its rank.
EXPORTED_COLUMNS = (*DISPLAY_COLUMNS, "image_url")
# Columns of a recommendation: how alike it is, why, and what placed it.
SIMILAR_COLUMNS = (
    "score",
    "shape_score",
    "colour_score",
    "kind_score",
    "reason",
    "reason_ru",
    "rule",
    "fallback",
)
_SIMILAR_SQL = f"""
SELECT l.product_id, l.shortfall_reason, s.similar_product_id,
    {", ".join(f"s.{name}" for name in SIMILAR_COLUMNS)}
FROM {SIMILAR_LISTS.name} AS l LEFT JOIN {SIMILAR_PRODUCTS.name} AS s USING (product_id)
ORDER BY l.product_id, s.rank
"""
_VARIANTS_SQL = f"""
SELECT l.variant, l.product_id, l.shortfall_reason, s.similar_product_id,
    {", ".join(f"s.{name}" for name in SIMILAR_COLUMNS)}
FROM {SIMILAR_LISTS_VARIANTS.name} AS l
LEFT JOIN {SIMILAR_PRODUCTS_VARIANTS.name} AS s USING (variant, product_id)
ORDER BY l.variant, l.product_id, s.rank
"""
# Columns of what goes with a product, beside its super-category: its source, and the item worn.
ITEM_COLUMNS = ("source", "worn_with_product_id", "image_id", "x0", "y0", "x1", "y1")
# Columns of a recommendation for a look.
LOOK_COLUMNS = ("score", "reason", "reason_ru")
_LOOKS_SQL = f"""
SELECT l.product_id, k.super_category, {", ".join(f"k.{name}" for name in ITEM_COLUMNS)},
    k.look_product_id, {", ".join(f"k.{name}" for name in LOOK_COLUMNS)}
FROM {SIMILAR_LISTS.name} AS l LEFT JOIN {LOOK_PRODUCTS.name} AS k USING (product_id)
ORDER BY l.product_id, k.super_category, k.rank
"""


class NotExported(ValueError):
    """Nothing is published, or the data folder has other tables. No file was written."""


def write_jsonl(settings: Settings, path: Path) -> int:
    """Write the published run into a file, whole or not at all, over one that is there.

    Args:
        settings: Name the data folder and the warehouse.
        path: File to write.

    Returns:
        The number of products.

    Raises:
        NotExported: Nothing is published, or the data folder has other tables.
        Unreachable: The warehouse did not answer.
        OSError: The file cannot be written.
    """
    publication = find_publication(settings)
    with (
        atomic.replace_file(path) as hidden,
        hidden.open("w", encoding="utf-8", newline="\n") as file,
    ):
        count = 0
        for key, value in iter_key_values(settings.data_dir, publication.run):
            _write_line(file, key, {"run": publication.run, **value})
            count += key.startswith("similar:")
        published_at = publication.published_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        _write_line(
            file,
            "meta",
            {
                "format": FORMAT_VERSION,
                "run": publication.run,
                "published_at": published_at,
                "products_count": count,
                **_describe_experiment(settings.data_dir, publication.run),
            },
        )
    return count


def _write_line(file: TextIO, key: str, value: dict[str, Any]) -> None:
    file.write(
        json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":")) + "\n"
    )


def find_publication(settings: Settings) -> PublicationEvent:
    """Return the present publication, once the data folder is seen to hold its very tables."""
    state = open_warehouse(settings.warehouse).state()
    if not state.publications:
        raise NotExported("nothing is published yet; run `wearalike run` first")
    publication = state.publications[-1]
    load, here = state.find_load(publication.run), None
    with contextlib.suppress(run_tables.TableNotFound):
        here = publish.run_signature(settings.data_dir, publication.run)
    if load is None or here != load.signature:
        found = "other tables" if here else "no tables"
        raise NotExported(
            f"{settings.data_dir}: {found} of run {publication.run}, wanted those that were"
            " published; publish it again, or name its data_dir"
        )
    return publication


def _describe_experiment(root: Path, run: str) -> dict[str, Any]:
    """Return the experiment of a run with the buckets of its variants; nothing without one."""
    if not run_tables.is_complete(root, LIST_VARIANTS, run):
        return {}
    rows = run_tables.read_table(root, LIST_VARIANTS, run).to_pylist()
    names = ("variant", "first_bucket", "end_bucket")
    return {
        "experiment": rows[0]["experiment"],
        "assignment": rows[0]["assignment"],
        "variants": [{name: row[name] for name in names} for row in rows],
    }


def iter_key_values(root: Path, run: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (key, value) for the list of every product, those of variants, then for its look.

    All are in order of product_id. The display columns of all products are held in memory, about 1
    GB for a million products. The rows of the lists are sorted on disk.

    Args:
        root: The data folder.
        run: The run.

    Raises:
        run_tables.TableNotFound: A table is not finished.
    """
    categories, shown = _read_products(root, run)

    def results(
        rows: Iterable[dict[str, Any]], column: str, copied: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        return [
            {
                "product_id": row[column],
                **{name: row[name] for name in copied},
                **shown[row[column]],
            }
            for row in rows
            if row[column] in shown
        ]

    def build_list(
        product_id: str, shortfall_reason: str | None, rows: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "category": categories[product_id],
            "shortfall_reason": shortfall_reason,
            "results": results(rows, "similar_product_id", SIMILAR_COLUMNS),
        }

    lists = groupby(
        _query_rows(root, run, (SIMILAR_LISTS, SIMILAR_PRODUCTS), _SIMILAR_SQL),
        key=itemgetter("product_id", "shortfall_reason"),
    )
    for (product_id, shortfall_reason), rows in lists:
        yield f"similar:{product_id}", build_list(product_id, shortfall_reason, rows)
    if run_tables.is_complete(root, LIST_VARIANTS, run):
        tables = (SIMILAR_LISTS_VARIANTS, SIMILAR_PRODUCTS_VARIANTS)
        for (variant, product_id, shortfall_reason), rows in groupby(
            _query_rows(root, run, tables, _VARIANTS_SQL),
            key=itemgetter("variant", "product_id", "shortfall_reason"),
        ):
            value = build_list(product_id, shortfall_reason, rows)
            yield f"variant:{variant}:{product_id}", value
    for product_id, rows in groupby(
        _query_rows(root, run, (SIMILAR_LISTS, LOOK_PRODUCTS), _LOOKS_SQL),
        key=itemgetter("product_id"),
    ):
        worn = groupby(
            (row for row in rows if row["super_category"]),
            key=itemgetter("super_category", *ITEM_COLUMNS),
        )
        items = [
            dict(zip(("super_category", *ITEM_COLUMNS), item, strict=True))
            | {"results": results(found, "look_product_id", LOOK_COLUMNS)}
            for item, found in worn
        ]
        yield f"look:{product_id}", {"items": items}


def _read_products(root: Path, run: str) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return every product's category, and the display columns of those in stock, by product_id."""
    categories, shown = {}, {}
    wanted = [
        "product_id",
        "category",
        "availability",
        "image_urls",
        *DISPLAY_COLUMNS,
    ]
    for batch in run_tables.open_dataset(root, PRODUCTS, run).to_batches(
        columns=wanted, batch_size=BATCH_ROWS
    ):
        for row in batch.to_pylist():
            categories[row["product_id"]] = sys.intern(row["category"])
            if row["availability"] == Availability.IN_STOCK:
                row["image_url"] = next(iter(row["image_urls"]), None)
                shown[row["product_id"]] = {name: row[name] for name in EXPORTED_COLUMNS}
    return categories, shown


def _query_rows(
    root: Path, run: str, tables: Iterable[Table], sql: str
) -> Iterator[dict[str, Any]]:
    """Yield every product's recommendations in order, one row where it has none.

    Args:
        root: The data folder.
        run: The run.
        tables: The table of lists, and that of recommendations.
        sql: The query that joins them.
    """
    # Threads would each keep a part of the order in memory.
    config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "threads": 1}
    with (
        tempfile.TemporaryDirectory() as scratch,
        duckdb.connect(config={**config, "temp_directory": scratch}) as database,
    ):
        for read in tables:
            database.register(read.name, run_tables.open_dataset(root, read, run))
        for batch in database.sql(sql).to_arrow_reader(BATCH_ROWS):
            yield from batch.to_pylist()
