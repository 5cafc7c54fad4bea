"""The data contract is current, is YAML, and names every published column once."""

from pathlib import Path

import duckdb
import pytest
from tests.support.postgres_server import create_database, start_server
from tests.warehouse.test_warehouse import load
from tests.warehouse.test_warehouse import night as made_up

from wearalike.commands import app
from wearalike.reports import data_contract
from wearalike.tables import EXPERIMENT_TABLES, LOADED_TABLES
from wearalike.warehouse.base import open_warehouse

CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "data-contract.odcs.yaml"


def test_the_file_is_what_the_command_prints(capsys):
    assert app.main(["contract"]) == 0
    assert capsys.readouterr().out == CONTRACT.read_text(encoding="utf-8")


def test_every_published_column_is_in_it():
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
    assert found == data_contract.build_contract()
    assert (found["apiVersion"], found["kind"]) == ("v3.0.2", "DataContract")
    columns = {t["name"]: [p["name"] for p in t["properties"]] for t in found["schema"]}
    assert columns == {t.name: ["run", *t.column_names] for t in LOADED_TABLES}
    for table, made in zip(LOADED_TABLES, found["schema"], strict=True):
        keys = {p["name"]: p["primaryKeyPosition"] for p in made["properties"] if "primaryKey" in p}
        assert sorted(keys, key=keys.__getitem__) == ["run", *table.key]
        nullable = {p["name"] for p in made["properties"] if not p["required"]}
        assert nullable == {c.name for c in table.columns if c.nullable}


def test_dbt_reads_the_views_of_the_published_run(capsys, night):
    """Each source is a view that the warehouse has, with the columns that it has."""
    yaml = pytest.importorskip("yaml")
    assert app.main(["contract", "--format", "dbt"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found == data_contract.build_dbt_sources() and found["version"] == 2
    ((source,),) = [found["sources"]]
    moves, *tables = source["tables"]
    assert (moves["name"], moves["config"]["loaded_at_field"]) == ("publications", "published_at")
    warehouse = night / "root" / "warehouse" / "wearalike.duckdb"
    with duckdb.connect(str(warehouse), read_only=True) as con:
        for table in tables:
            shown = con.execute(f"SELECT * FROM {table['identifier']}")
            columns = {column[0] for column in shown.description}
            assert columns - {"run"} == {column["name"] for column in table["columns"]}
            for column in table["columns"]:
                name, tests = column["name"], column.get("data_tests", [])
                counts = con.execute(
                    f'SELECT count(*), count("{name}"), count(DISTINCT "{name}") '
                    f"FROM {table['identifier']}"
                ).fetchone()
                assert "not_null" not in tests or counts[0] == counts[1], (table["name"], name)
                assert "unique" not in tests or counts[0] == counts[2], (table["name"], name)
    assert {t["name"] for t in tables} == {t.name for t in LOADED_TABLES}


def test_dbt_finds_its_sources_in_postgresql():
    with start_server() as server:
        address = create_database(server, "shop")
        warehouse = open_warehouse(address)
        load(warehouse, "r1", made_up("r1"))
        warehouse.publish("r1")
        ((source,),) = [data_contract.build_dbt_sources()["sources"]]
        for table in source["tables"]:
            name = table.get("identifier", table["name"])
            rows = warehouse.query(f"SELECT * FROM wearalike.{name} LIMIT 1")
            empty = {"look_products", *(t.name for t in EXPERIMENT_TABLES)}
            assert rows or table["name"] in empty, name
        assert warehouse.query("SELECT published_at FROM wearalike.publications")
