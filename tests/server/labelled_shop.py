"""A small published run with real pictures to label, and a server over it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
from PIL import Image, ImageDraw
from tests.warehouse.test_warehouse import load, night

from wearalike.storage import content_cache, run_tables
from wearalike.tables import IMAGES, ITEMS, PRODUCTS
from wearalike.warehouse.base import open_warehouse

RUN = "r1"
WIDTH, HEIGHT = 300, 400
# Boxes of each picture: super-category, confidence, corners. The products are of full_body.
DETECTED: list[list[tuple[str | None, float, tuple[int, int, int, int]]]] = [
    [("full_body", 0.75, (50, 50, 250, 350))],
    [("full_body", 0.75, (50, 50, 250, 350)), ("full_body", 0.5, (60, 60, 200, 300))],
    [],
    [("foot_wear", 0.75, (100, 350, 200, 400))],
    # Two dresses side by side do not fight for one box.
    [("full_body", 0.875, (0, 50, 150, 350)), ("full_body", 0.75, (150, 50, 300, 350))],
    # A box that says what it is goes before one that does not.
    [(None, 0.875, (0, 0, 300, 400)), ("full_body", 0.375, (50, 50, 250, 350))],
]
MARGINS = [0.75, 0.25, 0.0, 0.0, 0.875, 0.375]


def draw_picture(number: int) -> bytes:
    image = Image.new("RGB", (WIDTH, HEIGHT), (236, 236, 232))
    draw = ImageDraw.Draw(image)
    draw.polygon([(110, 60), (190, 60), (235, 340), (65, 340)], fill=(40 * number, 60, 150))
    draw.rectangle((110, 352, 190, 390), fill=(80, 40, 20))
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()


def publish_shop(root: Path, warehouse: str) -> list[str]:
    """Write the run's tables and pictures, publish it, and return the image_ids."""
    found = night(RUN)
    products = found["products"].to_pylist()
    contents = [draw_picture(number) for number in range(len(products))]
    image_ids = [hashlib.sha256(content).hexdigest() for content in contents]
    images, items = [], []
    for product, image_id, content, boxes in zip(
        products, image_ids, contents, DETECTED, strict=True
    ):
        content_cache.write_atomic(content_cache.image_path(root, image_id), content)
        facts = {"product_id": product["product_id"], "position": 0, "image_id": image_id}
        size = {"format": "JPEG", "width_px": WIDTH, "height_px": HEIGHT, "bytes": len(content)}
        images.append({**facts, **size, "image_url": "https://moda.example/p.jpg"})
        for number, (super_category, confidence, corners) in enumerate(boxes):
            box = dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))
            seen = {"super_category": super_category, "confidence": confidence, "detector": "d-1"}
            items.append(
                {"item_id": f"{image_id[:20]}{number}", "image_id": image_id, **box, **seen}
            )
    for table, rows in ((PRODUCTS, products), (IMAGES, images), (ITEMS, items)):
        with run_tables.write_table(root, table, RUN, "drawn") as writer:
            writer.write(pa.Table.from_pylist(rows, table.arrow_schema))
    opened = open_warehouse(warehouse)
    load(opened, RUN, found)
    opened.publish(RUN)
    return image_ids


def write_config(folder: Path, warehouse: str, name: str = "wearalike.toml") -> Path:
    config = folder / name
    config.write_text(
        f'data_dir = "{folder / "root"}"\nwarehouse = "{warehouse}"\n'
        "[serve]\nwarm_photos = false\n",
        encoding="utf-8",
    )
    return config
