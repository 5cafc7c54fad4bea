"""Tell blank pictures, and choose the frame of an animation that shows something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

# Levels between the darkest and the brightest pixel of a channel that nobody sees.
MAX_BLANK_RANGE = 3
# Frames that are looked at. A longer animation has shown something by then.
_MAX_FRAMES = 64
# Formats whose further frames are moments of one scene; those of a TIFF are pages.
_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
# Frames are compared at this size.
_COMPARED_SIDE_PX = 32
# The first frame with so much of the greatest contrast is shown.
_MIN_CONTRAST_RATIO = 0.8


def is_blank(rgb: Image.Image) -> bool:
    """Return True if an RGB image has one colour only."""
    return all(high - low <= MAX_BLANK_RANGE for low, high in rgb.getextrema())  # type: ignore[misc]


def seek_shown_frame(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> None:
    """Move an animation whose first frame is blank to a frame that shows something.

    It is the first frame that has nearly as much contrast as any, so a picture that fades in is
    seen in full. An animation of blank frames stays at its first one.

    Args:
        image: An opened image, at its first frame.
        to_rgb: Converts a loaded frame to RGB.
    """
    if image.format not in _ANIMATED_FORMATS or getattr(image, "n_frames", 1) < 2:
        return
    image.load()
    if not is_blank(to_rgb(image)):
        return
    contrasts = []
    for number in range(min(image.n_frames, _MAX_FRAMES)):  # type: ignore[attr-defined]
        image.seek(number)
        small = to_rgb(image).resize((_COMPARED_SIDE_PX, _COMPARED_SIDE_PX))
        contrasts.append(float(np.asarray(small, np.float64).std(axis=(0, 1)).sum()))
    enough = _MIN_CONTRAST_RATIO * max(contrasts)
    image.seek(next(i for i, contrast in enumerate(contrasts) if contrast >= enough))
