"""Read the elements of an XML feed one by one; each is dropped after its use."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from wearalike.feeds.errors import BadFeed, FeedReason, FeedWarning

# The most bytes without a whole offer; a feed with a larger one is refused before it fills memory.
MAX_OFFER_BYTES = 64 << 20
# Bytes the parser receives at once: their tree stays in the processor's cache until it is read.
PARSER_BLOCK_BYTES = 1 << 15

_SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
}
# Enough for the end tag of any root element, and for the beginning of an offer.
_TAIL_BYTES = 256
_OFFER_START = re.compile(rb"<(?:\w+:)?(?:item|entry|offer)[\s>]")
# libxml2's numbers of what it tells of namespaces and languages: none of it breaks the tree.
_HARMLESS_ERRORS = (*range(97, 101), *range(200, 206))


def root_name(block: bytes) -> str:
    """Return the name of the root element, without a namespace. Raise BadFeed."""
    parser = etree.XMLPullParser(events=("start",), **_SAFE_PARSER_OPTIONS)
    _feed_parser(parser, block)
    for _, element in parser.read_events():
        return local_name(str(element.tag)).rpartition(":")[2]
    raise BadFeed(
        FeedReason.TRUNCATED,
        f"ends within its first element: {block[:60].decode('utf-8', 'replace')!r}",
    )


def iter_elements(
    blocks: Iterator[bytes], tags: tuple[str, ...], warning_counts: Counter[FeedWarning]
) -> Iterator[Element]:
    """Yield the elements with these names in their order, whole, and drop each after use.

    The parser is asked for one event only: that of a processing instruction placed before the root,
    by which the root is found. Events of elements would slow the parser by a fifth.
    """
    parser = etree.XMLPullParser(
        events=("pi",), remove_comments=True, collect_ids=False, **_SAFE_PARSER_OPTIONS
    )
    _feed_parser(parser, b"<?mark?>")
    _, mark = next(parser.read_events())
    root = None
    waiting_bytes = read_bytes = 0
    is_open = True
    tail = b""
    pieces = _split_blocks(blocks)
    for piece in pieces:
        is_open = _feed_parser(parser, piece)
        tail = (tail + piece)[-_TAIL_BYTES:]
        read_bytes += len(piece)
        deque(parser.read_events(), maxlen=0)  # other processing instructions
        waiting_bytes += len(piece)
        if root is None:
            root = mark.getnext()
        if root is not None and len(root):
            for element in _iter_complete_elements(root, tags):
                yield element
                waiting_bytes = 0
        if waiting_bytes > MAX_OFFER_BYTES:
            raise BadFeed(
                FeedReason.TOO_LARGE, f"{waiting_bytes:,} bytes and no whole offer in them"
            )
        if not is_open:
            _check_trailing(mark.getnext(), piece, pieces, is_first=len(piece) == read_bytes)
            warning_counts[FeedWarning.TRAILING_CHARACTERS] += 1
            break
    if is_open:
        _close_parser(parser, mark, tail, warning_counts)
    if (rest := mark.getnext()) is not None:
        yield from rest.iter(*_in_any_namespace(tags))


def _check_trailing(
    root: Element | None, piece: bytes, pieces: Iterator[bytes], is_first: bool
) -> None:
    """Raise BadFeed (BROKEN) if another document, or offers, stand behind the root element.

    Notices of PHP and numbers of bytes are often there; they cost nothing.

    Args:
        root: The root element, which has ended in the piece or before it.
        piece: The bytes that hold more than the end of the document.
        pieces: The bytes behind it.
        is_first: The piece is the first one of the feed, so it holds the start of the root.
    """
    name = "" if root is None else re.escape(local_name(str(root.tag)))
    end = re.search(rf"</(?:\w+:)?{name}\s*>".encode(), piece)
    starts = re.findall(rf"<(?:\w+:)?{name}[\s>]".encode(), piece)
    carried = piece[end.end() :] if end else piece
    has_more = len(starts) > is_first or bool(_OFFER_START.search(carried))
    for following in pieces:
        carried = carried[-_TAIL_BYTES:] + following
        has_more = has_more or bool(_OFFER_START.search(carried))
    if has_more:
        raise BadFeed(FeedReason.BROKEN, "a second document, or offers, behind the root element")


def _close_parser(
    parser: etree.XMLPullParser, mark: Element, tail: bytes, warning_counts: Counter[FeedWarning]
) -> None:
    """End a document. Raise BadFeed if its root element has not ended.

    The tail, its last bytes, tells a feed that is cut off from one with a fault before its end.
    libxml2 tells the last error only, and an undeclared prefix may hide that the end is missing. So
    a second mark is put behind the root element. It is the root's sibling only if the root is
    whole.
    """
    is_whole = False
    try:
        parser.feed(b"<?mark?>")
        root = mark.getnext()
        is_whole = root is not None and root.getnext() is not None
        parser.close()
    except etree.XMLSyntaxError as error:
        root = mark.getnext()
        name = "" if root is None else local_name(str(root.tag))
        has_end = bool(name) and re.search(rf"</(?:\w+:)?{name}\s*>\s*$".encode(), tail)
        if not (is_whole or has_end):
            shown = "" if error.code in _HARMLESS_ERRORS else f": {error}"
            detail = f"ends before its root element does{shown}"
            raise BadFeed(FeedReason.TRUNCATED, detail) from error
        if error.code not in _HARMLESS_ERRORS:
            raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
        warning_counts[FeedWarning.UNDECLARED_NAMESPACE] += 1


def _in_any_namespace(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return lxml's patterns of names in any namespace, or none."""
    return tuple(f"{{*}}{name}" for name in tags)


@lru_cache(maxsize=4096)
def local_name(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]


def _split_blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of the blocks in pieces of at most PARSER_BLOCK_BYTES."""
    for block in blocks:
        for start in range(0, len(block), PARSER_BLOCK_BYTES):
            yield block[start : start + PARSER_BLOCK_BYTES]


def _iter_complete_elements(node: Element, tags: tuple[str, ...]) -> Iterator[Element]:
    """Yield and drop the whole elements below a node that is not yet whole.

    All children but the last are whole; below the last one the same holds.
    """
    *whole, last = node
    for child in whole:
        if local_name(str(child.tag)) in tags:
            yield child
        else:
            yield from child.iter(*_in_any_namespace(tags))
    del node[: len(whole)]
    if len(last) and local_name(str(last.tag)) not in tags:
        yield from _iter_complete_elements(last, tags)


def _feed_parser(parser: etree.XMLPullParser, block: bytes) -> bool:
    """Parse more bytes; return False if the document has ended before they do.

    Raise BadFeed (BROKEN) if they are not well-formed.
    """
    try:
        parser.feed(block)
        return True
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_DOCUMENT_END:
            return False
        raise BadFeed(FeedReason.BROKEN, f"not well-formed XML: {error}") from error
