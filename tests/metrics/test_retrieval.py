"""Retrieval metrics: the examples of their definitions, and a slow second way to compute them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.retrieval_metrics import hit_rate, recall

from wearalike.metrics import retrieval
from wearalike.metrics.bootstrap import bootstrap_difference, bootstrap_mean

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 8))


def marks(*rows: str) -> np.ndarray:
    """bool (n, m) of texts such as "1 0 1"."""
    return np.array([[mark == "1" for mark in row.split()] for row in rows])


def test_the_examples_of_the_definitions() -> None:
    one, late = marks("1 0 1 0 0"), marks("0 0 0 1 1")
    assert retrieval.precision(one, 5) == 0.4
    assert retrieval.average_precision(one, np.array([3]), 5) == pytest.approx(5 / 9)
    assert retrieval.relevance(one, 5) == pytest.approx(8 / 15)
    assert retrieval.relevance(late, 5) == pytest.approx(0.2)
    assert hit_rate(late, 3) == 0
    assert hit_rate(late, 4) == 1
    assert recall(one, np.array([3]), 5) == pytest.approx(2 / 3)
    assert recall(one, np.array([3]), 2) == pytest.approx(1 / 3)


def test_a_short_list_is_divided_by_k_all_the_same() -> None:
    assert retrieval.precision(marks("1 1"), 10) == 0.2
    assert retrieval.relevance(marks("1 1"), 10) == pytest.approx(19 / 55)
    # R = 2 is less than k: both found at the top is all that can be had.
    assert retrieval.average_precision(marks("1 1"), np.array([2]), 10) == 1


def test_a_query_without_anything_relevant_is_left_out_and_counted() -> None:
    relevant, relevant_count = marks("1 0", "0 0", "0 1"), np.array([1, 0, 4])
    values = retrieval.average_precision(relevant, relevant_count, 2)
    assert np.isnan(values).tolist() == [False, True, False]
    found = bootstrap_mean(values)
    assert (found.value, found.queries, found.left_out) == (pytest.approx((1 + 0.25) / 2), 2, 1)
    assert np.isnan(recall(relevant, relevant_count, 2)[1])


def test_arguments_that_are_no_lists_of_marks() -> None:
    with pytest.raises(ValueError, match="wanted bool"):
        retrieval.precision(np.ones((2, 3)), 3)
    with pytest.raises(ValueError, match="k >= 1"):
        hit_rate(marks("1 0"), 0)
    with pytest.raises(ValueError, match="same queries"):
        bootstrap_difference(np.ones(3), np.ones(1))


@given(arrays.arrays(np.bool_, SHAPES), st.integers(1, 10), st.integers(0, 5))
def test_every_measure_keeps_its_range_and_says_what_a_loop_says(
    relevant: np.ndarray, k: int, unseen: int
) -> None:
    relevant_count = relevant.sum(axis=1) + unseen
    found = {
        "precision": retrieval.precision(relevant, k),
        "hit": hit_rate(relevant, k),
        "relevance": retrieval.relevance(relevant, k),
        "recall": recall(relevant, relevant_count, k),
        "ap": retrieval.average_precision(relevant, relevant_count, k),
    }
    for values in found.values():
        kept = values[~np.isnan(values)]
        assert values.shape == (len(relevant),) and ((kept >= 0) & (kept <= 1 + 1e-12)).all()
    for i, row in enumerate(relevant.tolist()):
        hits = [rank for rank, mark in enumerate(row[:k], 1) if mark]
        assert found["precision"][i] == pytest.approx(len(hits) / k)
        assert found["hit"][i] == bool(hits)
        assert found["relevance"][i] == pytest.approx(
            sum(k - rank + 1 for rank in hits) / (k * (k + 1) / 2)
        )
        if relevant_count[i]:
            ap = sum(number / rank for number, rank in enumerate(hits, 1)) / min(
                relevant_count[i], k
            )
            assert found["ap"][i] == pytest.approx(ap)
            assert found["recall"][i] == pytest.approx(len(hits) / relevant_count[i])


@given(arrays.arrays(np.bool_, SHAPES))
def test_a_hit_that_moves_up_never_lowers_a_measure_of_rank(relevant: np.ndarray) -> None:
    k = relevant.shape[1]
    risen = -np.sort(-relevant.astype(int), axis=1) > 0
    relevant_count = relevant.sum(axis=1)
    assert (retrieval.relevance(risen, k) >= retrieval.relevance(relevant, k) - 1e-12).all()
    before, after = (
        np.nan_to_num(retrieval.average_precision(r, relevant_count, k)) for r in (relevant, risen)
    )
    assert (after >= before - 1e-12).all()


def test_a_first_right_answer_stands_in_the_middle_of_its_ties():
    far = np.array([[3.0, 1, 3, 3, 9]])
    right = np.array([[False, False, True, False, True]])
    nothing = np.zeros((1, 5), bool)
    # One is nearer, two others are as far.
    assert retrieval.first_relevant_rank(far, right, nothing).tolist() == [2]
    # Rows that are no answers count for nothing, even right ones.
    left_out = np.array([[True, True, False, False, False]])
    assert retrieval.first_relevant_rank(far, right, left_out).tolist() == [0.5]
    left_out = np.array([[False, False, True, False, False]])
    assert retrieval.first_relevant_rank(far, right, left_out).tolist() == [3]
    assert np.isnan(retrieval.first_relevant_rank(far, right, right)).all()
    ranks = np.array([0, 0.5, 1, 9.5, 10, np.nan])
    np.testing.assert_array_equal(retrieval.recall(ranks, 1), [1, 1, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(retrieval.recall(ranks, 10), [1, 1, 1, 1, 0, np.nan])


def test_answers_as_far_as_the_last_share_its_places():
    far = np.array([[1.0, 2, 2, 2, 3]])
    right = np.array([[True, True, False, True, True]])
    nothing = np.zeros((1, 5), bool)
    # The nearest is right; two of the three tied ones are, for one place.
    assert retrieval.tied_precision(far, right, nothing, 2) == pytest.approx([(1 + 2 / 3) / 2])
    assert retrieval.tied_precision(far, right, nothing, 4) == pytest.approx([3 / 4])
    # Fewer answers than places: still divided by k.
    assert retrieval.tied_precision(far, right, nothing, 10) == pytest.approx([4 / 10])
    left_out = np.array([[True, False, False, False, False]])
    assert retrieval.tied_precision(far, right, left_out, 1) == pytest.approx([2 / 3])
    assert retrieval.tied_precision(far, right, nothing | True, 3) == pytest.approx([0])


def test_tied_precision_is_the_mean_over_all_orders_of_ties():
    rng = np.random.default_rng(0)
    far = rng.integers(0, 4, (6, 9)).astype(float)
    right, nothing = rng.random((6, 9)) < 0.4, np.zeros((6, 9), bool)
    shuffles = []
    for _ in range(4000):
        order = np.argsort(far + rng.random(far.shape) * 0.5, axis=1)
        shuffles.append(np.take_along_axis(right, order, axis=1)[:, :5].mean(axis=1))
    found = retrieval.tied_precision(far, right, nothing, 5)
    assert found == pytest.approx(np.mean(shuffles, axis=0), abs=0.02)
