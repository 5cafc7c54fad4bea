"""A data folder in an object store: a real S3 server, an empty cache for every stage, kills, two
writers at once, readers while a table is published, and rotten files.
"""

import hashlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.support.kill import COMPARED_TABLES, assert_equal_tables
from tests.support.s3_server import KEY_ID, SECRET_KEY, S3Server, serve_s3

from wearalike import sample, tables
from wearalike.commands.prune_data import prune_by_policy
from wearalike.ops.check_object_store import check_object_store
from wearalike.ops.check_result import CheckStatus, Environment
from wearalike.ops.disk_usage import DiskKind
from wearalike.ops.retention import prune
from wearalike.pipeline import job, runner
from wearalike.pipeline.stages import STAGE_NAMES
from wearalike.quality import event_store
from wearalike.reports import run_feed
from wearalike.retention_settings import RetentionSettings
from wearalike.server.errors import add_exception_handlers
from wearalike.settings import BadSettings, Settings, read_settings
from wearalike.storage import atomic, content_cache, mirror, run_tables
from wearalike.storage.object_store import ObjectStore, StoreAway, StoreFault
from wearalike.storage_settings import StorageSettings
from wearalike.warehouse.base import open_warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "2026-11-21"
TABLE = tables.FEEDS


@pytest.fixture(scope="module")
def server():
    with serve_s3() as running:
        yield running


@pytest.fixture(autouse=True)
def undisturbed(server):
    yield
    server.on_request = lambda method, path: None
    server.ignores_conditions = False


@pytest.fixture
def open_cache(tmp_path, server):
    """Opens caches of one empty store: each is another machine's."""

    def open_one(name: str) -> Path:
        place = StorageSettings(
            url=server.url(f"{tmp_path.name}/data"), endpoint=server.endpoint, retry_s=1.0
        )
        mirror.open_cache(tmp_path / name, place)
        return tmp_path / name

    return open_one


def feed_rows(count: int, shop: str = "lipa") -> pa.Table:
    row = {"shop_id": shop, "status": "fresh", "offers_count": count, "written_count": count}
    filled = {f.name: row.get(f.name) for f in TABLE.arrow_schema}
    for column in TABLE.columns:
        if not column.nullable and filled[column.name] is None:
            is_text = pa.types.is_string(TABLE.arrow_schema.field(column.name).type)
            filled[column.name] = "" if is_text else 0
    return pa.Table.from_pylist([filled], TABLE.arrow_schema)


def write_feeds(root: Path, count: int, signature: str = "", shop: str = "lipa") -> None:
    with run_tables.write_table(root, TABLE, RUN, signature or f"of {count}") as writer:
        writer.write(feed_rows(count, shop))


def read_count(root: Path) -> int:
    return run_tables.read_table(root, TABLE, RUN)["offers_count"].to_pylist()[0]


def write_settings(folder: Path, server: S3Server, prefix: str, address: str, cache: Path) -> Path:
    config = folder / "wearalike.toml"
    sample.write_settings(config, address, server.url(prefix), REPOSITORY / "mappings")
    text = config.read_text(encoding="utf-8")
    config.write_text(
        f'warehouse = "duckdb:{folder / "warehouse"}"\n{text}\n[storage]\n'
        f'endpoint = "{server.endpoint}"\ncache = "{cache}"\nretry_s = 2.0\n',
        encoding="utf-8",
    )
    return config


@pytest.fixture(scope="module")
def stored_night(tmp_path_factory, server, serve_shops) -> Path:
    """The night of the sample shops, each stage on a machine that has nothing; its settings."""
    folder = tmp_path_factory.mktemp("stored")
    with serve_shops(1) as address:
        for number, stage in enumerate(STAGE_NAMES):
            cache = folder / f"machine-{number}"
            config = write_settings(folder, server, "night", address, cache)
            assert runner.run_stage(stage, ["--run", "day-1", "--config", str(config)]) == 0, stage
            shutil.rmtree(cache)
    return config


