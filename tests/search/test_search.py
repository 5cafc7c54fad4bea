"""Matching is exact: it equals a search that measures every pair and applies the rules in turn."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike import search
from wearalike.catalog.colour_names import packaged_colour_names
from wearalike.catalog.feed_distances import FeedDistances
from wearalike.catalog.kinds import CategoryKinds, Families
from wearalike.search import ListRules, ShortfallReason, gallery_search
from wearalike.search.candidates import candidates_to_table
from wearalike.search.gallery import CandidateSet, join_groups
from wearalike.search.reasons import ALIKE_BITS, describe_likeness
from wearalike.tables import MATCHES, PRODUCTS, SIMILAR_LISTS, SIMILAR_PRODUCTS

COLOUR_NAMES = ([], ["navy"], ["black"], ["black", "white"], ["dark_green"], ["multi"], ["#aa1020"])
CATEGORIES = ("bags.totes", "bags.clutches", "shoes")


def draw_kinds(rng, categories=CATEGORIES) -> CategoryKinds:
    """Return a taxonomy's kinds: categories share some, in families, near each other or not."""
    kind_of = {c: f"kind {rng.integers(0, len(categories))}" for c in categories}
    kinds = sorted(set(kind_of.values()))
    families = {kind: f"family {rng.integers(0, 2)}" for kind in kinds if rng.random() < 0.7}
    pairs = {(a, b): int(rng.integers(0, 65)) for a in kinds for b in kinds if a < b}
    kept = {pair: d for pair, d in pairs.items() if rng.random() < 0.4}
    return CategoryKinds.build(
        kind_of, Families(families, int(rng.integers(0, 65)), kind_distances=kept)
    )


def make_gallery(
    seed: int,
    n: int,
    *,
    bits: int = 128,
    w=(2, 8),
    out_of_stock=0.2,
    groups=6,
    brands=3,
    most_kind_weight=0,
    names=False,
) -> search.Gallery:
    """Return a gallery whose codes vary in the first `bits` alone; few bits make many ties.

    Kinds are drawn, and weigh 0 to most_kind_weight. With `names` colour names are drawn, too.
    """
    rng = np.random.default_rng(seed)
    codes = np.zeros((n, 256), bool)
    codes[:, :bits] = rng.random((n, bits)) < 0.5
    codes[:, 128 : 128 + bits] = rng.random((n, bits)) < 0.5
    entries = pa.table(
        {"product_id": [f"s:{i:04}" for i in range(n)], "item_id": [f"i{i}" for i in range(n)]}
    )
    products = pa.table(
        {
            "product_id": entries["product_id"],
            "shop_id": [("s", "t")[i] for i in rng.integers(0, 2, n)],
            "group_id": pa.array(
                [[None, *"abcdefABCDEF"][i] for i in rng.integers(0, min(groups, 12) + 1, n)],
                pa.string(),
            ),
            "article_id": pa.nulls(n, pa.string()),
            "brand": pa.array(
                [[None, "X", "Y", "Z"][i] for i in rng.integers(0, brands + 1, n)], pa.string()
            ),
            "availability": [
                ("in_stock", "out_of_stock")[int(i)] for i in rng.random(n) < out_of_stock
            ],
            "gender": [("female", "male", "unisex")[i] for i in rng.integers(0, 3, n)],
            "age_group": [("adult", "kids")[i] for i in rng.integers(0, 2, n)],
            "category": [CATEGORIES[i] for i in rng.integers(0, 3, n)],
            "price_cents": pa.array(rng.integers(0, 400, n) * 10, pa.int64()),
            "currency": [("EUR", "USD")[int(i)] for i in rng.random(n) < 0.1],
            "shape_weight": pa.array([w[0]] * n, pa.int32()),
            "colour_weight": pa.array([w[1]] * n, pa.int32()),
        }
    )
    kind_weight = np.random.default_rng([seed, 1]).integers(0, most_kind_weight + 1, n)
    products = products.append_column("kind_weight", pa.array(kind_weight, pa.int32()))
    if names:
        drawn = np.random.default_rng([seed, 3]).integers(0, len(COLOUR_NAMES), n)
        column = pa.array([COLOUR_NAMES[i] for i in drawn], pa.list_(pa.string()))
        products = products.append_column("colour_names", column)
    shuffled = products.take(rng.permutation(n))
    distances = FeedDistances(
        draw_kinds(np.random.default_rng([seed, 2])), dict(packaged_colour_names().hex_by_id)
    )
    return search.build_gallery(entries, np.packbits(codes, axis=1), shuffled, distances)


