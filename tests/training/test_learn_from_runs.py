"""Learning from the tables of a run of the sample shops: no label, no picture seen in the test."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pyarrow.compute as pc
import pytest

from wearalike.commands import app
from wearalike.commands.encoder_training import EncoderTrainingRun
from wearalike.datasets import run_photos
from wearalike.models import registry
from wearalike.pipeline import job
from wearalike.quality import judgements
from wearalike.quality.judgements import JudgementPair, RelevanceVerdict
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, ITEMS, PRODUCTS
from wearalike.training.encoder.training_pictures import list_pictures
from wearalike.warehouse.base import open_warehouse

PRODUCTS_COUNT = 36


@pytest.fixture(scope="module")
def config(night, tmp_path_factory):
    """A copy of the night with a further run of some dresses, shoes and bags of it."""
    folder = tmp_path_factory.mktemp("learn")
    shutil.copytree(night / "root", folder / "root")
    text = (night / "wearalike.toml").read_text(encoding="utf-8")
    path = folder / "wearalike.toml"
    path.write_text(text.replace(str(night / "root"), str(folder / "root")), encoding="utf-8")
    root = folder / "root"
    products, images, items = (
        run_tables.read_table(root, table, "day-1") for table in (PRODUCTS, IMAGES, ITEMS)
    )
    products = products.sort_by("product_id").slice(0, PRODUCTS_COUNT)
    images = images.filter(pc.is_in(images["product_id"], products["product_id"].combine_chunks()))
    items = items.filter(pc.is_in(items["image_id"], images["image_id"].combine_chunks()))
    for table, rows in ((PRODUCTS, products), (IMAGES, images), (ITEMS, items)):
        with run_tables.write_table(root, table, "day-1-few", "few") as writer:
            writer.write(rows)
    return path


def training_run(config, out, data, last_runs=0) -> EncoderTrainingRun:
    return EncoderTrainingRun(data, last_runs, out, "x-1", 0, "cpu", job.read_settings(config))


def test_the_splits_of_a_run_share_no_article(config, tmp_path):
    sources = training_run(config, tmp_path, (), last_runs=5).read_sources()
    assert [source.labelled.name for source in sources] == ["day-1", "day-1-few"]
    by_split = {
        split: {picture.article for picture in list_pictures(sources, None, split)}
        for split in ("train", "val", "test")
    }
    assert all(len(articles) > 5 for articles in by_split.values())
    assert not by_split["train"] & (by_split["val"] | by_split["test"])
    pictures = list_pictures(sources, None, "train")
    # The sample shops show things from two sides, and in several colours.
    assert len({p.product for p in pictures}) < len(pictures)
    assert len({p.article for p in pictures}) < len({p.product for p in pictures})
    assert {p.source for p in pictures} == {"harbour", "lipa", "verano"}
    assert {"type", "gender", "colour"} <= set(pictures[0].labels)


def test_latest_names_the_last_run(config):
    root = job.read_settings(config).data_dir
    assert run_photos.read_run(root, "latest").name == "day-1-few"


def test_a_run_that_is_not_there_is_said(config, tmp_path, caplog):
    options = ["--config", str(config), "--out", str(tmp_path), "--data", "run=day-9"]
    assert app.main(["train", "encoder", *options]) == 1
    assert "day-9" in caplog.text and "is not made" in caplog.text


def test_an_encoder_learns_from_a_run_and_from_judgements(config, tmp_path, caplog):
    warehouse = open_warehouse(job.read_settings(config).warehouse)
    sources = training_run(config, tmp_path, (), last_runs=1).read_sources()
    names = dict.fromkeys(picture.name for picture in list_pictures(sources, None, "train"))
    first, second, third = list(names)[:3]
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    for result, verdict in ((second, RelevanceVerdict.ALIKE), (third, RelevanceVerdict.NOT_ALIKE)):
        pair = JudgementPair(first, result, "women.dresses.midi", 1, 0.5)
        judgements.record_judgement(warehouse, "day-1", "ann", pair, verdict, now)
    options = [
        *("--config", str(config), "--data", "run=day-1-few", "--out", str(tmp_path)),
        *("--version", "shop-1", "--device", "cpu", "--init-from", "imagenet", "--steps", "4"),
        *("--products", "12", "--mask-steps", "3", "--mask-views", "40"),
    ]
    with caplog.at_level("INFO"):
        assert app.main(["train", "encoder", *options]) == 0
    assert "2 judgements give 1 triplets" in caplog.text
    model = registry.read_model(tmp_path / "shop-1.safetensors")
    learned = model.card["data"]["day-1-few"]
    assert 0 < learned < len(sources[0].labelled.photos)
    assert "judged triplets" in (tmp_path / "losses.csv").read_text(encoding="utf-8")
