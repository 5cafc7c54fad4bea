"""Matching: the kernel against Faiss, day two against the full search, memory against the codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import faiss
import numpy as np
import pyarrow as pa
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    exponent,
    median_seconds,
    seconds,
)

from wearalike import search as search_module
from wearalike.catalog import KindTable
from wearalike.catalog.colour_names import build_name_table, packaged_colour_names
from wearalike.search.kernels import bitplane
from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.search.product_attributes import ProductAttributes

CODES, QUERIES, K, THREADS = 1_000_000, 2_000, 100, 2
WEIGHTS = ((1, 1), (2, 8), (8, 2))
GIGA = 1e9


def random_codes(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def make_search(
    queries: np.ndarray, tiles: bitplane.BitPlaneTiles, shape_weight: int, colour_weight: int
) -> Callable[[], list[np.ndarray]]:
    batch = QueryBatch.uniform(queries, shape_weight, colour_weight)
    return lambda: bitplane.nearest_per_query(batch, tiles, K, THREADS)


def build_flat_index(codes: np.ndarray) -> faiss.IndexBinaryFlat:
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return index


def faiss_codes(words: np.ndarray, colour_weight: int = 1) -> np.ndarray:
    """Return codes as Faiss takes them, colour repeated `colour_weight` times."""
    halves = words.view(np.uint8).reshape(-1, 2, 16)
    return np.ascontiguousarray(
        np.concatenate([halves[:, 0], *[halves[:, 1]] * colour_weight], axis=1)
    )


def match(options: BenchOptions) -> BenchResult:
    faiss.omp_set_num_threads(THREADS)
    codes, queries = random_codes(CODES, 1), random_codes(QUERIES, 2)
    tiles, index, faiss_queries = (
        bitplane.transpose_codes(codes),
        build_flat_index(faiss_codes(codes)),
        faiss_codes(queries),
    )
    ours = [make_search(queries, tiles, *weights) for weights in WEIGHTS]
    peer_s, *ours_s = median_seconds([lambda: index.search(faiss_queries, K), *ours])
    sizes = [CODES // 4, CODES // 2, CODES]
    growth = exponent(
        sizes,
        [
            seconds(make_search(queries, bitplane.transpose_codes(codes[:size]), 2, 8))
            for size in sizes
        ],
    )
    pairs, slowest_s = CODES * QUERIES / GIGA, max(ours_s)
    each = ", ".join(f"{w[0]}:{w[1]} {pairs / s:.2f}" for w, s in zip(WEIGHTS, ours_s, strict=True))
    settings = (
        f"faiss {faiss.__version__} IndexBinaryFlat(256), {faiss.get_compile_options().strip()}, "
        f"{THREADS} threads, unweighted"
    )
    ratio = peer_s / slowest_s
    return BenchResult(
        "match",
        pairs / slowest_s,
        pairs / peer_s,
        "G pairs/s",
        ratio,
        "≥ 2.0",
        ratio >= 2.0,
        RUNS,
        settings,
        growth,
        each,
    )


def same_answer(options: BenchOptions) -> BenchResult:
    """Compare the distances with Faiss's.

    2:8 orders as 1:4 does, and Faiss computes 1:4 where its code holds colour four times.
    """
    faiss.omp_set_num_threads(THREADS)
    codes, queries = random_codes(CODES, 1), random_codes(QUERIES // 4, 2)
    tiles, index, faiss_queries = (
        bitplane.transpose_codes(codes),
        build_flat_index(faiss_codes(codes, 4)),
        faiss_codes(queries, 4),
    )
    ours = make_search(queries, tiles, 2, 8)
    wanted, _ = index.search(faiss_queries, K)
    found = np.array(ours())
    bits = np.bitwise_count(queries[:, None] ^ codes[found]).astype(int)
    is_same = bool(
        (2 * (bits[..., 0] + bits[..., 1]) + 8 * (bits[..., 2] + bits[..., 3]) == 2 * wanted).all()
    )
    ours_s, peer_s = median_seconds([ours, lambda: index.search(faiss_queries, K)])
    pairs, ratio = CODES * len(queries) / GIGA, peer_s / ours_s
    settings = (
        f"faiss {faiss.__version__} IndexBinaryFlat(640), shape + 4 x colour, {THREADS} threads"
    )
    note = "the same distances" if is_same else "OTHER DISTANCES"
    return BenchResult(
        "match, same answer",
        pairs / ours_s,
        pairs / peer_s,
        "G pairs/s",
        ratio,
        "≥ 6",
        is_same and ratio >= 6,
        RUNS,
        settings,
        None,
        note,
    )


def make_gallery(rows: np.ndarray, codes: np.ndarray) -> search_module.Gallery:
    """Return women's dresses of 3,000 brands, 8 kinds and all named colours, all in stock.

    Args:
        rows: int64 (n,), distinct numbers.
        codes: uint64 (n, 4).
    """
    ids = np.array([f"shop:{row:08}" for row in rows.tolist()], dtype=object)
    n, brands = len(rows), rows % 3000
    texts = [
        np.full(n, text, dtype=object)
        for text in ("shop", "brand", "women.dresses.midi", "EUR", "female", "adult")
    ]
    pages = ProductAttributes(ids, *texts[:3], np.full(n, 1000), texts[3])
    weights = (np.full(n, weight, np.int32) for weight in (2, 8, 5))
    distances = np.full((8, 8), 32, np.int32)
    np.fill_diagonal(distances, 0)
    kinds = KindTable(tuple(f"dresses {i}" for i in range(8)), distances)
    kind, in_stock = rows // 7 % 8, np.ones(n, bool)
    colours = packaged_colour_names().hex_by_id
    names = build_name_table(colours, colours)
    name = rows // 11 % len(names.names)
    return search_module.Gallery(
        ids,
        ids,
        codes,
        *weights,
        kind,
        name,
        *texts[4:],
        in_stock,
        -1 - rows,
        brands,
        pages,
        kinds,
        names,
    )


def make_two_days(count: int) -> tuple[search_module.Gallery, search_module.Gallery]:
    """Return two days' galleries: on the second 1 % is new, 1 % gone, 1 % has another code."""
    draw, codes = np.random.default_rng(3).random(count), random_codes(count, 4)
    first, second = np.flatnonzero(draw >= 0.01), np.flatnonzero(draw < 0.99)
    changed = codes.copy()
    is_other = (draw > 0.5) & (draw < 0.51)
    changed[is_other] = random_codes(int(is_other.sum()), 5)
    return make_gallery(first, codes[first]), make_gallery(second, changed[second])


