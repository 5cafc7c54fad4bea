"""Bytes to pixels: formats we allow, sizes we can hold. Bytes that are not a picture are refused here.

The header is judged before anything is decoded, so a bomb of a few bytes costs nothing. Colour profiles and every other
piece of metadata but the orientation are ignored.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MIN_SIDE_PX = 16
MAX_PIXELS = 40_000_000
MAX_ASPECT_RATIO = 20
# Antialiased, and without the overshoot of bicubic that would make colours nobody wears.
_RESAMPLING = Image.Resampling.BILINEAR
_ORIENTATION_TAG = 0x0112
_UPRIGHT_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on hostile bytes, OSError being the polite way.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)


class PixelReason(StrEnum):
    NOT_A_PICTURE = "not_a_picture"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    UNSUPPORTED = "unsupported"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_NARROW = "too_narrow"


class BadPixels(ValueError):
    """Bytes that are not a picture we take. `reason` is from the short list, `detail` says what was found and wanted."""

    def __init__(self, reason: PixelReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """format: one of FORMATS. width_px, height_px: after EXIF orientation, as `decode` gives them."""

    format: str
    width_px: int
    height_px: int


def read_header(content: bytes) -> ImageHeader:
    """What a picture's header says, nothing decoded. Raises BadPixels for what `decode` would not begin with."""
    return _open_checked(content)[1]


def decode_image(content: bytes, max_side_px: int | None = None) -> NDArray[np.uint8]:
    """The picture as uint8 (height, width, 3), RGB, upright.

    max_side_px: the longer side is scaled down to at most this, never up; JPEG is then decoded at a coarser scale, which
    is faster. Transparent parts show white; of an animation the first frame is taken; 16 bits are cut to the upper 8.
    Raises BadPixels.
    """
    image, header = _open_checked(content)
    rgb = _decode_upright(
        image, header, _decode_divisor(max(image.size), max_side_px) if max_side_px else 1
    )
    if max_side_px and max(rgb.size) > max_side_px:
        rgb = _scale_image(rgb, max_side_px / max(rgb.size))
    return np.asarray(rgb)


def crop_boxes(
    content: bytes, boxes: Sequence[tuple[int, int, int, int]], side_px: int | None = None
) -> list[NDArray[np.uint8]]:
    """The parts of a picture inside boxes (x0, y0, x1, y1) of the picture as `decode` gives it, uint8 (height, width, 3) each.

    side_px: the longer side at which they are looked at; a crop four times as large or more then comes from a JPEG decoded at a
    coarser scale, which is faster, its box grown to whole pixels of that. What a crop is depends on its own box alone.
    Raises BadPixels, and ValueError as `crop`.
    """
    decoded: dict[int, NDArray[np.uint8]] = {}
    cut, header = [], read_header(content)
    for box in boxes:
        scale = (
            _decode_divisor(max(box[2] - box[0], box[3] - box[1]), side_px)
            if side_px and header.format == "JPEG"
            else 1
        )
        if scale not in decoded:
            decoded[scale] = np.asarray(_decode_upright(*_open_checked(content), scale))
        high, wide = (
            header.height_px / decoded[scale].shape[0],
            header.width_px / decoded[scale].shape[1],
        )
        x0, y0, x1, y1 = box[0] / wide, box[1] / high, box[2] / wide, box[3] / high
        cut.append(
            crop(decoded[scale], (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)))
        )
    return cut


