"""The doctor sees each real fault, says what to do, and leaves everything as it was."""

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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from tests.support.postgres_server import database, server
from tests.warehouse.test_warehouse import night

from wearalike import sample, settings
from wearalike.commands import app
from wearalike.models import registry
from wearalike.ops import doctor
from wearalike.ops.doctor import Limits, Patient, Verdict
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
# Under which Airflow is not set up.
BARE = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}


@pytest.fixture
def place(tmp_path) -> settings.Settings:
    """An empty root with one shop, which is not asked."""
    shop = settings.Shop("lipa", "http://127.0.0.1:1/feed.xml", allow_addresses=("127.0.0.1/32",))
    return settings.Settings(
        tmp_path / "root",
        f"duckdb:{tmp_path / 'warehouse'}",
        mappings=REPOSITORY / "mappings",
        shops=(shop,),
    )


def only(found) -> doctor.Finding:
    """The one finding that is not well, which says what to do."""
    (one,) = [f for f in found if f.verdict is not Verdict.OK]
    assert one.to_do and f"to do: {one.to_do}" in str(one)
    return one


def test_a_place_that_is_well_ends_with_0_and_one_with_a_fault_with_1(
    tmp_path, capsys, monkeypatch, caplog
):
    monkeypatch.setattr(os, "environ", {**BARE, "AIRFLOW_HOME": str(tmp_path / "no-airflow")})
    config = tmp_path / "wearalike.toml"
    with sample.serve() as address:
        sample.write_settings(config, address, tmp_path / "root", REPOSITORY / "mappings")
        assert app.main(["doctor", "--config", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line[6:].split("  ")[0] for line in lines if not line.startswith(" ")}
    assert names == {
        *(
            "java",
            "root",
            "disk",
            "clock",
            "mappings",
            "warehouse",
            "feed lipa",
            "feed harbour",
            "feed verano",
        ),
        *("device", "detector", "encoder", "looks", "airflow"),
    }
    assert [line for line in lines if line.startswith("warn")] == [
        line for line in lines if "nothing is published yet" in line
    ]
    assert not list((tmp_path / "root").iterdir()), "nothing is left"
    # The shops are gone now.
    assert app.main(["doctor", "--config", str(config)]) == 1
    assert "3 of 14 findings would stop a night" in caplog.text
    assert [
        line[:20].strip()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("fail")
    ] == [f"fail  feed {shop}" for shop in ("lipa", "harbour", "verano")]


# Looks


def test_looks_that_cannot_be_looked_for_are_a_warning_and_switched_off_none(place, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"] + ["ultralytics"]:
        monkeypatch.setitem(sys.modules, name, None)
    found = only(doctor.looks(Patient(place)))
    assert (
        found.verdict is Verdict.WARN
        and "ultralytics" in found.seen
        and "wearalike[yolo]" in found.to_do
    )
    (well,) = doctor.looks(Patient(replace(place, looks="off")))
    assert well.verdict is Verdict.OK and "switched off" in well.seen


# Java


def test_no_java(place, tmp_path):
    assert doctor.java(Patient(place, {"PATH": str(tmp_path)})).__next__().verdict is Verdict.FAIL
    found = only(doctor.java(Patient(place, {"PATH": str(tmp_path)})))
    assert found.seen == "none on the PATH" and "openjdk" in found.to_do
    gone = only(doctor.java(Patient(place, {**os.environ, "JAVA_HOME": str(tmp_path)})))
    assert str(tmp_path / "bin" / "java") in gone.seen and "JAVA_HOME" in gone.to_do


def test_an_old_java(place, tmp_path):
    (tmp_path / "java").write_text(
        "#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n", encoding="utf-8"
    )
    (tmp_path / "java").chmod(0o755)
    found = only(doctor.java(Patient(place, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})))
    assert found.verdict is Verdict.FAIL and "1.8.0" in found.seen and "17 or newer" in found.to_do


# The root


def test_a_root_that_cannot_be_written(place, tmp_path):
    found = only(doctor.root(Patient(replace(place, root=Path("/proc/wearalike")))))
    assert found.verdict is Verdict.FAIL and "/proc/wearalike" in found.seen
    (tmp_path / "file").touch()
    assert (
        "Not a directory"
        in only(doctor.root(Patient(replace(place, root=tmp_path / "file" / "root")))).seen
    )


def test_a_disk_that_is_nearly_full(place):
    free = shutil.disk_usage(place.root.parent).free
    assert (
        only(
            doctor.root(Patient(place, limits=Limits(fail_free_bytes=1, warn_free_bytes=2 * free)))
        ).verdict
        is Verdict.WARN
    )
    found = only(doctor.root(Patient(place, limits=Limits(fail_free_bytes=2 * free))))
    assert found.what == "disk" and found.verdict is Verdict.FAIL and "make room" in found.to_do


# Mappings


def test_broken_and_missing_mappings(place, tmp_path):
    mine = tmp_path / "mappings"
    shutil.copytree(place.mappings, mine)
    broken = mine / "shops" / "lipa.xml"
    broken.write_text(
        broken.read_text(encoding="utf-8").replace('to="', 'to="wo', 1), encoding="utf-8"
    )
    found = only(doctor.mappings(Patient(replace(place, mappings=mine))))
    assert (
        found.verdict is Verdict.FAIL
        and f"{broken}:" in found.seen
        and "check-mapping" in found.to_do
    )
    broken.unlink()
    assert "no mapping" in only(doctor.mappings(Patient(replace(place, mappings=mine)))).seen
    assert (
        str(tmp_path / "none")
        in only(doctor.mappings(Patient(replace(place, mappings=tmp_path / "none")))).seen
    )
    assert only(doctor.mappings(Patient(replace(place, shops=())))).what == "shops"


# The warehouse


def publish(address: str, run: str = "r1") -> None:
    warehouse, parts = open_warehouse(address), night(run)
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
        doctor.warehouse(
            Patient(replace(place, warehouse=f"postgresql://u:s3cret@127.0.0.1:{port}/shop"))
        )
    )
    assert (
        found.verdict is Verdict.FAIL
        and f"127.0.0.1:{port}/shop" in found.seen
        and "start it" in found.to_do
    )
    assert "s3cret" not in str(found)
    bad = only(doctor.warehouse(Patient(replace(place, warehouse="mysql://u:s3cret@h/d"))))
    assert "WEARALIKE_WAREHOUSE" in bad.to_do and "s3cret" not in str(bad)


