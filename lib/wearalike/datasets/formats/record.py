"""The record that all label formats become: pictures, their boxes, and problems with either."""

from __future__ import annotations

import math
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from wearalike.imaging import decode

MAX_LABEL_FILE_BYTES = 1_000_000_000
MAX_NAME_CHARACTERS = 200
# Tools that count pixels from their middle, or round, draw a box this far over the edge; it is cut.
_MAX_OVERHANG_PX = 1
SPLIT_BY_WORD = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_REPR = reprlib.Repr()
_REPR.maxstring = 120


class BadLabels(ValueError):
    """Unusable labels. The message says what was found, wanted and, outside this module, where."""


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """A problem: `where` is file and line or COCO id, `what` is what was found and wanted."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """A box in px of the upright picture: x1 and y1 outside, never empty, never over the edge."""

    category: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture and its boxes.

    Attributes:
        path: The picture's file.
        width_px: Width after EXIF orientation, as decode.decode_image gives it.
        height_px: Height after EXIF orientation.
        objects: Boxes in the file's order.
        split: train, val or test.
    """

    path: Path
    width_px: int
    height_px: int
    objects: tuple[LabelledObject, ...]
    split: str = "train"


LabelsAndProblems = tuple[list[LabelledImage], list[LabelProblem]]


def read_limited(file: Path, max_bytes: int = MAX_LABEL_FILE_BYTES) -> bytes:
    try:
        if not file.is_file():  # A pipe would be waited for.
            raise BadLabels("no such file")
        if (size := file.stat().st_size) > max_bytes:
            raise BadLabels(f"{size:,} bytes, wanted at most {max_bytes:,}")
        return file.read_bytes()
    except OSError as error:
        raise BadLabels(f"cannot be read: {error.strerror}") from error


def find_picture(name: Any, folder: Path, search_folders: Sequence[Path]) -> Path:
    """Where a picture of that name is, inside the folder."""
    if not isinstance(name, str) or not name or not is_clean(name) or "\\" in name:
        raise BadLabels(f"wanted a picture's path with slashes, got {short_repr(name)}")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise BadLabels(f"leads out of {folder}: {short_repr(name)}")
    for home in search_folders:
        try:
            if (home / name).is_file():
                return require_inside(home / name, folder)
        except OSError:  # A name that no file can have, being too long.
            continue
    raise BadLabels(
        f"missing picture: {short_repr(name)} in {', '.join(map(str, search_folders)) or folder}"
    )


def require_inside(path: Path, folder: Path) -> Path:
    """The path, if no link leads from it out of the folder."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadLabels(f"leads out of {folder}: {path}, by a link")
    return path


def read_picture_header(path: Path) -> decode.ImageHeader:
    try:
        return decode.read_header(read_limited(path))
    except (decode.BadPixels, BadLabels) as error:
        raise BadLabels(f"{path}: {error}") from error


def build_object(
    category: str, corners: tuple[float, float, float, float], image: LabelledImage
) -> LabelledObject:
    """corners: x0, y0, x1, y1 in px, not yet rounded."""
    x0, y0, x1, y1 = corners
    said = ", ".join(f"{value:g}" for value in corners)
    if x0 >= x1 or y0 >= y1:
        raise BadLabels(f"zero area: wanted x0 < x1 and y0 < y1, got {said}")
    if (
        min(x0, y0) < -_MAX_OVERHANG_PX
        or x1 > image.width_px + _MAX_OVERHANG_PX
        or y1 > image.height_px + _MAX_OVERHANG_PX
    ):
        raise BadLabels(
            f"box outside the picture of {image.width_px} x {image.height_px} px: {said}"
        )
    left, right = (min(max(math.floor(x + 0.5), 0), image.width_px) for x in (x0, x1))
    top, bottom = (min(max(math.floor(y + 0.5), 0), image.height_px) for y in (y0, y1))
    if left >= right or top >= bottom:
        raise BadLabels(f"zero area: less than a pixel of it is inside: {said}")
    return LabelledObject(category, left, top, right, bottom)


def parse_category(name: Any) -> str:
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > MAX_NAME_CHARACTERS
        or not is_clean(name)
    ):
        raise BadLabels(
            f"wanted a class name, text of at most {MAX_NAME_CHARACTERS} characters, "
            f"got {short_repr(name)}"
        )
    return name.strip()


def is_clean(text: str) -> bool:
    """Without control characters, and half characters that no file or page can hold."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def find_split(words: Sequence[str]) -> str | None:
    """The split that a path's or a name's words say, "val2017" being val; the last one counts."""
    found: Iterator[str | None] = (
        SPLIT_BY_WORD.get(word.lower().rstrip("0123456789")) for word in reversed(words)
    )
    return next(filter(None, found), None)


def format_first(keys: Iterable[Any]) -> str:
    return short_repr(list(islice(keys, 7)))


def short_repr(value: Any) -> str:
    """For a message: short, on one line, whatever somebody wrote."""
    return _REPR.repr(value)
