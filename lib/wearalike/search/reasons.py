"""Why a result is alike, in words: same kind, same colour, shape much alike.

The words follow from the distances, whatever their weights. Things that both shops give one colour
name are at least alike in colour. The limits were measured in a shop
left out of training, with 48 colour words. Four in five pairs with at most 20 bits of colour
between them have the same word; from 21 to 40 bits it is nearly half. It is much the same for
shape and type.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.catalog.kinds import MAX_KIND_DISTANCE
from wearalike.tables import LookSource

Language = Literal["en", "ru"]
# Hamming distances, of 128 bits, up to which halves of codes are much alike, and alike.
MUCH_ALIKE_BITS = 20
ALIKE_BITS = 40
# For each part the words for the nearest, for those between and for the others.
_WORDS: dict[Language, dict[str, tuple[str, str, str]]] = {
    "en": {
        "kind": ("same kind", "related kind", "another kind"),
        "colour": ("same colour", "colour alike", "another colour"),
        "shape": ("shape much alike", "shape alike", "another shape"),
    },
    "ru": {
        "kind": ("тот же вид", "близкий вид", "другой вид"),
        "colour": ("тот же цвет", "похожий цвет", "другой цвет"),
        "shape": ("форма очень похожа", "форма похожа", "другая форма"),
    },
}
# The source of a look's product; words of colour and shape follow.
_LOOK_WORDS: dict[Language, dict[LookSource, str]] = {
    "en": {
        LookSource.WORN: "like what is worn with it",
        LookSource.FEED: "its shop shows it beside this product",
        LookSource.ALIKE: "like what is worn with a product most alike it",
    },
    "ru": {
        LookSource.WORN: "похоже на вещь, с которой этот товар показан на фото",
        LookSource.FEED: "магазин показывает рядом с этим товаром",
        LookSource.ALIKE: "похоже на вещь, с которой показан похожий товар",
    },
}
# The largest distance of the first and of the second words.
_LIMITS = {
    "kind": (0, MAX_KIND_DISTANCE - 1),
    "colour": (MUCH_ALIKE_BITS, ALIKE_BITS),
    "shape": (MUCH_ALIKE_BITS, ALIKE_BITS),
}


def describe_likenesses(
    kind: NDArray[np.integer],
    colour: NDArray[np.integer],
    shape: NDArray[np.integer],
    language: Language,
) -> pa.Array:
    """Return the reasons of results as texts.

    Args:
        kind: int (n,), 0..64. Distances of kind.
        colour: int (n,), 0..160. Hamming distances of colour, with those of the names.
        shape: int (n,), 0..128. Hamming distances of shape.
        language: "en" or "ru".

    Example:
        >>> describe_likenesses(np.array([0]), np.array([9]), np.array([30]), "en").to_pylist()
        ['same kind, same colour, shape alike']
    """
    words = _WORDS[language]
    texts = [
        f"{of_kind}, {of_colour}, {of_shape}"
        for of_kind in words["kind"]
        for of_colour in words["colour"]
        for of_shape in words["shape"]
    ]
    number = np.zeros(len(kind), np.int64)
    for part, distances in (("kind", kind), ("colour", colour), ("shape", shape)):
        number = 3 * number + np.searchsorted(_LIMITS[part], distances, side="left")
    return pa.array(texts, pa.string()).take(pa.array(number))


def describe_likeness(kind: int | None, colour: int, shape: int, language: Language) -> str:
    """Return the reason of one result; without a kind it speaks of colour and shape alone."""
    distances = {"kind": kind, "colour": colour, "shape": shape}
    return ", ".join(
        _WORDS[language][part][bisect_left(_LIMITS[part], distance)]
        for part, distance in distances.items()
        if distance is not None
    )


def describe_looks(
    source: LookSource,
    colour: NDArray[np.integer],
    shape: NDArray[np.integer],
    language: Language,
) -> pa.Array:
    """Return the reasons of the products of looks that come from items worn.

    Args:
        source: Where the items are worn.
        colour: int (n,), 0..128. Hamming distances of colour to the item.
        shape: int (n,), 0..128. Hamming distances of shape to the item.
        language: "en" or "ru".

    Example:
        >>> describe_looks(LookSource.WORN, np.array([9]), np.array([30]), "en").to_pylist()
        ['like what is worn with it: same colour, shape alike']
    """
    words = _WORDS[language]
    texts = [
        f"{_LOOK_WORDS[language][source]}: {of_colour}, {of_shape}"
        for of_colour in words["colour"]
        for of_shape in words["shape"]
    ]
    of_colour = np.searchsorted(_LIMITS["colour"], colour, side="left")
    of_shape = np.searchsorted(_LIMITS["shape"], shape, side="left")
    return pa.array(texts, pa.string()).take(pa.array(3 * of_colour + of_shape))


def describe_feed_look(language: Language) -> str:
    """Return the reason of a product that a feed shows beside another."""
    return _LOOK_WORDS[language][LookSource.FEED]
