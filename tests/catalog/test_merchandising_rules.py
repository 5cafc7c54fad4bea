"""The merchandiser's rules: read strictly, and compared with a search over every pair."""

import re
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.test_search import brand_limit, make_gallery, search_each

from wearalike import catalog
from wearalike.catalog import BadMapping, MerchandisingRule, MerchandisingRuleKind
from wearalike.catalog.merchandising_rules import find_shared_ranks
from wearalike.catalog.product_conditions import CONDITION_COLUMNS, ProductConditions
from wearalike.search import Fallback, ListRules

MAPPINGS = Path(__file__).parents[2] / "mappings"
TAXONOMY = catalog.read_taxonomy(MAPPINGS / "taxonomy.xml")


def read(folder, inside):
    (folder / "rules.rng").write_text((MAPPINGS / "rules.rng").read_text())
    (folder / "rules.xml").write_text(f"<rules>\n{inside}\n</rules>")
    return catalog.read_rules(folder / "rules.xml", TAXONOMY)


def test_a_file_of_every_kind_is_read(tmp_path):
    found = read(
        tmp_path,
        """<pin id="a" product="moda:1" at="3" on_category="women.dresses"
            from="2026-12-01" until="2026-12-24"/>
        <hide id="b" brand=" Acme  Ltd "/><require id="c" different="price_band" factor="2"/>
        <prefer id="d" shop="moda" boost="0.05" on_shop="lipa"/>
        <fill id="e" on_product="moda:1"/>
        <bury id="f" max_sizes="1" sale="no" by="0.1" on_sale="yes"/>
        <require id="g" family="dresses" max_price="49.9" currency="EUR" on_min_price="20"/>
        <hide id="h" pattern="stripe" colour="dark_blue" new_days="14" on_gtin="4006381333931"/>
        <require id="i" same="colour"/>""",
    )
    assert found == (
        MerchandisingRule(
            "a",
            "pin",
            on_category="women.dresses",
            starts="2026-12-01",
            ends="2026-12-24",
            product="moda:1",
            at=3,
        ),
        MerchandisingRule("b", "hide", brand="Acme Ltd"),
        MerchandisingRule("c", "require", attribute="price_band", is_same=False, factor=2.0),
        MerchandisingRule("d", "prefer", on_shop="lipa", shop="moda", boost=0.05),
        MerchandisingRule("e", "fill", on_product="moda:1"),
        MerchandisingRule("f", "bury", max_sizes=1, sale="no", boost=0.1, on_sale="yes"),
        MerchandisingRule(
            "g",
            "require",
            family="dresses",
            family_leaves=TAXONOMY.families["dresses"],
            max_price=49.9,
            currency="EUR",
            on_min_price=20.0,
        ),
        MerchandisingRule(
            "h",
            "hide",
            pattern="stripe",
            colour="dark_blue",
            new_days=14,
            on_gtin="4006381333931",
        ),
        MerchandisingRule("i", "require", attribute="colour"),
    )
    wanted, page = found[6].conditions, found[6].page_conditions
    assert (wanted.max_price_cents, page.min_price_cents, wanted.currency) == (4990, 2000, "EUR")
    assert "women.dresses.midi" in wanted.family_leaves and not page.family_leaves
    assert found[7].page_conditions.gtins == ("04006381333931",)
    assert found[5].columns == {"sizes_left", "old_price_cents"}
    assert found[7].of_day(date(2026, 12, 24)).columns == {
        "patterns",
        "colour_names",
        "first_seen",
        "gtins",
    }


def test_the_shipped_file_holds_no_rule_and_its_examples_are_right(tmp_path):
    assert catalog.read_rules(MAPPINGS / "rules.xml", TAXONOMY) == ()
    text = (MAPPINGS / "rules.xml").read_text()
    examples = [
        line.strip().partition("/>")[0] + "/>"
        for line in text.splitlines()
        if line.startswith("    <")
    ]
    assert [rule.kind for rule in read(tmp_path, "\n".join(examples))] == [
        "pin",
        "hide",
        "require",
        "require",
        "prefer",
        "bury",
        "fill",
    ]


