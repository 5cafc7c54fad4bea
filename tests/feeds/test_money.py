"""Money as shops write it: amounts, currencies, sales and their days."""

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearalike import feeds
from wearalike.feeds import FeedWarning, OfferReason, dates, money, normalize
from wearalike.settings import BadSettings, ShopSettings, day_of_run, read_settings

DAY = date(2026, 11, 20)
SHOP = ShopSettings(id="s", feed="http://shop.example/")


@pytest.mark.parametrize(
    ("text", "cents", "currency"),
    [
        ("1990", 199000, ""),
        ("15.00 USD", 1500, "USD"),
        ("1999.0000", 199900, ""),
        ("1 234,50 руб.", 123450, "RUB"),
        ("1\xa0234 ₽", 123400, "RUB"),
        ("1,234.5", 123450, ""),
        ("1.234,56 €", 123456, "EUR"),
        ("1,234", 123400, ""),
        ("12,3", 1230, ""),
        ("1'234.50 CHF", 123450, "CHF"),
        ("1.005", 101, ""),
        ("от 1500 р.", 150000, "RUB"),
        ("$5", 500, "USD"),
        ("0.1", 10, ""),
        ("９９", 9900, ""),
        # The decimal mark first.
        (",89 €", 89, "EUR"),
        (".45 GBP", 45, "GBP"),
        ("$.99", 99, "USD"),
        # No point belongs to a word before the number.
        ("kr.499", 49900, ""),
        ("руб.90", 9000, "RUB"),
        # A dash for the cents: the point before it groups.
        ("2.499.-", 249900, ""),
        ("39,-- €", 3900, "EUR"),
        ("CHF 1'150.–", 115000, "CHF"),
        ("399:-", 39900, ""),
        ("Rs 799/-", 79900, ""),
        ("1450-00", 145000, ""),
        # Groups of two and three, as in India.
        ("2,49,900.50", 24990050, ""),
        ("12,34,567", 123456700, ""),
        # All blanks.
        ("7\u202f890,50 €", 789050, "EUR"),
        ("7\u2009890 Kč", 789000, "CZK"),
        # The sign in the middle.
        ("24€90", 2490, "EUR"),
        ("15 руб. 70 коп.", 1570, "RUB"),
        # Other digits.
        ("٤٩٫٩٠", 4990, ""),
        # Words around.
        ("ab 59,95 €", 5995, "EUR"),
        ("59.95 EUR incl. 21% VAT", 5995, "EUR"),
        ("TODAY 12.50 EUR", 1250, "EUR"),
        ("only 12.50 £", 1250, "GBP"),
        ("exc VAT 12.50", 1250, ""),
        # Dollars of others.
        ("R$ 2.459,90", 245990, "BRL"),
        ("A$89.95", 8995, "AUD"),
        ("C$ 89", 8900, "CAD"),
        ("HK$ 680", 68000, "HKD"),
        ("MX$ 1,299", 129900, "MXN"),
        ("NT$990", 99000, "TWD"),
        ("$35 NZD", 3500, "NZD"),
        ("Q$ 5", 500, ""),
        # Signs and words of one currency.
        ("89 zł", 8900, "PLN"),
        ("₹ 2,499", 249900, "INR"),
        ("¥ 6,900", 690000, "JPY"),
        ("18,40 бел. руб.", 1840, "BYN"),
        ("18,40 Br", 1840, "BYN"),
        ("650 сом", 65000, "KGS"),
        ("89,99 lei", 8999, "RON"),
        ("799 грн", 79900, "UAH"),
        ("R 799.00", 79900, "ZAR"),
        # A sign of several, and a word that is a code.
        ("kr 799", 79900, ""),
        ("top 15", 1500, ""),
        ("TOP 19.99 €", 1999, "EUR"),
        ("15 usd", 1500, "USD"),
        # Signs of more than letters, and those of the Gulf.
        ("S/ 89.90", 8990, "PEN"),
        ("S/.89.90", 8990, "PEN"),
        ("E£ 950", 95000, "EGP"),
        ("KD 8.750", 875, "KWD"),
        ('149 ש"ח', 14900, "ILS"),
        ("$1,450.00 M.N.", 145000, "MXN"),
        # Nobody pays cents: the point groups, as the comma does.
        ("$ 24.990 CLP", 2499000, "CLP"),
        ("159.000 ₫", 15900000, "VND"),
        ("Rp 189.000", 18900000, "IDR"),
        ("1.290 Kč", 129000, "CZK"),
        ("KWD 8.750", 875, "KWD"),
        ("24.990,50 CLP", 2499050, "CLP"),
        ("2499.5 HUF", 249950, "HUF"),
    ],
)
def test_money_as_shops_write_it(text, cents, currency):
    assert money.parse_price(text) == (cents, currency)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "free",
        "0",
        "0.00",
        "-5",
        "5-10",
        "10 20",
        "1,23,4",
        "0,123",
        "1e9",
        "9" * 20,
        "NaN",
        "١٢٣ and 4",
    ],
)
def test_what_is_not_one_price_is_refused(text):
    with pytest.raises(normalize.InvalidOffer) as error:
        money.parse_price(text)
    assert error.value.reason is OfferReason.BAD_PRICE