def search_each(*arguments) -> list[search.RankedList]:
    """Return the lists that a search finds, one by one, by the rows that ask."""
    found = [found for lists in search.search_gallery(*arguments) for found in lists]
    return sorted(found, key=lambda one: one.query_row)


def brand_limit(g: search.Gallery, row: int, rules: ListRules) -> int:
    """Return the limit on a brand in a product's list, by the definition."""
    of_shop = [j for j in range(len(g)) if g.attributes.shop[j] == g.attributes.shop[row]]
    brands = [g.attributes.brand[j] for j in of_shop if g.attributes.brand[j]]
    most = max(map(brands.count, set(brands)), default=0)
    return rules.k if most / len(of_shop) > rules.max_brand_share else rules.max_per_brand


def one_by_one(g: search.Gallery, row: int, rules: ListRules) -> list[tuple[int, int, int]]:
    """Return (row, shape distance, colour distance) of the best k, by the definition."""
    return [found[:3] for found in one_by_one_with_feed(g, row, rules)]


def one_by_one_with_feed(
    g: search.Gallery, row: int, rules: ListRules
) -> list[tuple[int, int, int, int, int]]:
    """Return (row, shape, colour, kind and name distance) of the best k, by the definition."""
    bits = np.unpackbits(g.codes.view(np.uint8).reshape(-1, 32), axis=1)
    shape = (bits[:, :128] != bits[row, :128]).sum(axis=1)
    colour = (bits[:, 128:] != bits[row, 128:]).sum(axis=1)
    kind = [int(g.kind_table.distances[g.kind[row], g.kind[j]]) for j in range(len(g))]
    scale = 1.25 if g.name_table.names[g.colour_name[row]] else 1
    of_names = g.name_table.distances[g.colour_name[row]]
    name = [int(of_names[g.colour_name[j]]) for j in range(len(g))]
    ws, wc, wk = (int(w[row]) for w in (g.shape_weight, g.colour_weight, g.kind_weight))
    far = [ws * shape[j] + wc * (colour[j] + name[j]) + wk * kind[j] for j in range(len(g))]
    ordered = sorted(range(len(g)), key=lambda j: (far[j], g.product_ids[j]))
    taken, groups, brands = [], {g.groups[row]}, []
    limit = brand_limit(g, row, rules)
    for j in ordered:
        score = max(0.0, 1 - 2 * far[j] / (128 * (ws + wc * scale + wk)))
        may = (
            g.is_in_stock[j]
            and g.age_group[j] == g.age_group[row]
            and ("unisex" in (g.gender[j], g.gender[row]) or g.gender[j] == g.gender[row])
        )
        if (
            j == row
            or not may
            or score < rules.min_score
            or g.groups[j] in groups
            or brands.count(g.brands[j]) >= limit
        ):
            continue
        groups.add(g.groups[j])
        brands.append(g.brands[j])
        taken.append((j, int(shape[j]), int(colour[j]), kind[j], name[j]))
        if len(taken) == rules.k:
            break
    return taken


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 90),
    bits=st.sampled_from([1, 4, 128]),
    w=st.tuples(st.integers(0, 10), st.integers(1, 10)),
    most_kind_weight=st.sampled_from([0, 1, 5, 10]),
    names=st.booleans(),
    rules=st.builds(
        ListRules,
        k=st.integers(1, 25),
        min_score=st.sampled_from([0.0, 0.1, 0.5]),
        max_per_brand=st.integers(1, 30),
        max_brand_share=st.sampled_from([0.2, 0.3, 0.5, 1.0]),
    ),
)
def test_the_lists_are_those_of_a_search_one_by_one(
    seed, n, bits, w, most_kind_weight, names, rules
):
    g = make_gallery(seed, n, bits=bits, w=w, most_kind_weight=most_kind_weight, names=names)
    found = {f.query_row: f for f in search_each(g, 0, n, rules)}
    assert sorted(found) == list(range(n))
    for row, f in found.items():
        columns = (f.results, f.shape, f.colour, f.kind, f.colour_name)
        assert list(
            zip(*(column.tolist() for column in columns), strict=True)
        ) == one_by_one_with_feed(g, row, rules)
        assert (f.shortfall_reason is None) == (len(f.results) == rules.k)


