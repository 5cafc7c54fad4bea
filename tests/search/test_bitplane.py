"""The kernel, plain numpy and Faiss find the same, over sizes, weights, ks and ties."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike import search
from wearalike.search.kernels import bitplane


def random_codes(rng, n: int, bits: int) -> np.ndarray:
    """uint64 (n, 4); only the first `bits` of each half vary, so that few bits make many ties and duplicates."""
    varied = np.zeros((n, 256), bool)
    varied[:, :bits] = rng.random((n, bits)) < 0.5
    varied[:, 128 : 128 + bits] = rng.random((n, bits)) < 0.5
    return np.packbits(varied, axis=1).view(np.uint64)


def one_by_one(queries, codes, shape_weight, colour_weight, limits, k):
    shape, colour = search.distance_matrices(queries, codes)
    weighted = shape_weight[:, None] * shape + colour_weight[:, None] * colour
    order = np.argsort(weighted, axis=1, kind="stable")
    return [
        [p for p in row if d[p] <= limit][:k]
        for row, d, limit in zip(order, weighted, limits, strict=True)
    ]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 2500),
    q=st.integers(0, 40),
    k=st.integers(1, 130),
    bits=st.sampled_from([0, 1, 3, 128]),
    most=st.sampled_from([1, 10, 255]),
    threads=st.integers(1, 3),
)
def test_the_kernel_finds_what_numpy_finds(seed, n, q, k, bits, most, threads):
    rng = np.random.default_rng(seed)
    queries, codes = random_codes(rng, q, bits), random_codes(rng, n, bits)
    shape_weight, colour_weight = (rng.integers(0, most + 1, q).astype(np.int32) for _ in range(2))
    limits = rng.integers(-1, 128 * 2 * most + 1, q)
    found = bitplane.nearest_per_query(
        queries, bitplane.transpose_codes(codes), shape_weight, colour_weight, limits, k, threads
    )
    assert [f.tolist() for f in found] == one_by_one(
        queries, codes, shape_weight, colour_weight, limits, k
    )


@pytest.mark.parametrize(("ws", "wc"), [(1, 1), (2, 8), (8, 2)])
def test_faiss_finds_the_same_distances_where_it_can_be_asked(ws, wc):
    """Faiss weighs nothing, but shape twice and colour eight times in one long code is the same sum."""
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
    weights = [np.full(20, w, np.int32) for w in (ws, wc)]
    found = bitplane.nearest_per_query(
        queries, bitplane.transpose_codes(codes), *weights, np.full(20, 128 * (ws + wc)), 100
    )
    assert {len(f) for f in found} == {100}
    for query, positions, distances in zip(queries, found, wanted, strict=True):
        shape, colour = search.distance_matrices(query[None], codes[positions])
        assert (ws * shape[0] + wc * colour[0]).tolist() == sorted(distances.tolist())


def test_a_weight_beyond_what_it_adds_up_is_refused():
    codes, one = bitplane.transpose_codes(np.zeros((3, 4), np.uint64)), np.ones(1, np.int32)
    with pytest.raises(ValueError, match=r"weights of 256\.\.256 and 1\.\.1: wanted 0\.\.255"):
        bitplane.nearest_per_query(
            np.zeros((1, 4), np.uint64), codes, 256 * one, one, np.zeros(1, np.int64), 1
        )
