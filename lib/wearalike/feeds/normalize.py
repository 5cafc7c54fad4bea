"""A shop's words to ours: text, money, addresses, people. What cannot be used raises Unusable with its reason."""

from __future__ import annotations

import html
import re
import unicodedata
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

from wearalike.tables import AgeGroup, Availability, Gender


class OfferReason(StrEnum):
    """Why an offer cannot be used."""

    MISSING_ID = "missing_id"
    MISSING_TITLE = "missing_title"
    BAD_PRICE = "bad_price"
    BAD_CURRENCY = "bad_currency"
    BAD_URL = "bad_url"
    NO_PICTURE = "no_picture"
    DUPLICATE_ID = "duplicate_id"


class InvalidOffer(ValueError):
    """A value that its offer cannot do without, or a whole offer, is of no use."""

    def __init__(self, reason: OfferReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


MAX_URL_CHARS, MAX_WORD_CHARS = 4096, 500
MAX_PRICE_CENTS = 10**14
# ISO 4217 for "no currency": the feed names none.
NO_CURRENCY = "XXX"

_HIDDEN_UNICODE_CATEGORIES = ("Cc", "Cf", "Cs")
_TAG = re.compile(r"<[a-zA-Z/!][^<>]*>")
_INVISIBLE_MARKUP = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.IGNORECASE
)


def plain_text(text: str) -> str:
    """Text for people: entities resolved, NFKC, without control and format characters and tags, single spaces."""
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if not text.isprintable():
        text = " ".join(text.split())
        if not text.isprintable():
            text = "".join(
                c for c in text if unicodedata.category(c) not in _HIDDEN_UNICODE_CATEGORIES
            )
    if "<" in text:
        if "<s" in text or "<S" in text or "<!--" in text:
            text = _INVISIBLE_MARKUP.sub(" ", text)
        text = _TAG.sub(" ", text)
    if "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
    return text


_PLAIN_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?(?: ([A-Za-z]{3}))?")
_NUMBER_RUN = re.compile(r"\d(?:[\d .,'’]*\d)?")
_DECIMAL_NUMBER = re.compile(
    r"(?P<whole>\d{1,12})(?:\.(?P<part>\d+)|,(?P<comma>\d{1,2}))?", re.ASCII
)
_GROUPED_NUMBER = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?P<sep>[ '’.,])\d{3}(?:(?P=sep)\d{3}){0,3})(?:(?!(?P=sep))[.,](?P<part>\d+))?",
    re.ASCII,
)
_CURRENCY_WORD = re.compile(r"[^\W\d_]+|[€$£₽₴₸]")
_CURRENCIES = {
    **dict.fromkeys(("RUR", "РУБ", "РУБЛЬ", "РУБЛЯ", "РУБЛЕЙ", "Р", "₽"), "RUB"),
    **dict.fromkeys(("ГРН", "₴"), "UAH"),
    **dict.fromkeys(("ТГ", "ТЕНГЕ", "₸"), "KZT"),
    "BYR": "BYN",
    "€": "EUR",
    "$": "USD",
    "£": "GBP",
}


@lru_cache(maxsize=16384)
def parse_price(text: str) -> tuple[int, str]:
    """(cents, currency) of a price as shops write it: "15.00 USD", "1 234,50 руб.", "1,234.5"; "" where no currency is told.

    Exact; what is finer than a cent is rounded half up. A point before three digits is decimal, a comma there groups.
    Raises Unusable (BAD_PRICE) for what is not one number above 0.
    """
    found = _PLAIN_AMOUNT.fullmatch(text)
    if found:
        whole, part, word = found.groups("")
        cents, currency = int(whole) * 100 + int(part.ljust(2, "0")), word and currency_of(word)
    else:
        cents, currency = _parse_written_price(unicodedata.normalize("NFKC", text))
    if not 0 < cents <= MAX_PRICE_CENTS:
        raise InvalidOffer(OfferReason.BAD_PRICE, f"{text[:80]!r}; wanted one number above 0")
    return cents, currency


def _parse_written_price(text: str) -> tuple[int, str]:
    """money of a text in NFKC that is more than plain digits; 0 cents where it is not one number."""
    numbers = _NUMBER_RUN.findall(text)
    number = " ".join(numbers[0].split()) if len(numbers) == 1 else ""
    found = _DECIMAL_NUMBER.fullmatch(number) or _GROUPED_NUMBER.fullmatch(number)
    if found is None or re.search(r"[-−–]\s*\d", text):
        return 0, ""
    named = found.groupdict()
    part = named["part"] or named.get("comma") or "0"
    exact = Decimal(f"{re.sub(r'[^0-9]', '', named['whole'])}.{part[:20]}") * 100
    words = (word.upper() for word in _CURRENCY_WORD.findall(text))
    currency = next(
        (
            _CURRENCIES.get(word, word)
            for word in words
            if word in _CURRENCIES or re.fullmatch("[A-Z]{3}", word)
        ),
        "",
    )
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP)), currency


