"""Pictures that cost much to decode."""

from __future__ import annotations

import io
import re

from PIL import Image, ImageDraw


def progressive_jpeg(side: int, more_scans: int = 0) -> bytes:
    """A progressive JPEG; its last scan comes again and again."""
    image = Image.new("RGB", (side, side), (200, 60, 60))
    # Along the edges of the JPEG's blocks, so that a scan is some bytes.
    ImageDraw.Draw(image).rectangle((64, 64, 127, 127), fill=(20, 90, 160))
    out = io.BytesIO()
    image.save(out, "JPEG", progressive=True)
    content = out.getvalue()
    # The tables of the last scan come before it.
    begin = [m.start() for m in re.finditer(rb"\xff[\xda\xc4]", content)][-2:]
    scan = content[begin[-1] : -2]
    return content[:-2] + scan * more_scans + content[-2:]


def transparent_png(side: int, colour: tuple[int, int, int] = (200, 60, 60)) -> bytes:
    """A small file of many pixels; a palette of transparent colours needs most memory."""
    image = Image.new("P", (side, side))
    image.putpalette([255, 255, 255, *colour] * 128)
    image.paste(1, (0, 0, side, side // 2))
    out = io.BytesIO()
    image.save(out, "PNG", transparency=0)
    return out.getvalue()
