"""A night's feeds from a server that also misbehaves: fresh, stale or missing, and no row lost."""

import contextlib
import gzip
import hashlib
import http.server
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wearalike import feeds
from wearalike.feeds import FeedReason
from wearalike.pipeline import ingest_feeds, job, map_products, pull_feeds
from wearalike.settings import ShopSettings
from wearalike.storage import run_tables
from wearalike.tables import FEEDS, OFFERS, PRODUCTS, REFUSED

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
SERVE = Path(__file__).resolve().parents[3] / "shared" / "shops" / "serve.py"


def yml(*ids, more="", price=10):
    offers = "".join(
        f'<offer id="{i}"><price>{price}</price><currencyId>RUB</currencyId><picture>http://shop.example/{i}.jpg</picture>'
        f"<name>Платье {i}</name></offer>"
        for i in ids
    )
    return f"<yml_catalog><shop><offers>{offers}{more}</offers></shop></yml_catalog>".encode()


def rss(*ids):
    items = "".join(
        f"<item><g:id>{i}</g:id><title>Dress {i}</title><g:image_link>http://shop.example/{i}.jpg</g:image_link>"
        f"<g:price>1.50 USD</g:price><g:availability>in stock</g:availability></item>"
        for i in ids
    )
    return f'<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'.encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path.split("?")[0].strip("/")
        with self.server.counted:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
            self.server.asked.append(path)
            self.server.counted.notify_all()
            if others := self.server.waits.get(path):
                is_asked = lambda: others <= set(self.server.asked)  # noqa: E731
                if self.server.counted.wait_for(is_asked, self.server.patience_s):
                    self.server.waited.append(path)
        try:
            with contextlib.suppress(BrokenPipeError):
                self.answer(path)
        finally:
            with self.server.counted:
                self.server.at_once -= 1

    def answer(self, path):
        answers = self.server.answers[path]
        status, body, *more = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(more[0] if more else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    """Answers /<path> with server.answers[path]: a list of (status, body[, headers]),
    one a request, the last for ever.

    A path waits until those of server.waits[path] were asked, for a while; those that
    had not to wait in vain are in server.waited.
    """
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads, made.answers, made.asked = True, {}, []
    made.counted, made.waits, made.waited = threading.Condition(), {}, []
    made.at_once, made.most_at_once, made.patience_s = 0, 0, 5
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def shop(server, ident, **more):
    address = f"http://127.0.0.1:{server.server_port}/{ident}?user=me&code=s3cret"
    return ShopSettings(id=ident, feed=address, allowed_networks=("127.0.0.0/8",), **more)


def ingest(folder, shop, run="r1", previous=None):
    """(Ingested, offers, refused) of one shop."""
    folder.mkdir()
    made = feeds.ingest_shop(shop, run, folder, previous)
    files = {path.name for path in folder.iterdir()} - {feeds.UNUSED_REFUSED}
    assert files == {"offers.parquet", "refused.parquet"}
    offers, refused = (
        pq.read_table(folder / "offers.parquet"),
        pq.read_table(folder / "refused.parquet"),
    )
    assert offers.schema == OFFERS.arrow_schema and refused.schema == REFUSED.arrow_schema
    counts = {"offers_count": offers.num_rows + refused.num_rows + made.feed_row["withdrawn_count"]}
    assert (
        made.feed_row
        | counts
        | {"written_count": offers.num_rows, "refused_count": refused.num_rows}
        == made.feed_row
    )
    return made, offers, refused


def previous(folder, row):
    return feeds.LastGoodFeed(
        row["source_run"],
        row["written_count"],
        (folder / "offers.parquet",),
        (folder / "refused.parquet",),
    )


def test_offers_are_sorted_and_the_last_of_an_id_counts(server, tmp_path):
    deleted = '<offer id="c" deleted="true"/>'
    bad = '<offer id="b"><price>0</price></offer><offer><price>1</price></offer>'
    server.answers["s"] = [(200, yml("c", "a", "b", "a", price=20, more=bad + deleted))]
    made, offers, refused = ingest(tmp_path / "1", shop(server, "s"))
    assert (
        made.feed_row["status"],
        made.feed_row["source_run"],
        made.feed_row["dialect"],
        made.feed_row["withdrawn_count"],
    ) == ("fresh", "r1", "yml", 1)
    assert offers["product_id"].to_pylist() == ["s:a"]
    assert [(row["key"], row["reason"]) for row in refused.to_pylist()] == [
        ("s:#6", "missing_id"),
        ("s:a#2", "duplicate_id"),
        ("s:b", "missing_title"),
        ("s:b#3", "duplicate_id"),
        ("s:c#1", "duplicate_id"),
    ]
    server.answers["t"] = [(200, yml("c", "b", "a"))]
    server.answers["u"] = [(200, yml("a", "c", "b"))]
    one, two = (
        ingest(
            tmp_path / name,
            ShopSettings(id="s", feed=shop(server, name).feed, allowed_networks=("127.0.0.0/8",)),
        )[1]
        for name in "tu"
    )
    assert one["offer_id"].to_pylist() == ["a", "b", "c"] and one.equals(two)


def test_a_feed_packed_at_another_hour_is_the_same_feed(server, tmp_path):
    rows = []
    for hour in (1, 2):
        server.answers["s"] = [(200, gzip.compress(yml("a", "b"), mtime=3600 * hour))]
        rows.append(ingest(tmp_path / str(hour), shop(server, "s"))[0].feed_row)
    assert (
        rows[0] == rows[1] and rows[0]["feed_sha256"] == hashlib.sha256(yml("a", "b")).hexdigest()
    )


def test_a_delta_changes_what_it_names_and_nothing_else(server, tmp_path):
    refused_before = '<offer id="x"><name>x</name></offer><offer id="y"><name>y</name></offer>'
    server.answers["s"] = [(200, yml("a", "b", "c", "d", more=refused_before))]
    base, before, _ = ingest(tmp_path / "1", shop(server, "s"))
    server.answers["s"] = [
        (
            200,
            yml(
                "b",
                "e",
                "x",
                price=99,
                more='<offer id="a" deleted="true"/><offer id="d"><name>no price</name></offer>',
            ),
        )
    ]
    made, after, refused = ingest(
        tmp_path / "2",
        shop(server, "s", is_delta=True),
        "r2",
        previous(tmp_path / "1", base.feed_row),
    )
    prices = dict(zip(after["offer_id"].to_pylist(), after["price_cents"].to_pylist(), strict=True))
    assert prices == {"b": 9900, "c": 1000, "e": 9900, "x": 9900}
    assert after.filter(after["offer_id"].to_numpy() == "c").equals(
        before.filter(before["offer_id"].to_numpy() == "c")
    )
    assert refused["key"].to_pylist() == ["s:d", "s:y"]
    assert (
        made.feed_row["status"],
        made.feed_row["source_run"],
        made.feed_row["withdrawn_count"],
        made.feed_row["offers_count"],
    ) == ("fresh", "r2", 1, 7)


def supplemented(server, *paths, **more):
    address = f"http://127.0.0.1:{server.server_port}/"
    return shop(
        server, "lipa", supplements=[f"{address}{path}?code=s3cret" for path in paths], **more
    )


def test_supplements_replace_what_they_name_joined_by_id(server, tmp_path):
    server.answers = {
        "lipa": [(200, yml("a", "b", "c", "d"))],
        "stock.tsv": [(200, b"id\tavailability\tquantity\na\tout of stock\t\nb\t\t0\nz\t\t5\n")],
        "looks.xml": [
            (
                200,
                gzip.compress(
                    b'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
                    b"<item><g:id>b</g:id><g:color>red/blue</g:color><g:price>90 RUB</g:price>"
                    b"<g:sale_price>7 RUB</g:sale_price></item>"
                    b"<item><g:id>c</g:id><title>Coat c</title><g:gender>female</g:gender></item>"
                    b"<item><g:id>c</g:id><g:item_group_id>g1</g:item_group_id></item>"
                    b"</channel></rss>"
                ),
            )
        ],
        "last.csv": [(200, b"id,color,nonsense\nb,green,1\n,red,2\nb,x,y,z\n")],
    }
    wanted = supplemented(server, "stock.tsv", "looks.xml", "last.csv")
    result, offers, _ = ingest(tmp_path / "night", wanted)
    a, b, c, d = offers.to_pylist()
    assert [row["availability"] for row in (a, b, c, d)] == [
        *["out_of_stock"] * 2,
        *["in_stock"] * 2,
    ]
    assert (b["colours"], b["price_cents"], b["old_price_cents"]) == (["green"], 700, 9000)
    assert (c["title"], c["gender"], c["group_id"]) == ("Coat c", "female", "g1")
    assert (d["title"], d["colours"], d["price_cents"]) == ("Платье d", [], 1000)
    assert result.warning_counts == {
        feeds.FeedWarning.BAD_SUPPLEMENT: 2,
        feeds.FeedWarning.UNUSED_SUPPLEMENT: 1,
    }
    assert result.unknown_words == {"element": {"nonsense": 2}}
    assert "s3cret" not in str(result)


def test_another_supplement_is_another_feed(server, tmp_path):
    server.answers = {
        "lipa": [(200, yml("a"))],
        "stock.tsv": [(200, b"id\tquantity\na\t0\n"), (200, b"id\tquantity\na\t3\n")],
    }
    made = [ingest(tmp_path / str(n), supplemented(server, "stock.tsv")) for n in range(3)]
    hashes = [one[0].feed_row["feed_sha256"] for one in made]
    assert hashes[0] != hashes[1] == hashes[2]
    assert [one[1]["availability"].to_pylist() for one in made] == [
        ["out_of_stock"],
        ["in_stock"],
        ["in_stock"],
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, b"gone"), FeedReason.NOT_FETCHED),
        ((200, b"<html>sign in</html>"), FeedReason.HTML_PAGE),
        ((200, b"name,colour\nx,red\n"), FeedReason.NOT_XML),
        ((200, b"<rss><channel><item>"), FeedReason.TRUNCATED),
        ((200, b""), FeedReason.EMPTY),
    ],
)
def test_a_supplement_of_no_use_keeps_the_last_good_offers(server, tmp_path, answer, reason):
    server.answers = {
        "lipa": [(200, yml("a", "b"))],
        "stock.tsv": [(200, b"id\tquantity\na\t0\n"), answer],
    }
    first, good, _ = ingest(tmp_path / "first", supplemented(server, "stock.tsv"))
    base = previous(tmp_path / "first", first.feed_row)
    second, kept, _ = ingest(tmp_path / "second", supplemented(server, "stock.tsv"), "r2", base)
    assert kept == good
    assert (second.feed_row["status"], second.feed_row["reason"]) == ("stale", reason)
    assert second.feed_row["detail"].startswith("supplement 1 of 1: ")
    assert "s3cret" not in str(second.feed_row)


