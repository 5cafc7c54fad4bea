"""The latest runs as an Atom feed (RFC 4287), for feed readers."""

from __future__ import annotations

import re
import uuid
from typing import Any

from lxml import etree

from wearalike.quality.metrics import K

MAX_ATOM_ENTRIES = 50
# Not in XML 1.0.
_ILLEGAL_XML_CHARS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATOM_NAMESPACE = "http://www.w3.org/2005/Atom"

RunRecord = dict[str, Any]


def build_atom_feed(records: list[RunRecord], base_uri: str) -> bytes:
    """Build an Atom feed (RFC 4287) of the latest MAX_ATOM_ENTRIES runs, newest first.

    Args:
        records: Records of runs, as in runs.jsonl.
        base_uri: URI of the data folder; it makes entry ids unique among deployments.

    Returns:
        The feed, XML.
    """
    feed = etree.Element(f"{{{_ATOM_NAMESPACE}}}feed", nsmap={None: _ATOM_NAMESPACE})
    newest = sorted(records, key=_updated_at, reverse=True)[:MAX_ATOM_ENTRIES]
    _add_element(feed, "id", _entry_urn(base_uri))
    _add_element(feed, "title", "wearalike: runs")
    _add_element(feed, "updated", _updated_at(newest[0]) if newest else "1970-01-01T00:00:00Z")
    _add_element(_add_element(feed, "author"), "name", "wearalike")
    _add_element(feed, "link", rel="self", href="runs.atom")
    for record in newest:
        run = record["run"]
        entry = _add_element(feed, "entry")
        _add_element(entry, "id", _entry_urn(f"{base_uri}#{run}"))
        title = f"Run {run}: {record['verdict']}, {_publication_text(record)}"
        _add_element(entry, "title", title)
        _add_element(entry, "updated", _updated_at(record))
        _add_element(
            entry,
            "link",
            rel="alternate",
            type="text/html",
            href=f"../quality/run={run}/quality.html",
        )
        _add_element(entry, "content", _summary_text(record), type="text")
    return etree.tostring(feed, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_element(
    parent: etree._Element, name: str, text: str | None = None, **attributes: str
) -> etree._Element:
    """Append an Atom element; characters that XML 1.0 cannot hold are replaced."""
    child = etree.SubElement(parent, f"{{{_ATOM_NAMESPACE}}}{name}", dict(attributes))
    child.text = None if text is None else _ILLEGAL_XML_CHARS.sub("\ufffd", text)
    return child


def _entry_urn(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def _updated_at(record: RunRecord) -> str:
    return max(record["judged_at"], record["published_at"] or "")


def _publication_text(record: RunRecord) -> str:
    if record["is_published"]:
        return "published"
    if record["published_at"]:
        return "was published"
    return f"not published: {record['not_published']}"


def _summary_text(record: RunRecord) -> str:
    """Return the record as lines for people."""
    shops = [f"{shop} {of['products_count'] or 0:,}" for shop, of in record["shops"].items()]
    lines = [
        f"{record['products_count'] or 0:,} products ({', '.join(shops)}), "
        f"{record['recommendations_count'] or 0:,} recommendations"
    ]
    lines += [
        f"{name} {record[name]:.3f}"
        for name in (f"precision@{K}", f"churn@{K}", "with_5_matches_ratio")
        if record[name] is not None
    ]
    lines.append(f"{record['refused_count']:,} refused")
    lines += [f"warning: {name}" for name in record["warned"]]
    return "\n".join([*lines, *record["failed"]])
