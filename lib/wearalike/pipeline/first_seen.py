"""Since when products are in the shops' feeds: the day of the first run that had them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.storage import run_order, run_tables
from wearalike.tables import PRODUCTS


@dataclass(frozen=True)
class FirstSeen:
    """The days since which the products of the last run are there.

    Attributes:
        day: The day of this run, YYYY-MM-DD.
        last_run: The last run before this one; None if this is the first.
        last_hash: The hash of its products, None likewise.
        last: product_id and first_seen of the last run.
    """

    day: str
    last_run: str | None
    last_hash: str | None
    last: pa.Table

    @classmethod
    def read(cls, root: Path, run: str) -> FirstSeen:
        """Read the products of the last run before a run.

        Args:
            root: The data folder.
            run: The run.
        """
        day = run_order.run_day(root, run).isoformat()
        earlier = run_tables.list_earlier_runs(root, PRODUCTS, run)
        if not earlier:
            return cls(day, None, None, PRODUCTS.arrow_schema.empty_table())
        last = run_tables.read_table(root, PRODUCTS, earlier[-1], ["product_id", "first_seen"])
        last_hash = run_tables.input_hash(root, PRODUCTS, earlier[-1])
        return cls(day, earlier[-1], last_hash, last.combine_chunks())

    def of_products(self, product_ids: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
        """Return the first day of products; null for those that the first run had already."""
        if self.last_run is None:
            return pa.nulls(len(product_ids), pa.string())
        rows = pc.index_in(product_ids, self.last["product_id"].combine_chunks())
        known = self.last["first_seen"].take(rows)
        return pc.if_else(pc.is_null(rows), self.day, known)
