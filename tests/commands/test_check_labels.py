"""The check of label files: what it counts, what it names,
and how two people's agreement is computed, by hand.
"""

import csv
import json
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from wearalike.commands import app
from wearalike.datasets import label_agreement
from wearalike.datasets.formats.record import LabelledObject
from wearalike.reports import label_agreement_page

SIDE = 100
DRESS, SHOES, FORMULA, TAG = "dress", "shoes", "=1+1", "<script>alert(1)</script>"
NAMES = [DRESS, SHOES, FORMULA, TAG]


def coco(folder: Path, pictures: dict[str, list], size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    """A set; pictures: the boxes of each, a class and x0, y0, x1, y1."""
    images, annotations = [], []
    for number, (name, boxes) in enumerate(pictures.items()):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "white").save(path)
        images.append({"id": number, "file_name": name})
        for category, x0, y0, x1, y1 in boxes:
            box = {
                "image_id": number,
                "category_id": NAMES.index(category),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            annotations.append({"id": len(annotations), **box})
    classes = [{"id": n, "name": name} for n, name in enumerate(NAMES)]
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations/labels.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": classes})
    )
    return folder


def yolo(folder: Path, pictures: dict[str, list]) -> Path:
    for name, boxes in pictures.items():
        path, text = (
            folder / "images/train" / name,
            (folder / "labels/train" / name).with_suffix(".txt"),
        )
        for parent in (path.parent, text.parent):
            parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), "white").save(path)
        lines = [
            f"{NAMES.index(c)} {(x0 + x1) / 2 / SIDE} {(y0 + y1) / 2 / SIDE} {(x1 - x0) / SIDE} "
            f"{(y1 - y0) / SIDE}"
            for c, x0, y0, x1, y1 in boxes
        ]
        text.write_text("\n".join(lines))
    (folder / "data.yaml").write_text(json.dumps({"names": NAMES}))
    return folder


# By hand: a.jpg has a dress that both drew (IoU 80 / 100), shoes that the second calls a dress (IoU
# 1), and shoes of the first alone, for 20 of 60 is no pair. b.jpg has a dress and shoes that both
# drew alike, and a formula of the second alone.
FIRST = {
    "a.jpg": [(DRESS, 0, 0, 10, 10), (SHOES, 20, 0, 30, 10), (SHOES, 50, 0, 90, 10)],
    "b.jpg": [(DRESS, 0, 0, 50, 50), (SHOES, 60, 60, 90, 90)],
}
SECOND = {
    "a.jpg": [(DRESS, 20, 0, 30, 10), (DRESS, 0, 0, 10, 8), (SHOES, 70, 0, 90, 8)],
    "b.jpg": [(SHOES, 60, 60, 90, 90), (DRESS, 0, 0, 50, 50), (FORMULA, 60, 0, 90, 30)],
}


def run(*args: object) -> int:
    return app.main(["check-labels", *(str(arg) for arg in args)])


def test_counts_and_no_problems(tmp_path, capsys):
    assert run(f"coco={coco(tmp_path, {**FIRST, 'c.jpg': []})}") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][1:] == [
        "3",
        "pictures,",
        "1",
        "of",
        "them",
        "without",
        "a",
        "box,",
        "5",
        "boxes",
    ]
    assert lines[1:] == [["class", "boxes", "pictures"], ["dress", "2", "2"], ["shoes", "3", "2"]]


