"""Click and order rates of an experiment's variants, and the wins of interleaved lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.experiment_settings import CONTROL, INTERLEAVED
from wearalike.metrics.agreement import wilson_interval
from wearalike.metrics.interleaving import sign_test
from wearalike.quality.event_files import EventKind
from wearalike.quality.event_store import FOLDER, open_events
from wearalike.storage import atomic, run_order
from wearalike.tables import EXPERIMENT_RATES
from wearalike.warehouse.base import Warehouse

RATES_SCHEMA = pa.schema([pa.field("run", pa.string()), *EXPERIMENT_RATES.arrow_schema])
# A row a run, experiment, assignment and variant; interleaved lists count by team.
_COUNTS_SQL = f"""
SELECT run, experiment,
    CASE WHEN variant = '{INTERLEAVED}' THEN 'interleave' ELSE 'split' END AS assignment,
    CASE WHEN variant = '{INTERLEAVED}' THEN team ELSE variant END AS shown,
    {", ".join(f"count(*) FILTER (kind = '{k}') AS {k.value}s_count" for k in EventKind)},
    strftime(min(occurred_at) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS first_at,
    strftime(max(occurred_at) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS last_at
FROM events WHERE experiment IS NOT NULL GROUP BY ALL HAVING shown IS NOT NULL
"""
# A row a run and experiment: views of lists whose visitors clicked more of one team.
_WINS_SQL = f"""
WITH clicked AS (
    SELECT run, experiment, product_id, coalesce(view_id, event_id) AS view,
        count(DISTINCT similar_product_id) FILTER (team = '{CONTROL}') AS of_control,
        count(DISTINCT similar_product_id) FILTER (team <> '{CONTROL}') AS of_rival
    FROM events
    WHERE kind = '{EventKind.CLICK}' AND variant = '{INTERLEAVED}' AND team IS NOT NULL
    GROUP BY ALL)
SELECT run, experiment, count(*) FILTER (of_rival > of_control) AS wins,
    count(*) FILTER (of_rival < of_control) AS losses,
    count(*) FILTER (of_rival = of_control) AS ties
FROM clicked GROUP BY ALL
"""
_ADDED = ("impressions_count", "clicks_count", "orders_count")


def rates_path(root: Path) -> Path:
    """Return the file of the rates, which need not exist."""
    return root / FOLDER / "variant_rates.parquet"


def update_variant_rates(root: Path, warehouse: Warehouse) -> pa.Table:
    """Compute the rates of all experiments, and keep them in folder and warehouse.

    Args:
        root: The data folder.
        warehouse: Gets them as the table experiment_rates.

    Returns:
        RATES_SCHEMA, see `compute_variant_rates`.

    Raises:
        Unreachable: The warehouse does not answer; the file is written.
    """
    rates = compute_variant_rates(root)
    if rates.num_rows or rates_path(root).exists():
        with atomic.replace_file(rates_path(root)) as hidden:
            pq.write_table(rates, hidden)
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in rates.to_pylist():
        by_run.setdefault(row.pop("run"), []).append(row)
    for run, rows in by_run.items():
        warehouse.record(run, EXPERIMENT_RATES, rows)
    return rates


def compute_variant_rates(root: Path) -> pa.Table:
    """Return the rates of every experiment, up to each run that has events of it.

    Returns:
        RATES_SCHEMA, by run, experiment, assignment and variant, the control first.
    """
    events = open_events(root)
    if events is None:
        return RATES_SCHEMA.empty_table()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("events", events)
        counts, wins = _fetch(con, _COUNTS_SQL), _fetch(con, _WINS_SQL)
    rows = []
    runs = {(row["run"], row["experiment"]) for row in counts}
    for run, experiment in sorted(runs, key=lambda one: (run_order.name_order(one[0]), one[1])):
        own_counts, own_wins = (_rows_until(part, run, experiment) for part in (counts, wins))
        kinds = {(row["assignment"], row["shown"]) for row in own_counts}
        for assignment, shown in sorted(kinds, key=lambda k: (k[0], k[1] != CONTROL, k[1])):
            parts = [r for r in own_counts if (r["assignment"], r["shown"]) == (assignment, shown)]
            row = {"run": run, "experiment": experiment, "assignment": assignment}
            row |= {"variant": shown, **_sum_counts(parts)}
            row |= _count_wins(own_wins, shown) if assignment == "interleave" else _NO_WINS
            rows.append(row)
    return pa.Table.from_pylist(rows, RATES_SCHEMA)


def read_variant_rates(root: Path, run: str | None = None) -> list[dict[str, Any]]:
    """Return the kept rates, the newest experiment first.

    Args:
        root: The data folder.
        run: The run up to which each experiment is told; None for the last that has events.
    """
    path = rates_path(root)
    rows = pq.read_table(path, schema=RATES_SCHEMA).to_pylist() if path.exists() else []
    if run is not None:
        last = run_order.name_order(run)
        rows = [row for row in rows if run_order.name_order(row["run"]) <= last]
    newest: dict[str, str] = {row["experiment"]: row["run"] for row in rows}
    order = sorted(newest, key=lambda name: run_order.name_order(newest[name]), reverse=True)
    return [
        row
        for name in order
        for row in rows
        if (row["experiment"], row["run"]) == (name, newest[name])
    ]


def _rows_until(rows: list[dict[str, Any]], run: str, experiment: str) -> list[dict[str, Any]]:
    """Return the rows of an experiment that are of a run or of an earlier one."""
    last = run_order.name_order(run)
    return [
        row
        for row in rows
        if row["experiment"] == experiment and run_order.name_order(row["run"]) <= last
    ]


def _fetch(con: duckdb.DuckDBPyConnection, statement: str) -> list[dict[str, Any]]:
    cursor = con.execute(statement)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _sum_counts(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of several runs together, with rates and intervals."""
    found: dict[str, Any] = {name: sum(part[name] for part in parts) for name in _ADDED}
    seen = found["impressions_count"]
    for kind in ("click", "order"):
        count = found[f"{kind}s_count"]
        rate = count / seen if seen and count <= seen else None
        low, high = wilson_interval(rate, seen) if rate is not None else (None, None)
        found |= {f"{kind}_rate": rate, f"{kind}_low": low, f"{kind}_high": high}
    found["first_at"] = min(part["first_at"] for part in parts)
    found["last_at"] = max(part["last_at"] for part in parts)
    return found


_NO_WINS = dict.fromkeys(
    ("wins_count", "losses_count", "ties_count", "win_share", "win_low", "win_high", "p_value")
)


def _count_wins(parts: list[dict[str, Any]], shown: str) -> dict[str, Any]:
    """Return a team's wins of several runs together, with the share, interval and sign test."""
    wins, losses, ties = (sum(part[name] for part in parts) for name in ("wins", "losses", "ties"))
    if shown == CONTROL:
        wins, losses = losses, wins
    decided = wins + losses
    low, high = wilson_interval(wins / decided, decided) if decided else (None, None)
    return {
        "wins_count": wins,
        "losses_count": losses,
        "ties_count": ties,
        "win_share": wins / decided if decided else None,
        "win_low": low,
        "win_high": high,
        "p_value": sign_test(wins, losses),
    }
