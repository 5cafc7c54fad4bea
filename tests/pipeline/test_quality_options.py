"""A changed setting reaches its stage, and makes again only what depends on it."""

import shutil

import pyarrow.compute as pc
import pytest

from wearalike.commands import app
from wearalike.pipeline import detect_items, encode_items
from wearalike.storage import run_tables
from wearalike.tables import (
    ITEMS,
    LOOK_PRODUCTS,
    MATCHES,
    QUALITY,
    SIMILAR_PRODUCTS,
)

RUN = "day-1"


@pytest.fixture
def config(night, tmp_path):
    """A copy of the night, with settings of its own."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8")
    (tmp_path / "wearalike.toml").write_text(
        text.replace(str(night / "root"), str(tmp_path / "root")), encoding="utf-8"
    )
    return tmp_path / "wearalike.toml"


def add_settings(config, text):
    config.write_text(f"{config.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


def write_times(root):
    return {p.parts[-3]: p.stat().st_mtime_ns for p in root.glob(f"*/run={RUN}/_manifest.json")}


def test_a_run_makes_again_what_depends_on_changed_settings(config, monkeypatch):
    root = config.parent / "root"
    add_settings(config, "[lists]\nk = 4\nmin_score = 0.2\n[gate]\nmin_products_count = 10")
    monkeypatch.setenv("WEARALIKE_LISTS_MIN_SCORE", "0.3")
    before = write_times(root)
    options = ["--max-per-brand", "2", "--threshold", "max_churn_ratio=0.9"]
    assert app.main(["run", "--run", RUN, "--config", str(config), *options]) == 0
    after = write_times(root)
    assert {table for table in after if after[table] != before[table]} == {
        "matches",
        "similar_products",
        "similar_lists",
        "look_products",
        "quality",
    }
    lists = run_tables.read_manifest(root, MATCHES, RUN)["parameters"]
    assert (lists["k"], lists["min_score"], lists["max_per_brand"]) == (4, 0.3, 2)
    similar = run_tables.read_table(root, SIMILAR_PRODUCTS, RUN)
    lengths = similar.group_by("product_id").aggregate([([], "count_all")])["count_all"]
    assert pc.max(lengths).as_py() == 4
    recorded = run_tables.read_manifest(root, QUALITY, RUN)["settings"]
    assert recorded["lists"] == {
        "k": 4,
        "min_score": 0.3,
        "max_per_brand": 2,
        "max_brand_share": 0.5,
        "diversity": 0.0,
        "looks_k": 5,
        "looks_min_score": 0.1,
        "looks_alike_min_score": 0.5,
    }
    assert recorded["models"]["encoder"] == "likeness-2"
    gate = recorded["gate"]
    assert (gate["min_products_count"], gate["max_churn_ratio"]) == (10, 0.9)
    # No product has five recommendations where four were asked for.
    quality = run_tables.read_table(root, QUALITY, RUN).to_pylist()
    [five] = [r for r in quality if (r["metric"], r["scope"]) == ("with_5_matches_ratio", "all")]
    assert (five["value"], five["threshold"]) == (0, None)
    assert run_tables.read_manifest(root, LOOK_PRODUCTS, RUN)["parameters"]["k"] == 5


def test_models_come_from_the_settings(config, monkeypatch, caplog):
    root = config.parent / "root"
    add_settings(config, "[models]\ndetector = 'whole'\nencoder = 'nosuch'")
    stage = ["--run", RUN, "--config", str(config)]
    assert detect_items.main(stage) == 0
    assert run_tables.read_manifest(root, ITEMS, RUN)["detector"] == "whole-1"
    assert encode_items.main(stage) == 1 and "encoder 'nosuch': known are" in caplog.text
    monkeypatch.setenv("WEARALIKE_MODELS_DETECTOR", "foreground")
    assert detect_items.main(stage) == 0
    assert run_tables.read_manifest(root, ITEMS, RUN)["detector"] == "foreground-1"


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        (("--k", "0"), "--k': wanted 1 to 1000, got 0"),
        (("--min-score", "nan"), "--min-score': wanted 0 to 1, got nan"),
        (("--encoder", "../x"), "--encoder': wanted a model's name or version"),
        (("--threshold", "max_churn_ratio=2"), "max_churn_ratio: wanted 0 to 1, got 2"),
        (("--threshold", "max_churn_ratio"), "wanted NAME=NUMBER"),
        (("--threshold", "max_chrun_ratio=1"), "did you mean 'max_churn_ratio'?"),
        (("--threshold", "x=1"), "no such threshold; known are min_products_count, "),
    ],
)
def test_a_value_outside_its_range_stops_before_anything_is_done(tmp_path, capsys, option, wanted):
    with pytest.raises(SystemExit, match="2"):
        app.main(["run", "--run", RUN, "--data-dir", str(tmp_path), *option])
    assert wanted in capsys.readouterr().err and not list(tmp_path.iterdir())