def test_the_examples_of_the_docs_are_right_and_show_every_condition(tmp_path):
    page = MAPPINGS.parent / "docs" / "how-to" / "merchandising-rules.md"
    examples = re.findall(r"`(<\w+ [^`]*/>)`", page.read_text(encoding="utf-8"))
    rules = read(tmp_path, "\n".join(examples))
    assert {rule.kind for rule in rules} == set(map(str, MerchandisingRuleKind))
    columns = {column for rule in rules for column in rule.of_day(date(2026, 12, 1)).columns}
    assert columns == set(CONDITION_COLUMNS) - {"sizes"}
    for name in [field.name for field in fields(ProductConditions) if field.name != "sizes"]:
        found = [getattr(rule.of_day(date(2026, 12, 1)).conditions, name) for rule in rules]
        assert any(value not in ((), None) for value in found), name


def test_without_a_file_there_are_no_rules(tmp_path):
    assert catalog.read_rules(tmp_path / "rules.xml", TAXONOMY) == ()


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ('<pin id="a" product="moda:1"/>', "wanted id="),
        ('<pin id="a" product="moda:1" at="0"/>', "at='0': wanted a rank"),
        ('<pin id="a" product="101" at="1"/>', "product='101': wanted shop:offer"),
        ('<hide id="a"/>', "one condition or more"),
        ('<bury id="a" brand="x"/>', 'wanted id="…", by="…"'),
        ('<bury id="a" brand="x" by="0.9"/>', "by='0.9': wanted 0.01 to 0.2"),
        ('<pin id="a" brand="x" at="1"/>', 'product="…" or gtin="…"'),
        ('<require id="a" same="shop" brand="x"/>', "either same"),
        ('<hide id="a" colour="bleu"/>', "no such colour of colours.xml; did you mean 'blue'"),
        ('<hide id="a" family="dress"/>', "no such family; did you mean 'dresses'"),
        ('<hide id="a" category="bag"/>', "category='bag': no such category; did you mean 'bags'"),
        ('<hide id="a" on_product="7" brand="x"/>', "on_product='7': wanted shop:offer"),
        ('<hide id="a" max_price="5"/>', "currency: wanted with a price, found a price without it"),
        ('<hide id="a" brand="x" currency="EUR"/>', "found it without a price"),
        (
            '<hide id="a" min_price="9" max_price="5" currency="EUR"/>',
            "min_price=9: more than max_price=5",
        ),
        ('<fill id="a" on_min_sizes="3" on_max_sizes="2"/>', "more than on_max_sizes=2"),
        ('<hide id="a" gtin="12"/>', "gtin='12': wanted a GTIN, EAN or UPC of 8 to 14 digits"),
        ('<hide id="a" new_days="0"/>', "wanted 1 to 3650"),
        ('<hide id="a" sale="maybe"/>', "sale='maybe': wanted yes for products"),
        ('<hide id="a" sizes="2"/>', "no attribute 'sizes'"),
        ('<hide id="A b" product="moda:1"/>', "id='A b': wanted the rule's name"),
        (
            '<hide id="a" product="moda:1"/><hide id="a" product="moda:2"/>',
            "another rule has this id",
        ),
        ('<require id="a" same="size"/>', "same='size': wanted brand, shop, price_band, category"),
        ('<require id="a" same="shop" factor="2"/>', "with price_band only"),
        ('<prefer id="a" shop="moda" boost="0.5"/>', "boost='0.5': wanted 0.01 to 0.2"),
        ('<fill id="a" on_category="women.dreses"/>', "did you mean 'women.dresses'"),
        ('<fill id="a" from="2026-13-01"/>', "the first day"),
        ('<fill id="a" from="2026-12-02" until="2026-12-01"/>', "after until"),
        ('<pinn id="a"/>', "did you mean 'pin'"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, inside, said):
    with pytest.raises(BadMapping) as caught:
        read(tmp_path, inside)
    assert any(said in m and "rules.xml:2" in m for m in caught.value.mistakes), (
        caught.value.mistakes
    )