@pytest.mark.parametrize(
    ("answer", "reason", "more"),
    [
        ((404, b"gone"), FeedReason.NOT_FETCHED, {}),
        ((400, b"closed"), FeedReason.CLOSED, {"dialect": "admitad"}),
        ((400, b"bad"), FeedReason.NOT_FETCHED, {}),
        ((200, b""), FeedReason.EMPTY, {}),
        ((200, b"<!DOCTYPE html><html>log in</html>"), FeedReason.HTML_PAGE, {}),
        ((200, yml("a", "b", "c")[:-40]), FeedReason.TRUNCATED, {}),
        ((200, yml("a", "b", "c")[:-40], {"Content-Length": "9999"}), FeedReason.TRUNCATED, {}),
        (
            (200, gzip.compress(yml("a", "b", "c"))[:-12], {"Content-Encoding": "gzip"}),
            FeedReason.TRUNCATED,
            {},
        ),
        ((200, yml("a", "b", "c").replace(b"</name>", b"</nom>")), FeedReason.BROKEN, {}),
        ((200, yml()), FeedReason.TOO_FEW, {}),
        ((200, yml("a", "b")), FeedReason.TOO_FEW, {"min_offers": 3}),
        ((200, yml("a", "b", "c", price=0)), FeedReason.TOO_FEW, {}),
        ((200, yml("a")), FeedReason.TOO_MANY_LOST, {}),
        ((200, yml("a", "b")), FeedReason.TOO_MANY_LOST, {"max_drop_ratio": 0.1}),
        ((200, yml(*"abc", *range(101))), FeedReason.TOO_MANY_NEW, {}),
        ((200, yml(*"abc", *range(101))), FeedReason.TOO_MANY_NEW, {"max_growth_ratio": 33}),
        ((200, yml("a", "b", "c")), FeedReason.TOO_LARGE, {"max_feed_bytes": 100}),
        ((302, b"", {"Location": "http://10.0.0.1/feed"}), FeedReason.NOT_FETCHED, {}),
    ],
)
def test_a_feed_of_no_use_keeps_the_last_good_offers(server, tmp_path, answer, reason, more):
    server.answers["s"] = [(200, yml("a", "b", "c", more='<offer id="d"><name>d</name></offer>'))]
    good, offers, refused = ingest(tmp_path / "1", shop(server, "s"))
    server.answers["s"] = [answer]
    made, kept, kept_refused = ingest(
        tmp_path / "2", shop(server, "s", **more), "r2", previous(tmp_path / "1", good.feed_row)
    )
    assert (made.feed_row["status"], made.feed_row["reason"], made.feed_row["source_run"]) == (
        "stale",
        reason,
        "r1",
    )
    assert kept.equals(offers) and kept_refused.equals(refused)
    assert made.feed_row["detail"] and "s3cret" not in made.feed_row["detail"]
    missing, none, _ = ingest(tmp_path / "3", shop(server, "s", **{"min_offers": 2, **more}), "r2")
    is_of_before = reason in (FeedReason.TOO_MANY_LOST, FeedReason.TOO_MANY_NEW)
    assert none.num_rows == 0 or is_of_before
    assert (missing.feed_row["status"], missing.feed_row["source_run"]) in [
        ("missing", None)
    ] or is_of_before
    assert missing.feed_row["status"] != "stale" and feeds.ADVICE.keys() == set(FeedReason)


