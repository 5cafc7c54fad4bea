"""The shortlist of a photo query beside the exact search: what it takes, and what it misses."""

from __future__ import annotations

import faiss
import numpy as np
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    exponent,
    median_seconds,
    seconds,
)
from tests.support.retrieval_metrics import distance_recall

from wearalike.search import inverted_multi_index
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch

CODES, CODES_FULL, QUERIES, K = 1_000_000, 10_000_000, 100, 20
W_SHAPE, W_COLOUR = 2, 8


def clustered_codes(count: int, seed: int) -> np.ndarray:
    """Return codes distributed as those of clothes, uint64 (n, 4).

    There are kinds of shape and kinds of colour, some much more common than others, in any
    combination. Kinds come in families of similar ones. Some bits of a product differ from those
    of its kind.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    return np.concatenate(
        [_clustered_half_codes(rng, fixed, count, kinds) for kinds in (3000, 600)], axis=1
    )


def _clustered_half_codes(
    rng: np.random.Generator, fixed: np.random.Generator, count: int, kinds: int
) -> np.ndarray:
    families = fixed.random((30, 128)) < 0.5
    middles = families[fixed.integers(0, 30, kinds)] ^ (fixed.random((kinds, 128)) < 0.15)
    worn = fixed.permutation(1 / np.arange(1, kinds + 1) ** 0.7)
    kind = rng.choice(kinds, count, p=worn / worn.sum())
    packed = np.packbits(middles, axis=1)
    found = np.empty((count, 2), np.uint64)
    for start in range(0, count, 100_000):
        here = kind[start : start + 100_000]
        flips = np.packbits(rng.random((len(here), 128), np.float32) < 0.1, axis=1)
        found[start : start + 100_000] = (packed[here] ^ flips).view(np.uint64)
    return found


def weighted_distances(code: np.ndarray, codes: np.ndarray) -> np.ndarray:
    bits = np.bitwise_count(code ^ codes).astype(np.int64)
    return W_SHAPE * bits[:, :2].sum(axis=1) + W_COLOUR * bits[:, 2:].sum(axis=1)


def exact_distances(codes: np.ndarray, rows: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Return the distances of the best K, as a photo's item finds them: transpose, then search."""
    query = QueryBatch.uniform(code[None], W_SHAPE, W_COLOUR)
    (found,) = bitplane.nearest_per_query(query, bitplane.transpose_codes(codes[rows]), K)
    return weighted_distances(code, codes[rows[found]])


def approximate(options: BenchOptions) -> BenchResult:
    faiss.omp_set_num_threads(2)
    count = CODES_FULL if options.full else CODES
    codes, queries = clustered_codes(count, 1), clustered_codes(QUERIES, 2)
    sizes = [count // 4, count // 2, count]
    built = [
        seconds(lambda size=size: inverted_multi_index.build_inverted_multi_index(codes[:size]))
        for size in sizes[:2]
    ]
    lists = inverted_multi_index.build_inverted_multi_index(codes)
    everything, least = np.arange(count), inverted_multi_index.min_shortlist_size(count)

    def shortlisted(code: np.ndarray) -> np.ndarray:
        return exact_distances(
            codes, lists.shortlist(code, W_SHAPE, W_COLOUR, everything, least), code
        )

    recalls = [
        distance_recall(shortlisted(code), exact_distances(codes, everything, code))
        for code in queries
    ]
    few = queries[:10]
    ours_s, exact_s = median_seconds(
        [
            lambda: [shortlisted(q) for q in few],
            lambda: [exact_distances(codes, everything, q) for q in few],
        ]
    )
    ratio, mean = exact_s / ours_s, float(np.mean(recalls))
    settings = (
        f"the exact search of {count} clustered codes, {len(lists.cell_starts) - 1} cells "
        f"of Faiss {faiss.__version__}, {least} looked at"
    )
    note = (
        f"recall@{K} {mean:.3f}, ties counted as hits, "
        f"{min(recalls):.2f} the worst of {QUERIES} queries"
    )
    note += f"; cells of half the codes made in {built[1]:.0f} s"
    ours, peer = 1000 * ours_s / len(few), 1000 * exact_s / len(few)
    growth = exponent(sizes[:2], built)
    return BenchResult(
        "photo, shortlist",
        ours,
        peer,
        "ms",
        ratio,
        "≥ 5",
        ratio >= 5 and mean >= 0.95,
        RUNS,
        settings,
        growth,
        note,
    )


BENCHES = (approximate,)
