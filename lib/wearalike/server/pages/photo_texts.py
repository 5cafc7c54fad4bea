"""Words of the photo page: why a file is no photo, and for whom the products are."""

from __future__ import annotations

from wearalike.imaging import file_kinds
from wearalike.imaging.decode import BadPixels, PixelReason
from wearalike.search.photo_query import PhotoResult
from wearalike.tables import Gender

_ANOTHER = "Please choose a photo as JPEG, PNG or WebP."
_UNREADABLE_TEXTS = {
    PixelReason.NOT_A_PICTURE: f"This file is not a picture. {_ANOTHER}",
    PixelReason.TRUNCATED: "The end of this photo is missing. Please send it again.",
    PixelReason.UNDECODABLE: "This photo is damaged. Please take or choose another.",
    PixelReason.UNSUPPORTED: f"Pictures of this kind cannot be read here. {_ANOTHER}",
    PixelReason.TOO_SMALL: "This picture is too small to see anything. Please choose a larger one.",
    PixelReason.TOO_MANY_PIXELS: (
        "This picture has too many pixels. Please send a copy of at most 64 megapixels."
    ),
    PixelReason.TOO_NARROW: "This picture is a narrow strip. Please choose a photo of clothes.",
    PixelReason.TOO_MANY_SCANS: (
        "This JPEG was saved in an unusual way. Please save it again, or send a screenshot of it."
    ),
    PixelReason.BLANK: "This picture shows one colour alone. Please choose another.",
}
_KIND_TEXTS = {
    "HEIC": (
        "Photos as HEIC cannot be read here. Please send it as JPEG: on an iPhone, Settings, "
        "Camera, Formats, Most Compatible."
    ),
    "a video": "This is a video. Please send a photo, such as a still of it.",
}
# The wearers of a product, as a shopper names them.
GENDER_WORDS = {
    Gender.FEMALE: "women and girls",
    Gender.MALE: "men and boys",
    Gender.UNISEX: "everyone",
}


def describe_unreadable(error: BadPixels, content: bytes) -> str:
    """Return in plain words why a file cannot be searched, and what to send instead.

    Args:
        error: Why.
        content: The file.
    """
    kind = file_kinds.name_kind(content)
    if kind in _KIND_TEXTS:
        return _KIND_TEXTS[kind]
    if kind is not None and error.reason in (PixelReason.UNSUPPORTED, PixelReason.NOT_A_PICTURE):
        article = "" if kind.startswith("a ") else "as "
        return f"Files {article}{kind} cannot be read here. {_ANOTHER}"
    return _UNREADABLE_TEXTS[error.reason]


def describe_audience(result: PhotoResult, *, may_choose: bool = True) -> str:
    """Return for whom the products are, and whether that was guessed.

    Args:
        result: The result.
        may_choose: The page has a field where the shopper may choose otherwise.
    """
    if result.gender is None:
        return "Shown for everyone."
    words = GENDER_WORDS[result.gender]
    if result.is_gender_guessed:
        choice = " Choose otherwise under “For”." if may_choose else ""
        return f"Shown for {words}: the photo looks like it.{choice}"
    return f"Shown for {words}."
