"""Label files: what was written is read back, and every bad label is named with its place,
whoever wrote the file.
"""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wearalike.commands import app
from wearalike.commands.encoder_training import EncoderTrainingRun
from wearalike.commands.evaluated_sets import read_set
from wearalike.commands.options import parse_kind_and_folder
from wearalike.datasets import labelled_photos, layouts
from wearalike.datasets.formats import masks, reading, record
from wearalike.datasets.formats.record import BadLabels, LabelledObject
from wearalike.settings import Settings

WIDTH, HEIGHT = 200, 120
CATEGORIES = ("dress", "shoes")


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, "white").save(path, exif=exif)
    return path


def coco(file: Path, images: list, annotations: list, categories: list | None = None) -> Path:
    """annotations: (image_id, category_id, bbox), or the entry itself."""
    named = (
        [{"id": n, "name": name} for n, name in enumerate(CATEGORIES, 1)]
        if categories is None
        else categories
    )
    entries = [
        a if isinstance(a, dict) else {"id": n, "image_id": a[0], "category_id": a[1], "bbox": a[2]}
        for n, a in enumerate(annotations, 1)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": entries, "categories": named}))
    return file


def yolo(
    folder: Path,
    lines: str,
    picture_path: str = "images/train/1.jpg",
    names: str = "names: [dress, shoes]\n",
) -> Path:
    """The file of labels of one picture."""
    picture(folder / picture_path)
    (folder / "data.yaml").write_text(names)
    text = (folder / picture_path.replace("images", "labels")).with_suffix(".txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(lines)
    return text


def problem_texts(problems: list[reading.LabelProblem]) -> list[str]:
    return [str(problem) for problem in problems]


sides = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)).flatmap(
    lambda at: st.tuples(
        st.just(at[0]),
        st.just(at[1]),
        st.integers(at[0] + 1, WIDTH),
        st.integers(at[1] + 1, HEIGHT),
    )
)
objects = st.lists(
    st.builds(lambda name, box: LabelledObject(name, *box), st.sampled_from(CATEGORIES), sides),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(objects)
def test_coco_gives_back_the_boxes_that_were_written(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("coco")
    picture(folder / "1.jpg")
    boxes = [
        (7, CATEGORIES.index(o.category) + 1, [o.x0, o.y0, o.x1 - o.x0, o.y1 - o.y0]) for o in drawn
    ]
    file = coco(
        folder / "labels.json",
        [{"id": 7, "file_name": "1.jpg", "width": WIDTH, "height": HEIGHT}],
        boxes,
    )
    (image,), problems = reading.read_coco(file, folder)
    assert (problems, image.path, image.width_px, image.height_px) == (
        [],
        folder / "1.jpg",
        WIDTH,
        HEIGHT,
    )
    assert image.objects == tuple(drawn)


@settings(max_examples=40, deadline=None)
@given(objects, st.booleans())
def test_yolo_gives_back_the_boxes_that_were_written(tmp_path_factory, drawn, is_polygon):
    lines = ""
    for o in drawn:
        x0, y0, x1, y1 = o.x0 / WIDTH, o.y0 / HEIGHT, o.x1 / WIDTH, o.y1 / HEIGHT
        numbers = (
            (x0, y0, x1, y0, x1, y1, x0, y1)
            if is_polygon
            else ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
        )
        lines += f"{CATEGORIES.index(o.category)} {' '.join(f'{n:.6f}' for n in numbers)}\n"
    folder = tmp_path_factory.mktemp("yolo")
    yolo(folder, lines)
    (image,), problems = reading.read_yolo(folder)
    assert (problems, image.path) == ([], folder / "images/train/1.jpg")
    assert image.objects == tuple(drawn)


def test_boxes_are_those_of_the_upright_picture(tmp_path):
    picture(tmp_path / "1.jpg", orientation=6)
    about = {"id": 1, "file_name": "1.jpg", "width": HEIGHT, "height": WIDTH}
    (image,), problems = reading.read_coco(
        coco(tmp_path / "a.json", [about], [(1, 1, [0, 150, 10, 50])]), tmp_path
    )
    assert not problems and (image.width_px, image.height_px) == (HEIGHT, WIDTH)
    assert image.objects == (LabelledObject("dress", 0, 150, 10, 200),)
    found, problems = reading.read_coco(
        coco(tmp_path / "b.json", [{**about, "width": WIDTH, "height": HEIGHT}], []), tmp_path
    )
    assert (
        not found
        and "said to be 200 x 120 px, is 120 x 200 px when upright" in problem_texts(problems)[0]
    )


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ([-1, -0.4, 50, 50], (0, 0, 49, 50)),
        ([190.4, 100, 10.6, 21], (190, 100, 200, 120)),
        ([10.5, 10.49, 5, 5], (11, 10, 16, 15)),
        ([0, 0, 0.4, 5], "zero area: less than a pixel"),
        ([-4.2, 0, 50, 50], (0, 0, 46, 50)),
        ([0, 0, 204.5, 123], (0, 0, 200, 120)),
        ([-6, 0, 50, 50], "box outside the picture of 200 x 120 px: -6, 0, 44, 50"),
        ([0, 0, 206.5, 50], "box outside"),
        ([5, 5, 0, 5], "zero area: wanted x0 < x1"),
        ([5, 5, 5, -2], "zero area"),
        ([math.nan, 5, 5, 5], "not a number of pixels: nan"),
        ([5, 5, math.inf, 5], "not a number of pixels: inf"),
        ([5, 5, 10**300, 5], "not a number of pixels"),
        ([5, 5, True, 5], "not a number of pixels: True"),
        ([5, "5", 5, 5], "not a number of pixels: '5'"),
        ([5, 5, 5], "bbox: wanted 4 numbers (x, y, width, height), got [5, 5, 5]"),
        (None, "bbox: wanted 4 numbers"),
    ],
)
def test_a_coco_box_is_cut_at_the_rim_or_named(tmp_path, bbox, box):
    picture(tmp_path / "1.jpg")
    file = coco(
        tmp_path / "a.json", [{"id": 1, "file_name": "1.jpg"}], [(1, 2, [1, 2, 3, 4]), (1, 2, bbox)]
    )
    (image,), problems = reading.read_coco(file, tmp_path)
    assert image.objects[0] == LabelledObject("shoes", 1, 2, 4, 6)
    if isinstance(box, str):
        assert len(image.objects) == len(problems) == 1
        assert str(problems[0]).startswith(f"{file}: annotation 2: ") and box in problems[0].what
    else:
        assert not problems and image.objects[1] == LabelledObject("shoes", *box)