@lru_cache(maxsize=1024)
def currency_of(text: str) -> str:
    """The ISO 4217 code of a currency as written. Raises Unusable (BAD_CURRENCY)."""
    word = text.strip(" .\t\r\n\xa0").upper()
    word = _CURRENCIES.get(word, word)
    if not re.fullmatch("[A-Z]{3}", word):
        raise InvalidOffer(
            OfferReason.BAD_CURRENCY, f"{text[:80]!r}; wanted three letters of ISO 4217, e.g. RUB"
        )
    return word


_PLAIN_URL = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!#$&-;=?-Z_a-z~]*)?")
_URL_SAFE_CHARS = "%/:?#@!$&'()*+,;=~-._"


def normalize_url(text: str) -> str:
    """The address with what is not ASCII percent-encoded and its host in IDNA. Raises Unusable (BAD_URL)
    for what is not an absolute http or https address of at most 4,096 characters, or carries a password."""
    if _PLAIN_URL.fullmatch(text) and len(text) <= MAX_URL_CHARS:
        return text
    address = "".join(c for c in text.strip() if c.isprintable() or c == "\xa0")
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise InvalidOffer(OfferReason.BAD_URL, f"{address[:200]!r}: {error}") from error
    if (
        parts.scheme not in ("http", "https")
        or not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", host)
        or "@" in parts.netloc
    ):
        raise InvalidOffer(
            OfferReason.BAD_URL, f"{address[:200]!r}; wanted an absolute http or https address"
        )
    host = f"[{host}]" if ":" in host else host
    netloc = host if port is None else f"{host}:{port}"
    rest = (
        re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(part, _URL_SAFE_CHARS)) for part in parts[2:]
    )
    encoded = urlunsplit((parts.scheme, netloc, *rest))
    if len(encoded) > MAX_URL_CHARS:
        raise InvalidOffer(
            OfferReason.BAD_URL, f"{len(encoded)} characters; wanted at most {MAX_URL_CHARS}"
        )
    return encoded


_MALE = re.compile(r"\b(?:муж|мальч|male|m[ae]n|boy|gentlem|[mм]\b)", re.IGNORECASE)
_FEMALE = re.compile(
    r"\b(?:жен|девоч|девуш|female|wom[ae]n|girl|lad(?:y|ies)|[fwж]\b)", re.IGNORECASE
)
_UNISEX = re.compile(r"\b(?:унисекс|unisex)", re.IGNORECASE)
_AGES = (
    (AgeGroup.NEWBORN, re.compile(r"\b(?:новорожд|newborn)", re.IGNORECASE)),
    (AgeGroup.INFANT, re.compile(r"\b(?:младен|infant|bab(?:y|ies))", re.IGNORECASE)),
    (AgeGroup.TODDLER, re.compile(r"\b(?:малыш|toddler)", re.IGNORECASE)),
    (
        AgeGroup.KIDS,
        re.compile(
            r"\b(?:дет[исяе]|детск|реб[её]н|мальч|девоч|подрост|kid|child|boy|girl|junior|teen)",
            re.IGNORECASE,
        ),
    ),
    (AgeGroup.ADULT, re.compile(r"\b(?:взросл|adult)", re.IGNORECASE)),
)


@lru_cache(maxsize=4096)
def gender_of(*words: str | None) -> Gender | None:
    """Whom words such as "Мужской", "girls", "м/ж" name; both is unisex; None where they name nobody."""
    text = " / ".join(word[:MAX_WORD_CHARS] for word in words if word)
    is_male, is_female = bool(_MALE.search(text)), bool(_FEMALE.search(text))
    if _UNISEX.search(text) or (is_male and is_female):
        return Gender.UNISEX
    return Gender.MALE if is_male else Gender.FEMALE if is_female else None


@lru_cache(maxsize=4096)
def age_group_of(*words: str | None) -> AgeGroup | None:
    """The youngest age group that words such as "Детский", "newborn", "для мальчиков" name; None where they name none."""
    text = " / ".join(word[:MAX_WORD_CHARS] for word in words if word)
    return next((group for group, pattern in _AGES if pattern.search(text)), None)


_AVAILABILITY = {
    **dict.fromkeys(
        ("in stock", "instock", "available", "true", "yes", "1", "в наличии", "есть"),
        Availability.IN_STOCK,
    ),
    **dict.fromkeys(
        ("out of stock", "outofstock", "not available", "false", "no", "0", "нет в наличии", "нет"),
        Availability.OUT_OF_STOCK,
    ),
    **dict.fromkeys(("preorder", "pre order", "предзаказ"), Availability.PREORDER),
    **dict.fromkeys(("backorder", "back order"), Availability.BACKORDER),
    **dict.fromkeys(
        ("available for order", "on order", "под заказ", "на заказ"), Availability.ON_ORDER
    ),
}


def availability_of(text: str) -> Availability | None:
    """What words such as "In Stock", "out_of_stock", "под заказ" say; None where we do not know them."""
    return _AVAILABILITY.get(" ".join(re.split(r"[\s_-]+", text.strip().lower())))
