"""The job that trains a detector: from a folder to a model file, and on from where it stopped."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wearalike.commands import app
from wearalike.detection.classes import CLASS_NAMES, GARMENT_CLASS_BY_NAME
from wearalike.detection.networks import base
from wearalike.detection.networks import registry as networks
from wearalike.models import registry
from wearalike.training.detector import dataset


@pytest.fixture
def masks(tmp_path):
    """Four photos of a red bag, with masks: the third word of labels.txt."""
    folder = tmp_path / "street"
    (folder / "photos").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "labels.txt").write_text("null\nskin\nbag\n")
    lines = ["photo,split"]
    for number in range(4):
        box = (20 + 4 * number, 30, 80 + 4 * number, 110)
        photo, mask = Image.new("RGB", (120, 160), (90, 120, 90)), Image.new("L", (120, 160), 0)
        ImageDraw.Draw(photo).rectangle(box, fill=(200, 30, 40))
        ImageDraw.Draw(mask).rectangle(box, fill=2)
        photo.save(folder / "photos" / f"{number}.jpg")
        mask.save(folder / "masks" / f"{number}.png")
        lines.append(f"{number},{'train' if number else 'test'}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("architecture", "head_options", "head_files"),
    [
        (networks.YOLO, ["--box-head-steps", "50"], ["second.png"]),
        (networks.FCOS, ["--cell-steps", "50"], []),
    ],
)
def test_a_folder_becomes_a_model_and_a_stopped_training_goes_on(
    masks, tmp_path, capsys, architecture, head_options, head_files
):
    out = tmp_path / "out"
    options = [
        "--data",
        f"ccp={masks}",
        "--out",
        str(out),
        "--version",
        "drawn-1",
        "--steps",
        "2",
        "--batch",
        "2",
        "--device",
        "cpu",
    ]
    options += ["--architecture", architecture, *head_options]
    assert app.main(["train", "detector", *options, "--minutes", "0.0001"]) == 0
    assert not (out / "drawn-1.safetensors").exists() and (out / "pictures.parquet").exists()
    assert app.main(["train", "detector", *options]) == 0
    model = registry.read_model(out / "drawn-1.safetensors")
    assert model.sha256 in capsys.readouterr().out and model.architecture == architecture
    has_box_head = any(name.startswith(base.BOX_HEAD_PREFIX) for name in model.arrays)
    assert has_box_head == (architecture == networks.YOLO)
    assert all((out / name).is_file() for name in head_files)
    assert (
        model.card["data"] == {"ccp street": 3}
        and model.card["recipe"]["steps"] == 2
        and model.card["begin"].startswith("efficient")
    )
    assert (out / "losses.csv").read_text().startswith("step,") and (
        out / "losses.png"
    ).read_bytes()[:4] == b"\x89PNG"
    assert app.main(["train", "detector", *options, "--seed", "1"]) == 1


def test_bad_masks_are_named(masks, tmp_path):
    wrong = np.full((160, 120), 7, np.uint8)
    Image.fromarray(wrong).save(masks / "masks" / "1.png")
    assert (
        app.main(["train", "detector", "--data", f"ccp={masks}", "--out", str(tmp_path / "out")])
        == 1
    )
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_boxes_of_label_tools_are_taken(tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    image = Image.new("RGB", (100, 80), "white")
    ImageDraw.Draw(image).rectangle((20, 20, 59, 69), fill="navy")
    image.save(folder / "a.jpg", quality=95)
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "trousers"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [15, 15, 50, 60]}],
    }
    (folder / "labels.json").write_text(json.dumps(labels))
    found = dataset.prepare_scenes(
        [("coco", folder, dataset.read_photos("coco", folder))], None, lambda done, of: None
    )
    (packed,) = found["boxes"]
    picture = packed.decompress()
    # Inside the box, what stands out of the plain ground.
    assert (picture.instance_map == 1)[20:70, 20:60].mean() > 0.9 and (
        picture.instance_map > 0
    ).mean() < 0.35
    drawn, grounds = dataset.scene_sources(found)
    assert [s.name for s in drawn] == ["boxes"] and grounds == found["boxes"]


def test_pictures_are_kept_for_the_same_photos_alone(masks, tmp_path):
    found = dataset.prepare_scenes(
        [("ccp", masks, dataset.read_photos("ccp", masks))], None, lambda done, of: None
    )
    dataset.write_scenes(found, tmp_path / "pictures.parquet", "these")
    assert dataset.read_scenes(tmp_path / "pictures.parquet", "these") == found
    assert (
        dataset.read_scenes(tmp_path / "pictures.parquet", "those") is None
        and dataset.read_scenes(tmp_path / "none", "these") is None
    )


def test_a_label_says_what_a_detector_found(tmp_path):
    image = np.full((100, 100, 3), 255, np.uint8)
    image[10:60, 10:50], image[62:95, 10:50], image[80:95, 70:90] = 90, 40, 20
    corners = np.array([[10.0, 10, 50, 60], [10, 62, 50, 95], [70, 80, 90, 95]])
    skirt, shirt, shoe, top = (
        CLASS_NAMES.index(name) for name in ("skirt", "shirt", "shoe", "top")
    )
    found = base.Detections(corners, np.array([shirt, skirt, shoe]), np.array([0.2, 0.9, 0.3]))
    # The upper wear is what the label says; what else is surely seen stays what it is,
    # the unsure shoe does not.
    made = dataset.pseudo_label_scene(found, image, GARMENT_CLASS_BY_NAME["top"])
    assert made is not None and made.classes.tolist() == [top, skirt]
    assert (
        (made.instance_map[12:58, 12:48] == 1).all()
        and (made.instance_map[64:93, 12:48] == 2).all()
        and not made.instance_map[:, 60:].any()
    )
    # No bag was seen, and yet there is one: the best item is it.
    assert dataset.pseudo_label_scene(found, image, GARMENT_CLASS_BY_NAME["bag"]).classes[
        0
    ] == CLASS_NAMES.index("bag")
    # Where the network saw a dress in the top's place, that is no second thing,
    # and nothing of the top is lost to it.
    twice = base.Detections(
        np.r_[corners, [[12.0, 10, 50, 62]]],
        np.array([shirt, skirt, shoe, CLASS_NAMES.index("dress")]),
        np.r_[0.2, 0.9, 0.3, 0.9],
    )
    again = dataset.pseudo_label_scene(twice, image, GARMENT_CLASS_BY_NAME["top"])
    assert (
        again.classes.tolist() == [top, skirt] and (again.instance_map == made.instance_map).all()
    )
    nothing = base.Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    assert dataset.pseudo_label_scene(nothing, image, GARMENT_CLASS_BY_NAME["bag"]) is None
