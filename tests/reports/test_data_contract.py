"""The data contract is current, is YAML, and names every published column once."""

from pathlib import Path

import pytest

from wearalike.commands import app
from wearalike.reports import data_contract
from wearalike.tables import PUBLISHED_TABLES

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
    assert columns == {t.name: ["run", *t.column_names] for t in PUBLISHED_TABLES}
    for table, made in zip(PUBLISHED_TABLES, found["schema"], strict=True):
        keys = {p["name"]: p["primaryKeyPosition"] for p in made["properties"] if "primaryKey" in p}
        assert sorted(keys, key=keys.__getitem__) == ["run", *table.key]
        nullable = {p["name"] for p in made["properties"] if not p["required"]}
        assert nullable == {c.name for c in table.columns if c.nullable}