def _decode_divisor(side_px: int, wanted_px: int) -> int:
    """By what a side may be divided while decoding: the decoder's own scaling is coarse, so it stops at twice the size wanted,
    and the rest is done well. A power of two up to 8, as the decoder knows them."""
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(1, side_px // (2 * wanted_px)))


def _decode_upright(image: Image.Image, header: ImageHeader, divisor: int) -> Image.Image:
    """An opened picture decoded, RGB and upright; a JPEG at that part of its size. Raises BadPixels."""
    if divisor > 1 and header.format == "JPEG":
        image.draft(None, (image.width // divisor or 1, image.height // divisor or 1))
    orientation = _exif_orientation(image)
    try:
        image.load()
        rgb = _to_rgb(image)
    except _DECODER_ERRORS as error:
        reason = (
            PixelReason.TRUNCATED if "truncated" in str(error).lower() else PixelReason.UNDECODABLE
        )
        raise BadPixels(
            reason, f"{header.format} of {header.width_px} x {header.height_px} px: {error}"
        ) from error
    return (
        rgb.transpose(_UPRIGHT_TRANSPOSE[orientation]) if orientation in _UPRIGHT_TRANSPOSE else rgb
    )


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """The numbers of a picture of one byte a pixel (grey, or indexes of a palette), uint8 (height, width). Raises BadPixels."""
    image, header = _open_checked(content)
    if image.mode not in ("L", "P"):
        raise BadPixels(
            PixelReason.UNSUPPORTED,
            f"{header.format} of mode {image.mode}, wanted one byte a pixel",
        )
    try:
        return np.asarray(image)
    except _DECODER_ERRORS as error:
        raise BadPixels(PixelReason.UNDECODABLE, str(error)) from error


def crop(rgb: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The part of a picture, uint8 (height, width, 3), inside a box (x0, y0, x1, y1), cut at the picture's rim; a view.

    Raises ValueError where nothing of the box is inside.
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"box {box}: nothing of it is inside a picture of {width} x {height} px")
    return rgb[y0:y1, x0:x1]


def resize(rgb: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """The picture, uint8 (height, width, 3), at exactly this size, antialiased."""
    return np.asarray(Image.fromarray(rgb).resize((width_px, height_px), _RESAMPLING))


def letterbox(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The whole picture, uint8 (height, width, 3), centred on a white square, uint8 (side, side, 3); scaled up or down."""
    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    inner = resize(rgb, max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((side_px, side_px, 3), 255, np.uint8)
    top, left = (side_px - inner.shape[0]) // 2, (side_px - inner.shape[1]) // 2
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _open_checked(content: bytes) -> tuple[Image.Image, ImageHeader]:
    """The picture, not yet decoded, and its header, judged."""
    try:
        image = Image.open(io.BytesIO(content), formats=ALLOWED_FORMATS)
    except UnidentifiedImageError as error:
        raise BadPixels(
            PixelReason.NOT_A_PICTURE,
            f"begins with {content[:16]!r}, wanted {', '.join(ALLOWED_FORMATS)}",
        ) from error
    except Image.DecompressionBombError as error:
        raise BadPixels(PixelReason.TOO_MANY_PIXELS, str(error)) from error
    except _DECODER_ERRORS as error:
        raise BadPixels(PixelReason.UNDECODABLE, str(error)) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPixels(
            PixelReason.TOO_MANY_PIXELS,
            f"{width} x {height} px, wanted at most {MAX_PIXELS:,} in all",
        )
    if min(width, height) < MIN_SIDE_PX:
        raise BadPixels(
            PixelReason.TOO_SMALL, f"{width} x {height} px, wanted at least {MIN_SIDE_PX} a side"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadPixels(
            PixelReason.TOO_NARROW, f"{width} x {height} px, wanted at most {MAX_ASPECT_RATIO}:1"
        )
    if image.mode in ("I", "F"):
        raise BadPixels(
            PixelReason.UNSUPPORTED, f"{image.format} of 32 bits a pixel, wanted 8 or 16 a channel"
        )
    # A JPEG with a preview for 3D screens calls itself MPO.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    return image, ImageHeader(kind, height, width) if _exif_orientation(
        image
    ) >= 5 else ImageHeader(kind, width, height)


def _exif_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) .. 8; 1 where there is none or it cannot be read. Decodes nothing."""
    # Pillow turns a TIFF itself, and would decode a whole PNG to look for EXIF behind the pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        found = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return found if found in _UPRIGHT_TRANSPOSE else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as RGB, transparent parts on white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert(
            "RGB"
        )
    return image.convert("RGB")


def _scale_image(image: Image.Image, ratio: float) -> Image.Image:
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image.resize(size, _RESAMPLING, reducing_gap=2.0)
