"""What one shop's category ids and paths mean to us, from shops/<shop>.xml."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lxml import etree

from wearalike.catalog.merchandising_rules import read_rules
from wearalike.catalog.taxonomy import Taxonomy, read_taxonomy
from wearalike.catalog.xml_validation import BadMapping, did_you_mean, read_validated_xml
from wearalike.settings import Settings


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One map or ignore line. kind: "id", "path" or "wildcard"; key: the id, or the path as `path_key` makes it.
    gender, age_group: only offers of which the feed says so. to: a leaf, None where ignored, with the reason."""

    line_number: int
    kind: str
    key: str
    gender: str | None
    age_group: str | None
    leaf_id: str | None
    reason: str | None

    @property
    def conditions_count(self) -> int:
        return (self.gender is not None) + (self.age_group is not None)

    @property
    def literal_length(self) -> int:
        """Characters of the key that are not '*'."""
        return len(self.key.replace("*", ""))

    def applies_to(self, gender: str | None, age_group: str | None) -> bool:
        return self.gender in (None, gender) and self.age_group in (None, age_group)

    def overlaps(self, other: MappingLine) -> bool:
        """Whether some offer's gender and age group hold for both."""
        return all(
            None in pair or pair[0] == pair[1]
            for pair in ((self.gender, other.gender), (self.age_group, other.age_group))
        )


class ShopMapping:
    """One shop's lines. sha256: of the file."""

    def __init__(self, shop_id: str, lines: Iterable[MappingLine] = (), sha256: str = "") -> None:
        self.shop_id, self.sha256 = shop_id, sha256
        self.lines = tuple(
            sorted(
                lines,
                key=lambda line: (-line.literal_length, -line.conditions_count, line.line_number),
            )
        )
        self._lines_by_key: dict[tuple[str, str], list[MappingLine]] = {}
        for line in self.lines:
            self._lines_by_key.setdefault((line.kind, line.key), []).append(line)
        self._wildcards = [
            (_wildcard_regex(line.key), line) for line in self.lines if line.kind == "wildcard"
        ]

    def find_line(
        self, ids: Sequence[str], paths: Sequence[str], gender: str | None, age_group: str | None
    ) -> MappingLine | None:
        """The line for an offer of these categories, main one first; None where no line fits.

        The first category that a line fits decides. For one category: its id, its exact path, then wildcards, longest first;
        of lines alike in this the one with more conditions, then the earlier.
        """
        for ident, path in zip_longest(ids, paths):
            for line in self._matching_lines((ident or "").strip(), path_key(path or "")):
                if line.applies_to(gender, age_group):
                    return line
        return None

    def _matching_lines(self, ident: str, key: str) -> Iterator[MappingLine]:
        yield from self._lines_by_key.get(("id", ident), ())
        yield from self._lines_by_key.get(("path", key), ())
        if key:
            yield from (line for pattern, line in self._wildcards if pattern.fullmatch(key))


def path_key(path: str) -> str:
    """The path as it is compared: case, width of spaces and composed letters make no difference."""
    parts = unicodedata.normalize("NFKC", path).casefold().split(">")
    return " > ".join(" ".join(part.split()) for part in parts)


