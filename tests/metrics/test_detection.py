"""Metrics of detectors and classifiers: worked out by hand, and computed a slow second way."""

import math
from dataclasses import asdict, astuple
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike.metrics.boxes import box_iou
from wearalike.metrics.categories import ALL, compare_categories
from wearalike.metrics.classification import compute_classifier_metrics
from wearalike.metrics.detection import (
    Boxes,
    average_precision,
    compute_detection_metrics,
)

WHOLE = (0, 0, 10, 10)


def by_category(rows):
    return {r.category: r for r in rows}


def test_iou_by_hand():
    found = box_iou(
        np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]),
        np.array([[5.0, 0, 15, 10], [0, 0, 10, 5], [0, 0, 10, 10]]),
    )
    np.testing.assert_allclose(found, [[1 / 3, 1 / 2, 1], [0, 0, 0]])


def test_measures_by_hand():
    """Three bags and a boot in four images.

    The bags found are, best first: a right one; a second one of the same bag; half a bag (IoU
    exactly 0.5); one on an image without a bag. The third bag, a little off (IoU 0.8), is below the
    confidence used.
    """
    truths = Boxes.from_rows(
        [
            ("a", "bag", WHOLE, 1),
            ("b", "bag", WHOLE, 1),
            ("c", "bag", WHOLE, 1),
            ("a", "boot", (50, 50, 60, 60), 1),
        ]
    )
    found = Boxes.from_rows(
        [
            ("c", "bag", (0, 0, 10, 8), 0.2),
            ("d", "bag", WHOLE, 0.6),
            ("b", "bag", (0, 0, 10, 5), 0.7),
            ("a", "bag", WHOLE, 0.9),
            ("a", "bag", (0, 0, 10, 9), 0.8),
            ("a", "hat", WHOLE, 0.5),
        ]
    )
    rows = compute_detection_metrics(truths, found, ["a", "b", "c", "d"], confidence=0.5)
    assert [r.category for r in rows] == [ALL, "bag", "boot", "hat"]
    bag, boot, hat = rows[1:]
    assert astuple(bag)[1:5] == (3, 2, 2, 1)
    assert (bag.tpr, bag.fpr, bag.precision) == (2 / 3, 1 / 1, 2 / 4)
    # At IoU 0.5 the list reads 1 0 1 0 1: precision 1 up to recall 1/3 (34 points), 2/3 up to 2/3
    # (33 points), 3/5 up to 1 (34 points).
    ap50 = (34 * 1 + 33 * 2 / 3 + 34 * 3 / 5) / 101
    # 0.55 to 0.80: 1 0 0 0 1, the last recall being 2/3. 0.85 to 0.95: 1 0 0 0 0.
    middle, high = (34 + 33 * 2 / 5) / 101, 34 / 101
    assert bag.ap50 == pytest.approx(ap50, abs=1e-12)
    assert bag.map50_95 == pytest.approx((ap50 + 6 * middle + 3 * high) / 10, abs=1e-12)
    assert (
        astuple(boot)[1:7] == (1, 0, 0, 1, 0.0, 0.0)
        and math.isnan(boot.precision)
        and boot.ap50 == 0
    )
    assert (
        astuple(hat)[1:5] == (0, 0, 1, 0)
        and (hat.fpr, hat.precision) == (1 / 4, 0)
        and math.isnan(hat.tpr)
        and math.isnan(hat.ap50)
    )
    everything = rows[0]
    assert astuple(everything)[1:5] == (4, 2, 3, 2)
    # False positives on images without their category: the bag on d, the hat on a. Such pairs of
    # image and category: d for bags, b c d for boots, all for hats.
    assert (everything.tpr, everything.fpr, everything.precision) == (2 / 4, 2 / 8, 2 / 5)
    assert everything.ap50 == pytest.approx(ap50 / 2)
    assert compute_detection_metrics(truths, found, ["a", "b", "c", "d"], 0.5, min_truths_count=2)[
        0
    ].ap50 == pytest.approx(ap50)


