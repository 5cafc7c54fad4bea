"""Compare descriptors on one labelled set: metrics, paired differences, queries and examples.

Labels are asked among the pictures of other articles. Questions about products have their own
galleries (`product_questions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.evaluation import distances, product_questions, rank, shop_lists
from wearalike.evaluation.distinct_codes import (
    DISTINCT_CODES,
    DISTINCT_WEIGHTS,
    distinct_code_values,
)
from wearalike.evaluation.extract import ExtractedFeatures
from wearalike.evaluation.product_questions import Question
from wearalike.evaluation.query_examples import QueryExample, label_examples, question_examples
from wearalike.evaluation.rank import PATTERN_LABEL, QueryGallerySplit
from wearalike.evaluation.results import SIZE_MEASURE, SPEED_MEASURE, ResultRow, result_row
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.models.promotion_decision import QUERIES_SCHEMA
from wearalike.tables import CODE_BITS

# Queries shown of each question, best and worst, and of each the answers.
_QUESTION_EXAMPLES = (3, 10)


@dataclass(frozen=True, slots=True)
class EncoderUnderTest:
    """A descriptor to compare.

    Attributes:
        version: Its version.
        features: Its rows of the labelled set.
        distances: Distances to rank by, its own first.
    """

    version: str
    features: ExtractedFeatures
    distances: Sequence[str]


@dataclass(frozen=True, slots=True)
class EncoderResults:
    """Results of comparisons.

    Attributes:
        rows: Rows with the keys of results.RESULT_KEYS.
        differences: The same, with `reference` and `reference_distance`.
        queries: Values of every query, a table of QUERIES_SCHEMA for each encoder, distance and k;
            NaN where a query has none.
        examples: Best and worst queries.
    """

    rows: list[ResultRow] = field(default_factory=list)
    differences: list[ResultRow] = field(default_factory=list)
    queries: list[pa.Table] = field(default_factory=list)
    examples: list[QueryExample] = field(default_factory=list)

    def extend(self, other: EncoderResults) -> None:
        """Append the results of another comparison.

        Args:
            other: Its results.
        """
        self.rows.extend(other.rows)
        self.differences.extend(other.differences)
        self.queries.extend(other.queries)
        self.examples.extend(other.examples)


class _MeasuredQueries(NamedTuple):
    """Values of one measure.

    Attributes:
        rows: int64 (q,). Rows of the set that asked.
        values: float64 (q,). Their values, 0..1; NaN where a query has none.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]


# Measured queries by measure and cut-off rank; rank 0 where the measure has none.
_Measured = dict[tuple[str, int], _MeasuredQueries]


def compare_encoders(
    query_gallery: QueryGallerySplit,
    encoders: Sequence[EncoderUnderTest],
    ks: Sequence[int],
    examples_count: int = 4,
    picture_ids: Sequence[str] | None = None,
) -> EncoderResults:
    """Measure each descriptor by each of its distances.

    The first descriptor is the reference of the differences: at the same distance if it has that,
    else at its own.

    Args:
        query_gallery: Queries and gallery.
        encoders: Descriptors, the reference first.
        ks: Cut-off ranks. The first one is that of the examples.
        examples_count: Number of best queries, and of worst, that are shown of each descriptor.
        picture_ids: Hash of each photo's bytes and box; without it every photo is another picture.

    Returns:
        All results.
    """
    results = EncoderResults()
    reference = encoders[0]
    reference_values: dict[str, _Measured] = {}
    labelled, split = query_gallery.labelled, query_gallery.split
    questions = product_questions.list_questions(query_gallery)
    ids = picture_ids or [photo.id for photo in labelled.photos]
    for encoder in encoders:
        version = encoder.version
        for distance in encoder.distances:
            measured = _measure_labels(
                query_gallery, encoder, distance, ks, examples_count, results
            )
            for question in questions:
                measured |= _measure_question(
                    query_gallery, question, encoder, distance, ks, results
                )
            measured |= _measure_codes(query_gallery, encoder, distance, ids)
            measured |= _measure_lists(query_gallery, encoder, distance)
            results.rows.extend(
                result_row(
                    labelled.name, split, version, distance, name, k or None, bootstrap_mean(values)
                )
                for (name, k), (_, values) in measured.items()
            )
            if measured:
                results.queries.append(_queries_table(query_gallery, version, distance, measured))
            results.rows.extend(_cost_rows(query_gallery, encoder, distance))
            if encoder is reference:
                reference_values[distance] = measured
                continue
            is_shared = distance in reference.distances
            reference_distance = distance if is_shared else reference.distances[0]
            results.differences.extend(
                _difference_rows(
                    (labelled.name, split, version, distance),
                    (reference.version, reference_distance),
                    measured,
                    reference_values[reference_distance],
                )
            )
    return results


def _measure_labels(
    query_gallery: QueryGallerySplit,
    encoder: EncoderUnderTest,
    distance: str,
    ks: Sequence[int],
    examples_count: int,
    results: EncoderResults,
) -> _Measured:
    """Measure every label by one distance; examples of an encoder's own distance are added."""
    if not set(query_gallery.labelled.label_names) - {PATTERN_LABEL}:
        return {}
    features = encoder.features
    ranking = rank.rank_gallery(
        features.rows, query_gallery, distance, max(ks), features.floats, skips_article=True
    )
    measured = {
        (name, k): _MeasuredQueries(query_gallery.queries, values)
        for k in ks
        for name, values in rank.compute_retrieval_metrics(
            query_gallery, ranking, k, skips_article=True
        ).items()
    }
    if distance == encoder.distances[0]:
        first_results = ranking[:, : ks[0]]
        results.examples.extend(
            label_examples(query_gallery, encoder.version, distance, first_results, examples_count)
        )
    return measured


