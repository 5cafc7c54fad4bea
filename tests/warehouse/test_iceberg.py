"""The published run as Apache Iceberg tables, in a real catalogue on SQLite."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from wearalike import tables
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.warehouse import iceberg, publish
from wearalike.warehouse.base import open_warehouse

NEW_COLUMN = pa.field("new", pa.string(), nullable=False)
DAYS = ("2026-11-20", "2026-11-21")


def publish_run(settings: Settings, run: str, count: int) -> None:
    """Publish a run of as many rows in each table."""
    for table in tables.PUBLISHED_TABLES:
        rows = [
            {
                field.name: [f"{run} {n}"]
                if pa.types.is_list(field.type)
                else f"{run} {n}"
                if pa.types.is_string(field.type)
                else n
                for field in table.arrow_schema
            }
            for n in range(count)
        ]
        if table is tables.QUALITY:
            rows = [{**row, "verdict": "ok"} for row in rows]
        with run_tables.write_table(settings.data_dir, table, run, f"{run} {count}") as writer:
            writer.write(pa.Table.from_pylist(rows, table.arrow_schema))
    publish.publish_run(settings.data_dir, run, open_warehouse(settings.warehouse), redo=True)


def read_published(catalogue: Catalog) -> tuple[str, dict[str, pa.Table]]:
    """Read as a consumer does: the version first, then its rows."""
    (row,) = catalogue.load_table("wearalike.published_run").scan().to_arrow().to_pylist()
    found = {}
    for table in tables.PUBLISHED_TABLES:
        scan = catalogue.load_table(f"wearalike.{table.name}").scan(
            row_filter=f"run_version == '{row['run_version']}'"
        )
        found[table.name] = scan.to_arrow().drop_columns(["run_version"])
    return row["run"], found


@pytest.fixture
def settings(tmp_path) -> Settings:
    root = tmp_path / "root"
    return Settings(data_dir=root, warehouse=f"duckdb:{tmp_path / 'warehouse'}")


def test_readers_see_all_tables_of_one_run_also_when_a_commit_fails(settings, tmp_path):
    (tmp_path / "iceberg").mkdir()
    place = {
        "uri": f"sqlite:///{tmp_path}/catalogue.db",
        "warehouse": f"file://{tmp_path}/iceberg",
    }
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "{settings.data_dir}"\nwarehouse = "duckdb:{tmp_path}/warehouse"\n'
    )
    catalogue = load_catalog("tests", type="sql", **place)

    def register() -> str | None:
        return iceberg.register_published_run(settings, catalogue, "wearalike", keep=2)

    publish_run(settings, DAYS[0], 3)
    assert register() == DAYS[0]
    run, found = read_published(catalogue)
    assert run == DAYS[0]
    for table in tables.PUBLISHED_TABLES:
        written = run_tables.read_table(settings.data_dir, table, run)
        assert found[table.name].to_pylist() == written.to_pylist(), table.name
    assert register() is None
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "wearalike",
            "register-iceberg",
            "--catalog=tests",
            "--config",
            config,
        ],
        env=os.environ | {f"PYICEBERG_CATALOG__TESTS__{k.upper()}": v for k, v in place.items()},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout == "wearalike is up to date\n"

    # The fourth of six commits fails: the former run stays readable in whole.
    publish_run(settings, DAYS[1], 2)
    with contextlib.closing(sqlite3.connect(tmp_path / "catalogue.db")) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON iceberg_tables WHEN NEW.table_name ="
            " 'similar_lists' BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        with pytest.raises(iceberg.NotRegistered, match="the catalogue refuses"):
            register()
        seen = catalogue.load_table("wearalike.products").scan().to_arrow()
        assert len(seen) == 5, "the first commits are there"
        run, found = read_published(catalogue)
        assert run == DAYS[0] and {len(rows) for rows in found.values()} == {3}
        database.execute("DROP TRIGGER refuse")

    assert register() == DAYS[1]
    run, found = read_published(catalogue)
    assert run == DAYS[1] and {len(rows) for rows in found.values()} == {2}

    # The same run made again is another version; the oldest rows go.
    publish_run(settings, DAYS[1], 1)
    assert register() == DAYS[1]
    run, found = read_published(catalogue)
    assert run == DAYS[1] and {len(rows) for rows in found.values()} == {1}
    products = catalogue.load_table("wearalike.products")
    con = products.scan().to_duckdb("products")
    shown = con.execute("SELECT left(run_version, 10), count(*) FROM products GROUP BY ALL")
    assert shown.fetchall() == [(DAYS[1], 3)]

    # Of several versions of one run those that were put last stay: a reader may be at the former.
    for former, count in ((1, 4), (4, 5), (5, 6)):
        publish_run(settings, DAYS[1], count)
        assert register() == DAYS[1]
        kept = catalogue.load_table("wearalike.products").scan().to_arrow()["run_version"]
        counts = kept.combine_chunks().value_counts().field("counts")
        assert sorted(counts.to_pylist()) == [former, count]
    (row,) = catalogue.load_table("wearalike.published_run").scan().to_arrow().to_pylist()
    state = open_warehouse(settings.warehouse).state()
    assert row["published_at"] == state.publications[-1].published_at

    # A later version of wearalike may have a required column more.
    schema = pa.schema([*iceberg._versioned_schema(tables.PRODUCTS), NEW_COLUMN])
    found = iceberg._open_table(catalogue, "wearalike.products", schema)
    assert found.schema().find_field(NEW_COLUMN.name).optional
