"""Find the offers of a shop that are one article, and the evidence for it.

Shops that list a size an offer often give no group, and a parent may stand beside its variants. A
weak sign, such as a shared picture, joins offers only if nothing else about them differs but the
size: a picture of no goods is shared, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

# An article has no more sizes; a number or picture of more offers is not one article's.
MAX_SIZES = 60
_MIN_CODE_CHARS = 3
# Titles of fewer words name a kind of goods, not an article.
_MIN_TITLE_WORDS = 2
_MIN_TITLE_WORDS_WITHOUT_BRAND = 3
_MAX_PRICES = 2
_MAX_TITLES = 2

_LETTER_SIZE = r"\d?x{0,4}[sml]"
_SIZE_TOKEN = re.compile(
    r"(?<![\w'’])(?:(?:size|размер|розмір|größe|gr|rozmiar|rozm|beden|р|р-р)[\s.:]*)?"
    # Children's: a height with its name, an age with its unit.
    r"(?:(?:рост|зріст|height)[\s.:]*\d{2,3}(?:\s?-\s?\d{2,3})?"
    r"|\d{1,2}\s?-\s?\d{1,2}\s?(?:мес\w*|міс\w*|м|months?|m|ay|лет|года|років|years?|y|jahre|lat)"
    # Two systems at once, as 44/S; a bra's, as 75B.
    rf"|\d{{2}}\s?[/-]\s?{_LETTER_SIZE}|{_LETTER_SIZE}\s?[/-]\s?\d{{2}}|\d{{2}}[a-h]{{1,2}}"
    rf"|w\d{{2}}[\s/-]?l\d{{2}}|{_LETTER_SIZE}"
    r"|\d{2}(?:[.,]5)?(?:\s?[-/]\s?\d{2,3})?|\d{2}/\d{2}"
    r"|one\s?size|os)(?:\s?(?:eu|us|uk|ru|de|fr|it|cm|см))?(?![\w])",
    re.IGNORECASE,
)
# A size at the end of a number of an article: J-W28L32.
_SIZE_AT_END = re.compile(r"[-_/]?(w\d{2}[-_/]?l\d{2}|\d?x{0,4}[sml]|\d{2})$", re.IGNORECASE)
_NOT_WORDS = re.compile(r"[\W_]+")

ARTICLES_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("article_id", pa.string()),
        ("article_evidence", pa.list_(pa.string())),
    ]
)


class ArticleEvidence(StrEnum):
    """Signs by which offers are one article, the strongest first."""

    GROUP = "group"
    PARENT = "parent"
    GTIN = "gtin"
    VENDOR_CODE = "vendor_code"
    PICTURE = "picture"
    TITLE = "title"


_GROUPS_SQL = """
SELECT list(product_id ORDER BY product_id) FROM written
WHERE group_id IS NOT NULL GROUP BY lower(group_id) HAVING count(*) > 1 ORDER BY 1
"""
_OFFER_SQL = """
    product_id, offer_id, lower(title) AS title, lower(coalesce(brand, '')) AS brand,
    coalesce(nullif(array_to_string(category_ids, '|'), ''),
        nullif(array_to_string(category_paths, '|'), ''), google_category, '') AS category,
    coalesce(vendor_code, '') AS vendor_code, image_urls[1] AS picture, price_cents,
    array_to_string(sizes, '|') AS sizes, array_to_string(colours, '|') AS colours
