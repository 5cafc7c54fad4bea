"""Items in label masks: one box for each word that a mask's pixels name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from wearalike.datasets.layouts import BadDataset
from wearalike.imaging import decode

# Smaller regions of a mask are rims of other items, or too small to recognise.
_MIN_SIDE_PX = 24
_MIN_AREA_PX = 400
# A box grows by this share of its side plus two pixels: masks are drawn with less care at the rim.
_MARGIN_RATIO = 0.06
_MARGIN_PX = 2


def read_mask_words(folder: Path) -> list[str]:
    """Read a set's labels.txt: the word of each number in its masks.

    Args:
        folder: The set's folder.

    Returns:
        The words; the first one is that of number 0.

    Raises:
        BadDataset: The file does not exist.
    """
    path = folder / "labels.txt"
    if not path.is_file():
        raise BadDataset(f"{path}: no such file, wanted a word a line, the first for 0")
    return path.read_text(encoding="utf-8").split()


def find_mask_items(
    path: Path, words: Sequence[str], null_labels: Collection[str]
) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Yield the items in a mask file; none if there is no such file.

    Args:
        path: PNG of one byte a pixel, each a position in `words`.
        words: The set's words, see `read_mask_words`.
        null_labels: Words that are no item.

    Yields:
        The word and the box of each item: x0, y0, x1, y1 in px, x1 and y1 outside.

    Raises:
        BadDataset: The mask holds a number without a word.
    """
    if not path.is_file():
        return
    mask = decode.decode_mask(path.read_bytes())
    height, width = mask.shape
    for number in np.unique(mask).tolist():
        if number >= len(words):
            raise BadDataset(f"{path}: {number}, and labels.txt has only {len(words)} words")
        is_item = mask == number
        rows = np.flatnonzero(is_item.any(axis=1))
        columns = np.flatnonzero(is_item.any(axis=0))
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        is_small = min(y1 - y0, x1 - x0) < _MIN_SIDE_PX or is_item.sum() < _MIN_AREA_PX
        if words[number] in null_labels or is_small:
            continue
        dy = round((y1 - y0) * _MARGIN_RATIO) + _MARGIN_PX
        dx = round((x1 - x0) * _MARGIN_RATIO) + _MARGIN_PX
        box = (max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy))
        yield words[number], box
