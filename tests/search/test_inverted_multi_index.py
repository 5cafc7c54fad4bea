"""The shortlist of codes that could be near: which it holds and which it misses."""

import numpy as np
import pytest
from tests.benchmarks.approximate import clustered_codes, weighted_distances
from tests.support.retrieval_metrics import distance_recall

from wearalike.search import inverted_multi_index


@pytest.fixture(scope="module")
def codes():
    return clustered_codes(20_000, 1)


@pytest.fixture(scope="module")
def lists(codes):
    return inverted_multi_index.build_inverted_multi_index(codes)


def test_every_code_is_in_the_cell_of_its_nearest_centroids(codes, lists):
    assert lists.centroids.shape == (2, 32, 2) and sorted(lists.rows.tolist()) == list(
        range(len(codes))
    )
    cells = np.repeat(np.arange(32 * 32), np.diff(lists.cell_starts))
    for half, number in enumerate((cells // 32, cells % 32)):
        far = np.bitwise_count(
            codes[lists.rows, None, 2 * half : 2 * half + 2] ^ lists.centroids[half]
        ).sum(axis=2, dtype=np.int64)
        assert (far[np.arange(len(far)), number] == far.min(axis=1)).all()
        assert len(set(number.tolist())) > 20
    assert all(
        (np.diff(lists.rows[a:b]) > 0).all()
        for a, b in zip(lists.cell_starts[:-1], lists.cell_starts[1:], strict=True)
    )


def test_a_shortlist_has_candidates_alone_and_enough_of_them(codes, lists):
    candidates = np.arange(0, len(codes), 7)
    for weights in ((1, 0), (2, 8), (0, 1)):
        for least in (1, 500, len(candidates), len(codes)):
            rows = lists.shortlist(codes[5], *weights, candidates, least)
            assert (
                len(rows) >= min(least, len(candidates))
                and (np.diff(rows) > 0).all()
                and np.isin(rows, candidates).all()
            )
        assert rows.tolist() == candidates.tolist()


def test_a_tenth_of_the_codes_holds_nearly_all_of_the_nearest(codes, lists):
    everything = np.arange(len(codes))
    found = []
    for query in clustered_codes(40, 2):
        rows = lists.shortlist(query, 2, 8, everything, len(codes) // 10)
        assert len(rows) < len(codes) / 4
        found.append(
            distance_recall(
                np.sort(weighted_distances(query, codes[rows]))[:20],
                np.sort(weighted_distances(query, codes))[:20],
            )
        )
    at_random = np.sort(weighted_distances(query, codes[:: len(codes) // len(rows)]))[:20]
    assert (
        np.mean(found)
        > 0.9
        > 0.5
        > distance_recall(at_random, np.sort(weighted_distances(query, codes))[:20])
    )


def test_recall_counts_ties_as_hits():
    exact = np.array([3, 5, 5])
    assert distance_recall(np.array([3, 5, 5]), exact) == 1
    assert distance_recall(np.array([5, 5, 5]), exact) == 1
    assert distance_recall(np.array([3, 5, 6]), exact) == pytest.approx(2 / 3)
    assert distance_recall(np.array([6, 7, 8]), exact) == 0
    assert distance_recall(np.array([], int), exact) == 0
    assert distance_recall(np.array([], int), np.array([], int)) == 1


def test_few_codes_and_equal_codes_have_lists_too():
    one = inverted_multi_index.build_inverted_multi_index(np.zeros((1, 4), np.uint64))
    assert one.shortlist(np.ones(4, np.uint64), 2, 8, np.array([0]), 5).tolist() == [0]
    same = inverted_multi_index.build_inverted_multi_index(np.zeros((500, 4), np.uint64))
    assert same.shortlist(np.ones(4, np.uint64), 2, 8, np.arange(500), 500).tolist() == list(
        range(500)
    )


def test_a_shortlist_is_a_fiftieth_and_never_small():
    assert [
        inverted_multi_index.min_shortlist_size(count) for count in (10, 100_000, 10_000_000)
    ] == [
        20_000,
        20_000,
        200_000,
    ]
