"""Read the paths of categories as shops write them."""

from __future__ import annotations

import re
from functools import lru_cache

from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text

_ARROW = re.compile(r"\s*[>→➔›]\s*")
# Marks that part a path without an arrow. A slash without blanks may belong to a name, as in
# "Shorts/skirts", if it is the only one.
_BAR = re.compile(r"\s*[|\\]\s*")
_SLASH = re.compile(r"\s+/\s+")
_GUILLEMET = re.compile(r"\s+»\s+")


@lru_cache(maxsize=4096)
def read_category_paths(text: str) -> tuple[str, ...]:
    """Return the paths in a text, each with " > " between its parts.

    Paths that begin with the same part and are parted by commas are several.

        >>> read_category_paths("Women &gt; Dresses, Women &gt; Sale")
        ('Women > Dresses', 'Women > Sale')
        >>> read_category_paths("Women | Dresses")
        ('Women > Dresses',)

    Args:
        text: Such as "Women > Dresses".
    """
    text = plain_text(text[:MAX_WORD_CHARS])
    pieces = text.split(",")
    roots = {_ARROW.split(piece.strip())[0] for piece in pieces}
    is_list = len(pieces) > 1 and len(roots) == 1 and all(map(_ARROW.search, pieces))
    paths = (
        " > ".join(filter(None, (part.strip() for part in _split_path(path))))
        for path in (pieces if is_list else [text])
    )
    return tuple(filter(None, paths))


def _split_path(path: str) -> list[str]:
    """Return the parts of a path."""
    if _ARROW.search(path):
        return _ARROW.split(path)
    if path.count("/") > 1:
        return path.split("/")
    for mark in (_BAR, _SLASH):
        if mark.search(path):
            return mark.split(path)
    # Quotes in a name have their pair.
    return [path] if "«" in path else _GUILLEMET.split(path)
