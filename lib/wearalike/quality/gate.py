"""The gate: what must hold of a run before any of it is published, asserted by Great Expectations.

Great Expectations sees every row. DuckDB puts beside each row what it is held against (checks.py) and hands it over in
shares of whole products, so that memory stays flat and 20 million rows only take longer; nothing is sampled. An
expectation's outcomes in the shares are added up.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from wearalike.quality.checks import TABLE_CHECKS, TableCheck
from wearalike.quality.metrics import Metric, RunTables
from wearalike.quality.thresholds import GateVerdict, Threshold
from wearalike.tables import TABLES_BY_NAME

SHARD_ROWS = 300_000
MAX_EXAMPLES = 5
# The run's name says when; the time of day would make the pages of the same run differ.
FIXED_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """What came of one expectation.

    violations_count: rows that break it. examples: up to 5 of them, each with its key and the values judged.
    error: why it could not be judged at all; that fails the gate whatever the severity, for nothing was checked.
    """

    name: str
    meaning: str
    is_critical: bool
    violations_count: int
    examples: tuple[dict[str, Any], ...] = ()
    error: str | None = None

    @property
    def verdict(self) -> GateVerdict:
        if self.error or (self.violations_count and self.is_critical):
            return GateVerdict.FAIL
        return GateVerdict.WARN if self.violations_count else GateVerdict.OK

    def __str__(self) -> str:
        """One line for the operator."""
        if self.error:
            return f"{self.name} could not be judged: {self.error}"
        shown = (
            ", ".join(f"{k}={v}" for k, v in self.examples[0].items())
            if self.examples
            else "no example"
        )
        return f"{self.name}: {self.violations_count} row{'s' * (self.violations_count != 1)}, e.g. {shown}"


def worst_verdict(outcomes: list[ExpectationOutcome]) -> GateVerdict:
    """The run's: the worst of all."""
    found = {o.verdict for o in outcomes}
    return next((v for v in (GateVerdict.FAIL, GateVerdict.WARN) if v in found), GateVerdict.OK)


