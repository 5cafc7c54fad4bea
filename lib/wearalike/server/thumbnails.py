"""Pictures for pages: which one stands for a product, and small copies of those that are kept.

Pages show nothing that lies in a shop: what a browser loads is a JPEG made here, of bytes that `pixels` took for a picture.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from wearalike.imaging import decode
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, INDEXES, ITEMS, Table

# Longer sides that are made: for a card, for a product's own page.
THUMBNAIL_SIDES_PX = (360, 900)
IMAGE_ID_PATTERN = re.compile(r"[0-9a-f]{64}")
# 1,024 copies take some 30 MB.
_MAX_CACHED_THUMBNAILS = 1024
_MAX_CACHED_IMAGES = 20_000


class ThumbnailNotFound(LookupError):
    """No picture is kept under that name, or none of that size is made."""


@dataclass(frozen=True, slots=True)
class ProductImage:
    """A kept image. box: x, y, width, height of the item that is compared, in its pixels; None where that is nearly all of it,
    or where nothing in it is compared."""

    image_id: str
    width_px: int
    height_px: int
    box: tuple[int, int, int, int] | None


class ProductImageIndex:
    """Where the pictures of a place's products are; may be asked by several threads. Remembers what it found."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cache: OrderedDict[tuple[str, str], ProductImage | None] = OrderedDict()
        self._lock = threading.Lock()

    def find_images(self, run: str, product_ids: Iterable[str]) -> dict[str, ProductImage]:
        """The picture each product is compared by, else its main one; products without any are left out, and all of them where
        the run's tables are gone."""
        wanted = set(product_ids)
        with self._lock:
            unknown = [i for i in wanted if (run, i) not in self._cache]
        if unknown:
            try:
                looked_up = self._read_images(run, unknown)
            except run_tables.TableNotFound:
                return {}
            with self._lock:
                self._cache.update({(run, i): looked_up.get(i) for i in unknown})
        with self._lock:
            found = {i: self._cache.get((run, i)) for i in wanted}
            while len(self._cache) > _MAX_CACHED_IMAGES:
                self._cache.popitem(last=False)
        return {i: picture for i, picture in found.items() if picture}

    def find_worn_images(
        self, run: str, rows: Iterable[Mapping[str, Any]]
    ) -> dict[str, ProductImage]:
        """The image that each item of a look is worn in, the item outlined, by item_id; none where the run's tables are gone.

        rows: of tables.LOOK_PRODUCTS, of one product.
        """
        items = {row["item_id"]: row for row in rows}
        try:
            images = self._read_rows(
                run,
                IMAGES,
                "product_id",
                {row["product_id"] for row in items.values()},
                ["image_id", "width_px", "height_px"],
            )
        except run_tables.TableNotFound:
            return {}
        sizes = {image["image_id"]: (image["width_px"], image["height_px"]) for image in images}
        boxes = {
            i: (row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"])
            for i, row in items.items()
        }
        return {
            i: ProductImage(row["image_id"], *sizes[row["image_id"]], boxes[i])
            for i, row in items.items()
            if row["image_id"] in sizes
        }

    def _read_images(self, run: str, product_ids: Collection[str]) -> dict[str, ProductImage]:
        entries = {
            row["product_id"]: row
            for row in self._read_rows(
                run, INDEXES, "product_id", product_ids, ["item_id", "image_id"]
            )
        }
        boxes = {
            row["item_id"]: (row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"])
            for row in self._read_rows(
                run,
                ITEMS,
                "item_id",
                [e["item_id"] for e in entries.values()],
                ["x0", "y0", "x1", "y1"],
            )
        }
        found: dict[str, ProductImage] = {}
        images = self._read_rows(
            run,
            IMAGES,
            "product_id",
            product_ids,
            ["position", "image_id", "width_px", "height_px"],
        )
        for image in sorted(images, key=lambda row: row["position"]):
            product_id, entry = image["product_id"], entries.get(image["product_id"])
            size = image["width_px"], image["height_px"]
            if entry and entry["image_id"] == image["image_id"]:
                found[product_id] = ProductImage(
                    image["image_id"], *size, _box_to_outline(boxes.get(entry["item_id"]), *size)
                )
            elif not entry and product_id not in found:
                found[product_id] = ProductImage(image["image_id"], *size, None)
        return found

    def _read_rows(
        self, run: str, table: Table, key: str, keys: Collection[str], columns: list[str]
    ) -> list[dict[str, Any]]:
        wanted = pc.field(key).isin(pa.array(sorted(keys), pa.string()))
        return (
            run_tables.open_dataset(self._root, table, run)
            .to_table(columns=[key, *columns], filter=wanted)
            .to_pylist()
        )


def _box_to_outline(
    box: tuple[int, int, int, int] | None, width_px: int, height_px: int
) -> tuple[int, int, int, int] | None:
    return box if box and box[2] * box[3] < 0.95 * width_px * height_px else None


@lru_cache(_MAX_CACHED_THUMBNAILS)
def thumbnail(root: Path, image_id: str, side_px: int) -> bytes:
    """A copy of a kept image, JPEG, its longer side at most side_px. Raises ThumbnailNotFound."""
    if not IMAGE_ID_PATTERN.fullmatch(image_id) or side_px not in THUMBNAIL_SIDES_PX:
        raise ThumbnailNotFound(
            f"{image_id[:80]} of {side_px} px: wanted an image_id, and one of {', '.join(map(str, THUMBNAIL_SIDES_PX))} px"
        )
    try:
        rgb = decode.decode_image(run_tables.image_path(root, image_id).read_bytes(), side_px)
    except (FileNotFoundError, decode.BadPixels) as error:
        raise ThumbnailNotFound(f"{image_id}: {error}") from error
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=85, optimize=True, progressive=True)
    return out.getvalue()
