"""Write web addresses as they may be sent, and change nothing else in them.

Addresses of pictures are often signed: "%2F" and "/" are then two addresses, and a server answers
only the one it has signed. So no escape is added, removed or respelled but for characters that
cannot stand in a request at all.
"""

from __future__ import annotations

import re

from yarl import URL

_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#\\]*|")
# Characters that cannot stand in the first line of a request, or would end an address in a text.
_UNSENDABLE = re.compile(r"[^!#-;=?-~]+")


def encode_unsendable(text: str) -> str:
    """Percent-encode the characters of an address that cannot be sent; leave all others.

    Scheme and host stay as they are. Backslashes before the query become slashes, as in every
    browser.

        >>> encode_unsendable("/a b/%2F,é.jpg?m=%2Fm.png")
        '/a%20b/%2F,%C3%A9.jpg?m=%2Fm.png'

    Args:
        text: An address or a part of one; bytes that are no text as "surrogateescape" shows them.

    Raises:
        UnicodeEncodeError: The text has half characters of another kind.
    """
    authority = _AUTHORITY.match(text)[0]  # type: ignore[index]  # it matches the empty text too
    path, mark, query = re.split(r"([?#]|\Z)", text[len(authority) :], maxsplit=1)
    rest = path.replace("\\", "/") + mark + query
    return authority + _UNSENDABLE.sub(_percent_encode, rest)


def _percent_encode(match: re.Match[str]) -> str:
    """Return the UTF-8 of characters as escapes."""
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _resolve(text: str, base: URL) -> str:
    """Return a relative address as an absolute one."""
    if text.startswith("//"):
        return f"{base.scheme}:{text}"
    if text.startswith("/"):
        return f"{base.scheme}://{base.raw_authority}{text}"
    # A path that is relative to another is put together as RFC 3986 says.
    return text if "://" in text.split("?")[0] else str(base.join(URL(text, encoded=True)))


def parse_address(text: str, base: URL | None = None) -> URL:
    """Return the address to ask for; path and query are those of the text, byte for byte.

    Args:
        text: An absolute address, or with `base` also a relative one.
        base: The address that a relative one starts at.

    Raises:
        ValueError, TypeError, LookupError: The text is no address.
    """
    text = encode_unsendable(text.strip())
    if base is not None:
        text = _resolve(text, base)
    authority = _AUTHORITY.match(text)[0]  # type: ignore[index]  # it matches the empty text too
    # yarl checks the host and its port, and respells them; it would respell the rest, too.
    checked = URL(authority or text)
    if not checked.raw_authority:
        return checked
    rest = text[len(authority) :]
    return URL(f"{checked.scheme}://{checked.raw_authority}{rest}", encoded=True)
