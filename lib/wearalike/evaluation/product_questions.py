"""Questions about products: is the same one found again, in another view or another colour?

| measure | the query finds | left out of the gallery |
|---|---|---|
| recall product | another picture of its product | itself |
| recall sibling | its article in another colour | its product, all of its colour word |
| pattern | pictures of its pattern, which is not plain | its article, unknown patterns |

Recall@k is 1 for a query whose first right answer is among the first k, else 0. Equal distances
share their ranks: a right answer stands in the middle of those as far away as it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation import distances
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.evaluation.rank import PATTERN_LABEL, QueryGallerySplit, nearest_positions
from wearalike.metrics import retrieval

RECALL_KS = (1, 10, 20)
PRODUCT_RECALL, SIBLING_RECALL = "recall product", "recall sibling"
# A query of these patterns is not asked: most of the gallery would be right.
PLAIN_PATTERNS = frozenset({"plain", "solid", "none", "однотонный"})
# A pattern with fewer queries has no line of its own.
_MIN_PATTERN_QUERIES = 20

# Questions that have a first right answer, in words.
RANKED_QUESTIONS = {PRODUCT_RECALL: "same product", SIBLING_RECALL: "same article, other colour"}


@dataclass(frozen=True, slots=True)
class QuestionAnswers:
    """How an encoder answered a question.

    Attributes:
        values: float64 (q,), 0..1, by measure and cut-off rank.
        ranks: float64 (q,). Rank of each query's first right answer, from 0; None for precision.
    """

    values: dict[tuple[str, int], NDArray[np.float64]]
    ranks: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One question over a labelled set.

    Attributes:
        measure: Name of its measure.
        queries: int64 (q,). Rows that ask: those with a right answer.
        gallery: int64 (g,). Rows that are searched.
        is_relevant: Which answers are right: bool (b, g) of int64 (b,) rows that ask.
        is_left_out: Which rows are no answers: the same.
    """

    measure: str
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    is_relevant: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    is_left_out: Callable[[NDArray[np.int64]], NDArray[np.bool_]]


def product_gallery(query_gallery: QueryGallerySplit) -> NDArray[np.int64]:
    """Return the photos that questions about products search.

    A product has all its pictures in one split, so every split is searched.

    Args:
        query_gallery: Queries and gallery.

    Returns:
        int64 (g,). Rows of the set, ascending.
    """
    if query_gallery.labelled.query_ids is not None:
        return query_gallery.gallery
    return np.arange(len(query_gallery.labelled.photos))


def list_questions(query_gallery: QueryGallerySplit) -> list[Question]:
    """List the questions that a set can answer.

    Args:
        query_gallery: Queries and gallery.

    Returns:
        Questions with at least one query.
    """
    labelled = query_gallery.labelled
    gallery = product_gallery(query_gallery)
    makers = (_product_question, _sibling_question, _pattern_question)
    questions = [make(labelled, query_gallery.queries, gallery) for make in makers]
    return [question for question in questions if len(question.queries)]


def measure_question(
    question: Question,
    rows: FeatureRows,
    floats: FloatCodes | None,
    distance: str,
    ks: Sequence[int],
) -> QuestionAnswers:
    """Ask a question by one distance.

    Args:
        question: The question.
        rows: Row i describes photo i.
        floats: Float rows of shape and colour, for the distances that need them.
        distance: Name of the distance.
        ks: Cut-off ranks of precision; recall has RECALL_KS.

    Returns:
        The answers.
    """
    count = len(question.queries)
    is_recall = question.measure != PATTERN_LABEL
    ranks = np.full(count, np.nan)
    values = {(question.measure, k): np.full(count, np.nan) for k in ks}
    blocks = distances.iterate_distances(rows, floats, distance, question.queries, question.gallery)
    for at, block in blocks:
        asking = question.queries[at]
        is_left_out = question.is_left_out(asking)
        is_relevant = question.is_relevant(asking) & ~is_left_out
        if is_recall:
            ranks[at] = retrieval.first_relevant_rank(block, is_relevant, is_left_out)
            continue
        for k in ks:
            values[question.measure, k][at] = retrieval.tied_precision(
                block, is_relevant, is_left_out, k
            )
    if is_recall:
        recalls = {(question.measure, k): retrieval.recall(ranks, k) for k in RECALL_KS}
        return QuestionAnswers(recalls, ranks)
    return QuestionAnswers(values)


