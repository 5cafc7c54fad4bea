"""Colour names of feeds, from colours.xml, and how unlike the colours they name are.

A shop's own word for the colour is surer than any picture where it is fine: navy, not black. Names
are compared by how their colours look. Distances are whole numbers, so that the search stays exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from wearalike.catalog.attributes import fold_word
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.xml_validation import XmlDocument, read_validated_xml
from wearalike.metrics.colour_space import hex_to_lab

# The distance of the names of two colours that have nothing in common.
MAX_NAME_DISTANCE = 32
# From a product with a name to one without, and from one colour to "multicoloured".
_UNKNOWN_DISTANCE = 12
_MIXED_DISTANCE = 16
# Distance for one unit of ΔE. Chosen in a shop left out of training (docs/evidence/quality.md).
_DISTANCE_PER_DELTA_E = 0.55
# Names of one product; more say little.
_MAX_NAMES = 3
# How much lighter a light shade is, and how much darker a dark one, in units of L.
_SHADE_LIGHTNESS = 18.0
# The shades by the prefix of their names, and how much lightness each adds.
SHADES = {"dark": -_SHADE_LIGHTNESS, "light": _SHADE_LIGHTNESS}
_HEX = re.compile(r"#[0-9a-f]{6}")
_WORD_SEPARATORS = re.compile(r"[/,;|+&().]| - ")


@dataclass(frozen=True)
class ColourNames:
    """The words of colours.xml.

    Attributes:
        sha256: The hash of the file.
        hex_by_id: How each colour looks, as "#1b2a4a"; None for several colours at once.
    """

    sha256: str
    hex_by_id: Mapping[str, str | None]
    _words: re.Pattern[str]
    _id_by_group: Sequence[str]
    _shades: Mapping[str, re.Pattern[str]]
    _known: dict[tuple[str, ...], tuple[str, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def find(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return the colours that texts name, sorted, the first three of them.

        Args:
            texts: A feed's colour words, such as "Тёмно-синий / белый".

        Returns:
            Ids of colours. A darker or lighter one is "dark_green" or "light_green", a colour
            given in hexadecimal digits "#1b2a4a".
        """
        key = tuple(texts)
        if key not in self._known:
            if len(self._known) > 10_000:  # a hostile feed may name each colour otherwise
                self._known.clear()
            found = [name for text in key for name in self._find_in_text(text[:200])]
            self._known[key] = tuple(sorted(dict.fromkeys(found).keys() & set(found[:_MAX_NAMES])))
        return self._known[key]

    def _find_in_text(self, text: str) -> list[str]:
        """Return the colours that one text names, in its order."""
        if found := _HEX.findall(text.casefold()):
            return list(found)
        names: list[str] = []
        for part in _WORD_SEPARATORS.split(text):
            folded = fold_word(part)
            start = 0
            for match in self._words.finditer(folded):
                name = self._id_by_group[int(match.lastindex or 0) - len(SHADES) - 1]
                shade = self._find_shade(match, folded[start : match.start()])
                names.append(f"{shade}_{name}" if shade and self.hex_by_id[name] else name)
                start = match.end()
        return names

    def _find_shade(self, match: re.Match[str], before: str) -> str | None:
        """Return the shade of a colour word: written together with it, or in the words before."""
        for number, shade in enumerate(SHADES, 1):
            if match[number] or (shade in self._shades and self._shades[shade].search(before)):
                return shade
        return None


@dataclass(frozen=True, slots=True)
class NameTable:
    """Sets of colour names and the distances between them.

    Attributes:
        names: The sets, sorted: names joined by "+", and "" for products without a name.
        distances: int32 (n, n), 0..32. Row i is how far each set is from one that asks with set i;
            a product without a name is equally far from all others.
    """

    names: tuple[str, ...]
    distances: NDArray[np.int32]

    @classmethod
    def single(cls) -> NameTable:
        """Return the table of products without names."""
        return cls(("",), np.zeros((1, 1), np.int32))


def join_names(names: Sequence[str]) -> str:
    """Return the text of a set of names, as `NameTable.names` holds it."""
    return "+".join(names)


def build_name_table(texts: Iterable[str], hex_by_id: Mapping[str, str | None]) -> NameTable:
    """Measure every pair of sets of colour names.

    The distance of two colours grows with ΔE, the distance in CIE Lab. The distance of two sets is
    the mean, over the colours of both, of the distance to the nearest colour of the other set.

    Args:
        texts: Sets as texts of `join_names`; names that hex_by_id lacks do not count.
        hex_by_id: How each colour looks; None for several colours at once.
    """
    wanted = tuple(sorted(set(texts)))
    sets = [
        [name for name in text.split("+") if _base_name(name) in hex_by_id or name[:1] == "#"]
        for text in wanted
    ]
    names = sorted({name for one in sets for name in one})
    position = {name: i for i, name in enumerate(names)}
    of_names = _name_distances(names, hex_by_id)
    distances = np.zeros((len(wanted), len(wanted)), np.int32)
    for i, asking in enumerate(sets):
        if not asking:
            continue
        for j, other in enumerate(sets):
            if not other:
                distances[i, j] = _UNKNOWN_DISTANCE
                continue
            pairs = of_names[np.ix_([position[a] for a in asking], [position[b] for b in other])]
            nearest = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])
            distances[i, j] = int(nearest.mean() + 0.5)
    return NameTable(wanted, distances)


