"""Pictures to label: their order, what is kept of them, and the set that comes of it."""

import csv
import json
from collections import Counter

import pytest
from tests.server.labelled_shop import HEIGHT, MARGINS, WIDTH, publish_shop, write_config
from tests.support.postgres_server import create_database, drop_warehouse, start_server

from wearalike.commands import app
from wearalike.datasets import label_queue, label_review, labelled_photos, picture_labels
from wearalike.datasets.csv_labels import read_labels_csv
from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import BadLabels, LabelledObject
from wearalike.datasets.picture_labels import (
    LabelHistory,
    LabelPicture,
    LabelStatus,
    LabelVocabulary,
    PictureLabel,
)
from wearalike.tables import PICTURE_LABELS
from wearalike.warehouse.base import open_warehouse

WORDS = LabelVocabulary(
    {"dress": "full_body", "shoe": "foot_wear"},
    {
        "leaf": {"women.dresses.midi": "", "women.dresses.mini": ""},
        "colour": {"red": "", "navy": ""},
        "pattern": {"plain": "", "striped": ""},
    },
    {},
)


@pytest.fixture(scope="module")
def shop():
    with start_server() as address:
        yield create_database(address, "shop")


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, tmp_path):
    if request.param == "duckdb":
        return open_warehouse(f"duckdb:{tmp_path / 'warehouse'}")
    return open_warehouse(drop_warehouse(request.getfixturevalue("shop")))


def picture(number: int = 0) -> LabelPicture:
    return LabelPicture(f"{number:064x}", "JPEG", WIDTH, HEIGHT, f"moda:{number}", "moda:a", 0.5)


def dress(x0: int = 10, **attributes: str) -> LabelledObject:
    return LabelledObject("dress", x0, 20, x0 + 100, 220, attributes=attributes)


def label(
    labeller: str,
    *objects: LabelledObject,
    of: LabelPicture | None = None,
    second: int = 0,
    status: LabelStatus = LabelStatus.LABELLED,
) -> PictureLabel:
    saved_at = f"2026-11-30T12:00:{second:02}.000000Z"
    return PictureLabel(of or picture(), labeller, saved_at, status, objects)


def test_the_least_sure_pictures_come_first(tmp_path):
    image_ids = publish_shop(tmp_path / "root", f"duckdb:{tmp_path / 'warehouse'}")
    queue = label_queue.read_queue(tmp_path / "root", "r1")
    wanted = sorted(zip(MARGINS, image_ids, strict=True))
    assert [(one.margin, one.image_id) for one in queue] == wanted
    assert queue[-1].article == queue[-1].product_id == "moda:00004"
    assert label_queue.read_queue(tmp_path / "root", "r1", 2) == queue[:2]


def test_every_save_is_kept_and_the_last_one_of_a_person_counts(warehouse):
    assert picture_labels.read_history(warehouse).rows == []
    saved = [
        label("anna", dress(), second=1),
        label("ben", dress(20, colour="navy"), second=2),
        label("anna", dress(30, leaf="women.dresses.midi", pattern="striped"), second=3),
        label("anna", second=4, of=picture(1), status=LabelStatus.SKIPPED),
        label("carl", dress(), second=5, status=LabelStatus.FINAL),
    ]
    for one in saved:
        picture_labels.record_label(warehouse, "r1", one)
    history = picture_labels.read_history(warehouse)
    assert history.rows == saved
    # Boxes compare without their attributes.
    assert history.rows[2].objects[0].attributes == {
        "leaf": "women.dresses.midi",
        "pattern": "striped",
    }
    assert history.labels_of(picture().image_id) == [saved[2], saved[1]]
    assert history.labels_of(picture(1).image_id) == []
    assert history.finals == {picture().image_id: saved[4]}
    assert warehouse.may_record(PICTURE_LABELS)
    assert label_review.choose_corrected(history)[0] == [saved[4]]
    # Labelled again since it was decided: the final label no longer counts.
    picture_labels.record_label(warehouse, "r1", label("ben", dress(21), second=6))
    again = label_review.choose_corrected(picture_labels.read_history(warehouse))
    assert again == ([], Counter({label_review.OPEN_DISAGREEMENT: 1, label_review.SKIPPED: 1}))


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ({"x0": -1}, "inside the picture"),
        ({"x1": WIDTH + 1}, "inside the picture"),
        ({"x0": 10.5}, "whole px"),
        ({"x0": True}, "whole px"),
        ({"x0": 298}, "4 px a side or more"),
        ({"class": "sofa"}, "class: wanted one of the list"),
        ({"class": ["dress"]}, "class: wanted one of the list"),
        ({"colour": "<b>red</b>"}, "colour: wanted one of the list"),
        ({"leaf": {"a": 1}}, "leaf: wanted one of the list"),
    ],
)
def test_a_box_that_cannot_be_is_refused_with_its_number(box, wanted):
    good = {"x0": 0, "y0": 0, "x1": WIDTH, "y1": HEIGHT, "class": "dress", "colour": ""}
    assert picture_labels.parse_boxes(json.dumps([good]), picture(), WORDS) == (
        LabelledObject("dress", 0, 0, WIDTH, HEIGHT),
    )
    with pytest.raises(BadLabels, match=f"box 2: .*{wanted}"):
        picture_labels.parse_boxes(json.dumps([good, {**good, **box}]), picture(), WORDS)
    with pytest.raises(BadLabels, match="box 2: the same as box 1"):
        picture_labels.parse_boxes(json.dumps([good, good]), picture(), WORDS)
    for text in ("{", "{}", json.dumps([good] * 101), "[" * 50_000):
        with pytest.raises(BadLabels, match="boxes: "):
            picture_labels.parse_boxes(text, picture(), WORDS)