def day_two(options: BenchOptions) -> BenchResult:
    """Measure the rows of a share of the products as one task computes them."""
    row_count, rules = 16_384, search_module.ListRules()

    def both(
        count: int,
    ) -> tuple[Callable[[], pa.RecordBatch], Callable[[], pa.RecordBatch], float]:
        """Return day two, the full search, and the share of its pairs that day two looks at."""
        past, here = make_two_days(count)
        changes = search_module.diff_galleries(past, here)
        known, arrived = (
            changes.previous_row[:row_count],
            np.count_nonzero(changes.is_new_candidate),
        )
        pairs = np.where(known < 0, len(here), arrived).sum() / (row_count * len(here))
        last = int(known.max()) + 1
        candidates = search_module.concat_candidates(
            [lists.candidates for lists in search_module.search_gallery(past, 0, last, rules)]
        )
        previous_search = search_module.PreviousSearch(changes, candidates)
        return (
            lambda: search_module.build_matches(
                here,
                list(search_module.search_gallery(here, 0, row_count, rules, (), previous_search)),
            ),
            lambda: search_module.build_matches(
                here, list(search_module.search_gallery(here, 0, row_count, rules))
            ),
            pairs,
        )

    *works, pairs = both(CODES)
    is_same = works[0]().equals(works[1]())
    ours_s, full_s = median_seconds(works)
    sizes = [CODES // 4, CODES // 2, CODES]
    costs = [*(seconds(both(size)[0]) for size in sizes[:2]), ours_s]
    ratio, note = ours_s / full_s, "the identical table" if is_same else "ANOTHER TABLE"
    note += f", {pairs:.4f} of the pairs looked at"
    settings = (
        f"its own search of everything, {row_count} rows of {CODES}, one thread, k = {rules.k}"
    )
    reached = is_same and ratio <= 0.04
    return BenchResult(
        "match, day two",
        ours_s,
        full_s,
        "s",
        ratio,
        "≤ 0.04",
        reached,
        RUNS,
        settings,
        exponent(sizes, costs),
        note,
    )


_PEAK_SCRIPT = """
from tests.benchmarks import matching as m
from tests.benchmarks.measure import peak_bytes

def search(query_count, code_count):
    tiles = m.bitplane.transpose_codes(m.random_codes(code_count, 1))
    m.make_search(m.random_codes(query_count, 2), tiles, 2, 8)()

search(64, 2000)
before = peak_bytes()
search({queries}, {codes})
print(peak_bytes() - before)
"""


def memory(options: BenchOptions) -> BenchResult:
    def peak(codes: int) -> float:
        command = [sys.executable, "-c", _PEAK_SCRIPT.format(codes=codes, queries=QUERIES)]
        return (
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
        )

    sizes = [CODES, 2 * CODES, 4 * CODES]
    peaks = [peak(size) for size in sizes]
    ours, codes = peaks[0], 32 * CODES / 1e6
    settings = (
        "the bytes of the codes; the peak of a process over the same process without them, "
        f"{THREADS} threads"
    )
    growth = exponent(sizes, peaks)
    return BenchResult(
        "match, memory",
        ours,
        codes,
        "MB",
        ours / codes,
        "≤ 4",
        ours <= 4 * codes,
        1,
        settings,
        growth,
    )


BENCHES = (match, same_answer, day_two, memory)