def test_a_list_widens_until_the_rules_are_met():
    """All near products are one group: the second result is far beyond the first candidates."""
    g = make_gallery(1, 600, out_of_stock=0, groups=0, brands=0)
    near = np.arange(600) < 500
    g.groups[near] = 7
    g.codes[near] = g.codes[0]
    g.gender[:], g.age_group[:] = "female", "adult"
    rules = ListRules(k=5, min_score=0.0)
    (f,) = search_each(g, 599, 600, rules)
    assert [(r, s, c) for r, s, c in zip(f.results, f.shape, f.colour, strict=True)] == one_by_one(
        g, 599, rules
    )
    assert len(f.results) == 5


@pytest.mark.parametrize("has_brands", [True, False])
def test_a_hundred_sizes_of_each_colour_change_no_list(monkeypatch, has_brands):
    """A list needs thousands of candidates: sizes of few articles stand before all others."""
    g = make_gallery(6, 700, bits=40, out_of_stock=0.1, groups=0, most_kind_weight=4, names=True)
    rng = np.random.default_rng(6)
    is_common = np.arange(700) % 10 > 0
    article = np.where(is_common, rng.integers(0, 3, 700), rng.integers(3, 20, 700))
    g.groups[:], g.brands[:] = article, article % 3 if has_brands else -1 - np.arange(700)
    # Four colours of each common article, near each other.
    g.codes[is_common] = g.codes[0]
    g.codes[is_common, 3] ^= rng.integers(0, 4, is_common.sum(), dtype=np.uint64)
    g.gender[:], g.age_group[:] = "female", "adult"
    rules = ListRules(k=4, min_score=0.75, max_per_brand=2)
    found = search_each(g, 0, 700, rules)
    for f in found[::20]:
        columns = (f.results, f.shape, f.colour, f.kind, f.colour_name)
        assert list(
            zip(*(column.tolist() for column in columns), strict=True)
        ) == one_by_one_with_feed(g, f.query_row, rules)
    assert {f.shortfall_reason for f in found} > {None}
    (candidates,) = g._candidates_by_audience.values()
    assert "without_twins" in vars(candidates)
    assert len(candidates.without_twins) < len(candidates) / 2
    told = [(f.results.tolist(), f.shortfall_reason) for f in found]
    parts = list(search.search_gallery(g, 0, 700, rules))
    monkeypatch.setattr(CandidateSet, "without_twins", property(lambda whole: whole))
    plain_parts = list(search.search_gallery(g, 0, 700, rules))
    plain = [f for part in plain_parts for f in part]
    plain.sort(key=lambda f: f.query_row)
    assert told == [(f.results.tolist(), f.shortfall_reason) for f in plain]
    # The next run remembers the same.
    tables = [
        candidates_to_table(search.concat_candidates([part.candidates for part in some]))
        for some in (parts, plain_parts)
    ]
    assert tables[0].equals(tables[1])