def _measure_question(
    query_gallery: QueryGallerySplit,
    question: Question,
    encoder: EncoderUnderTest,
    distance: str,
    ks: Sequence[int],
    results: EncoderResults,
) -> _Measured:
    """Ask a question by one distance; examples of the distance that it is meant for are added."""
    labelled, features = query_gallery.labelled, encoder.features
    answers = product_questions.measure_question(
        question, features.rows, features.floats, distance, ks
    )
    measured = {
        key: _MeasuredQueries(question.queries, values) for key, values in answers.values.items()
    }
    if question.measure == PATTERN_LABEL:
        words = product_questions.pattern_words(question, labelled)
        measured |= {
            (f"{PATTERN_LABEL} {word}", k): _MeasuredQueries(
                question.queries[is_word], answers.values[PATTERN_LABEL, k][is_word]
            )
            for word, is_word in words.items()
            for k in ks
        }
    if answers.ranks is not None and distance == _example_distance(question, encoder):
        results.examples.extend(
            question_examples(
                question,
                answers.ranks,
                labelled,
                encoder.version,
                features,
                distance,
                _QUESTION_EXAMPLES,
            )
        )
    return measured


def _example_distance(question: Question, encoder: EncoderUnderTest) -> str:
    """Return the distance whose queries are shown: siblings by shape alone, others by its own."""
    if question.measure == product_questions.SIBLING_RECALL:
        by_shape = [name for name in encoder.distances if name.endswith(" 1:0")]
        return [*by_shape, *encoder.distances][0]
    return encoder.distances[0]


def _measure_codes(
    query_gallery: QueryGallerySplit,
    encoder: EncoderUnderTest,
    distance: str,
    picture_ids: Sequence[str],
) -> _Measured:
    """Tell which pictures have a code of their own, at the weights of each part and of both."""
    weighted = distances.parse_weights(distance)
    is_asked = weighted is not None and weighted.weights in DISTINCT_WEIGHTS
    if weighted is None or not is_asked or weighted.kind != distances.HAMMING:
        return {}
    gallery = product_questions.product_gallery(query_gallery)
    values = distinct_code_values(
        encoder.features.rows.astype(np.uint8, copy=False),
        weighted,
        query_gallery.labelled,
        picture_ids,
        gallery,
    )
    return {(DISTINCT_CODES, 0): _MeasuredQueries(gallery, values)}


def _measure_lists(
    query_gallery: QueryGallerySplit, encoder: EncoderUnderTest, distance: str
) -> _Measured:
    """Measure the lists that a shop would publish, at equal weights of shape and colour."""
    weighted = distances.parse_weights(distance)
    is_asked = weighted is not None and weighted.kind == distances.HAMMING
    if weighted is None or not is_asked or weighted.weights != "1:1":
        return {}
    labelled = query_gallery.labelled
    # The search takes codes of this size alone; classic hashes have fewer bits.
    if encoder.features.rows.shape[1] != 2 * CODE_BITS:
        return {}
    if not len(np.intersect1d(shop_lists.list_rows(labelled), query_gallery.queries)):
        return {}
    bits = encoder.features.rows.astype(np.uint8, copy=False)
    asked, values = shop_lists.measure_shop_lists(labelled, bits, query_gallery.queries)
    return {
        (name, shop_lists.LIST_K): _MeasuredQueries(asked, of_measure)
        for name, of_measure in values.items()
    }


def _difference_rows(
    contestant: tuple[str, str, str, str],
    reference: tuple[str, str],
    measured: _Measured,
    baseline: _Measured,
) -> Iterator[ResultRow]:
    """Yield the paired differences of what both measured.

    Args:
        contestant: Dataset, split, encoder and distance.
        reference: Encoder and distance of the reference.
        measured: The contestant's values.
        baseline: The reference's values.
    """
    against = {"reference": reference[0], "reference_distance": reference[1]}
    for (name, k), (_, values) in measured.items():
        if (name, k) in baseline:
            gain = bootstrap_difference(values, baseline[name, k].values)
            yield result_row(*contestant, name, k or None, gain) | against


def _queries_table(
    query_gallery: QueryGallerySplit, encoder: str, distance: str, measured: _Measured
) -> pa.Table:
    """Return the values of every query as a table of QUERIES_SCHEMA."""
    labelled = query_gallery.labelled
    count = sum(len(rows) for rows, _ in measured.values())
    constants = (labelled.name, query_gallery.split, encoder, distance)
    columns = [
        *(pa.repeat(constant, count) for constant in constants),
        pa.array([name for (name, _), (rows, _) in measured.items() for _ in rows]),
        pa.array([k for (_, k), (rows, _) in measured.items() for _ in rows], pa.int32()),
        pa.array([labelled.photos[row].id for rows, _ in measured.values() for row in rows]),
        pa.array(np.concatenate([values for _, values in measured.values()])),
    ]
    return pa.table(columns, QUERIES_SCHEMA)


def _cost_rows(
    query_gallery: QueryGallerySplit, encoder: EncoderUnderTest, distance: str
) -> list[ResultRow]:
    """Return the rows of speed and size."""
    features = encoder.features
    size = float(features.bytes_per_image)
    costs = {
        SPEED_MEASURE: features.images_per_second,
        SIZE_MEASURE: BootstrapEstimate(size, size, size, len(features.rows)),
    }
    dataset, split = query_gallery.labelled.name, query_gallery.split
    return [
        result_row(dataset, split, encoder.version, distance, name, None, cost)
        for name, cost in costs.items()
    ]
