"""Filters of the API: exactly the products that meet them, k of them where there are k."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.search.test_search import one_by_one_with_feed
from tests.server.test_api import address, api, assert_problem, pictures, place  # noqa: F401
from tests.server.test_snapshot import changed, postgres, shop  # noqa: F401
from tests.server.test_snapshot import place as made_place  # noqa: F401
from tests.warehouse.test_warehouse import load, night

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.commands.filter_options import read_filters
from wearalike.pipeline.job import JobRejected
from wearalike.search import ListRules, gallery_store
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_tables
from wearalike.tables import LOOK_PRODUCTS, LOOKS, PRODUCT_VARIANTS, PRODUCTS
from wearalike.warehouse.base import open_warehouse

RUN = "day-1"


@pytest.fixture(scope="module")
def products(place) -> dict[str, dict]:  # noqa: F811
    rows = run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    return {row["product_id"]: row for row in rows}


def is_met(row: dict, asked: dict) -> bool:
    """Tell by the definition if a product meets the filters of a question."""
    names = row["colour_names"]
    tests = {
        "shop": lambda v: row["shop_id"] == v,
        "brand": lambda v: (row["brand"] or "").lower() == v.lower(),
        "colour": lambda v: any(n == v or n.endswith(f"_{v}") for n in names),
        "size": lambda v: any(s == v or s.startswith(f"{v} ") for s in row["sizes"]),
        "within": lambda v: f"{row['category']}.".startswith(f"{v}."),
        "min_price": lambda v: row["price_cents"] >= round(100 * v),
        "max_price": lambda v: row["price_cents"] <= round(100 * v),
        "currency": lambda v: row["currency"] == v,
    }
    return all(
        any(tests[name](v) for v in (value if isinstance(value, list) else [value]))
        for name, value in asked.items()
    )


def wanted_ids(place, products, product_id, asked, k):  # noqa: F811
    """Return the ids of a list by the definition: every pair measured, then the rules."""
    held = gallery_store.load_gallery(place.data_dir, RUN, products[product_id]["super_category"])
    ids = list(held.product_ids)
    mask = np.array([is_met(products[i], asked) for i in ids])
    gallery = replace(held, is_in_stock=held.is_in_stock & mask)
    rules = ListRules(k=k, max_per_brand=k if "brand" in asked else ListRules().max_per_brand)
    found = one_by_one_with_feed(gallery, ids.index(product_id), rules)
    return [ids[entry[0]] for entry in found]


def cases(products):
    """Yield (product_id, question): under half its price, in a colour, of other shops …"""
    for row in list(products.values())[::23]:
        price = row["price_cents"] / 100
        colour = (row["colour_names"] or ["black"])[0].rpartition("_")[2]
        own = {"currency": row["currency"]}
        yield row["product_id"], {"max_price": price, **own}
        yield row["product_id"], {"min_price": price, "shop": [row["shop_id"]], **own}
        yield row["product_id"], {"colour": [colour, "blue"]}
        yield row["product_id"], {"within": row["category"].partition(".")[0]}
        if row["brand"]:
            yield row["product_id"], {"brand": row["brand"].upper()}
        if row["sizes"]:
            yield row["product_id"], {"size": row["sizes"][0].partition(" ")[0]}


def test_a_filtered_list_is_the_definition_s(api, place, products):  # noqa: F811
    rows = 0
    for product_id, asked in cases(products):
        answer = api.get(f"/products/{product_id}/similar", params={**asked, "k": 5}).json()
        found = [row["similar_product_id"] for row in answer["results"]]
        if answer["shortfall_reason"] == "no_code":
            continue
        assert answer["source"] == "live"
        assert found == wanted_ids(place, products, product_id, asked, 5), (product_id, asked)
        assert (answer["shortfall_reason"] is None) == (len(found) == 5)
        rows += len(found)
    assert rows > 100


def wanted_look(place, products, row, is_wanted, k=5):  # noqa: F811
    """Return the ids of a super-category of a look by the definition, every product measured."""
    asking = products[row["product_id"]]
    gallery = gallery_store.load_gallery(place.data_dir, RUN, row["super_category"])
    looks = run_tables.read_table(place.data_dir, LOOKS, RUN).to_pylist()
    (items,) = [r["items"] for r in looks if r["product_id"] == row["worn_with_product_id"]]
    (item,) = [i for i in items if i["super_category"] == row["super_category"]]
    code = np.frombuffer(item["shape"] + item["colour"], np.uint64)
    bits = np.bitwise_count(gallery.codes ^ code).astype(int)
    weights = row["shape_weight"], row["colour_weight"]
    distance = weights[0] * bits[:, :2].sum(axis=1) + weights[1] * bits[:, 2:].sum(axis=1)
    score = 1 - 2 * distance / (128 * sum(weights))
    found, groups = [], set()
    for entry in np.argsort(distance, kind="stable"):
        product = products[gallery.product_ids[int(entry)]]
        fits = product["availability"] == "in_stock" and is_wanted(product)
        fits &= product["age_group"] == asking["age_group"]
        fits &= product["gender"] == asking["gender"] or "unisex" in (
            product["gender"],
            asking["gender"],
        )
        if fits and score[entry] >= 0.1 and gallery.groups[entry] not in groups and len(found) < k:
            groups.add(gallery.groups[entry])
            found.append(product["product_id"])
    return found


def test_a_filtered_look_is_the_definition_s_for_each_source(api, place, products):  # noqa: F811
    rows = run_tables.read_table(place.data_dir, LOOK_PRODUCTS, RUN).to_pylist()
    firsts = {(r["product_id"], r["super_category"]): r for r in rows if r["rank"] == 1}
    by_source = {
        source: [r for r in firsts.values() if r["source"] == source]
        for source in ("worn", "alike", "feed")
    }
    lengths = Counter()
    for source, some in by_source.items():
        for row in some[:: max(1, len(some) // 4)]:
            seller, price = row["look_product_id"].partition(":")[0], 60
            for asked in ({"shop": [seller]}, {"max_price": price, "currency": "EUR"}):
                answer = api.get(f"/products/{row['product_id']}/look", params=asked).json()
                found = [
                    r for r in answer["results"] if r["super_category"] == row["super_category"]
                ]
                assert answer["source"] == "live" and {r["source"] for r in found} <= {source}
                ids = [r["look_product_id"] for r in found]
                assert [r["rank"] for r in found] == [*range(1, len(found) + 1)]
                lengths[source] += len(found)
                if source == "feed":
                    own = [r for r in rows if r["product_id"] == row["product_id"]]
                    own = [r for r in own if r["super_category"] == row["super_category"]]
                    kept = [r["look_product_id"] for r in own]
                    assert ids == [i for i in kept if is_met(products[i], asked)]
                    continue
                wanted = wanted_look(place, products, row, lambda p, a=asked: is_met(p, a))
                assert ids == wanted, (row, asked)
    assert min(lengths[source] for source in by_source) > 0, lengths
    plain = api.get(f"/products/{rows[0]['product_id']}/look").json()
    assert plain["source"] == "published"
    row = by_source["worn"][0]
    answer = api.get(f"/products/{row['product_id']}/look", params={"brand": "nobody"})
    assert answer.json()["results"] == []


def test_the_filters_of_a_photo_s_command_are_those_of_the_api(place, products):  # noqa: F811
    given = {"shop": ("lipa",), "colour": ("blue",), "size": ("42",), "max_price": 50.0}
    read = read_filters(place.data_dir, RUN, ("women",), {**given, "currency": "EUR"})
    assert read == ProductConditions(
        categories=("women",),
        shops=("lipa",),
        colours=("blue",),
        sizes=("42",),
        max_price_cents=5000,
        currency="EUR",
    )
    for within, bad, said in (
        ((), {"colour": ("bleu",)}, "--colour: 'bleu': no such colour; did you mean"),
        (("women.dreses",), {}, "--within: 'women.dreses': no such category"),
        ((), {"shop": ("nobody",)}, "--shop: 'nobody': no such shop; known are harbour, lipa"),
        ((), {"min_price": 9.0, "max_price": 5.0}, "--min-price: 9: wanted at most max_price, 5"),
        ((), {"max_price": 5.0}, "--currency: wanted with a price, one of EUR, "),
    ):
        with pytest.raises(JobRejected, match=f"^{re.escape(said)}"):
            read_filters(place.data_dir, RUN, within, bad)


def test_products_are_filtered_as_lists_are(api, products):  # noqa: F811
    for _, asked in cases(products):
        asked = {name: value for name, value in asked.items() if name != "within"}
        found, after = [], None
        while after is not None or not found:
            params = {**asked, "limit": 100} | ({"after": after} if after else {})
            page = api.get("/products", params=params).json()
            found += [row["product_id"] for row in page["products"]]
            after = page["next_after"]
            if after is None:
                break
        assert found == sorted(i for i, row in products.items() if is_met(row, asked)), asked


def test_a_photo_s_results_meet_the_filters(api, products, pictures):  # noqa: F811
    asked = {"colour": ["blue", "red"], "max_price": 60, "currency": "EUR", "k": 5}
    seen = 0
    for product_id in sorted(pictures)[::40]:
        files = {"photo": pictures[product_id]}
        plain = api.post("/photo", params={"k": 100}, files=files).json()["items"]
        narrow = api.post("/photo", params=asked, files=files).json()["items"]
        for all_of_it, filtered in zip(plain, narrow, strict=True):
            wanted = {name: value for name, value in asked.items() if name != "k"}
            fit = [r for r in all_of_it["results"] if is_met(products[r["product_id"]], wanted)]
            found = [r["product_id"] for r in filtered["results"]]
            assert all(is_met(products[i], wanted) for i in found)
            # The limit on a brand may stop the plain list earlier.
            assert [r["product_id"] for r in fit][: len(found)] == found[: len(fit)]
            assert len(found) >= min(5, len(fit))
            assert (all_of_it["category"], all_of_it["shape_weight"]) == (
                filtered["category"],
                filtered["shape_weight"],
            )
            seen += len(found)
    assert seen > 5


@pytest.mark.parametrize(
    ("path", "where", "said"),
    [
        ("similar?id={id}&colour=bleu", "query.colour", "'bleu': no such colour; did you mean"),
        ("products/{id}/similar?within=women.dreses", "query.within", "no such category; did you"),
        ("products?colour=bleu", "query.colour", "no such colour"),
        ("products?shop=lippa", "query.shop", "'lippa': no such shop; did you mean 'lipa'"),
        ("products/{id}/similar?shop=nobody", "query.shop", "; known are harbour, lipa, verano"),
        ("similar?id={id}&max_price=5&currency=XTS", "query.currency", "no such currency; known"),
        ("products?max_price=5", "query.currency", "wanted with a price, one of EUR, "),
        ("products/{id}/similar?min_price=9&max_price=5", "query.min_price", "at most max_price"),
        ("products/{id}/similar?max_price=nan", "query.max_price", "finite"),
        (
            "products/{id}/similar?currency=euro",
            "query.currency",
            "'euro', wanted three capital",
        ),
        ("products/{id}/similar?size=", "query.size", "at least 1"),
        ("similar", "query.id", "required"),
        ("similar?" + "&".join(f"id={n}" for n in range(101)), "query.id", "at most 100"),
    ],
)
def test_a_wrong_filter_is_told_in_a_sentence(api, products, path, where, said):  # noqa: F811
    product_id = next(iter(products))
    told = assert_problem(api.get(f"/{path.format(id=product_id)}"), 422)
    assert told["errors"][0]["where"].startswith(where), told
    assert said in told["errors"][0]["what"], told


def test_several_lists_are_those_of_each(api, products):  # noqa: F811
    ids = [*list(products)[::30], "moda:none", next(iter(products))]
    answer = api.get("/similar", params={"id": ids, "k": 7}).json()
    assert [one["product_id"] for one in answer["lists"]] == ids[:-2]
    assert answer["missing"] == ["moda:none"]
    for one in answer["lists"]:
        single = api.get(f"/products/{one['product_id']}/similar", params={"k": 7}).json()
        assert {name: single[name] for name in one} == one
    narrow = api.get("/similar", params={"id": ids, "k": 3, "colour": "blue"}).json()
    for one in narrow["lists"]:
        params = {"k": 3, "colour": "blue"}
        single = api.get(f"/products/{one['product_id']}/similar", params=params).json()
        assert {name: single[name] for name in one} == one
        assert one["source"] == "live"


def test_variants_are_the_products_of_the_article(api, place, products):  # noqa: F811
    table = run_tables.read_table(place.data_dir, PRODUCT_VARIANTS, RUN).to_pylist()
    by_article: dict[str, list[str]] = {}
    for row in products.values():
        if row["article_id"]:
            by_article.setdefault(row["article_id"], []).append(row["product_id"])
    wanted = {i for ids in by_article.values() if len(ids) > 1 for i in ids}
    assert {row["product_id"] for row in table} == wanted and wanted
    for product_id in [*sorted(wanted)[:5], next(i for i in products if i not in wanted)]:
        found = api.get(f"/products/{product_id}/variants").json()["results"]
        siblings = by_article.get(products[product_id]["article_id"] or "", [])
        assert sorted(row["product_id"] for row in found) == sorted(siblings) * (len(siblings) > 1)
        assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
        for row in found:
            own = products[row["product_id"]]
            assert (row["colours"], row["sizes"]) == (own["colours"], own["sizes"])
            assert row["product"]["title"] == own["title"]


def test_both_engines_filter_alike(made_place):  # noqa: F811
    """Words as shops write them: quotes, percent signs and letters that have two cases."""
    names = [["blue"], ["dark_blue", "red"], ["navy"], [], ["red"], ["blue"]]
    sizes = [["42 RU"], ["42"], ["420"], ["XL", "100%"], [], ["O'S"]]
    parts = changed(
        night("r1"),
        "products",
        colour_names=names,
        sizes=sizes,
        brand=["Lipa", "ŻABKA", None, "lipa", "x", "x"],
        price_cents=[100, 200, 300, 400, 500, 600],
        currency=["EUR"] * 5 + ["RUB"],
    )
    warehouse = open_warehouse(made_place.warehouse)
    load(warehouse, "r1", parts)
    warehouse.publish("r1")
    published = PublishedRepository(made_place)
    with published.snapshot() as s:

        def found(**filters) -> list[int]:
            rows = s.search(filters=ProductConditions(**filters))
            return [int(row["product_id"][5:]) for row in rows]

        assert found(colours=("blue",)) == [0, 1, 5]
        assert found(colours=("dark_blue", "navy")) == [1, 2]
        assert found(sizes=("42",)) == [0, 1] and found(sizes=("42 ru",)) == [0]
        assert found(sizes=("xl",)) == [3] and found(sizes=("100%", "o's")) == [3, 5]
        assert found(brands=("LIPA", "żabka")) == [0, 1, 3]
        assert found(max_price_cents=600, currency="EUR") == [0, 1, 2, 3, 4]
        assert found(min_price_cents=300, max_price_cents=400, currency="EUR") == [2, 3]
        assert found(shops=("moda",), product_ids=("moda:00003",)) == [3]
        assert found(shops=("nobody",)) == [] and found(sizes=("\0",)) == []
        assert s.currencies() == ["EUR", "RUB"]
        assert [row["product_id"] for row in s.variants("moda:00001")] == [
            "moda:00000",
            "moda:00001",
        ]
        assert s.variants("moda:00004") == []
    published.close()
