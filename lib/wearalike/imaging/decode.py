"""Decode bytes to pixels: allowed formats only, of sizes we can hold.

The header is checked before anything is decoded, so a bomb of a few bytes costs nothing. All
metadata but the orientation is ignored, colour profiles included.
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
from PIL import AvifImagePlugin, Image, UnidentifiedImageError, features

from wearalike.imaging import file_kinds, frames, jpeg_end, jpeg_scans

# AVIF where Pillow was built with it, as its wheels are.
ALLOWED_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"),
    *(("AVIF",) if features.check("avif") else ()),
)
MIN_SIDE_PX = 16
MAX_PIXELS = 64_000_000
MAX_ASPECT_RATIO = 20
# Encoders write about ten scans, and the most thorough ones some forty.
MAX_JPEG_SCANS = 64
# Antialiased, and without the overshoot of bicubic, which would invent colours.
_RESAMPLING = Image.Resampling.BILINEAR
# A JPEG can be decoded at 1/2, 1/4 and 1/8 of its size (libjpeg).
_DECODE_DIVISORS = (1, 2, 4, 8)
_ORIENTATION_TAG = 0x0112
# The transposition that turns each EXIF orientation upright.
_UPRIGHT_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# From this EXIF orientation on, width and height are exchanged.
_FIRST_TURNED_ORIENTATION = 5
# Pillow's decoders raise all of these on hostile bytes, not only OSError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,  # of the AVIF decoder
    struct.error,
    zlib.error,
)

# Threads of the AVIF decoder: each would reserve memory, and images are decoded side by side.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

Box = tuple[int, int, int, int]


class PixelReason(StrEnum):
    """Why bytes are not accepted as an image."""

    NOT_A_PICTURE = "not_a_picture"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    UNSUPPORTED = "unsupported"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_NARROW = "too_narrow"
    TOO_MANY_SCANS = "too_many_scans"
    BLANK = "blank"


class BadPixels(ValueError):
    """Bytes that are not accepted as an image.

    Attributes:
        reason: Why.
        detail: The value found and the value wanted.
    """

    def __init__(self, reason: PixelReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an image.

    Attributes:
        format: One of ALLOWED_FORMATS.
        width_px: The width of the upright image.
        height_px: The height of the upright image.
    """

    format: str
    width_px: int
    height_px: int


def read_header(content: bytes) -> ImageHeader:
    """Return the header of an image; decode nothing.

    Args:
        content: The bytes of a file.

    Raises:
        BadPixels: `decode_image` would refuse the bytes before decoding them.
    """
    return _open_checked(content)[1]


def decode_image(content: bytes, max_side_px: int | None = None) -> NDArray[np.uint8]:
    """Decode an image.

    Transparent parts become white. An animation gives its first frame, or one that shows something
    if the first is blank. Channels of 16 bits keep the upper 8.

    Args:
        content: The bytes of a file.
        max_side_px: Scale the longer side down to at most this, never up. A JPEG is then decoded
            at a coarser scale, which is faster.

    Returns:
        uint8 (height, width, 3): RGB, upright.

    Raises:
        BadPixels: The bytes are no image we accept.
    """
    header = _open_checked(content)[1]
    longer_side_px = max(header.width_px, header.height_px)
    divisor = _decode_divisor(longer_side_px, max_side_px) if max_side_px else 1
    rgb = _decode_upright(content, divisor)
    if max_side_px and max(rgb.size) > max_side_px:
        rgb = _scale_image(rgb, max_side_px / max(rgb.size))
    return np.asarray(rgb)


