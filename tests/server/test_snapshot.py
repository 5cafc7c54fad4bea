"""Readers of what is published: one run an answer, the pointer followed at once,
any text that a shop writes.
"""

import itertools
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.support.change_settings import change
from tests.support.postgres_server import create_database, drop_warehouse, start_server
from tests.warehouse.test_warehouse import load, night

from wearalike import tables
from wearalike.server.snapshot import NotPublished, PublishedRepository
from wearalike.settings import Settings
from wearalike.warehouse.base import Unreachable, open_warehouse
from wearalike.warehouse.postgres import read as postgres_read

ODD_IDS = [
    "moda:a/b",
    "moda:100%",
    "moda:%2F",
    "moda:плащ 1",
    "moda:'; DROP TABLE products; --",
    'moda:"q"',
    "moda:a?b#c",
    "moda:😀",
]


@pytest.fixture(scope="module")
def postgres():
    with start_server() as address:
        yield address


@pytest.fixture(scope="module")
def shop(postgres) -> str:
    return create_database(postgres, "shop")


@pytest.fixture(params=["duckdb", "postgresql"])
def place(request, tmp_path) -> Settings:
    folder = f"duckdb:{tmp_path / 'warehouse'}"
    return Settings(
        data_dir=tmp_path / "root",
        warehouse=folder
        if request.param == "duckdb"
        else drop_warehouse(request.getfixturevalue("shop")),
    )


@pytest.fixture
def warehouse(place):
    return open_warehouse(place.warehouse)


@pytest.fixture
def published(place):
    made = PublishedRepository(place)
    yield made
    made.close()


def changed(parts: dict[str, pa.Table], table: str, **columns) -> dict[str, pa.Table]:
    """The parts with columns of a table replaced, each by a list of its values."""
    part = parts[table]
    for name, values in columns.items():
        part = part.set_column(
            part.schema.get_field_index(name),
            part.schema.field(name),
            pa.array(values, part.schema.field(name).type),
        )
    return parts | {table: part}


def test_nothing_published_is_a_state_of_its_own(published, warehouse):
    for _ in range(2):
        with pytest.raises(NotPublished, match="nothing is published yet"), published.snapshot():
            pass
    assert published.runs() == []
    load(warehouse, "r1", night("r1"))
    with pytest.raises(NotPublished), published.snapshot():
        pass
    assert [(run["run"], run["is_published"], run["published_at"]) for run in published.runs()] == [
        ("r1", False, None)
    ]


def test_what_is_published_of_a_product(published, warehouse):
    parts = night("r1", products=10)
    load(warehouse, "r1", parts)
    warehouse.publish("r1")
    with published.snapshot() as s:
        assert (s.run, s.publication) == ("r1", s.publication)
        product = s.product("moda:00002")
        (row,) = [p for p in parts["products"].to_pylist() if p["product_id"] == "moda:00002"]
        assert product == {**row, "image_url": "https://moda.example/r1.jpg"}
        similar = s.similar("moda:00002")
        rows = [r for r in parts["similar_products"].to_pylist() if r["product_id"] == "moda:00002"]
        assert [{name: r[name] for name in rows[0]} for r in similar] == rows and len(rows) == 3
        assert [r["product"]["product_id"] for r in similar] == [
            "moda:00003",
            "moda:00004",
            "moda:00005",
        ]
        assert similar[0]["product"]["title"] == "dress of r1" and similar[0]["product"][
            "image_url"
        ].endswith("r1.jpg")
        assert s.similar("moda:00002", 1) == similar[:1]
        assert s.similar_list("moda:00002")["similar_count"] == 3
        looks = [r for r in parts["look_products"].to_pylist() if r["product_id"] == "moda:00002"]
        assert (
            looks and [{name: r[name] for name in looks[0]} for r in s.look("moda:00002")] == looks
        )
        assert [r["product"]["product_id"] for r in s.look("moda:00002")] == [
            r["look_product_id"] for r in looks
        ]
        assert (
            s.look("moda:00003") == []
            and s.product("moda:9") is None
            and s.similar("moda:9") == []
            and s.similar_list("moda:9") is None
        )
        assert [m["value"] for m in s.quality("all")] == [10.0] and s.quality("shop=none") == []
        assert (
            set(s.products(["moda:00001", "moda:9", "moda:00004"])) == {"moda:00001", "moda:00004"}
            and s.products([]) == {}
        )
    assert published.quality_history("products_count") == [
        {"run": "r1", **parts["quality"].to_pylist()[0]}
    ]


