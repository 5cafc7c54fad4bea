"""The products behind a figure: which they are, read a page at a time at a bounded cost.

A page looks through the products of a part in the order of their ids, so many at a time. It asks
the published tables which of them the figure is about. It ends when it is full, or when it has
looked at MAX_LOOKED_AT; the next page goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wearalike.reports.product_figures import FIGURES, TABLES_OF
from wearalike.server.run_part import RunPart
from wearalike.server.snapshot import Snapshot

CHUNK_PRODUCTS = 2_000
MAX_LOOKED_AT = 20_000
# Products that are recommended most: these are counted at once, and paged.
MAX_HUBS = 480


@dataclass(frozen=True, slots=True)
class FigurePage:
    """A page of the products behind a figure.

    Attributes:
        rows: Dicts with product and n, in the order of product_id.
        next_after: The product_id to go on from; None on the last page.
        looked_at: Products that were looked at for this page.
    """

    rows: list[dict[str, Any]]
    next_after: str | None
    looked_at: int


def list_figure(
    s: Snapshot, part: RunPart, name: str, value: str | None, after: str | None, limit: int
) -> FigurePage:
    """List the products behind a figure.

    Args:
        s: The run.
        part: The part of the run.
        name: One of FIGURES.
        value: The value of its `value_name`.
        after: The `next_after` of the page before; None for the first page.
        limit: Most products of a page.
    """
    figure = FIGURES[name]
    is_there = name not in TABLES_OF or s.has_table(TABLES_OF[name])
    value_of = [value or ""] if figure.value_name else []
    where, values = part.where(3)
    found: list[dict[str, Any]] = []
    looked_at = 0
    next_after: str | None = after or ""
    while is_there:
        ids = [
            row["product_id"]
            for row in s.query_rows(
                f"SELECT product_id FROM products WHERE run = $1 AND product_id > $2{where} "
                f"ORDER BY product_id LIMIT {CHUNK_PRODUCTS}",
                str(next_after),
                *values,
            )
        ]
        looked_at += len(ids)
        rows = s.query_rows(f"{figure.sql} ORDER BY product_id", ids, *value_of)
        room = limit - len(found)
        found += rows[:room]
        if len(rows) > room:
            next_after = found[-1]["product_id"]
            break
        if len(ids) < CHUNK_PRODUCTS:
            next_after = None
            break
        next_after = ids[-1]
        if len(found) == limit or looked_at >= MAX_LOOKED_AT:
            break
    return FigurePage(
        s.attach_products(found, "product_id"), next_after if is_there else None, looked_at
    )