@given(
    st.integers(1, 10**12 - 1),
    st.sampled_from(["", " ", "\xa0", "'", ","]),
    st.sampled_from(["", " RUB", " руб."]),
)
def test_money_is_exact_however_it_is_grouped(cents, separator, word):
    whole = f"{cents // 100:,}".replace(",", separator)
    assert money.parse_price(f"{whole}.{cents % 100:02}{word}") == (
        cents,
        "RUB" if word else "",
    )


_GROUPS = {
    "": lambda whole: str(whole),
    "space": lambda whole: f"{whole:,}".replace(",", " "),
    "no-break space": lambda whole: f"{whole:,}".replace(",", "\xa0"),
    "narrow space": lambda whole: f"{whole:,}".replace(",", "\u202f"),
    "apostrophe": lambda whole: f"{whole:,}".replace(",", "’"),
    "comma": lambda whole: f"{whole:,}",
    "point": lambda whole: f"{whole:,}".replace(",", "."),
    "lakh": lambda whole: write_lakhs(whole),
}


def write_lakhs(whole):
    """Digits in groups as in India: 12,34,567."""
    head, tail = divmod(whole, 1000)
    if not head:
        return str(whole)
    digits = str(head)
    groups = [digits[max(0, i - 2) : i] for i in range(len(digits), 0, -2)][::-1]
    return ",".join([*groups, f"{tail:03}"])


@given(
    st.integers(1, 10**10),
    st.sampled_from(sorted(_GROUPS)),
    st.sampled_from(".,"),
    st.sampled_from(
        [
            *[("", "", ""), ("€", "", "EUR"), ("", " €", "EUR"), ("HK$", "", "HKD")],
            *[("", " zł", "PLN"), ("", " руб.", "RUB"), ("CHF ", "", "CHF")],
            *[("от ", " ₽", "RUB"), ("", "\xa0грн", "UAH")],
        ]
    ),
)
def test_a_price_in_any_notation_reads_back(cents, grouping, mark, currency):
    if mark in {"comma": ",", "lakh": ",", "point": "."}.get(grouping, ""):
        mark = ".,"[mark == "."]
    before, after, code = currency
    whole, part = divmod(cents, 100)
    text = f"{before}{_GROUPS[grouping](whole)}{mark}{part:02}{after}"
    assert money.parse_price(text) == (cents, code)
    if not whole:
        leading = f"{before}{mark}{part:02}{after}"
        assert money.parse_price(leading) == (cents, code)


@given(
    st.integers(1, 10**10), st.sampled_from(sorted(_GROUPS)), st.sampled_from([".-", ",–", ",--"])
)
def test_a_dash_for_the_cents_makes_every_mark_before_it_a_group(whole, grouping, dash):
    assert money.parse_price(_GROUPS[grouping](whole) + dash) == (whole * 100, "")


@given(st.integers(1, 10**10), st.sampled_from(".,"))
def test_a_shop_whose_decimal_mark_is_known_leaves_nothing_to_guess(cents, mark):
    other = ",."[mark == ","]
    whole, part = divmod(cents, 100)
    grouped = f"{whole:,}".replace(",", other)
    assert money.parse_price(f"{grouped} €", mark) == (whole * 100, "EUR") if whole else True
    assert money.parse_price(f"{grouped}{mark}{part:02} €", mark) == (cents, "EUR")


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_money(text):
    try:
        cents, currency = money.parse_price(text)
    except normalize.InvalidOffer as error:
        assert error.reason is OfferReason.BAD_PRICE
    else:
        assert cents > 0 and (not currency or currency in money.ISO_CURRENCIES)


