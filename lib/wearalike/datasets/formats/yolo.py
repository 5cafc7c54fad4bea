"""Read YOLO txt files and data.yaml (docs.ultralytics.com/datasets, detect and segment)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from wearalike.datasets.formats import record
from wearalike.datasets.formats.record import (
    BadLabels,
    LabelledImage,
    LabelledObject,
    LabelProblem,
    LabelsAndProblems,
)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_YAML_BYTES = 1_000_000
# The files that name the classes; the first one that is there counts.
_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_TEXT_NAMES = ("classes.txt", "labels/classes.txt", "obj.names", "classes.names")
# Stands for a kpt_shape that cannot be read: only lines of a box alone are sure.
UNKNOWN_KEYPOINTS = -1
# Some tools write every number as a decimal, the class among them.
_CLASS_PATTERN = re.compile(r"(\d{1,6})(?:\.0*)?", re.ASCII)
_NUMBER_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def read_yolo(folder: Path) -> LabelsAndProblems:
    """Read a YOLO set.

    Pictures are in a folder named images at any depth; label files are at the same path with
    `labels` in its place. A picture without a label file has no object. Class names are in
    data.yaml, else in classes.txt or labels/classes.txt. With `kpt_shape` in data.yaml the lines
    are poses: a box, then key points, which are not used.

    Args:
        folder: The set's folder.

    Returns:
        The pictures by path, and all problems.
    """
    problems: list[LabelProblem] = []
    images: list[LabelledImage] = []
    names = _read_class_names(folder, problems)
    keypoint_numbers = _read_keypoint_numbers(folder, problems)
    pictures, texts = _list_files(folder, problems)
    if not pictures:
        problems.append(LabelProblem(str(folder), "no picture in a folder named images"))
    if names is None:
        return [], problems
    for text, paths in sorted(pictures.items()):
        if len(paths) > 1:
            problems.append(
                LabelProblem(
                    str(text),
                    f"duplicate picture: {', '.join(p.name for p in paths)} "
                    "are all labelled by this file",
                )
            )
            continue
        try:
            path = record.find_picture(paths[0].relative_to(folder).as_posix(), folder, [folder])
            header = record.read_picture_header(path)
        except BadLabels as error:
            problems.append(LabelProblem(str(paths[0]), str(error)))
            continue
        split = record.find_split(path.relative_to(folder).parts[:-1]) or "train"
        image = LabelledImage(path, header.width_px, header.height_px, (), split)
        before = len(problems)
        objects = (
            _read_objects(texts[text], folder, image, names, keypoint_numbers, problems)
            if text in texts
            else []
        )
        images.append(replace(image, objects=tuple(objects), problem_count=len(problems) - before))
    problems += [
        LabelProblem(str(text), f"missing picture: none of {'/'.join(IMAGE_SUFFIXES)} in images")
        for text in sorted(texts.keys() - pictures.keys())
    ]
    return sorted(images, key=lambda image: image.path), problems


def _list_files(
    folder: Path, problems: list[LabelProblem]
) -> tuple[dict[Path, list[Path]], dict[Path, Path]]:
    """The pictures by the file their labels would be in, and the files of labels by that name.

    Windows writes .TXT, too.
    """
    pictures: dict[Path, list[Path]] = {}
    texts: dict[Path, Path] = {}
    for parent, _, files in os.walk(folder):
        inside = Path(parent).relative_to(folder).parts
        for name in sorted(files):
            path = Path(parent, name)
            is_picture = "images" in inside and path.suffix.lower() in IMAGE_SUFFIXES
            is_text = "labels" in inside and path.suffix.lower() == ".txt"
            is_text = is_text and name.lower() != "classes.txt"
            if (is_picture or is_text) and not record.is_clean("/".join((*inside, name))):
                problems.append(
                    LabelProblem(str(folder), f"a name that is not text: {str(path)!a}")
                )
            elif is_picture:
                last = len(inside) - 1 - inside[::-1].index("images")
                text = folder.joinpath(
                    *inside[:last], "labels", *inside[last + 1 :], f"{path.stem}.txt"
                )
                pictures.setdefault(text, []).append(path)
            elif is_text:
                texts[path.with_suffix(".txt")] = path
    return pictures, texts


def _read_objects(
    text: Path,
    folder: Path,
    image: LabelledImage,
    names: Mapping[int, str],
    keypoint_numbers: int,
    problems: list[LabelProblem],
) -> list[LabelledObject]:
    objects = []
    try:
        lines = _read_lines(record.require_inside(text, folder))
    except BadLabels as error:
        problems.append(LabelProblem(str(text), str(error)))
        return []
    for number, line in lines:
        try:
            objects.append(_parse_object(line.split(), image, names, keypoint_numbers))
        except BadLabels as error:
            problems.append(LabelProblem(f"{text}:{number}", str(error)))
    return objects


def _parse_object(
    words: Sequence[str],
    image: LabelledImage,
    names: Mapping[int, str],
    keypoint_numbers: int,
) -> LabelledObject:
    """Parse a line: class, middle x, y, width, height; or class and the corners of a polygon.

    All but the class are shares of the picture. In a set of poses the box is followed by its key
    points, so that a line of any other length is none.
    """
    if keypoint_numbers == UNKNOWN_KEYPOINTS and len(words) != 5:
        raise BadLabels("key points of a kpt_shape that cannot be read")
    if keypoint_numbers > 0:
        if len(words) != 5 + keypoint_numbers:
            raise BadLabels(
                f"wrong count of numbers: wanted a class, 4, and {keypoint_numbers} of kpt_shape, "
                f"got {len(words)}"
            )
        words = words[:5]
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise BadLabels(
            "wrong count of numbers: wanted a class and 4, "
            f"or a class and x and y of 3 corners or more, got {len(words)}"
        )
    class_id = _CLASS_PATTERN.fullmatch(words[0])
    if class_id is None or int(class_id[1]) not in names:
        raise BadLabels(
            f"unknown class id {record.short_repr(words[0])}: "
            f"known are {record.format_first(names)}"
        )
    values = [float(word) if _NUMBER_PATTERN.fullmatch(word) else math.nan for word in words[1:]]
    if wrong := [
        word for word, value in zip(words[1:], values, strict=True) if not abs(value) < 1e6
    ]:
        raise BadLabels(f"not a number: {record.short_repr(wrong[0])}")
    if len(words) == 5:
        x, y, width, height = values
        xs, ys = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
        if width <= 0 or height <= 0:
            raise BadLabels(f"zero area: width {width:g}, height {height:g} of the picture")
    else:
        xs, ys = values[0::2], values[1::2]
    corners = (
        min(xs) * image.width_px,
        min(ys) * image.height_px,
        max(xs) * image.width_px,
        max(ys) * image.height_px,
    )
    return record.build_object(names[int(class_id[1])], corners, image)


def _read_keypoint_numbers(folder: Path, problems: list[LabelProblem]) -> int:
    """Numbers of key points in each line, as data.yaml's kpt_shape says; 0 for boxes."""
    file = next((f for f in (folder / name for name in _YAML_NAMES) if f.is_file()), None)
    try:
        document = _read_yaml(file) if file else {}
    except BadLabels:
        return 0  # the names' reader reports it
    shape = document.get("kpt_shape") if isinstance(document, dict) else None
    if shape is None:
        return 0
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)
    if not is_shape or not 0 < shape[0] <= 1000 or shape[1] not in (2, 3):
        problems.append(
            LabelProblem(
                str(file),
                "kpt_shape: wanted the number of key points, and 2 or 3, "
                f"got {record.short_repr(shape)}",
            )
        )
        return UNKNOWN_KEYPOINTS
    return shape[0] * shape[1]


