from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from tests.support.postgres_server import (
    create_database,
    drop_warehouse,
    start_restartable_server,
    start_server,
)

from wearalike import tables
from wearalike.tables import JUDGEMENTS, PRODUCTS, PUBLISHED_TABLES, QUALITY, SIMILAR_PRODUCTS
from wearalike.warehouse.base import (
    PublicationKind,
    Rejected,
    Unreachable,
    Warehouse,
    open_warehouse,
    read_warehouse_table,
)
from wearalike.warehouse.duckdb import load as duckdb_room
from wearalike.warehouse.loaded_rows import current_view_ddl
from wearalike.warehouse.postgres import migrations
from wearalike.warehouse.reader import open_reader

SQL = Path(__file__).parents[2] / "sql"
SITE = (SQL / "site_similar_products.sql").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def postgres():
    with start_server() as address:
        yield address


@pytest.fixture(scope="module")
def shop(postgres) -> str:
    return create_database(postgres, "shop")


@pytest.fixture(params=["duckdb", "postgresql"])
def address(request, tmp_path) -> str:
    """The address of an empty warehouse of each engine."""
    if request.param == "duckdb":
        return f"duckdb:{tmp_path / 'warehouse'}"
    return drop_warehouse(request.getfixturevalue("shop"))


@pytest.fixture
def warehouse(address) -> Warehouse:
    return open_warehouse(address)


def night(run: str, products: int = 6, similar: int = 3) -> dict[str, pa.Table]:
    """The published tables of a run: each product recommends the `similar` ones after it; every
    fifth is out of stock.
    """
    ids = [f"moda:{n:05}" for n in range(products)]
    product = {
        "shop_id": "moda",
        "title": f"dress of {run}",
        "url": "https://moda.example/p",
        "category_ids": ["1", "2"],
        "category_paths": [],
        "price_cents": 199_900,
        "currency": "RUB",
        "gender": "female",
        "age_group": "adult",
        "colours": ["red"],
        "colour_names": ["red"],
        "sizes": [],
        "materials": [],
        "image_urls": [f"https://moda.example/{run}.jpg"],
        "related_offer_ids": ["00001"],
        "category": "women.dresses.midi",
        "super_category": "full_body",
        "shape_weight": 2,
        "colour_weight": 8,
        "kind_weight": 5,
    }
    distances = {
        "shape_distance": 3,
        "colour_distance": 4,
        "shape_weight": 2,
        "colour_weight": 8,
        "shape_score": 0.9,
        "colour_score": 0.8,
        "kind_distance": 0,
        "colour_name_distance": 0,
        "kind_weight": 5,
        "kind_score": 1.0,
        "reason": "same kind, same colour, shape much alike",
        "reason_ru": "тот же вид, тот же цвет, форма очень похожа",
    }
    codes = {"item_id": "a", "similar_item_id": "b", "detector": "whole", "encoder": "imagenet-itq"}
    found = {
        "products": [
            {
                **product,
                "product_id": i,
                "offer_id": i[5:],
                "availability": "out_of_stock" if n % 5 == 4 else "in_stock",
            }
            for n, i in enumerate(ids)
        ],
        "product_variants": [
            {
                "product_id": i,
                "article_id": ids[0],
                "rank": rank,
                "variants_count": 2,
                "shop_id": "moda",
                "colour_names": ["red"],
                "colours": ["red"],
                "sizes": [f"{40 + 2 * rank} RU"],
                "availability": "in_stock",
            }
            for rank, i in enumerate(ids[:2], 1)
        ],
        "similar_products": [
            {
                "product_id": i,
                "rank": k,
                "similar_product_id": ids[(n + k) % products],
                "score": 1 - k / 100,
                **distances,
                **codes,
            }
            for n, i in enumerate(ids)
            for k in range(1, similar + 1)
        ],
        "similar_lists": [
            {
                "product_id": i,
                "similar_count": similar,
                "shortfall_reason": "few_products",
                "item_id": "a",
            }
            for i in ids
        ],
        "look_products": [
            {
                "product_id": i,
                "super_category": "foot_wear",
                "rank": 1,
                "look_product_id": ids[(n + 2) % products],
                "score": 0.75,
                "source": "worn",
                "worn_with_product_id": i,
            }
            | {
                **distances,
                "image_id": "c",
                "item_id": "a",
                "look_item_id": "b",
                "detector": "garments",
                "encoder": "imagenet-itq",
            }
            | {"x0": 10, "y0": 20, "x1": 30, "y1": 40}
            for n, i in enumerate(ids)
            if n % 2 == 0
        ],
        "quality": [
            {
                "metric": "products_count",
                "scope": "all",
                "value": float(products),
                "unit": "count",
                "verdict": "ok",
            }
        ],
    }
    return {
        t.name: pa.Table.from_pylist(found[t.name], schema=t.arrow_schema) for t in PUBLISHED_TABLES
    }


def load(warehouse: Warehouse, run: str, parts: dict[str, pa.Table], signature: str = "s"):
    counts = {name: part.num_rows for name, part in parts.items()}
    return warehouse.load(
        run, {name: ds.dataset(part) for name, part in parts.items()}, counts, signature
    )


def expected(run: str, table: tables.Table, part: pa.Table) -> pa.Table:
    keyed = part.sort_by([(name, "ascending") for name in table.key])
    return keyed.add_column(
        0,
        pa.field("run", pa.string(), nullable=False),
        pa.array([run] * part.num_rows, pa.string()),
    )


def assert_holds(warehouse: Warehouse, run: str, parts: dict[str, pa.Table]) -> None:
    for table in PUBLISHED_TABLES:
        assert parts[table.name].num_rows
        assert read_warehouse_table(warehouse, run, table).equals(
            expected(run, table, parts[table.name])
        ), table.name


