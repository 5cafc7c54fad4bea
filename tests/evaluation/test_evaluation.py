"""Evaluation: exact rankings, metrics as defined, and one command that writes the whole table."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook
from PIL import Image, ImageDraw

from wearalike.commands import app
from wearalike.datasets import labelled_photos
from wearalike.detection import detect
from wearalike.evaluation import (
    compare_detectors,
    compare_encoders,
    distances,
    extract,
    ground_truth,
    rank,
)
from wearalike.evaluation.compare_encoders import EncoderUnderTest
from wearalike.evaluation.descriptors.classic import ColourHistogram, HogDescriptor
from wearalike.evaluation.detectors import ClassAgnosticDetectorAdapter, PhotoDetections
from wearalike.evaluation.extract import ExtractedFeatures
from wearalike.evaluation.results import RESULT_KEYS, SPEED_MEASURE
from wearalike.models import promotion_decision, registry
from wearalike.models.files import ModelKind

COLOURS = {"red": (200, 30, 40), "blue": (30, 60, 190), "green": (30, 150, 60)}
SHAPES = ("bag", "trousers")


def drawn(shape: str, colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (96, 120), "white")
    draw = ImageDraw.Draw(image)
    dx, dy = rng.integers(-6, 7, 2).tolist()
    lit = tuple(int(c * rng.uniform(0.9, 1.1)) for c in colour)
    if shape == "bag":
        draw.rectangle((14 + dx, 50 + dy, 82 + dx, 104 + dy), fill=lit)
        draw.arc((32 + dx, 20 + dy, 64 + dx, 80 + dy), 180, 360, fill=lit, width=6)
    else:
        draw.polygon(
            [
                (30 + dx, 10 + dy),
                (66 + dx, 10 + dy),
                (76 + dx, 110 + dy),
                (54 + dx, 110 + dy),
                (48 + dx, 45 + dy),
            ],
            fill=lit,
        )
        draw.polygon(
            [
                (30 + dx, 10 + dy),
                (66 + dx, 10 + dy),
                (48 + dx, 45 + dy),
                (42 + dx, 110 + dy),
                (20 + dx, 110 + dy),
            ],
            fill=lit,
        )
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """36 pictures, six of each shape and colour, a third of them in the test split."""
    made, rng = tmp_path_factory.mktemp("photos") / "drawn", np.random.default_rng(0)
    (made / "images").mkdir(parents=True)
    lines = ["image,split,type,colour"]
    for number in range(36):
        shape, colour = SHAPES[number % 2], list(COLOURS)[number // 2 % 3]
        name = f"images/{number:02}.png"
        drawn(shape, COLOURS[colour], rng).save(made / name)
        lines.append(f"{name},{'test' if number < 12 else 'train'},{shape},{colour}")
    (made / "labels.csv").write_text("\n".join(lines) + "\n")
    return made


def photos(*labels: dict[str, str], splits: str = "") -> labelled_photos.LabelledDataset:
    found = tuple(
        labelled_photos.LabelledPhoto(f"{i:03}", Path(f"{i}"), s, each)
        for i, (each, s) in enumerate(zip(labels, splits.split(), strict=True))
    )
    return labelled_photos.LabelledDataset("few", found, ("type", "colour", "both"))


def split_of(n: int, split: str = "all") -> rank.QueryGallerySplit:
    splits = " ".join(("test", "train", "train")[i % 3] for i in range(n))
    return rank.split_query_gallery(photos(*[{"type": "x"}] * n, splits=splits), split)


FAR = {
    "cosine": lambda q, g: 1 - q @ g / np.linalg.norm(q) / np.linalg.norm(g),
    "euclidean": lambda q, g: np.linalg.norm(q - g),
    "manhattan": lambda q, g: np.abs(q - g).sum(),
    "hellinger": lambda q, g: np.linalg.norm(np.sqrt(q / q.sum()) - np.sqrt(g / g.sum())),
}


@pytest.mark.parametrize("distance", FAR)
@pytest.mark.parametrize("split", ["test", "all"])
def test_rankings_of_floats_are_those_of_the_definition(distance, split):
    rows = np.random.default_rng(1).random((90, 12), np.float32)
    rows[30], rows[60] = rows[0], rows[0]
    trial = split_of(90, split)
    found = rank.rank_gallery(rows, trial, distance, 7)
    assert found.shape == (len(trial.queries), 7) and len(trial.queries) == (
        30 if split == "test" else 90
    )
    for query, results in zip(trial.queries.tolist(), found.tolist(), strict=True):
        far = {
            g: round(float(FAR[distance](rows[query].astype(float), rows[g].astype(float))), 7)
            for g in trial.gallery.tolist()
            if g != query
        }
        assert results == sorted(far, key=lambda g: (far[g], g))[:7]


@pytest.mark.parametrize(
    ("distance", "weights"),
    [
        ("hamming", (1, 1)),
        ("hamming 8:2", (8, 2)),
        ("hamming 1:0", (1, 0)),
        ("hamming 0:1", (0, 1)),
    ],
)
def test_rankings_of_codes_are_those_of_the_definition(distance, weights):
    codes = np.random.default_rng(2).integers(0, 256, (90, 32), np.uint8)
    codes[40:50] = codes[0]
    trial = split_of(90, "all")
    found = rank.rank_gallery(codes, trial, distance, 5)
    ones = np.bitwise_count(codes[:, None] ^ codes[None])
    far = weights[0] * ones[..., :16].sum(axis=2, dtype=int) + weights[1] * ones[..., 16:].sum(
        axis=2, dtype=int
    )
    for query, results in zip(trial.queries.tolist(), found.tolist(), strict=True):
        assert results == sorted(set(range(90)) - {query}, key=lambda g: (far[query, g], g))[:5]


def test_bits_of_any_length_are_compared():
    hashes = np.array([[0b1111], [0b0111], [0b0000], [0b0001]], np.uint8)
    assert rank.rank_gallery(hashes, split_of(4), "hamming", 5).tolist() == [
        [1, 3, 2, -1, -1],
        [0, 3, 2, -1, -1],
        [3, 1, 0, -1, -1],
        [2, 1, 0, -1, -1],
    ]


def test_a_distance_that_does_not_suit_is_refused():
    floats, hashes = np.ones((4, 3), np.float32), np.zeros((4, 8), np.uint8)
    assert distances.is_suitable_distance("cosine", floats) and distances.is_suitable_distance(
        "hamming", hashes
    )
    for distance, rows in (
        ("hamming 1:1", floats),
        ("cosine", hashes),
        ("hamming 8:2", hashes),
        ("hellinger", -floats),
    ):
        with pytest.raises(ValueError, match=f"distance '{distance}' is not for"):
            rank.rank_gallery(rows, split_of(4), distance, 2)
    for distance in ("hamming 0:0", "hamming 1", "cosinus"):
        with pytest.raises(ValueError, match=f"distance '{distance}': known are"):
            distances.is_suitable_distance(distance, hashes)


def test_measures_are_those_of_the_definition():
    # The gallery is rows 1..5. The query shares its type with 1, 3 and 5, its colour with 3 and 4.
    types, colours = ["a", "a", "b", "a", "b", "a"], ["r", "g", "g", "r", "r", ""]
    trial = rank.split_query_gallery(
        photos(
            *({"type": t, "colour": c} for t, c in zip(types, colours, strict=True)),
            splits="test" + " train" * 5,
        ),
        "test",
    )
    values = rank.compute_retrieval_metrics(trial, np.array([[1, 2, 3, 4, -1]]), 5)
    assert set(values) == {
        f"{kind}{label}"
        for kind in ("", "mAP ", "relevance ")
        for label in ("type", "colour", "both")
    }
    assert (
        values["type"] == [2 / 5]
        and values["mAP type"] == pytest.approx([(1 + 2 / 3) / 3])
        and values["relevance type"] == pytest.approx([8 / 15])
    )
    assert values["colour"] == [2 / 5] and values["mAP colour"] == pytest.approx(
        [(1 / 3 + 2 / 4) / 2]
    )
    assert values["both"] == [1 / 5] and values["mAP both"] == pytest.approx([1 / 3])


def test_a_query_whose_label_is_not_known_is_left_out_and_one_without_any_relevant_has_no_map():
    few = photos(
        {"type": "a"},
        {"type": "a", "colour": "r"},
        {"type": "b", "colour": "g"},
        splits="test test test",
    )
    values = rank.compute_retrieval_metrics(
        rank.split_query_gallery(few, "test"), np.array([[1, 2], [0, 2], [0, 1]]), 2
    )
    np.testing.assert_array_equal(values["type"], [0.5, 0.5, 0])
    np.testing.assert_array_equal(values["mAP type"], [1, 1, np.nan])
    np.testing.assert_array_equal(values["colour"], [np.nan, 0, 0])


def test_who_asks_and_who_answers():
    mixed = photos(*[{"type": "a"}] * 4, splits="test train val test")
    each = {split: rank.split_query_gallery(mixed, split) for split in ("test", "val", "all")}
    assert {s: (t.queries.tolist(), t.gallery.tolist()) for s, t in each.items()} == {
        "test": ([0, 3], [1, 2]),
        "val": ([2], [0, 1, 3]),
        "all": ([0, 1, 2, 3], [0, 1, 2, 3]),
    }
    with pytest.raises(ValueError, match="few: 0 photos of split val"):
        rank.split_query_gallery(photos(*[{"type": "a"}] * 3, splits="test train test"), "val")


def test_differences_are_paired_and_the_reference_has_none():
    few = photos(
        *[{"type": "ab"[i % 2], "colour": "r"} for i in range(20)], splits=" ".join(["test"] * 20)
    )
    good = np.array([[i % 2, 1] for i in range(20)], np.float32)
    poor = np.random.default_rng(0).random((20, 2), np.float32)
    contestants = [
        EncoderUnderTest(n, ExtractedFeatures(rows, np.ones(1)), ["euclidean", "cosine"])
        for n, rows in (("poor", poor), ("good", good))
    ]
    found = compare_encoders.compare_encoders(
        rank.split_query_gallery(few, "test"), contestants, [3, 5]
    )
    assert all(tuple(row) == RESULT_KEYS for row in found.rows) and len(found.rows) == 2 * 2 * (
        2 * 9 + 2
    )
    gains = {
        (
            r["encoder"],
            r["distance"],
            r["reference"],
            r["reference_distance"],
            r["measure"],
            r["k"],
        ): r
        for r in found.differences
    }
    assert len(gains) == len(found.differences) == 2 * 2 * 9 and {key[0] for key in gains} == {
        "good"
    }
    gain = gains["good", "cosine", "poor", "cosine", "type", 3]
    values = {(r["encoder"], r["distance"], r["measure"], r["k"]): r["value"] for r in found.rows}
    assert (
        gain["value"]
        == pytest.approx(values["good", "cosine", "type", 3] - values["poor", "cosine", "type", 3])
        and gain["low"] > 0
    )
    best, worst = (
        [s for s in found.examples if s.encoder == "poor" and s.is_best is b] for b in (True, False)
    )
    assert len(best) == len(worst) == 4 and min(s.value for s in best) >= max(
        s.value for s in worst
    )
    assert all(
        len(s.results) == len(s.is_relevant) == 3 and s.query not in s.results for s in best + worst
    )


def test_crops_and_rows_are_kept_by_content(folder, tmp_path):
    drawn_set = labelled_photos.read_dataset("folder", folder)
    crops = extract.DatasetCrops(drawn_set, detect.ForegroundDetector(), tmp_path)
    assert [c.shape for c in crops[[0]]] != [(120, 96, 3)] and crops[[0]][0].shape[0] > 60
    batch_sizes: list[int] = []
    first = extract.extract_features(
        crops, ColourHistogram(), np.arange(12, 36), tmp_path, batch_sizes.append
    )
    assert (
        sum(batch_sizes) == 36
        and first.rows.shape == (36, 192)
        and first.bytes_per_image == 768
        and first.images_per_second.queries == 36
    )
    again = extract.extract_features(
        extract.DatasetCrops(drawn_set, detect.ForegroundDetector(), tmp_path),
        ColourHistogram(),
        np.arange(3),
        tmp_path,
        batch_sizes.append,
    )
    assert sum(batch_sizes) == 36
    np.testing.assert_array_equal(again.rows, first.rows)
    whole = extract.extract_features(
        extract.DatasetCrops(drawn_set, detect.WholeImageDetector(), tmp_path),
        ColourHistogram(),
        np.arange(3),
        tmp_path,
        batch_sizes.append,
    )
    assert sum(batch_sizes) == 72 and (whole.rows != first.rows).any()
    extract.extract_features(crops, HogDescriptor(), np.arange(3), tmp_path, batch_sizes.append)
    assert sum(batch_sizes) == 108


def test_a_box_somebody_drew_is_what_is_looked_at(tmp_path):
    Image.new("RGB", (50, 40), "white").save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,split,type,x0,y0,x1,y1\na.png,test,bag,5,6,25,36\n")
    crops = extract.DatasetCrops(
        labelled_photos.read_dataset("folder", tmp_path),
        detect.ForegroundDetector(),
        tmp_path / "cache",
    )
    assert [c.shape for c in crops[[0]]] == [(30, 20, 3)]


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (tmp_path / "labels.csv").write_text("image,split,type\na.jpg,test,bag\n")
    with pytest.raises(ValueError, match=r"a\.jpg: (not_a_picture|undecodable|truncated)"):
        extract.DatasetCrops(
            labelled_photos.read_dataset("folder", tmp_path),
            detect.ForegroundDetector(),
            tmp_path / "cache",
        )


def test_one_command_writes_the_whole_table(folder, tmp_path, capsys, caplog):
    arguments = [
        "--data",
        f"folder={folder}",
        "--encoder",
        "phash",
        "--encoder",
        "hsv",
        "--encoder",
        "contour",
        "--baseline",
        "hsv",
        "--k",
        "5",
        "--out",
        str(tmp_path),
    ]
    with caplog.at_level(logging.ERROR):
        assert app.main(["evaluate", *arguments]) == 0, caplog.text
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    assert {tuple(row) for row in rows} == {RESULT_KEYS}
    values = {(r["encoder"], r["distance"], r["measure"]): r for r in rows}
    assert (
        values["hsv-1", "hellinger", "colour"]["value"] > 0.8
        and values["hsv-1", "hellinger", "bytes an image"]["value"] == 768
    )
    assert (
        values["contour-1", "cosine", "type"]["value"] == 1
        and values["contour-1", "cosine", "colour"]["value"] < 0.7
    )
    row = values["contour-1", "cosine", "mAP both"]
    assert (
        row["dataset"] == "drawn"
        and row["split"] == "test"
        and row["k"] == 5
        and row["queries"] == 12
    )
    assert row["low"] < row["value"] < row["high"]
    printed = capsys.readouterr().out
    assert "precision@5" in printed and "relevance@5" in printed and "images a second" in printed
    differences = json.loads((tmp_path / "differences.json").read_text())
    assert {r["reference"] for r in differences} == {"hsv-1"} and {
        r["encoder"] for r in differences
    } == {"phash-1", "contour-1"}
    assert json.loads((tmp_path / "models.json").read_text()) == {
        "hsv-1": None,
        "phash-1": None,
        "contour-1": None,
    }
    queries = pq.read_table(tmp_path / "queries.parquet").to_pandas()
    mine = queries[
        (queries.encoder == "contour-1")
        & (queries.distance == "cosine")
        & (queries.measure == "mAP both")
    ]
    assert len(mine) == 12 and mine["value"].mean() == pytest.approx(row["value"])
    assert pq.read_table(tmp_path / "evaluation.parquet").num_rows == len(rows)
    assert "hsv-1" in (tmp_path / "evaluation.html").read_text()
    assert "compare encoders" in load_workbook(tmp_path / "evaluation.xlsx").sheetnames


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--encoder", "nosuch"], "encoder 'nosuch': known are"),
        (
            ["--encoder", "hsv", "--baseline", "phash"],
            "--baseline phash: not among --encoder hsv",
        ),
        (
            ["--encoder", "hsv", "--distance", "hamming"],
            "--distance hamming: none of them is for hsv-1",
        ),
        (["--encoder", "hsv", "--k", "0"], "--k 0: wanted 1 or more"),
        (
            ["--encoder", "hsv", "--weights", "vgg16=a.pth"],
            "--weights vgg16: not among --encoder hsv",
        ),
    ],
)
def test_what_cannot_be_done_is_said(folder, tmp_path, caplog, more, message):
    assert (
        app.main(["evaluate", "--data", f"folder={folder}", "--out", str(tmp_path / "out"), *more])
        == 1
    )
    assert message in caplog.text and not (tmp_path / "out" / "evaluation.json").exists()


def test_help_says_what_can_be_measured(capsys):
    assert app.main(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        word in text for word in ("--baseline", "efficientnet-lite0", "foreground", "promoted")
    )


@pytest.fixture(scope="module")
def boxed(folder, tmp_path_factory) -> Path:
    """The same pictures with the box of what is on them."""
    made = tmp_path_factory.mktemp("photos") / "boxed"
    shutil.copytree(folder, made)
    lines = (folder / "labels.csv").read_text().splitlines()
    with (made / "labels.csv").open("w") as file:
        file.write(f"{lines[0]},x0,y0,x1,y1\n")
        for line in lines[1:]:
            left, top, right, bottom = (
                Image.open(made / line.split(",")[0])
                .convert("L")
                .point(lambda v: 255 * (v < 250))
                .getbbox()
            )
            file.write(f"{line},{left},{top},{right},{bottom}\n")
    return made


class SeesBags:
    """Where something is, and that it is a bag."""

    version, sha256 = "bags-1", None

    def detect(self, picture):
        rows, columns = np.nonzero((picture < 250).all(axis=2))
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return PhotoDetections(np.array([box], float), ["bag"], np.array([0.9]))


def test_detectors_are_measured_by_boxes_and_by_photo(boxed):
    scenes = ground_truth.read_ground_truth(
        "folder", labelled_photos.read_dataset("folder", boxed), boxed, "test"
    )
    assert len(scenes) == 12 and {s.classes for s in scenes} == {("bag",), ("trousers",)}
    seen, blind = (
        compare_detectors.evaluate_detector("boxed", "test", scenes, d, 0.5, lambda n: None)
        for d in (
            SeesBags(),
            ClassAgnosticDetectorAdapter(detect.WholeImageDetector()),
        )
    )
    assert seen.kind == "detector" and seen.classifier is None
    measures = {m.category: m for m in seen.metrics}
    assert (measures["bag"].tpr, measures["bag"].fpr, measures["bag"].precision) == (
        1,
        1,
        0.5,
    ) and measures["trousers"].tpr == 0
    is_bag = [float(s.classes == ("bag",)) for s in scenes]
    assert seen.values["f1"].tolist() == seen.values["tpr"].tolist() == is_bag
    assert {r["measure"]: r["value"] for r in seen.rows if r["measure"] != SPEED_MEASURE} == {
        "f1": 0.5,
        "tpr": 0.5,
    }
    assert {tuple(r) for r in seen.rows} == {RESULT_KEYS}
    gains = {r["measure"]: r for r in compare_detectors.paired_differences(seen, blind)}
    assert (
        gains["f1"]["value"] == 0.5
        and gains["f1"]["low"] > 0
        and gains["f1"]["reference"] == "whole-1"
    )
    assert (
        seen.queries.schema == promotion_decision.QUERIES_SCHEMA
        and seen.queries["value"].to_pylist() == is_bag * 2
    )


def test_detectors_are_measured_by_super_category_where_no_box_is_known(folder):
    scenes = ground_truth.read_ground_truth(
        "folder", labelled_photos.read_dataset("folder", folder), folder, "test"
    )
    seen = compare_detectors.evaluate_detector(
        "drawn", "test", scenes, SeesBags(), 0.5, lambda n: None
    )
    assert seen.kind == "classifier" and seen.classifier and seen.classifier.top1 == 0.5
    assert seen.values["super-category"].tolist() == [float(s.classes == ("bag",)) for s in scenes]


def test_masks_give_boxes_of_every_item(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    mask = np.zeros((100, 80), np.uint8)
    mask[10:60, 20:60] = 1
    mask[70:90, 10:30] = mask[70:90, 50:70] = 2
    Image.new("RGB", (80, 100), "white").save(tmp_path / "photos" / "a.jpg")
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    (tmp_path / "labels.txt").write_text("null\ndress\nboots\n")
    (tmp_path / "photos.csv").write_text("photo,split\na,test\n")
    (scene,) = ground_truth.read_ground_truth(
        "ccp", labelled_photos.read_dataset("ccp", tmp_path), tmp_path, "test"
    )
    assert scene.classes == ("dress", "boot", "boot")
    assert sorted(scene.corners.tolist()) == [[10, 70, 30, 90], [20, 10, 60, 60], [50, 70, 70, 90]]
    with pytest.raises(ValueError, match="no photo of split val says what garment is on it"):
        ground_truth.read_ground_truth(
            "ccp", labelled_photos.read_dataset("ccp", tmp_path), tmp_path, "val"
        )


def test_detectors_and_encoders_go_into_one_report(boxed, tmp_path, caplog):
    arguments = [
        "--data",
        f"folder={boxed}",
        "--encoder",
        "hsv",
        "--detector",
        "promoted",
        "--detector",
        "whole",
        "--out",
        str(tmp_path),
    ]
    assert app.main(["evaluate", *arguments, "--data-dir", str(tmp_path / "root")]) == 0, (
        caplog.text
    )
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    assert {r["encoder"] for r in rows} == {"hsv-1", "outfit-1", "whole-1"}
    assert json.loads((tmp_path / "models.json").read_text()) == {
        "hsv-1": None,
        "outfit-1": registry.packaged_model(ModelKind.DETECTOR, "outfit").sha256,
        "whole-1": None,
    }
    gains = json.loads((tmp_path / "differences.json").read_text())
    assert {(r["encoder"], r["reference"], r["measure"]) for r in gains} == {
        ("whole-1", "outfit-1", m) for m in ("f1", "tpr")
    }
    queries = pq.read_table(tmp_path / "queries.parquet").to_pandas()
    assert (
        set(queries[queries.encoder == "whole-1"].measure) == {"f1", "tpr"}
        and not queries.k.isna().any()
    )
    assert {"encoder", "detector"} <= set(
        pq.read_table(tmp_path / "evaluation.parquet")["kind"].to_pylist()
    )
    assert "outfit-1" in (tmp_path / "evaluation.html").read_text()


def test_an_item_is_chosen_as_the_nightly_run_chooses_it():
    rows = [
        {
            "item_id": str(i),
            "x0": 0,
            "y0": 0,
            "x1": side,
            "y1": side,
            "confidence": confidence,
            "super_category": name,
        }
        for i, (side, confidence, name) in enumerate(
            [(10, 0.9, "bags"), (40, 0.5, "bags"), (90, 0.9, "outerwear"), (50, 0.9, None)]
        )
    ]
    assert [
        extract.representative_box(rows, wanted)[2]
        for wanted in ("bags", "outerwear", "foot_wear", None)
    ] == [40, 90, 50, 50]
