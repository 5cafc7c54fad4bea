"""Leaf classifier: taught by drawn photos of two shops, it tells kinds and leaves codes alone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from wearalike.catalog.label_words import read_label_words
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.commands import app
from wearalike.datasets.labelled_photos import LabelledPhoto
from wearalike.encoding import encoders, leaf_head
from wearalike.metrics.calibration import expected_calibration_error
from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind
from wearalike.training.encoder import leaf_fit
from wearalike.training.encoder.leaf_examples import LeafPhoto
from wearalike.training.encoder.leaf_features import LeafFeatures
from wearalike.training.encoder.leaf_training import LeafSet, Standardizer, train_leaves

SHAPES = {"Trousers": "trousers", "Bag": "bags.other", "Shorts": "shorts"}
COLOURS = ((190, 30, 40), (40, 60, 170), (30, 120, 60), (90, 90, 90), (200, 150, 40))


def draw(word: str, number: int) -> Image.Image:
    """A thing on white: two long legs, two short ones, or a box with a handle."""
    photo = Image.new("RGB", (160, 200), "white")
    pen, colour = ImageDraw.Draw(photo), COLOURS[number % len(COLOURS)]
    shift = 3 * (number % 7)
    if word == "Bag":
        pen.arc((50 + shift, 40, 110 + shift, 140), 180, 360, colour, 6)
        pen.rectangle((35 + shift, 90, 125 + shift, 170), colour)
        return photo
    end = 190 if word == "Trousers" else 100
    pen.rectangle((50 + shift, 20, 110 + shift, 50), colour)
    pen.polygon([(50 + shift, 50), (78 + shift, 50), (70 + shift, end), (46 + shift, end)], colour)
    pen.polygon(
        [(82 + shift, 50), (110 + shift, 50), (114 + shift, end), (90 + shift, end)], colour
    )
    return photo


def make_shop(folder, first: int, extra: str = ""):
    folder.mkdir()
    lines = ["image,split,type,gender"]
    for word in SHAPES:
        for number in range(first, first + 12):
            name = f"{word}-{number}.png"
            draw(word, number).save(folder / name)
            split = ("train", "train", "train", "test", "val", "train")[number % 6]
            lines.append(f"{name},{split},{word},Women")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The folder of a training on two shops."""
    root = tmp_path_factory.mktemp("leaves")
    one = make_shop(root / "one", 0)
    Image.new("RGB", (90, 90), "white").save(one / "odd.png")
    (one / "labels.csv").write_text(
        (one / "labels.csv").read_text() + "odd.png,train,Gizmo,Women\n", encoding="utf-8"
    )
    two = make_shop(root / "two", 30)
    options = ["--data", f"folder={one}", "--data", f"folder={two}", "--device", "cpu"]
    command = ["train", "leaves", *options, "--encoder", "likeness", "--crop-with", "foreground"]
    assert app.main([*command, "--version", "drawn-1", "--out", str(root / "out")]) == 0
    return root / "out"


