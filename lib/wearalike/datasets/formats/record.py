"""The record that all label formats become: pictures, their boxes, and problems with either."""

from __future__ import annotations

import math
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from wearalike.imaging import decode

if TYPE_CHECKING:
    from wearalike.datasets.formats.masks import ObjectMask

MAX_LABEL_FILE_BYTES = 1_000_000_000
MAX_NAME_CHARACTERS = 200
# Tools that count pixels from their middle, round, or let a hand slip, draw a box this far over the
# edge; it is cut. A cut of more than the first is counted.
_MAX_ROUNDING_PX = 1
_MAX_OVERHANG_PX = 5
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:/+")
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
    """A box in px of the upright picture: x1 and y1 outside, never empty, never over the edge.

    Attributes:
        mask: The object's pixels, where the file says them.
        is_cut: The file's box reached over the edge by more than rounding.
        attributes: Further labels that are text, by name, such as colour.
    """

    category: str
    x0: int
    y0: int
    x1: int
    y1: int
    mask: ObjectMask | None = field(default=None, compare=False, repr=False)
    is_cut: bool = field(default=False, compare=False)
    attributes: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture and its boxes.

    Attributes:
        path: The picture's file.
        width_px: Width after EXIF orientation, as decode.decode_image gives it.
        height_px: Height after EXIF orientation.
        objects: Boxes in the file's order.
        split: train, val or test.
        problem_count: Bad labels of the picture, which `objects` lacks.
    """

    path: Path
    width_px: int
    height_px: int
    objects: tuple[LabelledObject, ...]
    split: str = "train"
    problem_count: int = field(default=0, compare=False)


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
    if not isinstance(name, str) or not name or not is_clean(name):
        raise BadLabels(f"wanted a picture's path, got {short_repr(name)}")
    name = name.replace("\\", "/")
    # A path of the machine that wrote the file.
    if drive := _WINDOWS_DRIVE.match(name):
        name = _find_suffix(name[drive.end() :], search_folders)
    elif name.startswith("/"):
        suffix = _find_suffix(name, search_folders)
        name = suffix if any((home / suffix).is_file() for home in search_folders) else name
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


def _find_suffix(name: str, search_folders: Sequence[Path]) -> str:
    """Return the longest end of another machine's path that names a file here, else the name."""
    parts = [part for part in name.split("/") if part]
    suffixes = ("/".join(parts[start:]) for start in range(len(parts)) if ".." not in parts)
    for suffix in suffixes:
        if any((home / suffix).is_file() for home in search_folders):
            return suffix
    return parts[-1] if parts else name


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
    category: str,
    corners: tuple[float, float, float, float],
    image: LabelledImage,
    mask: ObjectMask | None = None,
    attributes: Mapping[str, str] | None = None,
) -> LabelledObject:
    """corners: x0, y0, x1, y1 in px, not yet rounded."""
    x0, y0, x1, y1 = corners
    said = ", ".join(f"{value:g}" for value in corners)
    if x0 >= x1 or y0 >= y1:
        raise BadLabels(f"zero area: wanted x0 < x1 and y0 < y1, got {said}")
    overhang_px = max(-x0, -y0, x1 - image.width_px, y1 - image.height_px)
    if overhang_px > _MAX_OVERHANG_PX:
        raise BadLabels(
            f"box outside the picture of {image.width_px} x {image.height_px} px: {said}"
        )
    left, right = (min(max(math.floor(x + 0.5), 0), image.width_px) for x in (x0, x1))
    top, bottom = (min(max(math.floor(y + 0.5), 0), image.height_px) for y in (y0, y1))
    if left >= right or top >= bottom:
        raise BadLabels(f"zero area: less than a pixel of it is inside: {said}")
    is_cut = overhang_px > _MAX_ROUNDING_PX
    return LabelledObject(category, left, top, right, bottom, mask, is_cut, attributes or {})


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
