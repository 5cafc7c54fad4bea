"""jobs/map_products.py on a small root: offers in, products and refusals out, mistakes stop it."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from wearalike.catalog import feed_distances
from wearalike.pipeline import map_products
from wearalike.storage import run_tables
from wearalike.tables import OFFERS, PRODUCTS

REPOSITORY = Path(__file__).parents[2]
RUN = "2026-11-21"
MODA = (
    '<mapping shop="moda"><map path="Платья" to="women.dresses.other"/>'
    '<ignore path="Книги" reason="books"/></mapping>'
)
TOY = '<mapping shop="toy"><map path="Bags" to="bags.totes"/></mapping>'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with offers of two shops and a settings file whose mappings know both."""
    mappings = tmp_path / "mappings"
    (mappings / "shops").mkdir(parents=True)
    for name in ("taxonomy.xml", "taxonomy.rng", "mapping.rng"):
        shutil.copy(REPOSITORY / "mappings" / name, mappings)
    (mappings / "shops" / "moda.xml").write_text(MODA, encoding="utf-8")
    (mappings / "shops" / "toy.xml").write_text(TOY, encoding="utf-8")
    (tmp_path / "wearalike.toml").write_text('mappings = "mappings"\n', encoding="utf-8")
    write_offers(
        tmp_path / "root", {"moda": ["Платья", "Книги", "Шапки", "платья"], "toy": ["Bags", "Bags"]}
    )
    return tmp_path / "root"


def write_offers(root: Path, paths: dict[str, list[str]]) -> None:
    lists = {c.name: [] for c in OFFERS.columns if pa.types.is_list(c.type)}
    rows = [
        lists
        | {
            "product_id": f"{shop}:{i}",
            "shop_id": shop,
            "offer_id": str(i),
            "title": "a thing",
            "category_paths": [path],
        }
        for shop, words in paths.items()
        for i, path in enumerate(words)
    ]
    rows = [
        row | {"price_cents": 100, "currency": "EUR", "availability": "in_stock"} for row in rows
    ]
    with run_tables.write_table(root, OFFERS, RUN, run_tables.signature({}, paths)) as writer:
        writer.write(pa.Table.from_pylist(rows, OFFERS.arrow_schema))


def run(root: Path, *more: str) -> int:
    return map_products.main(
        [
            "--data-dir",
            str(root),
            "--run",
            RUN,
            "--config",
            str(root.parent / "wearalike.toml"),
            *more,
        ]
    )


def products(root: Path) -> list[tuple[str, str]]:
    columns = ["product_id", "category"]
    return [
        tuple(row.values())
        for row in run_tables.read_table(root, PRODUCTS, RUN, columns).to_pylist()
    ]


def refused(root: Path) -> list[tuple[str, str, str, str]]:
    columns = ["stage", "key", "reason", "detail"]
    return [
        tuple(row.values())
        for row in run_tables.read_refused(root, RUN).select(columns).to_pylist()
    ]


def when(root: Path) -> int:
    return (run_tables.table_dir(root, PRODUCTS, RUN) / "_manifest.json").stat().st_mtime_ns


def test_offers_become_products_or_are_refused(root: Path) -> None:
    assert run(root) == 0
    assert products(root) == [
        ("moda:0", "women.dresses.other"),
        ("moda:3", "women.dresses.other"),
        ("toy:0", "bags.totes"),
        ("toy:1", "bags.totes"),
    ]
    assert refused(root) == [
        ("products", "moda:1", "ignored_category", "Книги: books"),
        ("products", "moda:2", "unmapped_category", "Шапки"),
    ]
    made = run_tables.read_manifest(root, PRODUCTS, RUN)
    assert made["rows"] == {
        "taken": 6,
        "written": 4,
        "refused": {"ignored_category": 1, "unmapped_category": 1},
    }
    assert set(made["parameters"]["mappings"]) == {"moda", "toy"}


def test_what_lies_beside_products_hides_from_readers_of_the_folder(root: Path) -> None:
    assert run(root) == 0
    folder = run_tables.table_dir(root, PRODUCTS, RUN)
    assert len(pd.read_parquet(folder)) == 4
    found = feed_distances.read_feed_distances(root, RUN)
    assert found.kinds is not None and "black" in found.colours
    # Runs of earlier versions are read, too.
    manifest = folder / "_manifest.json"
    for name in ("kinds.json", "colours.json"):
        (folder / f"_{name}").rename(folder / name)
        manifest.write_text(manifest.read_text().replace(f'"_{name}"', f'"{name}"'))
    former = feed_distances.read_feed_distances(root, RUN)
    assert former.kinds is not None and former.kinds.to_json() == found.kinds.to_json()
    assert former.colours == found.colours


