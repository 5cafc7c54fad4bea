"""The gate: Great Expectations checks every row of a run before any of it is published.

DuckDB puts beside each row the values that it must agree with (checks.py). It hands the rows over
in shares of whole products, so that memory stays flat; 20 million rows only take longer. Nothing is
sampled. The outcomes of an expectation in all shares are added up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.quality.check_queries import SHARE_CONDITION, prepare_sql
from wearalike.quality.checks import TABLE_CHECKS, TableCheck
from wearalike.quality.metrics import Metric, RunTables
from wearalike.quality.module_deferral import defer_modules, hide_modules
from wearalike.quality.rule_checks import broken_rule_macro_sql
from wearalike.quality.thresholds import GateVerdict, Threshold
from wearalike.tables import TABLES_BY_NAME

# Rows of a table that are handed over at a time, about.
SHARD_ROWS = 300_000
# Examples kept of an expectation's violations.
MAX_EXAMPLES = 5
# The expectation that holds a metric against its threshold.
_RANGE_EXPECTATION = "expect_column_values_to_be_between"
# Notes of an outcome in its line.
MAX_NOTES = 3
# The time of every validation: with the time of day, the pages of the same run would differ.
FIXED_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """The outcome of one expectation.

    Attributes:
        name: See expectation_name.
        meaning: The expectation in words.
        is_critical: If true, a violation stops publishing; if false, it gives a warning.
        violations_count: Rows that break it.
        examples: At most MAX_EXAMPLES of them, each with its key and the values checked.
        error: Reason why the check could not run. It fails the gate whatever the severity, because
            nothing was checked.
        notes: Shop, place and figures of each metric outside its threshold, the furthest first.
    """

    name: str
    meaning: str
    is_critical: bool
    violations_count: int
    examples: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> GateVerdict:
        """FAIL, WARN or OK."""
        if self.error or (self.violations_count and self.is_critical):
            return GateVerdict.FAIL
        return GateVerdict.WARN if self.violations_count else GateVerdict.OK

    def __str__(self) -> str:
        """Return one line for the operator."""
        if self.error:
            return f"{self.name} could not be checked: {self.error}"
        if self.notes:
            shown = "; ".join(self.notes[:MAX_NOTES])
            more = len(self.notes) - MAX_NOTES
            return f"{self.name}: {shown}" + (f"; and {more} more" if more > 0 else "")
        example = "no example"
        if self.examples:
            example = ", ".join(f"{k}={v}" for k, v in self.examples[0].items())
        rows = "row" if self.violations_count == 1 else "rows"
        return f"{self.name}: {self.violations_count} {rows}, e.g. {example}"


def worst_verdict(outcomes: list[ExpectationOutcome]) -> GateVerdict:
    """Return the verdict of a run: the worst verdict of its outcomes."""
    verdicts = {o.verdict for o in outcomes}
    for verdict in (GateVerdict.FAIL, GateVerdict.WARN):
        if verdict in verdicts:
            return verdict
    return GateVerdict.OK


class Gate:
    """Check one run with Great Expectations.

    Only this class imports Great Expectations, because the import takes seconds. Its context lives
    in memory; only build_docs writes files.

    Args:
        run: Name of the run.
        docs: Folder for Data Docs, the HTML pages of Great Expectations.

    Attributes:
        elapsed_s: Time that Great Expectations has taken, its import included. The queries of the
            rows are not.
    """

    def __init__(self, run: str, docs: Path) -> None:
        self.elapsed_s = 0.0
        with self._count_time():
            self._open_context(run, docs)

    @contextlib.contextmanager
    def _count_time(self) -> Iterator[None]:
        """Add the time of the block to elapsed_s."""
        started_at_s = time.monotonic()
        yield
        self.elapsed_s += time.monotonic() - started_at_s

    def _open_context(self, run: str, docs: Path) -> None:
        # Great Expectations sends usage data to its makers unless this variable says otherwise.
        # It reads the variable when it is imported, so the variable must be set here, before.
        os.environ["GX_ANALYTICS_ENABLED"] = "False"
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        # Two fifths of its import are statistics and plots for expectations that are not used here,
        # and Spark, which it takes if it is there.
        with defer_modules("scipy.stats", "altair"), hide_modules("pyspark"):
            import great_expectations
            from great_expectations import expectations

        # This module sets its own level when it is imported, so it is lowered afterwards.
        logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
        self.gx: Any = great_expectations
        self.gxe: Any = expectations
        self.run = run
        self.docs_dir = docs.absolute()
        self.context: Any = self.gx.get_context(mode="ephemeral")
        self.context.variables.progress_bars = {"globally": False}
        self.context.delete_data_docs_site("local_site")
        backend = {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(self.docs_dir),
        }
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": index,
            "store_backend": backend,
        }
        self.context.add_data_docs_site(site_name="run", site_config=site)
        self.data_source = self.context.data_sources.add_pandas("run")

    def check_schema(self, run_tables: RunTables) -> list[ExpectationOutcome]:
        """Check that the files of every table have the columns and types of tables.py.

        If they have not, the other checks cannot run.

        Args:
            run_tables: The run's tables.

        Returns:
            One outcome.
        """
        meaning = "files have the columns and types of tables.py"
        equal = self.gxe.ExpectColumnPairValuesToBeEqual(
            column_A="found", column_B="wanted", description=meaning
        )
        return self._run_suite(
            "schema", ("table", "column"), [equal], [_column_types_frame(run_tables)]
        )

    def check_tables(
        self,
        con: duckdb.DuckDBPyConnection,
        rules: Mapping[str, Any],
        checks: Iterable[TableCheck] = TABLE_CHECKS,
        suffix: str = "",
    ) -> list[ExpectationOutcome]:
        """Check every row of the tables.

        Args:
            con: The run's tables, opened by metrics.open_run_tables.
            rules: Parameters in _manifest.json of matches: k, min_score, max_per_brand,
                max_brand_share, merchandise.
            checks: The checks.
            suffix: Added to the names of the tables in the outcomes, for other rows of theirs.

        Returns:
            An outcome for each expectation, by table and name.
        """
        con.execute(broken_rule_macro_sql(rules.get("merchandise", [])))
        # Runs before 0.1.0 held the limit on a brand in every shop.
        con.execute(prepare_sql(rules.get("max_brand_share", 1.0)))
        outcomes = []
        for check in checks:
            used = {"k": rules["k"]} if "$k" in check.sql else {}
            rows = (
                _read_frame(
                    con.sql(check.sql.replace(SHARE_CONDITION, condition), params=bounds | used)
                )
                for condition, bounds in _list_shares(con, check.table.name)
            )
            outcomes += self._run_suite(
                check.table.name + suffix,
                check.table.key,
                check.expectations(self.gxe, rules),
                rows,
            )
        return outcomes

    def check_metrics(
        self, metrics: list[Metric], thresholds: list[Threshold]
    ) -> list[ExpectationOutcome]:
        """Check metrics against their thresholds.

        Args:
            metrics: The run's metrics.
            thresholds: Thresholds; one without a metric, as on a first run, is skipped.

        Returns:
            An outcome for each threshold that has a metric.
        """
        pairs = {(t, m): None for t in thresholds for m in metrics if t.applies_to(m)}
        frame = pd.DataFrame([{"scope": m.scope, t.column: m.value} for t, m in pairs])
        if frame.empty:
            return []
        expected = [
            self.gxe.ExpectColumnValuesToBeBetween(
                column=t.column,
                min_value=t.low,
                max_value=t.high,
                severity="critical" if t.is_critical else "warning",
                description=f"{t.column} {t}",
            )
            for t in dict.fromkeys(t for t, _ in pairs)
        ]
        outcomes = self._run_suite(
            "measures", ("scope",), expected, [frame.groupby("scope", as_index=False).first()]
        )
        notes: dict[str, list[str]] = {}
        for t, m in sorted(pairs, key=lambda pair: pair[0].excess(pair[1].value), reverse=True):
            if m.note and t.verdict(m.value) is not GateVerdict.OK:
                name = expectation_name("measures", _RANGE_EXPECTATION, {"column": t.column})
                notes.setdefault(name, []).append(m.note)
        return [replace(o, notes=tuple(notes.get(o.name, ()))) for o in outcomes]

    def build_docs(self) -> None:
        """Build Data Docs; the same run gives the same pages.

        The pages load styles from remote hosts. quality.html does not.
        """
        with self._count_time():
            self.context.build_data_docs()
        for page in self.docs_dir.rglob("*.html"):
            page.write_text(
                _strip_volatile_text(page.read_text(encoding="utf-8")), encoding="utf-8"
            )

    def _run_suite(
        self, name: str, key: tuple[str, ...], expected: list[Any], frames: Iterable[pd.DataFrame]
    ) -> list[ExpectationOutcome]:
        """Run a suite over its frames; return one outcome an expectation, by name."""
        gx = self.gx
        batch = self.data_source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(
            "share"
        )
        suite = self.context.suites.add(gx.ExpectationSuite(name=name, expectations=expected))
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": list(key),
                "partial_unexpected_count": MAX_EXAMPLES,
            },
        )
        checkpoint = self.context.checkpoints.add(checkpoint)
        outcomes: dict[str, ExpectationOutcome] = {}
        for number, frame in enumerate(frames):
            run_id = gx.RunIdentifier(
                run_name=self.run if number == 0 else f"{self.run}.{number}", run_time=FIXED_TIME
            )
            with self._count_time():
                result = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=run_id)
            for one in next(iter(result.run_results.values())).results:
                outcome = _parse_outcome(name, key, one.to_json_dict())
                outcomes[outcome.name] = (
                    _merge_outcomes(outcomes[outcome.name], outcome)
                    if outcome.name in outcomes
                    else outcome
                )
        return [outcomes[name] for name in sorted(outcomes)]


def _list_shares(con: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, dict[str, str]]]:
    """Return shares of a table's rows as conditions on product_id, and their parameters.

    Ranges of ids, since files are in their order: of other ranges only statistics are read.
    """
    (count,) = con.execute(f"SELECT count(*) FROM {table}").fetchall()[0]
    if count <= SHARD_ROWS:
        return [("true", {})]
    bounds = [
        bound
        for (bound,) in con.execute(
            f"""
            SELECT max(product_id) FROM (
                SELECT product_id, sum(count(*)) OVER (ORDER BY product_id) AS total
                FROM {table} WHERE product_id IS NOT NULL GROUP BY product_id)
            GROUP BY (total - 1) // {SHARD_ROWS} ORDER BY 1
            """
        ).fetchall()
    ]
    # The last share has what follows, and the rows without an id.
    *inner, _ = bounds
    if not inner:
        return [("true", {})]
    return [
        ("product_id <= $high", {"high": inner[0]}),
        *(
            ("(product_id > $low AND product_id <= $high)", {"low": low, "high": high})
            for low, high in pairwise(inner)
        ),
        ("(product_id > $low OR product_id IS NULL)", {"low": inner[-1]}),
    ]


def _read_frame(result: duckdb.DuckDBPyRelation) -> pd.DataFrame:
    """Return the rows of a query in the form that Great Expectations is fast with.

    It copies the frame for every expectation. Text in Arrow's memory is not copied, and `copy` puts
    columns of one type into one block. It compares 32-bit integers one by one in Python, so they
    become 64-bit.
    """
    rows: pa.Table = result.to_arrow_table()
    frame: pd.DataFrame = rows.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)
    return frame.astype(dict.fromkeys(frame.select_dtypes("int32").columns, "int64")).copy()


def _strip_volatile_text(page: str) -> str:
    """Replace the parts of a Data Docs page that differ each time it is built.

    Great Expectations has no option for this: it gives HTML elements random UUIDs as ids, and
    writes the time of building. Each UUID becomes part-0, part-1, … in the order of appearance, so
    that links within the page still work. The time becomes FIXED_TIME. With this, the same run
    gives the same bytes.
    """
    ids: dict[str, str] = {}
    page = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        lambda match: ids.setdefault(match[0], f"part-{len(ids)}"),
        page,
    )
    return re.sub(r"\d{8}T\d{6}\.\d{6}Z", FIXED_TIME.strftime("%Y%m%dT%H%M%S.%fZ"), page)


def expectation_name(suite: str, kind: str, kwargs: Mapping[str, Any]) -> str:
    """Return the name of an expectation in messages and tables.

    Args:
        suite: The suite, i.e. the table.
        kind: Type of the expectation.
        kwargs: Its arguments; column names are used.

    Returns:
        For example "products.expect_column_values_to_not_be_null(title)".
    """
    columns = kwargs.get("column_list") or [
        kwargs[c] for c in ("column", "column_A", "column_B") if c in kwargs
    ]
    return f"{suite}.{kind}({', '.join(columns)})"


def _parse_outcome(
    suite: str, key: tuple[str, ...], result: Mapping[str, Any]
) -> ExpectationOutcome:
    """Parse a result of Great Expectations.

    Raises RuntimeError if it failed without a count of rows.
    """
    config = result["expectation_config"]
    info = result["exception_info"]
    # Either one exception, or one for each metric that raised, by the metric's name.
    infos = [info] if "raised_exception" in info else info.values()
    raised = [e for e in infos if e["raised_exception"]]
    detail = result["result"]
    if not (raised or result["success"] or detail.get("unexpected_count")):
        raise RuntimeError(
            f"{suite}: {config['type']} failed without saying on how many rows: {detail}"
        )
    return ExpectationOutcome(
        name=expectation_name(suite, config["type"], config["kwargs"]),
        meaning=config["description"],
        is_critical=config["severity"] == "critical",
        violations_count=detail.get("unexpected_count", 0),
        examples=tuple(
            {**{k: e[k] for k in key}, **e}
            for e in detail.get("partial_unexpected_index_list") or ()
        ),
        error=raised[0]["exception_message"] if raised else None,
    )


def _merge_outcomes(one: ExpectationOutcome, other: ExpectationOutcome) -> ExpectationOutcome:
    """Add up the outcomes of an expectation in two shares."""
    return replace(
        one,
        violations_count=one.violations_count + other.violations_count,
        examples=(one.examples + other.examples)[:MAX_EXAMPLES],
        error=one.error or other.error,
    )


def _column_types_frame(run_tables: RunTables) -> pd.DataFrame:
    """Return the type of each column in the files and in tables.py, a row each."""
    rows = []
    for table in (TABLES_BY_NAME[name] for name in run_tables if name in TABLES_BY_NAME):
        wanted = _type_names(table.arrow_schema)
        rows += [
            {
                "table": table.name,
                "column": column,
                "found": found.get(column, "missing"),
                "wanted": wanted.get(column, "none"),
            }
            for found in map(_type_names, _physical_schemas(run_tables[table.name]))
            for column in dict.fromkeys([*wanted, *found])
        ]
    return pd.DataFrame(rows).drop_duplicates()


def _physical_schemas(rows: ds.Dataset | pa.Table) -> Iterator[pa.Schema]:
    """Yield the schema of each file of a dataset, or that of a table."""
    if isinstance(rows, pa.Table):
        yield rows.schema
    else:
        yield from (fragment.physical_schema for fragment in rows.get_fragments())


def _type_names(schema: pa.Schema) -> dict[str, str]:
    """Return the type of each column as text.

    "not null" is ignored: Spark never writes it for elements of lists, and the rows are checked.
    """
    return {field.name: str(field.type).replace(" not null", "") for field in schema}


def violation_metrics(outcomes: list[ExpectationOutcome]) -> list[Metric]:
    """Return a metric for each expectation: the number of rows that break it."""
    return [
        Metric(
            "violations_count",
            f"expectation={o.name}",
            o.violations_count,
            "count",
            verdict=str(o.verdict),
            threshold="= 0",
        )
        for o in outcomes
    ]