@pytest.mark.parametrize("override", [{"max_growth_ratio": 40}, {"max_drop_ratio": 0.9}])
def test_an_operator_who_knows_better_says_so_in_the_settings(server, tmp_path, override):
    """And what was said is kept with the run:
    ingest_feeds writes the shop's settings into _manifest.json.
    """
    before, after = (
        (("a", "b", "c"), (*"abc", *range(101)))
        if "max_growth_ratio" in override
        else (tuple(range(110)), (1, 2, *"abcdefghijk"))
    )
    server.answers["s"] = [(200, yml(*before))]
    good, _, _ = ingest(tmp_path / "1", shop(server, "s"))
    server.answers["s"] = [(200, yml(*after))]
    made, offers, _ = ingest(
        tmp_path / "2", shop(server, "s", **override), "r2", previous(tmp_path / "1", good.feed_row)
    )
    assert (made.feed_row["status"], offers.num_rows) == ("fresh", len(after))
    assert ingest_feeds._shop_parameters(shop(server, "s", **override)).items() >= override.items()


def test_the_last_good_offers_of_a_version_that_had_fewer_columns_are_kept(server, tmp_path):
    server.answers["s"] = [(200, yml("a", "b")), (200, b"<html>")]
    made, offers, _ = ingest(tmp_path / "1", shop(server, "s"))
    assert offers["related_offer_ids"].to_pylist() == [[], []]
    pq.write_table(offers.drop_columns("related_offer_ids"), tmp_path / "1" / "offers.parquet")
    again, kept, _ = ingest(
        tmp_path / "2", shop(server, "s"), "r2", previous(tmp_path / "1", made.feed_row)
    )
    assert again.feed_row["status"] == "stale" and kept["related_offer_ids"].to_pylist() == [
        None,
        None,
    ]
    assert kept.drop_columns("related_offer_ids").equals(offers.drop_columns("related_offer_ids"))


