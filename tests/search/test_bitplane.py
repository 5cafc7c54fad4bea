"""The kernel, plain NumPy and Faiss find the same, over sizes, weights, ks and ties."""

from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike import search
from wearalike.search.kernels import bitplane, reference
from wearalike.search.kernels.query_batch import QueryBatch


def random_codes(rng, n: int, bits: int) -> np.ndarray:
    """Return codes, uint64 (n, 4), that vary in the first `bits` of each half alone.

    Few bits make many ties and duplicates.
    """
    varied = np.zeros((n, 256), bool)
    varied[:, :bits] = rng.random((n, bits)) < 0.5
    varied[:, 128 : 128 + bits] = rng.random((n, bits)) < 0.5
    return np.packbits(varied, axis=1).view(np.uint64)


def random_batch(rng, queries: np.ndarray, most: int, kinds: int = 1) -> QueryBatch:
    """Queries with weights of 0 to `most` and limits that cut some of their results.

    With several kinds, each query has an offset for each.
    """
    count = len(queries)
    shape_weight, colour_weight = (
        rng.integers(0, most + 1, count).astype(np.int32) for _ in range(2)
    )
    return QueryBatch(
        queries,
        shape_weight,
        colour_weight,
        rng.integers(-1, 128 * 2 * most + 1, count),
        draw_offsets(rng, count, most, kinds),
    )


def draw_offsets(rng, count: int, most: int, kinds: int) -> np.ndarray:
    """Return offsets, int32 (count, kinds); those of queries of one kind are equal."""
    if kinds == 1:
        return np.zeros((count, 1), np.int32)
    table = rng.integers(0, 65, (kinds, kinds)) * rng.integers(0, most + 1)
    return table[rng.integers(0, kinds, count)].astype(np.int32)


def test_the_reference_agrees_with_counting_by_hand():
    """Three codes, two bits of shape or one of colour away: weights and limits decide."""
    codes = np.array([[0, 0, 0, 1], [3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]], np.uint64)
    query = np.zeros((1, 4), np.uint64)

    def nearest(shape_weight, colour_weight, limit, k=4):
        batch = replace(
            QueryBatch.uniform(query, shape_weight, colour_weight), limits=np.array([limit])
        )
        return [p.tolist() for p in reference.nearest_per_query(batch, codes, k)]

    assert nearest(1, 1, 256) == [[3, 0, 1, 2]]
    assert nearest(1, 3, 256) == [[3, 1, 2, 0]]
    assert nearest(1, 3, 2) == [[3, 1, 2]]
    assert nearest(1, 3, 256, k=2) == [[3, 1]]
    assert nearest(1, 2, 256) == [[3, 0, 1, 2]]
    assert nearest(1, 1, -1) == [[]]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 2500),
    q=st.integers(0, 40),
    k=st.integers(1, 130),
    bits=st.sampled_from([0, 1, 3, 128]),
    most=st.sampled_from([1, 10, 255]),
    threads=st.integers(1, 3),
    kinds=st.sampled_from([1, 2, 7, 40]),
)
def test_the_kernel_finds_what_numpy_finds(seed, n, q, k, bits, most, threads, kinds):
    rng = np.random.default_rng(seed)
    queries, codes = random_codes(rng, q, bits), random_codes(rng, n, bits)
    batch = random_batch(rng, queries, most, kinds)
    kind = rng.integers(0, kinds, n)
    found = bitplane.nearest_per_query(batch, bitplane.transpose_codes(codes, kind), k, threads)
    wanted = reference.nearest_per_query(batch, codes, k, kind)
    assert [f.tolist() for f in found] == [w.tolist() for w in wanted]


@pytest.mark.parametrize(("ws", "wc"), [(1, 1), (2, 8), (8, 2)])
def test_faiss_finds_the_same_distances(ws, wc):
    """Faiss has no weights, but a code of shape twice and colour eight times is the same sum."""
    rng = np.random.default_rng(5)
    codes, queries = random_codes(rng, 20_000, 128), random_codes(rng, 20, 128)

    def long(words):
        halves = words.view(np.uint8).reshape(-1, 2, 16)
        return np.ascontiguousarray(
            np.concatenate([halves[:, 0]] * ws + [halves[:, 1]] * wc, axis=1)
        )

    index = faiss.IndexBinaryFlat(128 * (ws + wc))
    index.add(long(codes))
    wanted, _ = index.search(long(queries), 100)
    batch = QueryBatch.uniform(queries, ws, wc)
    found = bitplane.nearest_per_query(batch, bitplane.transpose_codes(codes), 100)
    assert {len(f) for f in found} == {100}
    for query, positions, distances in zip(queries, found, wanted, strict=True):
        shape, colour = search.distance_matrices(query[None], codes[positions])
        assert (ws * shape[0] + wc * colour[0]).tolist() == sorted(distances.tolist())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 2500),
    k=st.integers(1, 130),
    bits=st.sampled_from([0, 1, 3, 128]),
    kinds=st.sampled_from([2, 7, 40]),
)
def test_kinds_of_no_weight_change_nothing(seed, n, k, bits, kinds):
    """Tiles in the order of kinds find, tie for tie, what tiles in the order of ids find."""
    rng = np.random.default_rng(seed)
    queries, codes = random_codes(rng, 20, bits), random_codes(rng, n, bits)
    batch = random_batch(rng, queries, 10)
    by_kind = bitplane.transpose_codes(codes, rng.integers(0, kinds, n))
    of_no_weight = replace(batch, kind_offsets=np.zeros((20, kinds), np.int32))
    found = bitplane.nearest_flat(of_no_weight, by_kind, k)
    wanted = bitplane.nearest_flat(batch, bitplane.transpose_codes(codes), k)
    assert all(map(np.array_equal, found, wanted))


def test_a_kind_counts_as_its_offset_says():
    """Two codes of another kind are nearer by their bits; an offset of 3 puts them behind."""
    codes = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [7, 0, 0, 0], [15, 0, 0, 0]], np.uint64)
    kinds = np.array([1, 1, 0, 0])
    tiles = bitplane.transpose_codes(codes, kinds)

    def nearest(offset, limit=128):
        batch = replace(
            QueryBatch.uniform(np.zeros((1, 4), np.uint64), 1, 1),
            kind_offsets=np.array([[0, offset]], np.int32),
            limits=np.array([limit]),
        )
        (found,) = bitplane.nearest_per_query(batch, tiles, 4)
        assert found.tolist() == reference.nearest_per_query(batch, codes, 4, kinds)[0].tolist()
        return found.tolist()

    assert nearest(0) == [0, 1, 2, 3]
    assert nearest(3) == [0, 2, 1, 3]  # ties go to the earlier code
    assert nearest(4) == [2, 0, 3, 1]
    assert nearest(4, limit=3) == [2]


def test_an_offset_below_0_is_refused():
    batch = QueryBatch.uniform(np.zeros((1, 4), np.uint64), 1, 1)
    with pytest.raises(ValueError, match="kind offset -1: wanted at least 0"):
        replace(batch, kind_offsets=np.array([[0, -1]], np.int32))


def test_a_weight_beyond_8_bits_is_refused():
    codes = bitplane.transpose_codes(np.zeros((3, 4), np.uint64))
    with pytest.raises(ValueError, match=r"weights of 256\.\.256 and 1\.\.1: wanted 0\.\.255"):
        bitplane.nearest_per_query(
            QueryBatch.uniform(np.zeros((1, 4), np.uint64), 256, 1), codes, 1
        )
