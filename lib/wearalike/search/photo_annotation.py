"""A photo with the items found in it outlined and numbered."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from wearalike.imaging import decode
from wearalike.search.photo_query import PhotoResult

ANNOTATED_SIDE_PX = 1280
_JPEG_QUALITY = 88
# Distinct for people with any colour vision: Okabe and Ito.
_OUTLINE_COLOURS = (
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#f0e442",
)


def annotate_photo(content: bytes, result: PhotoResult) -> bytes:
    """Return the photo as JPEG, its items outlined and numbered from 1, at most 1280 px a side.

    Args:
        content: Bytes of the photo's file.
        result: The result for this photo.

    Raises:
        BadPixels: The file is no picture that can be decoded.
    """
    image = Image.fromarray(decode.decode_image(content, ANNOTATED_SIDE_PX))
    scale = max(image.size) / max(result.width_px, result.height_px)
    draw = ImageDraw.Draw(image)
    line_px = max(2, max(image.size) // 300)
    font = ImageFont.load_default(max(14, max(image.size) // 36))
    # The first item is drawn last, on top.
    for number, item in reversed(list(enumerate(result.items, 1))):
        x0, y0, x1, y1 = (round(v * scale) for v in (item.x0, item.y0, item.x1, item.y1))
        colour = outline_colour(number)
        draw.rectangle([x0 - 1, y0 - 1, x1 + 1, y1 + 1], outline="white", width=line_px + 2)
        draw.rectangle([x0, y0, x1, y1], outline=colour, width=line_px)
        text_at = (x0 + 2 * line_px, y0 + 2 * line_px)
        left, top, right, bottom = draw.textbbox(text_at, str(number), font=font)
        pad_px = 2 * line_px
        label = [left - pad_px, top - pad_px, right + pad_px, bottom + pad_px]
        draw.rectangle(label, fill=colour)
        # White cannot be read on yellow, the last colour.
        text_colour = "white" if number != len(_OUTLINE_COLOURS) else "black"
        draw.text(text_at, str(number), fill=text_colour, font=font)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def outline_colour(number: int) -> str:
    """Return the outline colour, #rrggbb, of the item of a number, counted from 1."""
    return _OUTLINE_COLOURS[(number - 1) % len(_OUTLINE_COLOURS)]