def test_what_people_do_is_recorded_beside_the_runs(warehouse):
    pair = {
        "judge": "anna",
        "product_id": "moda:1",
        "similar_product_id": "moda:2",
        "category": "women.dresses.midi",
    }
    pair |= {"rank": 1, "score": 0.5, "judged_at": "2026-11-21"}
    warehouse.record("r1", JUDGEMENTS, [])
    assert warehouse.query("SELECT * FROM judgements") == []
    warehouse.record(
        "r1",
        JUDGEMENTS,
        [{**pair, "verdict": "alike"}, {**pair, "judge": "boris", "verdict": "unsure"}],
    )
    warehouse.record("r1", JUDGEMENTS, [{**pair, "verdict": "not_alike"}])
    for run in ("r1", "r2", "r3"):
        load(warehouse, run, night(run))
        warehouse.publish(run)
    warehouse.prune(1)
    warehouse.record("r2", JUDGEMENTS, [{**pair, "verdict": "alike"}])
    found = warehouse.query("SELECT * FROM judgements ORDER BY run, judge")
    assert found == [
        {"run": "r1", **pair, "verdict": "not_alike"},
        {"run": "r1", **pair, "judge": "boris", "verdict": "unsure"},
        {"run": "r2", **pair, "verdict": "alike"},
    ]
    assert warehouse.query("SELECT * FROM photo_queries") == []


def test_a_loaded_run_is_whole_and_shows_only_when_published(warehouse):
    parts = night("r1")
    made = load(warehouse, "r1", parts, "sign")
    assert (made.run, made.signature, made.struck_count) == ("r1", "sign", 0)
    assert made.counts == {
        "products": 6,
        "product_variants": 2,
        "similar_products": 18,
        "similar_lists": 6,
        "look_products": 3,
        "quality": 1,
    }
    assert warehouse.state().loads == (made,)
    assert_holds(warehouse, "r1", parts)
    assert warehouse.state().published_run is None
    for table in PUBLISHED_TABLES:
        assert warehouse.query(f"SELECT * FROM current_{table.name}") == []
    assert str(warehouse.publish("r1")) == "r1, before it nothing"
    for table in PUBLISHED_TABLES:
        assert (
            len(warehouse.query(f"SELECT * FROM current_{table.name}"))
            == parts[table.name].num_rows
        )
    (entry,) = warehouse.query("SELECT * FROM publications")
    assert (entry["run"], entry["kind"], entry["note"]) == ("r1", "publish", None)
    assert entry["published_at"].utcoffset().total_seconds() == 0
    assert abs(time.time() - entry["published_at"].timestamp()) < 60


def hostile() -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """A run with texts that break naive loaders, and what a warehouse is to hold of it."""
    dirty, wanted = night("x", 8), night("x", 8)
    texts = [
        "платье «миди»",
        "it's \"5\\' ,;\t",
        "a\n\\.\r\nb",
        "",
        "\\N",
        "NULL",
        "x" * 1_000_000,
        "👗\u202e",
    ]
    lists = [
        ["a,b", '"q"', "\\", "{}"],
        [],
        ["", "NULL", " x "],
        ["ё\n"],
        ["c'd"],
        ["}"],
        ["{"],
        ["\\."],
    ]
    for parts in (dirty, wanted):
        products = parts["products"]
        products = products.set_column(
            products.schema.get_field_index("title"), products.schema.field("title"), [texts]
        )
        products = products.set_column(
            products.schema.get_field_index("brand"),
            products.schema.field("brand"),
            [[None, *texts[1:]]],
        )
        parts["products"] = products.set_column(
            products.schema.get_field_index("sizes"),
            products.schema.field("sizes"),
            [pa.array(lists, PRODUCTS.arrow_schema.field("sizes").type)],
        )
        cents = pa.array([None, 2**63 - 1, -(2**63), 0, 1, None, 256, 2**32], pa.int64())
        products = parts["products"]
        at = products.schema.get_field_index("old_price_cents")
        parts["products"] = products.set_column(at, products.schema.field(at), [cents])
        scores = [
            0.1 + 0.2,
            1 / 3,
            5e-324,
            1.7976931348623157e308,
            -0.0,
            1e-7,
            123456789.12345679,
            1.0,
        ] * 3
        similar = parts["similar_products"]
        parts["similar_products"] = similar.set_column(
            similar.schema.get_field_index("score"), similar.schema.field("score"), [scores]
        )
    half = pa.Array.from_buffers(
        pa.string(), 8, [None, *_text_buffers([b"a\xed\xa0\x80b", b"nul\0", *[b"ok"] * 6])]
    )
    for parts, text in ((dirty, half), (wanted, pa.array(["ab", "nul", *["ok"] * 6]))):
        products = parts["products"]
        products = products.set_column(
            products.schema.get_field_index("description"),
            products.schema.field("description"),
            [text],
        )
        spoilt = [["u\0v", "w"], *[["w"]] * 7] if parts is dirty else [["uv", "w"], *[["w"]] * 7]
        parts["products"] = products.set_column(
            products.schema.get_field_index("colours"),
            products.schema.field("colours"),
            [pa.array(spoilt, PRODUCTS.arrow_schema.field("colours").type)],
        )
    return dirty, wanted


def _text_buffers(values: list[bytes]) -> list[pa.Buffer]:
    return pa.array(values, pa.binary()).buffers()[1:]


def test_both_engines_hold_identical_rows(tmp_path, postgres):
    dirty, wanted = hostile()
    both = [
        open_warehouse(f"duckdb:{tmp_path / 'w'}"),
        open_warehouse(create_database(postgres, "identical")),
    ]
    for warehouse in both:
        made = load(warehouse, "x", dirty)
        assert made.struck_count == 3
        assert_holds(warehouse, "x", wanted)
    for table in PUBLISHED_TABLES:
        held = [read_warehouse_table(warehouse, "x", table) for warehouse in both]
        assert held[0].num_rows and held[0].equals(held[1])
    signs = [
        math.copysign(1, r["score"])
        for w in both
        for r in w.query("SELECT score FROM similar_products WHERE score = 0")
    ]
    assert signs == [-1.0] * 6


