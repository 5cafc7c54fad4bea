"""Labelled photos -> what the detector's trainer draws its scenes from.

A photo with a mask is taken as it is, one with boxes by what stands out in them. Of one that only says what is on it, the item
is what stands out of a plain ground. Where somebody wears it, or the ground is not plain, a former detector can say where it is:
the label says what it is, which is the harder half (self-training, as in Xie et al., CVPR 2020).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.datasets import labelled_photos, layouts
from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.detection import classes as detection_classes
from wearalike.detection.classes import CLASS_NAMES, GARMENT_CLASS_BY_NAME, GarmentClass
from wearalike.detection.networks import base
from wearalike.detection.networks.base import DetectionNetwork, Detections
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_iou, confidence_size_score
from wearalike.storage import atomic
from wearalike.training.detector import scenes
from wearalike.training.detector.scenes import (
    CompressedScene,
    LabelledScene,
    SceneSource,
    compress_scene,
    sampling_probabilities,
    scene_from_boxes,
    scene_from_mask,
    scene_from_plain_photo,
)

# What a set calls things, by the kind of its layout.
CLASS_LOOKUP_BY_KIND: dict[str, Callable[[str], GarmentClass | None]] = {
    layouts.CCP: detection_classes.class_of_ccp_tag,
    layouts.FASHION_PRODUCT_IMAGES: detection_classes.class_of_article_type,
    layouts.CLOTHING_DATASET: detection_classes.class_of_clothing_dataset_label,
    layouts.FOLDER: detection_classes.class_by_name,
    **dict.fromkeys(reading.LABEL_FORMATS, detection_classes.class_by_name),
}
# How sure a former detector must be of the thing that the label names, and of what else it sees.
_MIN_NAMED_CONFIDENCE, _MIN_OTHER_CONFIDENCE = 0.03, 0.4
_SAME_IOU = 0.5
# Of the scenes: photos with masks, with boxes, single things as they are, single things laid on other grounds, things labelled by
# a detector.
_SOURCE_SHARES = {"masks": 0.45, "boxes": 0.45, "plain": 0.15, "laid": 0.15, "seen": 0.25}
_MAX_PASTED_ITEMS = 4
_CACHE_SCHEMA = pa.schema(
    [
        ("found", pa.string()),
        ("rgb", pa.binary()),
        ("items", pa.binary()),
        ("classes", pa.list_(pa.int64())),
    ]
)


ScenesBySource = dict[str, list[CompressedScene]]
DatasetPhotos = LabelledDataset | list[LabelledImage]


def read_photos(kind: str, folder: Path) -> DatasetPhotos:
    """The labelled photos of a kind (KINDS) in a folder. Raises layouts.BadDataset or labels.BadLabels."""
    return (
        reading.read_valid_labels(kind, folder)
        if kind in reading.LABEL_FORMATS
        else labelled_photos.read_dataset(kind, folder)
    )


def prepare_scenes(
    sets: Sequence[tuple[str, Path, DatasetPhotos]],
    pseudo_labeller: DetectionNetwork | None,
    on_progress: Callable[[int, int], None],
    split: str = "train",
) -> ScenesBySource:
    """The pictures in one split of labelled sets, by how their items were found: "masks", "boxes", "plain" (what stands out) or
    "seen" (by the former detector).

    sets: kind, folder and photos of each. former: says where a thing is that does not stand out; None: photos
    of such things are left out. told: called with how many photos are ready, and how many there are. Raises ValueError where
    there is nothing to learn.
    """
    found = _empty_scenes()
    tasks = [
        task
        for kind, folder, photos in sets
        for task in _preparation_tasks(kind, folder, photos, pseudo_labeller, split)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for done, (name, picture) in enumerate(cores.map(lambda task: task(), tasks), 1):
            on_progress(done, len(tasks))
            if picture is not None:
                found[name].append(picture)
    if not any(found.values()):
        raise ValueError(
            f"nothing to learn in split {split!r} of {', '.join(str(folder) for _, folder, _ in sets) or 'no set'}"
        )
    return found


def _empty_scenes() -> ScenesBySource:
    return {name: [] for name in _SOURCE_SHARES if name != "laid"}


PreparationTask = Callable[[], tuple[str, CompressedScene | None]]


def _preparation_tasks(
    kind: str,
    folder: Path,
    photos: DatasetPhotos,
    pseudo_labeller: DetectionNetwork | None,
    split: str,
) -> list[PreparationTask]:
    """What is to be done, a picture each."""
    if isinstance(photos, list):
        return [partial(_prepare_boxed_photo, p) for p in photos if p.split == split]
    class_of, mine = CLASS_LOOKUP_BY_KIND[kind], [p for p in photos.photos if p.split == split]
    if kind == layouts.CCP:
        words = [
            class_of(word) for word in (folder / "labels.txt").read_text(encoding="utf-8").split()
        ]
        # Every item of a photo is a row of the set; the photo is taken once.
        return [
            partial(_prepare_masked_photo, path, folder, words)
            for path in dict.fromkeys(p.path for p in mine)
        ]
    return [
        partial(_prepare_single_item_photo, p, g, pseudo_labeller)
        for p in mine
        if "type" in p.labels and (g := class_of(p.labels["type"]))
    ]


def scene_sources(scenes: ScenesBySource) -> tuple[list[SceneSource], list[CompressedScene]]:
    """The sources of prepared pictures, and the grounds to lay things on."""
    singles = _sampling_probabilities_by_class(scenes["plain"])
    made = [
        *(
            SceneSource(
                n, scenes[n], np.full(len(scenes[n]), 1 / max(1, len(scenes[n]))), _SOURCE_SHARES[n]
            )
            for n in ("masks", "boxes")
        ),
        SceneSource("plain", scenes["plain"], singles, _SOURCE_SHARES["plain"]),
        SceneSource("laid", scenes["plain"], singles, _SOURCE_SHARES["laid"], _MAX_PASTED_ITEMS),
        SceneSource(
            "seen",
            scenes["seen"],
            _sampling_probabilities_by_class(scenes["seen"]),
            _SOURCE_SHARES["seen"],
        ),
    ]
    return [s for s in made if s.pictures], scenes["masks"] or scenes["boxes"] or scenes["seen"]


def write_scenes(scenes: ScenesBySource, path: Path, fingerprint: str) -> None:
    """Writes prepared pictures to a Parquet file, so that a training that goes on need not prepare them again. of: what they were
    prepared from."""
    rows = [
        {"found": name, "rgb": p.rgb_jpeg, "items": p.instance_map_png, "classes": p.classes}
        for name, pictures in scenes.items()
        for p in pictures
    ]
    table = pa.Table.from_pylist(rows, _CACHE_SCHEMA.with_metadata({"of": fingerprint}))
    with atomic.replace_file(path) as hidden:
        pq.write_table(table, hidden, compression="none")


def read_scenes(path: Path, fingerprint: str) -> ScenesBySource | None:
    """What `keep` has written; None where there is none, or it was prepared from something else."""
    if (
        not path.is_file()
        or (pq.read_schema(path).metadata or {}).get(b"of") != fingerprint.encode()
    ):
        return None
    found = _empty_scenes()
    for row in pq.read_table(path).to_pylist():
        found[row["found"]].append(CompressedScene(row["rgb"], row["items"], tuple(row["classes"])))
    return found


def _prepare_masked_photo(
    path: Path, folder: Path, words: Sequence[GarmentClass | None]
) -> tuple[str, CompressedScene | None]:
    mask_path = layouts.DATASET_LAYOUTS[layouts.CCP].mask_path(folder, path.stem)
    if not mask_path.is_file():
        return "masks", None
    rgb, mask = decode.decode_image(path.read_bytes()), decode.decode_mask(mask_path.read_bytes())
    if mask.shape != rgb.shape[:2]:
        raise ValueError(
            f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} px, its photo has {rgb.shape[1]} x {rgb.shape[0]}"
        )
    if int(mask.max()) >= len(words):
        raise ValueError(f"{mask_path}: {mask.max()}, and labels.txt has only {len(words)} words")
    made = scene_from_mask(rgb, mask, [g.name if g else None for g in words])
    return "masks", compress_scene(made) if len(made.classes) else None


def _prepare_boxed_photo(photo: LabelledImage) -> tuple[str, CompressedScene | None]:
    known = [(o, g) for o in photo.objects if (g := detection_classes.class_by_name(o.category))]
    if not known:
        return "boxes", None
    corners = np.array([(o.x0, o.y0, o.x1, o.y1) for o, _ in known], np.float64)
    rgb = decode.decode_image(photo.path.read_bytes())
    return "boxes", compress_scene(
        scene_from_boxes(
            rgb, corners, np.array([CLASS_NAMES.index(g.name) for _, g in known], np.int64)
        )
    )


def _prepare_single_item_photo(
    photo: LabelledPhoto, garment: GarmentClass, pseudo_labeller: DetectionNetwork | None
) -> tuple[str, CompressedScene | None]:
    rgb = decode.decode_image(photo.path.read_bytes(), max_side_px=scenes.MAX_SIDE_PX)
    plain = scene_from_plain_photo(rgb, garment.name)
    if plain is not None:
        return "plain", compress_scene(plain)
    if pseudo_labeller is None:
        return "seen", None
    (found,) = base.detect_garments(
        pseudo_labeller, [rgb], _MIN_NAMED_CONFIDENCE, detection_classes.CLASS_GROUPS
    )
    made = pseudo_label_scene(found, rgb, garment)
    return "seen", compress_scene(made) if made else None


def pseudo_label_scene(
    detections: Detections, rgb: np.ndarray, garment: GarmentClass
) -> LabelledScene | None:
    """A picture with what a detector found in it, the best item being the garment, first of all: the best of its super-category,
    else of any, for the label says that it is there. None where nothing was found."""
    if not len(detections.classes):
        return None
    same = np.array(
        [
            GARMENT_CLASS_BY_NAME[CLASS_NAMES[c]].super_category == garment.super_category
            for c in detections.classes.tolist()
        ]
    )
    scores = confidence_size_score(detections.boxes, detections.confidences)
    chosen = int(np.argmax(np.where(same, scores, -1) if same.any() else scores))
    # What lies on the same place is the same thing, for which the network had another name.
    is_other = (
        ~same
        & (detections.confidences >= _MIN_OTHER_CONFIDENCE)
        & (box_iou(detections.boxes, detections.boxes[[chosen]])[:, 0] < _SAME_IOU)
    )
    others = [i for i in np.flatnonzero(is_other).tolist() if i != chosen]
    classes = np.array(
        [CLASS_NAMES.index(garment.name), *detections.classes[others].tolist()], np.int64
    )
    return scene_from_boxes(rgb, detections.boxes[[chosen, *others]], classes)


def _sampling_probabilities_by_class(pictures: Sequence[CompressedScene]) -> np.ndarray:
    return sampling_probabilities([p.classes[0] for p in pictures]) if pictures else np.zeros(0)
