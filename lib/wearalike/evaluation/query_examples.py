"""The best and worst queries of an encoder, with what they found, to be shown on the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import COMPOUND_LABELS, LabelledDataset
from wearalike.evaluation import product_questions, rank
from wearalike.evaluation.extract import ExtractedFeatures
from wearalike.evaluation.product_questions import Question
from wearalike.evaluation.rank import PATTERN_LABEL, QueryGallerySplit

# Labels that examples are judged by, the hardest first; a set's first one of these is used.
_EXAMPLE_LABELS = ("both", "type+gender", "type")


@dataclass(frozen=True, slots=True)
class QueryExample:
    """A query and its results, best first.

    Attributes:
        dataset: Name of the labelled set.
        encoder: Version of the descriptor.
        distance: Distance that it ranks by.
        label: Label or question that tells if a result is relevant.
        value: Relevance of the results, 0..1; for a question the rank of the first right one.
        query: Path of the photo, and its label.
        results: The same of each result.
        is_relevant: True for each result that shares the label.
        is_best: True for one of the best queries, False for one of the worst.
    """

    dataset: str
    encoder: str
    distance: str
    label: str
    value: float
    query: tuple[Path, str]
    results: tuple[tuple[Path, str], ...]
    is_relevant: tuple[bool, ...]
    is_best: bool

    @property
    def note(self) -> str:
        """Text beside the query."""
        if self.label in product_questions.RANKED_QUESTIONS.values():
            return f"first right one at rank {self.value:,.0f}"
        return f"relevance {self.value:.2f}"


def label_examples(
    query_gallery: QueryGallerySplit,
    encoder: str,
    distance: str,
    ranking: NDArray[np.int64],
    count: int,
) -> list[QueryExample]:
    """Choose the best and the worst queries by relevance; a seed decides among equals.

    Args:
        query_gallery: Queries and gallery.
        encoder: Version of the descriptor.
        distance: Distance that it ranks by.
        ranking: int64 (q, k), as rank.rank_gallery returns it.
        count: Number of queries of either kind.

    Returns:
        The best, best first, then the worst, worst first; none without a label.
    """
    labelled = query_gallery.labelled
    names = [name for name in labelled.label_names if name != PATTERN_LABEL]
    if not names:
        return []
    label = next((name for name in _EXAMPLE_LABELS if name in names), names[0])
    metrics = rank.compute_retrieval_metrics(query_gallery, ranking, ranking.shape[1])
    values = metrics[f"relevance {label}"]
    classes = labelled.class_ids(label)

    def example(query: int, is_best: bool) -> QueryExample:
        row = int(query_gallery.queries[query])
        results = [result for result in ranking[query].tolist() if result >= 0]
        return QueryExample(
            dataset=labelled.name,
            encoder=encoder,
            distance=distance,
            label=label,
            value=float(values[query]),
            query=_captioned(labelled, row, label),
            results=tuple(_captioned(labelled, result, label) for result in results),
            is_relevant=tuple(bool(classes[result] == classes[row]) for result in results),
            is_best=is_best,
        )

    best, worst = _extremes(values, count)
    return [example(q, True) for q in best] + [example(q, False) for q in worst]


def question_examples(
    question: Question,
    ranks: NDArray[np.float64],
    labelled: LabelledDataset,
    encoder: str,
    features: ExtractedFeatures,
    distance: str,
    shown: tuple[int, int],
) -> list[QueryExample]:
    """Choose the queries whose first right answer stands best, and those where it stands worst.

    Args:
        question: A question about products.
        ranks: float64 (q,). Rank of each query's first right answer, from 0.
        labelled: The labelled set.
        encoder: Version of the descriptor.
        features: Its rows.
        distance: Distance that it ranks by.
        shown: Number of queries of either kind, and of their answers.

    Returns:
        The best, best first, then the worst, worst first.
    """
    best, worst = _extremes(-ranks, shown[0])
    asked = [*best, *worst]
    answers = product_questions.rank_answers(
        question, features.rows, features.floats, distance, question.queries[asked], shown[1]
    )
    return [
        QueryExample(
            dataset=labelled.name,
            encoder=encoder,
            distance=distance,
            label=product_questions.RANKED_QUESTIONS[question.measure],
            value=float(ranks[query]) + 1,
            query=_captioned(labelled, int(question.queries[query])),
            results=tuple(_captioned(labelled, row) for row in rows.tolist()),
            is_relevant=tuple(is_right.tolist()),
            is_best=number < len(best),
        )
        for number, (query, (rows, is_right)) in enumerate(zip(asked, answers, strict=True))
    ]


def _extremes(values: NDArray[np.float64], count: int) -> tuple[list[int], list[int]]:
    """Return where the highest values stand, and the lowest; a seed decides among equals."""
    order = np.lexsort([np.random.default_rng(0).permutation(len(values)), -values])
    order = order[~np.isnan(values[order])]
    return order[:count].tolist(), order[::-1][:count].tolist()


def _captioned(labelled: LabelledDataset, row: int, label: str = "") -> tuple[Path, str]:
    """Return a photo's path and what is written below it: its label, or what is known of it."""
    photo = labelled.photos[row]
    if label:
        parts = COMPOUND_LABELS.get(label, (label,))
        return photo.path, ", ".join(photo.labels.get(part, "?") for part in parts)
    known = (photo.labels.get("type"), photo.labels.get("colour"), photo.view)
    return photo.path, ", ".join(filter(None, known))