def test_a_rule_holds_from_its_first_day_to_its_last():
    rule = MerchandisingRule("a", "fill", starts="2026-12-01", ends="2026-12-24")
    days = {
        date(2026, 11, 30): False,
        date(2026, 12, 1): True,
        date(2026, 12, 24): True,
        date(2026, 12, 25): False,
    }
    assert {day: rule.is_active_on(day) for day in days} == days
    assert (
        catalog.active_rules([rule], "2026-12-24-again") == (rule,)
        and catalog.active_rules([rule], "2026-12-25") == ()
    )


def test_new_days_lead_back_from_the_day_of_the_run():
    rule = MerchandisingRule("a", "hide", new_days=14, on_new_days=1)
    (found,) = catalog.active_rules([rule], "2026-12-24-again")
    assert (found.first_seen_from, found.on_first_seen_from) == ("2026-12-10", "2026-12-23")
    assert (found.conditions.first_seen_from, rule.conditions.first_seen_from) == (
        "2026-12-10",
        None,
    )


SCOPES = st.sampled_from(
    [{}, {}, {"on_category": "bags"}, {"on_shop": "t"}, {"on_product": "s:0003"}]
)
ABOUT = st.sampled_from(
    [{"product": "s:0001"}, {"product": "s:0007"}, {"brand": "x"}, {"brand": "Y"}, {"shop": "t"}]
)
RULE = st.one_of(
    st.tuples(
        st.just("pin"),
        st.builds(
            lambda p, at: {"product": p, "at": at},
            st.sampled_from(["s:0001", "s:0002", "s:9"]),
            st.integers(1, 9),
        ),
    ),
    st.tuples(st.just("hide"), ABOUT),
    st.tuples(
        st.just("require"),
        st.builds(
            lambda a, s: {"attribute": a, "is_same": s},
            st.sampled_from(["brand", "shop", "price_band"]),
            st.booleans(),
        ),
    ),
    st.tuples(
        st.just("prefer"),
        st.builds(
            lambda about, boost: {**about, "boost": boost},
            ABOUT,
            st.sampled_from([0.01, 0.07, 0.2]),
        ),
    ),
    st.tuples(
        st.just("bury"),
        st.builds(
            lambda about, loss: {**about, "boost": loss},
            ABOUT,
            st.sampled_from([0.01, 0.07, 0.2]),
        ),
    ),
    st.tuples(st.just("require"), ABOUT),
    st.tuples(st.just("fill"), st.just({})),
)