def test_every_problem_of_a_coco_file_is_named_at_once(tmp_path):
    folder = tmp_path / "set"
    picture(folder / "1.jpg")
    picture(tmp_path / "outside.jpg")
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "text.jpg").write_text("no picture")
    names = [
        "1.jpg",
        "gone.jpg",
        "1.jpg",
        "../outside.jpg",
        "/etc/passwd",
        "link.jpg",
        "text.jpg",
        "a\0b",
        "\ud800.jpg",
        "x" * 5000,
        None,
    ]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    images += [{"id": 0, "file_name": "text.jpg"}, {"file_name": "1.jpg"}, "1.jpg", {"id": [1]}]
    annotations = [
        (0, 9, [1, 1, 5, 5]),
        (77, 1, [1, 1, 5, 5]),
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"id": True, "image_id": 0},
        {"id": 6, "image_id": {}, "category_id": 1},
        (1, 1, [1, 1, 5, 5]),  # Of a picture that is named already.
        {
            "id": 8,
            "image_id": 0,
            "category_id": 1,
            "bbox": [0, 0, 9, 9],
            "iscrowd": 1,
            "segmentation": {"counts": "x", "size": [1, 1]},
        },
    ]
    categories = [
        {"id": 1, "name": "dress"},
        {"id": 1, "name": "skirt"},
        {"id": 2, "name": "dress"},
        {"id": 3, "name": 5},
    ]
    file = coco(folder / "a.json", images, annotations, categories)
    (image,), problems = reading.read_coco(file, folder)
    assert image.path == folder / "1.jpg" and not image.objects
    wanted = [
        ("category 1", "the id stands twice, for 'dress' and 'skirt'"),
        ("category 2", "the name 'dress' stands twice"),
        ("category 3", "wanted a class name"),
        ("image 1", "missing picture: 'gone.jpg'"),
        ("image 2", "duplicate picture"),
        ("image 3", "leads out of"),
        ("image 4", "leads out of"),
        ("image 5", "by a link"),
        ("image 6", "not_a_picture"),
        ("image 7", "'a\\x00b'"),
        ("image 8", "'\\ud800.jpg'"),
        ("image 9", "missing picture"),
        ("image 10", "got None"),
        ("image 0", "duplicate picture: the id stands twice"),
        ("images[12]", "id: wanted a number or text, got None"),
        ("images[13]", "wanted an object, got '1.jpg'"),
        ("images[14]", "id: wanted a number or text, got [1]"),
        ("annotation 1", "unknown class id 9: known are [1]"),
        ("annotation 2", "image_id 77: no such image"),
        ("annotation 1", "the id stands twice"),
        ("annotations[3]", "got True"),
        ("annotation 6", "image_id: wanted a number or text, got {}"),
    ]
    lines = problem_texts(problems)
    assert len(lines) == len(wanted)
    for line, (where, what) in zip(lines, wanted, strict=True):
        assert (
            line.startswith(f"{file}: {where}: ")
            and what in line
            and line.isascii()
            and "\n" not in line
            and len(line) < 600
        )
    with pytest.raises(
        BadLabels, match=rf"(?s){len(wanted)} bad labels.*category 1.*and {len(wanted) - 5} more"
    ):
        reading.read_valid_labels("coco", folder, is_strict=True)


