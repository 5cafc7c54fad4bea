"""Draft the lines that a mapping lacks: for each word of the shop its likeliest leaves.

A draft is never applied by itself: an operator reads it and uncomments the right lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz import fuzz, process, utils

from wearalike.catalog.configuration import read_google_defaults, read_taxonomy_and_mappings
from wearalike.catalog.map_offers import map_offers, unmapped_words
from wearalike.catalog.mapping import ShopMapping
from wearalike.catalog.taxonomy import Leaf, Taxonomy
from wearalike.settings import Settings
from wearalike.tables import AgeGroup

_NAME_SEPARATORS = re.compile(r" and | и |,")
# The weight of the last part of a path; the parts before it have the rest of 1.
_LAST_PART_WEIGHT = 0.75
# A leaf for other people than the path names keeps this share of its score.
_OTHER_AUDIENCE_FACTOR = 0.7
# A leaf for children keeps this share where the path names nobody.
_UNNAMED_CHILD_FACTOR = 0.9
# A part this similar to "women", "men", "kids" or "newborn" names an audience.
_MIN_AUDIENCE_SIMILARITY = 0.8
# A guess with less confidence stands in the comment, but not in the line.
_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class LeafGuess:
    """A leaf that a word may mean.

    Attributes:
        leaf_id: The leaf.
        confidence: 0..1, higher is surer.
    """

    leaf_id: str
    confidence: float


def guess_leaves(words: Iterable[str], taxonomy: Taxonomy, count: int = 3) -> list[list[LeafGuess]]:
    """Return the likeliest leaves for each category word of a shop.

    The last part of a path is compared with the names of the leaves in both languages. The parts
    before it ("Women", "Мужчинам > Обувь") are compared with the names of the categories around
    each leaf.

    Args:
        words: The words, as `category_word` returns them.
        taxonomy: The taxonomy.
        count: The number of guesses for each word.

    Returns:
        For each word `count` guesses, the surest first, equal ones in the order of the taxonomy.
    """
    leaves = list(taxonomy.leaves.values())
    guesses = []
    for word in words:
        parts = [part for part in word.split(">") if part.strip()] or [word]
        scores = _score_leaves(parts, leaves)
        best = np.argsort(-scores, kind="stable")[:count]
        guesses.append([LeafGuess(leaves[i].id, float(scores[i])) for i in best])
    return guesses


def _score_leaves(parts: list[str], leaves: list[Leaf]) -> np.ndarray:
    """Return how well a path, root first, fits each leaf: float64 (leaves,), 0..1."""
    *before, last = parts
    scores = _name_similarity([last], [leaf.names for leaf in leaves])[0]
    is_named = np.zeros(len(leaves), bool)
    if before:
        ancestor_names = [sum(leaf.ancestor_names, ()) for leaf in leaves]
        ancestor_scores = _name_similarity(before, ancestor_names).mean(axis=0)
        scores = _LAST_PART_WEIGHT * scores + (1 - _LAST_PART_WEIGHT) * ancestor_scores
        # The root categories are audiences.
        root_names = [leaf.ancestor_names[0] if leaf.ancestor_names else () for leaf in leaves]
        audience_scores = _name_similarity(before, root_names).max(axis=0)
        is_named = audience_scores > _MIN_AUDIENCE_SIMILARITY
    is_personal = np.array([bool(leaf.gender or leaf.age_group) for leaf in leaves])
    is_child = np.array([leaf.age_group not in (None, AgeGroup.ADULT) for leaf in leaves])
    if (is_personal & is_named).any():
        return np.where(is_personal & ~is_named, _OTHER_AUDIENCE_FACTOR, 1) * scores
    return np.where(is_child, _UNNAMED_CHILD_FACTOR, 1) * scores


def _name_similarity(parts: list[str], names: list[tuple[str, ...]]) -> np.ndarray:
    """Return how similar each part is to the nearest name of each leaf.

    The similarity of the letters is squared, so that one match outweighs two half matches. A name
    of two things ("hats and caps") counts as two names, too.

    Args:
        parts: Parts of a path.
        names: The names of each leaf; the similarity to none is 0.

    Returns:
        float64 (parts, leaves), 0..1.
    """
    groups = [
        [piece for name in group for piece in (name, *_NAME_SEPARATORS.split(name))] or [""]
        for group in names
    ]
    pieces = [piece for group in groups for piece in group]
    percents = process.cdist(
        parts, pieces, scorer=fuzz.ratio, processor=utils.default_process, dtype=np.float64
    )
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    return np.maximum.reduceat(percents / 100, starts, axis=1) ** 2


def draft_mapping(shop_id: str, words: Iterable[tuple[str, int]], taxonomy: Taxonomy) -> str:
    """Return a mapping file for category words, all of its lines commented out.

    Args:
        shop_id: The shop.
        words: (word, offers), as `unmapped_words` returns them.
        taxonomy: The taxonomy.

    Returns:
        XML, with a comment of the likeliest leaves before each line.
    """
    words = list(words)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<mapping shop={quoteattr(shop_id)}>"]
    guesses_by_word = guess_leaves([word for word, _ in words], taxonomy)
    for (word, count), guesses in zip(words, guesses_by_word, strict=True):
        shown = [f"{g.leaf_id} {g.confidence:.0%}" for g in guesses if g.confidence > 0]
        best = guesses[0]
        leaf_id = best.leaf_id if best.confidence >= _MIN_CONFIDENCE else ""
        lines.append(f"  <!-- {count:,} offers: {', '.join(shown) or 'no guess'} -->")
        lines.append(f"  <!-- {format_map_line(word, leaf_id)} -->")
    return "\n".join([*lines, "</mapping>", ""])


def draft_shop_mapping(settings: Settings, shop_id: str, offers: pa.Table) -> str:
    """Return a draft for the category words that a shop's mapping does not know.

    Args:
        settings: The settings; the shop may have a mapping or none.
        shop_id: The shop.
        offers: tables.OFFERS, of this shop or of several.

    Returns:
        XML, as `draft_mapping` returns it.

    Raises:
        ValueError: None of the offers is of this shop.
        BadMapping: The taxonomy or the shop's mapping has mistakes.
    """
    taxonomy, mappings = read_taxonomy_and_mappings(settings, [shop_id])
    offers = offers.filter(pc.field("shop_id") == shop_id)
    if not offers.num_rows:
        raise ValueError(f"shop {shop_id!r}: no offers in this run, so no words to suggest for")
    mapping = mappings.get(shop_id, ShopMapping(shop_id))
    _, refused = map_offers(offers, mapping, taxonomy, read_google_defaults(settings))
    return draft_mapping(shop_id, unmapped_words(refused), taxonomy)


def format_map_line(word: str, leaf_id: str = "") -> str:
    """Return the line that maps a category word to a leaf.

    The line may stand in a comment, where "--" may not: it writes the second dash as a reference.

        >>> format_map_line("Women > Dresses", "women.dresses")
        '<map path="Women > Dresses" to="women.dresses"/>'

    Args:
        word: The word, as `unmapped_words` returns it.
        leaf_id: The leaf; "" to leave it open.
    """
    name, value = ("id", word[1:]) if word.startswith("#") else ("path", word)
    quoted = quoteattr(value).replace("&gt;", ">").replace("--", "-&#45;")
    return f"<map {name}={quoted} to={quoteattr(leaf_id)}/>"
