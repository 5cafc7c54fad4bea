"""The checks of the lists of an experiment's variants: those of the control, on their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from wearalike.catalog.category_weights import replace_weights_sql
from wearalike.quality.checks import TABLE_CHECKS
from wearalike.quality.gate import ExpectationOutcome, Gate
from wearalike.quality.metrics import Metric, RunTables, open_run_tables
from wearalike.tables import (
    CODES,
    CODES_VARIANTS,
    IMAGES,
    INDEXES,
    INDEXES_VARIANTS,
    PRODUCTS,
    SIMILAR_LISTS,
    SIMILAR_LISTS_VARIANTS,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
)

_INDEX_CHECKS = [c for c in TABLE_CHECKS if c.table is INDEXES]
_LIST_CHECKS = [c for c in TABLE_CHECKS if c.table in (SIMILAR_LISTS, SIMILAR_PRODUCTS)]
_TABLES_OF = {
    SIMILAR_PRODUCTS.name: SIMILAR_PRODUCTS_VARIANTS.name,
    SIMILAR_LISTS.name: SIMILAR_LISTS_VARIANTS.name,
}
_WITH_5_MATCHES_SQL = """
SELECT avg((coalesce(similar_count, 0) >= 5)::INT)
FROM products LEFT JOIN similar_lists USING (product_id)
"""


def check_variants(
    gate: Gate, run_tables: RunTables, parameters: Mapping[str, Any]
) -> tuple[list[ExpectationOutcome], list[Metric]]:
    """Check the lists of every variant, and the index of its own encoder, as the control's are.

    Args:
        gate: The gate of the run.
        run_tables: The run's tables, those of its experiment among them.
        parameters: Parameters in _manifest.json of matches_variants.

    Returns:
        The outcomes, and of each variant the share of products with five or more recommendations.
    """
    outcomes, metrics = [], []
    for name, rules in parameters["variants"].items():
        encoder = rules.get("encoder")
        with _open_variant(run_tables, name, rules["weights"], encoder) as con:
            checks = [*_INDEX_CHECKS, *_LIST_CHECKS] if encoder else _LIST_CHECKS
            outcomes += gate.check_tables(con, rules, checks, f"_variant_{name}")
            (share,) = con.execute(_WITH_5_MATCHES_SQL).fetchall()[0]
            if share is not None:
                metrics.append(Metric("with_5_matches_ratio", f"variant={name}", share, "ratio"))
    return outcomes, metrics


@contextmanager
def _open_variant(
    run_tables: RunTables, name: str, weights: Mapping[str, Any], encoder: str | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the tables that the checks of a variant read: with its lists, weights and codes."""
    of_encoder = (IMAGES, CODES_VARIANTS, INDEXES_VARIANTS) if encoder else (INDEXES,)
    sources = (*(t.name for t in of_encoder), *_TABLES_OF.values())
    read = {
        "every_product": run_tables[PRODUCTS.name],
        **{source: run_tables[source] for source in sources},
    }
    replaced = f"REPLACE ({replace_weights_sql(weights)})" if weights else ""
    with open_run_tables(read) as con:
        con.execute(f"CREATE VIEW {PRODUCTS.name} AS SELECT * {replaced} FROM every_product")
        if encoder:
            con.execute(
                f"CREATE VIEW {CODES.name} AS SELECT * FROM {CODES_VARIANTS.name}"
                f" WHERE encoder = '{encoder}'"
            )
            con.execute(
                f"CREATE VIEW {INDEXES.name} AS SELECT * EXCLUDE (encoder)"
                f" FROM {INDEXES_VARIANTS.name} WHERE encoder = '{encoder}'"
            )
        for table, source in _TABLES_OF.items():
            con.execute(
                f"CREATE VIEW {table} AS SELECT * EXCLUDE (variant) FROM {source}"
                f" WHERE variant = '{name}'"
            )
        yield con