def test_blocks_and_slices_do_not_change_the_answer(monkeypatch):
    g = make_gallery(3, 200)
    whole = search.build_matches(g, list(search.search_gallery(g, 0, 200, ListRules())))
    monkeypatch.setattr(gallery_search, "_BLOCK_QUERIES", 3)
    parts = [
        search.build_matches(g, list(search.search_gallery(g, start, start + 33, ListRules())))
        for start in range(0, 200, 33)
    ]
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([whole]))


@pytest.mark.parametrize("count", [1, 2])
def test_a_super_category_of_one_or_two(count):
    g = make_gallery(5, count, out_of_stock=0, groups=0, brands=0)
    g.gender[:], g.age_group[:] = "female", "adult"
    lists = list(search.search_gallery(g, 0, count, ListRules(min_score=0.0)))
    found = [f for some in lists for f in some]
    assert len(found) == count and {f.shortfall_reason for f in found} == {
        ShortfallReason.FEW_CANDIDATES
    }
    rows = search.build_matches(g, lists).to_pylist()
    assert [len(row["results"]) for row in rows] == [count - 1] * count


def test_a_short_list_says_why():
    g = make_gallery(5, 40, out_of_stock=0, groups=0, brands=0)
    g.gender[:], g.age_group[:] = "female", "adult"

    def reasons(rules):
        return {f.shortfall_reason for f in search_each(g, 0, 40, rules)}

    assert reasons(ListRules(k=39, min_score=0.0)) == {None}
    assert reasons(ListRules(k=40, min_score=0.0)) == {ShortfallReason.FEW_CANDIDATES}
    assert reasons(ListRules(k=30, min_score=0.99)) == {ShortfallReason.MIN_SCORE}
    g = replace(g, codes=np.repeat(g.codes[:1], 40, axis=0), brands=np.ones(40, np.int64))
    always = ListRules(k=30, max_per_brand=2, max_brand_share=1.0)
    assert reasons(always) == {ShortfallReason.RULES}
    # All others would not fill a list, but the brand leaves two of them.
    assert reasons(replace(always, k=40)) == {ShortfallReason.RULES}
    # Thirty are alike, the others are not, and of thirty the brand leaves two.
    codes = g.codes.copy()
    codes[30:] ^= np.uint64(2**64 - 1)
    g = replace(g, codes=codes, is_in_stock=np.ones(40, bool))
    cut = replace(always, k=20, min_score=0.5)
    found = search_each(g, 0, 30, cut)
    assert {(len(f.results), f.shortfall_reason) for f in found} == {(2, ShortfallReason.RULES)}
    # Nine others are alike: no rule of brands leaves more than nine.
    found = search_each(g, 30, 40, cut)
    assert {f.shortfall_reason for f in found} == {ShortfallReason.MIN_SCORE}
    # Thirty alike of five groups: one result a group leaves four others, however many are asked.
    g = replace(g, brands=-1 - np.arange(40), groups=np.arange(40) % 5)
    found = search_each(g, 0, 30, cut)
    assert {(len(f.results), f.shortfall_reason) for f in found} == {(4, ShortfallReason.MIN_SCORE)}


def test_the_limit_on_a_brand_is_off_where_one_brand_is_most_of_a_shop():
    g = make_gallery(5, 60, out_of_stock=0, groups=0, brands=0)
    g.gender[:], g.age_group[:] = "female", "adult"
    shop = np.array(["one"] * 30 + ["many"] * 30, object)
    brands = np.array([1] * 30 + [1] * 15 + [2] * 15)
    attributes = replace(g.attributes, shop=shop)
    # One code stands at most once in a list within a shop: each has its own, two bits from all.
    codes = np.repeat(g.codes[:1], 60, axis=0)
    rows = np.arange(60)
    codes[rows, 0] ^= np.uint64(1) << rows.astype(np.uint64)
    g = replace(g, brands=brands, codes=codes, attributes=attributes)

    def most_of_a_brand(rules):
        found = search_each(g, 0, 60, rules)
        return [
            {np.bincount(brands[f.results]).max() for f in part}
            for part in (found[:30], found[30:])
        ]

    assert most_of_a_brand(ListRules(k=20)) == [{20}, {10}]
    assert most_of_a_brand(ListRules(k=20, max_brand_share=0.4)) == [{20}, {20}]
    assert most_of_a_brand(ListRules(k=20, max_brand_share=1.0)) == [{10}, {10}]


