"""`wearalike status`, /v1/status and /metrics say the same of one deployment."""

import json
import re
import shutil

import pytest
from starlette.testclient import TestClient

from wearalike.commands import app
from wearalike.metrics.ages import describe_age
from wearalike.reports import run_status
from wearalike.server.app import create_app
from wearalike.settings import read_settings
from wearalike.storage import run_tables
from wearalike.tables import FEEDS, MATCHES, PRODUCTS, QUALITY
from wearalike.warehouse.base import open_warehouse

# A line of Prometheus' text format 0.0.4.
SAMPLE = re.compile(
    r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="([^"\\\n]|\\.)*")*\})? -?[0-9.e+-]+'
)


@pytest.fixture
def config(night, tmp_path):
    """The night's deployment, copied without what no status reads."""
    shutil.copytree(night, tmp_path / "n", symlinks=True, ignore=shutil.ignore_patterns("cache"))
    path = tmp_path / "n" / "wearalike.toml"
    text = path.read_text(encoding="utf-8").replace(str(night), str(tmp_path / "n"))
    path.write_text(text, encoding="utf-8")
    return path


def read(config, capsys, *options) -> str:
    assert app.main(["status", "--config", str(config), *options]) == 0
    return capsys.readouterr().out


def test_one_screen_tells_what_is_published_and_what_the_last_run_did(config, capsys):
    text = read(config, capsys)
    root = config.parent / "root"
    products = run_tables.read_manifest(root, PRODUCTS, "day-1")["rows"]["written"]
    assert text.startswith("published  day-1, ") and f"{products:,} products" in text
    assert "last run   day-1" in text and ": published" in text
    assert "feeds      3 of 3 fresh" in text and "images/http_404" in text
    assert "quality.html" in text and len(text.splitlines()) < 25


def test_a_run_that_stopped_says_where(config, capsys):
    root = config.parent / "root"
    for table in (MATCHES, QUALITY):
        shutil.rmtree(run_tables.table_dir(root, table, "day-1"))
    text = read(config, capsys)
    assert "not finished; next is the table matches" in text
    assert text.startswith("published  day-1")


def test_nothing_yet(tmp_path, capsys):
    config = tmp_path / "wearalike.toml"
    config.write_text('data_dir = "root"\n', encoding="utf-8")
    assert read(config, capsys) == (
        "published  nothing yet\nlast run   none yet; start one: wearalike run\n"
    )


def test_a_warehouse_that_is_away_and_a_run_that_is_not_there(config, capsys, caplog):
    text = config.read_text(encoding="utf-8")
    config.write_text(
        re.sub(r"(?m)^warehouse.*\n?", "", text).replace(
            "data_dir", 'warehouse = "postgresql://u:secret@127.0.0.1:1/x"\ndata_dir', 1
        ),
        encoding="utf-8",
    )
    told = read(config, capsys)
    assert "published  unknown: PostgreSQL 127.0.0.1:1/x" in told and "secret" not in told
    assert "last run   day-1" in told
    assert app.main(["status", "--config", str(config), "--run", "nosuch"]) == 1
    assert "table feeds of run nosuch is not made" in caplog.text


def test_json_the_api_and_prometheus_agree(config, capsys):
    of_command = json.loads(read(config, capsys, "--json"))
    settings = read_settings(config)
    with TestClient(create_app(settings), "http://127.0.0.1") as client:
        answer = client.get("/v1/status")
        of_api = answer.json()
        scraped = client.get("/metrics")
    assert answer.headers["cache-control"] == "no-store"
    assert of_api["published"]["run"] == of_command["published"]["run"] == "day-1"
    assert of_api["published"]["is_fresh"] is True
    assert of_api["last_run"]["rows_written"] == of_command["last_run"]["rows_written"]
    assert of_api["last_run"]["page"] is None and of_command["last_run"]["page"]
    assert str(config.parent) not in answer.text
    assert scraped.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = scraped.text.splitlines()
    samples = [line for line in lines if not line.startswith("# ")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    assert 'wearalike_published_info{run="day-1"} 1' in samples
    products = of_api["published"]["counts"]["products"]
    assert f'wearalike_published_rows{{table="products"}} {products}' in samples
    assert 'wearalike_feed_fresh{shop="lipa"} 1' in samples
    assert "wearalike_warehouse_up 1" in samples
    # Each metric is introduced once, before its samples.
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert {re.split(r"[ {]", line)[0] for line in samples} == set(names)


def test_an_old_publication_is_called_old(config):
    settings = read_settings(config)
    state = open_warehouse(settings.warehouse).state()
    status = run_status.collect_status(settings.data_dir, state)
    assert status.published and status.published.is_fresh
    old = run_status.PublishedStatus(
        "2026-11-20", status.published.published_at, 2e5, False, {}, None, None
    )
    text = run_status.format_status(run_status.DeploymentStatus(old, None))
    assert "2 days ago" in text and "OLD: more than 36 hours" in text


def test_a_stale_feed_is_told_with_its_reason(config):
    settings = read_settings(config)
    root = settings.data_dir
    shop = run_tables.read_table(root, FEEDS, "day-1")["shop_id"][0].as_py()
    last = run_status.RunStatus(
        "day-1",
        "2026-11-21",
        None,
        [],
        "warn",
        [],
        ["x of all is 1, wanted <= 0"],
        False,
        [run_status.FeedStatus(shop, "stale", 5, "truncated", "day-0")],
    )
    text = run_status.format_status(run_status.DeploymentStatus(None, last))
    assert f"feed       {shop}: stale, truncated; 5 offers of day-0 kept" in text
    assert "warning    x of all is 1, wanted <= 0" in text and "not published" in text


@pytest.mark.parametrize(
    ("age_s", "words"),
    [(0, "0 seconds"), (61, "1 minute"), (3600, "1 hour"), (100_000, "28 hours"), (1e6, "12 days")],
)
def test_ages_in_words(age_s, words):
    assert describe_age(age_s) == words
