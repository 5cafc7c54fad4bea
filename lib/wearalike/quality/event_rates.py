"""Click and order rates of published runs, by rank, category, rule, encoder, shop and variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.metrics.agreement import wilson_interval
from wearalike.quality.event_files import EventKind
from wearalike.quality.event_store import FOLDER, open_events
from wearalike.storage import atomic
from wearalike.tables import EVENT_RATES
from wearalike.warehouse.base import Warehouse

RATES_SCHEMA = pa.schema([pa.field("run", pa.string()), *EVENT_RATES.arrow_schema])
_DIMENSIONS = {
    "all": "'all'",
    "rank": "rank::VARCHAR",
    "category": "category",
    "rule": "coalesce(rule, 'none')",
    "encoder": "encoder",
    "shop": "shop_id",
    # Null, and then left out, where no experiment is seen.
    "variant": "CASE WHEN experiment IS NOT NULL THEN variant END",
    "team": "team",
}
_COUNTS_SQL = " UNION ALL ".join(
    f"""
    SELECT run, {number} AS number, '{dimension}' AS dimension, {part} AS part,
        {
        ", ".join(f"count(*) FILTER (kind = '{kind}') AS {kind.value}s_count" for kind in EventKind)
    },
        strftime(min(occurred_at) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS first_at,
        strftime(max(occurred_at) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS last_at
    FROM events GROUP BY ALL HAVING part IS NOT NULL"""
    for number, (dimension, part) in enumerate(_DIMENSIONS.items())
)


def rates_path(root: Path) -> Path:
    """Return the file of the rates, which need not exist."""
    return root / FOLDER / "rates.parquet"


def update_rates(root: Path, warehouse: Warehouse) -> pa.Table:
    """Compute the rates of all runs from the kept events, and keep them in folder and warehouse.

    Args:
        root: The data folder.
        warehouse: Gets them as the table event_rates.

    Returns:
        RATES_SCHEMA, by run, then in the order of dimensions.

    Raises:
        Unreachable: The warehouse does not answer; the file is written.
    """
    rates = compute_rates(root)
    with atomic.replace_file(rates_path(root)) as hidden:
        pq.write_table(rates, hidden)
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in rates.to_pylist():
        by_run.setdefault(row.pop("run"), []).append(row)
    for run, rows in by_run.items():
        warehouse.record(run, EVENT_RATES, rows)
    return rates


def compute_rates(root: Path) -> pa.Table:
    """Return the rates of all runs that have events, as RATES_SCHEMA."""
    events = open_events(root)
    if events is None:
        return RATES_SCHEMA.empty_table()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("events", events)
        cursor = con.execute(
            f"SELECT * FROM ({_COUNTS_SQL})"
            " ORDER BY run, number, try_cast(part AS INTEGER) NULLS LAST, part"
        )
        names = [column[0] for column in cursor.description]
        counted = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    rows = []
    for row in counted:
        seen = row["impressions_count"]
        for kind, count in (("click", row["clicks_count"]), ("order", row["orders_count"])):
            rate = count / seen if seen and count <= seen else None
            low, high = wilson_interval(rate, seen) if rate is not None else (None, None)
            row |= {f"{kind}_rate": rate, f"{kind}_low": low, f"{kind}_high": high}
        rows.append({name: row[name] for name in RATES_SCHEMA.names})
    return pa.Table.from_pylist(rows, RATES_SCHEMA)


def read_rates(root: Path, run: str | None = None) -> list[dict[str, Any]]:
    """Return the kept rates, of one run or of all; none before the first events.

    Args:
        root: The data folder.
        run: The run; None for all.
    """
    path = rates_path(root)
    rows = pq.read_table(path, schema=RATES_SCHEMA).to_pylist() if path.exists() else []
    return [row for row in rows if run in (None, row["run"])]
