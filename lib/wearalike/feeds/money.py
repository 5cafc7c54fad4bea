"""Read amounts of money and currencies, in the notations of shops."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from babel.core import get_global
from babel.numbers import list_currencies

from wearalike.feeds.currency_signs import AMBIGUOUS_SIGNS, CURRENCY_SIGNS
from wearalike.feeds.dates import parse_limit, split_period
from wearalike.feeds.normalize import InvalidOffer, OfferReason

MAX_PRICE_CENTS = 10**14
# ISO 4217 for "no currency": the feed names none, or none that is known.
NO_CURRENCY = "XXX"
ISO_CURRENCIES = frozenset(list_currencies())
# Nobody pays cents in these currencies: "1.299" is a thousand and more.
_WITHOUT_CENTS = frozenset(
    code for code, fraction in get_global("currency_fractions").items() if fraction[2] == 0
)
# The former codes that feeds still write.
_RENAMED_CODES = {"RUR": "RUB", "BYR": "BYN", "BYB": "BYN", "TRL": "TRY", "ROL": "RON"}
# Codes that are English words, too; in small letters they are meant as words.
_WORDS_LIKE_CODES = frozenset(
    ("ALL", "BOB", "COP", "CUP", "GEL", "MAD", "MOP", "PEN", "SOS", "TOP", "TRY")
)

_PLAIN_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?(?: ([A-Z]{3}))?")
_AMOUNT_DIGIT = re.compile("[1-9]")
_FOREIGN_DIGIT = re.compile(r"[^\W0-9a-zA-Z_](?<=\d)")
_SPACES = re.compile(r"\s+")
_PERCENTAGE = re.compile(r"\d+(?:[.,]\d+)?\s?%")
# "12€50" and "12 руб. 50 коп."
_SPLIT_BY_SIGN = re.compile(r"(\d)\s?([€£$₽₴])\s?(\d\d)(?![\d.,])")
_SPLIT_BY_WORD = re.compile(r"(\d)\s?(р\w*|грн)\.?\s?(\d\d)\s?коп\w*\.?", re.IGNORECASE)
# "1290-00": no range ends at 0.
_DASHED_ZEROS = re.compile(r"(?<=\d)[-–=]00(?!\d)")
# The point of Peru's "S/." is no decimal mark.
_SOL = re.compile(r"\b[Ss]/\.(?=\s?\d)")
_NEGATIVE = re.compile(r"[-−–]\s*[.,]?\d")
_NUMBER = re.compile(
    r"(?P<number>(?:(?<![\w.,])[.,](?=\d))?\d(?:[\d .,']*\d)?)(?P<dash>[.,:]\s?[-–—−]{1,2}(?!\d))?"
)
_DECIMAL_NUMBER = re.compile(
    r"(?P<whole>\d{1,12})?(?:\.(?P<part>\d+)|,(?P<comma>\d{1,2}|\d{4,}))|(?P<bare>\d{1,12})"
    r"|,(?P<leading>\d+)",
    re.ASCII,
)
_GROUPED_NUMBER = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?P<sep>[ '.,])\d{3}(?:(?P=sep)\d{3}){0,3}"
    r"|[1-9]\d?(?P<lakh>[ ,])\d\d(?:(?P=lakh)\d\d)*(?P=lakh)\d{3})"  # 12,34,567
    r"(?:(?!(?P=sep)|(?P=lakh))[.,](?P<part>\d+))?",
    re.ASCII,
)
# By the decimal mark that a shop's settings name.
_NUMBERS_BY_MARK = {
    mark: re.compile(
        rf"(?P<whole>\d{{0,12}}|[1-9]\d{{0,2}}(?:(?P<sep>[ '{other}])\d{{2,3}})+)"
        rf"(?:{re.escape(mark)}(?P<part>\d+))?",
        re.ASCII,
    )
    for mark, other in ((".", ","), (",", "."))
}
_MARKS = str.maketrans("٫٬’‘´`ʼ", ".,'''''")
_CURRENCY_TOKEN = re.compile(
    r"(?<!\w)[Ss]/(?=[\s.]|$)|[^\W\d_]*[€$£¥]|[^\W\d_]+(?:[./'’\"״][^\W\d_]+)*"
    r"|[^\w\s.,:;'’()/+*#%-]"
)


@lru_cache(maxsize=16384)
def parse_price(
    text: str, decimal_mark: str | None = None, shop_currency: str | None = None
) -> tuple[int, str]:
    """Read a price as shops write it.

    The result is exact; parts finer than a cent are rounded half up. Without a setting a point
    before three digits is decimal, and a comma before them groups thousands. Both group where the
    text names a currency that has no cents, such as CLP.

        >>> parse_price("1 234,50 руб.")
        (123450, 'RUB')

    Args:
        text: Such as "15.00 USD", "1 234,50 руб." or "1,234.5".
        decimal_mark: "." or "," where the shop's settings tell it.
        shop_currency: The currency that a sign of several currencies means, such as "kr".

    Returns:
        (cents, currency): hundredths of the currency, and its ISO 4217 code, or "" if the text
        names none that is known.

    Raises:
        InvalidOffer: BAD_PRICE for anything but one number above 0.
    """
    plain = _PLAIN_AMOUNT.fullmatch(text)
    if plain:
        whole, part, word = plain.groups("")
        cents = int(whole) * 100 + int(part.ljust(2, "0"))
        currency = parse_currency(word, shop_currency) if word else ""
    else:
        cents, currency = _parse_written_price(text, decimal_mark, shop_currency)
    if not 0 < cents <= MAX_PRICE_CENTS:
        raise InvalidOffer(OfferReason.BAD_PRICE, f"{text[:80]!r}; wanted one number above 0")
    return cents, currency


def is_no_amount(text: str | None) -> bool:
    """Tell if a price is left empty: blank, 0, or a currency alone.

    >>> is_no_amount("0.00 EUR"), is_no_amount(",90")
    (True, False)
    """
    if text and _AMOUNT_DIGIT.search(text):
        return False
    return not any(c.isdigit() and unicodedata.digit(c, 1) for c in text or "")


def _parse_written_price(
    text: str, decimal_mark: str | None, shop_currency: str | None
) -> tuple[int, str]:
    """Return (cents, currency) of a text; 0 cents if it is not one number."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    text = _FOREIGN_DIGIT.sub(lambda match: str(unicodedata.digit(match[0])), text)
    text = _PERCENTAGE.sub(" ", _SPACES.sub(" ", text))
    text = _SOL.sub("S/ ", _DASHED_ZEROS.sub("", text))
    text = _SPLIT_BY_SIGN.sub(r"\1.\3 \2", _SPLIT_BY_WORD.sub(r"\1.\3 \2", text))
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1 or _NEGATIVE.search(text):
        return 0, ""
    found = numbers[0]
    currency = _find_currency(text[: found.start()], text[found.end() :], shop_currency)
    is_whole = bool(found["dash"])
    if not decimal_mark and currency in _WITHOUT_CENTS:
        is_whole = is_whole or bool(_GROUPED_NUMBER.fullmatch(found["number"]))
    exact_cents = _exact_cents(found["number"], is_whole, decimal_mark)
    return int(exact_cents.quantize(Decimal(1), ROUND_HALF_UP)), currency


