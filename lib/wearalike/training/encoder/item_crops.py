"""Crop the item of a photo as the nightly run crops it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wearalike.detection import detect
from wearalike.imaging import decode


def crop_item(
    path: Path, box: tuple[int, int, int, int] | None, side_px: int | None = None
) -> NDArray[np.uint8]:
    """Crop an item: its box, or what stands out.

    Args:
        path: The photo.
        box: x0, y0, x1, y1 in px, x1 and y1 outside; None for what stands out.
        side_px: Longer side to which the crop is scaled; None leaves it as it is.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: The photo cannot be read, or nothing stands out.
    """
    content = path.read_bytes()
    if box is None:
        row = detect.detect_items(detect.ForegroundDetector(), "", content)[0]
        if "x0" not in row:
            raise ValueError(f"{path}: {row['reason']}")
        box = cast(tuple[int, int, int, int], tuple(row[name] for name in ("x0", "y0", "x1", "y1")))
    crop = decode.crop(decode.decode_image(content), box)
    if side_px is None:
        return crop
    height, width = crop.shape[:2]
    scale = side_px / max(height, width)
    return decode.resize(crop, max(1, round(width * scale)), max(1, round(height * scale)))