def test_what_is_published_and_since_when(place):
    publish(place.warehouse)
    (found,) = doctor.warehouse(Patient(place))
    assert found.verdict is Verdict.OK and "published is r1, since 20" in found.seen
    late = only(doctor.warehouse(Patient(place, limits=Limits(late_s=-1))))
    assert late.verdict is Verdict.WARN and "last nights" in late.to_do


def test_a_publication_of_tomorrow(place, tmp_path):
    publish(place.warehouse)
    log = tmp_path / "warehouse" / "publications.jsonl"
    move = json.loads(log.read_text(encoding="utf-8"))
    move["published_at"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    log.write_text(json.dumps(move) + "\n", encoding="utf-8")
    found = only(doctor.warehouse(Patient(place)))
    assert found.what == "clock" and "in the future" in found.seen


def test_tables_of_an_older_version(place):
    psycopg = pytest.importorskip("psycopg")
    with server() as postgres:
        address = database(postgres, "old")
        there = replace(place, warehouse=address)
        publish(address)
        found = list(doctor.warehouse(Patient(there)))
        assert [f.what for f in found] == ["clock", "warehouse"] and all(
            f.verdict is Verdict.OK for f in found
        )
        with psycopg.connect(address) as con:
            con.execute(
                "ALTER TABLE wearalike.products DROP COLUMN vendor_code CASCADE, DROP COLUMN w_shape CASCADE"
            )
            con.execute("ALTER TABLE wearalike.similar_lists RENAME COLUMN short_reason TO why")
            con.execute("DROP TABLE wearalike.quality CASCADE")
        old = only(doctor.warehouse(Patient(there)))
        assert old.verdict is Verdict.FAIL
        for part in (
            "no products.vendor_code",
            "no products.w_shape",
            "no quality.run",
            "similar_lists.why is unknown",
        ):
            assert part in old.seen
        # What it advises mends it: the run before is still there, and the next one can be published.
        with psycopg.connect(address, autocommit=True) as con:
            con.execute(old.to_do.removeprefix("as wearalike_loader: ").partition(" Then ")[0])
            assert con.execute(
                "SELECT count(*), max(w_shape) FROM wearalike.current_products"
            ).fetchall() == [(6, 0)]
        assert all(f.verdict is Verdict.OK for f in doctor.warehouse(Patient(there)))
        publish(address, "r2")
        assert (
            len(
                open_warehouse(address).ask(
                    "SELECT vendor_code FROM current_products WHERE run = 'r2' AND w_shape = 2"
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
            doctor.feeds(Patient(replace(place, shops=(replace(place.shops[0], feed=address),))))
        )
    assert found.verdict is Verdict.FAIL and found.what == "feed lipa" and seen in found.seen
    assert "s3cret" not in str(found)


def test_a_feed_is_not_read_to_its_end_and_the_guard_holds(place):
    shop = place.shops[0]
    with answering(200, b'<?xml version="1.0"?><yml_catalog>' + b" " * 64_000_000) as (
        address,
        sent,
    ):
        (found,) = doctor.feeds(Patient(replace(place, shops=(replace(shop, feed=address),))))
        assert found.verdict is Verdict.OK and found.seen == "answers with XML"
        assert sent[0] < 32_000_000
        private = only(
            doctor.feeds(
                Patient(replace(place, shops=(replace(shop, feed=address, allow_addresses=()),)))
            )
        )
    assert "private_address" in private.seen and "allow_addresses" in private.to_do


# Models


def test_a_promoted_model_that_was_changed(place):
    pointer = registry.pointer_path(place.root, registry.Kind.ENCODER)
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
    path = registry.own_path(place.root, registry.Kind.ENCODER, "shops-1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"changed since")
    found = only(doctor.weights(Patient(replace(place, device="cpu"))))
    assert (
        found.what == "encoder"
        and found.verdict is Verdict.FAIL
        and "promoted was 000" in found.seen
        and "--rollback" in found.to_do
    )


def test_a_gpu_that_is_not_there(place):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    found = only(doctor.device(Patient(replace(place, device="cuda"))))
    assert found.verdict is Verdict.FAIL and "sees no GPU" in found.seen


# Airflow


def test_airflow_without_its_tables_and_without_a_pool(place, tmp_path):
    env = {**BARE, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    found = only(doctor.airflow(Patient(place, env)))
    assert found.verdict is Verdict.FAIL and "airflow db migrate" in found.to_do
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=env, check=True, capture_output=True
    )
    with sqlite3.connect(
        tmp_path / "airflow.db"
    ) as tables:  # as `airflow pools set` does, in no time
        tables.execute(
            "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('network', 2, 0)"
        )
    found = list(doctor.airflow(Patient(place, env)))
    assert [(f.verdict, f.seen[:15]) for f in found] == [
        (Verdict.OK, "pool network ha"),
        (Verdict.FAIL, "no pool gpu: it"),
    ]
    assert found[1].to_do == "airflow pools set gpu 1 models"
