"""Pictures for pages: the image that represents each product, and thumbnails of stored images.

Browsers load nothing from shops. They get JPEGs encoded here from images that were decoded safely.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from wearalike.imaging import decode, sandbox
from wearalike.server import photos
from wearalike.server.fair_queue import QueueLimits
from wearalike.storage import content_cache, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.tables import IMAGES, INDEXES, ITEMS, Table

# Longer side of thumbnails: for a card, for a product's own page.
THUMBNAIL_SIDES_PX = (360, 900)
IMAGE_ID_PATTERN = re.compile(r"[0-9a-f]{64}")
# A browser asks for the pictures of a page six at a time.
THUMBNAIL_LIMITS = QueueLimits(
    "pictures", max_pending=160, max_pending_a_client=32, max_running=1, wait_s=60.0
)
# 1,024 thumbnails take some 30 MB.
_MAX_CACHED_THUMBNAILS = 1024
_MAX_CACHED_IMAGES = 20_000
# A box that covers this share of the image is not outlined.
_MIN_WHOLE_IMAGE_SHARE = 0.95


class ThumbnailNotFound(LookupError):
    """No image is stored under that id, or no thumbnail of that size is offered."""


@dataclass(frozen=True, slots=True)
class ProductImage:
    """A stored image that represents a product.

    Attributes:
        image_id: sha256 of its bytes, hex.
        width_px: Its width.
        height_px: Its height.
        box: x, y, width, height of the item compared, in pixels. None if the item covers nearly
            the whole image, or if nothing in it is compared.
    """

    image_id: str
    width_px: int
    height_px: int
    box: tuple[int, int, int, int] | None


class ProductImageIndex:
    """Find the images of products; threads may share it. Answers are cached.

    Args:
        root: The data folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # By (run, product_id); None for a product without an image.
        self._cache: OrderedDict[tuple[str, str], ProductImage | None] = OrderedDict()
        self._lock = threading.Lock()

    def find_images(self, run: str, product_ids: Iterable[str]) -> dict[str, ProductImage]:
        """Return the image by which each product is compared, else its main image.

        Args:
            run: The run.
            product_ids: Products of the run.

        Returns:
            Images by product_id. Products without one are left out; if the run's tables are gone,
            the result is empty.
        """
        wanted = set(product_ids)
        with self._lock:
            unknown = [i for i in wanted if (run, i) not in self._cache]
        if unknown:
            try:
                images = self._read_images(run, unknown)
            except run_tables.TableNotFound:
                return {}
            with self._lock:
                self._cache.update({(run, i): images.get(i) for i in unknown})
        with self._lock:
            found = {i: self._cache.get((run, i)) for i in wanted}
            while len(self._cache) > _MAX_CACHED_IMAGES:
                self._cache.popitem(last=False)
        return {i: image for i, image in found.items() if image}

    def find_worn_images(
        self, run: str, rows: Iterable[Mapping[str, Any]]
    ) -> dict[str, ProductImage]:
        """Return the image in which each item of a look is worn, with the item's box.

        Args:
            run: The run.
            rows: Rows of tables.LOOK_PRODUCTS, of one product.

        Returns:
            Images by item_id; empty if the run's tables are gone. Rows of feeds have no item.
        """
        items = {row["item_id"]: row for row in rows if row["item_id"] is not None}
        try:
            images = self._read_rows(
                run,
                IMAGES,
                "product_id",
                {row["worn_with_product_id"] for row in items.values()},
                ["image_id", "width_px", "height_px"],
            )
        except run_tables.TableNotFound:
            return {}
        sizes = {image["image_id"]: (image["width_px"], image["height_px"]) for image in images}
        boxes = {i: _row_box(row) for i, row in items.items()}
        return {
            i: ProductImage(row["image_id"], *sizes[row["image_id"]], boxes[i])
            for i, row in items.items()
            if row["image_id"] in sizes
        }

    def _read_images(self, run: str, product_ids: Collection[str]) -> dict[str, ProductImage]:
        """Read the images of products from the run's tables."""
        entries = {
            row["product_id"]: row
            for row in self._read_rows(
                run, INDEXES, "product_id", product_ids, ["item_id", "image_id"]
            )
        }
        boxes = {
            row["item_id"]: _row_box(row)
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
            product_id = image["product_id"]
            entry = entries.get(product_id)
            size = (image["width_px"], image["height_px"])
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
        """Read some columns of the rows whose key is one of keys."""
        wanted = pc.field(key).isin(pa.array(sorted(keys), pa.string()))
        return (
            run_tables.open_dataset(self._root, table, run)
            .to_table(columns=[key, *columns], filter=wanted)
            .to_pylist()
        )


def _row_box(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return x, y, width, height of a row's corners."""
    return row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"]


def _box_to_outline(
    box: tuple[int, int, int, int] | None, width_px: int, height_px: int
) -> tuple[int, int, int, int] | None:
    """Return the box, or None if it covers nearly the whole image."""
    if box and box[2] * box[3] < _MIN_WHOLE_IMAGE_SHARE * width_px * height_px:
        return box
    return None


class ThumbnailMaker:
    """Make small copies of stored images in the sandbox; threads may share it.

    Thumbnails are cached, and so is that an image has none.

    Args:
        root: The data folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # One decoder: a large image takes it a second, and memory for one only.
        self._decoders = photos.build_decoders(THUMBNAIL_LIMITS.max_running)
        self._cache: OrderedDict[tuple[str, int], bytes | str] = OrderedDict()
        self._lock = threading.Lock()

    def find_cached(self, image_id: str, side_px: int) -> bytes | None:
        """Return a thumbnail that was made before; None if there is none yet.

        Args:
            image_id: sha256 of the image's bytes, hex.
            side_px: Longer side of the copy, one of THUMBNAIL_SIDES_PX.

        Raises:
            ThumbnailNotFound: No such image or size.
        """
        if not IMAGE_ID_PATTERN.fullmatch(image_id) or side_px not in THUMBNAIL_SIDES_PX:
            sides = ", ".join(map(str, THUMBNAIL_SIDES_PX))
            raise ThumbnailNotFound(
                f"{image_id[:80]} of {side_px} px: wanted an image_id, and one of {sides} px"
            )
        with self._lock:
            found = self._cache.get((image_id, side_px))
            if found is not None:
                self._cache.move_to_end((image_id, side_px))
        if isinstance(found, str):
            raise ThumbnailNotFound(found)
        return found

    def make(self, image_id: str, side_px: int) -> bytes:
        """Return a small copy of a stored image.

        Args:
            image_id: sha256 of the image's bytes, hex.
            side_px: Longer side of the copy, one of THUMBNAIL_SIDES_PX.

        Returns:
            A JPEG.

        Raises:
            ThumbnailNotFound: No such image or size, or one that exceeds the decoder's limits.
        """
        made = self.find_cached(image_id, side_px)
        if made is not None:
            return made
        try:
            content_cache.fetch_images(self._root, [image_id])
            content = content_cache.image_path(self._root, image_id).read_bytes()
            _, rgb = self._decoders.decode_image(content, side_px)
        except (FileNotFoundError, StoreFault, sandbox.DecoderDied) as error:
            raise ThumbnailNotFound(f"{image_id}: {error}") from error
        except decode.BadPixels as error:
            self._keep(image_id, side_px, f"{image_id}: {error}")
            raise ThumbnailNotFound(f"{image_id}: {error}") from error
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=85, optimize=True, progressive=True)
        self._keep(image_id, side_px, out.getvalue())
        return out.getvalue()

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()

    def _keep(self, image_id: str, side_px: int, made: bytes | str) -> None:
        """Cache a thumbnail, or why there is none."""
        with self._lock:
            self._cache[image_id, side_px] = made
            while len(self._cache) > _MAX_CACHED_THUMBNAILS:
                self._cache.popitem(last=False)