class Gate:
    """One run before Great Expectations, which is imported here and nowhere else: it takes seconds.

    docs: the folder that Data Docs are built into by `build_docs`. Nothing else is written anywhere.
    """

    def __init__(self, run: str, docs: Path) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "False"
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        import great_expectations
        from great_expectations import expectations

        # This module of theirs sets its own level when it is imported.
        logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
        self.gx: Any = great_expectations
        self.gxe: Any = expectations
        self.run, self.docs_dir = run, docs.absolute()
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

    def check_schema(self, night: RunTables) -> list[ExpectationOutcome]:
        """Whether the files of every table have the columns and types of tables.py; where not, nothing else can be judged."""
        meaning = "the columns of tables.py, of their types, in the files as they are written"
        equal = self.gxe.ExpectColumnPairValuesToBeEqual(
            column_A="found", column_B="wanted", description=meaning
        )
        return self._run_suite("schema", ("table", "column"), [equal], [_column_types_frame(night)])

    def check_tables(
        self,
        con: duckdb.DuckDBPyConnection,
        rules: Mapping[str, Any],
        checks: Iterable[TableCheck] = TABLE_CHECKS,
    ) -> list[ExpectationOutcome]:
        """What must hold of every row. rules: the parameters that _manifest.json of matches names."""
        outcomes = []
        for check in checks:
            count = con.execute(f"SELECT count(*) FROM {check.table.name}").fetchall()[0][0]
            shares = max(1, -(-count // SHARD_ROWS))
            values = {"shares": shares, **({"k": rules["k"]} if "$k" in check.sql else {})}
            rows = (
                _prepare_frame(con.execute(check.sql, {"share": share, **values}).df())
                for share in range(shares)
            )
            outcomes += self._run_suite(
                check.table.name, check.table.key, check.expectations(self.gxe, rules), rows
            )
        return outcomes

    def check_metrics(
        self, metrics: list[Metric], thresholds: list[Threshold]
    ) -> list[ExpectationOutcome]:
        """Whether the measures keep their bounds. One of which there is no measure, as on a first night, is not judged."""
        held = {(b, m): m.value for b in thresholds for m in metrics if b.applies_to(m)}
        frame = pd.DataFrame(
            [{"scope": m.scope, m.metric: value} for (_, m), value in held.items()]
        )
        if frame.empty:
            return []
        expected = [
            self.gxe.ExpectColumnValuesToBeBetween(
                column=b.metric,
                min_value=b.low,
                max_value=b.high,
                severity="critical" if b.is_critical else "warning",
                description=f"{b.metric} {b}",
            )
            for b in dict.fromkeys(b for b, _ in held)
        ]
        return self._run_suite(
            "measures", ("scope",), expected, [frame.groupby("scope", as_index=False).first()]
        )

    def build_docs(self) -> None:
        """Great Expectations' own pages, made to be the same for the same run. Their style comes from remote hosts; quality.html
        does without any."""
        self.context.build_data_docs()
        for page in self.docs_dir.rglob("*.html"):
            page.write_text(
                _strip_volatile_text(page.read_text(encoding="utf-8")), encoding="utf-8"
            )

    def _run_suite(
        self, name: str, key: tuple[str, ...], expected: list[Any], frames: Iterable[pd.DataFrame]
    ) -> list[ExpectationOutcome]:
        """The outcomes of a suite over all its frames, one an expectation, by name."""
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
            result = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=run_id)
            for one in next(iter(result.run_results.values())).results:
                outcome = _parse_outcome(name, key, one.to_json_dict())
                outcomes[outcome.name] = (
                    _merge_outcomes(outcomes[outcome.name], outcome)
                    if outcome.name in outcomes
                    else outcome
                )
        return [outcomes[name] for name in sorted(outcomes)]


def _prepare_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as Great Expectations is quick with: 64-bit integers, since it compares 32-bit ones one by one in Python, and
    columns of a type in one block (which is what `copy` does), since it copies the frame for every expectation."""
    return frame.astype(dict.fromkeys(frame.select_dtypes("int32").columns, "int64")).copy()


def _strip_volatile_text(page: str) -> str:
    """The page without what differs each time it is built: random ids and the time of day."""
    names: dict[str, str] = {}
    page = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        lambda found: names.setdefault(found[0], f"part-{len(names)}"),
        page,
    )
    return re.sub(r"\d{8}T\d{6}\.\d{6}Z", FIXED_TIME.strftime("%Y%m%dT%H%M%S.%fZ"), page)


def expectation_name(suite: str, kind: str, kwargs: Mapping[str, Any]) -> str:
    """How an expectation is called in messages and tables, e.g. products.expect_column_values_to_not_be_null(title)."""
    columns = kwargs.get("column_list") or [
        kwargs[c] for c in ("column", "column_A", "column_B") if c in kwargs
    ]
    return f"{suite}.{kind}({', '.join(columns)})"


def _parse_outcome(
    suite: str, key: tuple[str, ...], result: Mapping[str, Any]
) -> ExpectationOutcome:
    config, info = result["expectation_config"], result["exception_info"]
    # One exception, or one for each metric that raised, under the metric's name.
    raised = [
        e
        for e in ([info] if "raised_exception" in info else info.values())
        if e["raised_exception"]
    ]
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
    return replace(
        one,
        violations_count=one.violations_count + other.violations_count,
        examples=(one.examples + other.examples)[:MAX_EXAMPLES],
        error=one.error or other.error,
    )


def _column_types_frame(night: RunTables) -> pd.DataFrame:
    """A row for each column that a table of the night has in a file, or should have: its type there and in tables.py."""
    rows = []
    for table in (TABLES_BY_NAME[name] for name in night if name in TABLES_BY_NAME):
        wanted = _type_names(table.arrow_schema)
        rows += [
            {
                "table": table.name,
                "column": column,
                "found": found.get(column, "missing"),
                "wanted": wanted.get(column, "none"),
            }
            for found in map(_type_names, _physical_schemas(night[table.name]))
            for column in dict.fromkeys([*wanted, *found])
        ]
    return pd.DataFrame(rows).drop_duplicates()


def _physical_schemas(rows: ds.Dataset | pa.Table) -> Iterator[pa.Schema]:
    if isinstance(rows, pa.Table):
        yield rows.schema
    else:
        yield from (fragment.physical_schema for fragment in rows.get_fragments())


def _type_names(schema: pa.Schema) -> dict[str, str]:
    # Spark says of no element that it cannot be null: whether it is, the rows say.
    return {field.name: str(field.type).replace(" not null", "") for field in schema}


def violation_metrics(outcomes: list[ExpectationOutcome]) -> list[Metric]:
    """One measure an expectation: the rows that break it."""
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