def test_the_surest_box_chooses_first_and_takes_what_it_overlaps_most():
    truths = Boxes.from_rows([("a", "bag", (0, 0, 10, 10), 1), ("a", "bag", (2, 0, 12, 10), 1)])
    found = Boxes.from_rows([("a", "bag", (2, 0, 12, 10), 0.9), ("a", "bag", (3, 0, 13, 10), 0.8)])
    bag = compute_detection_metrics(truths, found, ["a"], 0)[1]
    # The second box overlaps the taken truth by 9/11. The truth left to it, which it overlaps by
    # 7/13, is enough at 0.5 alone.
    assert (bag.tp, bag.fp, bag.ap50) == (2, 0, 1.0)
    assert bag.map50_95 == pytest.approx((1 + 9 * 51 / 101) / 10)


def test_nothing_to_measure():
    none = Boxes.from_rows([])
    (row,) = compute_detection_metrics(none, none, ["a"], 0.5)
    assert astuple(row)[:5] == (ALL, 0, 0, 0, 0) and all(math.isnan(v) for v in astuple(row)[5:])
    assert math.isnan(average_precision(np.array([True]), 0))
    assert average_precision(np.array([], dtype=bool), 7) == 0


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (("a.jpg", "bag", (10, 0, 10, 5), 1), "a.jpg: bag: .*10.0, 0.0, 10.0, 5.0.*wanted x0 < x1"),
        (("a.jpg", "bag", (0, 0, math.nan, 5), 1), "a.jpg: bag"),
        (("a.jpg", "bag", WHOLE, 1.01), "confidence 1.01"),
        (("a.jpg", "bag", WHOLE, math.nan), "confidence nan"),
        (("a.jpg", ALL, WHOLE, 1), "'all' is no category"),
    ],
)
def test_bad_boxes_are_named(row, wanted):
    with pytest.raises(ValueError, match=wanted):
        Boxes.from_rows([("good", "bag", WHOLE, 1), row])


def test_a_box_of_an_image_not_looked_at_is_refused():
    box, none = Boxes.from_rows([("b", "bag", WHOLE, 1)]), Boxes.from_rows([])
    with pytest.raises(ValueError, match="found box is of image b"):
        compute_detection_metrics(none, box, ["a"], 0.5)
    with pytest.raises(ValueError, match="truth is of image b"):
        compute_detection_metrics(box, none, ["a"], 0.5)
    with pytest.raises(ValueError, match="distinct"):
        compute_detection_metrics(none, none, ["a", "a"], 0.5)


IMAGES = ["a", "b", "c"]
corners = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)
confidences = st.sampled_from([0.1, 0.3, 0.5, 0.9])
boxes = st.lists(
    st.tuples(st.sampled_from(IMAGES), st.sampled_from(["bag", "hat"]), corners, confidences),
    max_size=14,
)


