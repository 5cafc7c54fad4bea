"""The meaning of one shop's category ids and paths, from shops/<shop>.xml."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lxml import etree

from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import did_you_mean, read_validated_xml


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One map or ignore line.

    Attributes:
        line_number: Its line in the file.
        kind: "id", "path" or "wildcard".
        key: The id, or the path as `path_key` writes it.
        gender: The line applies only to offers whose feed names this gender.
        age_group: The line applies only to offers whose feed names this age group.
        leaf_id: The leaf; None for a line that ignores.
        reason: Why the line ignores.
    """

    line_number: int
    kind: str
    key: str
    gender: str | None
    age_group: str | None
    leaf_id: str | None
    reason: str | None

    @property
    def conditions_count(self) -> int:
        """The number of conditions, 0 to 2."""
        return (self.gender is not None) + (self.age_group is not None)

    @property
    def literal_length(self) -> int:
        """The number of characters of the key other than '*'."""
        return len(self.key.replace("*", ""))

    def applies_to(self, gender: str | None, age_group: str | None) -> bool:
        """Return True if the conditions hold for an offer.

        Args:
            gender: The gender that the feed names, if any.
            age_group: The age group that the feed names, if any.
        """
        return self.gender in (None, gender) and self.age_group in (None, age_group)

    def overlaps(self, other: MappingLine) -> bool:
        """Return True if the conditions of both lines can hold for one offer."""
        pairs = ((self.gender, other.gender), (self.age_group, other.age_group))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


class ShopMapping:
    """The mapping of one shop.

    Attributes:
        shop_id: The shop.
        sha256: The hash of the file.
        lines: The lines, those with longer keys first, then those with more conditions.
    """

    def __init__(self, shop_id: str, lines: Iterable[MappingLine] = (), sha256: str = "") -> None:
        """Make a mapping of lines in any order."""
        self.shop_id = shop_id
        self.sha256 = sha256
        self.lines = tuple(sorted(lines, key=_line_order))
        self._lines_by_key: dict[tuple[str, str], list[MappingLine]] = {}
        for line in self.lines:
            self._lines_by_key.setdefault((line.kind, line.key), []).append(line)
        self._wildcards = [
            (_wildcard_regex(line.key), line) for line in self.lines if line.kind == "wildcard"
        ]

    def find_line(
        self, ids: Sequence[str], paths: Sequence[str], gender: str | None, age_group: str | None
    ) -> MappingLine | None:
        """Return the line for an offer.

        The first category that some line fits decides. For one category its id counts first, then
        its exact path, then wildcards, the longest first. Among equal lines the one with
        more conditions counts, then the earlier one.

        Args:
            ids: Category ids of the offer, the main one first.
            paths: Category paths of the offer, in the order of the ids.
            gender: The gender that the feed names, if any.
            age_group: The age group that the feed names, if any.

        Returns:
            The line, or None if none fits.
        """
        for ident, path in zip_longest(ids, paths):
            for line in self._matching_lines((ident or "").strip(), path_key(path or "")):
                if line.applies_to(gender, age_group):
                    return line
        return None

    def _matching_lines(self, ident: str, key: str) -> Iterator[MappingLine]:
        """Yield the lines for a category, whatever their conditions, the closest first."""
        yield from self._lines_by_key.get(("id", ident), ())
        yield from self._lines_by_key.get(("path", key), ())
        if key:
            yield from (line for pattern, line in self._wildcards if pattern.fullmatch(key))


def _line_order(line: MappingLine) -> tuple[int, int, int]:
    """Return the sort key of a line."""
    return (-line.literal_length, -line.conditions_count, line.line_number)


def path_key(path: str) -> str:
    """Return a category path as it is compared: letter case, spaces and accents normalised.

        >>> path_key("Women >  DRESSES")
        'women > dresses'

    Args:
        path: The path, its parts separated by ">".
    """
    parts = unicodedata.normalize("NFKC", path).casefold().split(">")
    return " > ".join(" ".join(part.split()) for part in parts)


def _wildcard_regex(key: str) -> re.Pattern[str]:
    """Return the pattern of a key in which "*" stands for any text."""
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def read_mapping(path: Path, taxonomy: Taxonomy) -> ShopMapping:
    """Read a shop's mapping and check it against mapping.rng beside the taxonomy.

    Args:
        path: The file, named after the shop.
        taxonomy: The taxonomy with the leaves that the mapping names.

    Returns:
        The mapping.

    Raises:
        BadMapping: With every mistake of the file.
    """
    document = read_validated_xml(path, taxonomy.path.with_name("mapping.rng"))
    shop_id = document.root.get("shop")
    if shop_id is not None and shop_id != path.stem:
        document.add_mistake(
            document.root.sourceline, f"shop={shop_id!r}: wanted {path.stem!r}, as the file name"
        )
    lines = [_parse_line(e) for e in document.valid_elements if e is not document.root]
    for line in lines:
        if line.leaf_id is not None and line.leaf_id not in taxonomy.leaves:
            fault = _describe_unknown_leaf(line.leaf_id, taxonomy)
            document.add_mistake(line.line_number, f"to={line.leaf_id!r}: {fault}")
    for line, earlier, fault in _find_conflicts(lines):
        document.add_mistake(
            line.line_number, f"{line.kind} {line.key!r}: {fault} line {earlier.line_number}"
        )
    document.raise_mistakes()
    return ShopMapping(path.stem, lines, document.sha256)


def _parse_line(element: etree._Element) -> MappingLine:
    """Return the line of a map or ignore element."""
    path = element.get("path")
    leaf_id = element.get("to")
    if path is None:
        kind = "id"
        key = str(element.get("id")).strip()
    else:
        kind = "wildcard" if "*" in path else "path"
        key = path_key(path)
    return MappingLine(
        line_number=element.sourceline or 0,
        kind=kind,
        key=key,
        gender=element.get("gender"),
        age_group=element.get("age_group"),
        leaf_id=leaf_id and leaf_id.strip(),
        reason=element.get("reason"),
    )


def _describe_unknown_leaf(name: str, taxonomy: Taxonomy) -> str:
    """Return why a name is no leaf."""
    if name in taxonomy.group_ids:
        inside = [leaf for leaf in taxonomy.leaves if leaf.startswith(f"{name}.")]
        return f"holds other categories, wanted one leaf: {', '.join(inside)}"
    return f"no such leaf in {taxonomy.path.name}{did_you_mean(name, taxonomy.leaves)}"


def _find_conflicts(lines: Sequence[MappingLine]) -> Iterator[tuple[MappingLine, MappingLine, str]]:
    """Yield (line, earlier line, fault) for lines with one key of which neither is narrower."""
    by_rank: dict[tuple[str, str, int], list[MappingLine]] = {}
    for line in lines:
        rivals = by_rank.setdefault((line.kind, line.key, line.conditions_count), [])
        for earlier in rivals:
            if (line.gender, line.age_group) == (earlier.gender, earlier.age_group):
                yield line, earlier, "the same as in"
            elif line.leaf_id != earlier.leaf_id and line.overlaps(earlier):
                yield line, earlier, "an offer can match this line and, equally closely,"
        rivals.append(line)
