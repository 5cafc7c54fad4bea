"""Bootstrap intervals: the same by resampling, their coverage, and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from wearalike.metrics.bootstrap import BootstrapEstimate, bootstrap_difference, bootstrap_mean


def test_the_interval_is_the_bootstraps() -> None:
    values = np.random.default_rng(3).integers(0, 11, 400) / 10
    found = bootstrap_mean(values)
    # The same by resampling the queries themselves.
    picks = np.random.default_rng(4).integers(0, 400, (4000, 400))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.005),
        pytest.approx(high, abs=0.005),
    )
    assert found == bootstrap_mean(values)
    assert found != bootstrap_mean(values, seed=1)
    assert bootstrap_mean(np.full(7, 0.25)) == BootstrapEstimate(0.25, 0.25, 0.25, 7)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5).random((200, 60)) < 0.3
    found = [bootstrap_mean(row.astype(float)) for row in draws]
    assert 0.88 <= np.mean([f.low <= 0.3 <= f.high for f in found]) <= 0.99


def test_many_different_values_are_resampled_in_steps() -> None:
    values = np.random.default_rng(6).random(20_000)
    found = bootstrap_mean(values)
    error = values.std() / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    hard = np.random.default_rng(8).random(200)
    better = hard + 0.01
    ours, theirs, gain = (
        bootstrap_mean(better),
        bootstrap_mean(hard),
        bootstrap_difference(better, hard),
    )
    assert ours.low < theirs.high
    assert gain.low > 0
    assert gain.value == pytest.approx(0.01)


def test_no_query_at_all() -> None:
    found = bootstrap_mean(np.array([]))
    assert (np.isnan(found.value), found.queries) == (True, 0)