def test_agreement_is_that_of_two_people_by_hand():
    """Four dresses drawn by both: IoU 1, 1, 1 and 90 of 110; one shoe by one alone."""
    shoe = LabelledObject("shoe", 200, 300, 250, 350)
    history = LabelHistory(
        [
            label("anna", dress(colour="red"), dress(150, colour="red"), shoe),
            label("ben", dress(colour="red"), dress(150, colour="navy"), second=1),
            label("anna", dress(colour="navy"), dress(150), of=picture(1), second=2),
            label("ben", dress(20, colour="navy"), dress(150), of=picture(1), second=3),
        ]
    )
    (found,) = label_review.measure_agreement(history)
    assert (found.labellers, found.pictures_count, found.disagreements_count) == (
        ("anna", "ben"),
        2,
        1,
    )
    assert (found.pairs_count, found.single_count) == (4, 1)
    assert found.mean_iou == pytest.approx((3 + 90 / 110) / 4)
    # Two of three colours agree; by chance 2/3 * 1/3 + 1/3 * 2/3.
    assert found.kappas["colour"] == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert found.kappas["class"] is found.kappas["leaf"] is None
    (one,) = label_review.list_disagreements(history)
    names = [(d.name, d.first, d.second) for _, _, group in one.differences for d in group]
    assert names == [("colour", "red", "navy"), ("box", "shoe", "")]
    chosen, left_out = label_review.choose_corrected(history)
    assert [c.picture for c in chosen] == [picture(1)]
    assert left_out == {label_review.OPEN_DISAGREEMENT: 1}


def test_several_items_of_a_picture_stand_in_labels_csv(tmp_path, capsys):
    root = tmp_path / "root"
    image_ids = publish_shop(root, f"duckdb:{tmp_path / 'warehouse'}")
    names = [f"{image_id}.jpg" for image_id in image_ids[:2]]
    folder = tmp_path / "set"
    folder.mkdir()
    for image_id, name in zip(image_ids, names, strict=False):
        cached = root / "cache" / "images" / image_id[:2] / image_id
        (folder / name).write_bytes(cached.read_bytes())
    lines = [
        "image,split,x0,y0,x1,y1,type,class,colour",
        f"{names[0]},train,10,20,110,220,women.dresses.midi,dress,red",
        f"{names[0]},train,110,350,190,390,,shoe,",
        f"{names[1]},test,10,20,110,220,women.dresses.mini,dress,",
    ]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    read = labelled_photos.read_dataset("folder", folder)
    assert {photo.path.name for photo in read.photos} == set(names)
    assert sorted(photo.labels["class"] for photo in read.photos) == ["dress", "dress", "shoe"]
    assert len({photo.id for photo in read.photos}) == 3
    images, problems = read_labels_csv(folder)
    assert problems == [] and sum(len(image.objects) for image in images) == 3
    assert app.main(["check-labels", f"folder={folder}"]) == 0
    printed = capsys.readouterr().out
    assert "2 pictures" in printed and "3 boxes" in printed and "type: said of 2 boxes" in printed
    bad = [
        lines[2],
        f"{names[1]},test,10,20,410,220,,dress,",
        f"{names[1]},train,1,2,41,22,,dress,",
        "gone.jpg,test,,,,,,dress,",
        f"{names[1]},test,1,2",
    ]
    (folder / "labels.csv").write_text("\n".join([*lines, *bad]) + "\n", encoding="utf-8")
    assert app.main(["check-labels", f"folder={folder}"]) == 1
    printed = capsys.readouterr().out
    wanted = ["stands in the file twice", "outside the picture", "split: train", "no such picture"]
    for number, words in enumerate([*wanted, "4 values"], 5):
        assert any(
            f"labels.csv:{number}: " in line and words in line for line in printed.splitlines()
        ), (number, printed)
    with pytest.raises(ValueError, match=r"labels\.csv:5: .*twice"):
        labelled_photos.read_dataset("folder", folder)


