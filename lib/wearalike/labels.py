"""Other people's label files -> pictures and the boxes drawn in them: COCO JSON and YOLO txt, read into one record.

Nothing is believed: every label that cannot be used is named with its file and line (COCO: its id), all of them in one go, so that
somebody can mend them. Formats: cocodataset.org/#format-data, docs.ultralytics.com/datasets (detect and segment).
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from wearalike import pixels

KINDS = ("coco", "yolo")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_BYTES, MAX_YAML_BYTES = 1_000_000_000, 1_000_000
MAX_NAME_CHARACTERS = 200
# Tools that count pixels from their middle, or round, put a box this far over the rim; it is cut there.
_OVER_RIM_PX = 1
_SHOWN = 5
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_REPR = reprlib.Repr()
_REPR.maxstring = 120
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
Key = int | str


class BadLabels(ValueError):
    """Labels that cannot be used. The message says what was found, what was wanted and, outside this module, where."""


@dataclass(frozen=True, slots=True)
class Problem:
    """where: file and line, or file and the id of COCO's entry. what: found, and wanted."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """A box in pixels of the upright picture: int, origin top left, x1 and y1 outside, never empty, never over the rim."""

    category: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """width_px, height_px: after EXIF orientation, as pixels.decode gives them. objects: in the file's order, none where nothing
    is to be seen. split: train, val or test."""

    path: Path
    width_px: int
    height_px: int
    objects: tuple[LabelledObject, ...]
    split: str = "train"


Found = tuple[list[LabelledImage], list[Problem]]


def read(kind: str, place: Path) -> Found:
    """All labels of one kind (KINDS) at a place, pictures by path, and everything that is wrong with them.

    place: the set's folder; of COCO, a single JSON file too. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: known are {', '.join(KINDS)}")
    if kind == "yolo":
        return read_yolo(place)
    folder = root(kind, place)
    files = [place] if place.is_file() else _json_files(place)
    if not files:
        return [], [Problem(str(place), "no *.json there, in annotations/ or beside pictures in a folder of it")]
    images: dict[Path, LabelledImage] = {}
    problems: list[Problem] = []
    for file in files:
        found, wrong = read_coco(file, folder)
        problems += wrong
        for image in found:
            if image.path in images:
                problems.append(Problem(str(file), f"{image.path}: labelled in another file of the set too"))
            images.setdefault(image.path, image)
    return [images[path] for path in sorted(images)], problems


def read_whole(kind: str, place: Path) -> list[LabelledImage]:
    """As `read`, where nothing may be wrong. Raises BadLabels, which names the first problems and counts all."""
    images, problems = read(kind, place)
    if problems:
        rest = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadLabels(f"{place}: {len(problems)} bad labels\n  " + "\n  ".join(map(str, problems[:_SHOWN])) + rest)
    return images


def root(kind: str, place: Path) -> Path:
    """The folder that a set's pictures are in, at whatever depth."""
    if kind == "coco" and place.is_file():
        return place.parent.parent if place.parent.name == "annotations" else place.parent
    return place


def read_coco(file: Path, folder: Path) -> Found:
    """The pictures of one COCO file, in its order, and what is wrong with it.

    A picture is looked for in the folders that are usual (see `_homes`), the nearest first. Boxes are the annotations' `bbox`,
    whatever the segmentation is; crowds are no single objects and left out.
    """
    problems: list[Problem] = []

    def each(name: str, take: Callable[[Mapping[str, Any]], None], document: Mapping[str, Any], word: str) -> None:
        for number, entry in enumerate(_list(document, name)):
            where = f"{file}: {name}[{number}]"
            try:
                if not isinstance(entry, dict):
                    raise BadLabels(f"wanted an object, got {_shown(entry)}")
                where = f"{file}: {word} {_shown(_key(entry, 'id'))}"
                take(entry)
            except BadLabels as error:
                problems.append(Problem(where, str(error)))

    coco = _Coco(file, folder)
    try:
        document = _json(file)
        for name in ("categories", "images", "annotations"):
            _list(document, name)
    except BadLabels as error:
        return [], [Problem(str(file), str(error))]
    each("categories", coco.take_category, document, "category")
    each("images", coco.take_image, document, "image")
    each("annotations", coco.take_annotation, document, "annotation")
    return [replace(image, objects=tuple(coco.objects[key])) for key, image in coco.images.items() if image], problems