def _read_class_names(folder: Path, problems: list[LabelProblem]) -> dict[int, str] | None:
    """Class names by number; None, and a problem, where there are none that can be used."""
    file = next(
        (f for f in (folder / n for n in (*_YAML_NAMES, *_TEXT_NAMES)) if f.is_file()),
        None,
    )
    if file is None:
        problems.append(
            LabelProblem(
                str(folder),
                "no data.yaml and no classes.txt, which say what the classes are called",
            )
        )
        return None
    names: dict[int, str] = {}
    taken: set[str] = set()
    try:
        written_names = (
            _read_yaml_names(file)
            if file.name in _YAML_NAMES
            else {line - 1: name for line, name in _read_lines(file)}
        )
    except BadLabels as error:
        problems.append(LabelProblem(str(file), str(error)))
        return None
    for number, word in written_names.items():
        try:
            if isinstance(number, str) and number.isascii() and number.isdigit():
                number = int(number)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise BadLabels("wanted a number from 0 on")
            if (name := record.parse_category(word)) in taken:
                raise BadLabels(f"the name {name!r} stands twice")
            taken.add(name)
            names[number] = name
        except BadLabels as error:
            problems.append(LabelProblem(f"{file}: class {record.short_repr(number)}", str(error)))
    return names


def _read_yaml_names(file: Path) -> dict[Any, Any]:
    document = _read_yaml(file)
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise BadLabels(
            "names: wanted a list of class names, or a name by number, "
            f"got {record.short_repr(names)}"
        )
    if "nc" in document and document["nc"] != len(names):
        raise BadLabels(
            f"nc is {record.short_repr(document['nc'])}, and there are {len(names)} names"
        )
    return names


def _read_yaml(file: Path) -> Any:
    content = record.read_limited(file, MAX_YAML_BYTES)
    try:
        return yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadLabels(f"not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadLabels(f"not YAML: {error}") from error
    except RecursionError as error:
        raise BadLabels("not YAML that is used: nested too deep") from error


def _read_lines(file: Path) -> list[tuple[int, str]]:
    """Number and text of every line that is not empty."""
    try:
        text = record.read_limited(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadLabels(f"not UTF-8: {error}") from error
    lines = re.split(r"\r\n|\r|\n", text)
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
