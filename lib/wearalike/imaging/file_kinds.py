"""Name the kinds of files that come for pictures and are not taken, by their first bytes."""

from __future__ import annotations

import re

# The brands of ISO base media files ("ftyp"), by how people call them.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif"), "HEIC"
    ),
    **dict.fromkeys(
        (b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"dash", b"avc1", b"3gp4", b"3gp5"),
        "a video",
    ),
}
_KINDS = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc", "JPEG XR"),
    (b"\0\0\x01\0", "ICO"),
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"PK\x03\x04", "a zip archive"),
)
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE.*?>|\s)*<svg\b", re.DOTALL
)
_MAX_SVG_PROLOG_BYTES = 2048


def name_kind(content: bytes) -> str | None:
    """Return how people call the kind of a file; None for a kind that is not known.

    Args:
        content: The bytes of a file, at least its first 2,048.
    """
    if content[4:8] == b"ftyp":
        brands = (content[8:12], *(content[at : at + 4] for at in range(16, 48, 4)))
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    for start, kind in _KINDS:
        if content.startswith(start):
            return kind
    return "SVG" if _SVG.match(content[:_MAX_SVG_PROLOG_BYTES]) else None
