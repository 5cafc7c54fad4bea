"""Honest changes of a night, which the gate must let pass without a warning."""

from __future__ import annotations

from tests.quality.night_changes import (
    add_products,
    chain,
    drop_products,
    of_all,
    of_category,
    of_month,
    of_shop,
    scale_prices,
    set_values,
    turn_bits,
    with_encoder,
)
from tests.quality.spoilt_nights import NightCase

SALE = set_values(of_all(0.35), price_cents=of_month)
MODA, ALL = of_shop("moda"), of_all()

HONEST = (
    NightCase("nothing changes", lambda night, _: night, "ok"),
    NightCase("a first night", lambda night, _: night, "ok", is_first=True),
    NightCase("a sale: a third of the prices falls by 20 to 70 %", SALE, "ok"),
    NightCase("a shop halves every price", scale_prices(MODA, 0.5), "ok"),
    NightCase("prices rise by a tenth", scale_prices(ALL, 1.1), "ok"),
    NightCase(
        "a new season: a quarter of the products is new",
        chain(
            drop_products(of_all(0.25)),
            add_products("moda", 105),
            add_products("bazaar", 70),
            add_products("kant", 35),
        ),
        "ok",
    ),
    NightCase("a shop is added", add_products("nova", 160), "ok"),
    NightCase("a small shop doubles", add_products("kant", 140), "ok"),
    NightCase("a shop is no longer read", drop_products(of_shop("kant")), "ok"),
    NightCase(
        "one product in a hundred goes, another comes",
        chain(drop_products(of_all(0.01)), add_products("moda", 8)),
        "ok",
    ),
    NightCase("a better encoder is promoted", with_encoder(lambda night, _: night), "ok"),
    NightCase("a tenth sells out", set_values(of_all(0.1), availability="out_of_stock"), "ok"),
    NightCase(
        "a quarter of a shop sells out in the holidays",
        set_values(of_shop("moda", 0.25), availability="out_of_stock"),
        "ok",
    ),
    NightCase("what was sold out is there again", set_values(ALL, availability="in_stock"), "ok"),
    NightCase("every picture comes in other bytes", turn_bits(0.03, "cdn"), "ok"),
    NightCase("one picture in thirty is lost", set_values(of_all(0.03), image_id=None), "ok"),
    NightCase(
        "a line for men is added",
        add_products(
            "moda", 60, category="men.tops.t-shirts", super_category="upper_wear", gender="male"
        ),
        "ok",
    ),
    NightCase(
        "a shop writes all titles anew",
        set_values(MODA, title=lambda old, _: [f"New: {t}" for t in old]),
        "ok",
    ),
    NightCase(
        "links get a parameter",
        set_values(ALL, url=lambda old, _: [f"{u}?from=feed" for u in old]),
        "ok",
    ),
    NightCase(
        "brands are spelt in capitals",
        set_values(ALL, brand=lambda old, _: [b.upper() for b in old]),
        "ok",
    ),
    NightCase(
        "colour words are translated",
        set_values(MODA, colour_word=lambda old, _: [f"{w} (de)" for w in old]),
        "ok",
    ),
    NightCase(
        "a shop groups its sizes",
        set_values(
            of_shop("kant"), group_id=lambda old, _: [f"h{n // 2}" for n in range(len(old))]
        ),
        "ok",
    ),
    NightCase(
        "descriptions are longer",
        set_values(ALL, description=lambda old, _: [t * 3 for t in old]),
        "ok",
    ),
    NightCase(
        "the weights of a category are tuned",
        set_values(of_category("women.dresses.midi"), shape_weight=4, colour_weight=6),
        "ok",
    ),
    NightCase(
        "a new brand has a tenth of a shop", set_values(of_shop("moda", 0.1), brand="Nova"), "ok"
    ),
)
