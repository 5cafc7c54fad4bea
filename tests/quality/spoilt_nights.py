"""Nights that are spoilt on purpose, with the verdict that the gate must give."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.quality.night_changes import (
    Change,
    chain,
    change_products,
    drop_products,
    exchange_halves,
    exchange_shops,
    keep_feed_of,
    lose_pictures,
    lose_slowly,
    mix_categories,
    move_pictures,
    of_all,
    of_month,
    of_shop,
    renumber,
    scale_prices,
    sell_out_slowly,
    set_codes,
    set_values,
    shift_columns,
    shift_pictures,
    swap_genders,
    turn_bits,
    with_encoder,
)


@dataclass(frozen=True)
class NightCase:
    """A change of a good night.

    Attributes:
        name: The change in words.
        change: Makes it.
        verdict: The gate's verdict: fail, warn or ok.
        metric: The metric that must be outside its threshold; None for an honest change.
        is_first: There is no earlier run.
        nights_before: Nights before this one with the same change: a fault that creeps.
    """

    name: str
    change: Change
    verdict: str
    metric: str | None = None
    is_first: bool = False
    nights_before: int = 0


SALE = set_values(of_all(0.35), price_cents=of_month)
MODA, ALL = of_shop("moda"), of_all()

SPOILT = (
    NightCase(
        "pictures of a shop are shuffled", move_pictures(MODA), "fail", "moved_pictures_ratio"
    ),
    NightCase(
        "pictures of a shop are shuffled, in other bytes",
        move_pictures(MODA, are_bytes_new=True),
        "fail",
        "agreement_drop_ratio",
    ),
    NightCase(
        "a quarter of all pictures is swapped",
        move_pictures(of_all(0.25)),
        "fail",
        "moved_pictures_ratio",
    ),
    NightCase(
        "a third of all pictures is swapped, in other bytes",
        move_pictures(of_all(0.34), are_bytes_new=True),
        "fail",
        "agreement_drop_ratio",
    ),
    NightCase(
        "every picture goes to the product after it",
        change_products(shift_pictures),
        "fail",
        "moved_pictures_ratio",
    ),
    NightCase(
        "two shops have each other's pictures",
        change_products(exchange_shops),
        "fail",
        "moved_pictures_ratio",
    ),
    NightCase(
        "60 % of a shop's pictures are lost",
        lose_pictures("moda", 0.6),
        "fail",
        "shop_change_ratio",
    ),
    NightCase(
        "80 % of a shop's pictures are lost",
        lose_pictures("kant", 0.8),
        "fail",
        "shop_change_ratio",
    ),
    NightCase(
        "one picture for every product of a shop",
        chain(set_codes(MODA, "shape", "colour"), set_values(MODA, image_id="one")),
        "fail",
        "equal_pictures_ratio",
    ),
    NightCase(
        "all prices are one cent", set_values(ALL, price_cents=1), "fail", "price_jump_ratio"
    ),
    NightCase(
        "a shop's prices are a hundred times too high",
        scale_prices(MODA, 100),
        "fail",
        "price_jump_ratio",
    ),
    NightCase(
        "a shop's prices are a hundredth", scale_prices(MODA, 0.01), "fail", "price_jump_ratio"
    ),
    NightCase(
        "a third of a shop's prices are ten times too high",
        scale_prices(of_shop("moda", 0.34), 10),
        "fail",
        "price_jump_ratio",
    ),
    NightCase(
        "a shop has one price", set_values(MODA, price_cents=3999), "fail", "shop_change_ratio"
    ),
    NightCase(
        "a shop's currency is another, its figures are the same",
        set_values(MODA, currency="RUB"),
        "fail",
        "mix_change_ratio",
    ),
    NightCase(
        "a shop is out of stock",
        set_values(MODA, availability="out_of_stock"),
        "fail",
        "shop_change_ratio",
    ),
    NightCase(
        "two thirds of all are out of stock",
        set_values(of_all(0.67), availability="out_of_stock"),
        "fail",
        "shop_change_ratio",
    ),
    NightCase(
        "all titles of a shop are alike",
        set_values(MODA, title="product"),
        "fail",
        "shop_change_ratio",
    ),
    NightCase(
        "all links of a shop are alike",
        set_values(MODA, url="https://moda.example/"),
        "fail",
        "shop_change_ratio",
    ),
    NightCase("brands are gone", set_values(ALL, brand=None), "fail", "shop_change_ratio"),
    NightCase("a shop's links are gone", set_values(MODA, url=None), "fail", "shop_change_ratio"),
    NightCase("groups are gone", set_values(ALL, group_id=None), "fail", "shop_change_ratio"),
    NightCase(
        "a shop's colour words are gone",
        set_values(MODA, colour_word=None),
        "fail",
        "shop_change_ratio",
    ),
    NightCase("a shop's sizes are gone", set_values(MODA, size=None), "fail", "shop_change_ratio"),
    NightCase(
        "colour words stand a row too low",
        shift_columns("colour_word"),
        "fail",
        "colour_agreement_ratio",
    ),
    NightCase(
        "every product is for men",
        set_values(ALL, gender="male"),
        "fail",
        "contradicted_genders_ratio",
    ),
    NightCase(
        "women's and men's are exchanged in a shop",
        set_values(MODA, gender=swap_genders),
        "fail",
        "contradicted_genders_ratio",
    ),
    NightCase(
        "every product is for newborns",
        set_values(ALL, age_group="newborn"),
        "fail",
        "mix_change_ratio",
    ),
    NightCase(
        "a shop is all in one category",
        set_values(MODA, category="women.tops.tops", super_category="upper_wear"),
        "fail",
        "mix_change_ratio",
    ),
    NightCase(
        "a shop's categories are mapped to others",
        change_products(mix_categories),
        "fail",
        "changed_values_ratio",
    ),
    NightCase(
        "one code for a shop", set_codes(MODA, "shape", "colour"), "fail", "equal_codes_ratio"
    ),
    NightCase(
        "one code of colour for a shop", set_codes(MODA, "colour"), "fail", "equal_codes_ratio"
    ),
    NightCase(
        "all shape codes are zero", set_codes(ALL, "shape", of="zero"), "fail", "equal_codes_ratio"
    ),
    NightCase(
        "all colour codes are zero",
        set_codes(ALL, "colour", of="zero"),
        "fail",
        "equal_codes_ratio",
    ),
    NightCase(
        "a shop's shape codes are noise",
        set_codes(MODA, "shape", of="noise"),
        "fail",
        "agreement_drop_ratio",
    ),
    NightCase(
        "a shop's colour codes are noise",
        set_codes(MODA, "colour", of="noise"),
        "fail",
        "agreement_drop_ratio",
    ),
    NightCase(
        "shape and colour are exchanged",
        change_products(exchange_halves),
        "fail",
        "halves_lead_ratio",
    ),
    NightCase(
        "shape and colour are exchanged by another encoder",
        with_encoder(change_products(exchange_halves)),
        "fail",
        "halves_lead_ratio",
    ),
    NightCase(
        "another encoder, and everything is shuffled",
        with_encoder(move_pictures(ALL)),
        "fail",
        "shape_agreement_ratio",
    ),
    NightCase(
        "another encoder that tells nothing",
        chain(with_encoder(set_codes(ALL, "shape", "colour", of="noise"))),
        "fail",
        "shape_agreement_ratio",
    ),
    NightCase(
        "a third of all bits is turned", turn_bits(0.3, "noisy"), "fail", "agreement_drop_ratio"
    ),
    NightCase(
        "weights are 0:10",
        set_values(ALL, shape_weight=0, colour_weight=10),
        "warn",
        "one_sided_weights_ratio",
    ),
    NightCase(
        "weights are 10:0",
        set_values(ALL, shape_weight=10, colour_weight=0),
        "fail",
        "churn@10",
    ),
    NightCase("a feed is of months ago", keep_feed_of("2026-08-02"), "fail", "feed_age_days"),
    NightCase("a feed is of three weeks ago", keep_feed_of("2026-10-30"), "fail", "feed_age_days"),
    NightCase("a feed is of yesterday", keep_feed_of("2026-11-20"), "warn", "stale_feeds_count"),
    NightCase(
        "60 % of a shop's products are gone",
        drop_products(of_shop("moda", 0.6)),
        "fail",
        "products_kept_ratio",
    ),
    NightCase(
        "every offer has another number", change_products(renumber), "fail", "products_kept_ratio"
    ),
    NightCase(
        "lists end after three results",
        lambda night, _: replace(night, k=3),
        "fail",
        "with_5_matches_ratio",
    ),
    NightCase(
        "each night a tenth of a shop's products goes",
        drop_products(of_shop("moda", 0.1)),
        "warn",
        "week_change_ratio",
        nights_before=7,
    ),
    NightCase(
        "each night a tenth more is out of stock",
        sell_out_slowly("moda", 0.1),
        "warn",
        "week_change_ratio",
        nights_before=7,
    ),
    NightCase(
        "each night a shop's prices grow by a half",
        scale_prices(MODA, 1.5),
        "warn",
        "week_price_factor",
        nights_before=7,
    ),
    NightCase(
        "each night a tenth more has no picture",
        lose_slowly("moda", 0.08),
        "warn",
        "week_change_ratio",
        nights_before=7,
    ),
    NightCase(
        "first night: everything is shuffled",
        move_pictures(ALL),
        "fail",
        "shape_agreement_ratio",
        True,
    ),
    NightCase(
        "first night: a shop is shuffled",
        move_pictures(MODA),
        "fail",
        "shape_agreement_ratio",
        True,
    ),
    NightCase(
        "first night: shape and colour are exchanged",
        change_products(exchange_halves),
        "fail",
        "halves_lead_ratio",
        True,
    ),
    NightCase(
        "first night: one code for a shop",
        set_codes(MODA, "shape", "colour"),
        "fail",
        "equal_codes_ratio",
        True,
    ),
    NightCase(
        "first night: all shape codes are zero",
        set_codes(ALL, "shape", of="zero"),
        "fail",
        "equal_codes_ratio",
        True,
    ),
    NightCase(
        "first night: every product is for men",
        set_values(ALL, gender="male"),
        "fail",
        "contradicted_genders_ratio",
        True,
    ),
    NightCase(
        "first night: a shop is all in one category",
        set_values(MODA, category="women.tops.tops", super_category="upper_wear"),
        "fail",
        "contradicted_genders_ratio",
        True,
    ),
    NightCase(
        "first night: all prices are one cent",
        set_values(ALL, price_cents=1),
        "warn",
        "equal_values_ratio",
        True,
    ),
    NightCase(
        "first night: a shop's prices are a hundred times too high",
        scale_prices(MODA, 100),
        "warn",
        "price_level_factor",
        True,
    ),
    NightCase(
        "first night: a shop is out of stock",
        set_values(MODA, availability="out_of_stock"),
        "warn",
        "in_stock_ratio",
        True,
    ),
    NightCase(
        "first night: 70 % of a shop's pictures are lost",
        lose_pictures("kant", 0.7),
        "warn",
        "with_image_ratio",
        True,
    ),
    NightCase(
        "first night: all titles of a shop are alike",
        set_values(MODA, title="product"),
        "warn",
        "equal_values_ratio",
        True,
    ),
    NightCase(
        "first night: weights are 0:10",
        set_values(ALL, shape_weight=0, colour_weight=10),
        "warn",
        "one_sided_weights_ratio",
        True,
    ),
    NightCase(
        "first night: a feed is of months ago",
        keep_feed_of("2026-08-02"),
        "fail",
        "feed_age_days",
        True,
    ),
)
