"""Diverse lists: maximal marginal relevance by its definition, and off unless it is asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalog.test_merchandising_rules import one_by_one as one_by_one_ruled
from tests.search.test_search import brand_limit, make_gallery, one_by_one, search_each

from wearalike.catalog import MerchandisingRule
from wearalike.search import ListRules
from wearalike.search.candidates import CANDIDATES_PER_RESULT, weighted_distances


def far(g, row, other) -> int:
    """Return the weighted distance of two products, by the weights of the first."""
    return int(weighted_distances(g, np.array([row]), np.array([other]))[0])


def between(g, row, one, other) -> int:
    """Return how far two results of a product's list are, by the weights of that product."""
    weights = {
        name: np.full(len(g), getattr(g, name)[row])
        for name in ("shape_weight", "colour_weight", "kind_weight")
    }
    return far(replace(g, **weights), one, other)


def chosen_one_by_one(g, row, rules, percent) -> list[int]:
    """Return a diverse list by the definition."""
    # One result a group and the limit on a brand act in the choice, not before it.
    free = replace(g, groups=-1 - np.arange(len(g)), brands=-1 - np.arange(len(g)))
    near = [found[0] for found in one_by_one(free, row, replace(rules, k=len(g)))]
    # The product itself is one of the nearest, and never a result.
    near = sorted([*near, *[row] * bool(g.is_in_stock[row])], key=lambda c: (far(g, row, c), c))
    limit, count = brand_limit(g, row, rules), CANDIDATES_PER_RESULT * rules.k
    while True:
        pool = near[:count]
        chosen: list[int] = []
        while len(chosen) < rules.k:
            fit = [
                c
                for c in pool
                if c != row
                and g.groups[c] not in {g.groups[row], *(g.groups[s] for s in chosen)}
                and [g.brands[s] for s in chosen].count(g.brands[c]) < limit
            ]
            if not fit:
                break

            def value(c, chosen=tuple(chosen)):
                least = min((between(g, row, s, c) for s in chosen), default=0)
                return (100 - percent) * far(g, row, c) - percent * least

            chosen.append(min(fit, key=lambda c: (value(c), far(g, row, c), c)))
        if len(chosen) == rules.k or len(pool) == len(near):
            return sorted(chosen, key=lambda c: (far(g, row, c), c))
        count *= 8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    bits=st.sampled_from([2, 6, 128]),
    percent=st.sampled_from([10, 50, 90]),
    rules=st.builds(
        ListRules,
        k=st.integers(1, 4),
        min_score=st.sampled_from([0.0, 0.1, 0.4]),
        max_per_brand=st.integers(1, 6),
    ),
)
def test_a_diverse_list_is_chosen_by_the_definition(seed, n, bits, percent, rules):
    g = make_gallery(seed, n, bits=bits, most_kind_weight=3, names=True)
    diverse = replace(rules, diversity=percent / 100)
    for found in search_each(g, 0, n, diverse):
        # The group of a product joins those of its own article; the list knows no others.
        assert found.results.tolist() == chosen_one_by_one(g, found.query_row, rules, percent)
        assert (found.shortfall_reason is None) == (len(found.results) == rules.k)


def test_a_diverse_list_leaves_out_the_same_again():
    """Thirty products look alike, three do not: the list shows them, behind the nearest."""
    g = make_gallery(5, 40, out_of_stock=0, groups=0, brands=0, w=(1, 1))
    g.gender[:], g.age_group[:] = "female", "adult"
    g.codes[:] = 0
    g.codes[:30, 0] = 1
    g.codes[0, 0] = 0
    for place, row in enumerate((31, 32, 33)):
        g.codes[row, place] = 0b1111111
    g.codes[[30, *range(34, 40)], 2:] = ~np.uint64(0)
    plain = search_each(g, 0, 1, ListRules(k=9, min_score=0.0))[0]
    diverse = search_each(g, 0, 1, ListRules(k=9, min_score=0.0, diversity=0.7))[0]
    assert not {31, 32, 33} & set(plain.results.tolist())
    assert {31, 32, 33} <= set(diverse.results.tolist())
    assert (np.diff(diverse.shape + diverse.colour) >= 0).all()


@pytest.mark.parametrize("kind", ["pin", "hide", "prefer", "bury", "fill"])
def test_rules_hold_in_diverse_lists(kind):
    g = make_gallery(8, 60, out_of_stock=0, bits=6)
    fields = {"pin": {"at": 2}, "prefer": {"boost": 0.2}, "bury": {"boost": 0.2}}.get(kind, {})
    about = {} if kind == "fill" else {"product": "s:0011"}
    rule = MerchandisingRule("one", kind, **about, **fields)
    rules = ListRules(k=4, min_score=0.1)
    for found in search_each(g, 0, 60, replace(rules, diversity=0.3), [rule]):
        plain = one_by_one_ruled(g, found.query_row, rules, [rule])
        assert len(found.results) == len(plain)
        pinned = [row for row, text, _ in plain if text == "pin:one"]
        assert [
            row for row, text in zip(found.results.tolist(), found.rules, strict=True)
            if text == "pin:one"
        ] == pinned  # fmt: skip
        if kind == "hide":
            assert 11 not in found.results.tolist()


def test_without_diversity_lists_are_as_ever():
    g = make_gallery(9, 80, bits=6)
    for found in search_each(g, 0, 80, ListRules(k=5, diversity=0.0)):
        wanted = one_by_one(g, found.query_row, ListRules(k=5))
        assert found.results.tolist() == [row for row, *_ in wanted]