def test_a_rerun_stands_until_something_it_reads_changes(root: Path) -> None:
    mapping = root.parent / "mappings" / "shops" / "moda.xml"
    assert run(root) == 0
    first = when(root)
    assert run(root) == 0
    assert when(root) == first
    assert run(root, "--force") == 0  # the same rows from the same inputs: what stands, stands
    mapping.write_text(MODA.replace("women.dresses.other", "women.dresses.midi"), encoding="utf-8")
    assert run(root) == 0
    assert products(root)[0] == ("moda:0", "women.dresses.midi")
    taxonomy = root.parent / "mappings" / "taxonomy.xml"
    taxonomy.write_text(
        taxonomy.read_text(encoding="utf-8").replace(
            'shape_weight="2" colour_weight="8"', 'shape_weight="5" colour_weight="6"'
        ),
        "utf-8",
    )
    assert run(root) == 0
    weights = run_tables.read_table(
        root, PRODUCTS, RUN, ["product_id", "shape_weight", "colour_weight"]
    ).to_pylist()[0]
    assert weights == {"product_id": "moda:0", "shape_weight": 5, "colour_weight": 6}
    write_offers(root, {"toy": ["Bags"]})
    assert run(root) == 0
    assert products(root) == [("toy:0", "bags.totes")] and refused(root) == []


def test_a_shop_without_a_mapping_is_refused_and_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = root.parent / "mappings" / "shops" / "toy.xml"
    missing.unlink()
    with caplog.at_level(logging.WARNING):
        assert run(root) == 0
    assert [
        key
        for _, key, reason, detail in refused(root)
        if (reason, detail) == ("unmapped_category", "Bags")
    ] == ["toy:0", "toy:1"]
    assert [shop.partition(":")[0] for shop, _ in products(root)] == ["moda", "moda"]
    assert str(missing) in caplog.text and "wearalike suggest-mapping toy" in caplog.text


def test_mistakes_in_any_file_stop_the_job_before_any_work(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shops = root.parent / "mappings" / "shops"
    (shops / "moda.xml").write_text(
        MODA.replace("women.dresses.other", "women.dress"), encoding="utf-8"
    )
    (shops / "toy.xml").write_text(TOY.replace("to=", "two="), encoding="utf-8")
    assert run(root) == 1
    assert f"{shops / 'moda.xml'}:1: to='women.dress': no such leaf" in caplog.text
    assert f"{shops / 'toy.xml'}:1: <map>: no attribute 'two'; did you mean 'to'?" in caplog.text
    assert not (root / PRODUCTS.name).exists()


def test_no_offers_at_all_make_an_empty_table(root: Path) -> None:
    write_offers(root, {})
    assert run(root) == 0
    assert products(root) == [] and run_tables.read_manifest(root, PRODUCTS, RUN)["rows"] == {
        "taken": 0,
        "written": 0,
        "refused": {},
    }


def test_the_job_runs_from_a_shell_and_says_what_is_missing(root: Path) -> None:
    shutil.rmtree(root / OFFERS.name)
    command = [
        sys.executable,
        str(REPOSITORY / "jobs" / "map_products.py"),
        "--data-dir",
        str(root),
        "--run",
        RUN,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root.parent)
    assert done.returncode == 1
    assert "table offers of run 2026-11-21 is not made" in done.stderr
    assert not (root / PRODUCTS.name).exists()


def offer(number: int) -> dict[str, object]:
    """A row of offers of a dress."""
    lists = {c.name: [] for c in OFFERS.columns if pa.types.is_list(c.type)}
    return {
        **lists,
        "product_id": f"moda:{number}",
        "shop_id": "moda",
        "offer_id": str(number),
        "title": "a thing",
        "category_paths": ["Платья"],
        "price_cents": 100,
        "currency": "EUR",
        "availability": "in_stock",
    }


def write_rows(root: Path, rows: list[dict[str, object]], name: str = RUN) -> None:
    with run_tables.write_table(root, OFFERS, name, f"sign {len(rows)} {name}") as writer:
        writer.write(pa.Table.from_pylist(rows, OFFERS.arrow_schema))


def sized(number: int, **fields: object) -> dict[str, object]:
    """A row of offers of one dress that comes in sizes."""
    return {
        **offer(number),
        "article_id": "moda:1",
        "colours": ["red"],
        "sizes": [f"{40 + number}"],
        **fields,
    }


def column_of(root: Path, name: str, run: str = RUN) -> dict[str, object]:
    rows = run_tables.read_table(root, PRODUCTS, run, ["product_id", name]).to_pylist()
    return {row["product_id"]: row[name] for row in rows}


def test_sizes_left_are_those_of_the_article_in_its_colour(root: Path) -> None:
    write_rows(
        root,
        [
            sized(1),
            sized(2, sizes=["42", "43"]),
            sized(3, availability="out_of_stock"),
            sized(4, colours=["blue"], availability="out_of_stock"),
            sized(5, article_id=None),
            sized(6, sizes=[]),
        ],
    )
    assert run(root) == 0
    assert column_of(root, "sizes_left") == {
        "moda:1": 3,
        "moda:2": 3,
        "moda:3": 3,
        "moda:4": 0,
        "moda:5": 1,
        "moda:6": None,
    }


def test_first_seen_is_the_day_since_which_a_product_is_there(root: Path) -> None:
    for day, numbers in (
        ("2026-12-01", [1, 2]),
        ("2026-12-02", [1, 2, 3]),
        ("2026-12-05", [1, 3, 4]),
        ("2026-12-06", [1, 2, 3, 4]),
    ):
        write_rows(root, [offer(n) for n in numbers], day)
        assert run(root, "--run", day) == 0
    assert set(column_of(root, "first_seen", "2026-12-01").values()) == {None}
    assert column_of(root, "first_seen", "2026-12-06") == {
        "moda:1": None,
        "moda:2": "2026-12-06",
        "moda:3": "2026-12-02",
        "moda:4": "2026-12-05",
    }
