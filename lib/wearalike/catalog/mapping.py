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
from wearalike.catalog.taxonomy import Rubricator, read_rubricator
from wearalike.catalog.xml_validation import BadMapping, did_you_mean, parse
from wearalike.settings import Settings


@dataclass(frozen=True, slots=True)
class Line:
    """One map or ignore line. kind: "id", "path" or "wildcard"; key: the id, or the path as `path_key` makes it.
    gender, age_group: only offers of which the feed says so. to: a leaf, None where ignored, with the reason."""

    number: int
    kind: str
    key: str
    gender: str | None
    age_group: str | None
    to: str | None
    reason: str | None

    @property
    def conditions_count(self) -> int:
        return (self.gender is not None) + (self.age_group is not None)

    @property
    def length(self) -> int:
        """Characters of the key that are not '*'."""
        return len(self.key.replace("*", ""))

    def holds(self, gender: str | None, age_group: str | None) -> bool:
        return self.gender in (None, gender) and self.age_group in (None, age_group)

    def meets(self, other: Line) -> bool:
        """Whether some offer's gender and age group hold for both."""
        return all(
            None in pair or pair[0] == pair[1]
            for pair in ((self.gender, other.gender), (self.age_group, other.age_group))
        )


class Mapping:
    """One shop's lines. sha256: of the file."""

    def __init__(self, shop_id: str, lines: Iterable[Line] = (), sha256: str = "") -> None:
        self.shop_id, self.sha256 = shop_id, sha256
        self.lines = tuple(
            sorted(lines, key=lambda line: (-line.length, -line.conditions_count, line.number))
        )
        self._exact: dict[tuple[str, str], list[Line]] = {}
        for line in self.lines:
            self._exact.setdefault((line.kind, line.key), []).append(line)
        self._wildcards = [
            (_pattern(line.key), line) for line in self.lines if line.kind == "wildcard"
        ]

    def find(
        self, ids: Sequence[str], paths: Sequence[str], gender: str | None, age_group: str | None
    ) -> Line | None:
        """The line for an offer of these categories, main one first; None where no line fits.

        The first category that a line fits decides. For one category: its id, its exact path, then wildcards, longest first;
        of lines alike in this the one with more conditions, then the earlier.
        """
        for ident, path in zip_longest(ids, paths):
            for line in self._fitting((ident or "").strip(), path_key(path or "")):
                if line.holds(gender, age_group):
                    return line
        return None

    def _fitting(self, ident: str, key: str) -> Iterator[Line]:
        yield from self._exact.get(("id", ident), ())
        yield from self._exact.get(("path", key), ())
        if key:
            yield from (line for pattern, line in self._wildcards if pattern.fullmatch(key))


def path_key(path: str) -> str:
    """The path as it is compared: case, width of spaces and composed letters make no difference."""
    parts = unicodedata.normalize("NFKC", path).casefold().split(">")
    return " > ".join(" ".join(part.split()) for part in parts)


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def mapping_path(settings: Settings, shop_id: str) -> Path:
    """Where the shop's mapping lies, there or not."""
    return settings.mappings / "shops" / f"{shop_id}.xml"


def read_mapping(path: Path, rubricator: Rubricator) -> Mapping:
    """A shop's mapping, held against mapping.rng beside the rubricator. Raises BadMapping with every mistake."""
    document = parse(path, rubricator.path.with_name("mapping.rng"))
    shop_id = document.root.get("shop")
    if shop_id is not None and shop_id != path.stem:
        document.mistake(
            document.root.sourceline,
            f"shop={shop_id!r}: wanted {path.stem!r}, as the file is named",
        )
    lines = [_line(e) for e in document.sound if e is not document.root]
    for line in lines:
        if line.to is not None and line.to not in rubricator.leaves:
            document.mistake(line.number, f"to={line.to!r}: {_no_leaf(line.to, rubricator)}")
    for line, earlier, text in _clashes(lines):
        document.mistake(line.number, f"{line.kind} {line.key!r}: {text} line {earlier.number}")
    document.raise_mistakes()
    return Mapping(path.stem, lines, document.sha256)


def _line(element: etree._Element) -> Line:
    ident, path, to = element.get("id"), element.get("path"), element.get("to")
    kind = "id" if path is None else "wildcard" if "*" in path else "path"
    key = path_key(path) if path is not None else str(ident).strip()
    return Line(
        element.sourceline or 0,
        kind,
        key,
        element.get("gender"),
        element.get("age_group"),
        to and to.strip(),
        element.get("reason"),
    )


def _no_leaf(name: str, rubricator: Rubricator) -> str:
    if name in rubricator.groups:
        inside = [leaf for leaf in rubricator.leaves if leaf.startswith(f"{name}.")]
        return f"holds other categories, wanted one leaf: {', '.join(inside)}"
    return f"no such leaf in {rubricator.path.name}{did_you_mean(name, rubricator.leaves)}"


def _clashes(lines: Sequence[Line]) -> Iterator[tuple[Line, Line, str]]:
    """(line, an earlier line, what is wrong between them) where both have one id or path and neither is narrower."""
    by_rank: dict[tuple[str, str, int], list[Line]] = {}
    for line in lines:
        rivals = by_rank.setdefault((line.kind, line.key, line.conditions_count), [])
        for earlier in rivals:
            if (line.gender, line.age_group) == (earlier.gender, earlier.age_group):
                yield line, earlier, "the same as in"
            elif line.to != earlier.to and line.meets(earlier):
                yield line, earlier, "an offer can fit this and, no less closely,"
        rivals.append(line)


def read_all(settings: Settings, shop_ids: Iterable[str]) -> tuple[Rubricator, dict[str, Mapping]]:
    """The rubricator and the mappings of those of the shops that have a file, by shop. Raises BadMapping with the mistakes of all files."""
    rubricator = read_rubricator(settings.mappings / "rubricator.xml")
    mappings: dict[str, Mapping] = {}
    mistakes: list[str] = []
    for shop_id in sorted(shop_ids):
        if (path := mapping_path(settings, shop_id)).is_file():
            try:
                mappings[shop_id] = read_mapping(path, rubricator)
            except BadMapping as error:
                mistakes += error.mistakes
    if mistakes:
        raise BadMapping(mistakes)
    return rubricator, mappings


def check(settings: Settings, shop_ids: Iterable[str]) -> list[str]:
    """Every mistake in the rubricator, these shops' mappings and the rules, a missing mapping among them; empty where all is well."""
    shop_ids = list(shop_ids)
    missing = [
        f"{shop}: no mapping, wanted {how_to_map(settings, shop)}"
        for shop in shop_ids
        if not mapping_path(settings, shop).is_file()
    ]
    try:
        rubricator, _ = read_all(settings, shop_ids)
    except BadMapping as error:
        return [*error.mistakes, *missing]
    try:
        read_rules(rules_path(settings), rubricator)
    except BadMapping as error:
        return [*error.mistakes, *missing]
    return missing


def rules_path(settings: Settings) -> Path:
    """Where the merchandiser's rules lie, there or not."""
    return settings.mappings / "rules.xml"


def how_to_map(settings: Settings, shop_id: str) -> str:
    """The file a shop without a mapping wants, and how to begin it."""
    return (
        f"{mapping_path(settings, shop_id)}; `wearalike suggest-mapping {shop_id}` prints a draft"
    )