def test_the_night_on_s3_equals_the_night_in_a_folder(stored_night, night, server):
    root = job.read_settings(stored_night).data_dir
    assert_equal_tables(root, night / "root", "day-1")
    for table in COMPARED_TABLES:
        files = [
            {
                name: digest
                for name, digest in run_tables.read_manifest(r, table, "day-1")["files"].items()
                if name.startswith("part-")
            }
            for r in (root, night / "root")
        ]
        assert files[0] == files[1], table.name
        run_tables.check_files(root, table, "day-1")
    puts = [path for method, path in server.requests if method in ("PUT", "POST")]
    pictures = len(pc.unique(run_tables.read_table(root, tables.IMAGES, "day-1")["image_id"]))
    assert 0 < sum("/pictures/" in path for path in puts) < pictures / 10


def test_a_stage_on_a_new_machine_finds_its_work_done(stored_night, server, caplog):
    shutil.rmtree(job.read_settings(stored_night).data_dir)
    server.requests.clear()
    with caplog.at_level(logging.INFO, "wearalike"):
        assert runner.run_stage("encode_items", ["--run=day-1", f"--config={stored_night}"]) == 0
    assert "codes: up to date" in caplog.text
    assert not [path for method, path in server.requests if method == "PUT"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "wearalike"):
        options = ["--run=day-1", f"--config={stored_night}", "--force"]
        assert runner.run_stage("encode_items", options) == 0
    assert "codes, 0 new" in caplog.text, "the codes of another machine were not found"
    assert f"{KEY_ID}" not in caplog.text and SECRET_KEY not in caplog.text


def test_records_of_two_machines_at_once_both_stand(stored_night, server, tmp_path):
    settings = read_settings(stored_night, {})
    root, other = settings.data_dir, tmp_path / "other"
    state = open_warehouse(settings.warehouse).state()
    mirror.open_cache(root, settings.storage)
    mirror.open_cache(other, settings.storage)
    run_feed.record_unpublished(root, "day-1", "not yet")

    def record_meanwhile(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("reports/runs.jsonl"):
            server.on_request = lambda method, path: None
            run_feed.record_publications(other, replace(state, publications=()))

    server.on_request = record_meanwhile
    run_feed.record_unpublished(root, "day-1", "a test")
    record = run_feed.read_run_log(root / "reports" / "runs.jsonl")["day-1"]
    assert (record["is_published"], record["not_published"]) == (False, "a test")


def test_events_outlive_the_cache(stored_night, tmp_path):
    settings = read_settings(stored_night, {})
    pair = run_tables.read_table(settings.data_dir, tables.SIMILAR_PRODUCTS, "day-1").to_pylist()[0]
    event = {
        "kind": "click",
        "occurred_at": datetime.now(UTC).isoformat(),
        "run": "day-1",
        "event_id": "one",
        **{name: pair[name] for name in ("product_id", "similar_product_id")},
    }
    state = open_warehouse(settings.warehouse).state()
    for name, count in (("a.jsonl", 1), ("b.jsonl", 0)):
        # A file of each day; the second repeats the event, and has a row that is refused.
        (tmp_path / name).write_text(f"{json.dumps(event)}\n" + "{\n" * (1 - count))
        root = tmp_path / f"cache-of-{name}"
        mirror.open_cache(root, settings.storage)
        loaded = event_store.load_event_file(root, state, tmp_path / name, datetime.now(UTC))
        assert loaded.is_new and loaded.events_count == count
    mirror.open_cache(tmp_path / "third", settings.storage)
    assert event_store.open_events(tmp_path / "third").count_rows() == 1
    assert len(list((tmp_path / "third" / "events" / "refused").iterdir())) == 1


def test_rotten_files_of_the_cache_are_healed(stored_night, caplog):
    root = job.read_settings(stored_night).data_dir
    rows = run_tables.read_table(root, tables.IMAGES, "day-1")
    part = run_tables.table_dir(root, tables.IMAGES, "day-1") / "part-00000.parquet"
    part.write_bytes(b"rotten" + part.read_bytes()[6:])
    image_id = rows["image_id"][0].as_py()
    content = content_cache.read_image(root, image_id)
    content_cache.image_path(root, image_id).write_bytes(content[:-1] + b"!")
    assert run_tables.read_table(root, tables.IMAGES, "day-1").equals(rows)
    assert f"{part}: its bytes have changed; it is fetched again" in caplog.text
    assert content_cache.read_image(root, image_id) == content
    assert content_cache.is_stored_image(root, image_id)


_KILLED_WRITER = """
import sys
from pathlib import Path
from tests.storage.test_object_storage import write_feeds
write_feeds(Path(sys.argv[1]), 7)
"""


@pytest.mark.parametrize("killed_at", ["tables", "manifests"])
def test_a_writer_killed_in_mid_upload_leaves_nothing_readable(open_cache, server, killed_at):
    writer, reader = open_cache("writer"), open_cache("reader")
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED_WRITER, str(writer)], cwd=REPOSITORY, start_new_session=True
    )

    def kill(method: str, path: str) -> int | None:
        if method == "PUT" and f"/data/{killed_at}/" in path and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return 500
        return None

    server.on_request = kill
    assert process.wait(timeout=120) == -signal.SIGKILL
    open_cache("reader")
    assert not run_tables.is_complete(reader, TABLE, RUN)
    assert run_tables.list_runs(reader, TABLE) == []
    unnamed = mirror.find_mirror(reader).list_unnamed()
    assert bool(unnamed) is (killed_at == "manifests")
    server.on_request = lambda method, path: None
    write_feeds(open_cache("writer"), 7)
    assert read_count(open_cache("reader")) == 7
    assert mirror.find_mirror(reader).list_unnamed() == []