def test_a_slice_of_a_table_loads_its_own_rows(warehouse):
    parts = {name: part.slice(part.num_rows // 2) for name, part in night("r1", 8).items()}
    parts["products"] = hostile()[1]["products"].slice(3)
    load(warehouse, "r1", parts)
    assert_holds(warehouse, "r1", parts)


def test_an_empty_table_loads(warehouse):
    parts = night("r1") | {"similar_products": SIMILAR_PRODUCTS.arrow_schema.empty_table()}
    assert load(warehouse, "r1", parts).counts["similar_products"] == 0
    assert read_warehouse_table(warehouse, "r1", SIMILAR_PRODUCTS).equals(
        expected("r1", SIMILAR_PRODUCTS, parts["similar_products"])
    )
    load(warehouse, "r1", parts)  # an empty partition is found and replaced too
    load(warehouse, "r1", night("r1"))
    assert_holds(warehouse, "r1", night("r1"))


def test_loading_again_replaces(warehouse):
    load(warehouse, "r1", night("r1"), "one")
    warehouse.publish("r1")
    load(warehouse, "r1", night("r1", 9), "two")
    assert [(made.run, made.signature) for made in warehouse.state().loads] == [("r1", "two")]
    assert_holds(warehouse, "r1", night("r1", 9))
    assert len(warehouse.query("SELECT * FROM current_products")) == 9
    assert warehouse.state().published_run == "r1"


@pytest.mark.parametrize("fault", ["duplicate key", "null", "count", "broken file"])
def test_a_refused_load_leaves_everything_as_it_was(warehouse, fault, tmp_path):
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")
    before = warehouse.state()
    parts = night("r1", 9)
    datasets = {name: ds.dataset(part) for name, part in parts.items()}
    counts = {name: part.num_rows for name, part in parts.items()}
    if fault == "duplicate key":
        datasets["similar_lists"], counts["similar_lists"] = (
            ds.dataset(pa.concat_tables([parts["similar_lists"]] * 2)),
            18,
        )
    elif fault == "null":
        column = pa.array([None] * 9, pa.string())
        datasets["products"] = ds.dataset(
            parts["products"].set_column(0, PRODUCTS.arrow_schema.field(0), [column])
        )
    elif fault == "count":
        counts["quality"] += 1
    else:
        broken = tmp_path / "part-0.parquet"
        broken.write_bytes(b"PAR1 and no more PAR1")
        datasets["quality"] = ds.dataset(str(broken), schema=QUALITY.arrow_schema, format="parquet")
    wanted = {
        "duplicate key": "similar_lists|moda:00000",
        "null": "product_id|NOT NULL",
        "count": "quality of run r1: 1 rows loaded, wanted 2",
    }
    with pytest.raises((Rejected, OSError, pa.ArrowInvalid), match=wanted.get(fault)):
        warehouse.load("r1", datasets, counts, "s")
    assert warehouse.state() == before
    assert_holds(warehouse, "r1", night("r1"))
    load(warehouse, "r1", parts)
    assert_holds(warehouse, "r1", parts)


def test_rollback_goes_back_through_what_was_published(warehouse):
    with pytest.raises(Rejected, match="no run is published"):
        warehouse.rollback()
    for run in ("r1", "r2", "r3"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    with pytest.raises(Rejected, match="r1 is published, and no loaded run"):
        warehouse.rollback()
    warehouse.publish("r2", "anna: tried")
    warehouse.publish("r3")
    assert (move := warehouse.rollback()).from_run == "r3" and move.to_run == "r2"
    assert warehouse.state().published_run == "r2"
    assert {r["title"] for r in warehouse.query("SELECT title FROM current_products")} == {
        "dress of r2"
    }
    assert warehouse.rollback().to_run == "r1"
    with pytest.raises(Rejected, match="no rollback"):
        warehouse.rollback()
    warehouse.publish("r3")
    assert warehouse.rollback().to_run == "r1"
    told = [(p.run, p.kind, p.note) for p in warehouse.state().publications]
    assert told == [
        ("r1", PublicationKind.PUBLISH, None),
        ("r2", PublicationKind.PUBLISH, "anna: tried"),
        ("r3", PublicationKind.PUBLISH, None),
        ("r2", PublicationKind.ROLLBACK, None),
        ("r1", PublicationKind.ROLLBACK, None),
        ("r3", PublicationKind.PUBLISH, None),
        ("r1", PublicationKind.ROLLBACK, None),
    ]
    assert [(r["run"], r["kind"]) for r in warehouse.query("SELECT * FROM publications")] == [
        (run, str(kind)) for run, kind, _ in told
    ]


def test_a_run_that_is_not_loaded_cannot_be_published(warehouse):
    load(warehouse, "r1", night("r1"))
    with pytest.raises(Rejected, match=r"'r2' is not loaded; loaded: r1"):
        warehouse.publish("r2")
    assert warehouse.state().publications == ()


@pytest.mark.parametrize("run", ["", "../r1", "a'b", "r 1", "r" * 65])
def test_a_name_that_cannot_be_a_run_is_refused(warehouse, run):
    with pytest.raises(ValueError, match="wanted letters"):
        load(warehouse, run, night("r"))
    assert warehouse.state().loads == ()


def test_prune_keeps_the_newest_the_published_and_the_one_before(warehouse):
    for run in ("r1", "r2", "r3", "r4", "r5"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    warehouse.publish("r2")
    with pytest.raises(ValueError, match="wanted 1 or more, got 0"):
        warehouse.prune(0)
    assert sorted(warehouse.prune(1)) == ["r3", "r4"]
    assert {made.run for made in warehouse.state().loads} == {"r1", "r2", "r5"}
    assert read_warehouse_table(warehouse, "r3", PRODUCTS).num_rows == 0
    assert_holds(warehouse, "r2", night("r2"))
    assert warehouse.prune(1) == []
    assert warehouse.rollback().to_run == "r1"
    # What was measured outlives the rows; a pruned run can come back.
    assert [r["run"] for r in warehouse.query("SELECT run FROM quality ORDER BY run")] == [
        "r1",
        "r2",
        "r3",
        "r4",
        "r5",
    ]
    load(warehouse, "r3", night("r3", 7))
    assert_holds(warehouse, "r3", night("r3", 7))
    assert len(warehouse.query("SELECT * FROM quality")) == 5


def test_every_statement_answers_the_same_on_both_engines(tmp_path, postgres):
    # Those of the roles, their limits and a visitor's hash are of one engine alone.
    of_one = ("postgres_", "duckdb_")
    files = sorted(path for path in SQL.glob("*.sql") if not path.name.startswith(of_one))
    parameters = {
        "site_similar_products": ["moda:00000"],
        "site_look_products": ["moda:00000"],
        "site_product_variants": ["moda:00001"],
        "site_similar_products_variants": ["moda:00000", 7],
        "worst_categories": [1],
        "churn_between_runs": ["r1", "r2"],
        "most_recommended": [3],
        "quality_history": ["products_count"],
    }
    both = [
        open_warehouse(f"duckdb:{tmp_path / 'w'}"),
        open_warehouse(create_database(postgres, "statements")),
    ]
    for warehouse in both:
        load(warehouse, "r1", night("r1", 20, 3))
        load(warehouse, "r2", night("r2", 20, 4))
        warehouse.publish("r2")
    assert len(files) == 10
    answers = {}
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("-- ") and "Returns" in text and "Reads" in text
        one, other = (warehouse.query(text, parameters.get(path.stem, [])) for warehouse in both)
        assert one and len(one) == len(other), path.name
        for mine, theirs in zip(one, other, strict=True):
            assert mine == {
                k: pytest.approx(v) if isinstance(v, float) else v for k, v in theirs.items()
            }, path.name
            assert {k: type(v) for k, v in mine.items()} == {k: type(v) for k, v in theirs.items()}
        answers[path.stem] = one
    site = answers["site_similar_products"]
    assert [(r["product_id"], r["rank"], r["score"]) for r in site] == [
        (f"moda:0000{k}", k, 1 - k / 100) for k in (1, 2, 3)
    ]
    assert {(r["run"], r["title"], r["image_url"]) for r in site} == {
        ("r2", "dress of r2", "https://moda.example/r2.jpg")
    }
    assert answers["why_short"] == [
        {
            "shortfall_reason": "few_products",
            "super_category": "full_body",
            "products_count": 20,
            "mean_similar_count": 4.0,
        }
    ]
    assert answers["worst_categories"][0] | {"mean_best_score": 0} == {
        "category": "women.dresses.midi",
        "products_count": 20,
        "matched_count": 20,
        "mean_best_score": 0,
    }
    assert answers["worst_categories"][0]["mean_best_score"] == pytest.approx(0.99)
    assert answers["coverage_by_shop"][0] == {
        "shop_id": "moda",
        "products_count": 20,
        "matched_count": 20,
        "full_count": 0,
        "matched_ratio": 1.0,
    }
    assert answers["churn_between_runs"] == [
        {
            "super_category": "full_body",
            "before_count": 60,
            "after_count": 80,
            "kept_count": 60,
            "kept_ratio": 1.0,
        }
    ]
    assert [(r["product_id"], r["lists_count"]) for r in answers["most_recommended"]] == [
        (f"moda:0000{k}", 4) for k in range(3)
    ]
    assert [r["run"] for r in answers["quality_history"]] == ["r1", "r2"]


def test_a_statement_that_cannot_run_is_rejected(warehouse):
    load(warehouse, "r1", night("r1"))
    with pytest.raises(Rejected, match="nowhere"):
        warehouse.query("SELECT * FROM nowhere")


# What a site does: its own process, the query of sql/ on a connection that is kept for a while,
# every answer checked. It pauses between questions, so that publishing gets on.
READER = """
import sys
import time
from pathlib import Path
address, statement = sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8")
stop, least = Path(sys.argv[3]), int(sys.argv[4])
seen, answers, connection = [], 0, None
while answers < least or not stop.exists():
    if answers % 25 == 0:
        connection = connection and connection.close()
        if address.startswith("duckdb:"):
            import duckdb
            file = address[7:] + "/wearalike.duckdb"
            connection = duckdb.connect(file, read_only=True, config={"threads": 1})
        else:
            import psycopg
            connection = psycopg.connect(
                address, autocommit=True, cursor_factory=psycopg.RawCursor,
                options="-c search_path=wearalike")
    found = [(r[0], r[3]) for r in connection.execute(statement, ["moda:00000"]).fetchall()]
    run = found[0][0]
    assert found == [(run, f"dress of {run}")] * 20, found
    answers += 1
    if run not in seen[-1:]:
        seen.append(run)
    if answers == 1:
        print("ready", flush=True)
    time.sleep(0.005)
print(answers, *seen)
"""
CLIENTS, READS = 8, int(os.environ.get("WEARALIKE_READS", "5000"))


@pytest.mark.timeout(900)
def test_readers_see_all_old_or_all_new(address, warehouse, tmp_path, record_property):
    """8 clients, 10,000 reads on the two engines, while 20 publishes and 5 rollbacks go by."""
    runs = [f"r{number}" for number in range(21)]
    parts = {run: night(run, 40, 30) for run in runs}
    load(warehouse, runs[0], parts[runs[0]])
    warehouse.publish(runs[0])
    stop = tmp_path / "stop"
    command = [
        sys.executable,
        "-c",
        READER,
        address,
        str(SQL / "site_similar_products.sql"),
        str(stop),
        str(READS // CLIENTS),
    ]
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(CLIENTS)
    ]
    try:
        assert all(
            client.stdout is not None and client.stdout.readline() == "ready\n"
            for client in clients
        )
        moves = []
        for number, run in enumerate(runs[1:], 1):
            load(warehouse, run, parts[run])
            moves.append(warehouse.publish(run).to_run)
            if number % 4 == 0:
                load(warehouse, run, parts[run])  # replaces the published run under the readers
                moves.append(warehouse.rollback().to_run)
                warehouse.prune(2)
    finally:
        stop.touch()
        told = [client.communicate(timeout=600) for client in clients]
    assert [client.returncode for client in clients] == [0] * CLIENTS, [
        complaint for _, complaint in told
    ]
    reads = sum(int(said.split()[0]) for said, _ in told)
    record_property("reads", reads)
    assert len(moves) == 25 and reads >= READS
    for said, _ in told:
        order = iter([runs[0], *moves])
        seen = said.split()[1:]
        assert len(seen) > 1 and all(run in order for run in seen), (seen, moves)


def test_a_publication_is_news_of_every_table_to_each_session(shop):
    """A session that missed the news of a load reads the list of partitions anew."""
    warehouse = open_warehouse(drop_warehouse(shop))

    def catalogue_rows() -> dict[str, str]:
        rows = warehouse.query(
            "SELECT attrelid::regclass::text AS name, xmin::text AS changed_by FROM pg_attribute"
            " WHERE attname = 'run' AND attrelid::regclass::text = ANY($1)",
            [[table.name for table in tables.LOADED_TABLES]],
        )
        return {row["name"]: row["changed_by"] for row in rows}

    load(warehouse, "r1", night("r1"))
    before = catalogue_rows()
    assert before.keys() == {table.name for table in tables.LOADED_TABLES}
    warehouse.publish("r1")
    after = catalogue_rows()
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


def test_an_open_reader_keeps_its_run_and_does_not_hold_up_a_publish(address, warehouse):
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    if address.startswith("duckdb:"):
        reader = duckdb.connect(f"{address[7:]}/wearalike.duckdb", read_only=True)
    else:
        import psycopg

        reader = psycopg.connect(
            address,
            options="-c search_path=wearalike -c default_transaction_isolation=repeatable\\ read",
        )
    with reader:
        assert reader.execute("SELECT DISTINCT title FROM current_products").fetchall() == [
            ("dress of r1",)
        ]
        began = time.monotonic()
        warehouse.publish("r2")
        assert time.monotonic() - began < 5
        assert reader.execute("SELECT DISTINCT title FROM current_products").fetchall() == [
            ("dress of r1",)
        ]
    assert warehouse.query("SELECT DISTINCT title FROM current_products") == [
        {"title": "dress of r2"}
    ]


# DuckDB alone


def test_the_pointer_is_right_where_the_log_differs(tmp_path):
    folder = tmp_path / "w"
    warehouse = open_warehouse(f"duckdb:{folder}")
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    log = folder / "publications.jsonl"
    whole = log.read_text(encoding="utf-8")
    # Killed between the note and the move.
    log.write_text(
        whole + '{"run": "r2", "published_at": "2026-11-21T03:00:00+00:00", "kind": "publish", '
        '"note": null}\n',
        encoding="utf-8",
    )
    assert [p.run for p in warehouse.state().publications] == ["r1"]
    log.unlink()
    assert [p.run for p in warehouse.state().publications] == ["r1"]
    warehouse.publish("r2")
    assert warehouse.rollback().to_run == "r1"


def test_the_folder_may_be_moved(tmp_path):
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'w'}")
    load(warehouse, "r1", night("r1", 40, 30))
    warehouse.publish("r1")
    os.rename(tmp_path / "w", tmp_path / "moved")
    with duckdb.connect(tmp_path / "moved" / "wearalike.duckdb", read_only=True) as con:
        assert len(con.execute(SITE, ["moda:00000"]).fetchall()) == 20
    assert_holds(open_warehouse(f"duckdb:{tmp_path / 'moved'}"), "r1", night("r1", 40, 30))


def test_a_file_of_a_version_that_had_fewer_tables_is_read(tmp_path):
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'w'}")
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")
    with duckdb.connect(tmp_path / "w" / "runs" / "r1.duckdb") as con:
        con.execute("DROP VIEW current_look_products; DROP TABLE look_products")
    assert (
        warehouse.query("SELECT * FROM current_look_products") == []
        and len(warehouse.query("SELECT * FROM current_products")) == 6
    )
    load(warehouse, "r2", night("r2"))
    warehouse.publish("r2")
    assert [r["run"] for r in warehouse.query("SELECT run FROM look_products")] == ["r2"] * 3


def test_a_file_of_a_version_that_named_columns_otherwise_is_read(tmp_path):
    address = f"duckdb:{tmp_path / 'w'}"
    warehouse = open_warehouse(address)
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")
    with duckdb.connect(tmp_path / "w" / "runs" / "r1.duckdb") as con:
        for table, names in tables.RENAMED_COLUMNS.items():
            con.execute(f"DROP VIEW current_{table}")
            for old, new in names.items():
                con.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
            con.execute(current_view_ddl(tables.TABLES_BY_NAME[table]))
    assert_holds(warehouse, "r1", night("r1"))
    assert warehouse.query("SELECT metric, value FROM current_quality") == [
        {"metric": "products_count", "value": 6.0}
    ]
    with open_reader(address).snapshot() as snapshot:
        rows = snapshot.query("SELECT shape_weight FROM current_similar_products LIMIT 1", [])
        assert rows == [{"shape_weight": 2}]
        assert snapshot.query("SELECT metric FROM quality", []) == [{"metric": "products_count"}]
    load(warehouse, "r2", night("r2"))
    warehouse.publish("r2")
    runs = warehouse.query("SELECT run, metric FROM quality ORDER BY run")
    assert runs == [{"run": run, "metric": "products_count"} for run in ("r1", "r2")]


DUCKDB_BLOCK_BYTES = 262_144


@pytest.mark.parametrize("part", ["head", "middle", "tables"])
def test_a_damaged_file_of_an_old_run_stops_nothing(tmp_path, caplog, part):
    folder = tmp_path / "w"
    warehouse = open_warehouse(f"duckdb:{folder}")
    for run in ("r1", "r2", "r3"):
        load(warehouse, run, night(run, 2000))
        warehouse.publish(run)
    path = folder / "runs" / "r1.duckdb"
    content = bytearray(path.read_bytes())
    if part == "tables":
        # The first two blocks say what the others hold.
        for start in range(3 * 4096 + 2 * DUCKDB_BLOCK_BYTES, len(content), DUCKDB_BLOCK_BYTES):
            content[start + 9_000 : start + 10_000] = os.urandom(1000)
    else:
        start = 0 if part == "head" else 3 * 4096
        content[start : start + 40_000] = os.urandom(40_000)
    path.write_bytes(content)
    shown = warehouse.query("SELECT DISTINCT run FROM current_products")
    assert [row["run"] for row in shown] == ["r3"]
    everywhere = warehouse.query("SELECT DISTINCT run FROM products ORDER BY run")
    assert [row["run"] for row in everywhere] == ["r2", "r3"]
    is_attached = part == "tables"
    told = "is damaged and left out of the" if is_attached else "cannot be read and is left out"
    assert f"{path} {told}" in caplog.text
    reader = open_reader(f"duckdb:{folder}")
    titles = "SELECT run, max(title) AS title FROM products GROUP BY run ORDER BY run"
    if is_attached:
        with (
            pytest.raises(Unreachable, match=r"r1\.duckdb: damaged"),
            reader.loaded_runs() as loaded,
        ):
            loaded.query(titles, [])
    with reader.loaded_runs() as loaded:
        assert [one.run for one in loaded.state.loads] == ["r3", "r2"]
        assert [row["run"] for row in loaded.query(titles, [])] == ["r2", "r3"]
    with pytest.raises(Unreachable, match=r"r1\.duckdb: the file is damaged .* --run r1 --force"):
        warehouse.query("SELECT title FROM products WHERE run = $1", ["r1"])
    assert {row["run"] for row in warehouse.query("SELECT run FROM quality")} == {"r1", "r2", "r3"}
    assert warehouse.rollback().to_run == "r2"
    load(warehouse, "r4", night("r4"))
    assert warehouse.publish("r4").to_run == "r4"
    warehouse.prune(1)
    if part == "head":
        assert path.exists(), "a file that cannot be read is left for somebody to look at"
    # The run is loaded again in its place.
    load(warehouse, "r1", night("r1"))
    assert_holds(warehouse, "r1", night("r1"))


def test_a_damaged_file_of_the_published_run_is_told_and_can_be_left(tmp_path):
    folder = tmp_path / "w"
    warehouse = open_warehouse(f"duckdb:{folder}")
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
        warehouse.publish(run)
    (folder / "runs" / "r2.duckdb").write_bytes(b"no database")
    with pytest.raises(Unreachable, match=r"r2\.duckdb: the published run cannot be read"):
        warehouse.query("SELECT * FROM current_products")
    assert warehouse.rollback().to_run == "r1"
    assert {row["run"] for row in warehouse.query("SELECT run FROM current_products")} == {"r1"}


def test_a_rollback_goes_past_a_run_whose_file_is_damaged(tmp_path, caplog):
    folder = tmp_path / "w"
    warehouse = open_warehouse(f"duckdb:{folder}")
    for run in ("r1", "r2", "r3"):
        load(warehouse, run, night(run, 2000))
        warehouse.publish(run)
    path = folder / "runs" / "r2.duckdb"
    content = bytearray(path.read_bytes())
    content[-DUCKDB_BLOCK_BYTES // 2 :] = os.urandom(DUCKDB_BLOCK_BYTES // 2)
    path.write_bytes(content)
    assert [made.run for made in warehouse.state().loads] == ["r3", "r2", "r1"]
    assert warehouse.rollback().to_run == "r1"
    assert f"{path} is damaged; rolling back past it" in caplog.text


def test_a_second_writer_waits_and_gives_up(tmp_path, monkeypatch):
    warehouse = duckdb_room.DuckDBWarehouse(tmp_path / "w")
    load(warehouse, "r1", night("r1"))
    monkeypatch.setattr(duckdb_room, "LOCK_WAIT_S", 0.2)
    with (
        warehouse._hold_lock("pointer"),
        pytest.raises(
            Unreachable,
            match=rf"another process holds the pointer lock for 0 s: process {os.getpid()} \(",
        ),
    ):
        warehouse.publish("r1")
    warehouse.publish("r1")


# PostgreSQL alone


def test_a_warehouse_of_a_version_that_named_columns_otherwise_is_upgraded(postgres):
    import psycopg

    address = create_database(postgres, "renamed")
    warehouse = open_warehouse(address)
    load(warehouse, "r1", night("r1"))
    warehouse.publish("r1")

    def existing() -> set[tuple[str, str]]:
        rows = warehouse.query(migrations.COLUMNS_SQL)
        return {(row["table_name"], row["column_name"]) for row in rows}

    def required() -> set[tuple[str, str]]:
        rows = warehouse.query(migrations.COLUMNS_SQL)
        return {(row["table_name"], row["column_name"]) for row in rows if row["is_required"]}

    with psycopg.connect(address, autocommit=True) as con:
        for table, names in tables.RENAMED_COLUMNS.items():
            for old, new in names.items():
                con.execute(f"ALTER TABLE wearalike.{table} RENAME COLUMN {new} TO {old}")
        con.execute("ALTER TABLE wearalike.look_products ALTER COLUMN w_shape SET NOT NULL")
        differences = migrations.schema_differences(existing())
        assert "quality.measure is now named metric" in differences
        assert all("is now named" in difference for difference in differences)
        con.execute(" ".join(migrations.migration_statements(existing(), required())))
    assert migrations.schema_differences(existing(), required()) == []
    assert_holds(warehouse, "r1", night("r1"))
    with psycopg.connect(address, autocommit=True) as con:
        con.execute(
            "ALTER TABLE wearalike.look_products DROP COLUMN source CASCADE,"
            " ALTER COLUMN score SET NOT NULL, ALTER COLUMN item_id SET NOT NULL"
        )
        # A version without experiments had none of their tables.
        of_experiments = sorted(table.name for table in tables.EXPERIMENT_TABLES)
        for name in of_experiments:
            con.execute(f"DROP TABLE wearalike.{name} CASCADE".encode())
        differences = migrations.schema_differences(existing(), required())
        assert differences == [
            *(f"no table {name}" for name in of_experiments),
            "no look_products.source",
            "look_products.item_id may now be null",
            "look_products.score may now be null",
        ]
        con.execute(" ".join(migrations.migration_statements(existing(), required())))
    assert migrations.schema_differences(existing(), required()) == []
    looks = warehouse.query("SELECT DISTINCT source FROM current_look_products")
    assert looks == [{"source": "worn"}], "a run loaded before has what is worn alone"
    load(warehouse, "r2", night("r2"))
    warehouse.publish("r2")
    assert len(warehouse.query("SELECT metric FROM current_quality WHERE run = 'r2'")) == 1


def test_the_site_reads_by_index(postgres):
    warehouse = open_warehouse(create_database(postgres, "plan"))
    for run in ("r1", "r2"):
        load(warehouse, run, night(run, 3000, 20))
    warehouse.publish("r2")
    plan = [
        row["QUERY PLAN"] for row in warehouse.query(f"EXPLAIN (ANALYZE) {SITE}", ["moda:00000"])
    ]
    text = "\n".join(plan)
    assert "Seq Scan on similar_products" not in text and "Seq Scan on products" not in text, text
    assert sum("Index Scan" in line and "similar_products_" in line for line in plan) == 2, text
    assert "never executed" in text, "the other run's partitions are not to be looked into"
    reverse = warehouse.query(
        "EXPLAIN SELECT * FROM current_similar_products WHERE similar_product_id = $1",
        ["moda:00000"],
    )
    assert "Seq Scan on similar_products" not in "\n".join(row["QUERY PLAN"] for row in reverse)


def test_a_reader_that_stays_only_keeps_old_runs_from_being_dropped(postgres, monkeypatch):
    import psycopg

    from wearalike.warehouse.postgres import load as postgres_room

    monkeypatch.setattr(postgres_room, "LOCK_WAIT_S", 1.0)
    address = create_database(postgres, "stays")
    warehouse = open_warehouse(address)
    for run in ("r1", "r2", "r3", "r4"):
        load(warehouse, run, night(run))
    warehouse.publish("r3")
    with psycopg.connect(address, options="-c search_path=wearalike") as reader:
        assert reader.execute("SELECT count(*) FROM products").fetchall() == [(24,)]
        with pytest.raises(
            Unreachable, match="other transactions have held the tables for 1 s; held by process"
        ):
            warehouse.prune(1)
        load(warehouse, "r5", night("r5"))
        warehouse.publish("r5")
        assert warehouse.rollback().to_run == "r3"
        assert reader.execute("SELECT count(*) FROM current_products").fetchall() == [(6,)]
    assert warehouse.state().published_run == "r3" and len(warehouse.state().loads) == 5
    assert sorted(warehouse.prune(1)) == ["r1", "r2", "r4"]


@pytest.mark.parametrize("mode", ["SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_session_that_holds_the_publications_is_named_after_a_bounded_wait(
    postgres, monkeypatch, mode
):
    """Somebody looks at the table in a transaction that is never ended."""
    import psycopg

    from wearalike.warehouse.postgres import load as postgres_room

    monkeypatch.setattr(postgres_room, "LOCK_WAIT_S", 1.0)
    address = create_database(postgres, f"held_{mode[0].lower()}")
    warehouse = open_warehouse(address)
    for run in ("r1", "r2"):
        load(warehouse, run, night(run))
    warehouse.publish("r1")
    with psycopg.connect(address, application_name="lunch") as other:
        other.execute(f"LOCK TABLE wearalike.publications IN {mode} MODE")
        for act in (
            lambda: warehouse.publish("r2"),
            warehouse.rollback,
            lambda: warehouse.prune(1),
        ):
            if act == warehouse.rollback and mode != "ACCESS EXCLUSIVE":
                continue  # there is no run to go back to: refused before any lock
            started_at_s = time.monotonic()
            with pytest.raises(Unreachable, match=r"held by process \d+ of \w+ \(lunch, idle in"):
                act()
            assert time.monotonic() - started_at_s < 20
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    assert warehouse.publish("r2").from_run == "r1"


def test_a_connection_cut_in_mid_load_is_made_good(postgres):
    import psycopg

    address = create_database(postgres, "cut")
    warehouse = open_warehouse(address)
    load(warehouse, "r0", night("r0"))
    parts = night("r1", 4000, 20)
    cuts: list[int] = []

    def cut() -> None:
        with psycopg.connect(address, autocommit=True) as con:
            deadline = time.monotonic() + 20
            while len(cuts) < 2 and time.monotonic() < deadline:
                found = con.execute(
                    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'COPY %similar_products%'"
                    " AND state = 'active' AND pid <> pg_backend_pid()"
                ).fetchall()
                cuts.extend(pid for pid, _ in found if pid not in cuts)

    cutter = threading.Thread(target=cut)
    cutter.start()
    made = load(warehouse, "r1", parts)
    cutter.join()
    assert len(cuts) == 2, "the load was not cut"
    assert made.counts["similar_products"] == 80_000
    assert [found.run for found in warehouse.state().loads] == ["r1", "r0"]
    assert_holds(warehouse, "r1", parts)
    names = [
        row["name"]
        for row in warehouse.query(
            "SELECT relname AS name FROM pg_class WHERE relname ~ '^similar_products_[0-9]+$'"
        )
    ]
    assert len(names) == 2, "a cut load left a table behind"


def test_two_loads_of_one_run_at_once_leave_one(address, warehouse):
    parts = night("r1", 400, 20)
    load(warehouse, "r0", night("r0"))
    failures: list[BaseException] = []

    def one() -> None:
        try:
            load(open_warehouse(address), "r1", parts)
        except BaseException as error:  # noqa: BLE001 the test's thread tells the test
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(made.run for made in warehouse.state().loads) == ["r0", "r1"]
    assert_holds(warehouse, "r1", parts)


def test_roles_have_what_they_need_and_no_more(postgres):
    import psycopg

    address = create_database(postgres, "roles")
    with psycopg.connect(address, autocommit=True) as con:
        con.execute((SQL / "postgres_roles.sql").read_text(encoding="utf-8"))
    loader, reader = (
        open_warehouse(address.replace("postgres@", f"wearalike_{role}@"))
        for role in ("loader", "reader")
    )
    for run in ("r1", "r2"):
        load(loader, run, night(run))
        loader.publish(run)
    assert loader.rollback().to_run == "r1"
    assert [r["run"] for r in reader.query(SITE, ["moda:00000"])] == ["r1"] * 3
    assert reader.state() == loader.state()
    assert len(reader.query("SELECT * FROM publications")) == 3
    with psycopg.connect(address.replace("postgres@", "wearalike_loader@"), autocommit=True) as con:
        con.execute((SQL / "views" / "site.sql").read_text(encoding="utf-8"))
    with psycopg.connect(address.replace("postgres@", "wearalike_site@"), autocommit=True) as con:
        looks = con.execute(
            "SELECT super_category, rank, look_product_id, x0, run, source, reason "
            "FROM site_look_products WHERE product_id = 'moda:00000'"
        )
        reason = "same kind, same colour, shape much alike"
        assert looks.fetchall() == [("foot_wear", 1, "moda:00002", 10, "r1", "worn", reason)]
        # The product that completes this look is out of stock.
        assert (
            con.execute(
                "SELECT * FROM site_look_products WHERE product_id = 'moda:00002'"
            ).fetchall()
            == []
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            con.execute("SELECT * FROM current_look_products")
    with pytest.raises(Rejected, match="permission denied"):
        reader.publish("r2")
    for statement in (
        "DELETE FROM products",
        "INSERT INTO publications (run, kind) VALUES ('r2', 'publish')",
        "CREATE TABLE mine (a int)",
    ):
        with psycopg.connect(
            address.replace("postgres@", "wearalike_reader@"), autocommit=True
        ) as con:
            con.execute("SET default_transaction_read_only TO off")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                con.execute(statement)
    assert loader.state().published_run == "r1"


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "mysql://u:s3cret@h/d",
        "duckdb:",
        "",
        "postgresql://u:s3cret@h:port/d",
        "postgresql://u:s3cret%zz@h/d",
        "postgresql://u:s3cret",
    ],
)
def test_a_bad_address_is_refused_without_its_password(address):
    with pytest.raises(ValueError, match=r"^warehouse: wanted") as caught:
        open_warehouse(address)
    assert "s3cret" not in str(caught.value)


def test_an_unreachable_server_is_said_without_the_password(caplog):
    pytest.importorskip("psycopg")
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    warehouse = open_warehouse(f"postgresql://u:s3cret@127.0.0.1:{port}/shop")
    with pytest.raises(Unreachable, match=f"PostgreSQL 127.0.0.1:{port}/shop: ") as caught:
        load(warehouse, "r1", night("r1"))
    assert len(caplog.records) == 4, "five tries, four announced"
    assert "s3cret" not in str(caught.value) + caplog.text


# Faults


def test_a_clock_that_jumps_back_loses_nothing(tmp_path):
    """The first load is of 2040: what is newest is told by the order of the loads."""
    folder = f"duckdb:{tmp_path / 'w'}"
    load(open_warehouse(folder), "r1", night("r1"))
    with duckdb.connect(tmp_path / "w" / "runs" / "r1.duckdb") as con:
        con.execute("UPDATE load SET loaded_at = '2040-01-01 00:00:00+00'")
    warehouse = open_warehouse(folder)
    for run in ("r2", "r3", "r4"):
        load(warehouse, run, night(run))
        warehouse.publish(run)
    assert [made.run for made in warehouse.state().loads] == ["r4", "r3", "r2", "r1"]
    assert warehouse.prune(1) == ["r2", "r1"]
    assert [r["run"] for r in warehouse.query("SELECT run FROM quality ORDER BY run")] == [
        "r1",
        "r2",
        "r3",
        "r4",
    ]


def test_a_file_of_a_version_that_did_not_count_its_loads_is_older_than_any(tmp_path):
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'w'}")
    load(warehouse, "r1", night("r1"))
    with duckdb.connect(tmp_path / "w" / "runs" / "r1.duckdb") as con:
        con.execute("ALTER TABLE load DROP COLUMN number")
    load(warehouse, "r2", night("r2"))
    assert [made.run for made in warehouse.state().loads] == ["r2", "r1"]
    assert_holds(warehouse, "r1", night("r1"))


def test_a_duckdb_file_that_another_process_writes_is_told(tmp_path):
    """Somebody opened a run's file by hand, to write."""
    folder = tmp_path / "w"
    warehouse = open_warehouse(f"duckdb:{folder}")
    load(warehouse, "r1", night("r1"))
    code = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "runs" / "r1.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(Unreachable, match=r"r1\.duckdb.*(lock|PID)"):
        warehouse.publish("r1")
    holder.communicate("")
    assert warehouse.publish("r1").to_run == "r1"


def test_a_server_restarted_in_mid_load_is_waited_for():
    """The load is made whole when the server is there again, once; what was published stays so."""
    import psycopg

    with start_restartable_server() as held:
        warehouse = open_warehouse(held.address)
        load(warehouse, "r0", night("r0"))
        warehouse.publish("r0")
        parts, made = night("r1", 4000, 20), []
        loader = threading.Thread(target=lambda: made.append(load(warehouse, "r1", parts)))
        loader.start()
        with psycopg.connect(held.address, autocommit=True) as con:
            busy = (
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %similar_products%' "
                "AND pid <> pg_backend_pid()"
            )
            while not con.execute(busy).fetchall():
                assert loader.is_alive()
        held.stop(signal.SIGINT)
        assert not made and loader.is_alive(), "the load was over before the restart"
        time.sleep(2)  # longer than the tries for a server that never was there take
        held.launch()  # in this thread: the server ends with the one that began it
        loader.join()
        assert made[0].counts["similar_products"] == 80_000
        assert_holds(warehouse, "r1", parts)
        assert warehouse.state().published_run == "r0" and [
            found.run for found in warehouse.state().loads
        ] == ["r1", "r0"]
        left = warehouse.query(
            "SELECT count(*) AS count FROM pg_class WHERE relname ~ '^similar_products_[0-9]+$'"
        )
        assert left == [{"count": 2}], "the broken load left a table behind"


def test_a_deadlock_is_tried_again_and_the_load_is_there_once(postgres):
    """Another session holds what the load waits for, and then wants what the load holds."""
    import psycopg

    address = create_database(postgres, "deadlock")
    warehouse = open_warehouse(address)
    load(warehouse, "r0", night("r0"))
    with psycopg.connect(address, autocommit=True) as con:
        con.execute("ALTER DATABASE deadlock SET deadlock_timeout = '2s'")
    with psycopg.connect(address, options="-c search_path=wearalike") as other:
        other.execute("SET deadlock_timeout = '30s'")
        other.execute(
            "INSERT INTO loads (run, signature, counts, struck_count) VALUES ('r1', '', '{}', 0)"
        )
        loader = threading.Thread(target=load, args=(warehouse, "r1", night("r1")))
        loader.start()
        with psycopg.connect(address, autocommit=True) as watcher:
            while not watcher.execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
            ).fetchall():
                assert loader.is_alive()
        other.execute(
            "LOCK TABLE publications IN EXCLUSIVE MODE"
        )  # returns when the server has broken the load off
        other.rollback()
    loader.join()
    with psycopg.connect(address, autocommit=True) as con:
        con.execute("SELECT pg_stat_clear_snapshot()")
        assert con.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = 'deadlock'"
        ).fetchall() == [(1,)]
    assert [made.run for made in warehouse.state().loads] == ["r1", "r0"]
    assert_holds(warehouse, "r1", night("r1"))
