"""Pictures for benchmarks: real photos of a folder, or the sample shops' drawn ones."""

from __future__ import annotations

import hashlib
import io
import itertools
from functools import cache
from pathlib import Path

import numpy as np
from tests.benchmarks.measure import BenchOptions

from wearalike.sample import catalogue
from wearalike.sample.pictures import draw_picture


def load_pictures(options: BenchOptions, count: int) -> list[bytes]:
    """Return JPEG files, all different and the same ones each time.

    Where there are too few, some occur again with other bytes.

    Args:
        options: Options of the benchmark; `photos` is a folder of real photos.
        count: Number of files.

    Returns:
        The files' bytes.
    """
    known = _read_photos(options.photos, count) if options.photos else _draw_pictures(count)
    rounds = itertools.chain.from_iterable(
        (content + b"%d" % n if n else content for content in known) for n in itertools.count()
    )
    return list(itertools.islice(rounds, count))


def describe_pictures(options: BenchOptions, contents: list[bytes]) -> str:
    """Return a text on the pictures used.

    Args:
        options: Options of the benchmark.
        contents: The files' bytes.

    Returns:
        Number, kind and mean size.
    """
    kind = "real photos" if options.photos else "drawn pictures"
    return f"{len(contents)} {kind} of {np.mean([len(c) for c in contents]) / 1e3:.0f} KB"


@cache
def _read_photos(folder: Path, count: int) -> list[bytes]:
    def shuffled(path: Path) -> bytes:
        return hashlib.sha256(path.name.encode()).digest()

    paths = sorted(folder.rglob("*.jpg"), key=shuffled)[:count]
    if not paths:
        raise SystemExit(f"{folder}: no *.jpg in it or below")
    return [path.read_bytes() for path in paths]


@cache
def _draw_pictures(count: int) -> list[bytes]:
    """Return each product's first picture as a shop sends it: larger than a network takes it."""
    pictures = [
        product.pictures[0]
        for shop in catalogue.SHOPS
        for product in catalogue.list_products(shop, 1)
        if product.pictures
    ][:count]
    contents = []
    for picture in pictures:
        file = io.BytesIO()
        draw_picture(picture).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    return contents
