"""COCO JSON (cocodataset.org/#format-data) -> labelled pictures."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wearalike.datasets.formats import masks, record
from wearalike.datasets.formats.record import (
    BadLabels,
    LabelledImage,
    LabelledObject,
    LabelProblem,
    LabelsAndProblems,
)

CocoId = int | str


def read_coco(file: Path, folder: Path) -> LabelsAndProblems:
    """Read one COCO file.

    Pictures are searched in the usual folders (see `_search_folders`), the nearest first. Boxes are
    the annotations' `bbox`, else those of their `segmentation`, which becomes the mask. Words in
    `attributes`, as CVAT writes them, are kept. Crowds are no single objects and left out. A root
    category of Roboflow, which no annotation uses, is none.

    Args:
        file: The JSON file.
        folder: The set's folder; pictures must lie in it.

    Returns:
        The pictures in the file's order, and all problems.
    """
    problems: list[LabelProblem] = []

    def each(
        name: str, take: Callable[[Mapping[str, Any]], None], document: Mapping[str, Any], word: str
    ) -> None:
        for number, entry in enumerate(_require_list(document, name)):
            where = f"{file}: {name}[{number}]"
            try:
                if not isinstance(entry, dict):
                    raise BadLabels(f"wanted an object, got {record.short_repr(entry)}")
                where = f"{file}: {word} {record.short_repr(_require_id(entry, 'id'))}"
                take(entry)
            except BadLabels as error:
                problems.append(LabelProblem(where, str(error)))

    coco = _CocoReader(file, folder)
    try:
        document = _read_document(file)
        for name in ("categories", "images", "annotations"):
            _require_list(document, name)
    except BadLabels as error:
        return [], [LabelProblem(str(file), str(error))]
    coco.root_names = _find_root_names(document["categories"])
    each("categories", coco.add_category, document, "category")
    each("images", coco.add_image, document, "image")
    each("annotations", coco.add_annotation, document, "annotation")
    return [
        replace(image, objects=tuple(coco.objects[key]), problem_count=coco.problem_counts[key])
        for key, image in coco.images.items()
        if image
    ], problems


class _CocoReader:
    """The content of a COCO file so far.

    `images` holds None for a refused image, so that its annotations are no further problems.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.folder = folder
        self.split = record.find_split(re.split(r"[^a-z0-9]+", file.stem.lower()))
        self.search_folders = _search_folders(file, folder, self.split)
        self.root_names: set[str] = set()
        self.categories: dict[CocoId, str] = {}
        self.problem_counts: Counter[CocoId] = Counter()
        self._names: set[str] = set()
        self.images: dict[CocoId, LabelledImage | None] = {}
        self.objects: dict[CocoId, list[LabelledObject]] = {}
        self._annotations: set[CocoId] = set()
        self._paths: set[Path] = set()

    def add_category(self, entry: Mapping[str, Any]) -> None:
        key, name = _require_id(entry, "id"), record.parse_category(entry.get("name"))
        if key in self.categories:
            raise BadLabels(f"the id stands twice, for {self.categories[key]!r} and {name!r}")
        if _is_root(entry, self.root_names):
            self.categories[key] = name
            return
        if name in self._names:
            raise BadLabels(f"the name {name!r} stands twice")
        self._names.add(name)
        self.categories[key] = name

    def add_image(self, entry: Mapping[str, Any]) -> None:
        key = _require_id(entry, "id")
        if key in self.images:
            raise BadLabels("duplicate picture: the id stands twice")
        self.images[key] = None
        path = record.find_picture(entry.get("file_name"), self.folder, self.search_folders)
        if path in self._paths:
            raise BadLabels(f"duplicate picture: {path} stands twice")
        self._paths.add(path)
        header = record.read_picture_header(path)
        said = (
            _to_integer(entry.get("width", header.width_px)),
            _to_integer(entry.get("height", header.height_px)),
        )
        if said != (header.width_px, header.height_px):
            size = f"{header.width_px} x {header.height_px} px when upright"
            raise BadLabels(
                f"{path}: said to be {record.short_repr(said[0])} x "
                f"{record.short_repr(said[1])} px, is {size}"
            )
        split = self.split or record.find_split(path.relative_to(self.folder).parts[:-1]) or "train"
        self.images[key], self.objects[key] = (
            LabelledImage(path, header.width_px, header.height_px, (), split),
            [],
        )

    def add_annotation(self, entry: Mapping[str, Any]) -> None:
        key, image_key, category = (
            _require_id(entry, name) for name in ("id", "image_id", "category_id")
        )
        if key in self._annotations:
            raise BadLabels("the id stands twice")
        self._annotations.add(key)
        if image_key not in self.images:
            raise BadLabels(f"image_id {record.short_repr(image_key)}: no such image in the file")
        if category not in self.categories:
            raise BadLabels(
                f"unknown class id {record.short_repr(category)}: "
                f"known are {record.format_first(self.categories)}"
            )
        image = self.images[image_key]
        if image is None or entry.get("iscrowd") == 1:
            return
        try:
            found = _build_object(self.categories[category], entry, image)
        except BadLabels:
            self.problem_counts[image_key] += 1
            raise
        self.objects[image_key].append(found)