def _exact_cents(number: str, is_whole: bool, decimal_mark: str | None) -> Decimal:
    """Return the hundredths of a number; 0 for digits that make no number.

    Args:
        number: Digits and marks, with single spaces.
        is_whole: Its marks group; a dash may stand for its cents, as in "49,-".
        decimal_mark: The decimal mark, if it is known.
    """
    if is_whole:
        match = _GROUPED_NUMBER.fullmatch(number) or re.fullmatch(r"(?P<whole>\d{1,12})", number)
    elif decimal_mark:
        match = _NUMBERS_BY_MARK[decimal_mark].fullmatch(number)
    else:
        match = _DECIMAL_NUMBER.fullmatch(number) or _GROUPED_NUMBER.fullmatch(number)
    if match is None:
        return Decimal(0)
    groups = match.groupdict()
    whole = re.sub(r"[^0-9]", "", groups.get("whole") or groups.get("bare") or "0")
    parts = (groups.get(name) for name in ("part", "comma", "leading"))
    part = next(filter(None, parts), "0")
    return Decimal(f"{whole or 0}.{part[:20]}") * 100


@lru_cache(maxsize=1024)
def parse_currency(text: str, shop_currency: str | None = None) -> str:
    """Return the ISO 4217 code of a currency as shops write it, or "" if it is not known.

        >>> parse_currency("бел. руб."), parse_currency("NOW")
        ('BYN', '')

    Args:
        text: A code, a sign, or a word such as "руб.".
        shop_currency: The currency that a sign of several currencies means.
    """
    word = text.strip(" .\t\r\n\xa0").upper()
    code = _RENAMED_CODES.get(word, word)
    if code in ISO_CURRENCIES and code != NO_CURRENCY:
        return code
    return _find_currency(unicodedata.normalize("NFKC", text), "", shop_currency)


def _find_currency(before: str, after: str, shop_currency: str | None) -> str:
    """Return the currency that the text around a number names, or "".

    A sign of one currency goes before a code, and that before a sign of several currencies. Among
    equals the nearest to the number counts.
    """
    left = [match[0] for match in _CURRENCY_TOKEN.finditer(before)][::-1]
    right = [match[0] for match in _CURRENCY_TOKEN.finditer(after)]
    tokens = [token for pair in _zip_all(right, left) for token in pair]
    if "".join(tokens).casefold().startswith(("брруб", "руббел", "рбел", "бел")):
        return "BYN"
    words = [token.casefold() for token in tokens]
    if any(word.startswith("бел") for word in words) and any(
        word.startswith("р") for word in words
    ):
        return "BYN"
    for word in words:
        if word in CURRENCY_SIGNS:
            return CURRENCY_SIGNS[word]
    for token in tokens:
        code = token.rstrip("$€£¥").upper()
        code = _RENAMED_CODES.get(code, code)
        is_word = code in _WORDS_LIKE_CODES and not token.isupper()
        if code in ISO_CURRENCIES and code != NO_CURRENCY and not is_word:
            return code
    for word in words:
        sign = word[-1] if word[-1] in "$€£¥" and len(word) > 4 else word
        if sign in AMBIGUOUS_SIGNS:
            usual, *others = AMBIGUOUS_SIGNS[sign]
            return shop_currency if shop_currency and shop_currency in others else usual
        if sign in CURRENCY_SIGNS:
            return CURRENCY_SIGNS[sign]
    return ""


def _zip_all(one: list[str], other: list[str]) -> list[list[str]]:
    """Return the first of both lists, then the second of both, and so on."""
    return [one[i : i + 1] + other[i : i + 1] for i in range(max(len(one), len(other)))]


@lru_cache(maxsize=1024)
def is_within_dates(text: str, day: date) -> bool:
    """Tell if a day is within two dates, both included; an empty date is no limit.

        >>> is_within_dates("2026-11-01T00:00+0300/2026-11-30", date(2026, 11, 20))
        True

    Args:
        text: Two dates as `split_period` parts them.
        day: The day.

    Raises:
        ValueError: The text is anything else.
    """
    start, end = map(parse_limit, split_period(text))
    return (start is None or start <= day) and (end is None or day <= end)
