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
from wearalike.catalog.mapping import Mapping, read_all
from wearalike.catalog.taxonomy import Leaf, Rubricator
from wearalike.settings import Settings
from wearalike.tables import AgeGroup

_JOINTS = re.compile(r" and | и |,")
# How much a path's last part counts against the parts before it.
_LAST_RATIO = 0.75
# What is left of a leaf for others than the path says, and of a leaf for children where it says nothing.
_OTHERS_RATIO, _CHILD_RATIO = 0.7, 0.9
# So alike to "women", "men", "kids" or "newborn" a part has to be to say for whom.
_SAID_RATIO = 0.8
# A guess less sure is told, but not written into the line.
_LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Guess:
    """A leaf's id and how sure we are, 0..1, bigger is surer."""

    leaf_id: str
    confidence: float


def best_guesses(words: Iterable[str], rubricator: Rubricator, count: int = 3) -> list[list[Guess]]:
    """For each word the `count` likeliest leaves, surest first, ties in the rubricator's order.

    The last part of a path is held against the leaves' names in both languages, the parts before it ("Women", "Мужчинам > Обувь")
    against the names of the categories a leaf is in.
    """
    leaves = list(rubricator.leaves.values())
    best = []
    for word in words:
        scores = _scores([part for part in word.split(">") if part.strip()] or [word], leaves)
        best.append(
            [
                Guess(leaves[i].id, float(scores[i]))
                for i in np.argsort(-scores, kind="stable")[:count]
            ]
        )
    return best


def _scores(parts: list[str], leaves: list[Leaf]) -> np.ndarray:
    """float64 (len(leaves),), 0..1: how well the parts of a path, root first, fit each leaf."""
    *before, last = parts
    scores = _alike([last], [leaf.names for leaf in leaves])[0]
    is_said = np.zeros(len(leaves), bool)
    if before:
        around = _alike(
            before, [tuple(name for names in leaf.around for name in names) for leaf in leaves]
        ).mean(axis=0)
        scores = _LAST_RATIO * scores + (1 - _LAST_RATIO) * around
        is_said = (
            _alike(before, [leaf.around[0] if leaf.around else () for leaf in leaves]).max(axis=0)
            > _SAID_RATIO
        )
    is_personal = np.array([bool(leaf.gender or leaf.age_group) for leaf in leaves])
    is_child = np.array([leaf.age_group not in (None, AgeGroup.ADULT) for leaf in leaves])
    if (is_personal & is_said).any():
        return np.where(is_personal & ~is_said, _OTHERS_RATIO, 1) * scores
    return np.where(is_child, _CHILD_RATIO, 1) * scores


def _alike(parts: list[str], names: list[tuple[str, ...]]) -> np.ndarray:
    """float64 (len(parts), len(names)), 0..1: how alike a part is to the nearest of each leaf's names, 0 for a leaf without.

    The square of the letters' likeness, so that one name met outweighs two half met. A name of two things is also two names.
    """
    groups = [
        [piece for name in group for piece in (name, *_JOINTS.split(name))] or [""]
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


def suggest(shop_id: str, words: Iterable[tuple[str, int]], rubricator: Rubricator) -> str:
    """A mapping file for these (word, offers), as `unmapped_words` gives them: every line commented out, with the likeliest leaves."""
    words = list(words)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<mapping shop={quoteattr(shop_id)}>"]
    for (word, count), guesses in zip(
        words, best_guesses([word for word, _ in words], rubricator), strict=True
    ):
        told = (
            ", ".join(
                f"{guess.leaf_id} {guess.confidence:.0%}"
                for guess in guesses
                if guess.confidence > 0
            )
            or "no guess"
        )
        to = guesses[0].leaf_id if guesses[0].confidence >= _LEAST_CONFIDENCE else ""
        lines += [f"  <!-- {count:,} offers: {told} -->", f"  <!-- {map_line(word, to)} -->"]
    return "\n".join([*lines, "</mapping>", ""])


def suggest_for(settings: Settings, shop_id: str, offers: pa.Table) -> str:
    """A draft for those words of the shop that its mapping, if it has one, does not know. offers: tables.OFFERS, of this shop or of more.

    Raises ValueError where none of the offers is the shop's, BadMapping where an operator's file has mistakes.
    """
    rubricator, mappings = read_all(settings, [shop_id])
    offers = offers.filter(pc.field("shop_id") == shop_id)
    if not offers.num_rows:
        raise ValueError(f"shop {shop_id!r}: no offers in this run, so no words to suggest for")
    _, refused = map_offers(offers, mappings.get(shop_id, Mapping(shop_id)), rubricator)
    return suggest(shop_id, unmapped_words(refused), rubricator)


def map_line(word: str, to: str = "") -> str:
    """The line that maps a word, as `unmapped_words` gives it, to a leaf. It may stand in a comment, where "--" may not."""
    name, value = ("id", word[1:]) if word.startswith("#") else ("path", word)
    quoted = quoteattr(value).replace("&gt;", ">").replace("--", "-&#45;")
    return f"<map {name}={quoted} to={quoteattr(to)}/>"
