"""Complete JPEG files that lack nothing but their end marker.

Some shops' image programs leave out the last two bytes, and every browser shows such a picture. A
decoder that is given the marker also shows a picture cut in half, with a grey rest. Bytes after the
last pixel tell both apart: they change a picture only if it was not complete.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_START_MARKER = b"\xff\xd8"
_SCAN_MARKER = b"\xff\xda"
_END_MARKER = b"\xff\xd9"
# Bits that no picture continues with alike. A picture that lacks a few bits may continue so with
# some of them, and then the few pixels that they stand for are alike, too.
_PADDINGS = (b"\x55" * 32, b"\xaa" * 32, bytes(range(1, 64)), bytes(range(251, 1, -5)))


def lacks_end(content: bytes) -> bool:
    """Return True for a JPEG without an end marker after its last scan's beginning."""
    return content.startswith(_START_MARKER) and (
        content.rfind(_END_MARKER) < content.rfind(_SCAN_MARKER)
    )


def append_end(content: bytes) -> bytes:
    """Return a JPEG that lacks its end marker, or half of it, with the marker."""
    return content.rstrip(b"\xff") + _END_MARKER


def is_complete(content: bytes) -> bool:
    """Return True if nothing but the end marker is missing; decodes the picture five times.

    Args:
        content: A JPEG for which `lacks_end`.

    Raises:
        OSError, ValueError: The picture cannot be decoded.
    """
    whole = _decode(append_end(content))
    return all(
        np.array_equal(whole, _decode(append_end(content.rstrip(b"\xff") + padding)))
        for padding in _PADDINGS
    )


def _decode(content: bytes) -> np.ndarray:
    """Return the pixels of a JPEG."""
    return np.asarray(Image.open(io.BytesIO(content), formats=("JPEG",)))
