"""A draft of the lines a mapping lacks: for each word of the shop our likeliest leaves. Never applied by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz import fuzz, process, utils

from wearalike.catalog.map_offers import map_offers, unmapped_words
from wearalike.catalog.mapping import ShopMapping, read_taxonomy_and_mappings
from wearalike.catalog.taxonomy import Leaf, Taxonomy
from wearalike.settings import Settings
from wearalike.tables import AgeGroup

_NAME_SEPARATORS = re.compile(r" and | и |,")
# How much a path's last part counts against the parts before it.
_LAST_PART_WEIGHT = 0.75
# What is left of a leaf for others than the path says, and of a leaf for children where it says nothing.
_OTHER_AUDIENCE_FACTOR, _UNNAMED_CHILD_FACTOR = 0.7, 0.9
# So alike to "women", "men", "kids" or "newborn" a part has to be to say for whom.
_MIN_AUDIENCE_SIMILARITY = 0.8
# A guess less sure is told, but not written into the line.
_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class LeafGuess:
    """A leaf's id and how sure we are, 0..1, bigger is surer."""

    leaf_id: str
    confidence: float


def guess_leaves(words: Iterable[str], taxonomy: Taxonomy, count: int = 3) -> list[list[LeafGuess]]:
    """For each word the `count` likeliest leaves, surest first, ties in the taxonomy's order.

    The last part of a path is held against the leaves' names in both languages, the parts before it ("Women", "Мужчинам > Обувь")
    against the names of the categories a leaf is in.
    """
    leaves = list(taxonomy.leaves.values())
    best = []
    for word in words:
        scores = _score_leaves([part for part in word.split(">") if part.strip()] or [word], leaves)
        best.append(
            [
                LeafGuess(leaves[i].id, float(scores[i]))
                for i in np.argsort(-scores, kind="stable")[:count]
            ]
        )
    return best


def _score_leaves(parts: list[str], leaves: list[Leaf]) -> np.ndarray:
    """float64 (len(leaves),), 0..1: how well the parts of a path, root first, fit each leaf."""
    *before, last = parts
    scores = _name_similarity([last], [leaf.names for leaf in leaves])[0]
    is_said = np.zeros(len(leaves), bool)
    if before:
        around = _name_similarity(
            before,
            [tuple(name for names in leaf.ancestor_names for name in names) for leaf in leaves],
        ).mean(axis=0)
        scores = _LAST_PART_WEIGHT * scores + (1 - _LAST_PART_WEIGHT) * around
        is_said = (
            _name_similarity(
                before, [leaf.ancestor_names[0] if leaf.ancestor_names else () for leaf in leaves]
            ).max(axis=0)
            > _MIN_AUDIENCE_SIMILARITY
        )
    is_personal = np.array([bool(leaf.gender or leaf.age_group) for leaf in leaves])
    is_child = np.array([leaf.age_group not in (None, AgeGroup.ADULT) for leaf in leaves])
    if (is_personal & is_said).any():
        return np.where(is_personal & ~is_said, _OTHER_AUDIENCE_FACTOR, 1) * scores
    return np.where(is_child, _UNNAMED_CHILD_FACTOR, 1) * scores


def _name_similarity(parts: list[str], names: list[tuple[str, ...]]) -> np.ndarray:
    """float64 (len(parts), len(names)), 0..1: how alike a part is to the nearest of each leaf's names, 0 for a leaf without.

    The square of the letters' likeness, so that one name met outweighs two half met. A name of two things is also two names.
    """
    groups = [
        [piece for name in group for piece in (name, *_NAME_SEPARATORS.split(name))] or [""]
        for group in names
    ]
    flat = [piece for group in groups for piece in group]
    scores = (
        process.cdist(
            parts, flat, scorer=fuzz.ratio, processor=utils.default_process, dtype=np.float64
        )
        / 100
    )
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    return np.maximum.reduceat(scores, starts, axis=1) ** 2


def draft_mapping(shop_id: str, words: Iterable[tuple[str, int]], taxonomy: Taxonomy) -> str:
    """A mapping file for these (word, offers), as `unmapped_words` gives them: every line commented out, with the likeliest leaves."""
    words = list(words)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<mapping shop={quoteattr(shop_id)}>"]
    for (word, count), guesses in zip(
        words, guess_leaves([word for word, _ in words], taxonomy), strict=True
    ):
        told = (
            ", ".join(
                f"{guess.leaf_id} {guess.confidence:.0%}"
                for guess in guesses
                if guess.confidence > 0
            )
            or "no guess"
        )
        to = guesses[0].leaf_id if guesses[0].confidence >= _MIN_CONFIDENCE else ""
        lines += [f"  <!-- {count:,} offers: {told} -->", f"  <!-- {format_map_line(word, to)} -->"]
    return "\n".join([*lines, "</mapping>", ""])


def draft_shop_mapping(settings: Settings, shop_id: str, offers: pa.Table) -> str:
    """A draft for those words of the shop that its mapping, if it has one, does not know. offers: tables.OFFERS, of this shop or of more.

    Raises ValueError where none of the offers is the shop's, BadMapping where an operator's file has mistakes.
    """
    taxonomy, mappings = read_taxonomy_and_mappings(settings, [shop_id])
    offers = offers.filter(pc.field("shop_id") == shop_id)
    if not offers.num_rows:
        raise ValueError(f"shop {shop_id!r}: no offers in this run, so no words to suggest for")
    _, refused = map_offers(offers, mappings.get(shop_id, ShopMapping(shop_id)), taxonomy)
    return draft_mapping(shop_id, unmapped_words(refused), taxonomy)


def format_map_line(word: str, to: str = "") -> str:
    """The line that maps a word, as `unmapped_words` gives it, to a leaf. It may stand in a comment, where "--" may not."""
    name, value = ("id", word[1:]) if word.startswith("#") else ("path", word)
    quoted = quoteattr(value).replace("&gt;", ">").replace("--", "-&#45;")
    return f"<map {name}={quoted} to={quoteattr(to)}/>"
