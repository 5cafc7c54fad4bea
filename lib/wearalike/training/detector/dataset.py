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

from wearalike.datasets import labelled_photos
from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage
from wearalike.datasets.labelled_photos import LAYOUTS, LabelledSet, Photo
from wearalike.detection import classes as detection_classes
from wearalike.detection.classes import BY_NAME, CLASSES, Garment
from wearalike.detection.networks import base
from wearalike.detection.networks.base import Found, Seer
from wearalike.imaging import decode
from wearalike.training.detector import scenes
from wearalike.training.detector.scenes import (
    Labelled,
    Packed,
    Source,
    balanced,
    of_boxes,
    of_mask,
    of_plain,
    pack,
)

# What a set calls things, by the kind of its layout.
CLASS_OF: dict[str, Callable[[str], Garment | None]] = {
    "masks": detection_classes.of_street,
    "catalogue": detection_classes.of_catalogue,
    "own": detection_classes.of_own,
    "folder": detection_classes.of_name,
    **dict.fromkeys(reading.KINDS, detection_classes.of_name),
}
KINDS = tuple(CLASS_OF)
# How sure a former detector must be of the thing that the label names, and of what else it sees.
_NAMED_CONFIDENCE, _OTHER_CONFIDENCE = 0.03, 0.4
_SAME_IOU = 0.5
# Of the scenes: photos with masks, with boxes, single things as they are, single things laid on other grounds, things labelled by
# a detector.
_SHARES = {"masks": 0.45, "boxes": 0.45, "plain": 0.15, "laid": 0.15, "seen": 0.25}
_LAID_TOGETHER = 4
_KEPT = pa.schema(
    [
        ("found", pa.string()),
        ("rgb", pa.binary()),
        ("items", pa.binary()),
        ("classes", pa.list_(pa.int64())),
    ]
)


Pictures = dict[str, list[Packed]]
Photos = LabelledSet | list[LabelledImage]


def read(kind: str, folder: Path) -> Photos:
    """The labelled photos of a kind (KINDS) in a folder. Raises labelled.BadSet or labels.BadLabels."""
    return (
        reading.read_whole(kind, folder)
        if kind in reading.KINDS
        else labelled_photos.read(kind, folder)
    )


def prepare(
    sets: Sequence[tuple[str, Path, Photos]],
    former: Seer | None,
    told: Callable[[int, int], None],
    split: str = "train",
) -> Pictures:
    """The pictures in one split of labelled sets, by how their items were found: "masks", "boxes", "plain" (what stands out) or
    "seen" (by the former detector).

    sets: kind, folder and photos of each. former: says where a thing is that does not stand out; None: photos
    of such things are left out. told: called with how many photos are ready, and how many there are. Raises ValueError where
    there is nothing to learn.
    """
    found = _none()
    tasks = [
        task
        for kind, folder, photos in sets
        for task in _tasks(kind, folder, photos, former, split)
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
        for done, (name, picture) in enumerate(cores.map(lambda task: task(), tasks), 1):
            told(done, len(tasks))
            if picture is not None:
                found[name].append(picture)
    if not any(found.values()):
        raise ValueError(
            f"nothing to learn in split {split!r} of {', '.join(str(folder) for _, folder, _ in sets) or 'no set'}"
        )
    return found


def _none() -> Pictures:
    return {name: [] for name in _SHARES if name != "laid"}


Task = Callable[[], tuple[str, Packed | None]]


def _tasks(kind: str, folder: Path, photos: Photos, former: Seer | None, split: str) -> list[Task]:
    """What is to be done, a picture each."""
    if isinstance(photos, list):
        return [partial(_boxed, p) for p in photos if p.split == split]
    class_of, mine = CLASS_OF[kind], [p for p in photos.photos if p.split == split]
    if kind == "masks":
        words = [
            class_of(word) for word in (folder / "labels.txt").read_text(encoding="utf-8").split()
        ]
        # Every item of a photo is a row of the set; the photo is taken once.
        return [
            partial(_masked, path, folder, words) for path in dict.fromkeys(p.path for p in mine)
        ]
    return [
        partial(_named, p, g, former)
        for p in mine
        if "type" in p.labels and (g := class_of(p.labels["type"]))
    ]


def draw_from(found: Pictures) -> tuple[list[Source], list[Packed]]:
    """The sources of prepared pictures, and the grounds to lay things on."""
    singles = _chances(found["plain"])
    made = [
        *(
            Source(n, found[n], np.full(len(found[n]), 1 / max(1, len(found[n]))), _SHARES[n])
            for n in ("masks", "boxes")
        ),
        Source("plain", found["plain"], singles, _SHARES["plain"]),
        Source("laid", found["plain"], singles, _SHARES["laid"], _LAID_TOGETHER),
        Source("seen", found["seen"], _chances(found["seen"]), _SHARES["seen"]),
    ]
    return [s for s in made if s.pictures], found["masks"] or found["boxes"] or found["seen"]


def keep(found: Pictures, path: Path, of: str) -> None:
    """Writes prepared pictures to a Parquet file, so that a training that goes on need not prepare them again. of: what they were
    prepared from."""
    rows = [
        {"found": name, "rgb": p.rgb, "items": p.items, "classes": p.classes}
        for name, pictures in found.items()
        for p in pictures
    ]
    beside = path.with_suffix(".part")
    pq.write_table(
        pa.Table.from_pylist(rows, _KEPT.with_metadata({"of": of})), beside, compression="none"
    )
    beside.replace(path)


def kept(path: Path, of: str) -> Pictures | None:
    """What `keep` has written; None where there is none, or it was prepared from something else."""
    if not path.is_file() or (pq.read_schema(path).metadata or {}).get(b"of") != of.encode():
        return None
    found = _none()
    for row in pq.read_table(path).to_pylist():
        found[row["found"]].append(Packed(row["rgb"], row["items"], tuple(row["classes"])))
    return found


def _masked(path: Path, folder: Path, words: Sequence[Garment | None]) -> tuple[str, Packed | None]:
    mask_path = folder / str(LAYOUTS["masks"].masks).format(path.stem)
    if not mask_path.is_file():
        return "masks", None
    rgb, mask = decode.decode(path.read_bytes()), decode.decode_mask(mask_path.read_bytes())
    if mask.shape != rgb.shape[:2]:
        raise ValueError(
            f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} px, its photo has {rgb.shape[1]} x {rgb.shape[0]}"
        )
    if int(mask.max()) >= len(words):
        raise ValueError(f"{mask_path}: {mask.max()}, and labels.txt has only {len(words)} words")
    made = of_mask(rgb, mask, [g.name if g else None for g in words])
    return "masks", pack(made) if len(made.classes) else None