def test_a_server_that_stumbles_once_is_asked_again(server, tmp_path):
    server.answers["s"] = [
        (503, b"busy", {"Retry-After": "0"}),
        (200, gzip.compress(yml("a")), {"Content-Type": "text/xml; charset=utf-8"}),
    ]
    made, offers, _ = ingest(tmp_path / "1", shop(server, "s"))
    assert (made.feed_row["status"], offers.num_rows, server.asked) == ("fresh", 1, ["s", "s"])


@pytest.fixture(scope="module", autouse=True)
def spark():
    """The one session of this file, stopped after it."""
    yield
    from pyspark.sql import SparkSession

    if active := SparkSession.getActiveSession():
        active.stop()


def night(place, server, run, idents, *options, min_offers=0, **more):
    """Exit code of the job over these shops, into place/root; by Spark at any size."""
    config = place / f"{run}.toml"
    mappings = place / "mappings" if (place / "mappings").exists() else MAPPINGS
    lines = ['data_dir = "root"', 'spark_master = "local[2]"', f'mappings = "{mappings}"']
    for ident in idents:
        lines += [
            "[[shops]]",
            f'id = "{ident}"',
            f'feed = "{shop(server, ident).feed.get_secret_value()}"',
            'allowed_networks = ["127.0.0.0/8"]',
        ]
        lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    lines += ["[spark]", f"min_offers = {min_offers}"]
    config.write_text("\n".join(lines))
    return ingest_feeds.main(["--run", run, "--config", str(config), *options])


def statuses(root, run):
    return {
        row["shop_id"]: (row["status"], row["reason"], row["source_run"])
        for row in run_tables.read_table(root, FEEDS, run).to_pylist()
    }


def test_few_offers_are_read_without_spark_to_the_same_tables(server, tmp_path, caplog):
    shops = ["zeta", "alpha", "cut", "page", "gone"]
    server.answers = {
        "zeta": [(200, yml("2", "1", "2", more='<offer id="d"><name>d</name></offer>'))],
        "alpha": [(200, rss("9", "8"))],
        "cut": [(200, yml("1", "2")[:-40])],
        "page": [(200, b"<html>")],
        "gone": [(404, b"")],
    }
    caplog.set_level("INFO", "wearalike")
    said = []
    places = {"by_spark": 0, "by_its_size": 3, "here": 1000}
    for name, min_offers in places.items():
        caplog.clear()
        (tmp_path / name).mkdir()
        assert night(tmp_path / name, server, "d1", shops, min_offers=min_offers) == 0
        said.append(caplog.text)
    assert "by Spark on local[2]: 0 offers last time, 0 or more" in said[0]
    # zeta has 4, alpha 2, and cut 2, of which the last is cut off.
    assert "by Spark on local[2]: 8 offers in the feeds, 3 or more" in said[1]
    assert "in this process, without Spark: 8 offers in the feeds, fewer than 1000" in said[2]
    roots = [tmp_path / name / "root" for name in places]
    for table in (OFFERS, FEEDS):
        files = [run_tables.read_manifest(root, table, "d1")["files"] for root in roots]
        assert files[0] == files[1] == files[2], table.name


def test_a_slow_shop_keeps_no_other_waiting(server, tmp_path):
    """The first shop's server answers only when the others have been asked."""
    shops = ["slow", "alpha", "beta", "gone"]
    answers = {name: [(200, yml(name, "x"))] for name in shops[:3]} | {"gone": [(404, b"")]}
    server.answers = answers
    (tmp_path / "quick").mkdir()
    assert night(tmp_path / "quick", server, "d1", shops, min_offers=1000) == 0
    server.asked.clear()
    server.waits["slow"] = set(shops[1:])
    (tmp_path / "slow").mkdir()
    assert night(tmp_path / "slow", server, "d1", shops, min_offers=1000) == 0
    assert server.waited == ["slow"]
    for table in (OFFERS, FEEDS):
        files = [
            run_tables.read_manifest(tmp_path / name / "root", table, "d1")["files"]
            for name in ("quick", "slow")
        ]
        assert files[0] == files[1], table.name


