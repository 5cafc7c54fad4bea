"""Metrics of a run, compared with values worked out by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from wearalike import tables
from wearalike.quality import category_precision, code_statistics, metrics, run_metrics

# A night


def night(
    products: list[dict],
    similar: list[tuple[str, list[str]]] = (),
    last: list[tuple[str, list[str]]] = (),
    **more: list[dict],
) -> dict:
    """A night of in-stock adult unisex products, all indexed;
    `similar` and `last` say which were recommended, best first.
    """
    usual = {
        "availability": "in_stock",
        "gender": "unisex",
        "age_group": "adult",
        "category_ids": [],
        "super_category": "bags",
    }
    filled = [usual | p | {"product_id": f"{p['shop_id']}:{p['offer_id']}"} for p in products]
    lists = [
        {"product_id": p, "rank": r, "similar_product_id": s, "score": 0.5}
        for p, found in similar
        for r, s in enumerate(found, 1)
    ]
    old = [
        {"product_id": p, "rank": r, "similar_product_id": s}
        for p, found in last
        for r, s in enumerate(found, 1)
    ]
    rows = {
        "products": filled,
        "indexes": [{"product_id": p["product_id"], "item_id": p["product_id"]} for p in filled],
        "similar_products": lists,
        "last_similar_products": old,
        "last_products": filled if last else [],
        **more,
    }
    kinds = {
        **tables.TABLES_BY_NAME,
        "last_products": tables.PRODUCTS,
        "last_similar_products": tables.SIMILAR_PRODUCTS,
    }
    return {
        n: pa.Table.from_pylist(
            rows.get(n, []), pa.schema([f.with_nullable(True) for f in t.arrow_schema])
        )
        for n, t in kinds.items()
    }


def metrics_by_key(of: dict, made: dict | None = None) -> dict[tuple[str, str], metrics.Metric]:
    with metrics.open_run_tables(of) as con:
        rows = run_metrics.run_metrics(con, of, made or {})
    assert len({(m.metric, m.scope) for m in rows}) == len(rows)
    return {(m.metric, m.scope): m for m in rows}


def planted() -> list[dict]:
    """In shop a 12 red and 20 blue bags, in shop b 8 of each; the shops' words differ,
    our leaves are the same.
    """
    names = [
        (shop, colour)
        for shop, red, blue in (("a", 12, 20), ("b", 8, 8))
        for colour in ["red"] * red + ["blue"] * blue
    ]
    return [
        {
            "shop_id": shop,
            "offer_id": f"{n:02}",
            "category_paths": [f"{shop} > {colour}"],
            "category": f"bags.{colour}",
        }
        for n, (shop, colour) in enumerate(names)
    ]


def test_precision_on_a_planted_case() -> None:
    products = planted()
    ids = [f"{p['shop_id']}:{p['offer_id']}" for p in products]
    # a:00 is red, of shop a. Its first ten: 5 red of a, 1 blue of a, 2 red of b, 2 blue of b;
    # what follows does not count.
    ten = [*ids[1:6], ids[12], ids[32], ids[33], ids[40], ids[41]]
    rows = metrics_by_key(night(products, [("a:00", [*ten, *ids[6:12]])]))
    # The other 47 have no list: 0 of 10, and so they are judged.
    assert rows["precision@10_queries_count", "all"].value == 48
    assert rows["precision@10", "all"].value == pytest.approx((5 / 6) / 48)
    assert rows["leaf_precision@10", "all"].value == pytest.approx((7 / 10) / 48)
    # Drawn blindly in shop a, 11 of the 31 others are red, too; by our leaves 19 of 47. A draw for
    # those without a list finds nothing either.
    assert rows["precision@10_random", "shop=a"].value == pytest.approx(11 / 31 / 32)
    assert rows["precision@10_random", "shop=b"].value == 0
    assert rows["leaf_precision@10_random", "category=bags.red"].value == pytest.approx(
        19 / 47 / 20
    )
    assert rows["leaf_precision@10_random", "category=bags.blue"].value == 0


def test_a_short_list_that_is_right_is_no_worse_than_chance() -> None:
    products = planted()
    ids = [f"{p['shop_id']}:{p['offer_id']}" for p in products]
    rows = metrics_by_key(night(products, [(i, [j for j in ids[:4] if j != i]) for i in ids[:12]]))
    # Three or four red ones for each red one of shop a, in ten places.
    found = (4 * 3 + 8 * 4) / 10 / 12
    assert rows["precision@10", "category=bags.red"].value == pytest.approx(found * 12 / 20)
    assert rows["precision@10_random", "category=bags.red"].value == pytest.approx(
        found * 12 / 20 * 11 / 31
    )
    # Where nothing else could be drawn, chance is as good as the list, and no better.
    reds = products[:12]
    rows = metrics_by_key(night(reds, [(i, [j for j in ids[:4] if j != i]) for i in ids[:12]]))
    assert rows["precision@10", "all"].value == pytest.approx(found)
    assert rows["precision@10_gain", "all"].value == 0


def test_random_lists_get_what_is_promised_of_random_lists() -> None:
    products = planted()
    ids = [f"{p['shop_id']}:{p['offer_id']}" for p in products]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(20):
        lists = [(i, rng.permutation([o for o in ids if o != i])[:10].tolist()) for i in ids]
        rows = metrics_by_key(night(products, lists))
        drawn.append(
            [rows[f"{kind}@10_gain", "all"].value for kind in ("precision", "leaf_precision")]
        )
    assert np.abs(np.mean(drawn, axis=0)).max() < 0.012


def test_chance_draws_only_from_what_could_have_been_answered() -> None:
    """One asks; of the rest, in the same category unless said, only some could answer."""
    usual = {"shop_id": "a", "category_paths": ["x"], "category": "bags.x"}
    others = [
        {"category_paths": ["y"], "category": "bags.y"},
        {"availability": "out_of_stock"},
        {"age_group": "kids"},
        {"gender": "male"},
        {"super_category": "foot_wear"},
        {"group_id": "G1"},
        {},
    ]
    asking = usual | {"offer_id": "00", "gender": "female", "group_id": "g1"}
    products = [
        asking,
        *(usual | {"offer_id": f"{n:02}"} | other for n, other in enumerate(others, 1)),
    ]
    frame = night(products, [("a:00", ["a:07"])])
    with metrics.open_run_tables(frame) as con:
        con.execute(category_precision.JUDGED_PRODUCTS_SQL)
        rows = con.execute(category_precision.PRECISION_SQL, {"k": 10}).df()
        of_asking = rows.head(1)
    # Left to draw are the y and the last one: half a relevant one for the one place that is filled.
    assert of_asking[["precision", "chance"]].to_numpy().tolist() == [[0.1, 0.05]]


def test_products_whose_first_ten_are_all_of_other_shops_are_left_out() -> None:
    products = planted()
    ids = [f"{p['shop_id']}:{p['offer_id']}" for p in products]
    rows = metrics_by_key(night(products, [("a:00", ids[32:42])]))
    assert rows["precision@10_queries_count", "all"].value == 47
    assert rows["leaf_precision@10_queries_count", "all"].value == 48


def test_coverage_refusals_accounts_and_freshness() -> None:
    products = [
        {"shop_id": s, "offer_id": o, "category_paths": [], "category": "bags.x"}
        for s, o in ("a1", "a2", "b3", "b4")
    ]
    refused = [
        {
            "stage": "products",
            "shop_id": "b",
            "kind": "offer",
            "key": "b:9",
            "reason": "unmapped_category",
        },
        {"stage": "images", "shop_id": "b", "kind": "image", "key": "b:3 0", "reason": "not_found"},
    ]
    feeds = [
        {"shop_id": "a", "status": "fresh", "offers_count": 2, "withdrawn_count": 0},
        {"shop_id": "b", "status": "stale", "offers_count": 5, "withdrawn_count": 1},
    ]
    rows = metrics_by_key(
        night(
            products,
            [("a:1", ["b:3", "a:2"])],
            [("a:1", ["b:3", "b:4"]), ("b:4", ["a:1"])],
            feeds=feeds,
            refused=refused,
            images=[{"product_id": p, "image_id": p} for p in ("a:1", "a:2", "b:3")],
            items=[{"item_id": p, "image_id": p} for p in ("a:1", "a:2")],
            codes=[{"item_id": "a:1", "shape": bytes(16), "colour": bytes(16), "view": "detail"}],
            similar_lists=[
                {"product_id": "a:1", "similar_count": 5},
                {"product_id": "a:2", "similar_count": 4, "shortfall_reason": "rules"},
            ],
        ),
        {"images": {"rows": {"taken": 4, "written": 3, "refused": {"not_found": 1}}}},
    )
    values = {key: m.value for key, m in rows.items()}
    ratios = (
        "with_image_ratio",
        "with_item_ratio",
        "with_code_ratio",
        "indexed_ratio",
        "with_5_matches_ratio",
    )
    assert [values[name, "all"] for name in ratios] == [0.75, 0.5, 0.25, 1, 0.25]
    assert [values[name, "shop=b"] for name in ratios] == [0.5, 0, 0, 1, 0]
    assert values["products_count", "super_category=bags"] == 4
    assert values["refused_count", "stage=images,reason=not_found,shop=b"] == 1
    assert values["short_lists_count", "reason=rules"] == 1
    assert (
        values["representative_count", "view=detail"],
        values["representative_count", "view=detail,shop=a"],
    ) == (1, 1)
    assert (
        values["offers_unaccounted_count", "shop=a"],
        values["offers_unaccounted_count", "shop=b"],
    ) == (0, 1)
    assert values["refused_offers_ratio", "shop=b"] == 0.2
    assert (values["stale_feeds_count", "all"], values["stale_feeds_count", "shop=a"]) == (1, 0)
    assert values["cross_shop_ratio", "all"] == 0.5
    assert values["products_kept_ratio", "all"] == 1
    # Half of a:1's last list has gone, and all of b:4's.
    assert (values["churn@10", "shop=a"], values["churn@10", "all"]) == (0.5, 0.75)
    assert [
        values[f"rows_{what}_count", "table=images"] for what in ("taken", "written", "refused")
    ] == [4, 3, 1]


def test_a_night_of_nothing_has_nothing_to_measure_but_zeros() -> None:
    rows = metrics_by_key(night([]))
    assert {key: m.value for key, m in rows.items()} == {
        ("products_count", "all"): 0,
        ("stale_feeds_count", "all"): 0,
        ("missing_feeds_count", "all"): 0,
    }


def codes(bits: np.ndarray) -> pa.Table:
    packed = [row.tobytes() for row in np.packbits(bits, axis=1)]
    return pa.table(
        {
            "shape": pa.array(packed, pa.binary(16)),
            "colour": pa.array([packed[0]] * len(packed), pa.binary(16)),
        }
    )


def test_code_health_tells_good_codes_from_dead_ones() -> None:
    bits = np.random.default_rng(9).random((2000, 128)) < 0.5
    bits[:, 0] = True
    bits[:, 5] = bits[:, 4]
    rows = {(m.metric, m.scope): m.value for m in code_statistics.code_health_metrics(codes(bits))}
    assert rows["unbalanced_bits_count", "code=shape"] == 1
    assert rows["bit_balance_max_ratio", "code=shape"] == 1
    assert rows["distinct_codes_ratio", "all"] == rows["distinct_codes_ratio", "code=shape"] == 1
    assert rows["distinct_codes_ratio", "code=colour"] == 1 / 2000
    assert rows["most_shared_code_ratio", "all"] == 1 / 2000
    correlation = np.abs(np.corrcoef(bits[:, 1:].T)) - np.eye(127)
    assert rows["bit_correlation_ratio", "code=shape"] == pytest.approx(
        correlation.sum() / (127 * 126)
    )
    assert rows["unbalanced_bits_count", "code=colour"] == 128
    assert ("bit_correlation_ratio", "code=colour") not in rows


def test_one_code_for_all_is_seen() -> None:
    rows = {
        m.metric: m.value
        for m in code_statistics.code_health_metrics(codes(np.ones((50, 128), bool)))
    }
    assert (rows["distinct_codes_ratio"], rows["most_shared_code_ratio"]) == (1 / 50, 1)


def test_measures_become_rows_of_the_table() -> None:
    row = metrics.Metric("precision@10", "all", 0.5, "ratio", 0.4, 0.6, "ok", ">= 0.1")
    assert metrics.metrics_table([row]).to_pylist() == [
        {
            "metric": "precision@10",
            "scope": "all",
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "unit": "ratio",
            "verdict": "ok",
            "threshold": ">= 0.1",
        }
    ]