def _boxed(photo: LabelledImage) -> tuple[str, Packed | None]:
    known = [(o, g) for o in photo.objects if (g := detection_classes.of_name(o.category))]
    if not known:
        return "boxes", None
    corners = np.array([(o.x0, o.y0, o.x1, o.y1) for o, _ in known], np.float64)
    rgb = decode.decode(photo.path.read_bytes())
    return "boxes", pack(
        of_boxes(rgb, corners, np.array([CLASSES.index(g.name) for _, g in known], np.int64))
    )


def _named(photo: Photo, garment: Garment, former: Seer | None) -> tuple[str, Packed | None]:
    rgb = decode.decode(photo.path.read_bytes(), max_side_px=scenes.KEPT_PX)
    plain = of_plain(rgb, garment.name)
    if plain is not None:
        return "plain", pack(plain)
    if former is None:
        return "seen", None
    (found,) = base.see(former, [rgb], _NAMED_CONFIDENCE, detection_classes.GROUPS)
    made = as_labelled(found, rgb, garment)
    return "seen", pack(made) if made else None


def as_labelled(found: Found, rgb: np.ndarray, garment: Garment) -> Labelled | None:
    """A picture with what a detector found in it, the best item being the garment, first of all: the best of its super-category,
    else of any, for the label says that it is there. None where nothing was found."""
    if not len(found.classes):
        return None
    same = np.array(
        [
            BY_NAME[CLASSES[c]].super_category == garment.super_category
            for c in found.classes.tolist()
        ]
    )
    x0, y0, x1, y1 = found.corners.T
    worth = found.confidences * np.sqrt((x1 - x0) * (y1 - y0))
    chosen = int(np.argmax(np.where(same, worth, -1) if same.any() else worth))
    # What lies on the same place is the same thing, for which the network had another name.
    is_other = (
        ~same
        & (found.confidences >= _OTHER_CONFIDENCE)
        & (_overlaps(found.corners, found.corners[chosen]) < _SAME_IOU)
    )
    others = [i for i in np.flatnonzero(is_other).tolist() if i != chosen]
    classes = np.array([CLASSES.index(garment.name), *found.classes[others].tolist()], np.int64)
    return of_boxes(rgb, found.corners[[chosen, *others]], classes)


def _overlaps(corners: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes, (n, 4), with one of them, (4,)."""
    sides = np.minimum(corners[:, 2:], one[2:]) - np.maximum(corners[:, :2], one[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    return shared / (areas + (one[2:] - one[:2]).prod() - shared)


def _chances(pictures: Sequence[Packed]) -> np.ndarray:
    return balanced([p.classes[0] for p in pictures]) if pictures else np.zeros(0)