def one_by_one(g, row, rules, merchandise):
    """Return (row, rule, fallback) of each result, by the definition."""
    pages, n = g.attributes, len(g)
    bits = np.unpackbits(g.codes.view(np.uint8).reshape(-1, 32), axis=1)
    w = np.repeat([int(g.shape_weight[row]), int(g.colour_weight[row])], 128)
    far = ((bits != bits[row]) * w).sum(axis=1)

    def is_on(rule):
        category = pages.category[row]
        return (
            (
                rule.on_category is None
                or category == rule.on_category
                or category.startswith(rule.on_category + ".")
            )
            and rule.on_shop in (None, pages.shop[row])
            and rule.on_product in (None, g.product_ids[row])
        )

    held = [rule for rule in merchandise if is_on(rule)]

    def is_about(rule, j):
        return (rule.product, (rule.brand or "").lower(), rule.shop) in (
            (g.product_ids[j], "", None),
            (None, pages.brand[j] or "-", None),
            (None, "", pages.shop[j]),
        )

    def is_hidden(j):
        for rule in held:
            if rule.kind == "hide" and is_about(rule, j):
                return True
            if rule.kind == "require" and rule.attribute is None:
                if not is_about(rule, j):
                    return True
            elif rule.kind == "require":
                low, high = sorted([pages.price_cents[row], pages.price_cents[j]])
                same = {
                    "shop": pages.shop[row] == pages.shop[j],
                    "brand": bool(pages.brand[row]) and pages.brand[row] == pages.brand[j],
                    "price_band": high <= rule.factor * low
                    and pages.currency[row] == pages.currency[j],
                }[rule.attribute]
                if same != rule.is_same:
                    return True
        return False

    def may(j):
        fits = "unisex" in (g.gender[j], g.gender[row]) or g.gender[j] == g.gender[row]
        return j != row and g.is_in_stock[j] and g.age_group[j] == g.age_group[row] and fits

    def boost(j):
        weights = int(g.shape_weight[row] + g.colour_weight[row])

        def strongest(kind):
            found = [(r.boost, r.id) for r in held if r.kind == kind and is_about(r, j)]
            most, name = max(found, default=(0.0, None), key=lambda b: b[0])
            return round(most * 100) * 64 * weights // 100, f"{kind}:{name}" if name else None

        (near, preferring), (far_off, burying) = strongest("prefer"), strongest("bury")
        return near - far_off, burying if far_off > near else preferring

    groups, brands, pins = {g.groups[row]}, [], []
    for rule in sorted(
        (r for r in held if r.kind == "pin"),
        key=lambda r: (
            r.at,
            list(g.product_ids).index(r.product) if r.product in g.product_ids else -1,
            r.id,
        ),
    ):
        j = next((j for j in range(n) if g.product_ids[j] == rule.product), None)
        if (
            j is not None
            and may(j)
            and g.groups[j] not in groups
            and rule.at <= rules.k
            and len(pins) < rules.k
        ):
            groups.add(g.groups[j])
            pins.append((rule.at, j, f"pin:{rule.id}"))
    places, room = [], rules.k - len(pins)
    good = [j for j in range(n) if may(j) and not is_hidden(j)]
    score = 1 - 2 * far / (128 * (g.shape_weight[row] + g.colour_weight[row]))
    for j in sorted(good, key=lambda j: (far[j] - boost(j)[0], -boost(j)[0], j)):
        if (
            max(0, score[j]) < rules.min_score
            or g.groups[j] in groups
            or brands.count(g.brands[j]) >= brand_limit(g, row, rules)
            or len(places) == room
        ):
            continue
        groups.add(g.groups[j])
        brands.append(g.brands[j])
        places.append((j, boost(j)[1], None))
    if any(r.kind == "fill" for r in held):
        for j in sorted(good, key=lambda j: (far[j], j)):
            if len(places) < room and g.groups[j] not in groups:
                groups.add(g.groups[j])
                places.append(
                    (
                        j,
                        None,
                        Fallback.LESS_ALIKE
                        if max(0, score[j]) < rules.min_score
                        else Fallback.SAME_BRAND,
                    )
                )
    for at, j, text in pins:
        places.insert(at - 1, (j, text, None))
    return places


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 90),
    bits=st.sampled_from([2, 6, 128]),
    rules=st.builds(
        ListRules,
        k=st.integers(1, 9),
        min_score=st.sampled_from([0.0, 0.1, 0.4]),
        max_per_brand=st.integers(1, 9),
        max_brand_share=st.sampled_from([0.3, 0.5, 1.0]),
    ),
    kinds=st.lists(st.tuples(RULE, SCOPES), min_size=1, max_size=5),
)
def test_the_lists_are_those_of_rules_applied_one_by_one(seed, n, bits, rules, kinds):
    merchandise = [
        MerchandisingRule(id=f"r{i}", kind=kind, **about, **scope)
        for i, ((kind, about), scope) in enumerate(kinds)
    ]
    g = make_gallery(seed, n, bits=bits)
    found = {f.query_row: f for f in search_each(g, 0, n, rules, merchandise)}
    assert sorted(found) == list(range(n))
    for row, f in found.items():
        expected = one_by_one(g, row, rules, merchandise)
        assert list(zip(f.results.tolist(), f.rules, f.fallbacks, strict=True)) == expected
        assert (f.shortfall_reason is None) == (len(f.results) == rules.k)


def test_what_is_preferred_is_found_far_behind_the_first_look():
    """300 nearer products stand before it; the boost brings it to the front all the same."""
    g = make_gallery(2, 400, out_of_stock=0, groups=0, brands=0, w=(1, 1))
    g.gender[:], g.age_group[:] = "female", "adult"
    g.codes[:] = 0
    g.codes[300, 0] = 0b111
    loved = MerchandisingRule("loved", "prefer", product="s:0300", boost=0.2)
    (f,) = search_each(g, 0, 1, ListRules(k=5), [loved])
    assert (f.results[0], f.rules) == (300, ["prefer:loved", None, None, None, None])
    (f,) = search_each(g, 0, 1, ListRules(k=5), [replace(loved, boost=0.01)])
    assert 300 not in f.results.tolist()


