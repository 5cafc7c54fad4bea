"""Draft the lines that a mapping lacks: for each word of the shop its likeliest leaves.

A line of a draft is a comment until an operator uncomments it, or accepts all lines from some
confidence on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.catalog.configuration import (
    mapping_path,
    read_google_defaults,
    read_taxonomy_and_mappings,
)
from wearalike.catalog.leaf_guesses import CategoryWord, guess_leaves
from wearalike.catalog.map_offers import CategoryReason, map_offers, unmapped_words
from wearalike.catalog.mapping import ShopMapping
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.settings import Settings
from wearalike.tables import Gender

# A guess with less confidence stands in the comment, but not in the line.
_MIN_CONFIDENCE = 0.3


def draft_mapping(
    shop_id: str,
    words: Iterable[tuple[str, int] | CategoryWord],
    taxonomy: Taxonomy,
    min_confidence: float | None = None,
) -> str:
    """Return a mapping file for category words.

    Args:
        shop_id: The shop.
        words: (word, offers), as `unmapped_words` returns them, or words with their audience.
        taxonomy: The taxonomy.
        min_confidence: 0..1. Lines whose first guess is as sure are active. None: all lines are
            comments.

    Returns:
        XML, with a comment of the likeliest leaves before each line.
    """
    known = [
        w if isinstance(w, CategoryWord) else CategoryWord(w[0], None, None, w[1]) for w in words
    ]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<mapping shop={quoteattr(shop_id)}>"]
    for word, guesses in zip(known, guess_leaves(known, taxonomy), strict=True):
        shown = [f"{g.leaf_id} {g.confidence:.0%}" for g in guesses if g.confidence >= 0.005]
        best = guesses[0]
        leaf_id = best.leaf_id if best.confidence >= _MIN_CONFIDENCE else ""
        line = format_map_line(word.word, leaf_id, word.gender if word.is_split else None)
        is_active = min_confidence is not None and best.confidence >= min_confidence and leaf_id
        lines.append(f"  <!-- {word.offers_count:,} offers: {', '.join(shown) or 'no guess'} -->")
        lines.append(f"  {line}" if is_active else f"  <!-- {line} -->")
    return "\n".join([*lines, "</mapping>", ""])


def draft_shop_mapping(
    settings: Settings, shop_id: str, offers: pa.Table, min_confidence: float | None = None
) -> str:
    """Return a draft for the category words that a shop's mapping does not know.

    Args:
        settings: The settings; the shop may have a mapping or none.
        shop_id: The shop.
        offers: tables.OFFERS, of this shop or of several.
        min_confidence: See `draft_mapping`.

    Returns:
        XML, as `draft_mapping` returns it.

    Raises:
        ValueError: None of the offers is of this shop.
        BadMapping: The taxonomy or the shop's mapping has mistakes.
    """
    path = mapping_path(settings, shop_id)
    # `suggest-mapping SHOP > mappings/shops/SHOP.xml` has emptied the file before it is read.
    is_empty = path.is_file() and not path.stat().st_size
    taxonomy, mappings = read_taxonomy_and_mappings(settings, [] if is_empty else [shop_id])
    offers = offers.filter(pc.field("shop_id") == shop_id)
    if not offers.num_rows:
        raise ValueError(f"shop {shop_id!r}: no offers in this run, so no words to suggest for")
    mapping = mappings.get(shop_id, ShopMapping(shop_id))
    _, refused = map_offers(offers, mapping, taxonomy, read_google_defaults(settings))
    return draft_mapping(shop_id, _add_audiences(refused, offers), taxonomy, min_confidence)


def _add_audiences(refused: pa.Table, offers: pa.Table) -> list[CategoryWord]:
    """Return the unmapped words by count, split by gender where the feed names several."""
    audience_of = dict(
        zip(
            offers["product_id"].to_pylist(),
            zip(offers["gender"].to_pylist(), offers["age_group"].to_pylist(), strict=True),
            strict=True,
        )
    )
    counts: dict[str, Counter[tuple[str | None, str | None]]] = defaultdict(Counter)
    is_unmapped = pc.equal(refused["reason"], CategoryReason.UNMAPPED_CATEGORY.value)
    unmapped = refused.filter(is_unmapped)
    for word, key in zip(unmapped["detail"].to_pylist(), unmapped["key"].to_pylist(), strict=True):
        gender, age_group = audience_of[key]
        counts[word][None if gender == Gender.UNISEX else gender, age_group] += 1
    found: list[CategoryWord] = []
    for word, offers_count in unmapped_words(refused):
        ages = {age for _, age in counts[word]}
        age_group = ages.pop() if len(ages) == 1 else None
        genders = Counter[str | None]()
        for (gender, _), count in counts[word].items():
            genders[gender] += count
        if None in genders or len(genders) == 1:
            gender = None if len(genders) > 1 else next(iter(genders))
            found.append(CategoryWord(word, gender, age_group, offers_count))
            continue
        found += [
            CategoryWord(word, gender, age_group, count, is_split=True)
            for gender, count in genders.most_common()
        ]
    return found


def format_map_line(word: str, leaf_id: str = "", gender: str | None = None) -> str:
    """Return the line that maps a category word to a leaf.

    The line may stand in a comment, where "--" may not: it writes the second dash as a reference.

        >>> format_map_line("Women > Dresses", "women.dresses")
        '<map path="Women > Dresses" to="women.dresses"/>'

    Args:
        word: The word, as `unmapped_words` returns it.
        leaf_id: The leaf; "" to leave it open.
        gender: The line is for offers of this gender alone; None: for all.
    """
    name, value = ("id", word[1:]) if word.startswith("#") else ("path", word)
    quoted = quoteattr(value).replace("&gt;", ">").replace("--", "-&#45;")
    condition = f" gender={quoteattr(gender)}" if gender else ""
    return f"<map {name}={quoted}{condition} to={quoteattr(leaf_id)}/>"