def test_the_corrected_set_is_written_checked_trained_on_and_measured(tmp_path, capsys):
    root, warehouse = tmp_path / "root", f"duckdb:{tmp_path / 'warehouse'}"
    publish_shop(root, warehouse)
    config = write_config(tmp_path, warehouse)
    pictures = label_queue.read_queue(root, "r1")
    opened = open_warehouse(warehouse)
    midi = {"leaf": "women.dresses.midi", "colour": "navy", "pattern": "plain"}
    gone = picture(9)
    saved = [
        *(label("anna", dress(n, **midi), of=one, second=n) for n, one in enumerate(pictures[:4])),
        label("ben", dress(0, **midi), of=pictures[0], second=10),
        label("ben", dress(1, **midi | {"colour": "red"}), of=pictures[1], second=11),
        label("ben", dress(150), of=pictures[2], second=12),
        label("carl", dress(5), of=pictures[2], second=13, status=LabelStatus.FINAL),
        label("anna", of=pictures[4], second=14),
        label("anna", of=pictures[5], second=15, status=LabelStatus.SKIPPED),
        label("anna", dress(), of=gone, second=16),
    ]
    for one in saved:
        picture_labels.record_label(opened, "r1", one)
    out = tmp_path / "labels"
    assert app.main(["export-labels", "--out", str(out), "--config", str(config)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"{out}: 4 pictures, 3 boxes",
        "left out, open disagreement: 1",
        "left out, picture gone: 1",
        "left out, skipped: 1",
    ]
    assert (out / ".gitignore").read_text() == "*\n"
    images, problems = reading.read_labels("coco", out)
    assert problems == [] and {image.path.stem for image in images} == {
        pictures[n].image_id for n in (0, 2, 3, 4)
    }
    by_stem = {image.path.stem: image for image in images}
    assert by_stem[pictures[2].image_id].objects == (dress(5),)
    assert by_stem[pictures[0].image_id].objects[0].attributes == midi
    assert by_stem[pictures[4].image_id].objects == ()
    with (out / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["type"], row["class"], row["colour"]) for row in rows} == {
        ("women.dresses.midi", "dress", "navy"),
        ("", "dress", ""),
    }
    again = tmp_path / "again"
    assert app.main(["export-labels", "--out", str(again), "--config", str(config)]) == 0
    for path in (p for p in out.rglob("*") if p.is_file()):
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()
    assert app.main(["export-labels", "--out", str(out), "--config", str(config)]) == 1
    for name in ("anna", "ben"):
        own = ["--labeller", name, "--out", str(tmp_path / name)]
        assert app.main(["export-labels", *own, "--config", str(config)]) == 0
    capsys.readouterr()
    compared = [f"coco={tmp_path / 'anna'}", "--compare-with", f"coco={tmp_path / 'ben'}"]
    assert app.main(["check-labels", *compared, "--out", str(tmp_path / "compared")]) == 0
    assert "Cohen's kappa of colour, of 2 boxes" in capsys.readouterr().out
    assert app.main(["check-labels", f"folder={out}"]) == 0
    assert app.main(["check-labels", f"coco={out}"]) == 0
    data = ["--data", f"coco={out}", "--device", "cpu"]
    steps = ["--architecture", "fcos-lite0", "--cell-steps", "0", "--steps", "1", "--batch", "1"]
    trained = ["--out", str(tmp_path / "mine"), *steps]
    assert app.main(["train", "detector", *data, *trained]) == 0
    measured = ["--split", "all", "--detector", "whole", "--out", str(tmp_path / "evaluation")]
    assert app.main(["evaluate", *data, *measured, "--config", str(config)]) == 0
    result = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert "labels" in json.dumps(result)