def test_scores_are_the_cosine_of_weighted_signs_cut_at_0():
    rng = np.random.default_rng(0)
    a, b = (np.where(rng.random((50, 256)) < p, 1, -1) for p in (0.5, 0.6))
    for ws, wc in ((1, 1), (2, 8), (8, 2)):
        weights = np.repeat([ws, wc], 128)
        cosine = (weights * a * b).sum(axis=1) / weights.sum()
        distance = (weights * (a != b)).sum(axis=1)
        np.testing.assert_allclose(
            search.score(distance, ws + wc), np.maximum(0, cosine), atol=1e-12
        )
    assert (
        search.score(np.array([0]), 10)[0] == 1.0
        and search.score(np.array([128 * 10]), 10)[0] == 0.0
    )


def named_colour(row: dict) -> int:
    """Return the distance of a row's colours, code and name."""
    return row["colour_distance"] + row["colour_name_distance"]


def small_tables():
    g = make_gallery(11, 30, most_kind_weight=1, names=True)
    g.kind_weight[:] = 5
    found = pa.Table.from_batches(
        [
            search.build_matches(
                g, list(search.search_gallery(g, 0, 30, ListRules(k=4, min_score=0.0)))
            ),
            search.build_matches_without_code(pa.array(["s:none"])),
        ]
    )
    products = pa.table(
        {
            "product_id": [*g.product_ids, "s:none"],
            "shape_weight": pa.array([2] * 31, pa.int32()),
            "colour_weight": pa.array([8] * 31, pa.int32()),
            "kind_weight": pa.array([5] * 31, pa.int32()),
            "colour_names": [
                *([n for n in g.name_table.names[i].split("+") if n] for i in g.colour_name),
                [],
            ],
        }
    )
    return g, found, products


def test_flat_rows_equal_the_lists():
    _, found, products = small_tables()
    assert found.schema == MATCHES.arrow_schema
    flat = search.build_similar_products(found, products.take(np.arange(31)[::-1]), "d-1", "e-1")
    assert flat.schema == SIMILAR_PRODUCTS.arrow_schema
    expected = [
        (
            row["product_id"],
            rank,
            r["product_id"],
            r["item_id"],
            r["shape_distance"],
            r["colour_distance"],
            r["kind_distance"],
            r["colour_name_distance"],
            row["item_id"],
        )
        for row in found.to_pylist()
        for rank, r in enumerate(row["results"], 1)
    ]
    assert len(expected) > 30
    scales = {p["product_id"]: 1.25 if p["colour_names"] else 1.0 for p in products.to_pylist()}
    assert expected == [
        (
            r["product_id"],
            r["rank"],
            r["similar_product_id"],
            r["similar_item_id"],
            r["shape_distance"],
            r["colour_distance"],
            r["kind_distance"],
            r["colour_name_distance"],
            r["item_id"],
        )
        for r in flat.to_pylist()
    ]
    agreeing = 0
    for r in flat.to_pylist():
        assert r["score"] == max(
            0,
            1
            - 2
            * (2 * r["shape_distance"] + 8 * named_colour(r) + 5 * r["kind_distance"])
            / (128 * (7 + 8 * scales[r["product_id"]])),
        )
        assert (r["shape_score"], r["colour_score"], r["kind_score"]) == (
            max(0, 1 - r["shape_distance"] / 64),
            max(0, 1 - named_colour(r) / 64 / scales[r["product_id"]]),
            1 - r["kind_distance"] / 64,
        )
        assert r["kind_weight"] == 5
        said_colour = named_colour(r)
        if scales[r["product_id"]] > 1 and r["colour_name_distance"] == 0:
            agreeing += said_colour > ALIKE_BITS
            said_colour = min(said_colour, ALIKE_BITS)
        distances = (r["kind_distance"], said_colour, r["shape_distance"])
        assert r["reason"] == describe_likeness(*distances, "en")
        assert r["reason_ru"] == describe_likeness(*distances, "ru")
        assert (r["shape_weight"], r["colour_weight"], r["detector"], r["encoder"]) == (
            2,
            8,
            "d-1",
            "e-1",
        )
    assert agreeing, "codes far apart, and one colour name"


