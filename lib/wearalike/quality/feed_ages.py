"""The age of the feeds that a run shows: days since the run whose offers are used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import duckdb

from wearalike.quality.metrics import Metric

_SOURCES_SQL = """
SELECT shop_id, source_run, reason FROM feeds WHERE source_run IS NOT NULL ORDER BY shop_id
"""


def feed_age_metrics(
    con: duckdb.DuckDBPyConnection, run: str, day_of: Callable[[str], date]
) -> list[Metric]:
    """Compute feed_age_days of each shop, and of the oldest as "all".

    Args:
        con: The run's tables, opened by metrics.open_run_tables.
        run: The run.
        day_of: Returns the day of a run.
    """
    ages = {}
    for shop, source_run, reason in con.execute(_SOURCES_SQL).fetchall():
        why = f", because of {reason}" if reason else ""
        days = max(0, (day_of(run) - day_of(source_run)).days)
        text = f"{shop}: its feed is of run {source_run}, {days} days before this run{why}"
        ages[shop] = (days, text)
    if not ages:
        return []
    oldest = max(ages.values(), key=lambda age: age[0])
    return [
        Metric("feed_age_days", "all", oldest[0], "days", note=oldest[1]),
        *(
            Metric("feed_age_days", f"shop={s}", d, "days", note=text)
            for s, (d, text) in ages.items()
        ),
    ]
