"""Many descriptors over one trial: one table of measures, differences from a reference, every query's values, strips to look at."""

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
from wearalike.evaluation.rank import QueryGallerySplit, ResultRow
from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean
from wearalike.models.promotion import QUERIES_SCHEMA

# What strips show hits of: the label that asks most, of those a set has.
_EXAMPLE_LABELS = ("both", "type+gender", "type")


@dataclass(frozen=True, slots=True)
class EncoderUnderTest:
    """version: of the descriptor. distances: to rank by, its own first."""

    version: str
    features: ExtractedFeatures
    distances: Sequence[str]


@dataclass(frozen=True, slots=True)
class QueryExample:
    """A query and its results, best first: photos' paths and what is known of them. label: what is_relevant, one for each result,
    is about. value: relevance. is_best: whether it is one of the best queries, or of the worst."""

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
    """rows: with the keys of rank.RESULT_KEYS. differences: the same, with `reference` and `reference_distance`. queries: every query's
    values, a table of QUERIES for each encoder, distance and k; NaN where a query has none."""

    rows: list[ResultRow] = field(default_factory=list)
    differences: list[ResultRow] = field(default_factory=list)
    queries: list[pa.Table] = field(default_factory=list)
    examples: list[QueryExample] = field(default_factory=list)

    def extend(self, other: EncoderResults) -> None:
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
    """Measures each contestant by each of its distances; the first one is the reference, at the same distance where it has that,
    else at its first. strips_count: how many of its best and of its worst queries are shown of each."""
    results, reference = EncoderResults(), encoders[0]
    known: dict[tuple[str, int], dict[str, NDArray[np.float64]]] = {}
    for contestant in encoders:
        name = contestant.version
        for distance in contestant.distances:
            found = rank.rank_gallery(contestant.features.rows, query_gallery, distance, max(ks))
            for k in ks:
                values = rank.compute_retrieval_metrics(query_gallery, found, k)
                results.rows.extend(
                    rank.result_row(query_gallery, name, distance, m, k, bootstrap_mean(v))
                    for m, v in values.items()
                )
                results.queries.append(_queries_table(query_gallery, name, distance, k, values))
                if contestant is reference:
                    known[distance, k] = values
                    continue
                other = distance if distance in reference.distances else reference.distances[0]
                against = {"reference": reference.version, "reference_distance": other}
                gains = {m: bootstrap_difference(v, known[other, k][m]) for m, v in values.items()}
                results.differences.extend(
                    rank.result_row(query_gallery, name, distance, m, k, gain) | against
                    for m, gain in gains.items()
                )
            results.rows.extend(_cost_rows(query_gallery, contestant, distance))
            if distance == contestant.distances[0]:
                results.examples.extend(
                    query_examples(query_gallery, name, distance, found[:, : ks[0]], examples_count)
                )
    return results


def _queries_table(
    query_gallery: QueryGallerySplit,
    encoder: str,
    distance: str,
    k: int,
    values: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    ids = [query_gallery.labelled.photos[row].id for row in query_gallery.queries.tolist()]
    count = len(ids) * len(values)
    same = [
        pa.repeat(word, count)
        for word in (query_gallery.labelled.name, query_gallery.split, encoder, distance)
    ]
    measures, ks = (
        pa.array([name for name in values for _ in ids]),
        pa.repeat(pa.scalar(k, pa.int32()), count),
    )
    return pa.table(
        [
            *same,
            measures,
            ks,
            pa.array(ids * len(values)),
            pa.array(np.concatenate(list(values.values()))),
        ],
        QUERIES_SCHEMA,
    )


def _cost_rows(
    query_gallery: QueryGallerySplit, candidate: EncoderUnderTest, distance: str
) -> list[ResultRow]:
    described = candidate.features
    size, count = float(described.bytes_per_image), len(described.rows)
    costs = {
        rank.SPEED_MEASURE: described.images_per_second,
        rank.SIZE_MEASURE: BootstrapEstimate(size, size, size, count),
    }
    return [
        rank.result_row(query_gallery, candidate.version, distance, name, None, cost)
        for name, cost in costs.items()
    ]


def query_examples(
    query_gallery: QueryGallerySplit,
    encoder: str,
    distance: str,
    ranking: NDArray[np.int64],
    count: int,
) -> list[QueryExample]:
    """The `count` best queries by relevance, best first, and the `count` worst, worst first; of equal ones, which are many, some
    drawn by a seed. found: int64 (q, k) as rank.rank_gallery gives it."""
    labelled = query_gallery.labelled
    label = next(
        (name for name in _EXAMPLE_LABELS if name in labelled.label_names), labelled.label_names[0]
    )
    values = rank.compute_retrieval_metrics(query_gallery, ranking, ranking.shape[1])[
        f"relevance {label}"
    ]
    order = np.lexsort([np.random.default_rng(0).permutation(len(values)), -values])
    order = order[~np.isnan(values[order])]
    classes = labelled.class_ids(label)

    def shown(row: int) -> tuple[Path, str]:
        photo = labelled.photos[row]
        return photo.path, ", ".join(
            photo.labels.get(part, "?") for part in COMPOUND_LABELS.get(label, (label,))
        )

    def strip(query: int, is_best: bool) -> QueryExample:
        row, results = (
            int(query_gallery.queries[query]),
            [r for r in ranking[query].tolist() if r >= 0],
        )
        hits = tuple(bool(classes[r] == classes[row]) for r in results)
        value = float(values[query])
        return QueryExample(
            labelled.name,
            encoder,
            distance,
            label,
            value,
            shown(row),
            tuple(map(shown, results)),
            hits,
            is_best,
        )

    return [strip(q, True) for q in order[:count].tolist()] + [
        strip(q, False) for q in order[::-1][:count].tolist()
    ]


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The table for a terminal: a block a set, measure and k, a line an encoder and distance, a column a label."""
    blocks: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        kind, _, label = str(row["measure"]).rpartition(" ")
        name, column = (
            ("all photos", str(row["measure"]))
            if row["k"] is None
            else (f"{kind or 'precision'}@{row['k']}", label)
        )
        block = blocks.setdefault((f"{row['dataset']}, {row['split']} asks", name), {})
        block.setdefault(f"{row['encoder']}  {row['distance']}", {})[column] = _format_number(row)
    lines = []
    for (where, name), block in blocks.items():
        columns, first = (
            list(dict.fromkeys(name for cells in block.values() for name in cells)),
            max(map(len, block)),
        )
        lines += [
            "",
            f"{where}: {name}",
            " " * first + "".join(f"  {column:>16}" for column in columns),
        ]
        lines += [
            f"{who:{first}}" + "".join(f"  {cells.get(c, ''):>16}" for c in columns)
            for who, cells in block.items()
        ]
    return "\n".join(lines)


def _format_number(row: Mapping[str, object]) -> str:
    value, low, high = row["value"], row["low"], row["high"]
    if not (isinstance(value, float) and isinstance(low, float) and isinstance(high, float)):
        return "-"
    digits = 3 if value <= 1 else 0
    return f"{value:,.{digits}f}" + (f" ±{(high - low) / 2:,.{digits}f}" if high > low else "")
