"""What is remembered from day to day gives the lists that a search of everything gives."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalog.test_merchandising_rules import RULE, SCOPES
from tests.search.test_search import make_gallery

from wearalike import search
from wearalike.catalog import Rule
from wearalike.search import Gallery, Rules
from wearalike.search.kernels import bitplane

_PER_PRODUCT = (
    "product_ids",
    "item_ids",
    "codes",
    "w_shape",
    "w_colour",
    "gender",
    "age_group",
    "is_in_stock",
    "groups",
    "brands",
)


def only(g: Gallery, rows: np.ndarray) -> Gallery:
    pages = replace(g.pages, **{name: getattr(g.pages, name)[rows] for name in g.pages.__slots__})
    return Gallery(**{name: getattr(g, name)[rows] for name in _PER_PRODUCT}, pages=pages)


def churned(everything: Gallery, day: int, seed: int, ratio: float) -> Gallery:
    """Some of the products, as they are on a day: each fact of each product changes now and then, some come, go and come back."""
    rng = np.random.default_rng(seed)
    n = len(everything)
    other = make_gallery(seed % 1000, n)
    facts = {name: np.array(getattr(everything, name)) for name in _PER_PRODUCT}
    is_there = rng.random(n) < 0.8
    for _ in range(day):
        is_there ^= rng.random(n) < ratio
        for name in set(_PER_PRODUCT) - {"product_ids"}:
            changed = rng.random(n) < ratio
            facts[name][changed] = np.roll(getattr(other, name), 1, axis=0)[changed]
            if name == "codes":
                # A changed picture often looks nearly the same.
                slightly = rng.random(n) < ratio
                facts[name][slightly, 0] ^= np.uint64(1)
            if name == "w_shape":
                facts[name][changed] = rng.integers(0, 5, changed.sum())
    return only(Gallery(**facts, pages=everything.pages), np.flatnonzero(is_there))


def searched(g: Gallery, rules: Rules, merchandise=(), recall=None) -> list[search.Lists]:
    return list(search.search(g, 0, len(g), rules, merchandise, recall)) if len(g) else []


def assert_same(g: Gallery, one: list[search.Lists], other: list[search.Lists]) -> None:
    assert (not one) == (not other)
    if one:
        assert search.table(g, one).equals(search.table(g, other))


RULES = st.builds(
    Rules,
    k=st.integers(1, 9),
    min_score=st.sampled_from([0.0, 0.1, 0.4]),
    max_per_brand=st.integers(1, 9),
)
MERCHANDISE = st.lists(st.tuples(RULE, SCOPES), max_size=2).map(
    lambda kinds: [
        Rule(id=f"r{i}", kind=kind, **about, **scope)
        for i, ((kind, about), scope) in enumerate(kinds)
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    bits=st.sampled_from([2, 6, 128]),
    ratio=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    days=st.lists(st.tuples(RULES, MERCHANDISE), min_size=2, max_size=4),
)
def test_random_days_of_churn_give_the_tables_of_full_searches(seed, n, bits, ratio, days):
    everything = make_gallery(seed % 10_000, n, bits=bits)
    before, near = None, None
    for day, (rules, merchandise) in enumerate(days):
        g = churned(everything, day, seed, ratio)
        recall = search.Recall(search.changes(before, g), near) if near is not None else None
        found = searched(g, rules, merchandise, recall)
        assert_same(g, found, searched(g, rules, merchandise))
        # Kept and read back, as from one night to the next.
        before, near = (
            g,
            search.near_of(search.near_table(search.joined([lists.near for lists in found])))
            if found
            else None,
        )


def test_only_what_changed_is_searched(monkeypatch):
    """2 of 100 products are new or changed: they ask everything, the rest asks them, and few lists need more."""
    rng = np.random.default_rng(3)
    n = 4000
    g = make_gallery(1, n, out_of_stock=0, groups=0)
    g.gender[:], g.age_group[:] = "female", "adult"
    was = only(g, np.flatnonzero(rng.random(n) > 0.01))
    was.codes[rng.random(len(was)) < 0.01] ^= np.uint64(3)
    rules = Rules()
    near = search.joined([lists.near for lists in searched(was, rules)])
    pairs = []
    nearest = bitplane.nearest_in_one

    def counted(queries, tiles, *more):
        pairs.append(len(queries) * len(tiles))
        return nearest(queries, tiles, *more)

    monkeypatch.setattr(bitplane, "nearest_in_one", counted)
    found = searched(g, rules, (), search.Recall(search.changes(was, g), near))
    monkeypatch.undo()
    assert 0 < sum(pairs) < 0.06 * n * n
    assert_same(g, found, searched(g, rules))
    assert pa.Table.from_batches([search.table(g, found)]).num_rows == n