def crop_boxes(
    content: bytes, boxes: Sequence[Box], side_px: int | None = None
) -> list[NDArray[np.uint8]]:
    """Return the parts of an image inside boxes.

    A crop depends on its own box alone, not on the other boxes.

    Args:
        content: The bytes of a file.
        boxes: (x0, y0, x1, y1) in pixels of the image as `decode_image` returns it.
        side_px: The longer side at which the crops will be used. A crop at least four times as
            large then comes from a JPEG decoded at a coarser scale, which is faster; its box grows
            to whole pixels of that scale.

    Returns:
        For each box uint8 (height, width, 3).

    Raises:
        BadPixels: The bytes are no image we accept.
        ValueError: A box is outside the image.
    """
    header = read_header(content)
    is_scalable = side_px is not None and header.format == "JPEG"
    decoded: dict[int, NDArray[np.uint8]] = {}
    crops = []
    for box in boxes:
        x0, y0, x1, y1 = box
        divisor = 1
        if side_px and is_scalable:
            divisor = _decode_divisor(max(x1 - x0, y1 - y0), side_px)
        if divisor not in decoded:
            decoded[divisor] = np.asarray(_decode_upright(content, divisor))
        rgb = decoded[divisor]
        x_scale = header.width_px / rgb.shape[1]
        y_scale = header.height_px / rgb.shape[0]
        scaled_box = (
            math.floor(x0 / x_scale),
            math.floor(y0 / y_scale),
            math.ceil(x1 / x_scale),
            math.ceil(y1 / y_scale),
        )
        crops.append(crop(rgb, scaled_box))
    return crops


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """Return the numbers of an image with one byte a pixel: grey, or indexes of a palette.

    Args:
        content: The bytes of a file.

    Returns:
        uint8 (height, width).

    Raises:
        BadPixels: The bytes are no such image.
    """
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