def test_search_finds_all_words_in_any_case_a_page_at_a_time(published, warehouse):
    titles = ["Red DRESS", "red shoe", "ПЛАТЬЕ красное", "100% linen", "dress, red_hot", "blue"]
    parts = changed(
        night("r1"), "products", title=titles, brand=["Lipa", None, "lipa", None, None, "Дом"]
    )
    parts = changed(
        parts,
        "products",
        category=["women.dresses.midi", "women.dresses", "women.dressesx", "men", "men", "men"],
    )
    load(warehouse, "r1", parts)
    warehouse.publish("r1")

    def search_numbers(*words, **bounds):
        with published.snapshot() as s:
            return [int(row["product_id"][-1]) for row in s.search(*words, **bounds)]

    assert (
        search_numbers("dress RED") == [0, 4]
        and search_numbers("платье") == [2]
        and search_numbers("LIPA") == [0, 2]
        and search_numbers("дом Blue") == [5]
    )
    assert (
        search_numbers("100%") == [3]
        and search_numbers("red_") == [4]
        and search_numbers("%") == [3]
        and search_numbers("00003") == [3]
        and search_numbers("'") == search_numbers("a\0b") == []
    )
    assert (
        search_numbers() == [0, 1, 2, 3, 4, 5]
        and search_numbers(category="women.dresses") == [0, 1]
        and search_numbers("red", shop="moda") == [0, 1, 4]
    )
    assert search_numbers(shop="x") == search_numbers(
        super_category="bags"
    ) == [] and search_numbers("blue " * 30) == [5]
    seen, after = [], None
    with published.snapshot() as s:
        while page := s.search("", limit=4, after=after):
            seen += [row["product_id"] for row in page]
            after = seen[-1]
    assert seen == [f"moda:{n:05}" for n in range(6)]


def test_any_id_that_a_shop_writes_is_found(published, warehouse):
    parts = night("r1", products=len(ODD_IDS))
    names = dict(zip(parts["products"]["product_id"].to_pylist(), ODD_IDS, strict=True))
    for table, *columns in (
        ("products", "product_id"),
        ("similar_products", "product_id", "similar_product_id"),
        ("similar_lists", "product_id"),
    ):
        parts = changed(
            parts, table, **{c: [names[v] for v in parts[table][c].to_pylist()] for c in columns}
        )
    load(warehouse, "r1", parts)
    warehouse.publish("r1")
    with published.snapshot() as s:
        for odd, after in zip(ODD_IDS, ODD_IDS[1:] + ODD_IDS[:1], strict=True):
            assert (
                s.product(odd)["product_id"] == odd
                and s.similar(odd)[0]["product"]["product_id"] == after
            )
            assert odd in [row["product_id"] for row in s.search(odd)]
        assert s.product("moda:a\0b") is None and s.products(["\0"]) == {}


def test_the_pointer_is_followed_at_once(published, warehouse):
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    signatures = set()
    for move, run in (
        (lambda: warehouse.publish("r2"), "r2"),
        (warehouse.rollback, "r1"),
        (lambda: warehouse.publish("r2"), "r2"),
    ):
        with published.snapshot() as before:
            move()  # not held up by a reader, and not seen by it
            assert (
                before.product("moda:00001")["title"]
                == f"dress of {before.run}"
                != f"dress of {run}"
            )
        start = time.monotonic()
        with published.snapshot() as s:
            assert (s.run, s.product("moda:00001")["title"]) == (run, f"dress of {run}")
            signatures.add((s.run, s.publication.published_at))
        assert time.monotonic() - start < 1
    assert len(signatures) == 3
    assert [(r["run"], r["is_published"]) for r in published.runs()] == [
        ("r2", True),
        ("r1", False),
    ]


def test_a_run_that_is_loaded_again_is_seen_anew(published, warehouse):
    load(warehouse, "r1", night("r1"), "one")
    warehouse.publish("r1")
    with published.snapshot() as s:
        assert (s.signature, s.product("moda:00001")["title"]) == ("one", "dress of r1")
    load(warehouse, "r1", night("other"), "two")
    warehouse.publish("r1")
    with published.snapshot() as s:
        assert (s.run, s.signature, s.product("moda:00001")["title"]) == (
            "r1",
            "two",
            "dress of other",
        )


def test_readers_in_flight_never_see_two_runs(published, warehouse):
    for run in ("r1", "r2"):
        load(warehouse, run, night(run, products=40, similar=20), run)
    warehouse.publish("r1")
    stop, mixed, counts = threading.Event(), [], {"r1": 0, "r2": 0}

    def read():
        for n in itertools.count():
            if stop.is_set():
                return
            with published.snapshot() as s:
                titles = {row["product"]["title"] for row in s.similar(f"moda:{n % 40:05}")} | {
                    row["title"] for row in s.search("dress")
                }
                if titles != {f"dress of {s.run}"} or s.signature != s.run:
                    mixed.append((s.run, s.signature, titles))
                counts[s.run] += 1

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for move in range(16):
            warehouse.publish("r2") if move % 2 == 0 else warehouse.rollback()
            time.sleep(0.03)
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert mixed == [] and not any(reader.is_alive() for reader in readers)
    assert min(counts.values()) >= 5, counts