"""
_PARENTS_SQL = f"""
WITH variant AS (
    SELECT {_OFFER_SQL}, lower(group_id) AS key FROM written WHERE group_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY lower(group_id) ORDER BY product_id) = 1
)
SELECT variant.key, {{columns}} FROM variant
WHERE key IN (SELECT lower(offer_id) FROM written WHERE group_id IS NULL)
UNION ALL
SELECT lower(offer_id) AS key, {_OFFER_SQL} FROM written
WHERE group_id IS NULL AND lower(offer_id) IN (SELECT key FROM variant)
ORDER BY key, product_id
"""
_COLUMNS = (
    "product_id, offer_id, title, brand, category, vendor_code, picture, price_cents, "
    "sizes, colours"
)
_KEYED_SQL = """
WITH keyed AS (SELECT {key} AS key, {offer} FROM {source})
SELECT key, {columns} FROM keyed
WHERE key IS NOT NULL AND key IN (SELECT key FROM keyed GROUP BY key HAVING count(*) > 1)
ORDER BY key, product_id
"""
_UNGROUPED = "(SELECT * FROM written WHERE group_id IS NULL)"
_SOURCES: dict[ArticleEvidence, tuple[str, str]] = {
    ArticleEvidence.GTIN: ("gtin", "(SELECT *, unnest(gtins) AS gtin FROM written)"),
    ArticleEvidence.VENDOR_CODE: (
        "lower(coalesce(brand, '')) || chr(10) || lower(vendor_code)",
        _UNGROUPED,
    ),
    ArticleEvidence.PICTURE: ("image_urls[1]", _UNGROUPED),
    # Only the first words: the titles are compared in Python.
    ArticleEvidence.TITLE: (
        "lower(coalesce(brand, '')) || chr(10) || array_to_string("
        "string_split(lower(title), ' ')[1:2], ' ') || chr(10) || price_cents",
        _UNGROUPED,
    ),
}


class _Listed(NamedTuple):
    """An offer as evidence sees it."""

    product_id: str
    offer_id: str
    title: str
    brand: str
    category: str
    vendor_code: str
    picture: str
    price_cents: int
    sizes: str
    colours: str

    @property
    def own_sizes(self) -> tuple[str, ...]:
        """Its sizes: of the feed, else those in its title or at the end of its id."""
        if self.sizes:
            return tuple(self.sizes.lower().split("|"))
        in_title = [match[0].strip() for match in _SIZE_TOKEN.finditer(self.title)]
        at_end = _SIZE_AT_END.search(self.offer_id)
        return tuple(in_title) or ((at_end[1].lower(),) if at_end else ())

    @property
    def stem(self) -> str:
        """Its title without its own id, number and sizes, and without what looks like a size."""
        text = _SIZE_TOKEN.sub(" ", self._bare_title)
        return " ".join(_NOT_WORDS.sub(" ", text).split())

    @property
    def strict_stem(self) -> str:
        """Its title without its own id, number and sizes."""
        return " ".join(_NOT_WORDS.sub(" ", self._bare_title).split())

    @property
    def _bare_title(self) -> str:
        text = self.title
        for own in (self.offer_id, self.vendor_code, *self.sizes.split("|")):
            if own:
                text = re.sub(rf"(?<!\w){re.escape(own.lower())}(?!\w)", " ", text)
        return text


class JoinedOffers:
    """Sets of offers that are one article, and the evidence of each offer."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self.evidence: dict[str, set[ArticleEvidence]] = {}

    def find(self, product_id: str) -> str:
        """Return the smallest id of an offer's article."""
        root = product_id
        while self._parents.get(root, root) != root:
            root = self._parents[root]
        while product_id != root:
            self._parents[product_id], product_id = root, self._parents.get(product_id, root)
        return root

    def join(self, product_ids: Iterable[str], evidence: ArticleEvidence) -> None:
        """Make offers one article."""
        ids = list(product_ids)
        roots = [self.find(ident) for ident in ids]
        smallest = min(roots)
        for ident, root in zip(ids, roots, strict=True):
            self._parents[root] = smallest
            self._parents.setdefault(ident, smallest)
            self.evidence.setdefault(ident, set()).add(evidence)


