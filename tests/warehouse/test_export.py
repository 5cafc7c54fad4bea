"""The key-value export: every published product under its key, the run last, whole or not at
all.
"""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.warehouse.test_warehouse import night

from wearalike import settings
from wearalike.commands import app
from wearalike.storage import run_tables
from wearalike.tables import PUBLISHED_TABLES, QUALITY
from wearalike.warehouse import export, publish
from wearalike.warehouse.base import open_warehouse


@pytest.fixture
def place(tmp_path) -> settings.Settings:
    (tmp_path / "wearalike.toml").write_text('data_dir = "root"\n', encoding="utf-8")
    return settings.read_settings(tmp_path / "wearalike.toml", {})


def run_published(
    place: settings.Settings, run: str, parts: dict[str, pa.Table], sign: str = "s"
) -> None:
    measure = {"metric": "m", "scope": "all", "value": 1.0, "unit": "count", "verdict": "ok"}
    quality = pa.Table.from_pylist([measure], QUALITY.arrow_schema)
    for table in PUBLISHED_TABLES:
        with run_tables.write_table(place.data_dir, table, run, sign) as out:
            out.write(quality if table is QUALITY else parts[table.name])
    publish.publish_run(place.data_dir, run, open_warehouse(place.warehouse))


def read(path: Path) -> tuple[dict[str, dict], dict]:
    """(value by key, the last line's value)."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(line.keys() == {"key", "value"} for line in lines) and lines[-1]["key"] == "meta"
    return {line["key"]: line["value"] for line in lines[:-1]}, lines[-1]["value"]


def query_of(name: str) -> str:
    return (Path(__file__).parents[2] / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def test_every_product_has_its_list_as_the_site_s_query_answers(place, tmp_path, capsys):
    run_published(place, "r1", night("r1", 12))
    out = tmp_path / "similar.jsonl"
    assert (
        app.main(
            [
                "export",
                "--format",
                "jsonl",
                "--config",
                str(tmp_path / "wearalike.toml"),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert f"12 products in {out}" in capsys.readouterr().out
    values, meta = read(out)
    publication = open_warehouse(place.warehouse).state().publications[-1]
    published_at = publication.published_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert meta == {"format": 1, "run": "r1", "published_at": published_at, "products_count": 12}
    assert list(values) == [
        f"{kind}:moda:{n:05}" for kind in ("similar", "look") for n in range(12)
    ]
    looks = {key: values.pop(key) for key in list(values) if key.startswith("look:")}
    query = query_of("site_similar_products")
    for key, value in values.items():
        wanted = open_warehouse(place.warehouse).query(query, [key.removeprefix("similar:")])
        got = value.pop("results")
        assert [r["product_id"] for r in got] == [r["product_id"] for r in wanted] and got
        for mine, theirs in zip(got, wanted, strict=True):
            assert mine == {k: v for k, v in theirs.items() if k not in ("run", "rank")} | {
                "shop_id": "moda"
            }
        assert value == {
            "run": "r1",
            "category": "women.dresses.midi",
            "shortfall_reason": "few_products",
        }
    query = query_of("site_look_products")
    for key, value in looks.items():
        wanted = [
            r["product_id"]
            for r in open_warehouse(place.warehouse).query(query, [key.removeprefix("look:")])
        ]
        assert [r["product_id"] for item in value["items"] for r in item["results"]] == wanted
    box = {"image_id": "c", "x0": 10, "y0": 20, "x1": 30, "y1": 40}
    items = [
        {"super_category": "foot_wear", "source": "worn", "worn_with_product_id": f"moda:{n:05}"}
        | box
        for n in (0, 2)
    ]
    ((found,), sold_out) = (looks[f"look:moda:{n:05}"]["items"] for n in (0, 2))
    (result,) = found.pop("results")
    assert (result["product_id"], result["score"], result["title"]) == (
        "moda:00002",
        0.75,
        "dress of r1",
    ) and found == items[0]
    assert result["reason"] == "same kind, same colour, shape much alike"
    assert sold_out == [items[1] | {"results": []}]
    assert looks["look:moda:00001"] == {"run": "r1", "items": []}


def test_a_product_without_recommendations_empties_its_key(place, tmp_path):
    parts = night("r1")
    similar = parts["similar_products"]
    run_published(
        place,
        "r1",
        parts | {"similar_products": similar.filter(pc.field("product_id") != "moda:00002")},
    )
    assert export.write_jsonl(place, tmp_path / "out") == 6
    values, _ = read(tmp_path / "out")
    assert (
        values["similar:moda:00002"]["results"] == []
        and len(values["similar:moda:00001"]["results"]) == 2
    )


def test_the_pointer_decides_and_the_bytes_are_the_same_again(place, tmp_path):
    run_published(place, "r1", night("r1"))
    export.write_jsonl(place, tmp_path / "one")
    run_published(place, "r2", night("r2"))
    export.write_jsonl(place, tmp_path / "two")
    export.write_jsonl(place, tmp_path / "again")
    assert (tmp_path / "two").read_bytes() == (tmp_path / "again").read_bytes()
    assert read(tmp_path / "two")[1]["run"] == "r2"
    publish.rollback(place)
    export.write_jsonl(place, tmp_path / "two")
    assert read(tmp_path / "two")[0] == read(tmp_path / "one")[0]


def test_nothing_published_or_other_tables_write_nothing(place, tmp_path, caplog):
    out = tmp_path / "out"
    command = ["export", "--config", str(tmp_path / "wearalike.toml"), "--out", str(out)]
    assert app.main(command) == 1
    assert "nothing is published yet" in caplog.text and not out.exists()
    run_published(place, "r1", night("r1"))
    assert app.main(command) == 0
    before = out.read_bytes()
    # The run's tables are made again and not published.
    with run_tables.write_table(place.data_dir, PUBLISHED_TABLES[0], "r1", "other") as table:
        table.write(night("r1", 3)["products"])
    assert app.main(command) == 1
    assert "other tables of run r1" in caplog.text
    assert app.main([*command, "--data-dir", str(tmp_path / "elsewhere")]) == 1
    assert out.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == [
        "out",
        "root",
        "wearalike.toml",
    ]


def test_an_export_that_breaks_off_leaves_the_file_before(place, tmp_path):
    run_published(place, "r1", night("r1"))
    out = tmp_path / "out"
    out.write_text("before", encoding="utf-8")
    part = next((place.data_dir / "similar_products" / "run=r1").glob("part-*.parquet"))
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2] + b"\0" * (len(content) - len(content) // 2))
    with pytest.raises(Exception, match=r"Parquet|parquet|magic"):
        export.write_jsonl(place, out)
    assert out.read_text(encoding="utf-8") == "before" and not list(tmp_path.glob(".out*"))
    assert os.listdir(tmp_path).count("out") == 1