def test_shops_of_one_host_ask_it_as_the_strictest_of_them_wants(server, tmp_path):
    server.answers = {name: [(200, yml(name))] for name in "abc"}
    shops = [shop(server, "a", max_connections_per_host=1), *(shop(server, n) for n in "bc")]
    server.waits["a"], server.patience_s = {"b", "c"}, 0.3
    came = [found.id for found, _ in feeds.fetch_feeds(shops, tmp_path)]
    assert sorted(came) == ["a", "b", "c"]
    assert server.most_at_once == 1 and server.waited == []


def test_who_no_longer_waits_for_feeds_leaves_none_half_fetched(server, tmp_path):
    server.answers = {name: [(200, yml(name))] for name in ("quick", "hangs")}
    server.waits["hangs"] = {"never"}
    shops = [shop(server, name) for name in ("hangs", "quick")]
    coming = feeds.fetch_feeds(shops, tmp_path)
    assert next(coming)[0].id == "quick"
    coming.close()
    assert [t.name for t in threading.enumerate() if t.name == "fetch_feeds"] == []
    assert len(list(tmp_path.glob("*/feed"))) == 1


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (yml("1", "2", "3"), 3),
        (rss("1", "2"), 2),
        (yml("1", "2").decode().replace("<offer ", "<offer\n").encode("utf-16"), 2),
        (gzip.compress(yml(*map(str, range(9000)))), 9000),
        (rss() + b"<item>" * 90_000, 90_000),
        (b"id\ttitle\tprice\n1\tDress\t5\n2\tDress\t6\n", 3),
        (b"<html><offers>", 0),
        (b"", 0),
        (gzip.compress(yml("1", "2"))[:-30], 0),
    ],
)
def test_offers_are_counted_before_they_are_read(tmp_path, content, count):
    path = tmp_path / "feed"
    path.write_bytes(content)
    assert feeds.count_offers(path, 10**8) == count


def test_a_week_of_nights(server, tmp_path, caplog):
    root, shops = tmp_path / "root", ["zeta", "alpha", "beta"]
    server.answers = {
        "zeta": [(200, yml("2", "1"))],
        "alpha": [(200, rss("9", "8", "9"))],
        "beta": [(200, yml("5", "6"))],
    }
    assert night(tmp_path, server, "d1", shops) == 0
    first = run_tables.read_table(root, OFFERS, "d1")
    assert first["product_id"].to_pylist() == [
        "zeta:1",
        "zeta:2",
        "alpha:8",
        "alpha:9",
        "beta:5",
        "beta:6",
    ]
    assert [
        (row["key"], row["reason"]) for row in run_tables.read_refused(root, "d1").to_pylist()
    ] == [("alpha:9#1", "duplicate_id")]
    assert run_tables.read_manifest(root, OFFERS, "d1")["rows"] == {
        "taken": 7,
        "written": 6,
        "refused": {"duplicate_id": 1},
    }
    assert statuses(root, "d1") == {ident: ("fresh", None, "d1") for ident in shops}

    # What stands is not pulled again; --force does it, and other settings do.
    asked = len(server.asked)
    assert night(tmp_path, server, "d1", shops) == 0 and len(server.asked) == asked
    server.answers["beta"] = [(200, yml("5", "7"))]
    assert night(tmp_path, server, "d1", shops, "--force") == 0 and len(server.asked) == asked + 3
    assert run_tables.read_table(root, OFFERS, "d1")["product_id"].to_pylist()[-2:] == [
        "beta:5",
        "beta:7",
    ]
    assert (
        run_tables.read_manifest(root, OFFERS, "d1")["signature"]
        == run_tables.read_manifest(root, FEEDS, "d1")["signature"]
    )
    made_by = run_tables.read_manifest(root, FEEDS, "d1")["parameters"]
    assert ingest_feeds.is_up_to_date(root, "d1", made_by) and not ingest_feeds.is_up_to_date(
        root, "d1", {"zeta": made_by["zeta"]}
    )
    # Killed between the two tables: both are made again, and agree.
    shutil.rmtree(run_tables.table_dir(root, FEEDS, "d1"))
    server.answers["beta"] = [(200, yml("5", "6"))]
    assert (
        night(tmp_path, server, "d1", shops, min_offers=2) == 0 and len(server.asked) == asked + 6
    )
    assert run_tables.read_table(root, OFFERS, "d1").equals(first)

    # The second night two shops fail; a fourth has never worked.
    server.answers |= {
        "zeta": [(404, b"")],
        "alpha": [(200, rss("9")[:-9])],
        "beta": [(200, yml("5", "6", "7"))],
        "new": [(404, b"")],
    }
    with caplog.at_level(logging.WARNING):
        assert night(tmp_path, server, "d2", [*shops, "new"]) == 0
    assert statuses(root, "d2") == {
        "zeta": ("stale", "not_fetched", "d1"),
        "alpha": ("stale", "truncated", "d1"),
        "beta": ("fresh", None, "d2"),
        "new": ("missing", "not_fetched", None),
    }
    second = run_tables.read_table(root, OFFERS, "d2")
    assert second.slice(0, 4).equals(first.slice(0, 4)) and second["product_id"].to_pylist()[
        4:
    ] == ["beta:5", "beta:6", "beta:7"]
    assert [row["key"] for row in run_tables.read_refused(root, "d2").to_pylist()] == ["alpha:9#1"]
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert len(warnings) == 3 and all("To do: " in line for line in warnings)

    # The third night the last good offers of zeta are still those of the first.
    server.answers["alpha"] = [(200, rss("1"))]
    assert night(tmp_path, server, "d3", [*shops, "new"]) == 0
    assert statuses(root, "d3")["zeta"] == ("stale", "not_fetched", "d1") and statuses(root, "d3")[
        "alpha"
    ] == ("fresh", None, "d3")

    # Nothing at all: the exit code says so, and nothing is written.
    assert night(tmp_path, server, "d0", ["new"]) == 1
    assert not run_tables.is_complete(root, OFFERS, "d0") and not run_tables.is_complete(
        root, FEEDS, "d0"
    )
    files = [path for path in root.rglob("*") if path.is_file()]
    assert (
        files
        and not any(b"s3cret" in path.read_bytes() for path in files)
        and "s3cret" not in caplog.text
    )
    assert not list(root.glob("*/.run=*"))


