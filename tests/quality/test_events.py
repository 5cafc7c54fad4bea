"""Impressions, clicks and orders: read strictly, joined to the run that was seen, and counted."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import html
from tests.support.drawn_deployment import ENCODER, DrawnDeployment
from tests.support.http_server import site_client

from wearalike.commands import app
from wearalike.metrics.agreement import wilson_interval
from wearalike.quality import event_files, event_rates, event_store
from wearalike.quality.event_files import EventReason, RefusedEvent, read_events
from wearalike.server.app import create_app
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS, SIMILAR_PRODUCTS
from wearalike.warehouse.base import open_warehouse

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory) -> DrawnDeployment:
    """Two nights of 40 products, the second one published."""
    root = tmp_path_factory.mktemp("clicks") / "data"
    made = DrawnDeployment(Settings(data_dir=root), 40, 0.1, picture_bytes=100, metrics_count=3)
    made.add_night()
    made.add_night()
    config = root.with_name("wearalike.toml")
    config.write_text(f'data_dir = "{root}"\n')
    return made


def pairs_of(deployment: DrawnDeployment, run: str) -> list[dict[str, Any]]:
    return run_tables.read_table(deployment.root, SIMILAR_PRODUCTS, run).to_pylist()


def event(kind: str, pair: dict[str, Any], **values: object) -> dict[str, Any]:
    names = ("product_id", "similar_product_id")
    at = datetime.now(UTC).isoformat()
    return {"kind": kind, "occurred_at": at, **{n: pair[n] for n in names}, **values}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rates_are_those_of_the_events_in_file_warehouse_workbook_and_output(
    deployment, tmp_path, capsys
):
    pairs = pairs_of(deployment, deployment.run)
    first = [pair for pair in pairs if pair["rank"] == 1][:20]
    second = [pair for pair in pairs if pair["rank"] == 2][:10]
    rows = [event("impression", pair) for pair in (*first, *second) for _ in range(5)]
    rows += [event("click", pair) for pair in first[:8]]
    rows += [event("order", first[0]), event("click", second[0])]
    path = write_jsonl(tmp_path / "events.jsonl", rows)
    config = ["--config", str(deployment.root.with_name("wearalike.toml"))]
    assert app.main(["load-events", str(path), *config]) == 0
    said = capsys.readouterr().out
    assert f"events.jsonl: {len(rows)} events" in said
    assert f"run {deployment.run}: 150 impressions, 9 clicks, 1 orders; 6.00% clicked" in said
    by_part = {
        (row["dimension"], row["part"]): row
        for row in event_rates.read_rates(deployment.root, deployment.run)
    }
    rank_1 = by_part["rank", "1"]
    assert (rank_1["impressions_count"], rank_1["clicks_count"]) == (100, 8)
    assert rank_1["click_rate"] == 0.08 and rank_1["order_rate"] == 0.01
    assert (rank_1["click_low"], rank_1["click_high"]) == wilson_interval(0.08, 100)
    assert by_part["rank", "2"]["click_rate"] == 1 / 50
    assert by_part["encoder", ENCODER]["clicks_count"] == 9
    assert (
        by_part["rule", "none"]["impressions_count"] == by_part["shop", "moda"]["impressions_count"]
    )
    categories = {
        row["product_id"]: row["category"]
        for row in run_tables.read_table(deployment.root, PRODUCTS, deployment.run).to_pylist()
    }
    for (dimension, part), row in by_part.items():
        if dimension == "category":
            own = [r for r in rows if categories[r["product_id"]] == part]
            assert row["impressions_count"] == sum(r["kind"] == "impression" for r in own)
    held = open_warehouse(deployment.settings.warehouse).query(
        "SELECT * FROM event_rates WHERE run = $1 AND dimension = 'all'", [deployment.run]
    )
    assert [(r["impressions_count"], r["clicks_count"], r["orders_count"]) for r in held] == [
        (150, 9, 1)
    ]
    book = openpyxl.load_workbook(deployment.root / "reports" / "quality.xlsx")
    sheet = [[cell.value for cell in row] for row in book["events"].iter_rows()]
    assert sheet[0] == event_rates.RATES_SCHEMA.names and len(sheet) == 1 + len(by_part)
    with site_client(create_app(deployment.settings)) as client:
        page = html.fromstring(client.get("/quality").text)
    (table,) = page.xpath("//div[@aria-label='Clicks and orders']/table")
    shown = [
        [cell.text_content() for cell in row.xpath("./th|./td")] for row in table.xpath(".//tr")
    ]
    assert len(shown) == 1 + len(by_part)
    assert shown[1][:5] == ["all", "all", "150", "9", "6.00 %"]
    (disk,) = page.xpath("//div[@aria-label='Disk by kind']/table")
    kinds = {row.text_content() for row in disk.xpath(".//tbody/tr/th")}
    assert {"pictures", "tables of runs", "warehouse", "events"} <= kinds
    # Once more: nothing is counted twice.
    assert app.main(["load-events", str(path), *config]) == 0
    assert "loaded before, nothing to do" in capsys.readouterr().out
    assert event_rates.compute_rates(deployment.root).to_pylist() == event_rates.read_rates(
        deployment.root
    )


def test_an_event_is_joined_to_the_run_that_was_seen(deployment, tmp_path):
    state = open_warehouse(deployment.settings.warehouse).state()
    (former, _), (now, published_at) = [(p.run, p.published_at) for p in state.publications]
    (pair,) = [p for p in pairs_of(deployment, former)][:1]
    both = {(p["product_id"], p["similar_product_id"]) for p in pairs_of(deployment, now)}
    shared = next(
        p
        for p in pairs_of(deployment, former)
        if (p["product_id"], p["similar_product_id"]) in both
    )
    before = (published_at - timedelta(microseconds=1)).isoformat()
    rows = [
        event("click", pair, run=former),
        event("click", shared, occurred_at=before),
        event("click", shared, occurred_at=published_at.isoformat()),
    ]
    path = write_jsonl(tmp_path / "runs.jsonl", rows)
    loaded = event_store.load_event_file(deployment.root, state, path, datetime.now(UTC))
    assert loaded.events_count == 3 and not loaded.refused
    name = event_files.file_hash(path)
    kept = pq.read_table(deployment.root / "events" / f"{name}.parquet")
    assert kept["run"].to_pylist() == [former, former, now]
    assert kept["rank"].to_pylist()[0] == pair["rank"]


def test_two_files_of_the_same_events_at_once_count_them_once(deployment, tmp_path):
    state = open_warehouse(deployment.settings.warehouse).state()
    good = pairs_of(deployment, deployment.run)[0]
    rows = [event("click", good, event_id=f"at once {n}") for n in range(300)]
    paths = [write_jsonl(tmp_path / f"{n}.jsonl", rows[n:] + rows[:n]) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        loaded = pool.map(
            lambda path: event_store.load_event_file(
                deployment.root, state, path, datetime.now(UTC)
            ),
            paths,
        )
        assert sorted(one.events_count for one in loaded) == [0, 0, 300]


def test_every_row_that_cannot_be_used_is_refused_with_its_reason(deployment, tmp_path):
    state = open_warehouse(deployment.settings.warehouse).state()
    good = pairs_of(deployment, deployment.run)[0]
    ahead = (NOW + timedelta(days=2)).isoformat()
    cases: list[tuple[Any, EventReason | None]] = [
        (event("click", good, event_id="a"), None),
        (event("click", good, event_id="a"), EventReason.TWICE),
        (event("clik", good), EventReason.UNKNOWN_KIND),
        (event("click", good, occurred_at="yesterday"), EventReason.BAD_TIME),
        (event("click", good, occurred_at="2026-11-21T10:15:00"), EventReason.BAD_TIME),
        (event("click", good, occurred_at=ahead), EventReason.BAD_TIME),
        (event("click", good, occurred_at="1999-01-01T00:00:00Z"), EventReason.UNKNOWN_RUN),
        (event("click", good, run="2020-01-01"), EventReason.UNKNOWN_RUN),
        (event("click", good, run="../up"), EventReason.UNKNOWN_RUN),
        (event("click", {**good, "similar_product_id": "moda:x"}), EventReason.UNKNOWN_PAIR),
        (event("click", {**good, "product_id": ""}), EventReason.MISSING_VALUE),
        (event("click", {**good, "product_id": 7}), EventReason.BAD_VALUE),
        (event("click", {**good, "product_id": "x" * 301}), EventReason.BAD_VALUE),
        (event("click", good, view_id="\ud800"), EventReason.BAD_VALUE),
        (event("click", good, occurred_at="0001-01-01T00:00:00+14:00"), EventReason.BAD_TIME),
        ("{", EventReason.BROKEN_ROW),
        ("[1]", EventReason.BROKEN_ROW),
    ]
    lines = [case if isinstance(case, str) else json.dumps(case) for case, _ in cases]
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(lines) + "\n")
    loaded = event_store.load_event_file(deployment.root, state, path, datetime.now(UTC))
    expected = [(i, str(reason)) for i, (_, reason) in enumerate(cases, 1) if reason]
    with loaded.refused_path.open(newline="") as file:
        refused = list(csv.DictReader(file))
    assert [(int(row["row"]), row["reason"]) for row in refused] == expected
    assert all(row["detail"] and row["file"] == "mixed.jsonl" for row in refused)
    assert loaded.events_count == 1
    assert loaded.events_count + loaded.refused.total() == len(cases)


def test_the_same_events_are_read_from_all_formats(deployment, tmp_path):
    pairs = pairs_of(deployment, deployment.run)[:3]
    rows = [event("impression", pair, event_id=f"e{n}") for n, pair in enumerate(pairs)]
    files = [write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "a.csv", tmp_path / "a.parquet"]
    with files[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "else"])
        writer.writeheader()
        writer.writerows({**row, "else": "ignored"} for row in rows)
        file.write("a,b\n")
    table = pa.Table.from_pylist(rows)
    times = pa.array([datetime.fromisoformat(row["occurred_at"]) for row in rows])
    pq.write_table(table.set_column(1, "occurred_at", times), files[2])
    found = [[one for _, one in read_events(path, datetime.now(UTC))] for path in files]
    assert found[0] == found[2] == found[1][:3]
    late = pa.array([2**62], pa.timestamp("us", "UTC"))  # beyond the year 9999
    pq.write_table(table.slice(0, 1).set_column(1, "occurred_at", late), files[2])
    (refused,) = [one for _, one in read_events(files[2], datetime.now(UTC))]
    assert isinstance(refused, RefusedEvent) and refused.reason is EventReason.BAD_TIME
    (broken,) = found[1][3:]
    assert isinstance(broken, RefusedEvent) and broken.reason is EventReason.BROKEN_ROW


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "wanted a name that ends with"),
        ("a.csv", b"kind,occurred_at\n", "no column product_id"),
        ("a.csv", b"\xff\xfe\n", "codec can't decode"),
        ("a.parquet", b"PAR1", "Parquet"),
        ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "a.parquet: Couldn't deserialize"),
    ],
)
def test_a_file_of_no_use_is_said(deployment, tmp_path, caplog, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    config = str(deployment.root.with_name("wearalike.toml"))
    assert app.main(["load-events", str(path), "--config", config]) == 1
    assert message in caplog.text
    assert app.main(["load-events", str(tmp_path / "none.csv"), "--config", config]) == 1
    assert "none.csv: no such file or directory" in caplog.text


def test_fewer_seen_than_clicked_gives_no_rate(tmp_path):
    root = tmp_path
    folder = root / "events"
    folder.mkdir()
    row = {"run": "r1", "rank": 1, "encoder": "e", "category": "c", "shop_id": "s"}
    own = {"product_id": "s:1", "similar_product_id": "s:2", "rule": None}
    kinds = ["impression", "click", "click"]
    rows = [
        {**row, **own, "kind": kind, "event_id": str(n), "occurred_at": NOW}
        for n, kind in enumerate(kinds)
    ]
    pq.write_table(pa.Table.from_pylist(rows, event_store.EVENT_SCHEMA), folder / "0a.parquet")
    rates = event_rates.compute_rates(root).to_pylist()
    assert [r["click_rate"] for r in rates] == [None] * 6
    assert {r["order_rate"] for r in rates} == {0.0}
    assert [r["dimension"] for r in rates] == list(
        ("all", "rank", "category", "rule", "encoder", "shop")
    )
