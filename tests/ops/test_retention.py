"""`wearalike prune` removes old things, touches nothing that is needed, and may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.support.drawn_deployment import CLASSIFIER, DETECTOR, ENCODER, SHOP, DrawnDeployment

from wearalike.commands import app
from wearalike.imaging import ledger
from wearalike.ops.disk_usage import DiskKind, describe_bytes, measure_disk
from wearalike.ops.retention.prune import describe_report, prune_data
from wearalike.retention_settings import RetentionSettings
from wearalike.settings import Settings
from wearalike.storage import atomic, content_cache, data_lock, run_tables
from wearalike.tables import IMAGES, MATCHES, OFFERS, PRODUCTS, QUALITY, SIMILAR_PRODUCTS, TABLES
from wearalike.warehouse.base import open_warehouse

POLICY = RetentionSettings(
    runs_days=10, candidates_days=1, reports_days=15, pictures_days=10, models_days=5, photos_days=5
)


@pytest.fixture(scope="module")
def season(tmp_path_factory) -> DrawnDeployment:
    """Twenty nights of 60 products, of which three are replaced every night."""
    root = tmp_path_factory.mktemp("season") / "data"
    made = DrawnDeployment(
        Settings(data_dir=root, keep=POLICY), 60, 0.05, picture_bytes=500, metrics_count=3
    )
    for _ in range(20):
        made.add_night()
    return made


@pytest.fixture
def deployment(season, tmp_path) -> DrawnDeployment:
    """A copy of the season that a test may change."""
    root = tmp_path / "data"
    subprocess.run(["cp", "-a", season.root, root], check=True)
    made = DrawnDeployment(
        Settings(data_dir=root, keep=POLICY), 60, 0.05, picture_bytes=500, metrics_count=3
    )
    made.number, made.frame, made._drawn_count = season.number, season.frame, season._drawn_count
    return made


def listing(root: Path) -> dict[str, int]:
    return {
        str(p.relative_to(root)): p.stat().st_size
        for p in root.rglob("*")
        if p.is_file() and not p.is_symlink() and p.name != data_lock.LOCK_NAME
    }


def read_similar(deployment: DrawnDeployment) -> list[dict]:
    rows = run_tables.read_table(deployment.root, SIMILAR_PRODUCTS, deployment.run)
    return rows.to_pylist()


def test_a_dry_run_names_what_would_go_and_changes_nothing(deployment):
    before = listing(deployment.root)
    report = prune_data(deployment.settings, is_dry=True, now=deployment.now)
    assert listing(deployment.root) == before
    said = "\n".join(describe_report(report))
    # All tables but quality, which is a report, and refused, which lies beside the others.
    folders = len(TABLES) - 2
    assert f"would remove  tables of runs    run=2026-01-01: {folders} folders" in said
    assert "would remove  reports           run=2026-01-01: 1 folders" in said
    assert "pictures, " in said and "rows, " in said and "in all" in said
    done = prune_data(deployment.settings, now=deployment.now)
    # The names and sizes of what goes are those of the dry run; cached rows are an estimate.
    assert [f.path for f in done.plan.folders] == [f.path for f in report.plan.folders]
    assert done.plan.bytes == report.plan.bytes
    gone = sum(before.values()) - sum(listing(deployment.root).values())
    assert gone == done.bytes


def test_what_is_needed_stays_and_the_rest_goes_by_its_days(deployment):
    root = deployment.root
    runs = run_tables.list_runs(root, PRODUCTS)
    prune_data(deployment.settings, now=deployment.now)
    kept = run_tables.list_runs(root, PRODUCTS)
    assert kept == runs[-11:]  # ten days, and the night that is just so old
    assert run_tables.list_runs(root, QUALITY) == runs[-16:]
    with_candidates = [
        run for run in kept if (run_tables.table_dir(root, MATCHES, run) / "candidates").is_dir()
    ]
    assert with_candidates == runs[-2:]
    for run in kept:
        images = run_tables.read_table(root, IMAGES, run)["image_id"].to_pylist()
        assert all(content_cache.is_stored_image(root, image_id) for image_id in images)
    pictures = [p for p in (root / "cache" / "images").glob("??/*")]
    # 60 of the oldest kept run, and three for each night after it.
    assert len(pictures) == 60 + 3 * 10
    rows = ledger.read_ledger(root, SHOP)
    assert set(rows["image_id"].to_pylist()) == {p.name for p in pictures}
    for kind, version in (("items", DETECTOR), ("codes", ENCODER), ("leaves", CLASSIFIER)):
        (part,) = (root / "cache" / kind / version).glob("*.parquet")
        assert pq.read_metadata(part).num_rows == len(pictures), kind
    assert prune_data(deployment.settings, now=deployment.now).bytes == 0


def test_the_night_after_is_the_same_as_without_pruning(season, deployment, tmp_path):
    plain = DrawnDeployment(Settings(data_dir=tmp_path / "plain"), 60, 0.05, 500, 3)
    subprocess.run(["cp", "-a", season.root, plain.root], check=True)
    for made in (plain, deployment):
        made.number, made.frame, made._drawn_count = season.number, season.frame, 999
    prune_data(deployment.settings, now=deployment.now)
    for made in (plain, deployment):
        made.add_night()
    assert read_similar(deployment) == read_similar(plain)
    manifest = run_tables.read_manifest(deployment.root, MATCHES, deployment.run)
    assert manifest["files"] == run_tables.read_manifest(plain.root, MATCHES, plain.run)["files"]
    moved = open_warehouse(deployment.settings.warehouse).rollback()
    assert moved.to_run == season.run


def test_long_pauses_and_rollbacks_cost_nothing_that_is_needed(deployment):
    warehouse = open_warehouse(deployment.settings.warehouse)
    for _ in range(3):
        warehouse.rollback()
    state = warehouse.state()
    before = set(run_tables.list_runs(deployment.root, PRODUCTS))
    year_later = deployment.now + timedelta(days=400)
    prune_data(deployment.settings, now=year_later)
    kept = set(run_tables.list_runs(deployment.root, PRODUCTS))
    assert kept < before
    assert {state.published_run, state.rollback_target} <= kept
    assert {load.run for load in state.loads} <= kept
    assert deployment.run in kept, "the next night goes on from it"
    assert len(run_tables.list_runs(deployment.root, QUALITY)) >= 7
    shown = run_tables.read_table(deployment.root, IMAGES, state.rollback_target)
    for image_id in shown["image_id"].to_pylist():
        assert content_cache.is_stored_image(deployment.root, image_id)


def test_the_last_good_offers_of_a_silent_shop_stay(deployment):
    """The newest run that has offers of a shop is needed, however old it is."""
    root = deployment.root
    for run in run_tables.list_runs(root, OFFERS)[-19:]:
        path = run_tables.table_dir(root, OFFERS, run) / "_manifest.json"
        path.unlink()  # no later night could use its feed
    prune_data(deployment.settings, now=deployment.now)
    assert run_tables.list_runs(root, OFFERS) == ["2026-01-01"]


def test_codes_of_a_former_encoder_go_with_the_last_run_that_used_them(deployment):
    root = deployment.root
    former = root / "cache" / "codes" / "former-1"
    subprocess.run(["cp", "-a", root / "cache" / "codes" / ENCODER, former], check=True)
    prune_data(deployment.settings, now=deployment.now)
    assert former.is_dir(), "it was written a day ago"
    at_s = (deployment.now - timedelta(days=6)).timestamp()
    for path in former.iterdir():
        os.utime(path, (at_s, at_s))
    prune_data(deployment.settings, now=deployment.now)
    assert not former.exists() and (root / "cache" / "codes" / ENCODER).is_dir()


def test_too_large_a_folder_keeps_everything_for_fewer_days(deployment):
    root = deployment.root
    settings = deployment.settings.model_copy(
        update={"keep": POLICY.model_copy(update={"max_bytes": 1})}
    )
    report = prune_data(settings, is_dry=True, now=deployment.now)
    assert report.plan.excess_bytes > 0, "what is needed is larger"
    least = report.survey.total_bytes - report.plan.bytes
    full = prune_data(deployment.settings, is_dry=True, now=deployment.now)
    most = full.survey.total_bytes - full.plan.bytes
    allowed = (least + most) // 2
    settings = settings.model_copy(
        update={"keep": POLICY.model_copy(update={"max_bytes": allowed})}
    )
    done = prune_data(settings, now=deployment.now)
    assert done.plan.excess_bytes == 0
    assert sum(u.bytes for u in measure_disk(root).values()) <= allowed
    assert 0 < done.plan.policy.runs_days < POLICY.runs_days
    assert run_tables.list_runs(root, PRODUCTS)[-7:] == [
        f"2026-01-{day:02}" for day in range(14, 21)
    ]


def test_nothing_is_pruned_while_a_run_is_at_work(deployment):
    with data_lock.use_data(deployment.root):
        with pytest.raises(data_lock.DataInUse, match="a run is at work on it"):
            prune_data(deployment.settings, now=deployment.now)
        with data_lock.use_data(deployment.root):
            pass  # stages run side by side
    assert prune_data(deployment.settings, now=deployment.now).bytes > 0


KILLED = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from wearalike.ops.retention.prune import prune_data
from wearalike.settings import Settings
from tests.ops.test_retention import POLICY
settings = Settings(data_dir=Path(sys.argv[1]), keep=POLICY)
print("begun", flush=True)
prune_data(settings, now=datetime.fromisoformat(sys.argv[2]))
print("done", flush=True)
"""


