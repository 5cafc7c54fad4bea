"""Count the scans of a JPEG without decoding it.

Each scan of a progressive JPEG makes the decoder visit every block of the picture again. A file of
half a megabyte may hold thousands of scans, which take minutes.
"""

from __future__ import annotations

import re

_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA
# Markers that no length follows.
_BARE_MARKERS = (0x01, 0xD8)
# FF 00 is a byte of the picture's data; FF D0 to FF D7 only restart the decoder.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def has_more_scans(content: bytes, max_scans: int) -> bool:
    """Return True for a JPEG of more scans than `max_scans`; previews within it do not count.

    Args:
        content: The bytes of a JPEG.
        max_scans: The most scans that are allowed.
    """
    scans_count = 0
    marker = _MARKER.search(content, 2)
    while marker is not None and marker[1][0] != _END_OF_IMAGE:
        code, end = marker[1][0], marker.end()
        if code == _START_OF_SCAN:
            scans_count += 1
            if scans_count > max_scans:
                return True
        if code not in _BARE_MARKERS:
            end += int.from_bytes(content[end : end + 2], "big")
        marker = _MARKER.search(content, end)
    return False