def find_articles(database: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return the article of each offer that is not alone.

    Args:
        database: It has a table `written` with the columns of tables.OFFERS, of one shop.

    Returns:
        ARTICLES_SCHEMA: product_id; article_id, the smallest product_id of the article; and its
        evidence, the strongest first.
    """
    articles = JoinedOffers()
    for (product_ids,) in database.execute(_GROUPS_SQL).fetchall():
        articles.join(product_ids, ArticleEvidence.GROUP)
    for offers in _iter_offers(database, _PARENTS_SQL.format(columns=_COLUMNS)):
        if len({offer.product_id for offer in offers}) > 1 and _is_parent(offers):
            articles.join((offer.product_id for offer in offers), ArticleEvidence.PARENT)
    for evidence, (key, source) in _SOURCES.items():
        sql = _KEYED_SQL.format(key=key, offer=_OFFER_SQL, source=source, columns=_COLUMNS)
        for offers in _iter_offers(database, sql):
            for joined in _CHECKS[evidence](offers):
                articles.join((offer.product_id for offer in joined), evidence)
    rows = [
        {
            "product_id": ident,
            "article_id": articles.find(ident),
            "article_evidence": [e for e in ArticleEvidence if e in found],
        }
        for ident, found in sorted(articles.evidence.items())
    ]
    return pa.Table.from_pylist(rows, ARTICLES_SCHEMA)


def count_evidence(articles: pa.Table) -> dict[str, int]:
    """Return how many offers each kind of evidence joined with others."""
    counts = Counter[str]()
    for found in articles["article_evidence"].to_pylist():
        counts.update(found)
    return {str(kind): counts[kind] for kind in ArticleEvidence if counts[kind]}


def _iter_offers(database: duckdb.DuckDBPyConnection, sql: str) -> Iterator[list[_Listed]]:
    """Yield the offers that share a key, one key after another."""
    rows = database.execute(sql)

    def iter_rows() -> Iterator[tuple[Any, ...]]:
        while batch := rows.fetchmany(10_000):
            yield from batch

    for _, group in groupby(iter_rows(), key=lambda row: row[0]):
        yield [_Listed(*row[1:]) for row in group]


def _is_parent(offers: list[_Listed]) -> bool:
    """Tell if an offer whose id is a group's name is the parent of the group, not a namesake."""
    first = offers[0]
    if len({offer.brand for offer in offers if offer.brand}) > 1:
        return False
    if all(offer.picture == first.picture for offer in offers):
        return True
    stems = [offer.stem for offer in offers]
    shortest = min(stems, key=len)
    return bool(shortest) and all(stem.startswith(shortest) for stem in stems)


def _join_by_gtin(offers: list[_Listed]) -> Iterator[list[_Listed]]:
    """Yield offers of one global number; a number of many titles was made up."""
    if len({offer.stem for offer in offers}) <= _MAX_TITLES:
        yield offers


def _join_by_code(offers: list[_Listed]) -> Iterator[list[_Listed]]:
    """Yield offers of one maker, category and maker's number."""
    code = _NOT_WORDS.sub("", offers[0].vendor_code)
    if len(code) < _MIN_CODE_CHARS or len(offers) > MAX_SIZES:
        return
    yield from _split(offers, lambda offer: (offer.category,))


def _join_by_picture(offers: list[_Listed]) -> Iterator[list[_Listed]]:
    """Yield offers of one picture that differ by their sizes only."""
    for alike in _split(offers, lambda offer: (offer.brand, offer.category, offer.stem)):
        if _are_sizes(alike) or _are_same(alike):
            yield alike


def _join_by_title(offers: list[_Listed]) -> Iterator[list[_Listed]]:
    """Yield offers of one title and price that differ by their sizes only."""
    sized = [offer for offer in offers if offer.sizes]
    for alike in _split(sized, lambda offer: (offer.category, offer.strict_stem, offer.colours)):
        codes = {offer.vendor_code for offer in alike if offer.vendor_code}
        words = len(alike[0].strict_stem.split())
        needed = _MIN_TITLE_WORDS if alike[0].brand else _MIN_TITLE_WORDS_WITHOUT_BRAND
        is_named = words >= needed and len(codes) <= 1
        if is_named and _are_sizes(alike):
            yield alike


_CHECKS = {
    ArticleEvidence.GTIN: _join_by_gtin,
    ArticleEvidence.VENDOR_CODE: _join_by_code,
    ArticleEvidence.PICTURE: _join_by_picture,
    ArticleEvidence.TITLE: _join_by_title,
}


def _split(
    offers: list[_Listed], key: Callable[[_Listed], tuple[str, ...]]
) -> Iterator[list[_Listed]]:
    """Yield the offers that agree in a key, two or more of them."""
    parts: dict[tuple[str, ...], list[_Listed]] = {}
    for offer in offers:
        parts.setdefault(key(offer), []).append(offer)
    yield from (part for part in parts.values() if len(part) > 1)


def _are_sizes(offers: list[_Listed]) -> bool:
    """Tell if each offer is another size."""
    sizes = [offer.own_sizes for offer in offers]
    is_one_each = all(len(own) == 1 for own in sizes)
    return is_one_each and len(set(sizes)) == len(sizes) <= MAX_SIZES


def _are_same(offers: list[_Listed]) -> bool:
    """Tell if offers agree in all but their ids; a title of one word is no name."""
    prices = {offer.price_cents for offer in offers}
    titles = {offer.title for offer in offers}
    return (
        len(prices) <= _MAX_PRICES
        and len(titles) == 1
        and len(offers[0].stem.split()) >= _MIN_TITLE_WORDS
    )