def test_one_bad_label_leaves_out_its_picture_and_not_the_set(tmp_path, caplog):
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        picture(tmp_path / name)
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2, 3)]
    boxes = [(1, 1, [1, 2, 30, 40]), (2, 1, [1, 2, 30, 40]), (2, 1, [500, 2, 30, 40])]
    file = coco(tmp_path / "a.json", images, [*boxes, (3, 1, [-3, 2, 30, 40])])
    found = reading.read_valid_labels("coco", file)
    assert [image.path.name for image in found] == ["1.jpg", "3.jpg"]
    assert "1 bad labels" in caplog.text and "1 pictures are left out" in caplog.text
    with pytest.raises(BadLabels, match="annotation 3: box outside"):
        reading.read_valid_labels("coco", file, is_strict=True)
    yolo(tmp_path / "yolo", "0 .5 .5 .1 .1\n9 .5 .5 .1 .1\n")
    with pytest.raises(BadLabels, match=r"1\.txt:2: unknown class id"):  # none is left
        reading.read_valid_labels("yolo", tmp_path / "yolo")
    yolo(tmp_path / "yolo", "0 .5 .5 .1 .1\n", "images/train/2.jpg")
    found = reading.read_valid_labels("yolo", tmp_path / "yolo")
    assert [image.path.name for image in found] == ["2.jpg"]


def test_whoever_reads_label_files_may_refuse_a_set_with_a_bad_label(tmp_path):
    yolo(tmp_path / "set", "0 .5 .5 .1 .1\n9 .5 .5 .1 .1\n")
    yolo(tmp_path / "set", "0 .5 .5 .1 .1\n", "images/train/2.jpg")
    (data,) = [("yolo", tmp_path / "set")]
    settings = Settings(data_dir=tmp_path / "data")
    training = EncoderTrainingRun((data,), 0, tmp_path, "x-1", 0, "cpu", settings)
    (source,) = training.read_sources()
    evaluated = read_set(*data, tmp_path)
    for labelled in (source.labelled, evaluated.labelled):
        assert [photo.path.name for photo in labelled.photos] == ["2.jpg"]
    with pytest.raises(BadLabels, match=r"1\.txt:2: unknown class id"):
        replace(training, strict_labels=True).read_sources()
    with pytest.raises(BadLabels, match=r"1\.txt:2: unknown class id"):
        read_set(*data, tmp_path, strict_labels=True)
    for command in (["train", "encoder"], ["train", "detector"], ["evaluate"]):
        shown = CliRunner().invoke(app.app, [*command, "--help"])
        assert shown.exit_code == 0 and "--strict-labels" in shown.output


def test_a_box_over_the_rim_is_cut_and_counted(tmp_path):
    picture(tmp_path / "1.jpg")
    boxes = [[-1, 0, 50, 50], [-3, 0, 50, 50], [150, 80, 54, 43]]
    file = coco(
        tmp_path / "a.json", [{"id": 1, "file_name": "1.jpg"}], [(1, 1, box) for box in boxes]
    )
    (image,), problems = reading.read_coco(file, tmp_path)
    assert not problems and [o.is_cut for o in image.objects] == [False, True, True]
    assert (image.objects[2].x1, image.objects[2].y1) == (WIDTH, HEIGHT)


