"""The doctor sees each real fault, says what to do, and leaves everything as it was."""

import hashlib
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from tests.support.change_settings import change
from tests.support.postgres_server import create_database, start_server
from tests.warehouse.test_warehouse import load
from tests.warehouse.test_warehouse import night as made_up

from wearalike import sample, settings
from wearalike.commands import app
from wearalike.models import registry
from wearalike.ops import doctor
from wearalike.ops.doctor import CheckStatus, Environment, HealthLimits
from wearalike.storage import content_cache, run_tables
from wearalike.tables import IMAGES, REFUSED
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
# Under which Airflow is not set up.
BARE = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}


@pytest.fixture
def place(tmp_path) -> settings.Settings:
    """An empty root with one shop, which is not asked."""
    shop = settings.ShopSettings(
        id="lipa", feed="http://127.0.0.1:1/feed.xml", allowed_networks=("127.0.0.1/32",)
    )
    return settings.Settings(
        data_dir=tmp_path / "root",
        warehouse=f"duckdb:{tmp_path / 'warehouse'}",
        mappings=REPOSITORY / "mappings",
        shops=(shop,),
    )


def only(found) -> doctor.CheckResult:
    """The one finding that is not well, which says what to do."""
    (one,) = [f for f in found if f.status is not CheckStatus.OK]
    assert one.advice and f"to do: {one.advice}" in str(one)
    return one