def _wildcard_regex(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def mapping_path(settings: Settings, shop_id: str) -> Path:
    """Where the shop's mapping lies, there or not."""
    return settings.mappings / "shops" / f"{shop_id}.xml"


def read_mapping(path: Path, taxonomy: Taxonomy) -> ShopMapping:
    """A shop's mapping, held against mapping.rng beside the taxonomy. Raises BadMapping with every mistake."""
    document = read_validated_xml(path, taxonomy.path.with_name("mapping.rng"))
    shop_id = document.root.get("shop")
    if shop_id is not None and shop_id != path.stem:
        document.add_mistake(
            document.root.sourceline,
            f"shop={shop_id!r}: wanted {path.stem!r}, as the file is named",
        )
    lines = [_parse_line(e) for e in document.valid_elements if e is not document.root]
    for line in lines:
        if line.leaf_id is not None and line.leaf_id not in taxonomy.leaves:
            document.add_mistake(
                line.line_number,
                f"to={line.leaf_id!r}: {_describe_unknown_leaf(line.leaf_id, taxonomy)}",
            )
    for line, earlier, text in _find_conflicts(lines):
        document.add_mistake(
            line.line_number, f"{line.kind} {line.key!r}: {text} line {earlier.line_number}"
        )
    document.raise_mistakes()
    return ShopMapping(path.stem, lines, document.sha256)


def _parse_line(element: etree._Element) -> MappingLine:
    ident, path, to = element.get("id"), element.get("path"), element.get("to")
    kind = "id" if path is None else "wildcard" if "*" in path else "path"
    key = path_key(path) if path is not None else str(ident).strip()
    return MappingLine(
        element.sourceline or 0,
        kind,
        key,
        element.get("gender"),
        element.get("age_group"),
        to and to.strip(),
        element.get("reason"),
    )


def _describe_unknown_leaf(name: str, taxonomy: Taxonomy) -> str:
    if name in taxonomy.group_ids:
        inside = [leaf for leaf in taxonomy.leaves if leaf.startswith(f"{name}.")]
        return f"holds other categories, wanted one leaf: {', '.join(inside)}"
    return f"no such leaf in {taxonomy.path.name}{did_you_mean(name, taxonomy.leaves)}"


def _find_conflicts(lines: Sequence[MappingLine]) -> Iterator[tuple[MappingLine, MappingLine, str]]:
    """(line, an earlier line, what is wrong between them) where both have one id or path and neither is narrower."""
    by_rank: dict[tuple[str, str, int], list[MappingLine]] = {}
    for line in lines:
        rivals = by_rank.setdefault((line.kind, line.key, line.conditions_count), [])
        for earlier in rivals:
            if (line.gender, line.age_group) == (earlier.gender, earlier.age_group):
                yield line, earlier, "the same as in"
            elif line.leaf_id != earlier.leaf_id and line.overlaps(earlier):
                yield line, earlier, "an offer can fit this and, no less closely,"
        rivals.append(line)


def read_taxonomy_and_mappings(
    settings: Settings, shop_ids: Iterable[str]
) -> tuple[Taxonomy, dict[str, ShopMapping]]:
    """The taxonomy and the mappings of those of the shops that have a file, by shop. Raises BadMapping with the mistakes of all files."""
    taxonomy = read_taxonomy(settings.mappings / "taxonomy.xml")
    mappings: dict[str, ShopMapping] = {}
    mistakes: list[str] = []
    for shop_id in sorted(shop_ids):
        if (path := mapping_path(settings, shop_id)).is_file():
            try:
                mappings[shop_id] = read_mapping(path, taxonomy)
            except BadMapping as error:
                mistakes += error.mistakes
    if mistakes:
        raise BadMapping(mistakes)
    return taxonomy, mappings


def find_mistakes(settings: Settings, shop_ids: Iterable[str]) -> list[str]:
    """Every mistake in the taxonomy, these shops' mappings and the rules, a missing mapping among them; empty where all is well."""
    shop_ids = list(shop_ids)
    missing = [
        f"{shop}: no mapping, wanted {missing_mapping_hint(settings, shop)}"
        for shop in shop_ids
        if not mapping_path(settings, shop).is_file()
    ]
    try:
        taxonomy, _ = read_taxonomy_and_mappings(settings, shop_ids)
    except BadMapping as error:
        return [*error.mistakes, *missing]
    try:
        read_rules(rules_path(settings), taxonomy)
    except BadMapping as error:
        return [*error.mistakes, *missing]
    return missing


def rules_path(settings: Settings) -> Path:
    """Where the merchandiser's rules lie, there or not."""
    return settings.mappings / "rules.xml"


def missing_mapping_hint(settings: Settings, shop_id: str) -> str:
    """The file a shop without a mapping wants, and how to begin it."""
    return (
        f"{mapping_path(settings, shop_id)}; `wearalike suggest-mapping {shop_id}` prints a draft"
    )
