"""Labelled photos -> the images that the detector's trainer draws its scenes from.

A photo with a mask is taken as it is; one with boxes by the foreground in them. If a photo only
says what is on it, the item is the foreground of a plain ground. If somebody wears the item, or the
ground is not plain, an earlier detector can locate it. The label says what it is, which is the
harder half (self-training, as in Xie et al., CVPR 2020).
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
from numpy.typing import NDArray

from wearalike.datasets import labelled_photos, layouts
from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.detection import classes as detection_classes
from wearalike.detection.classes import CLASS_NAMES, GARMENT_CLASS_BY_NAME, GarmentClass
from wearalike.detection.networks import postprocess
from wearalike.detection.networks.base import DetectionNetwork, Detections
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_iou, confidence_size_score
from wearalike.storage import atomic
from wearalike.training.detector import scenes
from wearalike.training.detector.compose import SceneSource, sampling_probabilities
from wearalike.training.detector.scenes import (
    CompressedScene,
    LabelledScene,
    compress_scene,
    scene_from_boxes,
    scene_from_mask,
    scene_from_plain_photo,
)

# The class of a dataset's word, by the kind of its layout. None: a word to ignore.
CLASS_LOOKUP_BY_KIND: dict[str, Callable[[str], GarmentClass | None]] = {
    layouts.CCP: detection_classes.class_of_ccp_tag,
    layouts.FASHION_PRODUCT_IMAGES: detection_classes.class_of_article_type,
    layouts.CLOTHING_DATASET: detection_classes.class_of_clothing_dataset_label,
    layouts.FOLDER: detection_classes.class_by_name,
    **dict.fromkeys(reading.LABEL_FORMATS, detection_classes.class_by_name),
}
# Confidence that an earlier detector needs for the thing that the label names.
_MIN_NAMED_CONFIDENCE = 0.03
# Confidence that it needs for anything else.
_MIN_OTHER_CONFIDENCE = 0.4
# Boxes that overlap at least this much show the same thing.
_SAME_IOU = 0.5
# How often scenes are drawn from each source: photos with masks, the figures of these on plain
# ground as shops show them, photos with boxes, single things as they are, single things pasted on
# other grounds, and things that a detector labelled.
_SOURCE_SHARES = {
    "masks": 0.35,
    "studio": 0.3,
    "boxes": 0.45,
    "plain": 0.15,
    "laid": 0.15,
    "seen": 0.25,
}
_MAX_PASTED_ITEMS = 4
_CACHE_SCHEMA = pa.schema(
    [
        ("found", pa.string()),  # source of the scene
        ("rgb", pa.binary()),  # JPEG file
        ("items", pa.binary()),  # PNG file of the instance map
        ("classes", pa.list_(pa.int64())),
    ]
)

# Scenes by source: "masks", "studio", "boxes", "plain" or "seen".
ScenesBySource = dict[str, list[CompressedScene]]
DatasetPhotos = LabelledDataset | list[LabelledImage]
PreparationTask = Callable[[], tuple[str, CompressedScene | None]]


def read_photos(kind: str, folder: Path, *, is_strict: bool = False) -> DatasetPhotos:
    """Read the labelled photos of a folder.

    Args:
        kind: Layout of the folder, one of layouts.DATASET_KINDS.
        folder: Folder with photos and labels.
        is_strict: Refuse label files with any bad label; else their pictures are left out.

    Returns:
        The labelled photos.

    Raises:
        layouts.BadDataset: The folder does not have that layout.
        reading.BadLabels: A label file of boxes cannot be used.
    """
    if kind in reading.LABEL_FORMATS:
        return reading.read_valid_labels(kind, folder, is_strict=is_strict)
    return labelled_photos.read_dataset(kind, folder)


def prepare_scenes(
    sets: Sequence[tuple[str, Path, DatasetPhotos]],
    pseudo_labeller: DetectionNetwork | None,
    on_progress: Callable[[int, int], None],
    split: str = "train",
) -> ScenesBySource:
    """Prepare the images of one split of labelled sets.

    Args:
        sets: Kind, folder and photos of each set.
        pseudo_labeller: Detector that locates things which are not a plain photo's foreground. None
            leaves these photos out.
        on_progress: Called with the number of photos that are ready, and of all.
        split: Name of the split.

    Returns:
        Scenes by how their items were found: "masks", "studio" (figures of photos with masks on
        plain ground), "boxes", "plain" (the foreground) or "seen" (by the pseudo-labeller).

    Raises:
        ValueError: There is nothing to learn, or a mask does not fit its photo.
    """
    prepared = _empty_scenes()
    tasks = [
        task
        for kind, folder, photos in sets
        for task in _preparation_tasks(kind, folder, photos, pseudo_labeller, split)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for done, (source, scene) in enumerate(cores.map(lambda task: task(), tasks), 1):
            on_progress(done, len(tasks))
            if scene is not None:
                prepared[source].append(scene)
    if not any(prepared.values()):
        folders = ", ".join(str(folder) for _, folder, _ in sets) or "no set"
        raise ValueError(f"nothing to learn in split {split!r} of {folders}")
    return prepared


def scene_sources(prepared: ScenesBySource) -> tuple[list[SceneSource], list[CompressedScene]]:
    """Return what scenes are drawn from.

    Args:
        prepared: Scenes by source.

    Returns:
        The sources that have any scene, and the backgrounds to paste items on.
    """
    sources = [
        _scene_source("masks", prepared["masks"], _uniform_probabilities),
        _scene_source("studio", prepared["studio"], _uniform_probabilities),
        _scene_source("boxes", prepared["boxes"], _uniform_probabilities),
        _scene_source("plain", prepared["plain"], _class_probabilities),
        _scene_source("laid", prepared["plain"], _class_probabilities, _MAX_PASTED_ITEMS),
        _scene_source("seen", prepared["seen"], _class_probabilities),
    ]
    backgrounds = prepared["masks"] or prepared["boxes"] or prepared["seen"]
    return [source for source in sources if source.pictures], backgrounds


def write_scenes(prepared: ScenesBySource, path: Path, fingerprint: str) -> None:
    """Write prepared scenes to a Parquet file, so that a resumed training can read them.

    Args:
        prepared: Scenes by source.
        path: File to write; it is replaced as a whole.
        fingerprint: Hash of everything that they were prepared from.
    """
    rows = [
        {
            "found": source,
            "rgb": scene.rgb_jpeg,
            "items": scene.instance_map_png,
            "classes": scene.classes,
        }
        for source, source_scenes in prepared.items()
        for scene in source_scenes
    ]
    table = pa.Table.from_pylist(rows, _CACHE_SCHEMA.with_metadata({"of": fingerprint}))
    with atomic.replace_file(path) as hidden:
        # JPEG and PNG do not compress any further.
        pq.write_table(table, hidden, compression="none")


def read_scenes(path: Path, fingerprint: str) -> ScenesBySource | None:
    """Read what `write_scenes` wrote.

    Args:
        path: The file.
        fingerprint: Hash of everything that the scenes must have been prepared from.

    Returns:
        Scenes by source; None if there is no file, or it was prepared from something else.
    """
    if not path.is_file():
        return None
    metadata = pq.read_schema(path).metadata or {}
    if metadata.get(b"of") != fingerprint.encode():
        return None
    prepared = _empty_scenes()
    for row in pq.read_table(path).to_pylist():
        scene = CompressedScene(row["rgb"], row["items"], tuple(row["classes"]))
        prepared[row["found"]].append(scene)
    return prepared


def pseudo_label_scene(
    detections: Detections, rgb: NDArray[np.uint8], garment: GarmentClass
) -> LabelledScene | None:
    """Build a scene from what an earlier detector found in a photo with a label.

    The labelled garment is the best box of the label's super-category. Without one it is the best
    box of all, because the label says that the garment is there.

    Args:
        detections: Detections in the photo.
        rgb: uint8 (h, w, 3). The photo.
        garment: Class that the label names.

    Returns:
        The scene, the garment first; None if nothing was detected.
    """
    if not len(detections.classes):
        return None
    is_same = np.array(
        [
            GARMENT_CLASS_BY_NAME[CLASS_NAMES[c]].super_category == garment.super_category
            for c in detections.classes.tolist()
        ]
    )
    scores = confidence_size_score(detections.boxes, detections.confidences)
    best = int(np.argmax(np.where(is_same, scores, -1) if is_same.any() else scores))
    # A box on the same place shows the same thing, which the network called by another name.
    is_elsewhere = box_iou(detections.boxes, detections.boxes[[best]])[:, 0] < _SAME_IOU
    is_other = ~is_same & (detections.confidences >= _MIN_OTHER_CONFIDENCE) & is_elsewhere
    others = [i for i in np.flatnonzero(is_other).tolist() if i != best]
    classes = [CLASS_NAMES.index(garment.name), *detections.classes[others].tolist()]
    return scene_from_boxes(rgb, detections.boxes[[best, *others]], np.array(classes, np.int64))


def _empty_scenes() -> ScenesBySource:
    """Return no scenes for every source that scenes are prepared for."""
    return {name: [] for name in _SOURCE_SHARES if name != "laid"}


def _scene_source(
    name: str,
    source_scenes: Sequence[CompressedScene],
    probabilities: Callable[[Sequence[CompressedScene]], NDArray[np.float64]],
    max_pasted_items: int = 0,
) -> SceneSource:
    """Return a source with its share."""
    share = _SOURCE_SHARES[name]
    return SceneSource(name, source_scenes, probabilities(source_scenes), share, max_pasted_items)


def _uniform_probabilities(source_scenes: Sequence[CompressedScene]) -> NDArray[np.float64]:
    """Return equal probabilities."""
    count = len(source_scenes)
    return np.full(count, 1 / max(1, count))


def _class_probabilities(source_scenes: Sequence[CompressedScene]) -> NDArray[np.float64]:
    """Return probabilities by the class of the first item."""
    if not source_scenes:
        return np.zeros(0)
    return sampling_probabilities([scene.classes[0] for scene in source_scenes])


def _preparation_tasks(
    kind: str,
    folder: Path,
    photos: DatasetPhotos,
    pseudo_labeller: DetectionNetwork | None,
    split: str,
) -> list[PreparationTask]:
    """Return a task for each photo."""
    if isinstance(photos, list):
        return [partial(_prepare_boxed_photo, p) for p in photos if p.split == split]
    class_of = CLASS_LOOKUP_BY_KIND[kind]
    of_split = [p for p in photos.photos if p.split == split]
    if kind == layouts.CCP:
        words = (folder / "labels.txt").read_text(encoding="utf-8").split()
        garments = [class_of(word) for word in words]
        # The set has a row an item; each photo is taken once.
        paths = dict.fromkeys(p.path for p in of_split)
        return [
            partial(_prepare_masked_photo, path, folder, garments, source)
            for path in paths
            for source in ("masks", "studio")
        ]
    return [
        partial(_prepare_single_item_photo, p, garment, pseudo_labeller)
        for p in of_split
        if "type" in p.labels and (garment := class_of(p.labels["type"]))
    ]


def _prepare_masked_photo(
    path: Path, folder: Path, garments: Sequence[GarmentClass | None], source: str
) -> tuple[str, CompressedScene | None]:
    """Return source and scene of a photo with a mask; None without items.

    The source "studio" has the figure on plain ground; "masks" has the photo as it is.
    """
    mask_path = layouts.DATASET_LAYOUTS[layouts.CCP].mask_path(folder, path.stem)
    if not mask_path.is_file():
        return source, None
    rgb = decode.decode_image(path.read_bytes())
    mask = decode.decode_mask(mask_path.read_bytes())
    if mask.shape != rgb.shape[:2]:
        raise ValueError(
            f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} px, "
            f"its photo has {rgb.shape[1]} x {rgb.shape[0]}"
        )
    if int(mask.max()) >= len(garments):
        raise ValueError(
            f"{mask_path}: {mask.max()}, and labels.txt has only {len(garments)} words"
        )
    if source == "studio":
        rgb = scenes.lay_on_plain_ground(rgb, mask > 0)
    scene = scene_from_mask(rgb, mask, [g.name if g else None for g in garments])
    return source, compress_scene(scene) if len(scene.classes) else None


def _prepare_boxed_photo(photo: LabelledImage) -> tuple[str, CompressedScene | None]:
    """Return source and scene of a photo with boxes; None without items."""
    known = [(o, g) for o in photo.objects if (g := detection_classes.class_by_name(o.category))]
    if not known:
        return "boxes", None
    corners = np.array([(o.x0, o.y0, o.x1, o.y1) for o, _ in known], np.float64)
    classes = np.array([CLASS_NAMES.index(g.name) for _, g in known], np.int64)
    rgb = decode.decode_image(photo.path.read_bytes())
    return "boxes", compress_scene(scene_from_boxes(rgb, corners, classes))


def _prepare_single_item_photo(
    photo: LabelledPhoto, garment: GarmentClass, pseudo_labeller: DetectionNetwork | None
) -> tuple[str, CompressedScene | None]:
    """Return source and scene of a photo with one label; None if not found."""
    rgb = decode.decode_image(photo.path.read_bytes(), max_side_px=scenes.MAX_SIDE_PX)
    plain = scene_from_plain_photo(rgb, garment.name)
    if plain is not None:
        return "plain", compress_scene(plain)
    if pseudo_labeller is None:
        return "seen", None
    (detections,) = postprocess.detect_garments(
        pseudo_labeller, [rgb], _MIN_NAMED_CONFIDENCE, detection_classes.CLASS_GROUPS
    )
    scene = pseudo_label_scene(detections, rgb, garment)
    return "seen", compress_scene(scene) if scene is not None else None