def test_a_place_that_is_well_ends_with_0_and_one_with_a_fault_with_1(
    tmp_path, capsys, monkeypatch, caplog
):
    monkeypatch.setattr(os, "environ", {**BARE, "AIRFLOW_HOME": str(tmp_path / "no-airflow")})
    config = tmp_path / "wearalike.toml"
    with sample.serve_shops() as address:
        sample.write_settings(config, address, tmp_path / "root", REPOSITORY / "mappings")
        assert app.main(["doctor", "--config", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line[6:].split("  ")[0] for line in lines if not line.startswith(" ")}
    assert names == {
        *(
            "java",
            "spark",
            "data_dir",
            "disk",
            "disk by kind",
            "clock",
            "mappings",
            "warehouse",
            "feed lipa",
            "feed harbour",
            "feed verano",
        ),
        *("device", "detector", "encoder", "looks", "poses", "airflow"),
    }
    # The disk is the machine's own, and may be fuller than the doctor likes.
    assert [line for line in lines if line.startswith("warn") and line[6:10] != "disk"] == [
        line for line in lines if "nothing is published yet" in line
    ]
    assert not list((tmp_path / "root").iterdir()), "nothing is left"
    # The shops are gone now.
    assert app.main(["doctor", "--config", str(config)]) == 1
    assert "3 of 17 checks would stop a run" in caplog.text
    assert [
        line[:20].strip()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("fail")
    ] == [f"fail  feed {shop}" for shop in ("lipa", "harbour", "verano")]


# Looks


def test_looks_that_cannot_be_looked_for_are_a_warning_and_switched_off_none(place, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"] + ["ultralytics"]:
        monkeypatch.setitem(sys.modules, name, None)
    found = only(doctor.check_looks(Environment(place)))
    assert (
        found.status is CheckStatus.WARN
        and "ultralytics" in found.observation
        and "wearalike[yolo]" in found.advice
    )
    (well,) = doctor.check_looks(Environment(change(place, looks="off")))
    assert well.status is CheckStatus.OK and "switched off" in well.observation


# Java


def test_no_java(place, tmp_path):
    assert (
        doctor.check_java(Environment(place, {"PATH": str(tmp_path)})).__next__().status
        is CheckStatus.FAIL
    )
    found = only(doctor.check_java(Environment(place, {"PATH": str(tmp_path)})))
    assert found.observation == "none on the PATH" and "openjdk" in found.advice
    gone = only(doctor.check_java(Environment(place, {**os.environ, "JAVA_HOME": str(tmp_path)})))
    assert str(tmp_path / "bin" / "java") in gone.observation and "JAVA_HOME" in gone.advice


def test_an_old_java(place, tmp_path):
    (tmp_path / "java").write_text(
        "#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n", encoding="utf-8"
    )
    (tmp_path / "java").chmod(0o755)
    found = only(
        doctor.check_java(Environment(place, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}))
    )
    assert (
        found.status is CheckStatus.FAIL
        and "1.8.0" in found.observation
        and "17 or newer" in found.advice
    )


# The root


def test_a_root_that_cannot_be_written(place, tmp_path):
    found = only(doctor.check_root(Environment(change(place, data_dir=Path("/proc/wearalike")))))
    assert found.status is CheckStatus.FAIL and "/proc/wearalike" in found.observation
    (tmp_path / "file").touch()
    assert (
        "Not a directory"
        in only(
            doctor.check_root(Environment(change(place, data_dir=tmp_path / "file" / "root")))
        ).observation
    )


def test_a_disk_that_is_nearly_full(place):
    free = shutil.disk_usage(place.data_dir.parent).free
    assert (
        only(
            doctor.check_root(
                Environment(place, limits=HealthLimits(min_free_bytes=1, ample_free_bytes=2 * free))
            )
        ).status
        is CheckStatus.WARN
    )
    found = only(
        doctor.check_root(Environment(place, limits=HealthLimits(min_free_bytes=2 * free)))
    )
    assert (
        found.subject == "disk" and found.status is CheckStatus.FAIL and "make room" in found.advice
    )


# Mappings


def test_broken_and_missing_mappings(place, tmp_path):
    mine = tmp_path / "mappings"
    shutil.copytree(place.mappings, mine)
    broken = mine / "shops" / "lipa.xml"
    broken.write_text(
        broken.read_text(encoding="utf-8").replace('to="', 'to="wo', 1), encoding="utf-8"
    )
    found = only(doctor.check_mappings(Environment(change(place, mappings=mine))))
    assert (
        found.status is CheckStatus.FAIL
        and f"{broken}:" in found.observation
        and "check-mapping" in found.advice
    )
    broken.unlink()
    assert (
        "no mapping"
        in only(doctor.check_mappings(Environment(change(place, mappings=mine)))).observation
    )
    assert (
        str(tmp_path / "none")
        in only(
            doctor.check_mappings(Environment(change(place, mappings=tmp_path / "none")))
        ).observation
    )
    assert only(doctor.check_mappings(Environment(change(place, shops=())))).subject == "shops"


# The warehouse


def publish(address: str, run: str = "r1") -> None:
    warehouse, parts = open_warehouse(address), made_up(run)
    warehouse.load(
        run,
        {n: ds.dataset(t) for n, t in parts.items()},
        {n: t.num_rows for n, t in parts.items()},
        "s",
    )
    warehouse.publish(run)


def test_a_warehouse_that_does_not_answer_is_named_without_its_password(place):
    pytest.importorskip("psycopg")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    found = only(
        doctor.check_warehouse(
            Environment(change(place, warehouse=f"postgresql://u:s3cret@127.0.0.1:{port}/shop"))
        )
    )
    assert (
        found.status is CheckStatus.FAIL
        and f"127.0.0.1:{port}/shop" in found.observation
        and "start it" in found.advice
    )
    assert "s3cret" not in str(found)
    bad = only(doctor.check_warehouse(Environment(change(place, warehouse="mysql://u:s3cret@h/d"))))
    assert "WEARALIKE_WAREHOUSE" in bad.advice and "s3cret" not in str(bad)


def test_what_is_published_and_since_when(place):
    publish(place.warehouse.get_secret_value())
    (found,) = doctor.check_warehouse(Environment(place))
    assert found.status is CheckStatus.OK and "published is r1, since 20" in found.observation
    late = only(
        doctor.check_warehouse(Environment(place, limits=HealthLimits(max_publication_age_s=-1)))
    )
    assert late.status is CheckStatus.WARN and "last nightly runs" in late.advice


def test_a_publication_of_tomorrow(place, tmp_path):
    publish(place.warehouse.get_secret_value())
    log = tmp_path / "warehouse" / "publications.jsonl"
    move = json.loads(log.read_text(encoding="utf-8"))
    move["published_at"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    log.write_text(json.dumps(move) + "\n", encoding="utf-8")
    found = only(doctor.check_warehouse(Environment(place)))
    assert found.subject == "clock" and "in the future" in found.observation


def test_tables_of_an_older_version(place):
    psycopg = pytest.importorskip("psycopg")
    with start_server() as postgres:
        address = create_database(postgres, "old")
        there = change(place, warehouse=address)
        publish(address)
        found = list(doctor.check_warehouse(Environment(there)))
        assert [f.subject for f in found] == ["clock", "warehouse"] and all(
            f.status is CheckStatus.OK for f in found
        )
        with psycopg.connect(address) as con:
            con.execute(
                "ALTER TABLE wearalike.products DROP COLUMN vendor_code CASCADE, "
                "DROP COLUMN shape_weight CASCADE"
            )
            con.execute("ALTER TABLE wearalike.similar_lists RENAME COLUMN shortfall_reason TO why")
            con.execute("DROP TABLE wearalike.quality CASCADE")
        old = only(doctor.check_warehouse(Environment(there)))
        assert old.status is CheckStatus.FAIL
        for part in (
            "no products.vendor_code",
            "no products.shape_weight",
            "no table quality",
            "similar_lists.why is unknown",
        ):
            assert part in old.observation
        # What it advises mends it: the run before is still there,
        # and the next one can be published.
        with psycopg.connect(address, autocommit=True) as con:
            con.execute(old.advice.removeprefix("as wearalike_loader: ").partition(" Then ")[0])
            assert con.execute(
                "SELECT count(*), max(shape_weight) FROM wearalike.current_products"
            ).fetchall() == [(6, 0)]
        assert all(f.status is CheckStatus.OK for f in doctor.check_warehouse(Environment(there)))
        publish(address, "r2")
        assert (
            len(
                open_warehouse(address).query(
                    "SELECT vendor_code FROM current_products WHERE run = 'r2' AND shape_weight = 2"
                )
            )
            == 6
        )


# Feeds


@contextmanager
def answering(status: int, body: bytes):
    """The address of a server that answers so, and the count of bytes that it got rid of."""
    sent = [0]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                for start in range(0, len(body), 65536):
                    sent[0] += self.wfile.write(body[start : start + 65536])
            except OSError:
                self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        threading.Thread(target=there.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{there.server_port}/feed?code=s3cret", sent
        there.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (404, b"gone", "http_404"),
        (200, b"<!DOCTYPE html><title>Sign in</title>", "a page, not a feed"),
        (200, b"id;title\n1;dress\n", "not XML"),
        (200, b"", "empty"),
    ],
)
def test_a_feed_of_no_use(place, status, body, seen):
    with answering(status, body) as (address, _):
        found = only(
            doctor.check_feeds(
                Environment(change(place, shops=(change(place.shops[0], feed=address),)))
            )
        )
    assert (
        found.status is CheckStatus.FAIL
        and found.subject == "feed lipa"
        and seen in found.observation
    )
    assert "s3cret" not in str(found)


def test_a_feed_is_not_read_to_its_end_and_the_guard_holds(place):
    shop = place.shops[0]
    with answering(200, b'<?xml version="1.0"?><yml_catalog>' + b" " * 64_000_000) as (
        address,
        sent,
    ):
        (found,) = doctor.check_feeds(
            Environment(change(place, shops=(change(shop, feed=address),)))
        )
        assert found.status is CheckStatus.OK and found.observation == "answers with XML"
        assert sent[0] < 32_000_000
        private = only(
            doctor.check_feeds(
                Environment(change(place, shops=(change(shop, feed=address, allowed_networks=()),)))
            )
        )
    assert "private_address" in private.observation and "allowed_networks" in private.advice


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"PK\x03\x04\x14\0", "zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"# made by hand\nid\ttitle\tprice\n", "a table"),
    ],
)
def test_a_packed_feed_or_a_table_is_one(place, body, found):
    shop = place.shops[0]
    with answering(200, body) as (address, _):
        (result,) = doctor.check_feeds(
            Environment(change(place, shops=(change(shop, feed=address),)))
        )
    assert (result.status, result.observation) == (CheckStatus.OK, f"answers with {found}")


