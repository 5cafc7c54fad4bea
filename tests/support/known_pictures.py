"""The caches of a data folder that has met the pictures of `drawn_offers` before, with drawn codes.

A night over it measures what grows with the offers, without the networks, whose cost is that of
each new picture.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from tests.support.drawn_offers import COLOURS, SHOP_IDS, DrawnOffers

from wearalike.detection.detect import ITEM_CACHE_SCHEMA
from wearalike.encoding.encoders import CODE_CACHE_SCHEMA
from wearalike.imaging import ledger
from wearalike.models import registry
from wearalike.models.registry import ModelKind
from wearalike.sample.painting import HEIGHT_PX, WIDTH_PX, encode_jpeg
from wearalike.storage import atomic, content_cache

DETECTOR = "whole-1"


def fill_caches(root: Path, drawn: DrawnOffers, address: str, run: str) -> None:
    """Fill the ledger and the caches of items and codes; store the pictures.

    Args:
        root: The data folder.
        drawn: The offers, whose pictures are known.
        address: The address of their server.
        run: The run that asked for the pictures.
    """
    names = list(drawn.pictures)
    image_ids = [hashlib.sha256(drawn.pictures[name]).hexdigest() for name in names]
    for image_id, name in zip(image_ids, names, strict=True):
        path = content_cache.image_path(root, image_id)
        atomic.write_bytes(path, drawn.pictures[name], sync_folder=False)
    for shop in SHOP_IDS:
        rows = {
            "url": [f"{address}/{shop}/img/{name}" for name in names],
            "run": run,
            "checked_at": datetime.now(UTC),
            "image_id": image_ids,
            "format": "JPEG",
            "width_px": WIDTH_PX,
            "height_px": HEIGHT_PX,
            "bytes": [len(drawn.pictures[name]) for name in names],
        }
        ledger.append_to_ledger(root, shop, _table(rows, ledger.LEDGER_SCHEMA, len(names)))
    item_ids = [f"{image_id[:40]}-0" for image_id in image_ids]
    items = {
        "item_id": item_ids,
        "image_id": image_ids,
        "x0": 0,
        "y0": 0,
        "x1": WIDTH_PX,
        "y1": HEIGHT_PX,
        "confidence": 1.0,
        "detector": DETECTOR,
    }
    content_cache.cache_rows(root, "items", DETECTOR, _table(items, ITEM_CACHE_SCHEMA, len(names)))
    encoder = registry.resolve_model(root, ModelKind.ENCODER, None).version
    shapes, colours = _draw_codes(names)
    codes = {"item_id": item_ids, "shape": shapes, "colour": colours, "encoder": encoder}
    content_cache.cache_rows(root, "codes", encoder, _table(codes, CODE_CACHE_SCHEMA, len(names)))


def plain_pictures(drawn: DrawnOffers) -> dict[str, bytes]:
    """Return a plain picture for each that the shops show, all different.

    Args:
        drawn: The offers.
    """
    content = encode_jpeg(Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (150, 140, 130)))
    names = [f"{m.number}-{colour}.jpg" for m in drawn.models for colour in range(COLOURS)]
    return {name: content + name.encode() for name in names}


def _draw_codes(names: list[str]) -> tuple[list[bytes], list[bytes]]:
    """Return codes: a shape for each model and a colour for each colour, each a bit askew."""
    rng = np.random.default_rng(18)
    model_count = 1 + max(int(name.split("-")[0]) for name in names)
    bases = rng.random((model_count, 128)) < 0.5, rng.random((COLOURS, 128)) < 0.5
    packed: tuple[list[bytes], list[bytes]] = [], []
    for name in names:
        numbers = map(int, name.removesuffix(".jpg").split("-"))
        for base, number, into in zip(bases, numbers, packed, strict=True):
            into.append(np.packbits(base[number] ^ (rng.random(128) < 0.05)).tobytes())
    return packed


def _table(columns: dict[str, object], schema: pa.Schema, count: int) -> pa.Table:
    """Return columns as a table; one value stands for all rows, and a column left out is null."""
    arrays = [
        pa.array(value if isinstance(value, list) else [value] * count, field.type)
        for field in schema
        for value in (columns.get(field.name),)
    ]
    return pa.table(arrays, schema=schema)
