"""Faiss indexes over floats: IndexFlatL2 is exact, IndexIVFPQ is small and near it."""

import faiss
import numpy as np
import pytest

from wearalike.search.float_index import FloatIndexKind, build_float_index

RNG = np.random.default_rng(5)
# Forty groups of alike rows, as pictures of alike products are.
CENTRES = RNG.normal(size=(40, 48))
ROWS = (CENTRES[RNG.integers(0, 40, 3000)] + 0.2 * RNG.normal(size=(3000, 48))).astype(np.float32)
QUERIES = (ROWS[::100] + 0.05 * RNG.normal(size=(30, 48))).astype(np.float32)


def exact(query, rows):
    return np.sqrt(((rows.astype(np.float64) - query) ** 2).sum(axis=1))


@pytest.fixture(scope="module")
def indexes():
    return {kind: build_float_index(ROWS, kind) for kind in FloatIndexKind}


def test_a_flat_index_gives_every_distance(indexes):
    flat = indexes[FloatIndexKind.FLAT_L2]
    assert flat.bytes_per_item == 4 * 48
    for query in QUERIES:
        wanted = exact(query, ROWS)
        rows, distances = flat.search(query, 10)
        assert rows.tolist() == np.argsort(wanted, kind="stable")[:10].tolist()
        np.testing.assert_allclose(distances, wanted[rows], rtol=1e-4)
    rows, _ = flat.search(QUERIES[0], 5000)
    assert sorted(rows.tolist()) == list(range(3000))


def test_a_product_quantizer_is_small_and_near(indexes):
    small = indexes[FloatIndexKind.IVFPQ]
    assert small.bytes_per_item == 48
    found = [set(small.search(query, 10)[0].tolist()) for query in QUERIES]
    wanted = [set(np.argsort(exact(query, ROWS))[:10].tolist()) for query in QUERIES]
    recall = sum(len(a & b) for a, b in zip(found, wanted, strict=True)) / 300
    assert recall > 0.7


def test_the_same_rows_give_the_same_index(indexes):
    again = build_float_index(ROWS, FloatIndexKind.IVFPQ)
    contents = [
        faiss.serialize_index(index._index) for index in (again, indexes[FloatIndexKind.IVFPQ])
    ]
    assert np.array_equal(*contents)
    threads = faiss.omp_get_max_threads()
    build_float_index(ROWS[:300], FloatIndexKind.IVFPQ)
    assert faiss.omp_get_max_threads() == threads


@pytest.mark.parametrize("kind", list(FloatIndexKind))
def test_only_wanted_rows_are_found_and_none_is_missed(indexes, kind):
    # Rows of one group alone: its cells are far from most queries.
    group = np.argsort(exact(CENTRES[3], ROWS))[:30]
    for query in QUERIES[:5]:
        rows, distances = indexes[kind].search(query, 20, np.sort(group))
        assert len(rows) == 20 and set(rows.tolist()) <= set(group.tolist())
        assert (np.diff(distances) >= 0).all()
        rows, _ = indexes[kind].search(query, 40, np.sort(group))
        assert sorted(rows.tolist()) == sorted(group.tolist())
    rows, _ = indexes[kind].search(QUERIES[0], 5, np.empty(0, np.int64))
    assert len(rows) == 0


def test_small_galleries_have_indexes_too():
    for count in (2, 3, 17, 100):
        small = build_float_index(ROWS[:count], FloatIndexKind.IVFPQ)
        rows, _ = small.search(ROWS[1], count)
        assert sorted(rows.tolist()) == list(range(count))
    assert build_float_index(ROWS[:1], FloatIndexKind.FLAT_L2).search(ROWS[0], 3)[0].tolist() == [0]
    with pytest.raises(ValueError, match="IndexIVFPQ: 1 rows, wanted 2 or more"):
        build_float_index(ROWS[:1], FloatIndexKind.IVFPQ)
