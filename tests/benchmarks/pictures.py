"""Pictures to work on: real photos of a folder, or the sample shops' drawn ones."""

from __future__ import annotations

import hashlib
import io
import itertools
from functools import cache
from pathlib import Path

import numpy as np
from tests.benchmarks.measure import BenchOptions

from wearalike.sample import catalogue


def load_pictures(options: BenchOptions, count: int) -> list[bytes]:
    """So many JPEG files, all different, the same ones each time; where there are fewer, some again under other bytes."""
    known = _read_photos(options.photos, count) if options.photos else _draw_pictures(count)
    rounds = itertools.chain.from_iterable(
        (content + b"%d" % n if n else content for content in known) for n in itertools.count()
    )
    return list(itertools.islice(rounds, count))


def describe_pictures(options: BenchOptions, contents: list[bytes]) -> str:
    """What was worked on, for a person."""
    kind = "real photos" if options.photos else "drawn pictures"
    return f"{len(contents)} {kind} of {np.mean([len(c) for c in contents]) / 1e3:.0f} KB"


@cache
def _read_photos(folder: Path, count: int) -> list[bytes]:
    paths = sorted(
        folder.rglob("*.jpg"), key=lambda path: hashlib.sha256(path.name.encode()).digest()
    )[:count]
    if not paths:
        raise SystemExit(f"{folder}: no *.jpg in it or below")
    return [path.read_bytes() for path in paths]


@cache
def _draw_pictures(count: int) -> list[bytes]:
    """The first pictures of every product, as a shop would send them: larger than a network takes them."""
    found = [
        product.pictures[0]
        for shop in catalogue.SHOPS
        for product in catalogue.list_products(shop, 1)
        if product.pictures
    ][:count]
    made = []
    for picture in found:
        file, drawing = io.BytesIO(), catalogue.draw_picture(picture)
        drawing.save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made