def test_every_problem_is_printed_and_the_exit_code_is_1(tmp_path, capsys):
    folder = yolo(tmp_path / "set", FIRST)
    text = folder / "labels/train/a.txt"
    text.write_text("9 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5\n")
    assert run(f"yolo={folder}") == 1
    printed = capsys.readouterr().out
    assert (
        f"{text}:1: unknown class id '9'" in printed
        and f"{text}:3: wrong count of numbers" in printed
        and f"{text}:2" not in printed
    )
    other = coco(tmp_path / "other", SECOND)
    assert run(f"coco={other}", "--compare-with", f"yolo={folder}", "--out", tmp_path / "out") == 1
    assert f"{text}:3: wrong count" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_two_people_of_two_formats_are_compared(tmp_path, capsys):
    first, second = (
        coco(tmp_path / "anna", {**FIRST, "mine.jpg": []}),
        yolo(tmp_path / "ben", SECOND),
    )
    assert run(f"coco={first}", "--compare-with", f"yolo={second}", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "2 pictures compared; only in the first 1, only in the second 0" in printed
    table = printed[printed.index("class  matched") :].splitlines()
    assert [re.split(r"\s{2,}", line.strip()) for line in table[:5]] == [
        ["class", "matched", "only first", "only second", "other class", "mean IoU"],
        ["all", "3", "1", "2", "1", "0.933"],
        ["=1+1", "0", "0", "1", "0", "–"],
        ["dress", "2", "0", "0", "1", "0.900"],
        ["shoes", "1", "1", "1", "1", "1.000"],
    ]
    # Four pairs, three alike: 0.75. The first says dress in 2 of 4, the second in 3:
    # by chance 2/4·3/4 + 2/4·1/4 = 0.5. So 0.5.
    assert table[5] == "Cohen's kappa of the classes of 4 boxes that both drew: 0.500"
    with (tmp_path / "out/disagreements.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:5] == ["picture", "verdict", "first", "second", "iou"]
    assert rows[1:] == [
        [
            "a.jpg",
            "other class",
            "shoes",
            "dress",
            "1.000",
            "20",
            "0",
            "30",
            "10",
            "20",
            "0",
            "30",
            "10",
        ],
        ["a.jpg", "only first", "shoes", "", "0.000", "50", "0", "90", "10", "", "", "", ""],
        ["a.jpg", "only second", "", "shoes", "0.000", "", "", "", "", "70", "0", "90", "8"],
        ["b.jpg", "only second", "", "'=1+1", "0.000", "", "", "", "", "60", "0", "90", "30"],
    ]


def test_the_page_shows_both_peoples_boxes_and_no_markup_of_the_data(tmp_path):
    name = "<b>&.jpg"
    first = coco(
        tmp_path / "anna",
        {name: [(TAG, 0, 0, 40, 40)], "same.jpg": [(DRESS, 1, 1, 9, 9)]},
        size=(SIDE, 2 * SIDE),
    )
    second = coco(
        tmp_path / "ben",
        {name: [(DRESS, 5, 0, 45, 40)], "same.jpg": [(DRESS, 1, 1, 9, 9)]},
        size=(SIDE, 2 * SIDE),
    )
    assert run(f"coco={first}", "--compare-with", f"coco={second}", "--out", tmp_path / "out") == 0
    page = (tmp_path / "out/disagreements.html").read_text(encoding="utf-8")
    assert (
        "<script" not in page
        and "<b>&" not in page
        and "&lt;script&gt;alert(1)" in page
        and "&lt;b&gt;&amp;.jpg" in page
    )
    assert re.findall(r'<rect class="(\w+)" x="(\d+)" y="0" width="40" height="40">', page) == [
        ("first", "0"),
        ("second", "5"),
    ]
    assert (
        'viewBox="0 0 100 200"' in page and page.count("<article>") == 1 and "same.jpg" not in page
    )
    assert (
        not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
        and page.count("data:image/jpeg;base64,") == 1
    )
    assert "1 of 1 pictures that differ" in page
    assert "/ dress, at x 0, y 0, IoU 0.78</li>" in page
    assert (
        run(
            f"coco={first}",
            "--compare-with",
            f"coco={second}",
            "--out",
            tmp_path / "few",
            "--pictures",
            0,
        )
        == 0
    )
    assert "0 of 1 pictures that differ" in (tmp_path / "few/disagreements.html").read_text(
        encoding="utf-8"
    )


def test_two_files_of_one_folder_are_compared(tmp_path, capsys):
    folder = coco(tmp_path, FIRST)
    (folder / "annotations/labels.json").rename(folder / "annotations/anna.json")
    (folder / "annotations/ben.json").write_bytes((folder / "annotations/anna.json").read_bytes())
    sides = [f"coco={folder / 'annotations' / name}.json" for name in ("anna", "ben")]
    assert run(sides[0], "--compare-with", sides[1], "--out", tmp_path / "out") == 0
    assert "5 boxes that both drew: 1.000" in capsys.readouterr().out


def test_pictures_that_cannot_be_compared_are_named(tmp_path, caplog):
    first = coco(tmp_path / "anna", {"a.jpg": []})
    for folder, pictures, size, words in (
        ("other", {"b.jpg": []}, (SIDE, SIDE), "no picture is in both"),
        ("small", {"a.jpg": []}, (50, SIDE), "100 x 100 px"),
        ("twice", {"train/a.jpg": [], "val/a.jpg": []}, (SIDE, SIDE), "both are a.jpg"),
    ):
        caplog.clear()
        assert (
            run(
                f"coco={first}",
                "--compare-with",
                f"coco={coco(tmp_path / folder, pictures, size)}",
                "--out",
                tmp_path / "out",
            )
            == 1
        )
        assert words in caplog.text and not (tmp_path / "out").exists()


def test_the_best_overlap_is_taken_first_whatever_it_is_called():
    def box(category: str, x0: int, x1: int) -> LabelledObject:
        return LabelledObject(category, x0, 0, x1, 10)

    # 0..10 overlaps 1..11 by 9/11 and 0..9 by 9/10, which it takes; what is left has nothing.
    found = label_agreement.match_boxes(
        "p", [box(DRESS, 0, 10)], [box(DRESS, 1, 11), box(SHOES, 0, 9)]
    )
    assert [(p.verdict, p.categories, round(p.iou, 3)) for p in found] == [
        ("other class", (DRESS, SHOES), 0.9),
        ("only second", ("", DRESS), 0.0),
    ]
    # Of equal overlaps the one of the same class: a jacket and a shirt may have one box.
    same = label_agreement.match_boxes(
        "p", [box(DRESS, 0, 10), box(SHOES, 0, 10)], [box(SHOES, 0, 10), box(DRESS, 0, 10)]
    )
    assert [p.verdict for p in same] == ["matched", "matched"]
    # Half is a pair, less is none.
    assert [
        p.verdict
        for p in label_agreement.match_boxes("p", [box(DRESS, 0, 10)], [box(DRESS, 0, 20)])
    ] == ["matched"]
    assert [
        p.verdict
        for p in label_agreement.match_boxes("p", [box(DRESS, 0, 10)], [box(DRESS, 0, 21)])
    ] == ["only first", "only second"]
    assert label_agreement.match_boxes("p", [], []) == []


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        # Cohen's own kind of table: 20 + 15 of 50 alike, 0.7; by chance 0.5·0.6 + 0.5·0.4 = 0.5.
        ({(DRESS, DRESS): 20, (DRESS, SHOES): 5, (SHOES, DRESS): 10, (SHOES, SHOES): 15}, 0.4),
        ({(DRESS, SHOES): 3, (SHOES, DRESS): 3}, -1.0),
        ({(DRESS, DRESS): 1, (SHOES, SHOES): 7}, 1.0),
        ({(DRESS, DRESS): 9}, math.nan),
        ({}, math.nan),
    ],
)
def test_kappa(counts, wanted):
    at = (0, 0, 1, 1)
    found = [
        label_agreement.LabelPair("p", LabelledObject(a, *at), LabelledObject(b, *at), 1.0)
        for (a, b), n in counts.items()
        for _ in range(n)
    ]
    alone = label_agreement.LabelPair("p", LabelledObject(DRESS, *at), None, 0.0)
    assert label_agreement.class_kappa([*found, alone]) == pytest.approx(
        wanted, abs=1e-12, nan_ok=True
    )


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-a", "'-a"),
        ("@a", "'@a"),
        ("  =a", "'  =a"),
        ("'a", "''a"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_no_word_becomes_a_formula(word, text):
    assert label_agreement_page.escape_formula(word) == text


@pytest.mark.parametrize(
    "args",
    [["voc=a"], ["coco="], ["coco=a", "--compare-with", "coco=b"], ["coco=a", "--out", "b"], []],
)
def test_bad_usage(args, capsys):
    with pytest.raises(SystemExit) as left:
        app.main(["check-labels", *args])
    assert left.value.code == 2 and "Usage" in capsys.readouterr().err