def test_every_product_has_a_row_in_lists():
    g, found, _ = small_tables()
    entries = pa.table(
        {"product_id": list(g.product_ids), "image_id": [f"im{i}" for i in range(30)]}
    )
    lists = search.build_similar_lists(found, entries)
    assert lists.schema == SIMILAR_LISTS.arrow_schema
    rows = {r["product_id"]: r for r in lists.to_pylist()}
    assert len(rows) == 31
    assert rows["s:none"] == {
        "product_id": "s:none",
        "similar_count": 0,
        "shortfall_reason": "no_code",
        "image_id": None,
        "item_id": None,
    }
    for row in found.to_pylist()[:30]:
        assert rows[row["product_id"]]["similar_count"] == len(row["results"])
        assert rows[row["product_id"]]["image_id"] == "im" + row["item_id"][1:]


def joined(groups, shops, codes, pictures):
    """The groups, as sets of rows."""
    codes = np.array([[code, 0, 0, 0] for code in codes], np.uint64)
    found = join_groups(
        np.array(groups), np.array(shops), codes, [np.array(numbers) for numbers in pictures]
    )
    rows = {}
    for row, group in enumerate(found.tolist()):
        rows.setdefault(group, []).append(row)
    return sorted(rows.values())


def test_products_of_one_shop_with_one_code_or_picture_are_one_group():
    nothing = [-1, -2, -3, -4]
    assert joined(nothing, [0, 0, 0, 1], [7, 7, 8, 7], []) == [[0, 1], [2], [3]]
    assert joined(nothing, [0, 0, 0, 1], [1, 2, 3, 4], [[5, 6, 5, 5]]) == [[0, 2], [1], [3]]
    # By the code of one and the group of another, all are one.
    assert joined([9, 9, -3, -4], [0] * 4, [1, 2, 2, 3], []) == [[0, 1, 2], [3]]
    # Numbers of pictures may be larger than there are rows.
    assert joined(nothing[:2], [0, 1], [1, 2], [[6, 0]]) == [[0], [1]]
    # A picture of no image is no one's.
    assert joined(nothing, [0] * 4, [1, 2, 3, 4], [nothing]) == [[0], [1], [2], [3]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_are_joined_as_by_comparing_every_pair(data):
    n = data.draw(st.integers(1, 12))
    groups = [g if g >= 0 else -1 - i for i, g in enumerate(data.draw(numbers(n, -4, 3)))]
    shops, codes = data.draw(numbers(n, 0, 1)), data.draw(numbers(n, 0, 5))
    pictures = data.draw(numbers(n, 0, 8))
    parents = list(range(n))

    def root(row):
        return row if parents[row] == row else root(parents[row])

    for i in range(n):
        for j in range(i):
            is_twin = shops[i] == shops[j] and (codes[i] == codes[j] or pictures[i] == pictures[j])
            if groups[i] == groups[j] or is_twin:
                parents[root(i)] = root(j)
    wanted = {}
    for row in range(n):
        wanted.setdefault(root(row), []).append(row)
    assert joined(groups, shops, codes, [pictures]) == sorted(wanted.values())


def numbers(n, low, high):
    return st.lists(st.integers(low, high), min_size=n, max_size=n)


@pytest.mark.parametrize("names", [False, True], ids=["hashes", "other ids"])
def test_products_of_one_shop_with_one_picture_are_one_group(names):
    seen = [0, 1, 0, 1, 2, 1]
    ids = [f"picture {i}" if names else hashlib.sha256(b"%d" % i).hexdigest() for i in seen]
    table = pa.chunked_array([ids[:4], ids[4:]], pa.string())
    entries = pa.table({"product_id": [f"s:{i}" for i in range(6)], "item_id": ids})
    products = pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(search.GALLERY_COLUMNS),
                "product_id": f"s:{i}",
                "shop_id": "other" if i == 5 else "shop",
                "category": "bags",
                "availability": "in_stock",
                **dict.fromkeys(("price_cents", "shape_weight", "colour_weight"), 1),
                "colour_names": [],
            }
            for i in range(6)
        ],
        pa.schema(
            [PRODUCTS.arrow_schema.field(n).with_nullable(True) for n in search.GALLERY_COLUMNS]
        ),
    )
    codes = np.arange(6 * 32, dtype=np.uint8).reshape(6, 32)
    groups = search.build_gallery(entries.append_column("image_id", table), codes, products).groups
    assert len(set(groups.tolist())) == 4
    assert groups[0] == groups[2] and groups[1] == groups[3]