def test_whole_numbers_may_be_written_as_decimals(tmp_path):
    picture(tmp_path / "1.jpg")
    images = [{"id": 1.0, "file_name": "1.jpg", "width": 200.0, "height": 120.0}]
    entry = {"id": 5.0, "image_id": 1, "category_id": 2.0, "bbox": [1, 2, 3, 4]}
    (image,), problems = reading.read_coco(coco(tmp_path / "a.json", images, [entry]), tmp_path)
    assert not problems and image.objects == (LabelledObject("shoes", 1, 2, 4, 6),)
    yolo(
        tmp_path / "yolo", "1.0 .5 .5 .1 .1\n0.000000 .5 .5 .1 .1\n1. .5 .5 .1 .1\n0.5 .5 .5 .1 .1"
    )
    (image,), problems = reading.read_yolo(tmp_path / "yolo")
    assert [o.category for o in image.objects] == ["shoes", "dress", "shoes"]
    assert "unknown class id '0.5'" in problem_texts(problems)[0] and len(problems) == 1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pose_labels_have_the_box_that_they_begin_with(tmp_path, dimensions):
    points = " ".join([".9 .9", ".1 .1 "][n % 2] + " 2" * (dimensions - 2) for n in range(3))
    lines = f"0 .5 .5 .1 .1 {points}\n1 .5 .5 .1 .1\n0 .1 .1 .2 .1 .2 .2\n"
    yolo(tmp_path, lines, names=f"names: [dress, shoes]\nkpt_shape: [3, {dimensions}]\n")
    (image,), problems = reading.read_yolo(tmp_path)
    assert image.objects == (LabelledObject("dress", 90, 54, 110, 66),)
    assert [p.where.rpartition(":")[2] for p in problems] == ["2", "3"]
    assert f"wanted a class, 4, and {3 * dimensions} of kpt_shape" in problems[0].what
    yolo(tmp_path, "", names="names: [dress, shoes]\nkpt_shape: [3, 9]\n")
    assert "kpt_shape: wanted" in problem_texts(reading.read_yolo(tmp_path)[1])[0]


RLE_SQUARE = {"size": [HEIGHT, WIDTH], "counts": [10 * HEIGHT + 20]}
for _ in range(29):
    RLE_SQUARE["counts"] += [40, HEIGHT - 40]
RLE_SQUARE["counts"] += [40, WIDTH * HEIGHT - sum(RLE_SQUARE["counts"]) - 40]


def packed(counts: list[int]) -> str:
    """Return counts as pycocotools' rleToString writes them."""
    text = ""
    for n, count in enumerate(counts):
        value = count - counts[n - 2] if n > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            is_last = value == -1 if digit & 16 else value == 0
            text += chr(48 + digit + (0 if is_last else 32))
            if is_last:
                break
    return text


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 20, 40, 20, 40, 60, 10, 60]],
        [10, 20, 40, 20, 40, 60, 10, 60],
        [[10, 20, 40, 20, 40, 60, 10, 60], [11, 30], [12, 30, 20, 30]],
        [[10, 20, 25, 20, 25, 60, 10, 60], [25, 20, 40, 20, 40, 60, 25, 60]],
        RLE_SQUARE,
        {**RLE_SQUARE, "counts": packed(RLE_SQUARE["counts"])},
    ],
)
@pytest.mark.parametrize("has_box", [False, True])
def test_a_coco_segmentation_is_a_mask_and_a_box(tmp_path, segmentation, has_box):
    picture(tmp_path / "1.jpg")
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    entry |= {"bbox": [10, 20, 30, 40]} if has_box else {}
    file = coco(tmp_path / "a.json", [{"id": 1, "file_name": "1.jpg"}], [entry])
    (image,), problems = reading.read_coco(file, tmp_path)
    assert not problems and image.objects == (LabelledObject("dress", 10, 20, 40, 60),)
    mask = image.objects[0].mask.to_array()
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[20:60, 10:40] = True
    assert mask.shape == wanted.shape and (mask != wanted).sum() <= 80  # of polygons the rim
    assert not isinstance(segmentation, dict) or np.array_equal(mask, wanted)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30))
