"""The job goes on from another run's candidates, and writes the table of a full search."""

import json
import shutil
from pathlib import Path

import pytest

from wearalike import sample
from wearalike.catalog import CategoryKinds, feed_distances
from wearalike.pipeline import match_products
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, MATCHES, PRODUCTS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(night, tmp_path):
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    sample.write_settings(
        tmp_path / "wearalike.toml",
        "http://127.0.0.1:1",
        tmp_path / "root",
        REPOSITORY / "mappings",
    )
    return tmp_path / "wearalike.toml"


def run_job(config, *more):
    """Run the job; return the table `matches` and its manifest's `searched`."""
    assert match_products.main(["--run", "day-1", "--config", str(config), *more]) == 0
    root = config.parent / "root"
    return run_tables.read_table(root, MATCHES, "day-1"), run_tables.read_manifest(
        root, MATCHES, "day-1"
    )["searched"]


def test_other_rules_search_nothing_anew_and_damaged_candidates_search_everything(config):
    root = config.parent / "root"
    count = run_tables.read_table(root, INDEXES, "day-1").num_rows
    first, searched = (
        run_tables.read_table(root, MATCHES, "day-1"),
        run_tables.read_manifest(root, MATCHES, "day-1")["searched"],
    )
    assert count > 200 and searched == {"since": None, "anew": count, "remembered": 0}
    longer, searched = run_job(config, "--k", "25", "--max-per-brand", "3")
    assert searched == {"since": "day-1", "anew": 0, "remembered": count}
    assert not longer.equals(first)
    whole, searched = run_job(config, "--k", "25", "--max-per-brand", "3", "--force")
    assert searched == {"since": None, "anew": count, "remembered": 0} and whole.equals(longer)
    damaged = sorted(
        (run_tables.table_dir(root, MATCHES, "day-1") / "candidates").glob("*/*.parquet")
    )[0]
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"PAR0")
    again, searched = run_job(config)
    assert 0 < searched["anew"] < count and again.equals(first)


def test_candidates_of_another_distance_are_not_used(config):
    """As a run of a version whose distance knew no kinds left them."""
    root = config.parent / "root"
    path = run_tables.table_dir(root, MATCHES, "day-1") / "_manifest.json"
    before = json.loads(path.read_text())
    count = run_tables.read_table(root, INDEXES, "day-1").num_rows
    del before["distance"]
    path.write_text(json.dumps(before))
    _, searched = run_job(config, "--k", "25")
    assert searched == {"since": None, "anew": count, "remembered": 0}
    _, searched = run_job(config, "--k", "24")
    assert searched == {"since": "day-1", "anew": 0, "remembered": count}


def test_a_kind_nearer_in_the_taxonomy_searches_its_products_anew(config):
    """The kinds are a file of the table `products`; the table equals that of a full search."""
    root = config.parent / "root"
    kinds = feed_distances.read_feed_distances(root, "day-1").kinds
    (place,) = (root / "products").glob("run=day-1")
    facts = json.loads((place / "_manifest.json").read_text())
    shutil.copytree(root / "products" / "run=day-1", root / "products" / "run=day-2")
    shutil.copytree(root / "indexes" / "run=day-1", root / "indexes" / "run=day-2")
    wanted = run_tables.read_table(root, PRODUCTS, "day-1", ["category"])["category"].to_pylist()
    near = sorted({kinds.kind(category) for category in wanted if category.startswith("women.")})
    content = json.loads(kinds.to_json())
    content["near"] = [[a, b, 1] for i, a in enumerate(near) for b in near[i + 1 :]]
    text = CategoryKinds.from_json(json.dumps(content)).to_json()
    later = root / "products" / "run=day-2"
    (later / "_kinds.json").write_text(text, encoding="utf-8")
    facts["files"]["_kinds.json"] = run_tables.sha256(later / "_kinds.json")
    (later / "_manifest.json").write_text(json.dumps(facts))
    command = ["--run", "day-2", "--config", str(config)]
    assert match_products.main(command) == 0
    found = run_tables.read_table(root, MATCHES, "day-2")
    searched = run_tables.read_manifest(root, MATCHES, "day-2")["searched"]
    assert searched["since"] == "day-1" and searched["anew"] > 50
    assert not found.equals(run_tables.read_table(root, MATCHES, "day-1"))
    assert match_products.main([*command, "--force"]) == 0
    assert run_tables.read_table(root, MATCHES, "day-2").equals(found)
