"""The texts of one offer by slot, while its elements are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from lxml.etree import _Element as Element

from wearalike.catalog.attributes import UNUSED
from wearalike.feeds.dialect import Texts
from wearalike.feeds.fields import MAX_KNOWN_TAGS, Slot, fold_tag
from wearalike.feeds.vocabulary import Vocabulary

# The slot of each attribute of attributes.xml.
_SLOTS_BY_ATTRIBUTE = {
    "gender": Slot.GENDER,
    "age_group": Slot.AGE,
    "colour": Slot.COLOUR,
    "size": Slot.SIZE,
    "material": Slot.MATERIAL,
    "pattern": Slot.PATTERN,
    "condition": Slot.CONDITION,
    "gtin": Slot.GTIN,
    "availability": Slot.AVAILABILITY,
    "stock": Slot.STOCK,
    UNUSED: Slot.IGNORED,
}
# Slots of several values: "picture2" or "color_1" is one of them.
_NUMBERED_SLOTS = (Slot.PICTURE, Slot.FURTHER_PICTURE, Slot.COLOUR, Slot.SIZE, Slot.MATERIAL)
_BREAKS = frozenset(("br", "hr", "p", "li", "div", "ul", "tr"))
_INLINE = frozenset(("b", "i", "u", "em", "strong", "span", "font", "a", "sup", "sub", "small"))
# Ends a part of a list in markup; `values.split_words` knows it.
_BREAK = "<br>"


class FieldFinder:
    """Finds the slot of each field of a feed, and counts the fields that no slot takes.

    Attributes:
        ignored_fields: For each name of an ignored field, how often it occurred.
    """

    def __init__(self, slots: Mapping[str, tuple[Slot, bool]], vocabulary: Vocabulary) -> None:
        """Prepare to read one feed.

        Args:
            slots: The fields of the dialect, by `index_fields`.
            vocabulary: Knows names of attributes; counts the fields that nothing knows.
        """
        self.vocabulary = vocabulary
        self.ignored_fields: defaultdict[str, int] = defaultdict(int)
        self._slots = slots
        self._known: dict[str, tuple[Slot, bool] | None] = {}

    def find(self, name: str) -> tuple[Slot, bool] | None:
        """Return a field's slot, and if another field goes first; None, and counted, for no slot.

        Args:
            name: The name of an element, or "@" and that of an attribute.
        """
        if name in self._known:
            found = self._known[name]
        else:
            if len(self._known) >= MAX_KNOWN_TAGS:
                self._known.clear()
            found = self._known[name] = self._look_up(name)
        if found is None:
            self.vocabulary.count_unknown("element", name)
        elif not found[0]:
            self.ignored_fields[name] += 1
            return None
        return found

    def _look_up(self, name: str) -> tuple[Slot, bool] | None:
        found = self._slots.get(fold_tag(name))
        if found is None:
            numbered = self._slots.get(fold_tag(name.rstrip("0123456789")))
            found = numbered if numbered and numbered[0] in _NUMBERED_SLOTS else None
        if found is None and not name.startswith("@"):
            slot = _SLOTS_BY_ATTRIBUTE.get(self.vocabulary.table.attribute_of(name) or "")
            found = None if slot is None else (slot, True)
        return found

    def find_attribute(self, name: str) -> Slot | None:
        """Return the slot of a param by its name; None, and counted, for no slot.

        Args:
            name: The name of the param.
        """
        attribute = self.vocabulary.table.attribute_of(name)
        if attribute is None:
            self.vocabulary.count_unknown("param", name)
            return None
        slot = _SLOTS_BY_ATTRIBUTE.get(attribute)
        if not slot:
            self.ignored_fields["param"] += 1
            return None
        return slot


class CollectedTexts:
    """The texts of one offer, by slot.

    Attributes:
        own: The texts of each slot that has any, but those of fallbacks.
    """

    __slots__ = ("_fallback", "own")

    def __init__(self) -> None:
        self.own: dict[Slot, list[str]] = {}
        self._fallback: dict[Slot, list[str]] = {}

    def add(self, slot: Slot, text: str | None, is_fallback: bool = False) -> None:
        """Add a text; an empty one says nothing.

        Args:
            slot: The slot.
            text: The text.
            is_fallback: It counts only where no other text does.
        """
        if text and not text.isspace():
            by_slot = self._fallback if is_fallback else self.own
            if slot in by_slot:
                by_slot[slot].append(text)
            else:
                by_slot[slot] = [text]

    def first(self, slot: Slot) -> str | None:
        """Return the first text of a slot, or None."""
        texts = self.own.get(slot) or self._fallback.get(slot)
        return texts[0] if texts else None

    def by_slot(self) -> dict[Slot, list[str]]:
        """Return the texts of each slot that has any, those of `all_of`."""
        return {**self._fallback, **self.own} if self._fallback else self.own

    def replace(self, slot: Slot, texts: list[str]) -> None:
        """Let other texts stand for those of a slot.

        Args:
            slot: The slot.
            texts: The texts, at least one.
        """
        self.own[slot] = texts
        self._fallback.pop(slot, None)

    def all_of(self, slot: Slot) -> Texts:
        """Return the texts of a slot; those of fallbacks only if there are no others."""
        return self.own.get(slot) or self._fallback.get(slot) or ()


def inner_text(element: Element) -> str:
    """Return the text of an element with others in it; breaks and items end with a mark of a list.

    Args:
        element: Such as <param>Олива<br/>Хаки</param>.
    """
    parts = [element.text or ""]
    for child in element:
        tag = child.tag
        if isinstance(tag, str):
            name = tag.rpartition("}")[2].lower()
            parts.append(inner_text(child))
            if name not in _INLINE:
                parts.append(_BREAK if name in _BREAKS else " ")
        parts.append(child.tail or "")
    return "".join(parts)


def named_parts(element: Element) -> dict[str, str]:
    """Return the texts of the elements in an element, by their names without "g:"."""
    return {
        str(child.tag).rpartition("}")[2].removeprefix("g:"): inner_text(child)
        for child in element
        if isinstance(child.tag, str)
    }


def value_texts(element: Element) -> list[str]:
    """Return the values of an element: its text, or those of the elements in it.

    Where values are in several languages, only those of the first language are returned.

    Args:
        element: Such as <param><value lang="uk">Олива</value><value lang="ru">Оливковый</value>.
    """
    if not len(element):
        return [element.text or ""]
    children = [child for child in element if isinstance(child.tag, str)]
    is_list = children and not (element.text or "").strip()
    if is_list and len({child.tag for child in children}) == 1 and _is_value(children[0]):
        languages = [child.get("lang") for child in children]
        shown = next(filter(None, languages), None)
        return [
            inner_text(child)
            for child, language in zip(children, languages, strict=True)
            if language in (None, shown)
        ]
    return [inner_text(element)]


def _is_value(element: Element) -> bool:
    """Tell if an element within another is a value, not markup."""
    return len(str(element.tag)) > 2 and str(element.tag).lower() not in (*_BREAKS, "span")