@pytest.mark.parametrize(("boost", "bits"), [(0.05, 16), (0.07, 22), (0.14, 44), (0.2, 64)])
def test_a_preferred_product_wins_at_exactly_its_boost(boost, bits):
    """With weights 2:3 a bit of shape is 2 of 640: a boost of 0.05 is worth 16 of distance."""
    g = make_gallery(2, 3, out_of_stock=0, groups=0, brands=0, w=(2, 3))
    g.gender[:], g.age_group[:] = "female", "adult"
    g.codes[:] = 0
    bound = round(boost * 100) * 64 * 5 // 100 // 2  # bits of shape
    assert bound <= bits
    g.codes[2, :2] = [(1 << min(bound, 64)) - 1, (1 << max(0, bound - 64)) - 1]
    loved = MerchandisingRule("loved", "prefer", product="s:0002", boost=boost)
    (f,) = search_each(g, 0, 1, ListRules(k=2, min_score=0.0), [loved])
    assert f.results.tolist() == [2, 1]
    g.codes[2, 1] |= np.uint64(1) << np.uint64(40)
    (f,) = search_each(g, 0, 1, ListRules(k=2, min_score=0.0), [loved])
    assert f.results.tolist() == [1, 2], "one bit more is beyond it"


def test_pins_that_want_one_rank_of_a_page_are_named():
    def pin(name: str, at: int = 1, **scope: str) -> MerchandisingRule:
        return MerchandisingRule(name, "pin", product=f"moda:{name}", at=at, **scope)

    dresses = {"on_category": "women.dresses"}
    rules = [
        pin("a"),
        pin("b", at=2),
        pin("c", **dresses),
        pin("d", on_category="women.dresses.midi"),
        pin("e", on_category="men.shirts", on_shop="moda"),
        pin("f", on_category="men.shirts", on_shop="lipa"),
        replace(pin("a"), id="twice"),
    ]
    found = [(one.id, other.id) for one, other in find_shared_ranks(rules)]
    assert found == [
        ("a", "c"),
        ("a", "d"),
        ("a", "e"),
        ("a", "f"),
        ("c", "d"),
        ("c", "twice"),
        ("d", "twice"),
        ("e", "twice"),
        ("f", "twice"),
    ]


def test_the_buried_one_goes_behind_products_that_are_far():
    """Its page's list is full without it; by a small loss it falls only behind the next ones."""
    g = make_gallery(2, 400, out_of_stock=0, groups=0, brands=0, w=(1, 1))
    g.gender[:], g.age_group[:] = "female", "adult"
    g.codes[:] = 0
    g.codes[2:, 0] = 0b1111
    shunned = MerchandisingRule("shunned", "bury", product="s:0001", boost=0.2)
    (f,) = search_each(g, 0, 1, ListRules(k=5), [shunned])
    assert f.results.tolist() == [2, 3, 4, 5, 6] and f.rules == [None] * 5
    (f,) = search_each(g, 0, 1, ListRules(k=5), [replace(shunned, boost=0.01)])
    assert (f.results[0], f.rules[0]) == (1, "bury:shunned")


def test_a_gtin_that_several_products_have_pins_one():
    g = make_gallery(3, 30, out_of_stock=0, groups=0, brands=0)
    g.gender[:], g.age_group[:] = "female", "adult"
    numbers = pa.array([["04006381333931"] if n in (7, 9) else [] for n in range(30)])
    g = replace(g, attributes=replace(g.attributes, more={"gtins": numbers}))
    pin = MerchandisingRule("gift", "pin", gtin="4006381333931", at=2)
    (f,) = search_each(g, 0, 1, ListRules(k=6, min_score=0.0), [pin])
    assert (f.results[1], f.rules.count("pin:gift")) == (7, 1)
