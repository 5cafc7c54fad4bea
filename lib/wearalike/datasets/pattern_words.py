"""Words of titles that name a pattern, in English and Russian."""

from __future__ import annotations

import re

# The beginnings of words that name each pattern. The first pattern found in a title is its own.
_PATTERN_STEMS = {
    "striped": ("stripe", "pinstrip", "полос"),
    "dotted": ("polka", "dotted", "dots", "горош", "горох"),
    "checked": ("check", "plaid", "tartan", "gingham", "клетк", "клетч"),
    "floral": ("floral", "flower", "цветоч", "цветк"),
    "printed": ("print", "graphic", "принт", "рисун"),
    "lace": ("lace", "кружев"),
}
# Every pattern that a label may name.
PATTERN_NAMES = ("plain", *_PATTERN_STEMS)
_PATTERNS = {
    name: re.compile(rf"\b(?:{'|'.join(stems)})") for name, stems in _PATTERN_STEMS.items()
}


def find_pattern(title: str) -> str:
    """Find the pattern that a product's title names.

    Args:
        title: The title.

    Returns:
        The pattern's name; empty if the title names none, which does not say that it is plain.

    Example:
        >>> find_pattern("Рубашка в полоску")
        'striped'
    """
    lower = title.casefold()
    return next((name for name, words in _PATTERNS.items() if words.search(lower)), "")