def test_packed_counts_are_read_back(counts):
    assert masks._decode_counts(packed(counts)) == counts


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ({"size": [WIDTH, HEIGHT], "counts": [1]}, "wanted [120, 200], height first"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "counts of 10 pixels, wanted 24,000"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, 24_001]}, "none below 0"),
        ({"size": [HEIGHT, WIDTH], "counts": "\n"}, "not a run-length encoding"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 50}, "not a run-length encoding"),
        ({"size": [HEIGHT, WIDTH], "counts": "o"}, "ends within a number"),
        ({"size": [HEIGHT, WIDTH], "counts": [24_000]}, "no pixel is inside"),
        ({"size": [HEIGHT, WIDTH], "counts": 7}, "wanted numbers or text"),
        ([[1, 2, "3", 4, 5, 6]], "wanted x and y of corners"),
        ([[1, 2, 3, 4, 5, math.nan]], "wanted x and y of corners"),
        ("x", "wanted polygons or counts"),
    ],
)
def test_a_segmentation_that_cannot_be_used_is_named(tmp_path, segmentation, what):
    picture(tmp_path / "1.jpg")
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    file = coco(tmp_path / "a.json", [{"id": 1, "file_name": "1.jpg"}], [entry])
    (image,), problems = reading.read_coco(file, tmp_path)
    assert not image.objects and image.problem_count == 1
    assert what in problem_texts(problems)[0] and len(problem_texts(problems)[0]) < 600


def test_a_root_category_of_roboflow_is_no_class(tmp_path):
    picture(tmp_path / "1.jpg")
    categories = [
        {"id": 0, "name": "dress", "supercategory": "none"},
        {"id": 1, "name": "dress", "supercategory": "dress"},
        {"id": 2, "name": "shoes", "supercategory": "dress"},
    ]
    images = [{"id": 1, "file_name": "1.jpg"}]
    file = coco(tmp_path / "a.json", images, [(1, 1, [1, 2, 3, 4])], categories)
    (image,), problems = reading.read_coco(file, tmp_path)
    assert not problems and image.objects == (LabelledObject("dress", 1, 2, 4, 6),)


@pytest.mark.parametrize(
    "name",
    ["images\\1.jpg", "C:\\Users\\me\\set\\images\\1.jpg", "D:/set/images/1.jpg", "c:\\1.jpg"],
)
def test_paths_of_windows_are_found(tmp_path, name):
    picture(tmp_path / "images/1.jpg")
    file = coco(tmp_path / "a.json", [{"id": 1, "file_name": name}], [(1, 1, [1, 2, 3, 4])])
    (image,), problems = reading.read_coco(file, tmp_path)
    assert not problems and image.path == tmp_path / "images/1.jpg"
    picture(tmp_path.parent / "out.jpg")
    for outside in ("..\\out.jpg", "C:\\..\\out.jpg"):
        file = coco(tmp_path / "b.json", [{"id": 1, "file_name": outside}], [])
        assert reading.read_coco(file, tmp_path)[1]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"images": [],\n "annotations": [}', "not JSON: line 2, column 18"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"images": ' + b'{"a":' * 50_000, "nested too deep"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[1, 2]", "wanted an object with images, annotations and categories, got [1, 2]"),
        (b'{"images": {}, "annotations": [], "categories": []}', "images: wanted a list, got {}"),
        (b'{"images": [], "annotations": []}', "categories: wanted a list, got None"),
        (b"", "not JSON: line 1"),
    ],
)
def test_hostile_json_is_named(tmp_path, content, what):
    (tmp_path / "a.json").write_bytes(content)
    found, problems = reading.read_coco(tmp_path / "a.json", tmp_path)
    assert not found and len(problems) == 1
    assert (
        str(problems[0]).startswith(f"{tmp_path / 'a.json'}: ")
        and what in problems[0].what
        and len(str(problems[0])) < 600
    )


def test_a_deep_value_that_is_json_is_shown_short(tmp_path):
    picture(tmp_path / "1.jpg")
    deep = "[" * 900 + "]" * 900
    entry = f'{{"id": 1, "image_id": 1, "category_id": 1, "bbox": {deep}}}'
    (tmp_path / "a.json").write_text(
        f'{{"images": [{{"id": 1, "file_name": "1.jpg"}}], "annotations": [{entry}], '
        f'"categories": [{{"id": 1, "name": "a"}}]}}'
    )
    _, (problem,) = reading.read_coco(tmp_path / "a.json", tmp_path)
    assert len(str(problem)) < 600