def test_of_two_writers_at_once_one_table_is_left(open_cache):
    for turn in range(3):
        roots = [open_cache(name) for name in ("one", "other")]
        start, outcomes = threading.Barrier(2), {}

        def write(number: int, roots=roots, start=start, outcomes=outcomes, turn=turn) -> None:
            try:
                with run_tables.write_table(roots[number], TABLE, RUN, f"{turn} {number}") as table:
                    table.write(feed_rows(10 * turn + number))
                    start.wait(30)
                outcomes[number] = "won"
            except atomic.Superseded:
                outcomes[number] = "lost"

        writers = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join(60)
        assert sorted(outcomes.values()) == ["lost", "won"]
        winner = next(number for number, outcome in outcomes.items() if outcome == "won")
        for name in ("one", "other", "third"):
            assert read_count(open_cache(name)) == 10 * turn + winner


def test_a_second_writer_of_equal_inputs_takes_the_first_ones_table(open_cache, caplog):
    one, other = open_cache("one"), open_cache("other")
    caplog.set_level(logging.INFO, "wearalike")
    with run_tables.write_table(other, TABLE, RUN, "same") as table:
        table.write(feed_rows(5, "other"))
        write_feeds(one, 5, "same", "first")
    assert "another writer finished it first; its table is taken" in caplog.text
    for root in (one, other):
        assert run_tables.read_table(root, TABLE, RUN)["shop_id"].to_pylist() == ["first"]


def test_readers_see_the_old_table_or_the_new_one(open_cache, server):
    writer, reader = open_cache("writer"), open_cache("reader")
    write_feeds(writer, 1)
    open_cache("reader")
    seen = []

    def read_meanwhile(method: str, path: str) -> None:
        if method == "PUT":
            # A machine that comes now, and one that has read the manifest but no file.
            server.on_request = lambda method, path: None
            seen.extend([read_count(open_cache(f"new-{len(seen)}"))])
            server.on_request = read_meanwhile

    server.on_request = read_meanwhile
    write_feeds(writer, 2)
    server.on_request = lambda method, path: None
    assert seen == [1, 1], "one PUT of the file, one of the manifest"
    assert read_count(reader) == 1, "its manifest is the old one, and so are its files"
    assert read_count(open_cache("reader")) == 2


def test_a_store_that_is_away_is_asked_again_and_then_the_stage_fails_clean(
    stored_night, open_cache, server, caplog, capfd
):
    root = open_cache("one")
    refusals = iter([503, 500])
    server.on_request = lambda method, path: next(refusals, None)
    write_feeds(root, 3)
    assert read_count(open_cache("other")) == 3 and next(refusals, None) is None
    server.on_request = lambda method, path: 503
    with pytest.raises(StoreAway, match="does not answer"):
        write_feeds(root, 4)
    caplog.clear()
    assert runner.run_stage("map_products", ["--run=day-1", f"--config={stored_night}"]) == 1
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "the store does not answer" in line and "\n" not in line
    server.on_request = lambda method, path: None
    assert read_count(open_cache("other")) == 3