def test_the_refused_offers_of_a_feed_that_is_not_used_are_kept(server, tmp_path, caplog):
    """A new shop whose every offer is refused, alone and beside a good one."""
    root = tmp_path / "root"
    server.answers = {"new": [(200, yml("1", "2", price=0))], "good": [(200, yml("5"))]}
    assert night(tmp_path, server, "d1", ["new"]) == 1
    assert "refused: bad_price 2" in caplog.text and "_refused.parquet" in caplog.text
    assert not run_tables.is_complete(root, OFFERS, "d1")
    assert night(tmp_path, server, "d2", ["new", "good"]) == 0
    for run in ("d1", "d2"):
        refused = run_tables.read_refused(root, run).to_pylist()
        assert [(r["stage"], r["shop_id"], r["key"], r["reason"]) for r in refused] == [
            ("feeds", "new", "new:1", "bad_price"),
            ("feeds", "new", "new:2", "bad_price"),
        ]
        row = run_tables.read_table(root, FEEDS, run).to_pylist()[0]
        assert row["status"] == "missing" and "refused: bad_price 2" in row["detail"]
    # A feed that is good again leaves nothing of the kind behind.
    server.answers["new"] = [(200, yml("1", "2"))]
    assert night(tmp_path, server, "d2", ["new", "good"], "--force") == 0
    assert run_tables.read_refused(root, "d2").num_rows == 0


def test_a_feed_over_which_our_code_fails_costs_its_shop_alone(
    server, tmp_path, monkeypatch, caplog
):
    """The fault is put into the reader, within this process: no feed is known to find one."""
    good = tmp_path / "1"
    server.answers = {name: [(200, yml("a", "b"))] for name in "st"}
    row = ingest(good, shop(server, "s"))[0].feed_row

    def fail(*args):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(feeds.ingest, "read_offers", fail)
    made, offers, _ = ingest(tmp_path / "2", shop(server, "s"), "r2", previous(good, row))
    assert (made.feed_row["status"], made.feed_row["reason"]) == ("stale", FeedReason.UNEXPECTED)
    assert "ZeroDivisionError: a fault of ours" in made.feed_row["detail"]
    assert "Traceback" in caplog.text and offers.num_rows == 2

    # Where it happens to most shops, the night ends: the fault is not theirs.
    fine = ingest(tmp_path / "3", shop(server, "t"), "r2", previous(good, row))[0]
    with pytest.raises(job.JobRejected, match="2 of 2 feeds failed unexpectedly: s, t"):
        ingest_feeds.write_tables(tmp_path / "root", "r2", [made, fine], {}, {})

    def fail_of_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feeds.ingest, "read_offers", fail_of_disk)
    (tmp_path / "4").mkdir()
    with pytest.raises(OSError, match="No space"):
        feeds.ingest_shop(shop(server, "s"), "r2", tmp_path / "4", None)


def test_a_feed_that_was_made_long_ago_is_used_and_the_operator_warned(server, tmp_path, caplog):
    content = yml("1").replace(b"<yml_catalog>", b'<yml_catalog date="2026-09-01 10:00">')
    server.answers = {"old": [(200, content)], "new": [(200, yml("1"))]}
    assert night(tmp_path, server, "2026-11-01", ["old", "new"]) == 0
    rows = run_tables.read_table(tmp_path / "root", FEEDS, "2026-11-01").to_pylist()
    assert [(r["status"], r["feed_date"]) for r in rows] == [
        ("fresh", "2026-09-01"),
        ("fresh", None),
    ]
    assert "old: its feed is of 2026-09-01" in caplog.text and "new: " not in caplog.text
    caplog.clear()
    assert night(tmp_path, server, "2026-09-20", ["old"]) == 0 and "is of" not in caplog.text