def test_a_file_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(record.MAX_LABEL_FILE_BYTES + 1)
    _, (problem,) = reading.read_coco(tmp_path / "a.json", tmp_path)
    assert problem.what == "1,000,000,001 bytes, wanted at most 1,000,000,000"
    text = yolo(tmp_path, "")
    with text.open("wb") as file:
        file.truncate(record.MAX_LABEL_FILE_BYTES + 1)
    _, (problem,) = reading.read_yolo(tmp_path)
    assert problem.where == str(text) and "wanted at most" in problem.what


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("5 .5 .5 .1 .1", "unknown class id '5': known are [0, 1]"),
        ("-1 .5 .5 .1 .1", "unknown class id '-1'"),
        ("shoes .5 .5 .1 .1", "unknown class id 'shoes'"),
        ("0 .5 .5 .1", "wrong count of numbers"),
        ("0 .5 .5 .1 .1 .9", "wrong count of numbers"),
        ("0 .5 .5 .1 .1 .9 .8 .7", "wrong count of numbers"),
        ("0 nan .5 .1 .1", "not a number: 'nan'"),
        ("0 .5 1e999 .1 .1", "not a number: '1e999'"),
        ("0 .5 .5 1_0 .1", "not a number: '1_0'"),
        ("0 .5 .5 .1 ٣", "not a number"),
        ("0 .5 .5 0 .1", "zero area: width 0"),
        ("0 .5 .5 -.2 .1", "zero area"),
        ("0 .5 .5 .001 .1", "zero area: less than a pixel"),
        ("0 .5 .5 .1 .5 .9 .5", "zero area: wanted x0 < x1 and y0 < y1"),
        ("0 .99 .5 .1 .1", "box outside the picture of 200 x 120 px: 188, 54, 208, 66"),
        ("0 100 60 20 20", "box outside"),
    ],
)
def test_a_bad_yolo_line_is_named_with_file_and_line(tmp_path, line, what):
    text = yolo(tmp_path, f"0 .5 .5 .1 .1\n\n{line}\n1 .5 .5 .2 .2\n")
    (image,), problems = reading.read_yolo(tmp_path)
    assert image.objects == (
        LabelledObject("dress", 90, 54, 110, 66),
        LabelledObject("shoes", 80, 48, 120, 72),
    )
    assert [problem.where for problem in problems] == [f"{text}:3"] and what in problems[0].what


def test_every_problem_of_a_yolo_folder_is_named_at_once(tmp_path):
    folder = tmp_path / "set"
    yolo(folder, "0 .5 .5 .1 .1\n")
    picture(folder / "images/train/1.png")
    (folder / "labels/train/gone.txt").write_text("0 .5 .5 .1 .1\n")
    picture(tmp_path / "outside.jpg")
    (folder / "images/val").mkdir()
    (folder / "images/val/link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "images/val/text.jpg").write_text("no picture")
    picture(folder / "images/val/latin.jpg")
    (folder / "labels/val").mkdir()
    (folder / "labels/val/latin.txt").write_bytes(b"0 .5 .5 .1 \xe9")
    picture(folder / "images/val/ground.jpg")
    picture(folder / "images/val/secret.jpg")
    (tmp_path / "secret.txt").write_text("password\n")
    (folder / "labels/val/secret.txt").symlink_to(tmp_path / "secret.txt")
    picture(folder / "images/val/pipe.jpg")
    os.mkfifo(folder / "labels/val/pipe.txt")
    picture(folder / "images/val/two\nlines.jpg")
    images, problems = reading.read_yolo(folder)
    names = ["ground.jpg", "latin.jpg", "pipe.jpg", "secret.jpg"]
    assert [(i.path.name, i.split, i.objects) for i in images] == [
        (name, "val", ()) for name in names
    ]
    lines = problem_texts(problems)
    wanted = {
        "labels/train/1.txt": "duplicate picture: 1.jpg, 1.png",
        "labels/train/gone.txt": "missing picture",
        "images/val/link.jpg": "by a link",
        "images/val/text.jpg": "not_a_picture",
        "labels/val/latin.txt": "not UTF-8",
        "labels/val/secret.txt": "by a link",
        "labels/val/pipe.txt": "no such file",
        "": "a name that is not text",
    }
    assert len(lines) == len(wanted) and "password" not in str(lines)
    for where, what in wanted.items():
        assert [
            line for line in lines if line.startswith(f"{folder / where}: ") and what in line
        ], where


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ("names: [dress\nnc: 1\n", "not YAML: line 2"),
        ("names: !!python/object/apply:os.system ['echo']\n", "could not determine a constructor"),
        ("names: &a [*a]\n", "wanted a class name"),
        ("names: [dress, no]\n", "class 1: wanted a class name"),
        ("names: [dress, dress]\n", "class 1: the name 'dress' stands twice"),
        ("names: {0: dress, one: shoes}\n", "class 'one': wanted a number from 0 on"),
        ("names: dress\n", "names: wanted a list of class names"),
        ("- 1\n", "names: wanted a list of class names"),
        ("nc: 3\nnames: [dress, shoes]\n", "nc is 3, and there are 2 names"),
        ("names: " + "[" * 20_000, "nested too deep"),
        ("names: " + "9" * 5000, "not YAML"),
        ("#" * 1_000_001, "wanted at most 1,000,000"),
    ],
)
def test_class_names_that_cannot_be_used_are_named(tmp_path, names, what):
    yolo(tmp_path, "", names=names)
    _, problems = reading.read_yolo(tmp_path)
    assert len(problems) == 1
    assert str(problems[0]).startswith(f"{tmp_path / 'data.yaml'}: ") and what in str(problems[0])