def test_faults_are_one_sentence_without_credentials(server):
    missing = ObjectStore("s3://no-such-bucket/data", server.endpoint, 1.0)
    for ask in (lambda: missing.list("manifests/"), lambda: missing.create("k", b"1")):
        with pytest.raises(StoreFault, match=r"s3://no-such-bucket/data: no such bucket"):
            ask()
    server.on_request = lambda method, path: 403
    with pytest.raises(StoreFault, match="access denied") as caught:
        ObjectStore(server.url("x"), server.endpoint, 1.0).list("manifests/")
    for secret in (KEY_ID, SECRET_KEY):
        assert secret not in str(caught.value) and caught.value.__cause__ is None
    server.on_request = lambda method, path: None
    nobody = ObjectStore(server.url("x"), "http://127.0.0.1:9", 0.2)
    with pytest.raises(StoreAway, match="does not answer"):
        nobody.read("key")
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        nobody.write("key", Path("no-such-file"))
    app = FastAPI()
    add_exception_handlers(app)

    @app.get("/")
    def ask() -> None:
        nobody.read("key")

    answer = TestClient(app).get("/")
    assert answer.status_code == 503 and "object store" in answer.json()["detail"]


def test_the_doctor_checks_bucket_and_conditional_writes(server, tmp_path):
    def check(url: str) -> tuple[CheckStatus, str]:
        place = StorageSettings(url=url, endpoint=server.endpoint, retry_s=0.5)
        settings = Settings(data_dir=tmp_path, storage=place)
        (result,) = check_object_store(Environment(settings))
        return result.status, str(result)

    assert check(server.url("doctor"))[0] is CheckStatus.OK
    assert ObjectStore(server.url("doctor"), server.endpoint).list("doctor/") == []
    status, text = check("s3://no-such-bucket/x")
    assert status is CheckStatus.FAIL and "no such bucket" in text
    server.ignores_conditions = True
    status, text = check(server.url("doctor"))
    assert status is CheckStatus.FAIL and "although the request forbids it" in text
    server.ignores_conditions = False
    server.on_request = lambda method, path: 412 if method == "PUT" else None
    status, text = check(server.url("doctor"))
    assert status is CheckStatus.FAIL and "no other writer has written" in text


def put_pictures(root: Path, contents: list[bytes]) -> list[str]:
    ids = [hashlib.sha256(content).hexdigest() for content in contents]
    for image_id, content in zip(ids, contents, strict=True):
        content_cache.write_atomic(content_cache.image_path(root, image_id), content)
    content_cache.keep_images(root, ids)
    return ids


def test_pictures_come_out_of_packs_and_packs_shrink(open_cache, server, monkeypatch):
    monkeypatch.setattr("wearalike.storage.picture_packs.MAX_PACK_BYTES", 5000)
    root = open_cache("one")
    contents = [bytes([number]) * (500 + number) for number in range(16)]
    ids = put_pictures(root, contents)
    server.requests.clear()
    content_cache.keep_images(root, ids)
    assert server.requests == [], "pictures that are packed are not sent again"
    other = open_cache("other")
    packs = mirror.find_mirror(other).pictures
    keys = [facts.key for facts in packs.list_objects()]
    assert len(keys) == 4 and not any((other / "cache" / "images").glob("*/*"))
    server.requests.clear()
    content_cache.fetch_images(other, ids)
    assert [content_cache.read_image(other, i) for i in ids] == contents
    assert len(server.requests) == 2, "neighbours come in one request a pack"
    gone = pa.chunked_array([ids[:6]])
    assert packs.remove(gone) > 0
    left = open_cache("third")
    assert [content_cache.image_size_bytes(left, i) for i in ids[:6]] == [None] * 6
    assert [content_cache.read_image(left, i) for i in ids[6:]] == contents[6:]


def test_a_pack_without_index_is_no_pack(open_cache, server):
    root = open_cache("one")
    server.on_request = lambda method, path: 403 if path.endswith(".parquet") else None
    with pytest.raises(StoreFault):
        put_pictures(root, [b"a picture"])
    server.on_request = lambda method, path: None
    other = open_cache("other")
    image_id = hashlib.sha256(b"a picture").hexdigest()
    assert content_cache.image_size_bytes(other, image_id) is None
    assert [f.key[-4:] for f in mirror.find_mirror(other).list_unnamed()] == [".tar"]
    with pytest.raises(content_cache.LostImage):
        content_cache.read_image(other, image_id)