# Models


def test_a_promoted_model_that_was_changed(place):
    pointer = registry.pointer_path(place.data_dir, registry.ModelKind.ENCODER)
    pointer.parent.mkdir(parents=True)
    move = {
        "version": "shops-1",
        "sha256": "0" * 64,
        "former": None,
        "moved_at": "2026-11-21",
        "action": "promote",
        "why": "better",
    }
    pointer.write_text(json.dumps({**move, "history": []}), encoding="utf-8")
    path = registry.promoted_path(place.data_dir, registry.ModelKind.ENCODER, "shops-1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"changed since")
    found = only(doctor.check_models(Environment(change(place, device="cpu"))))
    assert (
        found.subject == "encoder"
        and found.status is CheckStatus.FAIL
        and "promoted was 000" in found.observation
        and "--rollback" in found.advice
    )


def test_a_gpu_that_is_not_there(place):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    found = only(doctor.check_device(Environment(change(place, device="cuda"))))
    assert found.status is CheckStatus.FAIL and "sees no GPU" in found.observation


# Airflow


def test_airflow_without_its_tables_and_without_a_pool(place, tmp_path):
    env = {**BARE, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    found = only(doctor.check_airflow(Environment(place, env)))
    assert found.status is CheckStatus.FAIL and "airflow db migrate" in found.advice
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True
    )
    with sqlite3.connect(
        tmp_path / "airflow.db"
    ) as tables:  # as `airflow pools set` does, in no time
        tables.execute(
            "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('network', 2, 0)"
        )
    found = list(doctor.check_airflow(Environment(place, env)))
    assert [(f.status, f.observation[:15]) for f in found] == [
        (CheckStatus.OK, "pool network ha"),
        (CheckStatus.FAIL, "no pool gpu: it"),
    ]
    assert found[1].advice == "airflow pools set gpu 1 models"


def test_a_deep_check_names_every_image_that_has_changed(place):
    """Only a deep one reads them."""
    contents = [bytes([n]) * 50 for n in range(4)]
    ids = [hashlib.sha256(content).hexdigest() for content in contents]
    for image_id, content in zip(ids, contents, strict=True):
        content_cache.write_atomic(content_cache.image_path(place.data_dir, image_id), content)
    environment = doctor.Environment(place)
    assert [r.status for r in doctor.check_images(environment)] == [CheckStatus.OK]
    damaged = content_cache.image_path(place.data_dir, ids[2])
    damaged.write_bytes(b"rot")
    found = only(doctor.check_images(environment))
    assert found.status is CheckStatus.WARN and "1 have changed on the disk" in found.observation
    assert str(damaged) in found.observation and "delete them" in found.advice
    assert damaged.read_bytes() == b"rot", "the doctor changes nothing"
    assert doctor.check_images in doctor.DEEP_CHECKS and doctor.check_images not in doctor.CHECKS


def test_a_deep_check_names_every_damaged_file_of_the_warehouse(place, tmp_path):
    assert list(doctor.check_warehouse_files(doctor.Environment(place))) == []
    warehouse = open_warehouse(place.warehouse)
    for run in ("r1", "r2"):
        load(warehouse, run, made_up(run))
    environment = doctor.Environment(place)
    assert [r.status for r in doctor.check_warehouse_files(environment)] == [CheckStatus.OK]
    damaged = tmp_path / "warehouse" / "runs" / "r1.duckdb"
    content = bytearray(damaged.read_bytes())
    content[20_000:21_000] = os.urandom(1000)
    damaged.write_bytes(content)
    found = only(doctor.check_warehouse_files(environment))
    assert found.status is CheckStatus.WARN and f"{damaged} is damaged: " in found.observation
    assert "publish_tables --run r1 --force" in found.advice
    assert doctor.check_warehouse_files in doctor.DEEP_CHECKS


def test_a_master_of_spark_that_does_not_answer(place):
    def check(master: str, env: dict | None = None):
        made = Environment(change(place, spark_master=master), env or {})
        return list(doctor.check_spark(made))

    assert [f.status for f in check("local[2]")] == [CheckStatus.OK]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for master in (f"spark://127.0.0.1:{port}", f"spark://127.0.0.1:1,127.0.0.1:{port}"):
            assert [f.status for f in check(master)] == [CheckStatus.OK]
    for master in (f"spark://127.0.0.1:{port}", f"k8s://https://127.0.0.1:{port}"):
        found = only(check(master))
        assert found.status is CheckStatus.FAIL and "connection refused" in found.observation
    assert only(check("yarn")).status is CheckStatus.FAIL
    assert [f.status for f in check("yarn", {"YARN_CONF_DIR": "/etc/yarn"})] == [CheckStatus.OK]


@pytest.fixture
def ruled(night, tmp_path) -> settings.Settings:
    """The night's products, and mappings of their own."""
    made = settings.read_settings(night / "wearalike.toml")
    shutil.copytree(made.mappings, tmp_path / "mappings")
    return change(made, mappings=tmp_path / "mappings")


def write_rules(made: settings.Settings, rule: str) -> None:
    (made.mappings / "rules.xml").write_text(f"<rules>{rule}</rules>", encoding="utf-8")


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ('<hide id="x" brand="Fernbi"/>', "no product has the brand 'Fernbi'"),
        ('<prefer id="x" shop="lippa" boost="0.1"/>', "did you mean 'lipa'"),
        ('<pin id="x" product="a:1" at="1" on_product="harbour:1001"/>', "no product 'a:1'"),
        (
            '<pin id="x" product="harbour:1017" at="1" on_product="harbour:1001"/>',
            "harbour:1017 is of full_body, and its pages are of upper_wear",
        ),
        (
            '<pin id="x" product="harbour:1001" at="1" on_category="women.dresses"/>',
            "harbour:1001 is of upper_wear, and its pages are of full_body",
        ),
    ],
)
def test_a_rule_that_can_do_nothing(ruled, rule, seen):
    assert list(doctor.check_rules(Environment(ruled))) == []
    write_rules(ruled, rule)
    found = only(doctor.check_rules(Environment(ruled)))
    assert found.status is CheckStatus.WARN and seen in found.observation, found.observation
    write_rules(ruled, '<hide id="x" brand="Fernby"/>')
    assert [f.status for f in doctor.check_rules(Environment(ruled))] == [CheckStatus.OK]


def test_pictures_with_private_addresses(night, tmp_path):
    made = settings.read_settings(night / "wearalike.toml")
    assert list(doctor.check_pictures(Environment(made))) == []
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    images = run_tables.read_table(made.data_dir, IMAGES, "day-1")
    row = {
        "stage": "images",
        "shop_id": "lipa",
        "kind": "image",
        "key": "lipa:1#0",
        "reason": "private_address",
        "detail": "http://pictures.intern/1.jpg: 10.1.2.3 is not a public address",
    }
    with run_tables.write_table(tmp_path / "root", IMAGES, "day-1", "again") as table:
        table.refuse(pa.Table.from_pylist([row] * 3, schema=REFUSED.arrow_schema))
        table.write(images)
    found = only(doctor.check_pictures(Environment(change(made, data_dir=tmp_path / "root"))))
    assert "3 of lipa refused" in found.observation and "pictures.intern" in found.observation
    assert "allowed_networks" in found.advice