def test_a_file_is_let_go_of_when_nobody_reads_it_any_more(tmp_path):
    place = Settings(data_dir=tmp_path, warehouse=f"duckdb:{tmp_path / 'warehouse'}")
    warehouse, published = open_warehouse(place.warehouse), PublishedRepository(place)
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
        warehouse.publish(run)

    def held() -> list[str]:
        links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists()]
        return sorted(
            {
                link.name
                for link in links
                if link.suffix == ".duckdb" and link.is_relative_to(tmp_path)
            }
        )

    with published.snapshot() as before:
        warehouse.rollback()
        with published.snapshot() as s:
            assert (before.run, s.run, held()) == ("r2", "r1", ["r1.duckdb", "r2.duckdb"])
        assert before.product("moda:00001")
    assert held() == ["r1.duckdb"]
    published.close()
    assert held() == []


def test_a_file_of_an_earlier_version_is_read_after_an_upgrade(tmp_path):
    place = Settings(data_dir=tmp_path, warehouse=f"duckdb:{tmp_path / 'warehouse'}")
    warehouse = open_warehouse(place.warehouse)
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")
    with duckdb.connect(Path(tmp_path / "warehouse" / "runs" / "r1.duckdb")) as con:
        for (view,) in con.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall():
            con.execute(f"DROP VIEW {view}")
        con.execute("DROP TABLE look_products; DROP TABLE product_variants")
        con.execute("DROP TABLE list_variants; DROP TABLE similar_products_variants")
        columns = con.execute(
            "SELECT table_name, list(column_name) FROM duckdb_columns() "
            "WHERE NOT internal GROUP BY 1"
        ).fetchall()
        for name, present in columns:
            changed = [c for c in ("reason", "kind_weight", "patterns") if c in present]
            left = f"* EXCLUDE ({', '.join(changed)})" if changed else "*"
            con.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {left} FROM {name}")
        for name, names in tables.RENAMED_COLUMNS.items():
            for old, new in names.items() if name != "look_products" else ():
                con.execute(f"ALTER TABLE {name} RENAME COLUMN {new} TO {old}")
        for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            con.execute(f"CREATE VIEW current_{name} AS SELECT * FROM {name}")
    published = PublishedRepository(place)
    with published.snapshot() as s:
        assert s.look("moda:00002") == [] and s.variants("moda:00002") == []
        assert s.list_variants() == []
        listed = s.similar("moda:00002")
        assert len(listed) == 3 and {row["reason"] for row in listed} == {""}
        assert {row["kind_weight"] for row in listed} == {0}
        product = s.product("moda:00002")
        assert product["patterns"] is None and product["shape_weight"] > 0
    published.close()
    for query, wanted in (
        ("SELECT count(*) FROM similar_products WHERE reason = '' AND kind_weight = 0", 6),
        ("SELECT count(*) FROM current_products WHERE patterns IS NULL AND colour_weight > 0", 6),
        ("SELECT count(*) FROM product_variants", 0),
    ):
        ((found,),) = [row.values() for row in warehouse.query(query)]
        assert found >= wanted if wanted else found == 0, query


def test_a_server_that_is_away_is_said_and_comes_back(shop, tmp_path, monkeypatch):
    import psycopg

    monkeypatch.setattr(postgres_read, "WAIT_S", 0.5)
    place = Settings(data_dir=tmp_path, warehouse=drop_warehouse(shop))
    warehouse, published = open_warehouse(place.warehouse), PublishedRepository(place)
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")
    with published.snapshot() as s:
        assert s.run == "r1"
    with psycopg.connect(shop, autocommit=True) as con:
        con.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop' "
            "AND pid <> pg_backend_pid()"
        )
    with published.snapshot() as s:
        assert s.product("moda:00001")
    published.close()
    away = PublishedRepository(change(place, warehouse="postgresql://me:secret@127.0.0.1:1/shop"))
    with pytest.raises(Unreachable) as told, away.snapshot():
        pass
    assert "secret" not in str(told.value)
    away.close()


def test_a_reader_s_connections_cannot_write(shop, tmp_path):
    published = PublishedRepository(Settings(data_dir=tmp_path, warehouse=drop_warehouse(shop)))
    open_warehouse(shop).state()
    with pytest.raises(Exception, match="read-only"), published._reader._transaction() as con:
        con.execute("CREATE TABLE mine (x int)")
    published.close()