def _build_object(category: str, entry: Mapping[str, Any], image: LabelledImage) -> LabelledObject:
    """Return the object of an annotation. Raise BadLabels."""
    mask = masks.parse_segmentation(entry.get("segmentation"), image.width_px, image.height_px)
    attributes = _text_attributes(entry.get("attributes"))
    values = entry.get("bbox")
    if not values and mask:
        return record.build_object(category, mask.corners(), image, mask, attributes)
    if not isinstance(values, list) or len(values) != 4:
        raise BadLabels(
            f"bbox: wanted 4 numbers (x, y, width, height), got {record.short_repr(values)}"
        )
    x, y, width, height = (_require_coordinate(value) for value in values)
    return record.build_object(category, (x, y, x + width, y + height), image, mask, attributes)


def _text_attributes(value: Any) -> dict[str, str]:
    """Return the attributes that are words; tools also write numbers and switches there."""
    entries = value.items() if isinstance(value, dict) else ()
    return {
        name: text.strip()
        for name, text in entries
        if isinstance(text, str)
        and text.strip()
        and max(len(name), len(text)) <= record.MAX_NAME_CHARACTERS
        and record.is_clean(name + text)
    }


def _find_root_names(categories: list[Any]) -> set[str]:
    """Return the names of categories that are above others and below none."""
    entries = [entry for entry in categories if isinstance(entry, dict)]
    above = {e.get("supercategory") for e in entries if isinstance(e.get("supercategory"), str)}
    return {
        e["name"]
        for e in entries
        if isinstance(e.get("name"), str)
        and e["name"] in above
        and e.get("supercategory") in (None, "", "none")
    }


def _is_root(entry: Mapping[str, Any], root_names: set[str]) -> bool:
    """Return True for a root category, whose name may be that of a class below it."""
    return entry.get("name") in root_names and entry.get("supercategory") in (None, "", "none")


def _to_integer(value: Any) -> Any:
    """Return a whole number that is written as a decimal as an integer, others as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def json_files(folder: Path) -> list[Path]:
    """Return a set's JSON files: those in annotations/, else those beside pictures."""
    return sorted((folder / "annotations").glob("*.json")) or sorted(
        [*folder.glob("*.json"), *folder.glob("*/*.json")]
    )


def _search_folders(file: Path, folder: Path, split: str | None) -> list[Path]:
    """Return the folders that a file's pictures may be in, nearest first.

    The order keeps train/1.jpg from being taken for val/1.jpg. For
    annotations/instances_val2017.json it is images/val2017, images/val, val2017, val, images and
    the folder itself.
    """
    words = [
        file.stem.rpartition("_")[2],
        *(word for word, of in record.SPLIT_BY_WORD.items() if of == split),
    ]
    near = [folder / above / word for above in ("images", ".") for word in words if word]
    beside = [file.parent] if file.parent.is_relative_to(folder) and file.parent != folder else []
    return [home for home in (*beside, *near, folder / "images", folder) if home.is_dir()]


def _read_document(file: Path) -> dict[str, Any]:
    content = record.read_limited(file)
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise BadLabels(
            f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except RecursionError as error:
        raise BadLabels("not JSON that is used: nested too deep") from error
    except ValueError as error:  # Not UTF-8, or a number of thousands of digits.
        raise BadLabels(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadLabels(
            "wanted an object with images, annotations and categories, "
            f"got {record.short_repr(document)}"
        )
    return document


def _require_list(document: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(document.get(name), list):
        raise BadLabels(f"{name}: wanted a list, got {record.short_repr(document.get(name))}")
    return document[name]


def _require_id(entry: Mapping[str, Any], name: str) -> CocoId:
    value = _to_integer(entry.get(name))
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadLabels(f"{name}: wanted a number or text, got {record.short_repr(value)}")
    return value


def _require_coordinate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise BadLabels(f"not a number of pixels: {record.short_repr(value)}")
    return float(value)