def test_class_names_may_be_a_line_each(tmp_path):
    yolo(tmp_path, "2 .5 .5 .1 .1\n")
    (tmp_path / "data.yaml").unlink()
    assert "no data.yaml and no classes.txt" in problem_texts(reading.read_yolo(tmp_path)[1])[0]
    (tmp_path / "labels/classes.txt").write_text("dress\n\nshoes \n")
    (image,), problems = reading.read_yolo(tmp_path)
    assert not problems and [o.category for o in image.objects] == ["shoes"]


def test_pictures_are_found_in_the_usual_folders_with_their_splits(tmp_path):
    """train and val have a picture of the same name; boxes tell which was taken."""
    for place in ("images/train2017", "images/val2017"):
        picture(tmp_path / place / "1.jpg")
    images = [{"id": 1, "file_name": "1.jpg"}]
    coco(tmp_path / "annotations/instances_train2017.json", images, [(1, 1, [0, 0, 50, 50])])
    coco(tmp_path / "annotations/instances_val2017.json", images, [(1, 2, [0, 0, 60, 60])])
    found = reading.read_valid_labels("coco", tmp_path)
    assert [(i.path.parent.name, i.split, i.objects[0].category) for i in found] == [
        ("train2017", "train", "dress"),
        ("val2017", "val", "shoes"),
    ]
    coco(tmp_path / "annotations/more_train2017.json", images, [])
    assert (
        "labelled in another file of the set too"
        in problem_texts(reading.read_labels("coco", tmp_path)[1])[0]
    )


def test_files_beside_pictures_take_the_folders_split(tmp_path):
    for place in ("train", "valid", "test"):
        picture(tmp_path / place / "1.jpg")
        coco(
            tmp_path / place / "_annotations.coco.json",
            [{"id": 1, "file_name": "1.jpg"}],
            [(1, 1, [0, 0, 50, 50])],
        )
    assert {i.path.parent.name: i.split for i in reading.read_valid_labels("coco", tmp_path)} == {
        "train": "train",
        "valid": "val",
        "test": "test",
    }
    yolo(tmp_path / "yolo", "0 .5 .5 .1 .1\n", "valid/images/1.jpg")
    assert [i.split for i in reading.read_valid_labels("yolo", tmp_path / "yolo")] == ["val"]


