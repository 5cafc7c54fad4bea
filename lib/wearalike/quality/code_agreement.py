"""Agreement of codes with the shops' own words: are near codes of one category, of one colour?

Lists alone do not tell spoilt pictures: the kind of a product counts in the distance, so that lists
of shuffled pictures still hold the right categories. The codes know nothing of words. So their
nearest neighbours share a word more often than a blind draw only if pictures, codes and products
belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wearalike.quality.metrics import Metric

# Neighbours of a code that are looked at.
NEIGHBOURS = 5
# Products of a group that are compared with each other: its first ones by a hash of their ids.
MAX_GROUP_PRODUCTS = 1000
# A smaller group has too few neighbours.
MIN_GROUP_PRODUCTS = 20
# Products of a group that must share a word; a shop may give each thing a colour of its own.
MIN_WORD_PRODUCTS = 5
# A scope with fewer queries is not judged: chance would do it.
MIN_QUERIES = 50

# One product an article: its sizes and colours may show the same pictures.
_CODED_PRODUCTS_SQL = """
WITH coded AS (
    SELECT p.product_id, p.shop_id, p.super_category, p.category,
        lower(p.colours[1]) AS colour_word, e.shape, e.colour,
        coalesce(model_key(p.article_id, p.shop_id, p.group_id), p.product_id) AS model
    FROM indexes e JOIN products p USING (product_id)),
articles AS (
    SELECT *, hash(product_id) AS place FROM coded
    QUALIFY row_number() OVER (PARTITION BY shop_id, super_category, model ORDER BY product_id) = 1)
SELECT * FROM articles
QUALIFY row_number() OVER (PARTITION BY shop_id, super_category ORDER BY place, product_id) <= $most
ORDER BY shop_id, super_category, place, product_id
"""

# The word that each half of the code should agree with, and how an operator reads it.
_WORD_OF_CODE = {"shape": "category", "colour": "colour_word"}
_WORD_NAMES = {"category": "category", "colour_word": "colour word"}


@dataclass(frozen=True, slots=True)
class WordAgreement:
    """How often the neighbours of products share their word.

    Attributes:
        found: Mean share of neighbours with the product's word, 0..1.
        chance: The same of a blind draw from the group.
        queries_count: Number of products that were asked.
    """

    found: float
    chance: float
    queries_count: int

    @property
    def beyond_chance(self) -> float:
        """The part of what chance leaves that is found: 0 is chance, 1 is perfect (kappa)."""
        return (self.found - self.chance) / (1 - self.chance)


def agreement_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """Compute how well the codes agree with words, by shop and super-category.

    shape_agreement_ratio: the nearest products by the code of shape share the leaf category.
    colour_agreement_ratio: the nearest by the code of colour share the feed's first colour word.
    Both are counted within a shop and super-category, beyond chance: 0 is a blind draw, 1 perfect.

    halves_lead_ratio: the mean of what the right half of the code finds more than the other half.
    It is below 0 where the codes of shape and colour are exchanged.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        Metrics of scopes with enough products; with notes that tell both shares.
    """
    frame = con.execute(_CODED_PRODUCTS_SQL, {"most": MAX_GROUP_PRODUCTS}).df()
    answers = pd.concat([_EMPTY_ANSWERS, *_iter_answers(frame)], ignore_index=True)
    metrics = []
    leads = []
    for code, word in _WORD_OF_CODE.items():
        of_word = answers[answers["word"] == word]
        right = of_word[of_word["code"] == code]
        for scope, rows in _iter_scopes(right):
            agreement = _summarise(rows)
            if agreement.queries_count < MIN_QUERIES:
                continue
            note = (
                f"{scope}: of the {NEIGHBOURS} nearest by {code} {agreement.found:.0%} share the"
                f" {_WORD_NAMES[word]}, of a blind draw {agreement.chance:.0%}"
            )
            metrics.append(
                Metric(
                    f"{code}_agreement_ratio", scope, agreement.beyond_chance, "ratio", note=note
                )
            )
            if scope == "all":
                other = _summarise(of_word[of_word["code"] != code])
                leads.append(agreement.beyond_chance - other.beyond_chance)
    if leads:
        lead = float(np.mean(leads))
        note = f"the right half of the code finds {lead:+.0%} more than the other half"
        metrics.append(Metric("halves_lead_ratio", "all", lead, "ratio", note=note))
    return metrics


_EMPTY_ANSWERS = pd.DataFrame(
    {name: [] for name in ("shop_id", "super_category", "code", "word", "found", "chance")}
).astype({"found": float, "chance": float})


def _iter_answers(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield for each group, code and word the shares of each product of the group."""
    for (shop_id, super_category), group in frame.groupby(["shop_id", "super_category"]):
        for word in _WORD_OF_CODE.values():
            rows = group[group.groupby(word)[word].transform("size") >= MIN_WORD_PRODUCTS]
            if len(rows) < MIN_GROUP_PRODUCTS or rows[word].nunique() < 2:
                continue
            labels = pd.factorize(rows[word])[0]
            counts = np.bincount(labels)[labels]
            for code in _WORD_OF_CODE:
                nearest = find_neighbours(_code_words(rows[code]), NEIGHBOURS)
                yield pd.DataFrame(
                    {
                        "shop_id": shop_id,
                        "super_category": super_category,
                        "code": code,
                        "word": word,
                        "found": (labels[nearest] == labels[:, None]).mean(axis=1),
                        "chance": (counts - 1) / (len(rows) - 1),
                    }
                )


def find_neighbours(codes: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Return the nearest other rows of each row; of equal distances the first rows.

    Args:
        codes: uint64 (n, words), n > count.
        count: Neighbours a row.

    Returns:
        int64 (n, count), in no order.
    """
    n = len(codes)
    distances = np.zeros((n, n), np.int64)
    for words in codes.T:
        distances += np.bitwise_count(words[:, None] ^ words[None, :])
    keys = distances * n + np.arange(n)
    np.fill_diagonal(keys, np.iinfo(np.int64).max)
    return np.argpartition(keys, count - 1, axis=1)[:, :count]


def _code_words(codes: pd.Series) -> NDArray[np.uint64]:
    """Return codes of 16 bytes as uint64 (n, 2)."""
    return np.frombuffer(b"".join(map(bytes, codes)), np.uint64).reshape(len(codes), -1)


def _iter_scopes(answers: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all answers, then those of each shop and of each super-category."""
    yield "all", answers
    for column, prefix in (("shop_id", "shop"), ("super_category", "super_category")):
        for value, rows in answers.groupby(column):
            yield f"{prefix}={value}", rows


def _summarise(answers: pd.DataFrame) -> WordAgreement:
    if not len(answers):
        return WordAgreement(0.0, 0.0, 0)
    means = answers[["found", "chance"]].mean()
    return WordAgreement(float(means["found"]), float(means["chance"]), len(answers))
