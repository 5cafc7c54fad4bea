"""Training detectors on drawn things: scenes are right, both networks learn, a training resumes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wearalike.detection import detect
from wearalike.detection.classes import CLASS_GROUPS, CLASS_NAMES
from wearalike.detection.networks import base, postprocess
from wearalike.detection.networks import registry as networks
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind
from wearalike.training.detector import box_head, compose
from wearalike.training.detector.compose import (
    SceneAugmentationConfig,
    SceneSource,
    compose_scene,
)
from wearalike.training.detector.scenes import (
    LabelledScene,
    compress_scene,
    instance_boxes,
    scene_from_boxes,
    scene_from_mask,
    scene_from_plain_photo,
)
from wearalike.training.detector.trainer import DetectorTrainer, DetectorTrainingConfig

BAG, SHOE = CLASS_NAMES.index("bag"), CLASS_NAMES.index("shoe")


def drawn(number: int, size=(120, 160)) -> np.ndarray:
    """A red bag or two dark shoes on white."""
    image = Image.new("RGB", size, "white")
    draw, shift = ImageDraw.Draw(image), number % 7 * 3
    if number % 2:
        draw.ellipse((15 + shift, 100, 50 + shift, 120), (40, 40, 60))
        draw.ellipse((60 + shift, 110, 95 + shift, 130), (40, 40, 60))
    else:
        draw.rectangle((20 + shift, 40, 80 + shift, 110), (200, 30, 40))
    return np.asarray(image)


def labelled(number: int) -> LabelledScene:
    rgb = drawn(number)
    mask = (rgb < 250).any(axis=2).astype(np.uint8) * (1 + number % 2)
    return scene_from_mask(rgb, mask, (None, "bag", "shoe"))


@pytest.fixture(scope="module")
def source() -> SceneSource:
    return SceneSource(
        "masks", [compress_scene(labelled(n)) for n in range(12)], np.full(12, 1 / 12), 1.0
    )


@pytest.fixture(scope="module")
def grounds() -> list:
    rng = np.random.default_rng(0)
    busy = rng.integers(0, 90, (12, 8, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    standing = np.zeros(busy.shape[:2], np.uint8)
    standing[60:, 60:100] = 1
    return [compress_scene(LabelledScene(busy, standing, np.array([BAG])))]


def test_a_mask_gives_an_item_a_label_but_one_a_part_for_what_is_worn_in_pairs():
    bag, shoes = labelled(0), labelled(1)
    assert bag.classes.tolist() == [BAG] and shoes.classes.tolist() == [SHOE, SHOE]
    np.testing.assert_array_equal(instance_boxes(bag.instance_map, 1), [[20, 40, 81, 111]])
    np.testing.assert_array_equal(
        instance_boxes(shoes.instance_map, 2), [[18, 100, 54, 121], [63, 110, 99, 131]]
    )
    torn = np.zeros((50, 50), np.uint8)
    torn[5:25, 5:15], torn[5:25, 30:40], torn[48, 48] = 1, 1, 1
    made = scene_from_mask(np.zeros((50, 50, 3), np.uint8), torn, (None, "bag"))
    # A bag seen left and right of an arm is one bag; a speck is none of it.
    np.testing.assert_array_equal(instance_boxes(made.instance_map, 1), [[5, 5, 40, 25]])
    again = compress_scene(shoes).decompress()
    np.testing.assert_array_equal(again.instance_map, shoes.instance_map)
    assert (
        again.classes.tolist() == [SHOE, SHOE]
        and np.abs(again.rgb.astype(int) - shoes.rgb).mean() < 4
    )


def test_a_photo_on_plain_ground_is_its_own_mask_unless_it_is_worn():
    made = scene_from_plain_photo(drawn(0), "top")
    assert (
        made is not None
        and np.abs(instance_boxes(made.instance_map, 1) - [20, 40, 81, 111]).max() <= 3
    )
    worn = drawn(0).copy()
    worn[10:38, 40:60] = (224, 172, 140)
    assert (
        scene_from_plain_photo(worn, "top") is None
        and scene_from_plain_photo(worn, "bag") is not None
    )
    assert (
        scene_from_plain_photo(
            np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8), "bag"
        )
        is None
    )
    seen = scene_from_boxes(
        drawn(1), np.array([[10.0, 90, 58, 125], [58, 90, 105, 135]]), np.array([SHOE, SHOE])
    )
    assert (
        np.abs(
            instance_boxes(seen.instance_map, 2) - [[18, 100, 54, 121], [63, 110, 99, 131]]
        ).max()
        <= 3
    )


def test_scenes_are_functions_of_their_seed_and_their_items_are_where_they_say(source, grounds):
    laid = replace(
        source,
        pictures=[p for p in source.pictures if p.classes == (BAG,)],
        probabilities=np.full(6, 1 / 6),
        max_pasted_items=4,
    )
    scenes = [
        compose_scene(
            [source, laid], grounds, SceneAugmentationConfig(), 160, np.random.default_rng(i)
        )
        for i in range(30)
    ]
    again = compose_scene(
        [source, laid], grounds, SceneAugmentationConfig(), 160, np.random.default_rng(3)
    )
    np.testing.assert_array_equal(scenes[3].rgb, again.rgb)
    counts = [len(s.classes) for s in scenes]
    assert max(counts) >= 3 and sum(counts) > 30
    for s in scenes:
        assert (
            s.rgb.shape == (160, 160, 3)
            and s.instance_map.shape == (160, 160)
            and s.instance_map.max() == len(s.classes)
        )
        for number, c in enumerate(s.classes.tolist(), 1):
            r, g, b = s.rgb[s.instance_map == number].astype(float).mean(axis=0)
            assert (r > 2 * g and r > 2 * b) == (c == BAG)


@pytest.fixture(scope="module", params=networks.ARCHITECTURES)
def config(request) -> DetectorTrainingConfig:
    return DetectorTrainingConfig(
        architecture=request.param,
        steps=14,
        batch=2,
        freeze_backbone_steps=10,
        mask_interval=2,
        warmup_steps=2,
        head_learning_rate=4e-3,
        ema_decay=0.7,
    )


@pytest.fixture(scope="module")
def trained(source, config) -> tuple[DetectorTrainer, list[dict[str, float]]]:
    trainer, losses = DetectorTrainer([source], [], config), []
    trainer.run(config.steps, lambda step, found: losses.append(found))
    return trainer, losses


def model_file(trainer: DetectorTrainer, folder, **changed):
    arrays = trainer.averaged_weights() | changed
    content = registry.model_bytes(
        ModelKind.DETECTOR, trainer.config.architecture, "drawn-1", {}, arrays, CLASS_NAMES
    )
    (folder / "drawn-1.safetensors").write_bytes(content)
    return registry.read_model(folder / "drawn-1.safetensors")


def mean_losses(source: SceneSource, config: DetectorTrainingConfig, model) -> tuple[float, float]:
    """The losses of boxes and classes, and of masks, on the scenes of the first steps, with the
    weights of a model, or those that a training begins with.
    """
    still = replace(
        config, steps=3, mask_interval=1, head_learning_rate=0.0, backbone_learning_rate=0.0
    )
    trainer, losses = DetectorTrainer([source], [], still), []
    if model:
        trainer.init_from(model)
    trainer.run(still.steps, lambda step, found: losses.append(found))
    # The classes of an FCOS network are its masks.
    mask = "class" if config.architecture == networks.FCOS else "mask"
    boxes = [sum(v for name, v in found.items() if name != "mask") for found in losses]
    return float(np.mean(boxes)), float(np.mean([found[mask] for found in losses]))


def test_the_losses_fall(trained, source, config, tmp_path):
    trainer, losses = trained
    assert len(losses) == config.steps
    mask = "class" if config.architecture == networks.FCOS else "mask"
    assert sum(mask in found for found in losses) >= config.steps // 2
    # On the same scenes: from one step's two scenes to the next the loss changes as much as it
    # falls, and how many threads add up the gradients then decides.
    before = mean_losses(source, config, None)
    after = mean_losses(source, config, model_file(trainer, tmp_path))
    assert after[0] < 0.75 * before[0] and after[1] < 0.5 * before[1], (before, after)


def test_stopped_and_gone_on_is_as_if_never_stopped(source, grounds, config, tmp_path):
    short = replace(config, steps=3, freeze_backbone_steps=1)
    whole, first, second = (DetectorTrainer([source], grounds, short) for _ in range(3))
    seen: dict[str, list] = {"whole": [], "parts": []}
    whole.run(3, lambda *found: seen["whole"].append(found))
    first.run(2, lambda *found: seen["parts"].append(found))
    first.save_checkpoint(tmp_path / "checkpoint")
    second.load_checkpoint(tmp_path / "checkpoint")
    second.run(3, lambda *found: seen["parts"].append(found))
    assert [step for step, _ in seen["parts"]] == [1, 2, 3] and seen["parts"] == seen["whole"]
    for name, array in whole.averaged_weights().items():
        np.testing.assert_array_equal(array, second.averaged_weights()[name], name)
    with pytest.raises(ValueError, match="a checkpoint of another training"):
        DetectorTrainer([source], grounds, replace(short, seed=1)).load_checkpoint(
            tmp_path / "checkpoint"
        )


def test_what_is_seen_depends_on_nothing_but_the_picture(trained, tmp_path):
    model = model_file(trained[0], tmp_path)
    network = networks.load_detection_network(model, root=tmp_path)
    pictures = [drawn(n, (120 + 10 * n, 160)) for n in range(4)]
    together = postprocess.detect_garments(network, pictures, 1e-4, with_masks=True)
    assert sum(len(f.classes) for f in together) > 4
    # The next job reads the converted network, where one is kept.
    kept = list(tmp_path.glob("cache/networks/drawn-1/*.zip"))
    assert len(kept) == (0 if model.architecture == networks.MASK_RCNN else 1)
    if kept:
        network = networks.load_detection_network(model, root=tmp_path)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = postprocess.detect_garments(network, [picture], 1e-4, with_masks=True)
        for name in ("boxes", "classes", "confidences", "masks"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(found, name))
        height, width = picture.shape[:2]
        assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()
        assert (
            found.masks.shape == (len(found.classes), height, width)
            and (np.diff(found.confidences) <= 0).all()
        )


def test_weights_that_do_not_fit_are_refused(trained, tmp_path):
    name = next(iter(trained[0].averaged_weights()))
    with pytest.raises(BadModel, match="its tensors do not fit"):
        networks.load_detection_network(
            model_file(trained[0], tmp_path, **{name: np.zeros((2, 2), np.float16)})
        )
    strange = replace(model_file(trained[0], tmp_path), architecture="resnet-9000")
    with pytest.raises(
        BadModel,
        match="architecture 'resnet-9000', known are fcos-lite0, yolo-lite0-seg, mask-rcnn-lite0",
    ):
        networks.load_detection_network(strange)
    with pytest.raises(BadModel, match="class 'sofa', known are top, shirt"):
        detect.NetworkDetector(replace(model_file(trained[0], tmp_path), classes=("sofa",)))


def test_a_trained_detector_gives_its_items_and_last_what_stands_out(trained, tmp_path):
    detector = detect.NetworkDetector(model_file(trained[0], tmp_path))
    found = detector.detect([drawn(0), np.zeros((40, 60, 3), np.uint8)])
    assert [f[-1].super_category for f in found] == [None, None] and all(
        b.super_category for f in found for b in f[:-1]
    )
    last = found[0][-1]
    assert np.abs(np.array([last.x0, last.y0, last.x1, last.y1]) - (20, 40, 81, 111)).max() <= 9
    assert detector.version == "drawn-1"


def test_doubles_are_left_out_and_boxes_come_back_from_the_square():
    top, shirt = CLASS_NAMES.index("top"), CLASS_NAMES.index("shirt")
    corners = np.array(
        [[100, 40, 200, 240], [102, 42, 198, 236], [100, 40, 200, 240], [0, 0, 60, 300]], float
    )
    sight = base.RawDetections(
        corners, np.array([top, shirt, BAG, top]), np.array([0.5, 0.9, 0.4, 0.8]), None
    )

    class Fixed:
        side_px = 320

        def raw_detections(self, squares, least_confidence):
            return [sight]

    # Half as wide as high: it fills the middle half of its square, at a fifth of its size.
    (found,) = postprocess.detect_garments(
        Fixed(), [np.zeros((1600, 800, 3), np.uint8)], 0.1, CLASS_GROUPS
    )
    assert [CLASS_NAMES[c] for c in found.classes] == ["shirt", "bag"]
    np.testing.assert_allclose(found.boxes, [[110, 210, 590, 1180], [100, 200, 600, 1200]])
    (apart,) = postprocess.detect_garments(Fixed(), [np.zeros((1600, 800, 3), np.uint8)], 0.1)
    assert [CLASS_NAMES[c] for c in apart.classes] == ["shirt", "top", "bag"]


def test_yolos_numbers_are_read_as_its_makers_do():
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from wearalike.detection.networks import yolo

    torch.manual_seed(0)
    network = yolo.GarmentYolo(3).eval()
    square = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        outputs = [o[0].numpy() for o in network(square)]
        levels = network.neck(*network.trunk(square))
        (wanted, _), _ = network.head(levels)
    found = yolo.decode_detections(
        yolo.NetworkOutput(*outputs[:4], roi_features=lambda corners: torch.empty(len(corners), 0)),
        min_confidence=1e-6,
    )
    assert len(found.classes) == 3 * wanted.shape[2]
    x, y, w, h = wanted[0, :4].numpy()
    np.testing.assert_allclose(
        found.boxes[: wanted.shape[2]],
        np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1),
        atol=1e-2,
    )
    np.testing.assert_allclose(found.confidences.reshape(3, -1), wanted[0, 4:7].numpy(), atol=1e-5)


@pytest.mark.parametrize("config", [networks.YOLO], indirect=True)
def test_a_second_look_says_what_the_first_one_found(trained, source, grounds, tmp_path):
    # So little has it learned that it is sure of nothing: the biases of its classes are raised.
    louder = {
        n: a + np.float16(8)
        for n, a in trained[0].averaged_weights().items()
        if re.fullmatch(r"head\.cv3\.\d\.2\.bias", n)
    }
    assert len(louder) == 3
    once = model_file(trained[0], tmp_path, **louder)
    how = box_head.BoxHeadTrainingConfig(steps=60, batch=32, views_per_image=2)
    pictures = {
        "masks": [*source.pictures, *grounds],
        "boxes": [],
        "plain": source.pictures[:2],
        "seen": source.pictures[:2],
    }
    views_done: list[int] = []
    given = box_head.extract_examples(once, pictures, how, lambda: views_done.append(1))
    assert len(views_done) == box_head.count_views(pictures, how) == 13 * 3 + 2 + 2
    # Every labelled item gives three boxes at least; a detector's label gives no more than these.
    assert np.isfinite(given.features).all() and given.features.shape[0] == len(
        given.labels
    ) == len(given.is_scene)
    assert {BAG, SHOE} <= set(given.labels.tolist()) <= {BAG, SHOE, box_head.BACKGROUND_CLASS}
    assert (
        given.is_scene.sum() >= 3 * (6 + 12 + 1) and (~given.is_scene).sum() >= 3 * (1 + 2) + 3 * 2
    )
    losses: list[float] = []
    second = box_head.train_box_head(
        given, how, lambda step, found: losses.append(found["second look"])
    )
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    again = box_head.train_box_head(given, how, lambda step, found: None)
    assert second.keys() == again.keys() and all(
        np.array_equal(second[n], again[n]) for n in second
    )
    twice = networks.load_detection_network(model_file(trained[0], tmp_path, **louder, **second))
    squares = np.stack([decode.letterbox(drawn(n), twice.side_px) for n in range(4)])
    sights = twice.raw_detections(squares, 0.01)
    for number, sight in enumerate(sights):
        assert len(sight.classes), number
        assert sight.classes[sight.confidences.argmax()] == (SHOE if number % 2 else BAG)
        (alone,) = twice.raw_detections(squares[number : number + 1], 0.01)
        np.testing.assert_array_equal(alone.confidences, sight.confidences)
        np.testing.assert_array_equal(alone.boxes, sight.boxes)
    # The network goes on learning without it, and a second look that does not fit is refused.
    other = DetectorTrainer([source], [], trained[0].config)
    other.init_from(model_file(trained[0], tmp_path, **louder, **second))
    assert not any(name.startswith(base.BOX_HEAD_PREFIX) for name in other.averaged_weights())
    name = f"{base.BOX_HEAD_PREFIX}outer.bias"
    with pytest.raises(BadModel, match="bias is"):
        networks.load_detection_network(
            model_file(trained[0], tmp_path, **louder | second | {name: second[name][:-1]})
        )
    with pytest.raises(BadModel, match="weight is missing"):
        networks.load_detection_network(model_file(trained[0], tmp_path, **{name: second[name]}))


def test_both_looks_agree_on_how_sure_they_are():
    from wearalike.detection.networks.box_head import fuse_confidences

    sure = fuse_confidences(
        np.array([[0.81, 0.0081], [0.04, 0.04]]), np.array([[0.36, 0.36, 0.28], [0.0, 0.25, 0.75]])
    )
    # A class the first look hardly believes in gives way; where nothing is, nothing is sure.
    np.testing.assert_allclose(sure, [[0.54, 0.54 * 0.01**0.15], [0.0, 0.1]], atol=1e-9)
    assert (fuse_confidences(np.full((1, 3), 0.5), np.array([[0.0, 0, 0, 1]])) == 0).all()


def test_ultralytics_comes_quietly(tmp_path):
    import os
    import subprocess
    import sys

    pytest.importorskip("ultralytics")
    script = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('it asked the network')\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "from wearalike.detection.networks import yolo_training\n"
        "yolo_training.TrainableYolo(3, 'cpu')\n"
        "import os, PIL.Image, torch\n"
        "print(PIL.Image.open.__module__, torch.save.__module__, 'YOLO_OFFLINE' in os.environ)"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("YOLO")} | {
        "HOME": str(tmp_path)
    }
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [
        "PIL.Image",
        "torch.serialization",
        "False",
    ], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pixels_of_a_scene_keep_their_grounds(grounds):
    made = compose.crop_background(grounds[0].decompress(), 64, np.random.default_rng(0))
    assert made.rgb.shape == (64, 64, 3) and not made.instance_map.any() and len(made.classes) == 0
    assert decode.letterbox(made.rgb, 32).shape == (32, 32, 3)