def read_figures(folder) -> list[dict[str, str]]:
    with (folder / "leaves.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_classifier_names_things_of_a_shop_it_never_saw(taught):
    figures = read_figures(taught)
    left_out = {row["shop"]: row for row in figures if row["is_left_out"] == "True"}
    assert set(left_out) == {"one", "two"}
    for row in left_out.values():
        assert int(row["pictures"]) == 36 and row["unseen"] == "0", "the odd word taught nothing"
        assert float(row["top1"]) > 0.9 and float(row["super_category"]) >= float(row["top1"])
        assert 0 <= float(row["calibration_error"]) < 0.5
    model = registry.read_model(taught / "drawn-1.safetensors")
    assert model.kind is ModelKind.LEAVES and model.classes == tuple(sorted(SHAPES.values()))
    assert model.card["data"] == {"one": 24, "two": 24} and model.card["encoder"] == "likeness-2"
    encoder = registry.packaged_model(ModelKind.ENCODER, "likeness").read()
    made = encoders.build_encoder(encoder, "cpu", model)
    assert isinstance(made, encoders.LeafEncoder)
    crops = [np.asarray(draw(word, 50)) for word in SHAPES]
    found = made.encode_and_classify(crops)
    assert [made.kinds[i] for i in found.probabilities.argmax(axis=1)] == list(SHAPES.values())
    assert np.abs(found.probabilities.sum(axis=1) - 1).max() < 1e-5


def test_codes_and_views_are_those_of_the_encoder_alone_to_the_bit(taught):
    encoder = registry.packaged_model(ModelKind.ENCODER, "likeness").read()
    leaves = registry.read_model(taught / "drawn-1.safetensors")
    crops = [np.asarray(draw(word, number)) for word in SHAPES for number in range(4)]
    alone = encoders.build_encoder(encoder, "cpu").encode(crops)
    beside = encoders.build_encoder(encoder, "cpu", leaves).encode(crops)
    assert (alone.shape == beside.shape).all() and (alone.colour == beside.colour).all()
    assert list(alone.views) == list(beside.views)
    assert len(encoders.build_encoder(encoder, "cpu", leaves).encode([]).shape) == 0


def test_a_classifier_is_not_used_beside_an_encoder_it_was_not_taught_with(taught):
    leaves = registry.read_model(taught / "drawn-1.safetensors")
    other = registry.packaged_model(ModelKind.ENCODER, "fashion").read()
    assert not isinstance(encoders.build_encoder(other, "cpu", leaves), encoders.LeafEncoder)
    with pytest.raises(BadModel, match="drawn-1 was not taught with the descriptors of fashion-4"):
        encoders.LeafEncoder(other, leaves)


def test_an_evaluation_tells_how_often_each_leaf_is_found_and_promotion_reads_it(taught, tmp_path):
    shop = make_shop(tmp_path / "three", 60)
    labels = shop / "labels.csv"
    draw("Bag", 3).save(shop / "cap.png")
    labels.write_text(labels.read_text() + "cap.png,test,Caps,Women\n", encoding="utf-8")
    model = taught / "drawn-1.safetensors"
    out = tmp_path / "evaluation"
    data = ["--data", f"folder={shop}", "--data-dir", str(tmp_path / "data"), "--device", "cpu"]
    command = [
        "evaluate",
        *data,
        "--leaves",
        str(model),
        "--encoder",
        "likeness",
        "--out",
        str(out),
    ]
    assert app.main([*command, "--crop-with", "foreground"]) == 0
    figures = pq.read_table(out / "evaluation.parquet").to_pylist()
    by_key = {(f["category"], f["measure"]): f for f in figures if f["version"] == "drawn-1"}
    assert by_key["trousers", "tpr"]["value"] == by_key["shorts", "tpr"]["value"] == 1.0
    # A cap is no kind that was taught: nobody finds it, and one of the others is said in vain.
    assert by_key["accessories.headwear.caps", "tpr"]["value"] == 0.0
    assert max(by_key[kind, "fpr"]["value"] for kind in SHAPES.values()) > 0
    values = pq.read_table(out / "queries.parquet").to_pylist()
    leaf = [v["value"] for v in values if v["measure"] == "leaf" and v["encoder"] == "drawn-1"]
    assert len(leaf) == 7 and sum(leaf) == 6
    assert (out / "evaluation.xlsx").stat().st_size > 0
    promoting = ["promote", "--kind", "leaves", "--candidate", str(model)]
    deployment = ["--data-dir", str(tmp_path / "data")]
    assert app.main([*promoting, *deployment, "--override", "the first"]) == 0
    promoted = registry.resolve_model(tmp_path / "data", ModelKind.LEAVES)
    assert promoted.version == "drawn-1"


def test_words_without_a_leaf_are_counted_and_nothing_to_learn_is_an_error(tmp_path, caplog):
    shop = tmp_path / "shop"
    shop.mkdir()
    draw("Bag", 1).save(shop / "a.png")
    (shop / "labels.csv").write_text("image,split,type\na.png,train,Gizmo\n", encoding="utf-8")
    command = ["train", "leaves", "--data", f"folder={shop}", "--encoder", "likeness"]
    assert app.main([*command, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert "shop: no leaf in" in caplog.text and "Gizmo 1" in caplog.text
    assert "no photo whose type means a leaf" in caplog.text
    (shop / "labels.csv").write_text("image,split,type\na.png,train,Bag\n", encoding="utf-8")
    assert app.main([*command, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert "wanted two kinds of 4 training pictures each" in caplog.text
    with_fashion = [*command[:-1], "fashion", "--out", str(tmp_path / "out")]
    assert app.main(with_fashion) == 1
    assert "fashion-4 is of architecture" in caplog.text


def test_words_of_labels_mean_leaves_whatever_the_letter_case(tmp_path):
    words = read_label_words(packaged_mapping_path("labels.xml").parent)
    assert words.find_leaf("t-SHIRT").kind == words.find_leaf("Tshirts", "Men").kind == "t-shirts"
    assert words.find_leaf("Tights", "Women").kind == "women.hosiery.tights"
    assert words.find_leaf("Tights", "Men").kind == "track-pants"
    assert words.find_leaf("women.dresses.midi").id == "women.dresses.midi", "a run's own word"
    assert words.find_leaf("Gizmo") is None
    assert read_label_words(tmp_path).find_leaf("Bag").id == "bags.other", "without a deployment"


def test_a_kind_that_one_shop_alone_has_does_not_blunt_the_probabilities():
    words = read_label_words(packaged_mapping_path("labels.xml").parent)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, leaf_head.LEAF_INPUTS))
    sets = []
    for shop, labels in (("one", ("Bag", "Shorts", "Belt")), ("two", ("Bag", "Shorts"))):
        photos = [
            LeafPhoto(
                LabelledPhoto(f"{shop}/{word}{n}", Path("no.png"), "train", {"type": word}),
                words.find_leaf(word),
            )
            for word in labels
            for n in range(20)
        ]
        at = np.repeat(np.arange(len(labels)), 20)
        rows = centres[at] + rng.normal(0, 2, (len(at), leaf_head.LEAF_INPUTS))
        everything = np.arange(len(at))
        features = LeafFeatures(rows.astype(np.float16), everything, everything >= 0)
        sets.append(LeafSet(shop, photos, features))
    ones = np.ones(leaf_head.LEAF_INPUTS, np.float32)
    trained = train_leaves(sets, words.taxonomy, Standardizer(0 * ones, ones))
    first = trained.figures[0]
    assert (first.shop, first.is_left_out, first.pictures, first.unseen) == ("one", True, 60, 20)
    assert first.top1 == pytest.approx(2 / 3) and first.family == pytest.approx(2 / 3)
    # Belts would ask for a temperature without end, by which nothing is sure any more.
    chances = leaf_fit.softmax(
        leaf_fit.compute_logits(trained.head, sets[1].features.rows) / trained.temperature
    )
    assert chances.max(axis=1).min() > 0.9


def test_a_temperature_makes_probabilities_mean_what_they_say():
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 3, 4000)
    logits = rng.normal(size=(4000, 3)).astype(np.float32)
    logits[np.arange(4000), truths] += 1.0
    too_sure = 5 * logits
    temperature = leaf_fit.fit_temperature(too_sure, truths)
    assert 4 < temperature < 6.5
    errors = []
    for one in (too_sure, too_sure / temperature):
        chances = leaf_fit.softmax(one)
        errors.append(
            expected_calibration_error(chances.max(axis=1), chances.argmax(axis=1) == truths)
        )
    assert errors[0] > 0.2 and errors[1] < 0.05
    assert np.isnan(expected_calibration_error([], []))