def _name_distances(
    names: Sequence[str], hex_by_id: Mapping[str, str | None]
) -> NDArray[np.float64]:
    """Return the distance of each pair of names, (n, n), 0..32."""
    lab = np.full((len(names), 3), np.nan)
    for i, name in enumerate(names):
        look = name if name[:1] == "#" else hex_by_id[_base_name(name)]
        if look is None:
            continue
        lab[i] = hex_to_lab(look)
        shade = name.partition("_")[0] if "_" in name else ""
        lab[i, 0] += SHADES.get(shade, 0.0)
    lab[:, 0] = np.clip(lab[:, 0], 0, 100)
    delta_e = np.linalg.norm(lab[:, None] - lab, axis=2)
    distances = np.minimum(np.rint(_DISTANCE_PER_DELTA_E * delta_e), MAX_NAME_DISTANCE)
    distances = np.where(np.isnan(distances), _MIXED_DISTANCE, distances)
    np.fill_diagonal(distances, 0)
    return distances


def _base_name(name: str) -> str:
    """Return the colour of a name without its shade."""
    return name.rpartition("_")[2]


def to_json(hex_by_id: Mapping[str, str | None]) -> str:
    """Return the text that `from_json` reads; equal colours give equal texts."""
    return json.dumps(dict(sorted(hex_by_id.items())), indent=1) + "\n"


def from_json(text: str) -> dict[str, str | None]:
    """Return the colours of a text of `to_json`."""
    colours: dict[str, str | None] = json.loads(text)
    return colours


def read_colour_names(path: Path) -> ColourNames:
    """Read the colours and check them against colours.rng beside the file.

    Args:
        path: The file.

    Raises:
        BadMapping: With every mistake of the file.
    """
    document = read_validated_xml(path, path.with_suffix(".rng"))
    hex_by_id: dict[str, str | None] = {}
    id_by_word: dict[str, str] = {}
    shades: dict[str, list[str]] = {}
    for element in document.valid_elements:
        if element is document.root:
            continue
        ident = str(element.get("id"))
        words = _split_words(element)
        if element.tag == "shade":
            shades.setdefault(ident, []).extend(words)
            continue
        if ident in hex_by_id:
            document.add_mistake(element.sourceline, f"id={ident!r}: given twice")
        hex_by_id[ident] = element.get("hex")
        _add_words(document, element, words, id_by_word)
    document.raise_mistakes()
    return ColourNames(
        document.sha256,
        hex_by_id,
        _compile_words(id_by_word, shades),
        tuple(id_by_word[word] for word in _longest_first(id_by_word)),
        {shade: _alternatives(words) for shade, words in shades.items()},
    )


def _split_words(element: etree._Element) -> list[str]:
    """Return the folded words of an element's list; "*" stays at their ends."""
    words = []
    for part in str(element.get("words")).split(","):
        word = fold_word(part)
        words.append(f"{word}*" if word and part.rstrip().endswith("*") else word)
    return [word for word in words if word]


def _add_words(
    document: XmlDocument, element: etree._Element, words: list[str], id_by_word: dict[str, str]
) -> None:
    """Add the words of a colour; note one that another colour has."""
    for word in words:
        other = id_by_word.setdefault(word, str(element.get("id")))
        if other != element.get("id"):
            document.add_mistake(element.sourceline, f"{word!r}: is a word of {other}, too")


def _longest_first(words: Iterable[str]) -> list[str]:
    """Return words in the order in which they are tried."""
    return sorted(words, key=lambda word: (-len(word), word))


def _compile_words(
    id_by_word: Mapping[str, str], shades: Mapping[str, list[str]]
) -> re.Pattern[str]:
    """Return the pattern of a colour word: a group a shade of `SHADES`, then a group a word."""
    prefixes = "|".join(
        "("
        + "|".join(re.escape(w[:-1]) for w in shades.get(shade, ()) if w.endswith("*"))
        + (")" if any(w.endswith("*") for w in shades.get(shade, ())) else "(?!))")
        for shade in SHADES
    )
    words = "|".join(
        f"({re.escape(word[:-1])}\\w*)" if word.endswith("*") else f"({re.escape(word)}(?!\\w))"
        for word in _longest_first(id_by_word)
    )
    return re.compile(rf"(?<!\w)(?:{prefixes})??(?:{words or '((?!))'})")


def _alternatives(words: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of any of the words as a whole word."""
    parts = "|".join(re.escape(word.rstrip("*")) for word in words)
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)")


@cache
def packaged_colour_names() -> ColourNames:
    """Return the colours that come with wearalike."""
    return read_colour_names(packaged_mapping_path("colours.xml"))
