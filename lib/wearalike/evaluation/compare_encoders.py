"""Compare descriptors on one labelled set: metrics, paired differences, queries and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import COMPOUND_LABELS
from wearalike.evaluation import rank
from wearalike.evaluation.extract import ExtractedFeatures
from wearalike.evaluation.rank import QueryGallerySplit
from wearalike.evaluation.results import SIZE_MEASURE, SPEED_MEASURE, ResultRow, result_row
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.models.promotion_decision import QUERIES_SCHEMA

# Labels that examples are judged by, the hardest first; a set's first one of these is used.
_EXAMPLE_LABELS = ("both", "type+gender", "type")


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
class QueryExample:
    """A query and its results, best first.

    Attributes:
        dataset: Name of the labelled set.
        encoder: Version of the descriptor.
        distance: Distance that it ranks by.
        label: Label that tells if a result is relevant.
        value: Relevance of the results, 0..1.
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


def compare_encoders(
    query_gallery: QueryGallerySplit,
    encoders: Sequence[EncoderUnderTest],
    ks: Sequence[int],
    examples_count: int = 4,
) -> EncoderResults:
    """Measure each descriptor by each of its distances.

    The first descriptor is the reference of the differences: at the same distance if it has that,
    else at its own.

    Args:
        query_gallery: Queries and gallery.
        encoders: Descriptors, the reference first.
        ks: Cut-off ranks. The first one is that of the examples.
        examples_count: Number of best queries, and of worst, that are shown of each descriptor.

    Returns:
        All results.
    """
    results = EncoderResults()
    reference = encoders[0]
    reference_values: dict[tuple[str, int], dict[str, NDArray[np.float64]]] = {}
    dataset, split = query_gallery.labelled.name, query_gallery.split
    for encoder in encoders:
        version = encoder.version
        for distance in encoder.distances:
            ranking = rank.rank_gallery(encoder.features.rows, query_gallery, distance, max(ks))
            for k in ks:
                values = rank.compute_retrieval_metrics(query_gallery, ranking, k)
                results.rows.extend(
                    result_row(dataset, split, version, distance, name, k, bootstrap_mean(each))
                    for name, each in values.items()
                )
                results.queries.append(_queries_table(query_gallery, version, distance, k, values))
                if encoder is reference:
                    reference_values[distance, k] = values
                    continue
                is_shared = distance in reference.distances
                reference_distance = distance if is_shared else reference.distances[0]
                against = {
                    "reference": reference.version,
                    "reference_distance": reference_distance,
                }
                baseline = reference_values[reference_distance, k]
                for name, each in values.items():
                    gain = bootstrap_difference(each, baseline[name])
                    row = result_row(dataset, split, version, distance, name, k, gain)
                    results.differences.append(row | against)
            results.rows.extend(_cost_rows(query_gallery, encoder, distance))
            if distance == encoder.distances[0]:
                first_results = ranking[:, : ks[0]]
                results.examples.extend(
                    query_examples(query_gallery, version, distance, first_results, examples_count)
                )
    return results


def query_examples(
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
        The best, best first, then the worst, worst first.
    """
    labelled = query_gallery.labelled
    known_labels = [name for name in _EXAMPLE_LABELS if name in labelled.label_names]
    label = known_labels[0] if known_labels else labelled.label_names[0]
    metrics = rank.compute_retrieval_metrics(query_gallery, ranking, ranking.shape[1])
    values = metrics[f"relevance {label}"]
    order = np.lexsort([np.random.default_rng(0).permutation(len(values)), -values])
    order = order[~np.isnan(values[order])]
    classes = labelled.class_ids(label)

    def captioned(row: int) -> tuple[Path, str]:
        photo = labelled.photos[row]
        parts = COMPOUND_LABELS.get(label, (label,))
        return photo.path, ", ".join(photo.labels.get(part, "?") for part in parts)

    def example(query: int, is_best: bool) -> QueryExample:
        row = int(query_gallery.queries[query])
        results = [result for result in ranking[query].tolist() if result >= 0]
        return QueryExample(
            dataset=labelled.name,
            encoder=encoder,
            distance=distance,
            label=label,
            value=float(values[query]),
            query=captioned(row),
            results=tuple(map(captioned, results)),
            is_relevant=tuple(bool(classes[result] == classes[row]) for result in results),
            is_best=is_best,
        )

    best = [example(query, True) for query in order[:count].tolist()]
    worst = [example(query, False) for query in order[::-1][:count].tolist()]
    return best + worst


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Format results for a terminal.

    Args:
        rows: Rows with the keys of results.RESULT_KEYS.

    Returns:
        A block a set, measure and k; a line an encoder and distance; a column a label.
    """
    blocks: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        title, column = _block_and_column(row)
        block = blocks.setdefault((f"{row['dataset']}, {row['split']} asks", title), {})
        cells = block.setdefault(f"{row['encoder']}  {row['distance']}", {})
        cells[column] = _format_number(row)
    lines: list[str] = []
    for (dataset, title), block in blocks.items():
        columns = list(dict.fromkeys(column for cells in block.values() for column in cells))
        width = max(map(len, block))
        header = " " * width + "".join(f"  {column:>16}" for column in columns)
        lines += ["", f"{dataset}: {title}", header]
        for contestant, cells in block.items():
            numbers = "".join(f"  {cells.get(column, ''):>16}" for column in columns)
            lines.append(f"{contestant:{width}}{numbers}")
    return "\n".join(lines)


def _queries_table(
    query_gallery: QueryGallerySplit,
    encoder: str,
    distance: str,
    k: int,
    values: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    """Return the values of every query as a table of QUERIES_SCHEMA."""
    labelled = query_gallery.labelled
    ids = [labelled.photos[row].id for row in query_gallery.queries.tolist()]
    count = len(ids) * len(values)
    constants = (labelled.name, query_gallery.split, encoder, distance)
    columns = [
        *(pa.repeat(constant, count) for constant in constants),
        pa.array([measure for measure in values for _ in ids]),
        pa.repeat(pa.scalar(k, pa.int32()), count),
        pa.array(ids * len(values)),
        pa.array(np.concatenate(list(values.values()))),
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


def _block_and_column(row: Mapping[str, object]) -> tuple[str, str]:
    """Return the title of the block that a row belongs to, and its column."""
    measure = str(row["measure"])
    if row["k"] is None:
        return "all photos", measure
    kind, _, label = measure.rpartition(" ")
    return f"{kind or 'precision'}@{row['k']}", label


def _format_number(row: Mapping[str, object]) -> str:
    """Format a value with half the width of its interval."""
    value, low, high = row["value"], row["low"], row["high"]
    if not (isinstance(value, float) and isinstance(low, float) and isinstance(high, float)):
        return "-"
    digits = 3 if value <= 1 else 0
    half_width = f" ±{(high - low) / 2:,.{digits}f}" if high > low else ""
    return f"{value:,.{digits}f}{half_width}"