def crop(rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return a view of the part of an image inside a box.

    Args:
        rgb: uint8 (height, width, 3).
        box: (x0, y0, x1, y1) in pixels; parts outside the image are cut off.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: The box is outside the image.
    """
    height, width = rgb.shape[:2]
    x0 = max(0, box[0])
    y0 = max(0, box[1])
    x1 = min(width, box[2])
    y1 = min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"box {box}: nothing of it is inside a picture of {width} x {height} px")
    return rgb[y0:y1, x0:x1]


def resize(rgb: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return an image at exactly this size, antialiased.

    Args:
        rgb: uint8 (height, width, 3).
        width_px: The new width.
        height_px: The new height.

    Returns:
        uint8 (height_px, width_px, 3).
    """
    return np.asarray(Image.fromarray(rgb).resize((width_px, height_px), _RESAMPLING))


def letterbox(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return the whole image, scaled up or down, centred on a white square.

    Args:
        rgb: uint8 (height, width, 3).
        side_px: The side of the square.

    Returns:
        uint8 (side_px, side_px, 3).
    """
    height, width = rgb.shape[:2]
    scale = side_px / max(height, width)
    inner = resize(rgb, max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.full((side_px, side_px, 3), 255, np.uint8)
    top = (side_px - inner.shape[0]) // 2
    left = (side_px - inner.shape[1]) // 2
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _open_checked(content: bytes) -> tuple[Image.Image, ImageHeader]:
    """Return the image, not yet decoded, and its header. Raise BadPixels."""
    try:
        image = Image.open(io.BytesIO(content), formats=ALLOWED_FORMATS)
    except UnidentifiedImageError as error:
        kind = file_kinds.name_kind(content)
        if kind in ALLOWED_FORMATS:
            raise BadPixels(PixelReason.UNDECODABLE, f"{kind}, cut off or damaged") from error
        raise BadPixels(
            PixelReason.UNSUPPORTED if kind else PixelReason.NOT_A_PICTURE,
            f"{kind or f'begins with {content[:16]!r}'}, wanted {', '.join(ALLOWED_FORMATS)}",
        ) from error
    except Image.DecompressionBombError as error:
        raise BadPixels(PixelReason.TOO_MANY_PIXELS, str(error)) from error
    except _DECODER_ERRORS as error:
        raise BadPixels(PixelReason.UNDECODABLE, str(error)) from error
    _check_size(image)
    if image.mode in ("I", "F"):
        raise BadPixels(
            PixelReason.UNSUPPORTED, f"{image.format} of 32 bits a pixel, wanted 8 or 16 a channel"
        )
    width, height = image.size
    if _exif_orientation(image) >= _FIRST_TURNED_ORIENTATION:
        width, height = height, width
    # Pillow calls a JPEG with a preview for 3D screens MPO.
    image_format = "JPEG" if image.format == "MPO" else str(image.format)
    if image_format == "JPEG" and jpeg_scans.has_more_scans(content, MAX_JPEG_SCANS):
        raise BadPixels(PixelReason.TOO_MANY_SCANS, f"JPEG, wanted at most {MAX_JPEG_SCANS} scans")
    return image, ImageHeader(image_format, width, height)


def _check_size(image: Image.Image) -> None:
    """Raise BadPixels for an image that is too large, too small or too narrow."""
    width, height = image.size
    size = f"{width} x {height} px"
    if width * height > MAX_PIXELS:
        raise BadPixels(
            PixelReason.TOO_MANY_PIXELS, f"{size}, wanted at most {MAX_PIXELS:,} in all"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise BadPixels(PixelReason.TOO_SMALL, f"{size}, wanted at least {MIN_SIDE_PX} a side")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadPixels(PixelReason.TOO_NARROW, f"{size}, wanted at most {MAX_ASPECT_RATIO}:1")


def _decode_divisor(side_px: int, wanted_px: int) -> int:
    """Return by how much a side may be divided while decoding.

    The decoder scales coarsely. So it stops at twice the wanted size, and `_scale_image` does the
    rest.
    """
    max_divisor = max(1, side_px // (2 * wanted_px))
    return max(divisor for divisor in _DECODE_DIVISORS if divisor <= max_divisor)


def complete_jpeg(content: bytes) -> bytes:
    """Return bytes that `decode_image` accepts; a JPEG without its end marker with it."""
    return jpeg_end.append_end(content) if jpeg_end.lacks_end(content) else content


def _decode_upright(content: bytes, divisor: int) -> Image.Image:
    """Decode an image to upright RGB; a JPEG at a part of its size. Raise BadPixels."""
    try:
        return _decode_once(*_open_checked(content), divisor)
    except BadPixels as error:
        if error.reason is not PixelReason.TRUNCATED or not jpeg_end.lacks_end(content):
            raise
        try:
            is_complete = jpeg_end.is_complete(content)
        except _DECODER_ERRORS:
            is_complete = False
        if not is_complete:
            raise
        return _decode_once(*_open_checked(jpeg_end.append_end(content)), divisor)


def _decode_once(image: Image.Image, header: ImageHeader, divisor: int) -> Image.Image:
    """Decode an opened image to upright RGB; a JPEG at a part of its size. Raise BadPixels."""
    if divisor > 1 and header.format == "JPEG":
        image.draft(None, (image.width // divisor or 1, image.height // divisor or 1))
    orientation = _exif_orientation(image)
    size = image.size
    try:
        frames.seek_shown_frame(image, _checked_rgb)
        image.load()
        rgb = _to_rgb(image)
        if rgb.size != size:
            # A later frame of a GIF may reach beyond the picture, where browsers do not show it.
            rgb = rgb.crop((0, 0, *size))
    except BadPixels:
        raise
    except Image.DecompressionBombError as error:
        raise BadPixels(PixelReason.TOO_MANY_PIXELS, str(error)) from error
    except _DECODER_ERRORS as error:
        is_truncated = "truncated" in str(error).lower()
        raise BadPixels(
            PixelReason.TRUNCATED if is_truncated else PixelReason.UNDECODABLE,
            f"{header.format} of {header.width_px} x {header.height_px} px: {error}",
        ) from error
    if orientation not in _UPRIGHT_TRANSPOSE:
        return rgb
    return rgb.transpose(_UPRIGHT_TRANSPOSE[orientation])


def _checked_rgb(image: Image.Image) -> Image.Image:
    """Convert a frame to RGB. A later frame of a GIF may be larger than the first."""
    _check_size(image)
    return _to_rgb(image)


def _exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 if it is missing. Decode nothing."""
    # Pillow turns a TIFF itself. In a PNG it would decode everything to find EXIF after the pixels.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if orientation in _UPRIGHT_TRANSPOSE else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image of any mode as RGB, transparent parts on white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _scale_image(image: Image.Image, ratio: float) -> Image.Image:
    """Return an image scaled down by a ratio, antialiased."""
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return image.resize(size, _RESAMPLING, reducing_gap=2.0)