def google(*items):
    namespace = 'xmlns:g="http://base.google.com/ns/1.0"'
    shared = (
        "<g:title>Coat</g:title><g:image_link>https://shop.example/1.jpg</g:image_link>"
        "<g:availability>in stock</g:availability>"
    )
    made = (f"<item><g:id>{n}</g:id>{shared}{item}</item>" for n, item in enumerate(items))
    return f'<rss version="2.0" {namespace}><channel>{"".join(made)}</channel></rss>'


def yml(*offers, currency="RUB"):
    made = (
        f'<offer id="{n}"><name>Coat</name><picture>https://shop.example/1.jpg</picture>{o}</offer>'
        for n, o in enumerate(offers)
    )
    currencies = f'<currencies><currency id="{currency}" rate="1"/></currencies>'
    return f"<yml_catalog><shop>{currencies}<offers>{''.join(made)}</offers></shop></yml_catalog>"


def read(tmp_path, content, shop=SHOP):
    """(prices, warnings) of a feed: (price, old price, currency) of each offer."""
    path = tmp_path / "feed.xml"
    path.write_text(content, encoding="utf-8")
    reader = feeds.read_offers(path, shop, None, DAY)
    prices = [(o.price_cents, o.old_price_cents, o.currency) for o in reader]
    return prices, reader.warning_counts


@pytest.mark.parametrize("blank", ["0.00 EUR", "0", "", " EUR", "  ", "0,00", "€ 0"])
def test_a_sale_price_of_nothing_is_no_sale(tmp_path, blank):
    item = f"<g:price>79.50 EUR</g:price><g:sale_price>{blank}</g:sale_price>"
    assert read(tmp_path, google(item)) == ([(7950, None, "EUR")], Counter())


@pytest.mark.parametrize(
    ("dates", "is_on"),
    [
        ("2026-11-20T09:00+0100/2026-12-01T23:59+0100", True),
        ("2026-11-01/2026-11-20", True),
        ("2026-11-01T00:00:00Z/", True),
        ("2026-11-21T00:00Z/2026-12-01T00:00Z", False),
        ("2025-01-01T00:00Z/2026-11-19T23:59Z", False),
        ("2026-11-18T11:07+0100 / 2026-11-25T23:07+0100", True),
        ("2026-11-18 - 2026-11-25", True),
        ("2026-11-18T00:00:00–2026-11-19T23:59:59", False),
        ("2026-11-18--2026-11-25", True),
        ("2026-11-18, 2026-11-25", True),
        ("18.11.2026 до 25.11.2026", True),
        # No date at all, as databases and clocks write it.
        ("0000-00-00 00:00:00/0000-00-00 00:00:00", True),
        ("1970-01-01T00:00:00+0000/2026-11-19T00:00:00+0000", False),
        ("2026-11-18/-0001-11-30T00:00:00+00:00", True),
        ("", True),
    ],
)
def test_a_sale_counts_on_its_days(tmp_path, dates, is_on):
    item = (
        "<g:price>79.50 EUR</g:price><g:sale_price>55.00 EUR</g:sale_price>"
        f"<g:sale_price_effective_date>{dates}</g:sale_price_effective_date>"
    )
    wanted = (5500, 7950, "EUR") if is_on else (7950, None, "EUR")
    assert read(tmp_path, google(item)) == ([wanted], Counter())


def test_what_is_wrong_with_a_sale_costs_no_offer_and_is_counted(tmp_path):
    prices, warnings = read(
        tmp_path,
        google(
            "<g:price>40 EUR</g:price><g:sale_price>45 EUR</g:sale_price>",
            "<g:price>40 EUR</g:price><g:sale_price>soon</g:sale_price>",
            "<g:price>40 EUR</g:price><g:sale_price>three or 4 and 5</g:sale_price>",
            "<g:price>40 EUR</g:price><g:sale_price>30 USD</g:sale_price>",
            "<g:price>40 EUR</g:price><g:sale_price>30 EUR</g:sale_price>"
            "<g:sale_price_effective_date>all of May</g:sale_price_effective_date>",
        ),
    )
    assert prices == [(4000, None, "EUR")] * 5
    assert warnings == {FeedWarning.BAD_SALE_PRICE: 3, FeedWarning.BAD_SALE_DATES: 1}