def test_a_run_by_hand_under_the_name_of_the_night_is_pulled_again_when_it_is_due(
    server, tmp_path, caplog
):
    """Somebody starts the run at midnight; the night of the same name is due at half past two."""
    root, run = tmp_path / "root", "2026-11-21"
    server.answers["alpha"] = [(200, yml("1", "2"))]
    assert night(tmp_path, server, run, ["alpha"]) == 0
    manifest = run_tables.table_dir(root, FEEDS, run) / "_manifest.json"
    by_hand = datetime(2026, 11, 21, 0, 1, tzinfo=UTC).timestamp()
    os.utime(manifest, (by_hand, by_hand))
    server.answers["alpha"] = [(200, yml("1", "2", "3"))]
    # A second start by hand changes nothing, as ever.
    assert night(tmp_path, server, run, ["alpha"]) == 0
    assert len(run_tables.read_table(root, OFFERS, run)) == 2
    due = ("--since", "2026-11-21T02:30:00+00:00")
    assert night(tmp_path, server, run, ["alpha"], *due) == 0
    assert "pulled its feeds at 2026-11-21 00:01 UTC, before it was due at" in caplog.text
    assert len(run_tables.read_table(root, OFFERS, run)) == 3
    # A retry of that night goes on with what it has pulled.
    server.answers["alpha"] = [(200, yml("1"))]
    assert night(tmp_path, server, run, ["alpha"], *due) == 0
    assert len(run_tables.read_table(root, OFFERS, run)) == 3


def test_days_come_in_any_order(server, tmp_path):
    """A night skipped, one of an earlier day run late,
    a shop that is gone for a week and back with a broken feed.
    """
    root = tmp_path / "root"
    server.answers = {"a": [(200, yml("1", "2"))], "b": [(200, yml("5", "6"))]}
    assert night(tmp_path, server, "2026-11-01", ["a", "b"]) == 0
    server.answers["a"] = [(200, yml("1", "2", "3"))]
    assert night(tmp_path, server, "2026-11-09", ["a"]) == 0
    assert set(statuses(root, "2026-11-09")) == {"a"}
    # Late: the night of the 5th knows only what came before it, whatever is there by now.
    server.answers["a"] = [(404, b"")]
    assert night(tmp_path, server, "2026-11-05", ["a"]) == 0
    assert statuses(root, "2026-11-05") == {"a": ("stale", "not_fetched", "2026-11-01")}
    assert run_tables.read_table(root, OFFERS, "2026-11-05")["product_id"].to_pylist() == [
        "a:1",
        "a:2",
    ]
    # Back: the last good offers are those of the night when it was last here.
    server.answers["b"] = [(404, b"")]
    assert night(tmp_path, server, "2026-11-10", ["a", "b"]) == 0
    assert statuses(root, "2026-11-10") == {
        "a": ("stale", "not_fetched", "2026-11-09"),
        "b": ("stale", "not_fetched", "2026-11-01"),
    }
    assert run_tables.read_table(root, OFFERS, "2026-11-10")["product_id"].to_pylist() == [
        "a:1",
        "a:2",
        "a:3",
        "b:5",
        "b:6",
    ]


def shelved(**shelves):
    """A feed whose offers are of a category each:
    shelved(Платья="ab") are offers a and b of Платья.
    """
    names = "".join(f'<category id="{n}">{name}</category>' for n, name in enumerate(shelves, 1))
    body = yml(*"".join(shelves.values())).decode()
    for number, ids in enumerate(shelves.values(), 1):
        for ident in ids:
            body = body.replace(
                f'<offer id="{ident}">', f'<offer id="{ident}"><categoryId>{number}</categoryId>'
            )
    return body.replace("<offers>", f"<categories>{names}</categories><offers>").encode()


def write_mapping(place, ident, **leaves):
    if not (place / "mappings").exists():
        shutil.copytree(
            MAPPINGS, place / "mappings", ignore=shutil.ignore_patterns("*.xml", "shops")
        )
        shutil.copy(MAPPINGS / "taxonomy.xml", place / "mappings")
        (place / "mappings" / "shops").mkdir()
    lines = "".join(f'<map path="{path}" to="{leaf}"/>' for path, leaf in leaves.items())
    (place / "mappings" / "shops" / f"{ident}.xml").write_text(
        f'<mapping shop="{ident}">{lines}</mapping>'
    )


DRESSES, SKIRTS = "women.dresses.other", "women.skirts.other"