def test_a_picture_that_rots_on_one_disk_outlives_packing_anew(open_cache):
    root = open_cache("one")
    contents = [b"gone" * 200, b"kept" * 100]
    gone, kept = put_pictures(root, contents)
    reader = open_cache("reader")
    content_cache.image_path(root, kept).write_bytes(b"rotten" + contents[1][6:])
    assert mirror.find_mirror(root).pictures.remove(pa.chunked_array([[gone]])) > 0
    # The reader's index is older than the pack.
    assert content_cache.read_image(reader, kept) == contents[1]
    assert content_cache.image_size_bytes(reader, gone) is None


def test_a_picture_lost_in_the_store_is_downloaded_again(open_cache, caplog):
    contents = [b"a dress" * 50, b"a boot" * 50]
    ids = put_pictures(open_cache("one"), contents)
    reader = open_cache("reader")
    store = mirror.find_mirror(reader)
    (key,) = [f.key for f in store.pictures.list_objects() if f.key.endswith(".tar")]
    packed = store.store.read(key)[0]
    store.store.write(key, packed.replace(b"a boot", b"a root"))
    with pytest.raises(content_cache.LostImage):
        content_cache.read_image(reader, ids[1])
    assert f"1 pictures of {store.url}/pictures/ are lost or changed" in caplog.text
    for root in (reader, open_cache("third")):
        # By its size the ledger knows that the picture need not come again.
        assert content_cache.image_size_bytes(root, ids[1]) is None
        assert content_cache.read_image(root, ids[0]) == contents[0]
    content_cache.write_atomic(content_cache.image_path(reader, ids[1]), contents[1])
    content_cache.keep_images(reader, ids)
    assert content_cache.read_image(open_cache("fourth"), ids[1]) == contents[1]


def test_a_server_sees_rows_that_another_machine_adds_later(open_cache, server, monkeypatch):
    reader, writer = open_cache("reader"), open_cache("writer")
    rows = [pa.table({"item_id": [name]}) for name in "ab"]
    content_cache.cache_rows(writer, "descriptors", "v-1", rows[0])
    assert len(content_cache.cached_files(reader, "descriptors", "v-1")) == 1
    content_cache.cache_rows(writer, "descriptors", "v-1", rows[1])
    server.requests.clear()
    assert len(content_cache.cached_files(reader, "descriptors", "v-1")) == 1
    assert server.requests == [], "the store is not listed for each question"
    monkeypatch.setattr("wearalike.storage.stored_rows._MAX_AGE_S", 0.0)
    assert len(content_cache.cached_files(reader, "descriptors", "v-1")) == 2


def test_pruning_removes_runs_and_what_killed_writers_left(open_cache, tmp_path, server, caplog):
    root = open_cache("one")
    write_feeds(root, 1)
    (image_id,) = put_pictures(root, [b"an old picture" * 999])
    with run_tables.write_table(root, tables.MATCHES, RUN, "of candidates") as writer:
        (writer.path / "candidates").mkdir()
        (writer.path / "candidates" / "0.parquet").write_bytes(b"candidates")
    write_feeds(root, 2)  # over the first, whose files stay for readers
    store = mirror.find_mirror(root)
    assert len(store.list_unnamed()) == 1
    place = StorageSettings(url=store.url, endpoint=server.endpoint)
    settings = Settings(
        data_dir=root,
        storage=place,
        warehouse=f"duckdb:{tmp_path / 'warehouse'}",
        keep=RetentionSettings(runs_days=1, pictures_days=1),
    )
    server.on_request = lambda method, path: 503
    prune_by_policy(settings)
    assert "nothing is pruned: " in caplog.text and "does not answer" in caplog.text
    server.on_request = lambda method, path: None
    prune.prune_data(settings)
    assert len(store.list_unnamed()) == 1, "a writer of this hour may be about to name it"
    later = datetime.now(UTC) + timedelta(days=400)
    # A machine whose cache is empty prunes the store as well, and counts its own disk.
    empty = settings.model_copy(update={"data_dir": open_cache("empty")})
    report = prune.prune_data(empty, now=later, is_dry=True)
    kinds = {folder.kind: folder.run for folder in report.plan.folders}
    assert kinds[DiskKind.CANDIDATES] == RUN and report.plan.pictures.num_rows == 1
    assert report.bytes <= report.survey.total_bytes and report.unnamed.files == 1
    assert "in the store      1 objects" in "\n".join(prune.describe_report(report))
    prune.prune_data(settings, now=later)
    other = open_cache("other")
    assert store.list_unnamed() == [] and run_tables.list_runs(other, TABLE) == []
    assert content_cache.image_size_bytes(other, image_id) is None
    assert store.store.list("tables/") == [] and store.pictures.list_objects() == []


