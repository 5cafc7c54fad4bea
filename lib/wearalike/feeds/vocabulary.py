"""The meaning of a shop's words, by attributes.xml; words that are not understood are counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from wearalike.catalog.attributes import AttributeTable
from wearalike.feeds.errors import FeedWarning
from wearalike.feeds.normalize import MAX_WORD_CHARS, plain_text
from wearalike.tables import AgeGroup, Availability, Gender

# Distinct words that are counted by name; what exceeds them is counted together.
MAX_COUNTED_WORDS = 5_000
OTHER_WORDS = "(others)"
# The kinds of unknown words that are values, not names.
_VALUE_KINDS = ("gender", "age_group", "condition")
_MAX_REMEMBERED = 20_000

_AGE = re.compile(
    r"(?:(?<!\w)(?P<up_to>до|up to|under|bis(?: zu)?|do|jusqu'à|hasta|fino a)\s)?"
    r"(?<![\w.,])(?P<low>\d{1,3})(?:\s?(?:-|–|—|/|до|to|bis|do|a|à)\s?(?P<high>\d{1,3}))?"
    r"(?P<plus>\s?\+)?\s?(?P<unit>[^\W\d_]+)?"
)
# Words of stock with a number behind: "под заказ, 3 дня", "In stock: 5".
_NUMBER_BEHIND = re.compile(
    r"(?P<words>\D*?)[\s(:;,~<>≥≤–-]*"
    r"(?:\b(?:in|innerhalb|within|more than|over|about|ca|w|od|ab|от|до|через|за|более|больше"
    r"|понад|більше|від)\b\.?\s*)?(?P<number>\d+)"
)
# The ages that a size without a number may tell.
_BABY_GROUPS = (AgeGroup.NEWBORN, AgeGroup.INFANT, AgeGroup.TODDLER)
# A letter alone may be another thing: "10 M" is the width of a shoe.
_MONTH_SIZES = ("3m", "6m", "9m", "12m", "18m", "24m")
_MONTHS_A_YEAR = 12
# The first age, in months, that is no longer of the group.
_AGE_LIMITS = (
    (3, AgeGroup.NEWBORN),
    (12, AgeGroup.INFANT),
    (60, AgeGroup.TODDLER),
    (13 * 12, AgeGroup.KIDS),
)
_MAX_AGE_YEARS = 120
_YOUNGEST_FIRST = tuple(AgeGroup)


class Vocabulary:
    """Reads the words of one feed.

    Attributes:
        table: The table of attributes.
        unknown_words: For each (kind, word) that is not understood, how many offers have it. Kinds
            are those of `count_unknown`.
    """

    def __init__(self, table: AttributeTable, warning_counts: Counter[FeedWarning]) -> None:
        """Prepare to read one feed.

        Args:
            table: The table of attributes.
            warning_counts: Counts UNKNOWN_AVAILABILITY and UNKNOWN_WORD; this class adds to it.
        """
        self.table = table
        self._warning_counts = warning_counts
        self.unknown_words: Counter[tuple[str, str]] = Counter()
        self._genders: dict[tuple[str | None, ...], Gender | None] = {}
        self._age_groups: dict[tuple[str | None, ...], AgeGroup | None] = {}
        self._size_ages: dict[str, AgeGroup | None] = {}
        self._availabilities: dict[str, Availability | None] = {}
        self._brands: dict[str, bool] = {}

    def count_unknown(self, kind: str, word: str) -> None:
        """Count a word that is not understood.

        Args:
            kind: "element", "param", or the attribute whose value it is.
            word: The word as the shop writes it.
        """
        key = (kind, " ".join(word[:MAX_WORD_CHARS].split()) or '""')
        if key not in self.unknown_words and len(self.unknown_words) >= MAX_COUNTED_WORDS:
            key = (kind, OTHER_WORDS)
        self.unknown_words[key] += 1
        if kind == "availability":
            self._warning_counts[FeedWarning.UNKNOWN_AVAILABILITY] += 1
        elif kind in _VALUE_KINDS:
            self._warning_counts[FeedWarning.UNKNOWN_WORD] += 1

    def read_gender(self, words: Sequence[str | None]) -> Gender | None:
        """Return the gender that words name; both genders together are unisex.

        Args:
            words: Such as "Мужской", "girls" or "м/ж".

        Returns:
            The gender, or None if the words name none. A text that names neither a gender nor an
            age is counted.
        """
        key = tuple(words)
        if key not in self._genders:
            _limit(self._genders)
            self._genders[key] = self._find_gender(key)
        gender = self._genders[key]
        if gender is None:
            for word in words:
                if word and word.strip() and self._cached_age_group((word,)) is None:
                    self.count_unknown("gender", word)
        return gender

    def _find_gender(self, words: tuple[str | None, ...]) -> Gender | None:
        found = set(self.table.values_within("gender", _join_words(words)))
        if Gender.UNISEX in found or {Gender.MALE, Gender.FEMALE} <= found:
            return Gender.UNISEX
        return Gender(found.pop()) if found else None

    def read_age_group(
        self,
        ages: Sequence[str | None],
        genders: Sequence[str | None],
        sizes: Sequence[str | None],
    ) -> AgeGroup | None:
        """Return the age group that an offer names, by its age, else its gender, else its sizes.

        Args:
            ages: Such as "Детский", "newborn" or "от 8 лет".
            genders: Such as "для мальчиков".
            sizes: Such as "0-3M"; the age that most of them tell counts.

        Returns:
            The age group, or None if nothing names one. Ages that name none are counted.
        """
        if ages:
            found = self._cached_age_group(tuple(ages))
            if found:
                return found
            for age in ages:
                if age and age.strip():
                    self.count_unknown("age_group", age)
        if genders:
            found = self._cached_age_group(tuple(genders))
            if found:
                return found
        return self._read_age_of_sizes(sizes) if sizes else None

    def _cached_age_group(self, words: tuple[str | None, ...]) -> AgeGroup | None:
        if words not in self._age_groups:
            _limit(self._age_groups)
            self._age_groups[words] = self._find_age_group(words)
        return self._age_groups[words]

    def _find_age_group(self, words: tuple[str | None, ...]) -> AgeGroup | None:
        """Return the youngest group that words name, or the group of an age in numbers."""
        text = _join_words(words)
        named = self.table.values_within("age_group", text)
        ages = [age for word in words if word and (age := self._parse_age(word, is_size=False))]
        groups = [AgeGroup(value) for value in named] or ages
        return min(groups, key=_YOUNGEST_FIRST.index, default=None)

    def _read_age_of_sizes(self, sizes: Sequence[str | None]) -> AgeGroup | None:
        """Return the age group that most sizes tell; of equally many the youngest."""
        counts: dict[AgeGroup, int] = {}
        for size in sizes:
            if not size:
                continue
            if size not in self._size_ages:
                _limit(self._size_ages)
                self._size_ages[size] = self._find_age_of_size(size)
            if age := self._size_ages[size]:
                counts[age] = counts.get(age, 0) + 1
        if not counts:
            return None
        return min(counts, key=lambda age: (-counts[age], _YOUNGEST_FIRST.index(age)))

    def _find_age_of_size(self, size: str) -> AgeGroup | None:
        """Return the age group of a size: "0-3M" by its numbers, "Newborn" or "NB" by its word."""
        if any(c.isdigit() for c in size):
            return self._parse_age(size, is_size=True)
        named = self.table.values_within("age_group", size)
        return next((group for group in _BABY_GROUPS if group in named), None)

    def _parse_age(self, text: str, is_size: bool) -> AgeGroup | None:
        """Return the age group of numbers and a unit, such as "2-4 года", or None."""
        text = plain_text(text[:MAX_WORD_CHARS]).casefold()
        for match in _AGE.finditer(text):
            unit = self._age_unit(match, text, is_size)
            if not unit:
                continue
            months = 1 if unit == "month" else _MONTHS_A_YEAR
            low = int(match["low"]) * months
            high = int(match["high"] or match["low"]) * months
            if match["up_to"] and not match["high"]:
                low = 0
            if low > high or high > _MAX_AGE_YEARS * _MONTHS_A_YEAR:
                continue
            if low >= _AGE_LIMITS[-1][0]:
                return AgeGroup.ADULT
            middle = (low + high) / 2
            return next((group for limit, group in _AGE_LIMITS if middle < limit), AgeGroup.KIDS)
        return None

    def _age_unit(self, match: re.Match[str], text: str, is_size: bool) -> str | None:
        """Return "month" or "year" for a number that is an age, else None."""
        word = match["unit"]
        if not word:
            # "12+" alone is an age in years, but not as a size.
            return "year" if match["plus"] and not is_size else None
        if is_size and len(word) == 1:
            is_range = match["high"] is not None
            is_baby_size = text.strip().replace(" ", "") in _MONTH_SIZES
            if word == "m":
                return "month" if is_range or is_baby_size else None
            if word not in ("y", "t"):
                return None
        units = self.table.values_within("age_unit", word)
        return units[0] if units else None

    def read_availability(self, text: str) -> Availability:
        """Return the availability that a text names; UNKNOWN, and counted, for other text.

        Args:
            text: Such as "In Stock", "out_of_stock" or "под заказ".
        """
        if text not in self._availabilities:
            _limit(self._availabilities)
            value = self.table.whole_value("availability", text)
            if value is None:
                # Google's own feeds name a page of schema.org.
                last = text.strip().rpartition("/")[2]
                value = self.table.whole_value("availability", last)
            if value is None and (numbered := _NUMBER_BEHIND.match(text)):
                value = self.table.whole_value("availability", numbered["words"])
                if value == Availability.IN_STOCK and not int(numbered["number"]):
                    value = Availability.OUT_OF_STOCK
            self._availabilities[text] = Availability(value) if value else None
        availability = self._availabilities[text]
        if availability is None:
            self.count_unknown("availability", text)
            return Availability.UNKNOWN
        return availability

    def read_condition(self, text: str) -> str | None:
        """Return the condition that a text names: new, refurbished or used; None for another.

        Args:
            text: Such as "Б/у".
        """
        found = self.table.values_within("condition", text[:MAX_WORD_CHARS])
        if not found and text.strip():
            self.count_unknown("condition", text)
        return found[-1] if found else None

    def names_no_brand(self, brand: str) -> bool:
        """Tell if a brand says that there is none, such as "Нет бренда" or "-".

        Args:
            brand: The brand as plain text.
        """
        if brand not in self._brands:
            _limit(self._brands)
            is_none = self.table.whole_value("no_brand", brand) is not None
            self._brands[brand] = is_none or not any(c.isalnum() for c in brand)
        return self._brands[brand]


def _limit(cache: dict[Any, Any]) -> None:
    """Empty a cache that a hostile feed has filled."""
    if len(cache) >= _MAX_REMEMBERED:
        cache.clear()


def _join_words(words: Iterable[str | None]) -> str:
    """Return the words as one text, each cut to MAX_WORD_CHARS."""
    return " / ".join(plain_text(word[:MAX_WORD_CHARS]) for word in words if word)