def test_a_pruning_that_is_killed_loses_nothing_and_goes_on(deployment, tmp_path):
    root = deployment.root
    expected = tmp_path / "expected"
    subprocess.run(["cp", "-a", root, expected], check=True)
    prune_data(Settings(data_dir=expected, keep=POLICY), now=deployment.now)
    needed = listing(expected)
    kills = 0
    for pause_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        command = [sys.executable, "-c", KILLED, str(root), deployment.now.isoformat()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begun\n"
            time.sleep(pause_s)
            process.send_signal(signal.SIGKILL)
            kills += process.stdout.readline() == ""
        there = listing(root)
        tables = {p: s for p, s in needed.items() if not p.startswith("cache/")}
        assert all(there.get(path) == size for path, size in tables.items())
        pictures = {p for p in needed if p.startswith("cache/images/")}
        assert pictures <= there.keys()
        items = content_cache.read_cached(root, "codes", ENCODER, _codes_schema())
        assert set(deployment.frame["item_id"]) <= set(items["item_id"].to_pylist())
    assert kills
    prune_data(deployment.settings, now=deployment.now)
    for path in atomic.find_abandoned(root / "products", -1.0):
        atomic.remove_abandoned(path)
    assert {p for p in listing(root) if ".gone-" not in p} == needed.keys()


def _codes_schema():
    from wearalike.encoding.encoders import CODE_CACHE_SCHEMA

    return CODE_CACHE_SCHEMA


def test_disk_is_told_by_kind(season):
    usage = measure_disk(season.root)
    assert {
        DiskKind.PICTURES,
        DiskKind.RUNS,
        DiskKind.CANDIDATES,
        DiskKind.WAREHOUSE,
    } <= usage.keys()
    assert sum(u.bytes for u in usage.values()) == sum(listing(season.root).values())
    images = list((season.root / "cache" / "images").glob("??/*"))
    assert usage[DiskKind.PICTURES].files == len(images)
    assert usage[DiskKind.PICTURES].bytes == 500 * len(images)
    assert [describe_bytes(n) for n in (0, 999, 1_000, 1_234_567, 23_000_000_000)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "23 GB",
    ]


def test_the_command_says_what_goes_and_the_end_of_a_run_needs_a_policy(deployment, capsys, caplog):
    caplog.set_level("INFO")
    config = deployment.root.with_name("wearalike.toml")
    text = f'data_dir = "{deployment.root}"\n'
    config.write_text(text)
    arguments = ["prune", "--config", str(config)]
    assert app.main([*arguments, "--if-set"]) == 0
    assert "nothing is pruned: the settings have no section [keep]" in caplog.text
    config.write_text(text + "[keep]\nruns_days = 9\nreports_days = -1\n")
    assert app.main(arguments) == 1
    assert "keep: reports_days: wanted" in caplog.text
    config.write_text(text + "[keep]\nruns_days = 9\nreports_days = 9\n")
    before = listing(deployment.root)
    assert app.main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    # The drawn nights lie years away from the clock, before or behind it.
    assert said.splitlines()[-1].startswith("would remove  in all")
    assert listing(deployment.root) == before
    with data_lock.use_data(deployment.root):
        assert app.main(arguments) == 1
        assert app.main([*arguments, "--if-set"]) == 0
    assert caplog.text.count("a run is at work on it") == 2
    assert app.main(arguments) == 0
    assert "removed  in all" in capsys.readouterr().out
