"""The whole night on the drawn sample shops: what it means,
and that it comes out the same after kills and on other days.
"""

import re
import shutil
import urllib.request
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from tests.support.kill import (
    assert_equal_runs,
    assert_equal_tables,
    kill_until_complete,
    run_command,
)

from wearalike import sample, tables
from wearalike.commands import app
from wearalike.sample.catalogue import SHOPS
from wearalike.storage import run_tables

REPOSITORY = Path(__file__).resolve().parents[2]


def run_night(folder: Path, run: str, address: str) -> Path:
    config = folder / "wearalike.toml"
    sample.write_settings(config, address, folder / "root", REPOSITORY / "mappings")
    assert app.main(["run", "--run", run, "--config", str(config)]) == 0
    return folder / "root"


@pytest.fixture(scope="module")
def port(night_port) -> int:
    return night_port


@pytest.fixture(scope="module")
def root(tmp_path_factory, night, port) -> Path:
    """The first day's night, to go on from."""
    folder = tmp_path_factory.mktemp("nights")
    shutil.copytree(night / "root", folder / "root", symlinks=True)
    sample.write_settings(
        folder / "wearalike.toml",
        f"http://127.0.0.1:{port}",
        folder / "root",
        REPOSITORY / "mappings",
    )
    return folder / "root"


def read(root, table, run="day-1"):
    return run_tables.read_table(root, table, run).to_pylist()


def offers_in_feeds(serve_shops) -> int:
    with serve_shops(1) as address:
        feeds = [
            urllib.request.urlopen(f"{address}/{shop.id}/feed.xml", timeout=30).read()
            for shop in SHOPS
        ]
    return sum(len(re.findall(rb"<(?:offer|item)[ >]", feed)) for feed in feeds)


def test_every_offer_is_published_or_refused_with_a_reason(root, serve_shops):
    withdrawn = [f["withdrawn_count"] for f in read(root, tables.FEEDS)]
    assert len(withdrawn) == 3 and sum(withdrawn) == 1
    offered = offers_in_feeds(serve_shops) - 1
    published = {p["product_id"] for p in read(root, tables.PRODUCTS)}
    refused = [
        r for r in run_tables.read_refused(root, "day-1").to_pylist() if r["kind"] == "offer"
    ]
    assert offered >= 280 and len(published) + len(refused) == offered
    assert published.isdisjoint(r["key"] for r in refused)
    assert all(r["reason"] and r["shop_id"] for r in refused)
    lists = {p["product_id"]: p for p in read(root, tables.SIMILAR_LISTS)}
    assert set(lists) == published
    without = {k for k, p in lists.items() if p["item_id"] is None}
    assert without and without == {
        r["key"]
        for r in run_tables.read_refused(root, "day-1").to_pylist()
        if r["stage"] == "indexes"
    }
    assert {lists[k]["shortfall_reason"] for k in without} == {"no_code"}


def test_alike_things_stand_beside_alike_things(root):
    by_id = {p["product_id"]: p for p in read(root, tables.PRODUCTS)}
    kind = {i: p["category"].split(".")[-1] for i, p in by_id.items()}
    first = [
        (by_id[r["product_id"]], by_id[r["similar_product_id"]])
        for r in read(root, tables.SIMILAR_PRODUCTS)
        if r["rank"] == 1
    ]
    assert len(first) > 200
    assert all(
        a["super_category"] == b["super_category"] and a["product_id"] != b["product_id"]
        for a, b in first
    )
    same_kind = sum(kind[a["product_id"]] == kind[b["product_id"]] for a, b in first) / len(first)
    assert same_kind > 0.6, f"{same_kind:.2f} of the first matches are of the product's own kind"
    # One shop writes its colours in Russian.
    is_red = {
        i: "dresses" in p["category"] and {"red", "красный"} & {c.lower() for c in p["colours"]}
        for i, p in by_id.items()
    }
    red_dresses = [(a, b) for a, b in first if is_red[a["product_id"]]]
    assert len(red_dresses) >= 3
    to_red_dress = sum(bool(is_red[b["product_id"]]) for _, b in red_dresses)
    assert to_red_dress / len(red_dresses) > 0.6


def test_the_site_reads_what_was_published(root):
    query = (REPOSITORY / "sql" / "site_similar_products.sql").read_text(encoding="utf-8")
    asked = next(r for r in read(root, tables.SIMILAR_LISTS) if r["similar_count"] >= 5)[
        "product_id"
    ]
    with duckdb.connect(str(root / "warehouse" / "wearalike.duckdb"), read_only=True) as site:
        answer = site.execute(query, [asked]).fetchall()
    wanted = [
        r["similar_product_id"]
        for r in read(root, tables.SIMILAR_PRODUCTS)
        if r["product_id"] == asked
    ]
    assert 5 <= len(answer) <= len(wanted) and set(wanted) >= {
        c for row in answer for c in row if c in set(wanted)
    }