def test_an_entry_without_a_product_is_an_error():
    with pytest.raises(ValueError, match=r"have no product, e\.g\. s:lost"):
        empty = PRODUCTS.arrow_schema.empty_table().select(search.GALLERY_COLUMNS)
        search.build_gallery(
            pa.table({"product_id": ["s:lost"], "item_id": ["i"]}),
            np.zeros((1, 32), np.uint8),
            empty,
        )


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 90),
    w=st.tuples(st.integers(0, 10), st.integers(1, 10)),
    most_kind_weight=st.sampled_from([0, 5]),
    k=st.integers(1, 25),
)
def test_a_code_without_product_gets_the_list_of_a_product_with_it(seed, n, w, most_kind_weight, k):
    """The code is that of one product, which is taken out of the candidates."""
    g = make_gallery(seed, n, w=w, most_kind_weight=most_kind_weight)
    g.gender[:], g.age_group[:] = "unisex", "adult"
    rules = ListRules(k=k)
    row = seed % n
    g.groups[row] = -(10**9)  # nobody's group, as a photo has none
    candidates = np.array([j for j in range(n) if g.is_in_stock[j] and j != row], np.int64)
    kinds = search.QueryKinds.of_row(g, row, int(g.kind_weight[row]))
    found = search.search_code(g, candidates, g.codes[row], *w, rules, kinds)
    columns = (found.results, found.shape, found.colour, found.kind, found.colour_name)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == one_by_one_with_feed(
        g, row, rules
    )
    assert found.query_row == -1 and (found.shortfall_reason is None) == (len(found.results) == k)


def test_a_reason_says_kind_colour_and_shape():
    """Each limit by the last distance below and the first above it, in both languages."""
    assert describe_likeness(0, 20, 20, "en") == "same kind, same colour, shape much alike"
    assert describe_likeness(1, 21, 21, "en") == "related kind, colour alike, shape alike"
    assert describe_likeness(63, 40, 40, "en") == "related kind, colour alike, shape alike"
    assert describe_likeness(64, 41, 41, "en") == "another kind, another colour, another shape"
    assert describe_likeness(0, 0, 0, "ru") == "тот же вид, тот же цвет, форма очень похожа"
    assert describe_likeness(64, 128, 128, "ru") == "другой вид, другой цвет, другая форма"
    assert describe_likeness(None, 30, 30, "en") == "colour alike, shape alike"