def test_a_renamed_catalogue_stops_its_shop_alone_and_a_renamed_category_only_itself(
    server, tmp_path, caplog
):
    """As after a shop's move to another system: every word is new,
    and no line of the mapping knows one.
    """
    root = tmp_path / "root"
    for ident in "ab":
        write_mapping(tmp_path, ident, Платья=DRESSES, Юбки=SKIRTS)

    def run(day, **more):
        assert night(tmp_path, server, day, ["a", "b", "new"], **more) == 0
        assert map_products.main(["--run", day, "--config", str(tmp_path / f"{day}.toml")]) == 0
        return sorted(run_tables.read_table(root, PRODUCTS, day)["product_id"].to_pylist())

    server.answers = {
        ident: [(200, shelved(Платья="123", Юбки="4"))] for ident in ("a", "b", "new")
    }
    everything = [f"{shop}:{n}" for shop in "ab" for n in "1234"]
    assert run("d1") == everything
    server.answers |= {
        "a": [(200, shelved(Наряды="1235", Низ="4"))],
        "b": [(200, shelved(Платья="1235", Низ="4"))],
        "new": [(200, shelved(Наряды="1234"))],
    }
    assert run("d2") == [*everything[:4], "b:1", "b:2", "b:3", "b:5"]
    assert statuses(root, "d2") == {
        "a": ("stale", "too_many_unmapped", "d1"),
        "b": ("fresh", None, "d2"),
        "new": ("fresh", None, "d2"),  # without a mapping there is nothing to lose
    }
    refused = [
        (row["key"], row["reason"], row["detail"])
        for row in run_tables.read_refused(root, "d2").to_pylist()
        if row["shop_id"] == "b"
    ]
    assert refused == [("b:4", "unmapped_category", "Низ")]
    [told] = [
        record.getMessage()
        for record in caplog.records
        if "too_many_unmapped" in record.getMessage()
    ]
    assert (
        "0 offers of categories that the mapping knows after 4 in run d1" in told
        and "not mapped: 'Наряды' (4), 'Низ' (1)" in told
    )
    # The operator says that it is right so, which the run keeps, or maps the words.
    assert run("d2", max_drop_ratio=1.0) == ["b:1", "b:2", "b:3", "b:5"]
    assert run_tables.read_manifest(root, FEEDS, "d2")["parameters"]["a"]["max_drop_ratio"] == 1.0
    write_mapping(tmp_path, "a", Наряды=DRESSES, Низ=SKIRTS)
    assert run("d2") == ["a:1", "a:2", "a:3", "a:4", "a:5", "b:1", "b:2", "b:3", "b:5"]


def empty_value(column):
    if pa.types.is_list(column.type):
        return []
    return None if column.nullable else "" if pa.types.is_string(column.type) else 0


def test_last_good_offers_are_those_that_their_manifest_names(tmp_path):
    """Whatever else lies in yesterday's folder, such as a copy somebody made."""
    offers = [{"shop_id": "lipa", "offer_id": "1"}]
    feed = {"shop_id": "lipa", "source_run": "2026-11-20", "written_count": 1}
    for table, rows in ((OFFERS, offers), (FEEDS, [feed])):
        with run_tables.write_table(tmp_path, table, "2026-11-20", "s") as out:
            whole = [{c.name: empty_value(c) for c in table.columns} | row for row in rows]
            out.write(pa.Table.from_pylist(whole, table.arrow_schema))
    held = run_tables.table_dir(tmp_path, OFFERS, "2026-11-20")
    (part,) = held.glob("part-*.parquet")
    shutil.copy2(part, held / "part-99999.parquet")
    found = pull_feeds.last_good_feed(tmp_path, "2026-11-21", "lipa")
    assert found.offers_files == (part,)


def test_a_mistake_in_a_mapping_stops_the_night_before_any_feed_is_asked(server, tmp_path, caplog):
    write_mapping(tmp_path, "a", Платья="nothing.of.ours")
    assert night(tmp_path, server, "d1", ["a"]) == 1
    assert "a.xml:1: to='nothing.of.ours'" in caplog.text and server.asked == []


def test_no_credential_of_an_address_is_kept_not_even_as_a_hash(server):
    one = shop(server, "s")
    other = ShopSettings(
        id="s",
        feed=one.feed.get_secret_value().replace("s3cret", "an0ther"),
        allowed_networks=one.allowed_networks,
    )
    kept = ingest_feeds._shop_parameters(one)
    assert kept == ingest_feeds._shop_parameters(other), (
        "what differs by the credential alone tells of it"
    )
    assert "code=***" in kept["feed"] and kept != ingest_feeds._shop_parameters(shop(server, "t"))


@pytest.mark.skipif(not SERVE.exists(), reason="the real shops of ../shared are not here")
def test_real_shops_of_two_days(tmp_path):
    found = {}
    for day in ("1", "2"):
        command = [sys.executable, str(SERVE), "--port", "0", "--limit", "300", "--day", day]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
            try:
                address = served.stdout.readline().strip()
                for ident in ("moda", "bazaar", "closet"):
                    real = ShopSettings(
                        id=ident,
                        feed=f"{address}{ident}/feed.xml",
                        allowed_networks=("127.0.0.0/8",),
                    )
                    made, offers, refused = ingest(tmp_path / f"{ident}{day}", real)
                    assert (
                        made.feed_row["status"],
                        offers.num_rows,
                        refused.num_rows,
                        made.warning_counts,
                    ) == ("fresh", 300, 0, {})
                    found[ident, day] = (
                        made.feed_row["dialect"],
                        set(offers["product_id"].to_pylist()),
                    )
            finally:
                served.terminate()
    assert [found[ident, "1"][0] for ident in ("moda", "bazaar", "closet")] == [
        "yml",
        "google_rss",
        "google_atom",
    ]
    assert all(
        0 < len(found[ident, "1"][1] - found[ident, "2"][1]) < 30
        for ident in ("moda", "bazaar", "closet")
    )