class _Coco:
    """What is read of a COCO file so far. images: None for one that is refused, so that its annotations are not named as well."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.folder = folder
        self.split = _split(re.split(r"[^a-z0-9]+", file.stem.lower()))
        self.homes = _homes(file, folder, self.split)
        self.categories: dict[Key, str] = {}
        self._names: set[str] = set()
        self.images: dict[Key, LabelledImage | None] = {}
        self.objects: dict[Key, list[LabelledObject]] = {}
        self._annotations: set[Key] = set()
        self._paths: set[Path] = set()

    def take_category(self, entry: Mapping[str, Any]) -> None:
        key, name = _key(entry, "id"), _category(entry.get("name"))
        if key in self.categories:
            raise BadLabels(f"the id stands twice, for {self.categories[key]!r} and {name!r}")
        if name in self._names:
            raise BadLabels(f"the name {name!r} stands twice")
        self._names.add(name)
        self.categories[key] = name

    def take_image(self, entry: Mapping[str, Any]) -> None:
        key = _key(entry, "id")
        if key in self.images:
            raise BadLabels("duplicate picture: the id stands twice")
        self.images[key] = None
        path = _picture(entry.get("file_name"), self.folder, self.homes)
        if path in self._paths:
            raise BadLabels(f"duplicate picture: {path} stands twice")
        self._paths.add(path)
        header = _header(path)
        said = entry.get("width", header.width_px), entry.get("height", header.height_px)
        if said != (header.width_px, header.height_px):
            size = f"{header.width_px} x {header.height_px} px when upright"
            raise BadLabels(f"{path}: said to be {_shown(said[0])} x {_shown(said[1])} px, is {size}")
        split = self.split or _split(path.relative_to(self.folder).parts[:-1]) or "train"
        self.images[key], self.objects[key] = LabelledImage(path, header.width_px, header.height_px, (), split), []

    def take_annotation(self, entry: Mapping[str, Any]) -> None:
        key, image_key, category = (_key(entry, name) for name in ("id", "image_id", "category_id"))
        if key in self._annotations:
            raise BadLabels("the id stands twice")
        self._annotations.add(key)
        if image_key not in self.images:
            raise BadLabels(f"image_id {_shown(image_key)}: no such image in the file")
        if category not in self.categories:
            raise BadLabels(f"unknown class id {_shown(category)}: known are {_first(self.categories)}")
        image = self.images[image_key]
        if image is None or entry.get("iscrowd") == 1:
            return
        values = entry.get("bbox")
        if not isinstance(values, list) or len(values) != 4:
            raise BadLabels(f"bbox: wanted 4 numbers (x, y, width, height), got {_shown(values)}")
        x, y, width, height = (_finite(value) for value in values)
        self.objects[image_key].append(_box(self.categories[category], (x, y, x + width, y + height), image))


def _json_files(folder: Path) -> list[Path]:
    """In annotations/ where there are any, else beside pictures: in the folder, or in the folders in it."""
    return sorted((folder / "annotations").glob("*.json")) or sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])


def _homes(file: Path, folder: Path, split: str | None) -> list[Path]:
    """Where a file's pictures may be, the nearest first, so that train/1.jpg is not taken for val/1.jpg: with
    annotations/instances_val2017.json these are images/val2017, images/val, val2017, val, images and the folder itself."""
    words = [file.stem.rpartition("_")[2], *(word for word, of in _SPLITS.items() if of == split)]
    near = [folder / above / word for above in ("images", ".") for word in words if word]
    beside = [file.parent] if file.parent.is_relative_to(folder) and file.parent != folder else []
    return [home for home in (*beside, *near, folder / "images", folder) if home.is_dir()]


def _json(file: Path) -> dict[str, Any]:
    content = _bytes(file)
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise BadLabels(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise BadLabels("not JSON that is used: nested too deep") from error
    except ValueError as error:  # Not UTF-8, or a number of thousands of digits.
        raise BadLabels(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadLabels(f"wanted an object with images, annotations and categories, got {_shown(document)}")
    return document


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(document.get(name), list):
        raise BadLabels(f"{name}: wanted a list, got {_shown(document.get(name))}")
    return document[name]


def _key(entry: Mapping[str, Any], name: str) -> Key:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadLabels(f"{name}: wanted a number or text, got {_shown(value)}")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise BadLabels(f"not a number of pixels: {_shown(value)}")
    return float(value)


def read_yolo(folder: Path) -> Found:
    """The pictures of a YOLO set by path, and what is wrong with it.

    Pictures are in a folder named images, at whatever depth, labels at the same path with `labels` for it; a picture without a file
    of labels shows nothing. Class names are in data.yaml, else in classes.txt or labels/classes.txt.
    """
    problems: list[Problem] = []
    images: list[LabelledImage] = []
    names = _yolo_names(folder, problems)
    pictures, texts = _yolo_files(folder, problems)
    if not pictures:
        problems.append(Problem(str(folder), "no picture in a folder named images"))
    if names is None:
        return [], problems
    for text, paths in sorted(pictures.items()):
        if len(paths) > 1:
            problems.append(Problem(str(text), f"duplicate picture: {', '.join(p.name for p in paths)} are all labelled by this file"))
            continue
        try:
            path = _picture(paths[0].relative_to(folder).as_posix(), folder, [folder])
            header = _header(path)
        except BadLabels as error:
            problems.append(Problem(str(paths[0]), str(error)))
            continue
        split = _split(path.relative_to(folder).parts[:-1]) or "train"
        image = LabelledImage(path, header.width_px, header.height_px, (), split)
        objects = _yolo_objects(text, folder, image, names, problems) if text in texts else []
        images.append(replace(image, objects=tuple(objects)))
    problems += [Problem(str(text), f"missing picture: none of {'/'.join(SUFFIXES)} in images") for text in sorted(texts - pictures.keys())]
    return sorted(images, key=lambda image: image.path), problems


def _yolo_files(folder: Path, problems: list[Problem]) -> tuple[dict[Path, list[Path]], set[Path]]:
    """The pictures by the file their labels would be in, and the files of labels."""
    pictures: dict[Path, list[Path]] = {}
    texts: set[Path] = set()
    for parent, _, files in os.walk(folder):
        inside = Path(parent).relative_to(folder).parts
        for name in sorted(files):
            path = Path(parent, name)
            is_picture = "images" in inside and path.suffix.lower() in SUFFIXES
            is_text = "labels" in inside and path.suffix == ".txt" and name != "classes.txt"
            if (is_picture or is_text) and not _is_clean("/".join((*inside, name))):
                problems.append(Problem(str(folder), f"a name that is not text: {str(path)!a}"))
            elif is_picture:
                last = len(inside) - 1 - inside[::-1].index("images")
                text = folder.joinpath(*inside[:last], "labels", *inside[last + 1 :], f"{path.stem}.txt")
                pictures.setdefault(text, []).append(path)
            elif is_text:
                texts.add(path)
    return pictures, texts


def _yolo_objects(
    text: Path, folder: Path, image: LabelledImage, names: Mapping[int, str], problems: list[Problem]
) -> list[LabelledObject]:
    objects = []
    try:
        lines = _lines(_inside(text, folder))
    except BadLabels as error:
        problems.append(Problem(str(text), str(error)))
        return []
    for number, line in lines:
        try:
            objects.append(_yolo_object(line.split(), image, names))
        except BadLabels as error:
            problems.append(Problem(f"{text}:{number}", str(error)))
    return objects


def _yolo_object(words: Sequence[str], image: LabelledImage, names: Mapping[int, str]) -> LabelledObject:
    """A line: class, middle x, y, width, height; or class and the corners of a polygon; all but the class as shares of the picture."""
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise BadLabels(f"wrong count of numbers: wanted a class and 4, or a class and x and y of 3 corners or more, got {len(words)}")
    if not (words[0].isascii() and words[0].isdecimal() and len(words[0]) < 7 and int(words[0]) in names):
        raise BadLabels(f"unknown class id {_shown(words[0])}: known are {_first(names)}")
    values = [float(word) if _NUMBER.fullmatch(word) else math.nan for word in words[1:]]
    if wrong := [word for word, value in zip(words[1:], values, strict=True) if not abs(value) < 1e6]:
        raise BadLabels(f"not a number: {_shown(wrong[0])}")
    if len(words) == 5:
        x, y, width, height = values
        xs, ys = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
        if width <= 0 or height <= 0:
            raise BadLabels(f"zero area: width {width:g}, height {height:g} of the picture")
    else:
        xs, ys = values[0::2], values[1::2]
    corners = min(xs) * image.width_px, min(ys) * image.height_px, max(xs) * image.width_px, max(ys) * image.height_px
    return _box(names[int(words[0])], corners, image)


def _yolo_names(folder: Path, problems: list[Problem]) -> dict[int, str] | None:
    """Class names by number; None, and a problem, where there are none that can be used."""
    file = next((f for f in (folder / n for n in ("data.yaml", "classes.txt", "labels/classes.txt")) if f.is_file()), None)
    if file is None:
        problems.append(Problem(str(folder), "no data.yaml and no classes.txt, which say what the classes are called"))
        return None
    names: dict[int, str] = {}
    taken: set[str] = set()
    try:
        found = _yaml_names(file) if file.suffix == ".yaml" else {line - 1: name for line, name in _lines(file)}
    except BadLabels as error:
        problems.append(Problem(str(file), str(error)))
        return None
    for number, word in found.items():
        try:
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise BadLabels("wanted a number from 0 on")
            if (name := _category(word)) in taken:
                raise BadLabels(f"the name {name!r} stands twice")
            taken.add(name)
            names[number] = name
        except BadLabels as error:
            problems.append(Problem(f"{file}: class {_shown(number)}", str(error)))
    return names


def _yaml_names(file: Path) -> dict[Any, Any]:
    content = _bytes(file, MAX_YAML_BYTES)
    try:
        document = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadLabels(f"not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadLabels(f"not YAML: {error}") from error
    except RecursionError as error:
        raise BadLabels("not YAML that is used: nested too deep") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise BadLabels(f"names: wanted a list of class names, or a name by number, got {_shown(names)}")
    if "nc" in document and document["nc"] != len(names):
        raise BadLabels(f"nc is {_shown(document['nc'])}, and there are {len(names)} names")
    return names


def _lines(file: Path) -> list[tuple[int, str]]:
    """Number and text of every line that is not empty."""
    try:
        text = _bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLabels(f"not UTF-8: {error}") from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _bytes(file: Path, most: int = MAX_BYTES) -> bytes:
    try:
        if not file.is_file():  # A pipe would be waited for.
            raise BadLabels("no such file")
        if (size := file.stat().st_size) > most:
            raise BadLabels(f"{size:,} bytes, wanted at most {most:,}")
        return file.read_bytes()
    except OSError as error:
        raise BadLabels(f"cannot be read: {error.strerror}") from error


def _picture(name: Any, folder: Path, homes: Sequence[Path]) -> Path:
    """Where a picture of that name is, inside the folder."""
    if not isinstance(name, str) or not name or not _is_clean(name) or "\\" in name:
        raise BadLabels(f"wanted a picture's path with slashes, got {_shown(name)}")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise BadLabels(f"leads out of {folder}: {_shown(name)}")
    for home in homes:
        try:
            if (home / name).is_file():
                return _inside(home / name, folder)
        except OSError:  # A name that no file can have, being too long.
            continue
    raise BadLabels(f"missing picture: {_shown(name)} in {', '.join(map(str, homes)) or folder}")


def _inside(path: Path, folder: Path) -> Path:
    """The path, if no link leads from it out of the folder."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadLabels(f"leads out of {folder}: {path}, by a link")
    return path


