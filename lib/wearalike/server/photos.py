"""Search by a stranger's photo: decoded once, in the sandbox, and searched by its pixels.

The search gets an uncompressed picture of those pixels. So no decoder of this process ever sees
what a stranger sent, and whatever the search decodes again costs a copy.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import TypeVar

from PIL import Image

from wearalike.evaluation.descriptors.photo_neighbours import NeighbourItem, PhotoNeighbours
from wearalike.imaging import sandbox
from wearalike.imaging.decode import ImageHeader
from wearalike.search.photo_query import DetectedItem, PhotoQuery, PhotoResult
from wearalike.search.photo_search import PhotoSearch
from wearalike.server.uploads import PHOTO_LIMITS

_Result = TypeVar("_Result", PhotoResult, PhotoNeighbours)
_Item = TypeVar("_Item", DetectedItem, NeighbourItem)
# The longer side at which a photo is searched: several times what the networks see.
SEARCHED_SIDE_PX = 2048
PREVIEW_SIDE_PX = 1280
# A picture of 64 million pixels needs 1.5 GB of addresses and 3 s.
DECODER_MEMORY_BYTES = 7 << 28
DECODER_CPU_S = 10
DECODER_TIMEOUT_S = 60.0


def build_decoders(max_workers: int = PHOTO_LIMITS.max_running) -> sandbox.DecoderPool:
    """Return a pool of decoders with the limits of a server; it has no worker yet.

    Args:
        max_workers: Most workers.
    """
    return sandbox.DecoderPool(DECODER_MEMORY_BYTES, DECODER_CPU_S, DECODER_TIMEOUT_S, max_workers)


class DecodedPhoto:
    """A stranger's photo, decoded.

    Args:
        content: Bytes of the photo's file.
        decoders: Decodes them.

    Attributes:
        photo_id: sha256 of the file, hex.
        header: Its header.
        picture: The picture as an uncompressed file, at most SEARCHED_SIDE_PX a side.

    Raises:
        BadPixels: The file is no picture that can be decoded.
    """

    def __init__(self, content: bytes, decoders: sandbox.DecoderPool) -> None:
        self.photo_id = hashlib.sha256(content).hexdigest()
        self.header, rgb = decoders.decode_image(content, SEARCHED_SIDE_PX)
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "BMP")
        self.picture = out.getvalue()

    def preview(self) -> bytes:
        """Return the photo as JPEG for a page, at most PREVIEW_SIDE_PX a side."""
        image = Image.open(io.BytesIO(self.picture))
        image.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85)
        return out.getvalue()

    def search(self, photo_search: PhotoSearch, wanted: PhotoQuery) -> PhotoResult:
        """Return the products most alike the items of the photo, boxes in pixels of its file.

        Args:
            photo_search: The run to search.
            wanted: The shopper's wishes.

        Raises:
            UnknownCategory: The taxonomy of the run lacks the category asked for.
        """
        return self.restore_pixels(photo_search.search(self.picture, wanted))

    def restore_pixels(self, result: _Result) -> _Result:
        """Return a result on `picture` with id, size and boxes of the photo's file.

        Args:
            result: The result.
        """
        width_ratio = self.header.width_px / result.width_px
        height_ratio = self.header.height_px / result.height_px
        return replace(
            result,
            photo_id=self.photo_id,
            width_px=self.header.width_px,
            height_px=self.header.height_px,
            items=tuple(
                _scale_item(item, width_ratio, height_ratio, self.header) for item in result.items
            ),
        )


def _scale_item(item: _Item, width_ratio: float, height_ratio: float, header: ImageHeader) -> _Item:
    """Return an item with its box in pixels of the photo's file."""
    return replace(
        item,
        x0=round(item.x0 * width_ratio),
        y0=round(item.y0 * height_ratio),
        x1=min(header.width_px, round(item.x1 * width_ratio)),
        y1=min(header.height_px, round(item.y1 * height_ratio)),
    )
