"""Agreement: published examples of Wilson's interval and kappa, and the definition of ROC AUC."""

from __future__ import annotations

import numpy as np
import pytest

from wearalike.metrics.agreement import cohen_kappa, roc_auc, wilson_interval


def test_the_interval_is_wilson_s():
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine
    # 17, 1998, table I, method 3.
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(count / of, of) == pytest.approx((low, high), abs=5e-5)


def test_kappa_is_cohen_s():
    # The usual example: two readers of 50 proposals agree on 0.7 of them, 0.5 by chance.
    labels = (
        [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    )
    assert cohen_kappa(labels) == pytest.approx(0.4)
    assert cohen_kappa([("yes", "yes"), ("no", "no"), ("wrong", "wrong")]) == 1
    assert cohen_kappa([("yes", "no"), ("no", "yes")]) == -1
    assert cohen_kappa([("yes", "yes")] * 3) is None
    assert cohen_kappa([]) is None


def test_roc_auc_is_the_chance_that_an_alike_pair_scores_higher():
    rng = np.random.default_rng(3)
    scores, is_alike = rng.integers(0, 8, 60).astype(np.float64), rng.random(60) < 0.4
    alike, others = scores[is_alike], scores[~is_alike]
    assert len(alike) > 10
    wins = [1.0 if a > o else 0.5 if a == o else 0.0 for a in alike for o in others]
    assert roc_auc(scores, is_alike) == pytest.approx(np.mean(wins))
    assert roc_auc(np.arange(4.0), np.array([False, False, True, True])) == 1
    assert roc_auc(np.arange(2.0), np.array([True, True])) is None