def test_a_set_has_a_photo_for_every_box(tmp_path, caplog):
    yolo(tmp_path, "0 .5 .5 .1 .1\n1 .5 .5 .2 .2\n", "images/val/1.jpg")
    picture(tmp_path / "images/val/ground.jpg")
    found = labelled_photos.read_dataset("yolo", tmp_path)
    assert found.name == tmp_path.name and found.label_names == ("type",)
    assert [(p.id, p.split, p.labels, p.box) for p in found.photos] == [
        ("images/val/1.jpg#0", "val", {"type": "dress"}, (90, 54, 110, 66)),
        ("images/val/1.jpg#1", "val", {"type": "shoes"}, (80, 48, 120, 72)),
    ]
    assert found.photos[0].path == tmp_path / "images/val/1.jpg"
    assert found.class_ids("type").tolist() == [0, 1]
    parse = parse_kind_and_folder(layouts.DATASET_KINDS)
    assert parse("coco=a") == ("coco", Path("a"))
    (tmp_path / "labels/val/1.txt").write_text("7 .5 .5 .1 .1\n")
    with pytest.raises(layouts.BadDataset, match="no photo with a label"):
        labelled_photos.read_dataset("yolo", tmp_path)
    assert "1.txt:1: unknown class id" in caplog.text


def test_an_empty_folder_is_no_set(tmp_path):
    for kind in reading.LABEL_FORMATS:
        found, problems = reading.read_labels(kind, tmp_path)
        assert not found and problems
    with pytest.raises(ValueError, match="kind 'voc': known are coco, yolo"):
        reading.read_labels("voc", tmp_path)


def named(folder: Path, file: str, content: str) -> Path:
    """A YOLO set of one picture with a box of class 1, whose classes this file names."""
    picture(folder / "images" / "train" / "1.jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "1.txt").write_bytes(b"1 .5 .5 .2 .2\r\n")
    (folder / file).write_bytes(content.encode())
    return folder


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classes.txt", "dress\r\nshoes\r\n"),
        ("obj.names", "\ufeffdress\nshoes"),
        ("data.yml", "names: [dress, shoes]"),
        ("dataset.yaml", "names:\r\n  0: dress\r\n  1: shoes\r\n"),
        ("data.yaml", "names:\n  '0': dress\n  '1': shoes\n"),
    ],
)
def test_class_names_in_the_files_that_tools_write(tmp_path, file, content):
    images, problems = reading.read_labels("yolo", named(tmp_path, file, content))
    assert not problems and [item.category for item in images[0].objects] == ["shoes"]


def test_a_label_file_of_windows_counts_whatever_the_case_of_its_ending(tmp_path):
    named(tmp_path, "data.yaml", "names: [dress, shoes]")
    (tmp_path / "labels" / "train" / "1.txt").rename(tmp_path / "labels" / "train" / "1.TXT")
    images, problems = reading.read_labels("yolo", tmp_path)
    assert not problems and len(images[0].objects) == 1


def test_a_kpt_shape_that_cannot_be_read_makes_no_polygons(tmp_path):
    named(tmp_path, "data.yaml", "names: [dress, shoes]\nkpt_shape: '[1, 2]'\n")
    lines = "1 .5 .5 .2 .2\n1 .5 .5 .2 .2 .4 .4\n"
    (tmp_path / "labels" / "train" / "1.txt").write_text(lines)
    images, problems = reading.read_labels("yolo", tmp_path)
    assert len(images[0].objects) == images[0].problem_count == 1
    assert sorted(str(problem).partition(f"{tmp_path}/")[2][:24] for problem in problems) == [
        "data.yaml: kpt_shape: wa",
        "labels/train/1.txt:2: ke",
    ]


@pytest.mark.parametrize("name", ["/home/ann/set/images/1.jpg", "C:\\set\\images\\1.jpg"])
def test_a_path_of_the_machine_that_wrote_the_file_finds_its_picture(tmp_path, name):
    picture(tmp_path / "images" / "1.jpg")
    file = coco(tmp_path / "a.json", [{"id": 1, "file_name": name}], [(1, 1, [1, 2, 30, 40])])
    (found,) = reading.read_valid_labels("coco", file)
    assert found.path == tmp_path / "images" / "1.jpg"


def test_runs_written_as_decimals_are_a_mask(tmp_path):
    picture(tmp_path / "1.jpg")
    counts = [20.0 * HEIGHT, 10.0 * HEIGHT, (WIDTH - 30.0) * HEIGHT]
    entry = {
        **{"id": 1, "image_id": 1, "category_id": 1},
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts},
    }
    file = coco(tmp_path / "a.json", [{"id": 1, "file_name": "1.jpg"}], [entry])
    ((item,),) = [image.objects for image in reading.read_valid_labels("coco", file)]
    assert (item.x0, item.x1, item.mask.to_array().sum()) == (20, 30, 10 * HEIGHT)