def slow_ap(truths, found, threshold):
    """Return the AP of one category by its definition, in fractions.

    At each recall it takes the best precision of any cut that reaches it.
    """

    def overlap(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        both = max(0, width) * max(0, height)
        return Fraction(both, (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    free, hits, cuts = list(truths), 0, []
    for number, (image, _, box, _) in enumerate(
        sorted(found, key=lambda f: (-f[3], f[0], f[2])), 1
    ):
        near = [(overlap(box, t[2]), -i) for i, t in enumerate(free) if t[0] == image]
        if near and max(near)[0] >= threshold:
            free.pop(-max(near)[1])
            hits += 1
        cuts.append((Fraction(hits, len(truths)), Fraction(hits, number)))
    return float(
        sum(
            max([p for r, p in cuts if r >= Fraction(point, 100)], default=0)
            for point in range(101)
        )
        / 101
    )


@settings(max_examples=150, deadline=None)
@given(boxes, boxes)
def test_ap_agrees_with_the_definition(truths, found):
    for row in compute_detection_metrics(
        Boxes.from_rows(truths), Boxes.from_rows(found), IMAGES, 0.4
    )[1:]:
        mine, theirs = ([b for b in side if b[1] == row.category] for side in (truths, found))
        if mine:
            aps = [slow_ap(mine, theirs, Fraction(t, 100)) for t in range(50, 100, 5)]
            assert row.ap50 == pytest.approx(aps[0], abs=1e-12)
            assert row.map50_95 == pytest.approx(np.mean(aps), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(boxes, boxes, st.randoms(use_true_random=False))
def test_what_no_figure_depends_on(truths, found, random):
    """Not on the order of boxes or images, nor on the unit of length."""
    once = compute_detection_metrics(Boxes.from_rows(truths), Boxes.from_rows(found), IMAGES, 0.4)
    shuffled = [random.sample(side, len(side)) for side in (truths, found)]
    np.testing.assert_equal(
        [
            asdict(r)
            for r in compute_detection_metrics(*map(Boxes.from_rows, shuffled), IMAGES[::-1], 0.4)
        ],
        [asdict(r) for r in once],
    )
    larger = [
        [(i, c, [4 * v for v in box], s) for i, c, box, s in side] for side in (truths, found)
    ]
    np.testing.assert_equal(
        [asdict(r) for r in compute_detection_metrics(*map(Boxes.from_rows, larger), IMAGES, 0.4)],
        [asdict(r) for r in once],
    )


@settings(max_examples=60, deadline=None)
@given(boxes, boxes, corners)
def test_counts_add_up_and_more_mistakes_are_never_better(truths, found, stray):
    low, high = (
        by_category(
            compute_detection_metrics(Boxes.from_rows(truths), Boxes.from_rows(found), IMAGES, c)
        )
        for c in (0.2, 0.6)
    )
    for category, row in low.items():
        assert row.tp + row.fn == row.truths == sum(category in (t[1], ALL) for t in truths)
        assert row.tp + row.fp == sum(category in (f[1], ALL) and f[3] >= 0.2 for f in found)
        assert high[category].tp <= row.tp and high[category].fp <= row.fp
        assert (high[category].ap50, high[category].map50_95) == pytest.approx(
            (row.ap50, row.map50_95), nan_ok=True
        )
    worse = by_category(
        compute_detection_metrics(
            Boxes.from_rows(truths),
            Boxes.from_rows([*found, ("empty", "bag", stray, 0.95)]),
            [*IMAGES, "empty"],
            0.2,
        )
    )
    if "bag" in low and low["bag"].truths:
        assert (
            worse["bag"].ap50 <= low["bag"].ap50
            and worse["bag"].fp == low["bag"].fp + 1
            and worse["bag"].tpr == low["bag"].tpr
        )
        assert worse["bag"].fpr > 0


@settings(max_examples=40, deadline=None)
@given(boxes)
def test_truths_found_as_they_are_score_1(truths):
    distinct = list({b[:3]: b for b in truths}.values())
    for row in compute_detection_metrics(
        Boxes.from_rows(distinct), Boxes.from_rows(distinct), [*IMAGES, "empty"], 0
    ):
        shares = (row.tpr, row.fpr, row.precision, row.ap50, row.map50_95)
        assert shares == pytest.approx(
            (1, 0, 1, 1, 1) if distinct else (math.nan,) * 5, nan_ok=True
        )


def test_classifier_by_hand():
    names = ["bag", "boot", "hat", "belt", "scarf", "dress"]
    scores = np.zeros((5, 6))
    scores[0, 0] = 1  # a bag taken for a bag
    scores[1, 1] = 1  # a bag taken for a boot, bag second
    scores[2, 1] = 1  # a boot taken for a boot
    scores[3:, :5] = 1  # a scarf, fifth of five equal ones, and a dress, last of all
    found = compute_classifier_metrics(["bag", "bag", "boot", "scarf", "dress"], scores, names)
    assert (found.top1, found.top5) == (2 / 5, 4 / 5)
    nothing, bag = [0] * 6, [1, 0, 0, 0, 0, 0]
    assert found.confusion.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        nothing,
        nothing,
        bag,
        bag,
    ]
    rows = by_category(found.rows)
    assert list(rows) == [ALL, *names]
    assert astuple(rows["bag"])[1:8] == (2, 1, 2, 1, 1 / 2, 2 / 3, 1 / 3)
    assert astuple(rows["boot"])[1:8] == (1, 1, 1, 0, 1.0, 1 / 4, 1 / 2)
    assert astuple(rows["dress"])[1:7] == (1, 0, 0, 1, 0.0, 0.0)
    assert (
        math.isnan(rows["hat"].tpr)
        and math.isnan(rows["dress"].precision)
        and math.isnan(rows["bag"].ap50)
    )
    assert astuple(rows[ALL])[1:8] == (5, 2, 3, 3, 2 / 5, 3 / 25, 2 / 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 7), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_classifier_counts_add_up(categories_count, n, seed):
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(categories_count)]
    truth, scores = (
        rng.integers(0, categories_count, n),
        rng.integers(0, 3, (n, categories_count)).astype(float),
    )
    found = compute_classifier_metrics([names[t] for t in truth], scores, names)
    assert (
        found.confusion.sum() == n and found.top1 == found.confusion.trace() / n <= found.top5 <= 1
    )
    assert (
        found.confusion.sum(axis=1).tolist()
        == np.bincount(truth, minlength=categories_count).tolist()
    )
    # Renaming the categories moves rows and columns and nothing else.
    order = rng.permutation(categories_count)
    distinct = scores + np.arange(categories_count) / 100
    one, other = (
        compute_classifier_metrics([names[t] for t in truth], distinct[:, o], [names[i] for i in o])
        for o in (np.arange(categories_count), order)
    )
    assert (other.confusion == one.confusion[np.ix_(order, order)]).all() and (
        other.top1,
        other.top5,
    ) == (one.top1, one.top5)


def test_a_classifier_without_images():
    found = compute_classifier_metrics([], np.empty((0, 2)), ["bag", "boot"])
    assert (
        found.confusion.tolist() == [[0, 0], [0, 0]]
        and math.isnan(found.top1)
        and math.isnan(found.top5)
    )


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="'scarf', which is not among the 2"):
        compute_classifier_metrics(["scarf"], np.zeros((1, 2)), ["bag", "boot"])
    with pytest.raises(ValueError, match="finite"):
        compute_classifier_metrics(["bag"], np.array([[0, np.nan]]), ["bag", "boot"])
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        compute_classifier_metrics(["bag"], np.zeros((1, 3)), ["bag", "boot"])
    with pytest.raises(ValueError, match="distinct"):
        compute_classifier_metrics(["bag"], np.zeros((1, 2)), ["bag", "bag"])


def version(**right):
    """Return metrics of a detector that finds so many of ten a category.

    It has a stray box for each one that it misses.
    """
    truths = Boxes.from_rows([(str(i), c, WHOLE, 1) for c in right for i in range(10)])
    found = Boxes.from_rows(
        [(str(i if i < n else 10 + i), c, WHOLE, 0.9) for c, n in right.items() for i in range(10)]
    )
    return compute_detection_metrics(truths, found, [str(i) for i in range(20)], 0.5)


def test_versions_are_compared_worst_first():
    rows = compare_categories(
        version(bag=9, boot=5, hat=3, scarf=6, belt=1),
        version(bag=5, boot=8, hat=4, dress=7),
        worst_by="tpr",
    )
    assert [(r.category, round(r.difference("tpr"), 6)) for r in rows[1:4]] == [
        ("boot", -0.3),
        ("hat", -0.1),
        ("bag", 0.4),
    ]
    assert rows[0].category == ALL and [r.category for r in rows[4:]] == ["belt", "scarf", "dress"]
    assert rows[4].last is None and rows[6].this is None and math.isnan(rows[4].difference("tpr"))
    strays = compare_categories(version(bag=9, boot=5), version(bag=5, boot=8), worst_by="fpr")
    assert [(r.category, round(r.difference("fpr"), 6)) for r in strays[1:]] == [
        ("boot", 0.3),
        ("bag", -0.4),
    ]
    first = compare_categories(version(bag=9, boot=5, hat=7))
    assert [r.category for r in first] == [ALL, "boot", "hat", "bag"]