def rank_answers(
    question: Question,
    rows: FeatureRows,
    floats: FloatCodes | None,
    distance: str,
    asking: NDArray[np.int64],
    k: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Return the first answers of a few queries, to show them.

    Args:
        question: The question.
        rows: Row i describes photo i.
        floats: Float rows of shape and colour, for the distances that need them.
        distance: Name of the distance.
        asking: int64 (b,). Rows of the set that ask.
        k: Number of answers.

    Returns:
        For each query rows of the set, nearest first, and which of them are right.
    """
    answers = []
    blocks = distances.iterate_distances(rows, floats, distance, asking, question.gallery)
    for at, block in blocks:
        is_left_out = question.is_left_out(asking[at])
        is_relevant = question.is_relevant(asking[at]) & ~is_left_out
        far = np.where(is_left_out, np.inf, block)
        for row, relevant in zip(far, is_relevant, strict=True):
            (order,) = nearest_positions(row[None], k)
            order = order[np.isfinite(row[order])]
            answers.append((question.gallery[order], relevant[order]))
    return answers


def pattern_words(question: Question, labelled: LabelledDataset) -> dict[str, NDArray[np.bool_]]:
    """Return the queries of each pattern that has enough of them.

    Args:
        question: The question about patterns.
        labelled: The labelled set.

    Returns:
        bool (q,) by the pattern's word, the most frequent first.
    """
    words = np.array([labelled.photos[i].labels[PATTERN_LABEL] for i in question.queries.tolist()])
    names, counts = np.unique(words, return_counts=True)
    frequent_first = np.lexsort([names, -counts])
    return {
        str(names[i]): words == names[i]
        for i in frequent_first.tolist()
        if counts[i] >= _MIN_PATTERN_QUERIES
    }


def _product_question(
    labelled: LabelledDataset, queries: NDArray[np.int64], gallery: NDArray[np.int64]
) -> Question:
    """Return the question for another picture of the same product."""
    products = labelled.products

    def is_relevant(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _is_same(products, asking, gallery)

    def is_left_out(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return asking[:, None] == gallery

    return _answerable(Question(PRODUCT_RECALL, queries, gallery, is_relevant, is_left_out))


def _sibling_question(
    labelled: LabelledDataset, queries: NDArray[np.int64], gallery: NDArray[np.int64]
) -> Question:
    """Return the question for the same article in another colour."""
    groups, products = labelled.groups, labelled.products
    colours = labelled.class_ids("colour")

    def is_relevant(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _is_same(groups, asking, gallery)

    def is_left_out(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_own = (asking[:, None] == gallery) | _is_same(products, asking, gallery)
        return is_own | _is_same(colours, asking, gallery)

    return _answerable(Question(SIBLING_RECALL, queries, gallery, is_relevant, is_left_out))


def _pattern_question(
    labelled: LabelledDataset, queries: NDArray[np.int64], gallery: NDArray[np.int64]
) -> Question:
    """Return the question for pictures of the same pattern, among those whose pattern is known."""
    groups, patterns = labelled.groups, labelled.class_ids(PATTERN_LABEL)
    known = gallery[patterns[gallery] >= 0]
    words = [labelled.photos[i].labels.get(PATTERN_LABEL, "") for i in queries.tolist()]
    is_asked = [bool(word) and word.casefold() not in PLAIN_PATTERNS for word in words]

    def is_relevant(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return _is_same(patterns, asking, known)

    def is_left_out(asking: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (asking[:, None] == known) | _is_same(groups, asking, known)

    asking = queries[np.array(is_asked, bool)]
    return _answerable(Question(PATTERN_LABEL, asking, known, is_relevant, is_left_out))


def _is_same(
    numbers: NDArray[np.int64], asking: NDArray[np.int64], gallery: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which rows of the gallery share the known number of each row that asks."""
    own = numbers[asking]
    return (own[:, None] == numbers[gallery]) & (own >= 0)[:, None]


def _answerable(question: Question) -> Question:
    """Return the question with only those queries that have a right answer."""
    has_answer = np.zeros(len(question.queries), bool)
    for start in range(0, len(question.queries), distances.BLOCK_ROWS):
        asking = question.queries[start : start + distances.BLOCK_ROWS]
        is_right = question.is_relevant(asking) & ~question.is_left_out(asking)
        has_answer[start : start + len(asking)] = is_right.any(axis=1)
    return Question(
        question.measure,
        question.queries[has_answer],
        question.gallery,
        question.is_relevant,
        question.is_left_out,
    )