def _header(path: Path) -> pixels.Header:
    try:
        return pixels.read_header(_bytes(path))
    except (pixels.BadPixels, BadLabels) as error:
        raise BadLabels(f"{path}: {error}") from error


def _box(category: str, corners: tuple[float, float, float, float], image: LabelledImage) -> LabelledObject:
    """corners: x0, y0, x1, y1 in px, not yet rounded."""
    x0, y0, x1, y1 = corners
    said = ", ".join(f"{value:g}" for value in corners)
    if x0 >= x1 or y0 >= y1:
        raise BadLabels(f"zero area: wanted x0 < x1 and y0 < y1, got {said}")
    if min(x0, y0) < -_OVER_RIM_PX or x1 > image.width_px + _OVER_RIM_PX or y1 > image.height_px + _OVER_RIM_PX:
        raise BadLabels(f"box outside the picture of {image.width_px} x {image.height_px} px: {said}")
    left, right = (min(max(math.floor(x + 0.5), 0), image.width_px) for x in (x0, x1))
    top, bottom = (min(max(math.floor(y + 0.5), 0), image.height_px) for y in (y0, y1))
    if left >= right or top >= bottom:
        raise BadLabels(f"zero area: less than a pixel of it is inside: {said}")
    return LabelledObject(category, left, top, right, bottom)


def _category(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_CHARACTERS or not _is_clean(name):
        raise BadLabels(f"wanted a class name, text of at most {MAX_NAME_CHARACTERS} characters, got {_shown(name)}")
    return name.strip()


def _is_clean(text: str) -> bool:
    """Without control characters, and half characters that no file or page can hold."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _split(words: Sequence[str]) -> str | None:
    """The split that a path's or a name's words say, "val2017" being val; the last one counts."""
    found: Iterator[str | None] = (_SPLITS.get(word.lower().rstrip("0123456789")) for word in reversed(words))
    return next(filter(None, found), None)


def _first(keys: Iterable[Any]) -> str:
    return _shown(list(islice(keys, 7)))


def _shown(value: Any) -> str:
    """For a message: short, on one line, whatever somebody wrote."""
    return _REPR.repr(value)