def test_the_merchandisers_rules_act_in_the_night(root, tmp_path, port):
    """Matched, judged by the gate and published again, with nothing pulled again."""
    before = read(root, tables.SIMILAR_PRODUCTS)
    by_id = {p["product_id"]: p for p in read(root, tables.PRODUCTS)}
    lists = {i: [r["similar_product_id"] for r in before if r["product_id"] == i] for i in by_id}
    page = next(i for i, found in lists.items() if len(found) >= 5)
    hidden, pinned = lists[page][0], lists[page][-1]
    shop = by_id[page]["shop_id"]
    shutil.copytree(root, tmp_path / "root")
    shutil.copytree(REPOSITORY / "mappings", tmp_path / "mappings")
    (tmp_path / "mappings" / "rules.xml").write_text(
        f"""<rules><hide id="recalled" product="{hidden}"/>
        <pin id="gift" product="{pinned}" at="1" on_product="{page}"/>
        <require id="own" same="shop" on_shop="{shop}"/><fill id="full" on_product="{page}"/>
        <hide id="over" product="{pinned}" until="2020-01-01"/></rules>"""
    )
    config = tmp_path / "wearalike.toml"
    sample.write_settings(
        config, f"http://127.0.0.1:{port}", tmp_path / "root", tmp_path / "mappings"
    )
    assert app.main(["check-mapping", "--config", str(config)]) == 0
    assert app.main(["run", "--run", "day-1", "--config", str(config)]) == 0
    with duckdb.connect(
        str(tmp_path / "root" / "warehouse" / "wearalike.duckdb"), read_only=True
    ) as site:
        after = site.execute(
            "SELECT product_id, rank, similar_product_id, rule, fallback "
            "FROM current_similar_products"
        ).fetchall()
    assert after and hidden not in {similar for _, _, similar, _, _ in after}
    assert [row for row in after if row[3]] == [(page, 1, pinned, "pin:gift", None)]
    assert {product for product, _, _, _, fallback in after if fallback} <= {page}
    from_elsewhere = {
        (i, j)
        for i, _, j, rule, _ in after
        if by_id[i]["shop_id"] == shop != by_id[j]["shop_id"] and not rule
    }
    assert not from_elsewhere
    elsewhere = [i for i in by_id if by_id[i]["shop_id"] != shop and hidden not in lists[i]]
    assert elsewhere and all(
        [j for i, _, j, _, _ in sorted(after) if i == page_] == lists[page_] for page_ in elsewhere
    )


def made_times(root, run):
    return {
        t.name: (run_tables.table_dir(root, t, run) / "_manifest.json").stat().st_mtime_ns
        for t in tables.TABLES
        if run_tables.is_complete(root, t, run)
    }


def test_a_second_run_of_the_same_night_has_nothing_to_do(root, port):
    before = made_times(root, "day-1")
    assert len(before) == len(tables.TABLES) - 1
    assert app.main(["run", "--run", "day-1", "--config", str(root.parent / "wearalike.toml")]) == 0
    assert made_times(root, "day-1") == before


def test_the_second_day_equals_a_fresh_run_of_it(root, tmp_path, serve_shops):
    with serve_shops(2) as address:
        run_night(root.parent, "day-2", address)
        kept = Counter(p.name for p in (root / "cache" / "images").rglob("*") if p.is_file())
        fresh = run_night(tmp_path, "day-2", address)
    assert_equal_tables(root, fresh, "day-2", without=("first_seen",))
    before = {row["product_id"] for row in read(root, tables.PRODUCTS)}
    new = {row["product_id"] for row in read(root, tables.PRODUCTS, "day-2") if row["first_seen"]}
    assert new == {row["product_id"] for row in read(root, tables.PRODUCTS, "day-2")} - before
    assert not run_tables.read_table(root, tables.PRODUCTS, "day-1").equals(
        run_tables.read_table(root, tables.PRODUCTS, "day-2")
    )
    assert max(kept.values()) == 1
    searched = run_tables.read_manifest(root, tables.MATCHES, "day-2")["searched"]
    assert searched["since"] == "day-1" and 0 < searched["anew"] < searched["remembered"]
    churn = {m["metric"] for m in read(root, tables.QUALITY, "day-2")} - {
        m["metric"] for m in run_tables.read_table(fresh, tables.QUALITY, "day-2").to_pylist()
    }
    assert churn, "only the root that knows day 1 can say what changed"


@pytest.mark.timeout(1800)
def test_a_night_killed_ten_times_ends_as_an_undisturbed_one(night, tmp_path, serve_shops):
    """Any process of it, at any moment; 200 times in tests/long."""
    kills, number = 0, 0
    with serve_shops(1) as address:
        while kills < 10:
            folder = tmp_path / str(number)
            folder.mkdir()
            sample.write_settings(
                folder / "wearalike.toml", address, folder / "root", REPOSITORY / "mappings"
            )
            again = run_command("day-1", folder / "wearalike.toml")
            kills += kill_until_complete(again, folder / "root", number, 5.0, 10 - kills).total()
            number += 1
            assert_equal_runs(night / "root", folder / "root", "day-1")
