"""What detectors see in drawn pictures, and that it is the same in any company."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wearalike.detection import detect
from wearalike.detection.networks import postprocess
from wearalike.metrics import colour_space
from wearalike.tables import ITEMS


def picture(
    size=(300, 400), ground="white", box=(60, 100, 240, 380), fill=(200, 30, 60)
) -> np.ndarray:
    image = Image.new("RGB", size, ground)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=fill)
    return np.asarray(image)


def encoded(array, kind="PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def test_lab_of_known_colours():
    lab = colour_space.rgb_to_lab(
        np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255], [119, 119, 119]], np.uint8)
    )
    # CIE Lab over D65 of the sRGB primaries, as published by Bruce Lindbloom.
    np.testing.assert_allclose(
        lab,
        [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [50.03, 0, 0]],
        atol=0.05,
    )


@pytest.mark.parametrize("ground", ["white", (236, 228, 240), "black"])
def test_foreground_finds_what_stands_out_of_a_plain_ground(ground):
    image = picture(ground=ground)
    (box,) = detect.ForegroundDetector().detect([image])[0]
    near = np.abs(np.array([box.x0, box.y0, box.x1, box.y1]) - (60, 100, 240, 380)).max()
    assert near <= 10 and box.confidence > 0.8


def test_foreground_takes_the_whole_of_a_busy_picture_and_says_so():
    busy = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    assert detect.ForegroundDetector().detect([busy]) == [[detect.Box(0, 0, 300, 400, 0.0)]]
    assert detect.ForegroundDetector().detect([np.full((50, 40, 3), 255, np.uint8)]) == [
        [detect.Box(0, 0, 40, 50, 0.0)]
    ]


def test_white_on_white_is_found_by_its_seams():
    image = picture(fill=(255, 255, 255))
    image = image.copy()
    image[100:380, 60:66] = image[100:380, 234:240] = image[100:106, 60:240] = 225
    (box,) = detect.ForegroundDetector().detect([image])[0]
    assert box.confidence > 0 and box.x0 > 20


@pytest.mark.parametrize(
    "detector",
    [d() for d in detect.WEIGHT_FREE_DETECTORS.values()],
    ids=list(detect.WEIGHT_FREE_DETECTORS),
)
def test_rows_are_the_same_alone_and_in_company(detector):
    pictures = [picture(box=(30 * i, 40, 200, 300), ground=(255 - i, 255, 250)) for i in range(5)]
    together = detector.detect(pictures)
    assert len(together) == 5
    assert together == [detector.detect([p])[0] for p in pictures]


def test_boxes_are_in_pixels_of_the_stored_image_as_it_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: stored 400 x 300, shown 300 x 400
    turned = encoded(np.rot90(picture()).copy(), "JPEG", exif=exif, quality=95)
    (row,) = detect.detect_items(detect.ForegroundDetector(), "im", turned)
    assert (
        np.abs(np.array([row["x0"], row["y0"], row["x1"], row["y1"]]) - (60, 100, 240, 380)).max()
        <= 20
    )
    (whole,) = detect.detect_items(detect.WholeImageDetector(), "im", turned)
    assert [whole[k] for k in ("x0", "y0", "x1", "y1", "confidence")] == [0, 0, 300, 400, 1.0]
    assert set(whole) <= set(detect.ITEM_CACHE_SCHEMA.names) and set(ITEMS.column_names) <= set(
        detect.ITEM_CACHE_SCHEMA.names
    )


def test_an_item_has_the_same_id_every_night_and_another_box_another():
    first, second = (
        detect.detect_items(detect.ForegroundDetector(), "im", encoded(picture(box=box)))[0]
        for box in ((60, 100, 240, 380), (60, 100, 200, 380))
    )
    assert first == detect.detect_items(detect.ForegroundDetector(), "im", encoded(picture()))[0]
    ids = {
        first["item_id"],
        second["item_id"],
        detect.detect_items(detect.WholeImageDetector(), "im", encoded(picture()))[0]["item_id"],
    }
    assert len(ids) == 3


def test_what_is_no_picture_is_a_row_with_its_reason():
    (row,) = detect.detect_items(detect.ForegroundDetector(), "im", b"<html>log in</html>")
    assert row == {"image_id": "im", "reason": "unreadable", "detector": "foreground-1"}


def test_without_its_extra_a_photo_is_looked_at_by_the_packaged_default(monkeypatch, tmp_path):
    assert detect.photo_detector(tmp_path).version == "garments-2"
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    model = detect.photo_detector(tmp_path)
    assert model.version == "outfit-1"
    (boxes,) = detect.NetworkDetector(model.read()).detect([figure()])
    assert boxes[-1].super_category is None
    assert detect.photo_detector(tmp_path, "garments").version == "garments-2"


def figure() -> np.ndarray:
    """Return a picture of a dark garment on white ground, uint8 (256, 192, 3)."""
    picture = Image.new("RGB", (192, 256), "white")
    ImageDraw.Draw(picture).polygon([(60, 60), (132, 60), (150, 230), (42, 230)], "navy")
    return np.asarray(picture)


def test_boxes_of_the_packaged_default_stay_inside_the_picture(tmp_path):
    (boxes,) = detect.load_detector(tmp_path).detect([figure()])
    assert len(boxes) >= 2
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= 192 and 0 <= box.y0 < box.y1 <= 256
    named = max(boxes[:-1], key=lambda box: box.confidence)
    assert named.y0 < 75 and named.y1 > 200 and named.confidence > detect.MIN_CONFIDENCE


def test_duplicates_are_those_of_torchvision():
    import torch
    from torchvision.ops import batched_nms

    rng = np.random.default_rng(3)
    sizes = [0, 1, 2, 40, 300, 300]
    for count in sizes:
        middles, sides = rng.integers(0, 320, (count, 2)), rng.integers(0, 12, (count, 2)) * 16
        boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
        confidences, groups = rng.random(count).round(2), rng.integers(0, 3, count)
        order = np.argsort(-confidences, kind="stable")
        rows = [torch.from_numpy(a[order]) for a in (boxes, confidences, groups)]
        wanted = order[batched_nms(*rows, 0.5).numpy()][:50]
        kept = postprocess.suppress_duplicates(boxes, confidences, groups, 0.5, 50)
        assert kept.tolist() == wanted.tolist()
    assert len(kept) == 50