def test_of_two_promotions_at_once_one_is_kept_on_every_machine(open_cache, server):
    one, other = open_cache("one"), open_cache("other")
    mirror.find_mirror(one).files.put("models/encoder.json", b"{}", None)
    with pytest.raises(StoreFault, match="another machine has written it meanwhile"):
        mirror.find_mirror(other).files.put("models/encoder.json", b"[]", None)
    pointer = other / "models" / "encoder.json"
    open_cache("other")
    assert pointer.read_bytes() == b"{}"
    files = mirror.find_mirror(other).files
    server.requests.clear()
    files.fetch_models()
    assert len(server.requests) == 1, "models that are here are not fetched again"
    files.put("models/encoder.json", b"[1]", files.fetch("models/encoder.json"))
    open_cache("one")
    assert (one / "models" / "encoder.json").read_bytes() == b"[1]", "within the same second"


def test_a_table_that_is_made_during_a_refresh_stays(open_cache, server):
    one, other = open_cache("one"), open_cache("other")
    write_feeds(other, 1)

    def write_meanwhile(method: str, path: str) -> None:
        if method == "GET" and path.endswith(f"run={RUN}.json"):
            server.on_request = lambda method, path: None
            with run_tables.write_table(one, TABLE, "day-2", "of day 2") as writer:
                writer.write(feed_rows(2))

    server.on_request = write_meanwhile
    mirror.find_mirror(one).refresh()
    assert sorted(run_tables.list_runs(one, TABLE)) == sorted([RUN, "day-2"])


def test_settings_of_an_object_store(tmp_path):
    file = tmp_path / "wearalike.toml"
    file.write_text('data_dir = "s3://bucket/data"\nwarehouse = "duckdb:/srv/warehouse"\n')
    found = read_settings(file, {})
    assert found.storage.url == "s3://bucket/data" and found.data_dir == tmp_path / "cache"
    found = read_settings(file, {"WEARALIKE_DATA_DIR": "gs://other/data"})
    assert found.storage.url == "gs://other/data"
    for text, said in {
        'data_dir = "s3://bucket/data"': "warehouse is missing",
        'data_dir = "s3://key:hush@bucket"\nwarehouse = "duckdb:/w"': "has no user, password",
        'data_dir = "az://a/c?sig=hush"\nwarehouse = "duckdb:/w"': "has no user, password or token",
        'data_dir = "ftp://host/data"\nwarehouse = "duckdb:/w"': "s3://, gs:// or az://",
        'data_dir = "s3://bucket"\n[storage]\nurl = "s3://x"': "url",
        'data_dir = "gs://bucket"\n[storage]\nendpoint = "http://minio:9000"': "of the S3 API",
        'data_dir = "s3://bucket"\n[storage]\nretry_s = 0.0': "retry_s",
    }.items():
        file.write_text(text)
        with pytest.raises(BadSettings, match=said) as caught:
            read_settings(file, {})
        assert "hush" not in str(caught.value)


def test_a_cache_belongs_to_one_store(open_cache, server, tmp_path):
    root = open_cache("one")
    other = StorageSettings(url=server.url("another/data"), endpoint=server.endpoint)
    with pytest.raises(mirror.CacheTaken, match="the cache of"):
        mirror.open_cache(root, other)
    with pytest.raises(mirror.CacheTaken, match="name that as data_dir"):
        mirror.open_cache(root, StorageSettings())
    run_tables.table_dir(tmp_path / "own", TABLE, RUN).mkdir(parents=True)
    with pytest.raises(mirror.CacheTaken, match="tables of its own"):
        mirror.open_cache(tmp_path / "own", other)
    (root / mirror.MARKER).write_bytes(b"{rotten")
    with pytest.raises(mirror.CacheTaken, match="damaged; empty the folder"):
        open_cache("one")
