"""Read the addresses of pages and pictures as shops write them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from lxml.etree import _Element as Element

from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.net.web_address import encode_unsendable

MAX_URL_CHARS = 4096
# Further pictures of an offer are left out and counted.
MAX_IMAGES = 50
# Elements of YML, and of what shop systems and affiliate networks make of it, that hold addresses
# of pictures.
PICTURE_ELEMENTS = (
    *("picture", "pictures", "picture_orig", "picture_url", "picture_link", "additional_picture"),
    *("image", "images", "image_link", "image_url", "additional_image", "additional_images"),
    *("additional_image_link", "additional_image_links", "main_image", "big_picture"),
    *("photo", "photos", "photo_url", "img", "img_url", "foto"),
)
_PICTURE_ATTRIBUTES = ("url", "href", "src")
_PLAIN_URL = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!#-;=?-\[\]-~]*)?")
# The address of one picture that is sent as it is; one with "&" or "//" needs a closer look.
_match_plain_picture = re.compile(
    r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?/[!#-%'-;=?-\[\]-~]+(?<![,;|/])"
).fullmatch
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
_ESCAPED_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
# Between two addresses in one text. A separator elsewhere is a part of a file's name. Two addresses
# without one are parted behind the ending of a picture.
_BETWEEN_ADDRESSES = re.compile(
    r"[\s,;|]+(?=https?://|//[\w-]+(?:\.[\w-]+)+/)"
    r"|(?:(?<=\.jpg)|(?<=\.png)|(?<=\.gif)|(?<=\.jpeg)|(?<=\.webp)|(?<=\.avif))(?=https?://)",
    re.IGNORECASE,
)
_SEPARATORS = " \t\r\n,;|"
_TAG_ADDRESS = re.compile(r"""\b(?:src|href)\s*=\s*["']?([^"'\s<>]+)""", re.IGNORECASE)


def normalize_url(text: str) -> str:
    """Return a web address that can be sent; path and query are as the shop wrote them.

    Characters that cannot be sent are percent-encoded, the host is in IDNA. "//host" means https,
    and "&amp;" that was escaped once more means "&".

        >>> normalize_url("//Пример.рф/a b%2Fc.jpg?w=6&amp;h=8")
        'https://xn--e1afmkfd.xn--p1ai/a%20b%2Fc.jpg?w=6&h=8'

    Args:
        text: The address as the shop writes it.

    Raises:
        InvalidOffer: BAD_URL unless it is an absolute http or https address of at most 4,096
            characters that carries no password.
    """
    is_escaped = "&" in text and _ESCAPED_AMPERSAND.search(text)
    if _PLAIN_URL.fullmatch(text) and len(text) <= MAX_URL_CHARS and not is_escaped:
        return text
    address = "".join(c for c in text.strip() if c.isprintable() or c == "\xa0")
    while _ESCAPED_AMPERSAND.search(address):
        address = _ESCAPED_AMPERSAND.sub("&", address)
    if address.startswith("//"):
        address = f"https:{address}"
    try:
        address = encode_unsendable(address)
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port
    except ValueError as error:
        raise InvalidOffer(OfferReason.BAD_URL, f"{address[:200]!r}: {error}") from error
    is_web = parts.scheme in ("http", "https")
    if not is_web or not _HOST.fullmatch(host) or "@" in parts.netloc:
        raise InvalidOffer(
            OfferReason.BAD_URL, f"{address[:200]!r}; wanted an absolute http or https address"
        )
    if ":" in host:
        host = f"[{host}]"
    netloc = host if port is None else f"{host}:{port}"
    rest = address.partition("://")[2][len(parts.netloc) :]
    encoded = f"{parts.scheme}://{netloc}{rest}"
    if len(encoded) > MAX_URL_CHARS:
        raise InvalidOffer(
            OfferReason.BAD_URL, f"{len(encoded)} characters; wanted at most {MAX_URL_CHARS}"
        )
    return encoded


def split_addresses(text: str) -> list[str]:
    """Return the addresses in a text, which shops separate by commas, semicolons, bars or spaces.

    The text is split only before a scheme, so that "a,b.jpg" stays one file. It may be a list of
    JSON, be quoted, or be HTML's tags of pictures.

        >>> split_addresses("https://a.example/1,2.jpg, https://a.example/3.jpg")
        ['https://a.example/1,2.jpg', 'https://a.example/3.jpg']

    Args:
        text: The text of an element.
    """
    text = text.strip(_SEPARATORS)
    if text[:1] in ("[", '"', "'", "<"):
        if inner := _TAG_ADDRESS.findall(text) if text[0] == "<" else _read_json_texts(text):
            return [address for part in inner for address in split_addresses(part)]
        text = text.strip("\"'[]")
    if text.count("//") < 2:
        return [text]
    return _BETWEEN_ADDRESSES.split(text)


def _read_json_texts(text: str) -> list[str]:
    """Return the texts of a list in JSON; none for any other text."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return []
    values = content if isinstance(content, list) else []
    return [value for value in values if isinstance(value, str) and value[:1] not in ("[", '"')]


def picture_texts(element: Element) -> Iterator[str | None]:
    """Yield the texts of a picture's element: its own, those within it, or its attribute's.

    Args:
        element: One of PICTURE_ELEMENTS, without a namespace.
    """
    attribute = next(filter(None, map(element.get, _PICTURE_ATTRIBUTES)), None)
    texts: list[str | None] = [element.text or attribute]
    if len(element):
        texts = [text for text in element.itertext() if text.strip()]
    yield from texts
    for child in element:
        yield from filter(None, map(child.get, _PICTURE_ATTRIBUTES))


def read_image_urls(texts: Sequence[str | None], warning_counts: Counter[FeedWarning]) -> list[str]:
    """Return the distinct usable addresses of at most MAX_IMAGES pictures.

    Args:
        texts: Texts of one or several addresses each.
        warning_counts: Counts the repairs; this function adds to it.

    Raises:
        InvalidOffer: NO_PICTURE if there is none.
    """
    given = [text for text in texts if text]
    if (
        0 < len(given) == len(texts) <= MAX_IMAGES
        and all(map(_match_plain_picture, given))
        and len(joined := "".join(given)) <= MAX_URL_CHARS
        and joined.count("//") == len(given)
    ):
        return list(dict.fromkeys(given)) if len(given) > 1 else given
    addresses = [address for text in texts for address in split_addresses(text or "")]
    if len(addresses) > MAX_IMAGES:
        warning_counts[FeedWarning.MANY_VALUES] += 1
    urls: dict[str, None] = {}
    last_fault = "no picture; wanted at least one http or https address"
    for address in addresses[:MAX_IMAGES]:
        try:
            urls[_picture_url(address)] = None
        except InvalidOffer as error:
            warning_counts[FeedWarning.BAD_IMAGE_URL] += 1
            last_fault = error.detail
            continue
        if address.startswith("//") or _ESCAPED_AMPERSAND.search(address):
            warning_counts[FeedWarning.REPAIRED_IMAGE_URL] += 1
    if not urls:
        raise InvalidOffer(OfferReason.NO_PICTURE, last_fault)
    return list(urls)


def _picture_url(text: str) -> str:
    """Return the address of a picture. Raise InvalidOffer (BAD_URL) also for that of a home page.

    Shop systems write their home page where a product has no picture.
    """
    url = normalize_url(text)
    if url[-1] != "/" and url.count("/") > 2:
        return url
    if "/" not in url.partition("://")[2].rstrip("/") and "?" not in url:
        raise InvalidOffer(OfferReason.BAD_URL, f"{url[:200]!r}; wanted a picture, not a home page")
    return url