def test_the_currency_may_stand_at_either_price(tmp_path):
    prices, warnings = read(
        tmp_path,
        google(
            "<g:price>40</g:price><g:sale_price>30 EUR</g:sale_price>",
            "<g:price>40 EUR</g:price><g:sale_price>30</g:sale_price>",
            "<g:price>40</g:price><g:sale_price>30 EUR</g:sale_price>"
            "<g:sale_price_effective_date>2020-01-01/2020-02-01</g:sale_price_effective_date>",
            "<g:price>0</g:price><g:sale_price>30 EUR</g:sale_price>",
        ),
    )
    assert prices == [
        (3000, 4000, "EUR"),
        (3000, 4000, "EUR"),
        (4000, None, "EUR"),
        (3000, None, "EUR"),
    ]
    assert not warnings


def test_old_prices_of_every_dialect(tmp_path):
    prices, warnings = read(
        tmp_path,
        yml(
            "<price>1500</price><price_old>2100</price_old>",
            "<price>1500</price><oldprice>0</oldprice><price_old>2100</price_old>",
            "<price>1500</price><old_price>2 100,00</old_price>",
            "<price>1500</price><price_promo>990</price_promo>",
            "<price>1500</price><price_promo>0</price_promo>",
            "<price>1500</price><special_price>990</special_price>",
            "<price>1500</price><regular_price>2100</regular_price>",
            "<price>1500</price><price_before_discount>2100</price_before_discount>",
            "<price>1500</price><oldprice>900</oldprice>",
            "<price>1500</price><oldprice>much more</oldprice>",
            "<price>1500</price><oldprice>7 or 8</oldprice>",
        ),
    )
    assert prices == [
        (150000, 210000, "RUB"),
        (150000, 210000, "RUB"),
        (150000, 210000, "RUB"),
        (99000, 150000, "RUB"),
        (150000, None, "RUB"),
        (99000, 150000, "RUB"),
        (150000, 210000, "RUB"),
        (150000, 210000, "RUB"),
        (150000, None, "RUB"),
        (150000, None, "RUB"),
        (150000, None, "RUB"),
    ]
    assert warnings == {FeedWarning.BAD_OLD_PRICE: 1}


def test_an_old_price_in_a_google_feed(tmp_path):
    prices, warnings = read(
        tmp_path,
        google("<g:price>50 EUR</g:price><g:compare_at_price>70 EUR</g:compare_at_price>"),
    )
    assert (prices, warnings) == ([(5000, 7000, "EUR")], Counter())


def test_a_currency_that_is_not_known_is_said_and_costs_no_offer(tmp_path):
    prices, warnings = read(
        tmp_path,
        yml(
            "<price>5</price><currencyId>US Dollars</currencyId>",
            "<price>5</price><currencyId>rur</currencyId>",
            "<price>5</price><currencyId>LEI</currencyId>",
            "<price>5</price><currencyId>NOW</currencyId>",
            "<price>5 EUR</price><currencyId>?</currencyId>",
            "<price>5</price>",
            currency="",
        ),
    )
    assert [currency for _, _, currency in prices] == ["USD", "RUB", "RON", "XXX", "EUR", "XXX"]
    assert warnings == {FeedWarning.UNKNOWN_CURRENCY: 2, FeedWarning.NO_CURRENCY: 1}


def test_a_shop_may_say_its_currency(tmp_path):
    shop = ShopSettings(id="s", feed="x", default_currency="SEK")
    items = [f"<g:price>{price}</g:price>" for price in ("499 kr", "499", "499 DKK", "$499")]
    prices, warnings = read(tmp_path, google(*items), shop)
    assert [currency for _, _, currency in prices] == ["SEK", "SEK", "DKK", "USD"]
    assert not warnings


def test_a_currency_in_the_settings_is_a_code(tmp_path):
    path = tmp_path / "wearalike.toml"
    path.write_text('[[shops]]\nid = "s"\nfeed = "x"\ndefault_currency = "kr"\n')
    with pytest.raises(BadSettings, match="shop 's': default_currency: "):
        read_settings(path, {})


def test_a_price_is_the_runs_days():
    assert day_of_run("2026-11-20") == day_of_run("2026-11-20-again") == DAY


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-20", DAY),
        ("2026-11-20 04:30", DAY),
        ("2026-11-20T23:59:59+03:00", DAY),
        ("20.11.2026", DAY),
        ("2026/11/20", DAY),
        ("Fri, 20 Nov 2026 10:00:00 GMT", DAY),
    ],
)
def test_days_as_shops_write_them(text, day):
    assert dates.parse_day(text) == day


@pytest.mark.parametrize("text", ["", "soon", "2026-13-41", "31.02.2026", "03/04/2026"])
def test_a_text_that_is_no_day_or_two_is_refused(text):
    with pytest.raises(ValueError):
        dates.parse_day(text)
