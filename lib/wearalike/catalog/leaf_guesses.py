"""Guess the leaves that a shop's category words mean, by the names of the leaves around them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process, utils

from wearalike.catalog.taxonomy import Leaf, Taxonomy
from wearalike.tables import AgeGroup

# Shops and the taxonomy name two things at once: "Blouses & Shirts", "Юбки и шорты".
_NAME_SEPARATORS = re.compile(r"\s(?:and|und|et|y|e|i|и|or|или)\s|[,&/+;]", re.IGNORECASE)
# A name that is one of several keeps this share: "Shorts" are shorts, and less so
# "lounge trousers and shorts".
_ONE_OF_SEVERAL_FACTOR = 0.9
# The weight of the last part of a path; the parts before it have the rest of 1.
_LAST_PART_WEIGHT = 0.75
# A leaf for other people than the path names keeps this share of its score.
_OTHER_AUDIENCE_FACTOR = 0.7
# A leaf for children keeps this share where the path names nobody.
_UNNAMED_CHILD_FACTOR = 0.9
# A part this similar to "women", "men", "kids" or "newborn" names an audience.
_MIN_AUDIENCE_SIMILARITY = 0.8
# Leaves whose scores differ by less are hard to tell apart, and share the confidence. Measured on
# 265 lines that operators wrote: of guesses with a confidence of 0.8 or more, 98 % were theirs; of
# those between 0.4 and 0.6, 32 %.
_SCORE_RESOLUTION = 0.03


@dataclass(frozen=True, slots=True)
class CategoryWord:
    """A shop's word for a category, and whom its offers are for as the feed says.

    Attributes:
        word: As `category_word` returns it.
        gender: The one gender that the offers name; None: none, several, or unisex.
        age_group: The one age group that the offers name; None: none or several.
        offers_count: Offers with this word and audience.
        is_split: The word has offers for several genders, each with a line of its own.
    """

    word: str
    gender: str | None = None
    age_group: str | None = None
    offers_count: int = 0
    is_split: bool = False


@dataclass(frozen=True, slots=True)
class LeafGuess:
    """A leaf that a word may mean.

    Attributes:
        leaf_id: The leaf.
        confidence: 0..1, about the share of such guesses that are right.
    """

    leaf_id: str
    confidence: float


def guess_leaves(
    words: Iterable[str | CategoryWord], taxonomy: Taxonomy, count: int = 3
) -> list[list[LeafGuess]]:
    """Return the likeliest leaves for each category word of a shop.

    The last part of a path is compared with the names of the leaves in both languages. The parts
    before it ("Women", "Мужчинам > Обувь") are compared with the names of the categories around
    each leaf.

    Args:
        words: The words, as `category_word` returns them, or with the audience of their offers.
        taxonomy: The taxonomy.
        count: The number of guesses for each word.

    Returns:
        For each word `count` guesses, the surest first, equal ones in the order of the taxonomy.
    """
    leaves = list(taxonomy.leaves.values())
    guesses = []
    for entry in words:
        known = entry if isinstance(entry, CategoryWord) else CategoryWord(entry)
        parts = [part for part in known.word.split(">") if part.strip()] or [known.word]
        scores = _score_leaves(parts, leaves, known)
        # Only a leaf that stands out is a sure guess.
        weights = np.exp((scores - scores.max()) / _SCORE_RESOLUTION)
        confidences = _rate_of_right_guesses(scores) * weights / weights.sum()
        best = np.lexsort((np.arange(len(leaves)), -scores))[:count]
        guesses.append([LeafGuess(leaves[i].id, float(confidences[i])) for i in best])
    return guesses


def _rate_of_right_guesses(scores: np.ndarray) -> np.ndarray:
    """Return how often a leaf with such a score is right where no other comes near it, 0..1."""
    return np.maximum(0.2 * scores, 0.98 * np.clip((scores - 0.45) / 0.3, 0, 1))


def _score_leaves(parts: list[str], leaves: list[Leaf], known: CategoryWord) -> np.ndarray:
    """Return how well a path, root first, fits each leaf: float64 (leaves,), 0..1."""
    *before, last = parts
    scores = _last_part_similarity(last, [leaf.names for leaf in leaves])
    is_named = np.zeros(len(leaves), bool)
    if before:
        ancestor_names = [sum(leaf.ancestor_names, ()) for leaf in leaves]
        ancestor_scores = _name_similarity(before, ancestor_names).mean(axis=0)
        scores = _LAST_PART_WEIGHT * scores + (1 - _LAST_PART_WEIGHT) * ancestor_scores
        # The root categories are audiences.
        root_names = [leaf.ancestor_names[0] if leaf.ancestor_names else () for leaf in leaves]
        audience_scores = _name_similarity(before, root_names).max(axis=0)
        is_named = audience_scores > _MIN_AUDIENCE_SIMILARITY
    if not is_named.any():
        is_named = np.array([_is_for(leaf, known) for leaf in leaves])
    is_personal = np.array([bool(leaf.gender or leaf.age_group) for leaf in leaves])
    is_child = np.array([leaf.age_group not in (None, AgeGroup.ADULT) for leaf in leaves])
    if (is_personal & is_named).any():
        return np.where(is_personal & ~is_named, _OTHER_AUDIENCE_FACTOR, 1) * scores
    return np.where(is_child, _UNNAMED_CHILD_FACTOR, 1) * scores


def _is_for(leaf: Leaf, known: CategoryWord) -> bool:
    """Return True if the feed names an audience of the offers, and the leaf is for it."""
    if known.gender is None and known.age_group in (None, AgeGroup.ADULT):
        return False
    age_group = known.age_group or AgeGroup.ADULT
    is_same_age = (leaf.age_group or age_group) == age_group
    return is_same_age and known.gender in (None, leaf.gender or known.gender)


def _last_part_similarity(last: str, names: list[tuple[str, ...]]) -> np.ndarray:
    """Return how similar the last part of a path, or one of its things, is to each leaf's names.

    Args:
        last: The part: "Shirts", or several things: "Blouses & Shirts".
        names: The names of each leaf.

    Returns:
        float64 (leaves,), 0..1.
    """
    things = _split_names(last)
    scores = _name_similarity([last, *things], names)
    if len(things) > 1:
        scores[1:] *= _ONE_OF_SEVERAL_FACTOR
    return scores.max(axis=0)


def _split_names(name: str) -> list[str]:
    """Return the things that a name names: "hats and caps" are two."""
    return [piece for piece in map(str.strip, _NAME_SEPARATORS.split(name)) if piece]


def _name_similarity(parts: list[str], names: list[tuple[str, ...]]) -> np.ndarray:
    """Return how similar each part is to the nearest name of each leaf.

    The similarity of the letters is squared, so that one match outweighs two half matches. A name
    of two things ("hats and caps") counts as two names of less weight, too.

    Args:
        parts: Parts of a path.
        names: The names of each leaf; the similarity to none is 0.

    Returns:
        float64 (parts, leaves), 0..1.
    """
    groups = [
        [named for name in group for named in _weigh_names(name)] or [("", 1)] for group in names
    ]
    pieces, weights = zip(*(named for group in groups for named in group), strict=True)
    percents = process.cdist(
        parts, pieces, scorer=fuzz.ratio, processor=utils.default_process, dtype=np.float64
    )
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    return np.maximum.reduceat((percents / 100) ** 2 * weights, starts, axis=1)


def _weigh_names(name: str) -> list[tuple[str, float]]:
    """Return a leaf's name and, where it names several things, each of them with less weight."""
    things = _split_names(name)
    return [(name, 1), *((thing, _ONE_OF_SEVERAL_FACTOR) for thing in things if len(things) > 1)]
