"""An incremental search gives the lists of a full search."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.catalog.test_merchandising_rules import RULE, SCOPES
from tests.search.test_search import draw_kinds, make_gallery

from wearalike import search
from wearalike.catalog import MerchandisingRule
from wearalike.catalog.colour_names import build_name_table, packaged_colour_names
from wearalike.search import Gallery, ListRules
from wearalike.search.kernels import bitplane

_PER_PRODUCT = (
    "product_ids",
    "item_ids",
    "codes",
    "shape_weight",
    "colour_weight",
    "kind_weight",
    "kind",
    "colour_name",
    "gender",
    "age_group",
    "is_in_stock",
    "groups",
    "brands",
)


def take_rows(g: Gallery, rows: np.ndarray) -> Gallery:
    pages = replace(
        g.attributes,
        **{
            name: getattr(g.attributes, name)[rows]
            for name in g.attributes.__slots__
            if name != "more"  # no column beside those that are always there
        },
    )
    facts = {name: getattr(g, name)[rows] for name in _PER_PRODUCT}
    return Gallery(**facts, attributes=pages, kind_table=g.kind_table, name_table=g.name_table)


def churn_gallery(everything: Gallery, day: int, seed: int, ratio: float) -> Gallery:
    """Return the gallery of a day: facts of products change, products come, go and come back.

    Now and then the taxonomy says otherwise how near two kinds are, or names one otherwise, and a
    colour looks otherwise.
    """
    rng = np.random.default_rng(seed)
    n = len(everything)
    table, names = everything.kind_table, everything.name_table
    other = make_gallery(seed % 1000, n)
    facts = {name: np.array(getattr(everything, name)) for name in _PER_PRODUCT}
    is_there = rng.random(n) < 0.8
    for _ in range(day):
        is_there ^= rng.random(n) < ratio
        for name in set(_PER_PRODUCT) - {"product_ids"}:
            changed = rng.random(n) < ratio
            facts[name][changed] = np.roll(getattr(other, name), 1, axis=0)[changed]
            if name == "codes":
                # A changed image often looks nearly the same.
                slightly = rng.random(n) < ratio
                facts[name][slightly, 0] ^= np.uint64(1)
            if name == "shape_weight":
                facts[name][changed] = rng.integers(0, 5, changed.sum())
            if name == "kind":
                facts[name][changed] = rng.integers(0, len(table.names), changed.sum())
            if name == "colour_name":
                facts[name][changed] = rng.integers(0, len(names.names), changed.sum())
        if rng.random() < ratio:
            table = draw_kinds(rng).table.select(table.names)
        if rng.random() < ratio:
            table = replace(table, names=(*table.names[:-1], f"{table.names[-1]} {day}"))
        if rng.random() < ratio:
            colours = dict(packaged_colour_names().hex_by_id) | {"navy": f"#0000{40 + day:02x}"}
            names = build_name_table(names.names, colours)
    everything = Gallery(
        **facts, attributes=everything.attributes, kind_table=table, name_table=names
    )
    return take_rows(everything, np.flatnonzero(is_there))


def search_all(
    g: Gallery, rules: ListRules, merchandise=(), previous_search=None
) -> list[search.RankedLists]:
    return (
        list(search.search_gallery(g, 0, len(g), rules, merchandise, previous_search))
        if len(g)
        else []
    )


def assert_same(g: Gallery, one: list[search.RankedLists], other: list[search.RankedLists]) -> None:
    assert (not one) == (not other)
    if one:
        assert search.build_matches(g, one).equals(search.build_matches(g, other))


RULES = st.builds(
    ListRules,
    k=st.integers(1, 9),
    min_score=st.sampled_from([0.0, 0.1, 0.4]),
    max_per_brand=st.integers(1, 9),
    max_brand_share=st.sampled_from([0.3, 0.5, 1.0]),
    diversity=st.sampled_from([0.0, 0.0, 0.5]),
)
MERCHANDISE = st.lists(st.tuples(RULE, SCOPES), max_size=2).map(
    lambda kinds: [
        MerchandisingRule(id=f"r{i}", kind=kind, **about, **scope)
        for i, ((kind, about), scope) in enumerate(kinds)
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    bits=st.sampled_from([2, 6, 128]),
    ratio=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    most_kind_weight=st.sampled_from([0, 3, 10]),
    days=st.lists(st.tuples(RULES, MERCHANDISE), min_size=2, max_size=4),
)
def test_random_days_of_churn_give_the_tables_of_full_searches(
    seed, n, bits, ratio, most_kind_weight, days
):
    everything = make_gallery(
        seed % 10_000, n, bits=bits, most_kind_weight=most_kind_weight, names=True
    )
    before, candidates = None, None
    for day, (rules, merchandise) in enumerate(days):
        g = churn_gallery(everything, day, seed, ratio)
        previous_search = (
            search.PreviousSearch(search.diff_galleries(before, g), candidates)
            if candidates is not None
            else None
        )
        found = search_all(g, rules, merchandise, previous_search)
        assert_same(g, found, search_all(g, rules, merchandise))
        # Written and read back, as from one run to the next.
        before, candidates = (
            g,
            search.candidates_from_table(
                search.candidates_to_table(
                    search.concat_candidates([lists.candidates for lists in found])
                )
            )
            if found
            else None,
        )


def test_only_what_changed_is_searched(monkeypatch):
    """2 of 100 products changed: they search everything, the others search them."""
    rng = np.random.default_rng(3)
    n = 4000
    g = make_gallery(1, n, out_of_stock=0, groups=0)
    g.gender[:], g.age_group[:] = "female", "adult"
    was = take_rows(g, np.flatnonzero(rng.random(n) > 0.01))
    was.codes[rng.random(len(was)) < 0.01] ^= np.uint64(3)
    rules = ListRules()
    candidates = search.concat_candidates([lists.candidates for lists in search_all(was, rules)])
    pairs = []
    nearest = bitplane.nearest_flat

    def counted(queries, tiles, *more):
        pairs.append(len(queries) * len(tiles))
        return nearest(queries, tiles, *more)

    monkeypatch.setattr(bitplane, "nearest_flat", counted)
    found = search_all(
        g, rules, (), search.PreviousSearch(search.diff_galleries(was, g), candidates)
    )
    monkeypatch.undo()
    assert 0 < sum(pairs) < 0.06 * n * n
    assert_same(g, found, search_all(g, rules))
    assert pa.Table.from_batches([search.build_matches(g, found)]).num_rows == n
